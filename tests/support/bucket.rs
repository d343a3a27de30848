//! As much of S3 as a stage needs, in this process, with a count of what it was asked. Knows no promise.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use reqwest::Url;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::Workdir;

/// Its name, and where a stage is in it.
pub(crate) const URL: &str = "s3://mirror/stage";
const KEY: &str = "canary-key-id";
/// Names in an answer to a list.
const PAGE: usize = 1000;

#[derive(Default)]
struct Inner {
    /// By name within the bucket.
    objects: BTreeMap<String, Vec<u8>>,
    /// What it was asked: the method (`LIST` for a list), and the name.
    asked: Vec<(String, String)>,
    /// Ids of the keys that requests were signed with.
    keys: BTreeSet<String>,
    /// The next request with this method and this in its name is done, and its answer is lost.
    lost: Option<(&'static str, &'static str)>,
    /// Requests with this in their path are never answered.
    stalled: Option<&'static str>,
}

/// A bucket; it ends with this.
pub(crate) struct Bucket {
    endpoint: String,
    inner: Arc<Mutex<Inner>>,
    serving: JoinHandle<()>,
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Bucket {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Mutex::new(Inner::default()));
        let shared = Arc::clone(&inner);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self {
            endpoint,
            inner,
            serving,
        }
    }

    /// What commands need to reach it.
    pub(crate) fn variables(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", "canary-secret"),
            ("AWS_REGION", "us-east-1"),
        ]
    }

    /// From now on commands of this directory reach it.
    pub(crate) fn open_to(&self, workdir: &mut Workdir) {
        for (name, value) in self.variables() {
            workdir.set(name, value);
        }
    }

    pub(crate) fn insert(&self, name: &str, bytes: Vec<u8>) {
        let mut inner = self.inner.lock().unwrap();
        inner.objects.insert(name.to_owned(), bytes);
    }

    pub(crate) fn object(&self, name: &str) -> Option<Vec<u8>> {
        self.inner.lock().unwrap().objects.get(name).cloned()
    }

    /// The names of all objects.
    pub(crate) fn names(&self) -> Vec<String> {
        let inner = self.inner.lock().unwrap();
        inner.objects.keys().cloned().collect()
    }

    pub(crate) fn lose_answer(&self, method: &'static str, name: &'static str) {
        self.inner.lock().unwrap().lost = Some((method, name));
    }

    pub(crate) fn stall(&self, name: &'static str) {
        self.inner.lock().unwrap().stalled = Some(name);
    }

    /// Whether an answer is still to be lost.
    pub(crate) fn is_to_lose(&self) -> bool {
        self.inner.lock().unwrap().lost.is_some()
    }

    /// What it was asked since this was asked last.
    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.inner.lock().unwrap().asked)
    }

    pub(crate) fn keys(&self) -> BTreeSet<String> {
        self.inner.lock().unwrap().keys.clone()
    }
}

struct Request {
    method: String,
    url: Url,
    is_create: bool,
    key: Option<String>,
    body: Vec<u8>,
}

async fn serve(mut stream: TcpStream, inner: Arc<Mutex<Inner>>) {
    let mut rest = Vec::new();
    while let Some(request) = next(&mut stream, &mut rest).await {
        let answer = answer(&mut inner.lock().unwrap(), &request);
        let stalled = inner.lock().unwrap().stalled;
        if stalled.is_some_and(|name| request.url.path().contains(name)) {
            return std::future::pending().await;
        }
        let Some((status, body)) = answer else {
            return;
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nContent-Type: application/xml\r\nETag: \"an-etag\"\r\n\
             Last-Modified: Mon, 23 Nov 2026 02:00:00 GMT\r\n\r\n"
        );
        if stream
            .write_all(&[head.as_bytes(), &body].concat())
            .await
            .is_err()
        {
            return;
        }
    }
}

/// The next request of a connection; `rest` is what was read beyond the one before.
async fn next(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        if let Some(end) = rest.windows(4).position(|part| part == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(rest).await.unwrap_or(0) == 0 {
            return None;
        }
    };
    let head = String::from_utf8(rest.drain(..end + 4).collect()).unwrap();
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    };
    let length = header("content-length").map_or(0, |length| length.parse().unwrap());
    while rest.len() < length {
        if stream.read_buf(rest).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    let mut line = head.split(' ');
    let (method, target) = (line.next()?.to_owned(), line.next()?);
    let signed = header("authorization").unwrap_or_default();
    let key = signed.split_once("Credential=").map(|(_, rest)| rest);
    Some(Request {
        method,
        url: Url::parse(&format!("http://bucket{target}")).unwrap(),
        is_create: header("if-none-match").is_some(),
        key: key.and_then(|key| Some(key.split_once('/')?.0.to_owned())),
        body: rest.drain(..length).collect(),
    })
}

