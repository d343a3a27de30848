//! Database errors as sentences. Never passes on the server's own text, which may hold personal values.

use std::io;
use std::net::SocketAddr;

use rustls::CertificateError;
use tokio_postgres::config::{Config, Host};
use tokio_postgres::error::SqlState;

use super::auth::Broken;
use super::embedded::EmbeddedError;
use crate::printable::{EXAMPLE_URL, Messages};

/// The driver's text for a lost connection without a reason.
const CLOSED: &str = "connection closed";

#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("the embedded database is not available")]
    Embedded(#[from] EmbeddedError),
    /// The URL is malformed; it is not repeated, since it may hold a password.
    #[error("the database URL is malformed; it should look like {EXAMPLE_URL}, or be `embedded`")]
    Url,
    #[error(
        "the database URL names no host; it should look like {EXAMPLE_URL}, or, for the server of this machine, end with \
         `?host=/var/run/postgresql`"
    )]
    NoHost,
    #[error(
        "the database URL cannot be read: a password (or user) in it seems to hold `/`, `?`, `#` or `@` as they are; write \
         them as %2F, %3F, %23 and %40, or the URL as `key=value` pairs"
    )]
    Unencoded,
    #[error(
        "the database URL has a parameter `{name}`, which cursus does not know; correct its name, or take it out"
    )]
    Parameter { name: String },
    #[error(
        "the database URL asks by `{name}` for a certificate of the client, which cursus does not support; take it out, and use a \
         password"
    )]
    ClientCertificate { name: String },
    #[error(
        "cannot reach the database at {place}; check that the server runs, and the host and port of the database URL"
    )]
    Unreachable {
        place: String,
        source: Option<io::Error>,
    },
    #[error(
        "the database at {place} refuses {user}; check user, password and sslmode in the database URL, and the server's \
         pg_hba.conf"
    )]
    Refused { place: String, user: String },
    #[error(
        "there is no database {database} at {place}; create it with `createdb {database}`, or correct the database URL"
    )]
    NoDatabase { place: String, database: String },
    #[error(
        "the database refuses this for lack of rights; grant CREATE on the database and on its schema to the user, or use their owner"
    )]
    Rights,
    #[error(
        "the database at {place} has no connection left; close other programs, or raise max_connections"
    )]
    TooMany { place: String },
    #[error("the database at {place} does not let us connect: {what}; see the server's log")]
    NoSession {
        place: String,
        /// As of [`Self::Other`].
        what: String,
    },
    #[error("the database at {place} is starting up or shutting down; try again in a minute")]
    NotReady { place: String },
    #[error(
        "no encrypted connection to the database at {place}: {what}; check `sslmode` and `sslrootcert` of its URL"
    )]
    Tls { place: String, what: String },
    #[error(
        "the database {database} at {place} does not let {user} connect: the role lacks the right; grant CONNECT on the database to \
         it, or use another role"
    )]
    ConnectRight {
        place: String,
        database: String,
        user: String,
    },
    #[error(
        "the database URL has an unknown sslmode; it is disable, prefer, require, verify-ca or verify-full"
    )]
    SslMode,
    #[error(
        "the database URL has a `require_auth` that is not understood; write methods with commas between them, of password, md5, \
         scram-sha-256 and none, or each of them with a `!` before it"
    )]
    RequireAuth,
    #[error(
        "the database URL asks by `require_auth` how the server may ask for a password, which cursus cannot watch over on a \
         unix socket; take it out, or name the server by its host"
    )]
    SocketAuth,
    #[error("the database URL names hosts and unix sockets at once; name one kind of them")]
    MixedHosts,
    #[error(
        "the database at {place} asks for the password {}, on a connection that is not encrypted: it was not sent; let the \
         connection be encrypted (`sslmode=require`), or the server ask by scram-sha-256, or say that you want this with \
         `require_auth={method}` in the database URL",
        if *method == "md5" { "as an MD5 hash" } else { "in clear text" }
    )]
    InTheOpen { place: String, method: &'static str },
    #[error(
        "the database at {place} asks for `{method}`, which `require_auth` in the database URL does not allow: no password was \
         sent; correct `require_auth`, or the server's pg_hba.conf"
    )]
    OtherAuth { place: String, method: &'static str },
    #[error("the root certificate {} cannot be used: {what}", path.display())]
    RootCertificate {
        path: std::path::PathBuf,
        what: String,
    },
    #[error("the server at {place} is PostgreSQL {major}; cursus needs 14 or newer")]
    TooOld { place: String, major: i32 },
    #[error(
        "a pooler at {place} gives every transaction another session of the server, so that another client would hold the locks of \
         a load; name the server itself in the database URL, or let the pooler keep sessions (PgBouncer: pool_mode = session)"
    )]
    Pooler { place: String },
    #[error("other roles could have cursus run their code:\n  {}", Messages::of(.0))]
    Untrusted(Vec<String>),
    #[error(
        "the connection to the database was lost ({what}); what was committed is kept, run the command again"
    )]
    Lost { what: String },
    #[error(
        "another session holds a lock that this needs, and did not release it within 5 s; let it finish or end it \
         (pg_locks and pg_stat_activity show it), then run the command again"
    )]
    Busy,
    #[error(
        "the disk of the database server is full; make room on it, then run the command again: what was committed is kept"
    )]
    Full,
    #[error("the database reports an error: {what}")]
    Other {
        /// Code, condition and names, never the server's text.
        what: String,
    },
}

