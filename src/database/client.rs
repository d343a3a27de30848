//! An open session with the mirror's database.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::embedded::Cluster;
use super::error::{DatabaseError, describe};

pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Within this time a server notices that a client has died, where it can.
pub(crate) const WATCHED_EVERY: Duration = Duration::from_secs(10);
/// How long to wait for the last message of a lost connection.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(crate) enum Target {
    Embedded {
        /// The cluster's directory, usually `.cursus/pg`.
        dir: PathBuf,
    },
    /// A server that someone else runs, by URL or by `key=value` pairs.
    Url(SecretString),
}

/// A connection, and the hold on the private cluster if it is to that one.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) client: Client,
    /// How long to wait for the lock of a load; none: as long as for any other.
    pub(crate) lock_wait: Option<Duration>,
    pub(super) connection: Option<JoinHandle<Result<(), tokio_postgres::Error>>>,
    /// Wakes at each notification that the session listens for.
    pub(super) notified: Arc<Notify>,
    pub(super) version: String,
    /// Host and port, or the socket, for messages.
    pub(super) place: String,
    // After the client: the server must outlive the session.
    pub(super) cluster: Option<Cluster>,
}

impl Database {
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Waits for a notification; one that has come since the last wait counts.
    pub(crate) async fn notified(&self) {
        self.notified.notified().await;
    }

    /// The private cluster, if the connection is to that one.
    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// Turns an error of this connection into a sentence. When the connection is lost, its task has the reason.
    pub(crate) async fn explain(&mut self, error: tokio_postgres::Error) -> DatabaseError {
        let words = if error.is_closed() {
            self.last_words().await
        } else {
            None
        };
        (DatabaseError::from(error).with_reason(words)).at(&self.place)
    }

    /// The message of the server or the system when the connection was lost; `None` if unknown.
    pub(crate) async fn last_words(&mut self) -> Option<String> {
        let connection = self.connection.take()?;
        match tokio::time::timeout(LAST_WORDS, connection).await {
            Ok(Ok(Err(cause))) => Some(describe(&cause)),
            _ => None,
        }
    }

    /// Closes the session and waits for it, so that the server has released everything.
    pub(crate) async fn close(self) -> Result<(), DatabaseError> {
        drop(self.client);
        let Some(connection) = self.connection else {
            return Ok(());
        };
        match connection.await {
            Ok(Err(error)) => {
                let what = describe(&error);
                Err(DatabaseError::Lost { what }.at(&self.place))
            }
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }
}