/// Status and body; none if it is lost.
fn answer(inner: &mut Inner, request: &Request) -> Option<(&'static str, Vec<u8>)> {
    inner.keys.extend(request.key.clone());
    let query: BTreeMap<String, String> = request.url.query_pairs().into_owned().collect();
    // Decoded as the value of a query is.
    let path = Url::parse(&format!("http://bucket/?path={}", request.url.path())).unwrap();
    let path = path.query_pairs().next().unwrap().1.into_owned();
    let name = path.trim_start_matches("/mirror").trim_start_matches('/');
    let is_list = query.contains_key("list-type");
    let (method, name) = if is_list {
        ("LIST", query["prefix"].as_str())
    } else {
        (request.method.as_str(), name)
    };
    inner.asked.push((method.to_owned(), name.to_owned()));
    let done = match method {
        "LIST" => ("200 OK", list(&inner.objects, &query).into_bytes()),
        "GET" => match inner.objects.get(name) {
            Some(bytes) => ("200 OK", bytes.clone()),
            None => (
                "404 Not Found",
                b"<Error><Code>NoSuchKey</Code></Error>".to_vec(),
            ),
        },
        "PUT" if request.is_create && inner.objects.contains_key(name) => {
            let code = b"<Error><Code>PreconditionFailed</Code></Error>";
            ("412 Precondition Failed", code.to_vec())
        }
        "PUT" => {
            inner.objects.insert(name.to_owned(), request.body.clone());
            ("200 OK", Vec::new())
        }
        // `POST /?delete`, with a list of names.
        "POST" => {
            let text = String::from_utf8(request.body.clone()).unwrap();
            let mut deleted = String::from("<DeleteResult>");
            for key in text.split("<Key>").skip(1) {
                let key = key.split_once("</Key>").unwrap().0;
                inner.objects.remove(key);
                write!(deleted, "<Deleted><Key>{key}</Key></Deleted>").unwrap();
            }
            ("200 OK", (deleted + "</DeleteResult>").into_bytes())
        }
        other => panic!("nobody asks for {other} {name}"),
    };
    let is_lost = |(lost, part): &(&str, &str)| *lost == method && name.contains(part);
    if inner.lost.as_ref().is_some_and(is_lost) {
        inner.lost = None;
        return None;
    }
    Some(done)
}

/// A page of names, each with a delimiter after the prefix once as a folder.
fn list(objects: &BTreeMap<String, Vec<u8>>, query: &BTreeMap<String, String>) -> String {
    let prefix = &query["prefix"];
    let delimiter = query.get("delimiter");
    let after = query.get("continuation-token").cloned().unwrap_or_default();
    let mut entries: BTreeMap<String, Option<usize>> = BTreeMap::new();
    for (name, bytes) in objects.range(prefix.clone()..) {
        let Some(rest) = name.strip_prefix(prefix.as_str()) else {
            break;
        };
        let folder = delimiter.and_then(|by| Some(rest.split_once(by.as_str())?.0));
        let (entry, size) = match folder {
            Some(folder) => (format!("{prefix}{folder}/"), None),
            None => (name.clone(), Some(bytes.len())),
        };
        if entry > after {
            entries.insert(entry, size);
        }
    }
    let is_truncated = entries.len() > PAGE;
    let mut text = format!("<ListBucketResult><IsTruncated>{is_truncated}</IsTruncated>");
    for (name, size) in entries.iter().take(PAGE) {
        let entry = match size {
            None => format!("<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"),
            Some(size) => format!(
                "<Contents><Key>{name}</Key><LastModified>2026-11-23T02:00:00Z</LastModified><ETag>\"an-etag\"</ETag><Size>{size}</Size></Contents>"
            ),
        };
        text += &entry;
    }
    if let Some((last, _)) = entries.iter().nth(PAGE - 1).filter(|_| is_truncated) {
        write!(
            text,
            "<NextContinuationToken>{last}</NextContinuationToken>"
        )
        .unwrap();
    }
    text + "</ListBucketResult>"
}