impl From<tokio_postgres::Error> for DatabaseError {
    /// For errors of an open connection; [`super::Database::explain`] knows more of a lost one.
    fn from(error: tokio_postgres::Error) -> Self {
        let what = describe(&error);
        if error.is_closed() {
            return Self::Lost { what };
        }
        match error.code() {
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Self::Rights,
            Some(
                &(SqlState::ADMIN_SHUTDOWN
                | SqlState::CRASH_SHUTDOWN
                | SqlState::CANNOT_CONNECT_NOW),
            ) => Self::Lost { what },
            Some(&SqlState::LOCK_NOT_AVAILABLE) => Self::Busy,
            Some(&SqlState::DISK_FULL) => Self::Full,
            // A statement of ours that its session does not know, or has already.
            Some(&(SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::DUPLICATE_PSTATEMENT)) => {
                Self::Pooler {
                    place: "the address in the database URL".to_owned(),
                }
            }
            None if io_cause(&error).is_some() => Self::Lost { what },
            // After an unexpected message, answers cannot be assigned to statements.
            None if what.starts_with("unexpected message") => Self::Lost { what },
            _ => Self::Other { what },
        }
    }
}

impl DatabaseError {
    /// Whether its sentence is several, a line each.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self, Self::Untrusted(_))
    }

    /// Gives a lost connection the place that it was to.
    #[must_use]
    pub(super) fn at(self, place: &str) -> Self {
        match self {
            Self::Lost { what } => Self::Lost {
                what: format!("{what}, at {place}"),
            },
            error => error,
        }
    }

    /// Gives the reason why a connection was lost, if it is known and was not.
    #[must_use]
    pub(crate) fn with_reason(self, reason: Option<String>) -> Self {
        match (self, reason) {
            (Self::Lost { what }, Some(reason)) if what == CLOSED => Self::Lost { what: reason },
            (error, _) => error,
        }
    }
}

