//! What others write (people in the API, a server, a configuration, a file) commands nothing here: neither the database, nor
//! the file system, nor a terminal, nor a log, nor where a token goes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::files::{edit, sha256};
use crate::support::{Ran, SCALE, Workdir, World, simulator};

/// Commands of terminals of both sets, a reversal, and the end of a line with what would be the next one, also indented as a
/// list of ours is.
const HOSTILE: &str = "x\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\r\nerror: FORGED\n  error: FORGED";

/// Nothing that it says commands a terminal or begins a line that others wrote.
#[track_caller]
fn is_tame(ran: Ran) -> Ran {
    for text in [&ran.stdout, &ran.stderr] {
        let is_tame = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
        assert!(text.chars().all(is_tame), "{ran:?}");
        assert!(
            !text
                .lines()
                .any(|line| line.trim_start().starts_with("error: FORGED")),
            "{ran:?}"
        );
    }
    ran
}

#[tokio::test]
async fn api_text_controls_no_terminal_and_forges_no_line() {
    let good = simulator().await;
    let mut workdir = Workdir::with(&good).await;
    workdir.json(["run"]).await;
    workdir.json(["load", "--into", "before"]).await;
    let mut world = World::of(&good);
    let hostile = &mut world.rows("coalitions")[3];
    hostile["name"] = json!(HOSTILE);
    let id = hostile["id"].to_string();
    let rejected = &mut world.rows("coalitions")[4];
    rejected["score"] = json!(HOSTILE);
    rejected["slug"] = json!(HOSTILE);
    let bad = world.serve().await;
    workdir.use_api(&bad);
    let ran = is_tame(workdir.cursus(["run", "--full", "-vv"]).await);
    let ran = ran.exits(3);
    assert!(ran.stderr.contains(" quarantined; "), "{ran}");
    let stored = workdir
        .column(&format!("SELECT name FROM coalitions WHERE id = {id}"))
        .await;
    assert_eq!(stored, [HOSTILE], "and is kept as it is");
    let number = workdir
        .number("SELECT id FROM pipeline.quarantine")
        .await
        .to_string();

    let name = format!("SELECT name AS \"{HOSTILE}\" FROM coalitions WHERE id = {id}");
    let shows: [&[&str]; 6] = [
        &["sql", &name],
        &["explain", "coalitions", &id],
        &[
            "diff",
            "before",
            "live",
            "--table",
            "coalitions",
            "--show-values",
        ],
        &["stage", "cat", "latest", "coalitions"],
        &["stage", "cat", "latest", "coalitions", "--id", &id],
        &["quarantine", "show", &number],
    ];
    for arguments in shows {
        for more in [&["-vv"][..], &["--json", "-vv", "--log-format", "json"]] {
            let all = [arguments, more].concat();
            let ran = is_tame(workdir.cursus(all).await.exits(0));
            assert!(ran.stdout.contains("owned"), "{ran}");
            if more.contains(&"--json") {
                let documents = serde_json::Deserializer::from_str(&ran.stdout);
                let documents: Result<Vec<Value>, _> = documents.into_iter().collect();
                assert!(json!(documents.unwrap()).to_string().contains("FORGED"));
            }
        }
    }
    for arguments in [
        &["quarantine", "ls"][..],
        &["quarantine", "ls", "coalitions"],
        &["quarantine", "retry", &number],
        &["status"],
        &["stage", "ls", "latest"],
        &["stage", "ls", "latest", "coalitions"],
        &["stage", "verify", "latest"],
        &["sql", &format!("SELECT '{HOSTILE}'::int")],
        &["explain", HOSTILE, "1"],
        &["diff", HOSTILE, "live"],
    ] {
        is_tame(workdir.cursus(arguments).await);
    }
    // For programs it is what it is.
    let csv = workdir.cursus(["sql", "--csv", &name]).await.exits(0);
    assert!(csv.stdout.contains(HOSTILE), "{csv:?}");
}

