//! A real server on this machine that answers what a test tells it to, faults of the connection included.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A request as it came in.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) head: String,
    pub(super) body: String,
    /// Requests of this kind (token or page) before it.
    pub(super) earlier: usize,
}

impl Received {
    pub(super) fn is_token(&self) -> bool {
        self.head.starts_with("POST /oauth/token ")
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    }
}

/// What happens to a request.
pub(super) enum Reply {
    /// These bytes, and the connection stays.
    Bytes(Vec<u8>),
    /// These bytes, and the connection is closed.
    Cut(Vec<u8>),
    /// The connection is reset.
    Reset,
    /// Nothing, until the client gives up.
    Stall,
    /// First a pause on this gate.
    After(Arc<tokio::sync::Notify>, Box<Reply>),
}

/// An answer with rate headers that let a test run on at once.
pub(super) fn http(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!(
        "HTTP/1.1 {status} Whatever\r\nX-Secondly-RateLimit-Limit: 5000\r\nX-Hourly-RateLimit-Limit: 100000\r\n"
    );
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-length"))
    {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head += "\r\n";
    [head.as_bytes(), body].concat()
}

pub(super) fn json(status: u16, body: &str) -> Reply {
    Reply::Bytes(http(
        status,
        &[("Content-Type", "application/json; charset=utf-8")],
        body.as_bytes(),
    ))
}

pub(super) fn token(access_token: &str, expires_in: u64) -> Reply {
    json(
        200,
        &format!(
            r#"{{"access_token":"{access_token}","token_type":"bearer","expires_in":{expires_in},"scope":"public projects","created_at":1700000000,"secret_valid_until":1702000000}}"#
        ),
    )
}

pub(super) struct Server {
    pub(super) url: String,
    log: Arc<Log>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Log {
    received: Mutex<Vec<Received>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) async fn start(answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Log::default());
        let answer = Arc::new(answer);
        let task = tokio::spawn({
            let log = Arc::clone(&log);
            async move {
                // Connections end with the server.
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                    connections.spawn(async move { serve(stream, &log, &*answer).await });
                }
            }
        });
        Self { url, log, task }
    }

    /// A server that gives the token `canary-token` and answers pages as `answer` says.
    pub(super) async fn with_token(
        answer: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start(move |received| {
            if received.is_token() {
                token("canary-token", 7200)
            } else {
                answer(received)
            }
        })
        .await
    }

    pub(super) fn pages(&self) -> Vec<Received> {
        self.all()
            .into_iter()
            .filter(|received| !received.is_token())
            .collect()
    }

    pub(super) fn tokens(&self) -> Vec<Received> {
        self.all().into_iter().filter(Received::is_token).collect()
    }

    pub(super) fn most_under_way(&self) -> usize {
        self.log.most_under_way.load(Ordering::SeqCst)
    }

    fn all(&self) -> Vec<Received> {
        self.log.received.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    log: &Log,
    answer: &(impl Fn(&Received) -> Reply + Send + Sync),
) {
    let mut buffer = Vec::new();
    while let Some(mut received) = read(&mut stream, &mut buffer).await {
        {
            let mut all = log.received.lock().unwrap();
            received.earlier = all
                .iter()
                .filter(|one| one.is_token() == received.is_token())
                .count();
            all.push(received.clone());
        }
        let now = log.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        log.most_under_way.fetch_max(now, Ordering::SeqCst);
        let is_open = act(&mut stream, answer(&received)).await;
        log.under_way.fetch_sub(1, Ordering::SeqCst);
        if !is_open {
            return;
        }
    }
}

async fn act(stream: &mut TcpStream, reply: Reply) -> bool {
    match reply {
        Reply::Bytes(bytes) => stream.write_all(&bytes).await.is_ok(),
        Reply::Cut(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            false
        }
        Reply::Reset => {
            let _ = stream.set_zero_linger();
            false
        }
        Reply::Stall => {
            let mut ignored = [0; 64];
            while stream.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
            false
        }
        Reply::After(gate, reply) => {
            let _ = tokio::time::timeout(Duration::from_secs(20), gate.notified()).await;
            Box::pin(act(stream, *reply)).await
        }
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.drain(..end).collect()).ok()?;
    let mut received = Received {
        head,
        body: String::new(),
        earlier: 0,
    };
    let length: usize = received
        .header("content-length")
        .map_or(0, |text| text.parse().unwrap());
    while buffer.len() < length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    received.body = String::from_utf8(buffer.drain(..length).collect()).ok()?;
    Some(received)
}
