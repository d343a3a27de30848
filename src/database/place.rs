//! Where a target leads, for people: server, database and role, and never a password.

use nix::unistd::{User, geteuid};
use serde::Serialize;
use tokio_postgres::Config;

use super::{DatabaseError, Target, embedded, error, tls};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Place {
    /// `host:port`, the path of a socket, or the private PostgreSQL and its directory.
    pub(crate) server: String,
    pub(crate) database: String,
    pub(crate) role: String,
}

impl Target {
    pub(crate) fn place(&self) -> Result<Place, DatabaseError> {
        Ok(match self {
            Self::Embedded { dir } => Place {
                server: format!("the private PostgreSQL in {}", dir.display()),
                database: embedded::DATABASE.to_owned(),
                role: embedded::USER.to_owned(),
            },
            Self::Url(url) => {
                let config = tls::parse(secrecy::ExposeSecret::expose_secret(url))?.config;
                let role = role(&config).unwrap_or_default();
                Place {
                    server: error::place(&config),
                    database: config.get_dbname().unwrap_or(&role).to_owned(),
                    role,
                }
            }
        })
    }
}

/// Who connects: who is not named is the user of the system.
pub(crate) fn role(config: &Config) -> Option<String> {
    let of_system = || Some(User::from_uid(geteuid()).ok()??.name);
    config.get_user().map(str::to_owned).or_else(of_system)
}
