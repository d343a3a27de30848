//! An HTTP server that receives notifications and answers as a test wants. Knows no promise.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How it answers.
#[derive(Clone, Copy)]
pub(crate) enum Answers {
    Status(u16),
    /// It reads, and says nothing.
    Hangs,
    /// To itself, at another path.
    Redirects,
}

/// A running one; it stops with this.
pub(crate) struct Receiver {
    port: u16,
    received: Arc<Mutex<Vec<(String, String)>>>,
    serving: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    pub(crate) async fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&received);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answers, Arc::clone(&log)));
            }
        });
        Self {
            port,
            received,
            serving,
        }
    }

    /// Its address, with a secret part.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/ping/canary-uuid", self.port)
    }

    /// Paths behind its address, and bodies, in the order in which they came.
    pub(crate) fn received(&self) -> Vec<(String, String)> {
        self.received.lock().unwrap().clone()
    }

    /// The paths alone.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.received().into_iter().map(|(path, _)| path).collect()
    }
}

async fn serve(mut stream: TcpStream, answers: Answers, log: Arc<Mutex<Vec<(String, String)>>>) {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    let (head, length) = loop {
        let Ok(count @ 1..) = stream.read(&mut part).await else {
            return;
        };
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, _)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.eq_ignore_ascii_case("content-length")).then(|| value.trim().parse().unwrap())
        });
        break (head.to_owned(), length.unwrap_or(0_usize));
    };
    while bytes.len() < head.len() + 4 + length {
        let Ok(count @ 1..) = stream.read(&mut part).await else {
            return;
        };
        bytes.extend_from_slice(&part[..count]);
    }
    let body = String::from_utf8_lossy(&bytes[head.len() + 4..]).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let path = path.trim_start_matches("/ping/canary-uuid").to_owned();
    log.lock().unwrap().push((path, body));
    let answer = match answers {
        Answers::Hangs => {
            // Until the client goes.
            let _ = stream.read(&mut part).await;
            return;
        }
        Answers::Redirects => "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\n".to_owned(),
        Answers::Status(status) => format!("HTTP/1.1 {status} Whatever\r\n"),
    };
    let answer = format!("{answer}content-length: 0\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(answer.as_bytes()).await;
}