#[tokio::test]
async fn token_errors_of_a_server_forge_no_line() {
    let scope = json!(HOSTILE).to_string();
    let token = TOKEN.replace("\"public\"", &scope);
    let api = Server::start(move |_| http("200 OK", "", &token)).await;
    let mut workdir = Workdir::new().await;
    workdir.set("CURSUS_API_URL", &api.url);
    workdir.set("CURSUS_CLIENT_ID", "an-id");
    workdir.set("CURSUS_CLIENT_SECRET", "a-secret-for-this-host-only");
    for command in ["refresh", "show"] {
        let ran = is_tame(workdir.cursus(["token", command]).await.exits(0));
        assert!(ran.stdout.contains("FORGED"), "{ran}");
        let shown = workdir.json(["token", command]).await;
        assert!(shown["scopes"].to_string().contains("FORGED"), "{shown}");
    }
}

#[tokio::test]
async fn usage_errors_repeat_no_escape_and_no_password() {
    let workdir = Workdir::new().await;
    let url = "postgres://me:canary-password@host/mirror";
    let option = format!("--wait-lock={url}");
    let list = format!("--log-format=text,{url}");
    for arguments in [
        &["run", HOSTILE][..],
        &[HOSTILE],
        &["run", "--wait-lock", HOSTILE],
        &["run", "--forged\n  error: FORGED"],
        &["run", url],
        &[url],
        &["run", &option],
        &["run", "--log-format", url],
        &["run", &list],
    ] {
        for more in [&[][..], &["--json"]] {
            let all = [arguments, more].concat();
            let ran = is_tame(workdir.cursus(all).await.exits(2));
            let said = ran.stderr.clone() + &ran.stdout;
            assert!(!said.contains("canary-password"), "{ran}");
            if arguments.contains(&HOSTILE) {
                assert!(said.contains("x\\u001b]0;owned"), "{ran}");
            } else {
                assert!(said.contains("[a URL]") || said.contains("FORGED"), "{ran}");
            }
        }
    }
}

#[tokio::test]
async fn foreign_files_control_no_terminal() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["extract", "--select", "cursus"]).await;
    let run = workdir.run_directory();
    let path = run.join("cursus/pages.jsonl");
    let mut line: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    line["request"] = json!(HOSTILE);
    let journal = format!("{line}\n");
    std::fs::write(&path, &journal).unwrap();
    let hash = sha256(journal.as_bytes());
    let manifest = run.join("cursus/manifest.json");
    edit(&manifest, |manifest| {
        manifest["journal_sha256"] = json!(hash);
        manifest["evidence"]["notes"] = json!([HOSTILE]);
    });
    for arguments in [
        &["stage", "ls", "latest", "cursus"][..],
        &["stage", "ls", "latest"],
        &["stage", "cat", "latest", "--id", "21"],
        &["load"],
        &["explain", "cursus", "21"],
        &["plan", "--offline"],
    ] {
        is_tame(workdir.cursus(arguments).await.exits(0));
    }
    edit(&manifest, |manifest| {
        manifest["run_id"] = json!(HOSTILE);
    });
    is_tame(workdir.cursus(["load"]).await.exits(1));

    let lock = std::fs::File::open(workdir.path("staging/.lock")).unwrap();
    lock.try_lock().unwrap();
    std::fs::write(workdir.path("staging/.lock"), HOSTILE).unwrap();
    let ran = is_tame(workdir.cursus(["extract"]).await.exits(5));
    assert!(ran.stderr.contains("owned"), "{ran}");
    workdir.write("hostile.toml", format!("{}\n", json!(HOSTILE)));
    is_tame(
        workdir
            .cursus(["extract", "--config", "hostile.toml"])
            .await
            .exits(2),
    );
}