/// The error of a connection that did not come about.
pub(super) fn not_connected(config: &Config, error: &tokio_postgres::Error) -> DatabaseError {
    let place = place(config);
    let user = config.get_user().unwrap_or("this user").to_owned();
    let database = config
        .get_dbname()
        .map_or_else(|| user.clone(), str::to_owned);
    match error.code() {
        Some(&(SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION)) => {
            DatabaseError::Refused { place, user }
        }
        Some(&SqlState::INVALID_CATALOG_NAME) => DatabaseError::NoDatabase { place, database },
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => DatabaseError::ConnectRight {
            place,
            database,
            user,
        },
        Some(&SqlState::TOO_MANY_CONNECTIONS) => DatabaseError::TooMany { place },
        Some(&SqlState::CANNOT_CONNECT_NOW) => DatabaseError::NotReady { place },
        Some(_) => DatabaseError::NoSession {
            place,
            what: describe(error),
        },
        None => {
            let text = error.to_string();
            if let Some(Broken::Method {
                method,
                in_the_open,
            }) = broken(error)
            {
                let method = method.name();
                if *in_the_open {
                    DatabaseError::InTheOpen { place, method }
                } else {
                    DatabaseError::OtherAuth { place, method }
                }
            } else if let Some(Broken::Network(cause)) = broken(error) {
                let source = Some(io::Error::new(cause.kind(), cause.to_string()));
                DatabaseError::Unreachable { place, source }
            } else if text.contains("TLS") {
                let cause = std::error::Error::source(error);
                DatabaseError::Tls {
                    place,
                    what: cause.map_or(text, |cause| untrusted(cause).unwrap_or(cause.to_string())),
                }
            } else if text.contains("configuration") || text.contains("authentication") {
                // A missing user, a password that was asked for and not given, a way to ask that we do not know.
                DatabaseError::Refused { place, user }
            } else {
                let source = io_cause(error).map(|e| io::Error::new(e.kind(), e.to_string()));
                DatabaseError::Unreachable { place, source }
            }
        }
    }
}

/// Why we have broken the connection off ourselves.
fn broken(error: &tokio_postgres::Error) -> Option<&Broken> {
    let cause = std::error::Error::source(error)?;
    cause.downcast_ref().or_else(|| {
        let io = cause.downcast_ref::<io::Error>()?;
        io.get_ref()?.downcast_ref()
    })
}

pub(super) fn place(config: &Config) -> String {
    let ports = config.get_ports();
    if config.get_hosts().is_empty() {
        let port = ports.first().copied().unwrap_or(5432);
        let addresses = config.get_hostaddrs().iter();
        let addresses = addresses.map(|address| SocketAddr::new(*address, port).to_string());
        return addresses.collect::<Vec<_>>().join(", ");
    }
    let hosts = config.get_hosts().iter().enumerate().map(|(index, host)| {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        match host {
            // Of an IPv6 address, where the port begins would be lost.
            Host::Tcp(name) if name.contains(':') => format!("[{name}]:{port}"),
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(dir) => dir.join(format!(".s.PGSQL.{port}")).display().to_string(),
        }
    });
    hosts.collect::<Vec<_>>().join(", ")
}

/// What is wrong with a certificate, where its own words are those of programmers.
fn untrusted(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    let io = cause.downcast_ref::<io::Error>()?;
    let error = io.get_ref()?.downcast_ref::<rustls::Error>()?;
    let what = match error {
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => "the server's certificate is not signed by a root that is trusted",
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "the server's certificate has expired",
        _ => return None,
    };
    Some(what.to_owned())
}

fn io_cause(error: &tokio_postgres::Error) -> Option<&io::Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return Some(io);
        }
        cause = inner.source();
    }
    None
}

/// The safe part of an error: SQLSTATE, and the names of schema, table, column and constraint. The server's text,
/// DETAIL and CONTEXT can hold people's data and are left out.
pub(crate) fn describe(error: &tokio_postgres::Error) -> String {
    let Some(server) = error.as_db_error() else {
        return match io_cause(error) {
            Some(io) => format!("{error} ({})", io.kind()),
            None => error.to_string(),
        };
    };
    let code = server.code().code();
    let mut text = format!("SQLSTATE {code}");
    for (what, name) in [
        ("schema", server.schema()),
        ("table", server.table()),
        ("column", server.column()),
        ("type", server.datatype()),
        ("constraint", server.constraint()),
    ] {
        if let Some(name) = name {
            text = format!("{text}, {what} {}", name.escape_debug());
        }
    }
    text
}
