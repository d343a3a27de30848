//! A way to a PostgreSQL server that can be cut. Knows no promise.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use super::protocol::Message;

/// What becomes of a connection at a message of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The message does not arrive, and both sides see the end of the connection.
    Before,
    /// The server does what the message asks for; its answer does not arrive, and both sides see the end.
    After,
    /// The server is not there: it answers with this SQLSTATE, and the connection ends.
    Refused(&'static str),
    /// A `Bind` names a statement that the server does not have. Nothing is cut: the server says so.
    Misled,
    /// Nothing arrives any more, either way, and neither side sees an end.
    Silence,
}

/// The body of a `Bind`: no portal's name, the statement's, and no formats, parameters and formats of results.
const ABSENT_STATEMENT: &[u8] = b"\0absent\0\0\0\0\0\0\0";

/// Looks at every message of every client, and may cut its connection.
type Judge = Box<dyn FnMut(&Message) -> Option<Cut> + Send>;

/// Changes a message of the server's.
type Edit = fn(&mut Message);

/// A socket of its own in front of a server's.
pub(crate) struct Proxy {
    dir: TempDir,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// To the server whose socket is in that directory.
    pub(crate) fn to(
        server: &Path,
        judge: impl FnMut(&Message) -> Option<Cut> + Send + 'static,
    ) -> Self {
        Self::editing(server, judge, |_| {})
    }

    /// As [`Self::to`], with a hand in what the server answers.
    pub(crate) fn editing(
        server: &Path,
        judge: impl FnMut(&Message) -> Option<Cut> + Send + 'static,
        edit: Edit,
    ) -> Self {
        let dir = tempfile::Builder::new().prefix("cut-").tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(".s.PGSQL.5432")).unwrap();
        let server = server.join(".s.PGSQL.5432");
        let judge: Arc<Mutex<Judge>> = Arc::new(Mutex::new(Box::new(judge)));
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                connections.spawn(serve(client, server.clone(), Arc::clone(&judge), edit));
            }
        });
        Self { dir, serving }
    }

    /// The URL of a database behind it.
    pub(crate) fn url(&self, database: &str) -> String {
        super::workdir::url_at(self.dir.path(), "cursus", database)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What both directions of a connection know.
#[derive(Default)]
struct Shared {
    /// Answers that the server still owes.
    owed: AtomicI64,
    /// Answers are not passed on.
    is_mute: AtomicBool,
    settled: Notify,
}

async fn serve(client: UnixStream, server: PathBuf, judge: Arc<Mutex<Judge>>, edit: Edit) {
    let (mut from_client, mut to_client) = client.into_split();
    let mut first = Message::first(&mut from_client).await;
    if first.as_ref().is_some_and(Message::asks_for_tls) {
        let _ = to_client.write_all(b"N").await;
        first = Message::first(&mut from_client).await;
    }
    let Ok(server) = UnixStream::connect(&server).await else {
        return;
    };
    let (from_server, mut to_server) = server.into_split();
    let shared = Arc::new(Shared::default());
    let mut answers = Some((from_server, to_client));
    let mut answering = None;
    let mut next = first;
    while let Some(mut message) = next.take() {
        let cut = judge.lock().unwrap()(&message);
        match cut {
            None => {}
            Some(Cut::Misled) => message = Message::new(b'B', ABSENT_STATEMENT),
            Some(Cut::Before) => break,
            Some(Cut::Refused(sqlstate)) => {
                if let Some((_, to_client)) = &mut answers {
                    let _ = to_client.write_all(&Message::refusal(sqlstate).bytes).await;
                }
                break;
            }
            Some(Cut::After | Cut::Silence) => shared.is_mute.store(true, Ordering::SeqCst),
        }
        if cut == Some(Cut::Silence) {
            // The sockets stay open until the test ends.
            std::future::pending::<()>().await;
        }
        if message.is_answered() {
            shared.owed.fetch_add(1, Ordering::SeqCst);
        }
        if to_server.write_all(&message.bytes).await.is_err() {
            break;
        }
        if let Some((from_server, to_client)) = answers.take() {
            answering = Some(tokio::spawn(answer(
                from_server,
                to_client,
                Arc::clone(&shared),
                edit,
            )));
        }
        if cut == Some(Cut::After) {
            while message.is_answered() && shared.owed.load(Ordering::SeqCst) > 0 {
                shared.settled.notified().await;
            }
            break;
        }
        next = Message::read(&mut from_client).await;
    }
    // A client that has left or is cut off is owed nothing.
    if let Some(answering) = answering {
        answering.abort();
    }
}

/// Passes the server's messages on until it closes.
async fn answer(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    shared: Arc<Shared>,
    edit: Edit,
) {
    while let Some(mut message) = Message::read(&mut server).await {
        edit(&mut message);
        match message.kind {
            // The Sync that was sent right behind a COPY is passed over when it begins.
            b'Z' | b'G' => shared.owed.fetch_sub(1, Ordering::SeqCst),
            _ => 0,
        };
        if shared.is_mute.load(Ordering::SeqCst) {
            shared.settled.notify_one();
        } else if client.write_all(&message.bytes).await.is_err() {
            break;
        }
    }
    shared.owed.store(0, Ordering::SeqCst);
    shared.settled.notify_one();
}
