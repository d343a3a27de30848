//! The connection to the mirror's `PostgreSQL`: reaching it, its session settings, and what its errors mean to a person.
//! Knows nothing of tables.

mod auth;
pub mod catalogue;
mod commit;
mod connect;
pub mod embedded;
mod error;
mod place;
mod pooler;
mod sessions;
mod sqlstate;
mod tls;
pub mod trust;
mod url;

#[cfg(test)]
pub(crate) mod testing;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

pub use commit::{Commit, commit};
use connect::Use;
use embedded::Cluster;
pub use error::{DatabaseError, describe};
pub use place::{Place, role};
pub use sessions::{LockKey, Sessions, holder, holder_is_gone};
pub use tls::{check_url, for_libpq, holds_password};

/// How long a lock is waited for.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Within this time a server notices that a client has died, where it can.
pub const WATCHED_EVERY: Duration = Duration::from_secs(10);
/// How long to wait for the last words of a connection that is gone.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
    /// Until it was waited for.
    connection: Option<JoinHandle<Result<(), tokio_postgres::Error>>>,
    version: String,
    // After the client: the server must outlive the session.
    cluster: Option<Cluster>,
}

impl Database {
    /// Connects, checks the server's version, and sets up the session: a search path that holds nothing of others, times in UTC, 5 s of patience for locks, and a server that
    /// notices within [`WATCHED_EVERY`] that we have died, where it can. A server that is away, or starts, is tried again for a while.
    pub async fn connect(target: &Target, application_name: &str) -> Result<Self, DatabaseError> {
        connect::connect(target, application_name, Use::Read).await
    }

    /// As [`Self::connect`], for commands that write: they need a session that is theirs from its beginning to its end.
    pub async fn connect_to_write(
        target: &Target,
        application_name: &str,
    ) -> Result<Self, DatabaseError> {
        connect::connect(target, application_name, Use::Write).await
    }

    /// As [`Self::connect`], for questions that others have written: to the private cluster as a role that may only read, and
    /// that is no superuser.
    pub async fn connect_to_ask(
        target: &Target,
        application_name: &str,
    ) -> Result<Self, DatabaseError> {
        connect::connect(target, application_name, Use::Ask).await
    }

    /// Lets a session read views as well. Whoever does it knows that nothing of others is in them.
    pub async fn read_views(&self) -> Result<(), DatabaseError> {
        connect::read_views(&self.client).await
    }

    /// The server's version, such as `15.18`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The private cluster, if the connection goes there.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// Turns an error of this connection into a sentence. When the connection is gone, the reason lies with its task.
    pub async fn explain(&mut self, error: tokio_postgres::Error) -> DatabaseError {
        let words = if error.is_closed() {
            self.last_words().await
        } else {
            None
        };
        DatabaseError::from(error).with_reason(words)
    }

    /// What the server or the system said when the connection ended; none if nothing is known.
    pub async fn last_words(&mut self) -> Option<String> {
        let connection = self.connection.take()?;
        match tokio::time::timeout(LAST_WORDS, connection).await {
            Ok(Ok(Err(cause))) => Some(describe(&cause)),
            _ => None,
        }
    }

    /// Ends the session and waits for it, so that the server has let go of everything.
    pub async fn close(self) -> Result<(), DatabaseError> {
        drop(self.client);
        let Some(connection) = self.connection else {
            return Ok(());
        };
        match connection.await {
            Ok(Err(error)) => Err(DatabaseError::Lost {
                what: describe(&error),
            }),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }
}

/// A hold on the private server, so that it starts once for sessions that come and go; none if the mirror is on another one.
pub async fn hold_server(target: &Target) -> Result<Option<Cluster>, DatabaseError> {
    Ok(match target {
        Target::Embedded { dir } => Some(connect::open_cluster(dir).await?),
        Target::Url(_) => None,
    })
}

/// A patience as PostgreSQL's `lock_timeout` has it, in which 0 would be for ever.
pub fn lock_timeout_of(wait: Duration) -> String {
    wait.as_millis().clamp(1, 2_147_483_647).to_string()
}

/// A time of the database as text, whatever the session's time zone; an expression.
pub fn utc(time: &str) -> String {
    format!("to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
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

/// A text as an SQL literal: the only place that writes one. It is the same whatever `standard_conforming_strings` says.
#[derive(Debug, Clone, Copy)]
pub struct Literal<'a>(
    /// The bare text.
    pub &'a str,
);

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.replace('\'', "''");
        if text.contains('\\') {
            write!(f, "E'{}'", text.replace('\\', "\\\\"))
        } else {
            write!(f, "'{text}'")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_fails_says_what_to_do_and_no_secret() {
        let cluster = testing::cluster().await;
        let socket = cluster.socket_dir().display();
        let no_server =
            "postgres://someone:hunter2@127.0.0.1:1/mirror?connect_timeout=1".to_owned();
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

    #[tokio::test]
    async fn a_literal_is_its_text_whatever_a_backslash_means_to_the_session() {
        let client = testing::database().await;
        let texts = prop_oneof![r"[a'\\ ]{0,9}", "[^\0]{0,20}"];
        let mut runner = TestRunner::deterministic();
        for meaning in ["on", "off"] {
            let set = format!(
                "SET standard_conforming_strings = {meaning}; SET escape_string_warning = off"
            );
            client.batch_execute(&set).await.unwrap();
            let some: Vec<String> = (0..300)
                .map(|_| texts.new_tree(&mut runner).unwrap().current())
                .collect();
            let literals: Vec<String> = some.iter().map(|text| Literal(text).to_string()).collect();
            let query = format!("SELECT ARRAY[{}]::text[]", literals.join(","));
            let row = client.query_one(&query, &[]).await.unwrap();
            assert_eq!(row.get::<_, Vec<String>>(0), some, "{meaning}");
        }
    }
}
