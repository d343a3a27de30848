//! What an extraction takes of memory and disk is bounded, whatever the API sends and however many requests are in flight.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, watch};

use crate::support::Workdir;
use crate::support::running::until;

/// In kilobytes. Without optimisation the program itself takes 10 MB more, and each request twice as much.
const MOST: u64 = if cfg!(debug_assertions) {
    80_000
} else {
    48_000
};

/// What all bodies in flight may take on disk, beside the largest of them.
const MOST_ON_DISK: u64 = 32 << 20;

/// Requests that are answered at the same moment.
const AT_ONCE: usize = 256;

/// How a command ended, and the most that it took: memory in kilobytes, nameless files in bytes.
struct Taken {
    code: Option<i32>,
    memory: u64,
    disk: u64,
}

#[expect(
    clippy::print_stdout,
    reason = "the figures are of interest also when they are within their bounds"
)]
async fn taken(workdir: &Workdir, arguments: &[&str]) -> Taken {
    let mut command = workdir.command(arguments);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let process = PathBuf::from(format!("/proc/{}", child.id().unwrap()));
    let (mut memory, mut disk) = (0, 0);
    until("it has ended", async || {
        let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        memory = kilobytes.map_or(memory, |text| text.parse().unwrap());
        let files = std::fs::read_dir(process.join("fd")).into_iter().flatten();
        let nameless = files.flatten().filter(|file| {
            let name = std::fs::read_link(file.path()).unwrap_or_default();
            name.to_string_lossy().ends_with(" (deleted)")
        });
        let sizes = nameless.flat_map(|file| std::fs::metadata(file.path()));
        disk = disk.max(sizes.map(|file| file.blocks() * 512).sum());
        child.try_wait().unwrap().is_some()
    })
    .await;
    println!("{arguments:?}: {memory} kB, {disk} bytes in files");
    Taken {
        code: child.wait().await.unwrap().code(),
        memory,
        disk,
    }
}

/// An API of people, and of one page for each of them.
struct Api {
    people: usize,
    /// The page of a person.
    page: Box<dyn Fn(usize) -> Vec<u8> + Send + Sync>,
    headers: &'static str,
    /// Pages wait for one another.
    barrier: Option<Barrier>,
    /// How many pages were asked for, if each is answered only when [`AT_ONCE`] wait.
    queue: Option<watch::Sender<usize>>,
    requests: AtomicUsize,
}

impl Api {
    fn new(people: usize, page: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self {
            people,
            page: Box::new(page),
            headers: "",
            barrier: None,
            queue: None,
            requests: AtomicUsize::new(0),
        }
    }

    /// Serves a directory whose extractions read one page a person.
    async fn serve(self) -> (Workdir, Arc<Self>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let api = Arc::new(self);
        let served = Arc::clone(&api);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&served).answer(stream));
            }
        });
        let mut workdir = Workdir::new().await;
        workdir.set("CURSUS_API_URL", url);
        workdir.set("CURSUS_CLIENT_ID", "an-id");
        workdir.set("CURSUS_CLIENT_SECRET", "a-secret");
        workdir.pipeline(&[("batch = 85", "batch = 1")]);
        (workdir, api)
    }

    async fn answer(self: Arc<Self>, mut stream: TcpStream) {
        while let Some(request) = next_request(&mut stream).await {
            let (headers, total, body) = self.body(&request).await;
            let length = body.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nX-Total: {total}\r\n\
                 X-Secondly-RateLimit-Limit: 100000\r\nX-Hourly-RateLimit-Limit: 10000000\r\n{headers}\r\n"
            );
            let sent = stream.write_all(&[head.as_bytes(), &body].concat()).await;
            if sent.is_err() {
                return;
            }
        }
    }

    /// Until the queue behind this request is full, or no other will come.
    async fn wait_in(&self, queue: &watch::Sender<usize>) {
        let mut last = 0;
        queue.send_modify(|asked| {
            last = (*asked + AT_ONCE).min(self.people - 1);
            *asked += 1;
        });
        let _ = queue.subscribe().wait_for(|asked| *asked >= last).await;
    }

    async fn body(&self, request: &str) -> (&'static str, usize, Vec<u8>) {
        if request.starts_with("POST") {
            let token = r#"{"access_token":"a-token","token_type":"bearer","expires_in":7200}"#;
            return ("", 0, token.into());
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let number = |name: &str, end: &str| {
            let (_, rest) = request.split_once(name)?;
            rest.split_once(end)?.0.parse::<usize>().ok()
        };
        if let Some(person) = number("filter%5Buser_id%5D=", "&") {
            // The first one is read alone.
            if let Some(barrier) = self.barrier.as_ref().filter(|_| person > 1) {
                barrier.wait().await;
            }
            if let Some(queue) = self.queue.as_ref().filter(|_| person > 1) {
                self.wait_in(queue).await;
            }
            return (self.headers, 1, (self.page)(person));
        }
        let above = number("range%5Bid%5D=0%2C", "&").unwrap_or(self.people);
        let people = (1..=above).rev().take(100).map(|id| json!({"id": id}));
        let people = json!(people.collect::<Vec<Value>>()).to_string();
        ("", above, people.into_bytes())
    }
}

