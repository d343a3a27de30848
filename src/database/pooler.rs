//! Recognises a pooler that gives each transaction another session of the server: locks and settings of ours would stay with
//! somebody else.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Socket};

/// How long to wait for the second session's answers. One that does not come proves nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// The server process behind a session. Processes of several servers behind one address may have the same number.
const PROCESS: &str =
    "SELECT pg_catalog.pg_backend_pid() || ' ' || pg_catalog.pg_postmaster_start_time()";

/// A second session beside the first. Two sessions that are open at once never share a process of the server, and a session never
/// changes its own: a pooler that hands out its sessions by the transaction gives the one that was used last, which is the first
/// session's, or another one each time.
pub(super) struct Other(Option<Client>);

impl Other {
    /// Opens it, if that can be done: a server may have no connection to spare.
    pub(super) async fn open<T>(config: &Config, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let Ok(Ok((client, connection))) = timeout(PATIENCE, config.connect(tls)).await else {
            return Self(None);
        };
        tokio::spawn(connection);
        Self(Some(client))
    }

    /// Whether a pooler lends one process to both. One round trip of each session.
    pub(super) async fn shares_with(self, first: &Client) -> bool {
        let Some(other) = &self.0 else {
            return false;
        };
        let asked = async {
            // The first session is idle when the other one asks.
            let first = process(first).await?;
            let (before, after) = tokio::join!(process(other), process(other));
            let (before, after) = (before?, after?);
            Some(before == first || before != after)
        };
        matches!(timeout(PATIENCE, asked).await, Ok(Some(true)))
    }
}

async fn process(client: &Client) -> Option<String> {
    let rows = client.query_typed(PROCESS, &[]).await.ok()?;
    rows.first()?.try_get(0).ok()
}
