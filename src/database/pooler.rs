//! Recognises a pooler that gives each transaction another session of the server: locks and settings would stay with
//! another client.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::FromSql;
use tokio_postgres::{Client, Config, Socket};

/// How long to wait for the answers of the second session. One that does not come proves nothing.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often the process of each session is asked for where there is a pooler: one that is busy can lend the same by chance.
const ASKS: usize = 12;

/// A setting of our own that the second session begins with. Servers take it, poolers refuse or forget it.
const MARK: &str = "-c cursus.direct=yes";
const MARKED: &str = "SELECT pg_catalog.current_setting('cursus.direct', true)";

/// The server process behind a session. Processes of several servers behind one address may have the same number. The session has
/// no search path of ours yet, so that no operator may stand here.
const PROCESS: &str = "SELECT pg_catalog.concat_ws(' ', pg_catalog.pg_backend_pid(), pg_catalog.pg_postmaster_start_time())";

/// A second session beside the first; none if it was refused.
pub(super) struct Other(Option<Client>);

impl Other {
    pub(super) async fn open<T>(config: &Config, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let mut config = config.clone();
        let options = config.get_options().map(|given| format!("{given} {MARK}"));
        config.options(options.as_deref().unwrap_or(MARK));
        Self(
            timeout(PATIENCE, connect(&config, tls))
                .await
                .ok()
                .flatten(),
        )
    }

    /// Whether a pooler lends the sessions of the server by the transaction. One round trip if there is no pooler.
    pub(super) async fn tells_of_lending<T>(self, first: &Client, config: &Config, tls: T) -> bool
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let asked = async {
            if let Some(marked) = &self.0
                && value::<Option<String>>(marked, MARKED).await?.as_deref() == Some("yes")
            {
                return Some(false);
            }
            drop(self.0);
            let second = connect(config, tls).await?;
            is_lent(first, &second).await
        };
        matches!(timeout(PATIENCE, asked).await, Ok(Some(true)))
    }
}

async fn connect<T>(config: &Config, tls: T) -> Option<Client>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect(tls).await.ok()?;
    tokio::spawn(connection);
    Some(client)
}

/// Two sessions that are open at once never share a process of the server, and a session never changes its own.
async fn is_lent(first: &Client, second: &Client) -> Option<bool> {
    let of_first: String = value(first, PROCESS).await?;
    let of_second: String = value(second, PROCESS).await?;
    let mut is_lent = of_first == of_second;
    for _ in 0..ASKS {
        is_lent = is_lent
            || value::<String>(second, PROCESS).await? != of_second
            || value::<String>(first, PROCESS).await? != of_first;
    }
    Some(is_lent)
}

/// What a query gives, without a statement that the next transaction would have to know.
async fn value<V>(client: &Client, query: &str) -> Option<V>
where
    V: for<'v> FromSql<'v>,
{
    let rows = client.query_typed(query, &[]).await.ok()?;
    rows.first()?.try_get(0).ok()
}
