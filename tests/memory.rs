//! What an extraction, and a stage in a bucket, take of memory and disk is bounded, whatever the API sends, however many requests are in
//! flight, and however much is staged.

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
use crate::support::boxes::{self, directory, full, stage, stage_pages};
use crate::support::bucket::{Bucket, URL};
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
        // Answers that wait for others take long on a busy machine.
        let patient = ("timeout = \"120s\"", "timeout = \"900s\"");
        workdir.pipeline(&[("batch = 85", "batch = 1"), patient]);
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

/// Kilobytes by which what takes constant memory may differ.
const NOISE: u64 = 12_000;
const PUSH: [&str; 4] = ["stage", "push", "-q", URL];
const PULL: [&str; 4] = ["stage", "pull", "-q", URL];
const EXPORT: [&str; 4] = ["stage", "export", "-q", "s3://mirror/parquet"];

/// Stages closed runs without pages whose records are as long as those of a campus with packs.
fn many_runs(workdir: &Workdir, runs: u32) {
    let first = stage(workdir, &[]);
    let record = directory(workdir, &first).join("run.json");
    let mut text: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    text.as_object_mut().unwrap().remove("sha256");
    text["resources"] = json!([{"name": "boxes", "mode": null, "state": "skipped", "pages": 0, "hits": 0, "rows": 0, "bytes": 0,
        "x_total": null, "notes": ["x".repeat(30_000)]}]);
    let begin: jiff::Timestamp = "2035-01-01T00:00:00Z".parse().unwrap();
    for number in 1..=runs {
        let at = begin + jiff::SignedDuration::from_mins(5 * i64::from(number));
        let name = at.strftime("%Y%m%dT%H%M%SZ").to_string();
        text["run_id"] = json!(name);
        text["seq"] = json!(number + 1);
        let place = directory(workdir, &name);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("run.json"), text.to_string()).unwrap();
    }
}

/// What a push, another push, a pull and an export take of these runs, in kilobytes.
async fn memory_in_a_bucket(fill: impl Fn(&Workdir)) -> Vec<u64> {
    let bucket = Bucket::start().await;
    let mut workdir = boxes::workdir().await;
    bucket.open_to(&mut workdir);
    fill(&workdir);
    workdir.json(["migrate"]).await;
    let mut all = Vec::new();
    for command in [&PUSH[..], &PUSH, &EXPORT, &EXPORT] {
        let ran = taken(&workdir, command).await;
        assert_eq!(ran.code, Some(0));
        all.push(ran.memory);
    }
    std::fs::remove_dir_all(workdir.path("staging")).unwrap();
    for command in [&PULL, &PULL] {
        let ran = taken(&workdir, command).await;
        assert_eq!(ran.code, Some(0));
        all.push(ran.memory);
    }
    all
}

/// A run that is there takes a kilobyte or two, and not the thirty of its record.
async fn runs_take_little(few: u32, many: u32) {
    let little = NOISE + u64::from(many) * 2;
    let few = memory_in_a_bucket(|workdir| many_runs(workdir, few)).await;
    let many = memory_in_a_bucket(|workdir| many_runs(workdir, many)).await;
    for (few, many) in few.iter().zip(&many) {
        assert!(*many < few + little, "{many} kB, not {few} kB");
    }
}

#[tokio::test]
async fn stage_in_a_bucket_takes_little_memory_for_more_runs() {
    runs_take_little(20, 700).await;
}

/// Pages of one box each, of text that no compression makes shorter.
fn large_pages(workdir: &Workdir, pages: i64, size: usize) {
    let mut random = fastrand::Rng::with_seed(7);
    let boxes = (1..=pages).map(|id| {
        let name: String = std::iter::repeat_with(|| random.alphanumeric())
            .take(size)
            .collect();
        json!({"id": id, "name": name}).to_string()
    });
    stage_pages(workdir, &[full("boxes", boxes.collect())], 1);
}

/// 24 MB in pages of a hundred sizes; a file of Parquet is in memory in any case.
#[tokio::test]
async fn stage_in_a_bucket_takes_bounded_memory_for_large_pages() {
    let small = memory_in_a_bucket(|workdir| large_pages(workdir, 240, 100_000)).await;
    let large = memory_in_a_bucket(|workdir| large_pages(workdir, 8, 3_000_000)).await;
    let huge = memory_in_a_bucket(|workdir| large_pages(workdir, 24, 3_000_000)).await;
    for (at, (large, huge)) in large.iter().zip(&huge).enumerate() {
        // The first export writes files of 32 MB; three of them are in memory at most.
        let more = if at == 2 { 3 * 40_000 } else { NOISE };
        assert!(*huge < large + more, "{huge} kB, not {large} kB");
        assert!(at == 2 || *huge < MOST + 20_000, "{huge} kB");
    }
    for (at, small) in small.iter().enumerate() {
        assert!(at == 2 || *small < MOST + 20_000, "{small} kB");
    }
}