#[tokio::test]
async fn a_configuration_names_nothing_outside_its_places() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let key = HOSTILE
        .replace('\u{1b}', "\\u001b")
        .replace('\u{9b}', "\\u009b");
    let key = key.replace('\u{7}', "").replace("\r\n", "\\r\\n");
    for (from, to) in [
        ("name = \"cursus\"", "name = \"../../outside\"".to_owned()),
        ("name = \"cursus\"", "name = \"/etc\"".to_owned()),
        (
            "name = \"cursus\"",
            "name = 'cursus\"; DROP TABLE users; --'".to_owned(),
        ),
        ("name = \"cursus\"", format!("name = \"{key}\"")),
        (
            "schema = \"public\"",
            "schema = 'x\"; DROP TABLE users; --'".to_owned(),
        ),
        (
            "schema = \"public\"",
            "schema = \"pg_catalog, public\"".to_owned(),
        ),
        ("min_rows = 20", format!("\"{key}\" = 20")),
        (
            "alumni = \"/alumni?\"",
            "'a\"; DROP TABLE users' = \"/alumni?\"".to_owned(),
        ),
        (
            "sql = \"sql/users_campus.sql\"",
            "sql = \"sql/../../../etc/passwd\"".to_owned(),
        ),
        (
            "sql = \"sql/users_campus.sql\"",
            "sql = \"/etc/passwd\"".to_owned(),
        ),
        (
            "path = \"/v2/campus\"",
            "path = \"https://example.org/v2/campus\"".to_owned(),
        ),
    ] {
        workdir.pipeline(&[(from, &to)]);
        for command in [
            &["run"][..],
            &["run", "--json", "-vv", "--log-format", "json"],
        ] {
            is_tame(workdir.cursus(command).await.exits(2));
        }
    }
    assert_eq!(simulator.statistics().requests, 0);
    let entries = std::fs::read_dir(workdir.path("")).unwrap();
    let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["pipeline.toml"]);
}

#[tokio::test]
async fn names_are_quoted_wherever_they_reach_the_database() {
    const COLUMN: &str = "a\"\"b; DROP TABLE cursus; --";
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.write(
        "migrations/mirror/V1000__extra.sql",
        format!("CREATE TABLE extra (id bigint PRIMARY KEY, name text, \"{COLUMN}\" text DEFAULT 'kept');"),
    );
    let block = "[[table]]\nname = \"extra\"\nfrom = \"cursus\"\n\n[[derive]]";
    workdir.pipeline(&[("[[derive]]", block)]);
    let ran = workdir.cursus(["run", "--select", "cursus"]).await;
    // Such a column has no key in a record; it may be refused, and may not be run.
    assert!(matches!(ran.code, Some(0 | 2)), "{ran}");
    workdir.pipeline(&[]);
    workdir
        .cursus(["run", "--full", "--select", "cursus"])
        .await
        .exits(0);
    let schema = "we\"ird; DROP TABLE cursus; --";
    let quoted = schema.replace('"', "\"\"");
    workdir
        .query(&format!(
            "CREATE SCHEMA \"{quoted}\"; CREATE TABLE \"{quoted}\".extra (LIKE extra INCLUDING ALL)"
        ))
        .await;
    workdir.cursus(["diff", schema, "live"]).await.exits(0);
    workdir.cursus(["diff", "live", schema]).await.exits(0);
    for arguments in [
        &["load", "--into", schema][..],
        &["migrate", "--into", schema],
        &["replay", "--into", schema],
        &["prune", "ls", "--into", schema],
        &["explain", "cursus", "21", "--schema", schema],
        &["explain", "cursus", "id=21'; DROP TABLE cursus; --"],
        &[
            "diff",
            "live",
            schema,
            "--table",
            "cursus; DROP TABLE cursus",
        ],
        &["diff", "live", schema, "--key", "id=1;DROP TABLE cursus"],
        &["quarantine", "ls", schema],
        &["quarantine", "drop", "--all", "--into", schema],
        &["extract", "--select", "../cursus"],
        &["stage", "ls", "latest", "../cursus"],
        &["stage", "ls", "../../etc"],
        &["load", "../outside"],
    ] {
        let ran = workdir.cursus(arguments).await;
        let code = ran.code.unwrap();
        assert!(
            code == 1 || code == 2 || ran.stdout.contains("no row differs"),
            "{ran}"
        );
    }
    assert_eq!(workdir.count("cursus").await, SCALE.cursus);
}

/// A server that answers as a test says, and keeps what it was asked.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (Arc::clone(&asked), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                            break;
                        }
                    }
                    let request = String::from_utf8_lossy(&request).into_owned();
                    let answer = answer(&request);
                    kept.lock().unwrap().push(request);
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\
         X-Secondly-RateLimit-Limit: 5000\r\nX-Hourly-RateLimit-Limit: 100000\r\n{headers}\r\n{body}",
        body.len()
    )
}

