//! The stage in the object stores of other programs: moto, which supports conditional writes, and rclone, which does not. `make
//! test-remote` brings them; CURSUS_TEST_STORES names the directory of their programs.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::support::Workdir;
use crate::support::boxes::{self, content};
use crate::support::running::until;
use crate::support::state::{self, assert_same};
use crate::support::store_proxy::{Fault, StoreProxy};

const KEY: &str = "canary-key-id";
const SECRET: &str = "canary-secret-access-key";
const URL: &str = "s3://mirror/of/campus";

/// A server of another program; it ends with this.
struct Store {
    port: u16,
    _process: Child,
    dir: tempfile::TempDir,
}

fn program(name: &str) -> PathBuf {
    let dir = std::env::var_os("CURSUS_TEST_STORES");
    let dir = dir.expect("CURSUS_TEST_STORES is not set: `make test-remote` brings the servers");
    PathBuf::from(dir).join(name)
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Store {
    async fn start(name: &str, arguments: impl Fn(u16, &str) -> Vec<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("mirror")).unwrap();
        let port = free_port();
        let process = Command::new(program(name))
            .args(arguments(port, dir.path().to_str().unwrap()))
            .env("HOME", dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let store = Self {
            port,
            _process: process,
            dir,
        };
        until("it listens", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
        })
        .await;
        store
    }

    /// With the bucket `mirror`.
    async fn moto() -> Self {
        let arguments = |port: u16, _: &str| vec!["-p".to_owned(), port.to_string()];
        let store = Self::start("moto_server", arguments).await;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let made = reqwest::Client::new().put(format!("{}/mirror", store.url()));
        assert!(made.send().await.unwrap().status().is_success());
        store
    }

    async fn rclone() -> Self {
        Self::start("rclone", |port, dir| {
            let address = format!("127.0.0.1:{port}");
            let key = format!("{KEY},{SECRET}");
            ["serve", "s3", "--auth-key", &key, "--addr", &address, dir]
                .map(str::to_owned)
                .into()
        })
        .await
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn use_store(workdir: &mut Workdir, endpoint: &str) {
    workdir.set("AWS_ENDPOINT_URL", endpoint);
    workdir.set("AWS_ACCESS_KEY_ID", KEY);
    workdir.set("AWS_SECRET_ACCESS_KEY", SECRET);
    workdir.set("AWS_REGION", "us-east-1");
}

async fn other_machine(first: &Workdir, endpoint: &str) -> Workdir {
    let mut workdir = Workdir::new().await;
    for file in [
        "pipeline.toml",
        "sql/count.sql",
        "migrations/mirror/V1000__things.sql",
    ] {
        workdir.write(file, std::fs::read(first.path(file)).unwrap());
    }
    use_store(&mut workdir, endpoint);
    workdir
}

async fn three_runs(endpoint: &str) -> Workdir {
    let mut workdir = boxes::workdir().await;
    boxes::three_runs(&workdir);
    workdir.json(["load"]).await;
    use_store(&mut workdir, endpoint);
    workdir
}

/// Pushed, loaded from there, and pulled: the same rows and the same records.
async fn comes_back(workdir: &Workdir, endpoint: &str) {
    let other = other_machine(workdir, endpoint).await;
    other.json(["load", "--from", URL]).await;
    assert_eq!(
        content(&other, "public").await,
        content(workdir, "public").await
    );
    other.json(["stage", "pull", URL]).await;
    let staged = |workdir: &Workdir| state::of_staging(&workdir.path("staging"));
    assert_same(&staged(&other), &staged(workdir), "pulled");
}

#[tokio::test]
#[ignore = "stores"]
async fn runs_come_back_from_a_bucket() {
    let store = Store::moto().await;
    let workdir = three_runs(&store.url()).await;
    let pushed = workdir.json(["stage", "push", URL]).await;
    assert_eq!(pushed["runs"].as_array().unwrap().len(), 3, "{pushed:#}");
    let again = workdir.json(["stage", "push", URL]).await;
    assert_eq!((&again["objects"], &again["there"]), (&0.into(), &3.into()));
    comes_back(&workdir, &store.url()).await;
    let gc = ["stage", "gc", "--remote", URL, "--keep", "0s", "--dry-run"];
    workdir.json(gc).await;
    let export = ["stage", "export", "s3://mirror/parquet"];
    assert_eq!(workdir.json(export).await["runs"], 3);
    assert_eq!(workdir.json(export).await["runs"], 0);
}

/// Every third request has a fault, and each kind of them is met.
fn every_third(number: u32) -> Option<Fault> {
    const FAULTS: [Fault; 5] = [
        Fault::Error,
        Fault::CutBefore,
        Fault::CutAfter,
        Fault::Half,
        Fault::Slow,
    ];
    let at = usize::try_from(number / 3).unwrap() % FAULTS.len();
    (number % 3 == 1).then(|| FAULTS[at])
}

#[tokio::test]
#[ignore = "stores"]
async fn faults_of_a_store_change_nothing_but_time() {
    let store = Store::moto().await;
    let proxy = StoreProxy::to(store.port, every_third).await;
    let workdir = three_runs(&proxy.url).await;
    let pushed = workdir.json(["stage", "push", URL]).await;
    assert_eq!(pushed["runs"].as_array().unwrap().len(), 3, "{pushed:#}");
    comes_back(&workdir, &proxy.url).await;
    let requests = proxy.requests.load(std::sync::atomic::Ordering::SeqCst);
    assert!(
        requests > 100,
        "{requests} requests: not every fault was met often"
    );
}

#[tokio::test]
#[ignore = "stores"]
async fn store_that_overwrites_is_refused() {
    let store = Store::rclone().await;
    let mut workdir = three_runs(&store.url()).await;
    let refused = workdir.cursus(["stage", "push", URL]).await.exits(4);
    refused.says("ignores `If-None-Match`");
    let listed = walkdir::WalkDir::new(store.dir.path().join("mirror"));
    let objects = listed
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file());
    assert_eq!(objects.count(), 0, "something was left there");
    let pipeline = std::fs::read_to_string(workdir.path("pipeline.toml")).unwrap();
    let remote = format!("[staging]\nremote = \"{URL}\"\n[prune]");
    workdir.write("pipeline.toml", pipeline.replace("[prune]", &remote));
    workdir.set("CURSUS_CLIENT_ID", "id");
    let doctor = workdir.json_exits(1, ["doctor"]).await;
    let checks = doctor["checks"].as_array().unwrap();
    let check = checks
        .iter()
        .find(|check| check["name"] == "object store")
        .unwrap();
    assert_eq!(check["state"], "failed", "{doctor:#}");
}

#[tokio::test]
#[ignore = "stores"]
async fn refusals_of_a_store_are_sentences_without_credentials() {
    let store = Store::rclone().await;
    let mut workdir = three_runs(&store.url()).await;
    workdir.set("CURSUS_LOG", "trace");
    let push = ["stage", "push", URL];
    let is_silent = |ran: &dyn std::fmt::Display| {
        let said = ran.to_string();
        for canary in ["canary-", "X-Amz", "Signature=", "http://"] {
            assert!(!said.contains(canary), "{said}");
        }
    };
    workdir.set("AWS_SECRET_ACCESS_KEY", "canary-wrong");
    is_silent(&workdir.cursus(push).await.exits(1).says("credentials"));
    workdir.unset("AWS_SECRET_ACCESS_KEY");
    workdir.unset("AWS_ACCESS_KEY_ID");
    is_silent(
        &workdir
            .cursus(push)
            .await
            .exits(1)
            .says("no usable credentials"),
    );
    use_store(&mut workdir, &store.url());
    let ran = workdir.cursus(["stage", "push", "s3://nobody/x"]).await;
    is_silent(&ran.exits(1).says("bucket"));
    // Nobody listens, and another machine by plain HTTP.
    workdir.set("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    is_silent(
        &workdir
            .cursus(push)
            .await
            .exits(1)
            .says("cannot be reached"),
    );
    workdir.set("AWS_ENDPOINT_URL", "http://store.example.org");
    is_silent(&workdir.cursus(push).await.exits(1).says("plain HTTP"));
    let there = workdir.json(["stage", "ls"]).await;
    assert_eq!(there.as_array().map(Vec::len), Some(3), "{there:#}");
    let _: Value = there;
}
