//! A stand-in for a pooler that lends sessions of the server by the transaction, as `PgBouncer` does with `pool_mode = transaction`:
//! the session that was used last is lent first. Knows no promise.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

use super::protocol::Message;

/// `AuthenticationOk`, then `ReadyForQuery` outside of a transaction.
const AUTHENTICATED: [u8; 4] = [0; 4];
const IDLE: &[u8] = b"I";

/// A socket of its own in front of a server's.
pub(crate) struct Pooler {
    dir: TempDir,
    serving: JoinHandle<()>,
}

impl Pooler {
    /// In front of the server whose socket is in that directory.
    pub(crate) fn to(server: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("pool-").tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(".s.PGSQL.5432")).unwrap();
        let pool = Arc::new(Pool {
            server: server.join(".s.PGSQL.5432"),
            idle: Mutex::default(),
        });
        let serving = tokio::spawn(async move {
            let mut clients = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                clients.spawn(serve(client, Arc::clone(&pool)));
            }
        });
        Self { dir, serving }
    }

    /// The URL of a database behind it.
    pub(crate) fn url(&self, database: &str) -> String {
        super::workdir::url_at(self.dir.path(), "cursus", database)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Pool {
    server: PathBuf,
    idle: Mutex<Vec<UnixStream>>,
}

impl Pool {
    /// The session that was used last, else a new one, opened as the client opened its own.
    async fn lend(&self, first: &Message) -> Option<UnixStream> {
        let idle = self.idle.lock().unwrap().pop();
        if idle.is_some() {
            return idle;
        }
        let mut session = UnixStream::connect(&self.server).await.ok()?;
        session.write_all(&first.bytes).await.ok()?;
        while Message::read(&mut session).await?.kind != b'Z' {}
        Some(session)
    }
}

async fn serve(mut client: UnixStream, pool: Arc<Pool>) -> Option<()> {
    let mut first = Message::first(&mut client).await?;
    if first.asks_for_tls() {
        client.write_all(b"N").await.ok()?;
        first = Message::first(&mut client).await?;
    }
    for message in [Message::new(b'R', &AUTHENTICATED), Message::new(b'Z', IDLE)] {
        client.write_all(&message.bytes).await.ok()?;
    }
    let mut lent = None;
    loop {
        let message = Message::read(&mut client).await?;
        if message.kind == b'X' {
            return None;
        }
        let mut session = match lent.take() {
            Some(session) => session,
            None => pool.lend(&first).await?,
        };
        session.write_all(&message.bytes).await.ok()?;
        let mut is_done = false;
        if message.is_answered() {
            loop {
                let answer = Message::read(&mut session).await?;
                client.write_all(&answer.bytes).await.ok()?;
                if answer.kind == b'Z' {
                    is_done = answer.bytes.ends_with(IDLE);
                    break;
                }
            }
        }
        if is_done {
            pool.idle.lock().unwrap().push(session);
        } else {
            lent = Some(session);
        }
    }
}
