//! `cursus serve`, and who asks it. Knows no promise.

use std::process::Stdio;

use reqwest::header::{HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;

use super::Workdir;
use super::running::until;
use super::workdir::PATIENCE;

/// `cursus serve` on a free port.
pub(crate) struct Site {
    pub(crate) url: String,
    pub(crate) process: Child,
    pub(crate) client: Client,
}

impl Site {
    pub(crate) async fn of(workdir: &Workdir) -> Self {
        Self::with(workdir, &[]).await
    }

    pub(crate) async fn with(workdir: &Workdir, more: &[&str]) -> Self {
        let arguments = [&["serve", "--listen", "127.0.0.1:0", "--json", "-q"], more].concat();
        let mut command = workdir.command(arguments);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = process.stdout.take().unwrap();
        let line = BufReader::new(stdout).lines().next_line().await.unwrap();
        let document: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let redirect = reqwest::redirect::Policy::none();
        Self {
            url: document["url"].as_str().unwrap().to_owned(),
            process,
            client: Client::builder().redirect(redirect).build().unwrap(),
        }
    }

    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Response {
        let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).unwrap();
        let headers = headers.iter();
        let headers =
            headers.map(|(key, value)| (name(key), HeaderValue::from_str(value).unwrap()));
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = request.headers(headers.collect());
        let mut read = None;
        until(&format!("{path} is read"), async || {
            let answer = request.try_clone().unwrap().send().await.unwrap();
            let is_awaited = answer.headers().contains_key(RETRY_AFTER);
            read = Some(answer);
            !is_awaited
        })
        .await;
        read.unwrap()
    }

    /// What a path gives as soon as all of it has been read.
    async fn read(&self, path: &str) -> (StatusCode, String) {
        let mut read = (StatusCode::OK, String::new());
        until(&format!("all of {path} is read"), async || {
            let answer = self.ask(Method::GET, path, &[]).await;
            read = (answer.status(), answer.text().await.unwrap());
            !read.1.contains(" data-awaited")
        })
        .await;
        read
    }

    pub(crate) async fn status(&self, path: &str, headers: &[(&str, &str)]) -> StatusCode {
        self.ask(Method::GET, path, headers).await.status()
    }

    pub(crate) async fn page(&self, path: &str) -> String {
        let (status, text) = self.read(path).await;
        assert_eq!(status, 200, "{path}");
        assert!(text.len() < 60_000, "{path}: {} bytes", text.len());
        text
    }

    pub(crate) async fn document(&self, path: &str) -> Value {
        let answer = self.ask(Method::GET, path, &[]).await;
        assert_eq!(answer.status(), 200, "{path}");
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    /// A line of bytes, sent as they are; what comes back.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        // A server that has refused may not read to the end.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}
