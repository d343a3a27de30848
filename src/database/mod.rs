//! The connection to the mirror's `PostgreSQL`: reaching it, its session settings, and what its errors mean to a person.
//! Knows nothing of tables.

pub mod catalogue;
pub mod embedded;
mod error;
mod sessions;
mod sqlstate;
mod tls;

#[cfg(test)]
pub(crate) mod testing;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::task::JoinHandle;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, NoTls, Socket};

use embedded::{Cluster, Options};
use error::not_connected;
pub use error::{DatabaseError, describe};
pub use sessions::{LockKey, cancel_all, holder};

/// The oldest server that we use, as `server_version_num`.
const OLDEST_SERVER: i32 = 140_000;
/// How long a lock is waited for.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);
/// How long to wait for an address that does not answer, where the URL does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the mirror is.
#[derive(Debug, Clone)]
pub enum Target {
    /// A private cluster in a directory.
    Embedded {
        /// The cluster's directory, usually `.cursus/pg`.
        dir: PathBuf,
    },
    /// A server that someone else runs, by URL or by `key=value` pairs.
    Url(SecretString),
}

/// A connection, and the hold on the private cluster if it goes there.
#[derive(Debug)]
pub struct Database {
    /// The open session.
    pub client: Client,
    /// How long to wait for the lock of a load; none: as long as for any other.
    pub lock_wait: Option<Duration>,
    connection: JoinHandle<Result<(), tokio_postgres::Error>>,
    // After the client: the server must outlive the session.
    cluster: Option<Cluster>,
}

impl Database {
    /// Connects, checks the server's version, and sets up the session: times in UTC, 5 s of patience for locks, and a server that
    /// notices within 10 s that we have died, where it can.
    pub async fn connect(target: &Target, application_name: &str) -> Result<Self, DatabaseError> {
        match target {
            Target::Embedded { dir } => {
                let cluster = Cluster::open(dir, &Options { fsync: true }).await?;
                let config = cluster.config(embedded::DATABASE);
                Self::open(config, NoTls, application_name, Some(cluster)).await
            }
            Target::Url(url) => {
                let parsed = tls::parse(url.expose_secret())?;
                let connector = parsed.connector()?;
                Self::open(parsed.config, connector, application_name, None).await
            }
        }
    }

    async fn open<T>(
        mut config: Config,
        tls: T,
        application_name: &str,
        cluster: Option<Cluster>,
    ) -> Result<Self, DatabaseError>
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send + 'static,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        config.application_name(application_name);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        let (client, connection) = config
            .connect(tls.clone())
            .await
            .map_err(|error| not_connected(&config, &error))?;
        let listed = sessions::list(client.cancel_token(), tls);
        let connection = tokio::spawn(async move {
            let _listed = listed;
            connection.await
        });
        let mut database = Self {
            client,
            lock_wait: None,
            connection,
            cluster,
        };
        match database.set_up().await {
            Ok(()) => Ok(database),
            Err(SetUp::TooOld(major)) => Err(DatabaseError::TooOld { major }),
            Err(SetUp::Server(error)) => Err(database.explain(error).await),
        }
    }

    async fn set_up(&self) -> Result<(), SetUp> {
        let row = self
            .client
            .query_one(
                "SELECT current_setting('server_version_num')::int,
                    set_config('TimeZone', 'UTC', false), set_config('lock_timeout', '5s', false)",
                &[],
            )
            .await
            .map_err(SetUp::Server)?;
        let version: i32 = row.get(0);
        if version < OLDEST_SERVER {
            return Err(SetUp::TooOld(version / 10_000));
        }
        // Not every system can watch its connections; the server then refuses the setting.
        let watched = self
            .client
            .batch_execute("SET client_connection_check_interval = '10s'")
            .await;
        match watched {
            Err(error) if error.as_db_error().is_none() => Err(SetUp::Server(error)),
            _ => Ok(()),
        }
    }

    /// The private cluster, if the connection goes there.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// Turns an error of this connection into a sentence. When the connection is gone, the reason lies with its task.
    pub async fn explain(&mut self, error: tokio_postgres::Error) -> DatabaseError {
        if !error.is_closed() {
            return error.into();
        }
        let what = match (&mut self.connection).await {
            Ok(Err(cause)) => describe(&cause),
            Ok(Ok(())) | Err(_) => describe(&error),
        };
        DatabaseError::Lost { what }
    }

    /// Ends the session and waits for it, so that the server has let go of everything.
    pub async fn close(self) -> Result<(), DatabaseError> {
        drop(self.client);
        match self.connection.await {
            Ok(Err(error)) => Err(DatabaseError::Lost {
                what: describe(&error),
            }),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }
}

enum SetUp {
    TooOld(i32),
    Server(tokio_postgres::Error),
}

/// A name as an SQL identifier: the only place that quotes one.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a>(
    /// The bare name.
    pub &'a str,
);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_fails_says_what_to_do_and_no_secret() {
        let cluster = testing::cluster().await;
        let socket = cluster.socket_dir().display();
        let no_server = "postgres://someone:hunter2@127.0.0.1:1/mirror".to_owned();
        let no_database = format!("host={socket} user=cursus password=hunter2 dbname=absent");
        let no_user = format!("host={socket} user=nobody_here password=hunter2 dbname=cursus");
        let malformed = "postgres://someone:hunter2@host:port/mirror".to_owned();
        for (url, expected) in [
            (no_server, "cannot reach the database at 127.0.0.1:1"),
            (no_database, "createdb absent"),
            (no_user, "does not let nobody_here in"),
            (malformed, "the database URL is malformed"),
        ] {
            let target = Target::Url(SecretString::from(url));
            let error = Database::connect(&target, "test").await.unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(
                !format!("{error:?} {error}").contains("hunter2"),
                "{error:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_error_names_the_place_and_never_the_value() {
        let client = testing::database().await;
        client
            .batch_execute("CREATE TABLE people (login text CONSTRAINT one_each UNIQUE)")
            .await
            .unwrap();
        let twice = "INSERT INTO people VALUES ('jdoe'), ('jdoe')";
        let error = client.batch_execute(twice).await.unwrap_err();
        assert_eq!(
            describe(&error),
            "SQLSTATE 23505 (unique_violation), schema public, table people, constraint one_each"
        );
        let error = client.query("SELECT 'jdoe'::int", &[]).await.unwrap_err();
        assert_eq!(
            describe(&error),
            "SQLSTATE 22P02 (invalid_text_representation)"
        );
    }

    #[tokio::test]
    async fn the_reason_of_a_lost_connection_is_told() {
        let cluster = testing::cluster().await;
        let url = format!(
            "host={} user=cursus dbname=cursus",
            cluster.socket_dir().display()
        );
        let target = Target::Url(SecretString::from(url));
        let mut database = Database::connect(&target, "test").await.unwrap();
        let row = database
            .client
            .query_one("SELECT pg_backend_pid()", &[])
            .await
            .unwrap();
        let other = testing::database().await;
        other
            .execute("SELECT pg_terminate_backend($1)", &[&row.get::<_, i32>(0)])
            .await
            .unwrap();
        // To send something meanwhile could meet a closed socket before the server's last words are read.
        while !database.client.is_closed() {
            tokio::task::yield_now().await;
        }
        let error = database.client.batch_execute("SELECT 1").await.unwrap_err();
        let error = database.explain(error).await;
        assert!(error.to_string().contains("admin_shutdown"), "{error}");
    }

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        assert_eq!(Quoted("a\"; DROP").to_string(), "\"a\"\"; DROP\"");
    }
}
