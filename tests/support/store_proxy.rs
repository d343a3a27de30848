//! A way to an object store that fails: between the program and a server of another process. Knows no promise.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is answered with 500, and does not arrive.
    Error,
    /// The connection ends before it arrives.
    CutBefore,
    /// It arrives, and the connection ends before the answer.
    CutAfter,
    /// It arrives, and half of the answer comes.
    Half,
    /// The answer comes byte by byte.
    Slow,
}

/// A running one; it stops with this.
pub(crate) struct StoreProxy {
    pub(crate) url: String,
    /// Requests so far.
    pub(crate) requests: Arc<AtomicU32>,
    serving: JoinHandle<()>,
}

impl Drop for StoreProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl StoreProxy {
    /// To the server on that port; `judge` sees the number of each request, from 0.
    pub(crate) async fn to(port: u16, judge: fn(u32) -> Option<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&requests);
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let _ = serve(client, port, &count, judge).await;
                });
            }
        });
        Self {
            url,
            requests,
            serving,
        }
    }
}

/// One request of a connection, which ends with it.
async fn serve(
    mut client: TcpStream,
    port: u16,
    count: &AtomicU32,
    judge: fn(u32) -> Option<Fault>,
) -> std::io::Result<()> {
    let Some(request) = read_request(&mut client).await? else {
        return Ok(());
    };
    let fault = judge(count.fetch_add(1, Ordering::SeqCst));
    match fault {
        Some(Fault::Error) => {
            let answer = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            return client.write_all(answer.as_bytes()).await;
        }
        Some(Fault::CutBefore) => return Ok(()),
        _ => {}
    }
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    server.write_all(&request).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    match fault {
        Some(Fault::CutAfter) => {}
        Some(Fault::Half) => client.write_all(&answer[..answer.len() / 2]).await?,
        Some(Fault::Slow) => {
            client.set_nodelay(true)?;
            for byte in answer.chunks(1) {
                client.write_all(byte).await?;
                tokio::task::yield_now().await;
            }
        }
        _ => client.write_all(&answer).await?,
    }
    client.shutdown().await
}

/// A request with its body, which asks for the end of the connection; none if there is no further one.
async fn read_request(client: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let (mut bytes, mut part) = (Vec::new(), vec![0; 16 << 10]);
    let head = loop {
        let length = client.read(&mut part).await?;
        if length == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&part[..length]);
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            break end;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().unwrap())
    });
    while bytes.len() < head + 4 + length.unwrap_or(0) {
        let length = client.read(&mut part).await?;
        if length == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&part[..length]);
    }
    let mut request = format!("{text}\r\nconnection: close\r\n\r\n").into_bytes();
    request.extend_from_slice(&bytes[head + 4..]);
    Ok(Some(request))
}