const TOKEN: &str = r#"{"access_token":"a-token-for-this-host-only","token_type":"bearer","expires_in":7200,
    "scope":"public","created_at":1700000000}"#;

#[tokio::test]
async fn token_is_sent_to_its_own_server_alone() {
    let elsewhere = Server::start(|_| http("200 OK", "X-Total: 0\r\n", "[]")).await;
    let redirects = [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
    ];
    let visits = Arc::new(AtomicUsize::new(0));
    for status in redirects {
        for of_token in [true, false] {
            let (visits, to) = (Arc::clone(&visits), elsewhere.url.clone());
            let api = Server::start(move |request| {
                let is_token = request.starts_with("POST /oauth/token");
                if is_token == of_token {
                    visits.fetch_add(1, Ordering::Relaxed);
                    http(status, &format!("Location: {to}/v2/cursus\r\n"), "")
                } else {
                    http("200 OK", "", TOKEN)
                }
            })
            .await;
            let mut workdir = Workdir::new().await;
            workdir.set("CURSUS_API_URL", &api.url);
            workdir.set("CURSUS_CLIENT_ID", "an-id");
            workdir.set("CURSUS_CLIENT_SECRET", "a-secret-for-this-host-only");
            let ran = workdir
                .cursus(["extract", "--select", "cursus"])
                .await
                .exits(1);
            assert!(!ran.stderr.contains(&elsewhere.url), "{ran}");
        }
    }
    assert!(visits.load(Ordering::Relaxed) >= 2 * redirects.len());

    // A list whose next page is said to be elsewhere: its pages are asked for here.
    let to = elsewhere.url.clone();
    let api = Server::start(move |request| {
        if request.starts_with("POST /oauth/token") {
            return http("200 OK", "", TOKEN);
        }
        let records: Vec<Value> = (1..=100).rev().map(|id| json!({"id": id})).collect();
        let records = json!(records).to_string();
        let is_first =
            request.contains("page%5Bnumber%5D=1 ") || request.contains("page%5Bnumber%5D=1&");
        let body = if is_first { records.as_str() } else { "[]" };
        let next = format!("<{to}/v2/cursus?page=2>; rel=\"next\", <//{to}/x>; rel=next");
        http("200 OK", &format!("Link: {next}\r\n"), body)
    })
    .await;
    let mut workdir = Workdir::new().await;
    workdir.set("CURSUS_API_URL", &api.url);
    workdir.set("CURSUS_CLIENT_ID", "an-id");
    workdir.set("CURSUS_CLIENT_SECRET", "a-secret-for-this-host-only");
    workdir.cursus(["extract", "--select", "cursus"]).await;
    let pages = api.asked();
    let pages = pages
        .iter()
        .filter(|asked| asked.starts_with("GET /v2/cursus?"));
    assert!(pages.count() >= 1);
    assert_eq!(elsewhere.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn endless_list_takes_bounded_memory() {
    // One record a page: more pages than any list has.
    let api = Server::start(|request| {
        if request.starts_with("POST /oauth/token") {
            return http("200 OK", "", TOKEN);
        }
        let is_first = request.contains("page%5Bnumber%5D=1 ");
        let body = if is_first { r#"[{"id": 1}]"# } else { "[]" };
        http("200 OK", "X-Total: 100000000\r\n", body)
    })
    .await;
    let mut workdir = Workdir::new().await;
    workdir.set("CURSUS_API_URL", &api.url);
    workdir.set("CURSUS_CLIENT_ID", "an-id");
    workdir.set("CURSUS_CLIENT_SECRET", "a-secret-for-this-host-only");
    let arguments = ["extract", "--select", "coalitions", "--max-hits", "4"];
    let ran = workdir.cursus_within(512 << 20, arguments).await.exits(6);
    assert!(
        ran.stderr
            .contains("requests that this run may use are used up"),
        "{ran}"
    );
    // The last pages first, of those that a list can have.
    assert!(
        api.asked()
            .iter()
            .any(|asked| asked.contains("page%5Bnumber%5D=1000000 "))
    );
}