/// The next request on a connection, with its body.
async fn next_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length = length
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return Some(text.into_owned());
            }
        }
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

const EXTRACT: [&str; 4] = ["extract", "-q", "--select", "users,campus_users"];

/// A page of one record of about this size.
fn record(person: usize, size: usize) -> Vec<u8> {
    let pad = "x".repeat(size);
    format!(r#"[{{"id":{person},"user_id":{person},"pad":"{pad}"}}]"#).into_bytes()
}

#[tokio::test]
async fn large_pages_that_come_at_once_take_bounded_room() {
    const SIZE: usize = 1_000_000;
    let mut api = Api::new(AT_ONCE + 1, |person| record(person, SIZE));
    api.barrier = Some(Barrier::new(AT_ONCE));
    let (workdir, api) = api.serve().await;
    let ran = taken(&workdir, &EXTRACT).await;
    assert_eq!(ran.code, Some(0));
    assert!(ran.memory < MOST, "{} kB", ran.memory);
    // The files are looked at one after the other, while others come and go.
    let most = MOST_ON_DISK + MOST_ON_DISK / 4;
    assert!(ran.disk < most, "{} bytes in files", ran.disk);
    // Three pages of people, and none was asked for twice.
    assert_eq!(api.requests.load(Ordering::Relaxed), 3 + AT_ONCE + 1);
    let verify = taken(&workdir, &["stage", "verify", "latest"]).await;
    assert_eq!(verify.code, Some(0));
    assert!(verify.memory < MOST, "{} kB to verify", verify.memory);
}

/// Connections are used again and again, each by a request that waits behind all others.
#[tokio::test]
#[ignore = "matrix"]
async fn connections_that_had_large_pages_take_bounded_memory() {
    let mut api = Api::new(2 * AT_ONCE + 1, |person| record(person, 600_000));
    api.queue = Some(watch::Sender::default());
    let (workdir, _) = api.serve().await;
    let ran = taken(&workdir, &EXTRACT).await;
    assert_eq!(ran.code, Some(0));
    assert!(ran.memory < MOST, "{} kB", ran.memory);
}

#[tokio::test]
async fn thousands_of_slices_and_pages_take_bounded_memory() {
    let mut api = Api::new(2_560 + 1, |person| record(person, 100));
    api.barrier = Some(Barrier::new(AT_ONCE));
    let (workdir, _) = api.serve().await;
    let ran = taken(&workdir, &EXTRACT).await;
    assert_eq!(ran.code, Some(0));
    assert!(ran.memory < MOST, "{} kB", ran.memory);
}

/// gzip that nobody asked for, of as many records of a size.
fn packed(records: usize, size: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let pad = "x".repeat(size);
    for id in 1..=records {
        let begin = if id == 1 { "[" } else { "," };
        write!(encoder, r#"{begin}{{"id":{id},"user_id":1,"pad":"{pad}"}}"#).unwrap();
    }
    encoder.write_all(b"]").unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_page_that_is_larger_than_memory_is_staged() {
    let page = packed(40, 1_500_000);
    let mut api = Api::new(1, move |_| page.clone());
    api.headers = "Content-Encoding: gzip\r\n";
    let (workdir, _) = api.serve().await;
    let ran = taken(&workdir, &EXTRACT).await;
    assert_eq!(ran.code, Some(0));
    assert!(ran.memory < MOST, "{} kB", ran.memory);
    assert!(ran.disk > 60_000_000);
}

#[tokio::test]
async fn a_record_or_a_page_that_no_memory_holds_is_a_hole() {
    let (record, records) = (packed(1, 100_000_000), packed(2_000_000, 0));
    for page in [record, records] {
        let mut api = Api::new(1, move |_| page.clone());
        api.headers = "Content-Encoding: gzip\r\n";
        let (workdir, api) = api.serve().await;
        let ran = taken(&workdir, &EXTRACT).await;
        assert_eq!(ran.code, Some(3));
        assert!(ran.memory < MOST, "{} kB", ran.memory);
        // The next answer would be as large.
        assert_eq!(api.requests.load(Ordering::Relaxed), 2);
    }
}
