//! Bad input: each a clear sentence, the right exit code, a JSON document with `--json`, and nothing lost or told that is secret.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use cursus::staging::Staging;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::snapshot::settings;
use crate::support::workdir::{NO_DATABASE, NOBODY};
use crate::support::{Workdir, simulator, testing};

/// Stands for every password in these tests.
const PASSWORD: &str = "hunter2-is-secret";

/// Runs a command that must end with `code`, and gives what it says went wrong. With `--json -vv` it must end in the same way,
/// with one document that says the same; no secret may be told in either.
async fn refusal(workdir: &Workdir, arguments: &[&str], code: i32) -> String {
    let mut quiet = arguments.to_vec();
    quiet.push("-q");
    let quiet = workdir.cursus(quiet).await.exits(code);
    let mut loud = arguments.to_vec();
    loud.extend(["--json", "-vv"]);
    let loud = workdir.cursus(loud).await.exits(code);
    let errors = loud.json()["errors"].clone();
    let count = errors.as_array().map_or(0, Vec::len);
    let told = quiet.stderr.matches("error: ").count();
    assert_eq!(count, told, "as many errors in JSON as on stderr: {quiet}{loud}");
    for secret in secrets(workdir) {
        for output in [&quiet.stdout, &quiet.stderr, &loud.stdout, &loud.stderr] {
            assert!(!output.contains(&secret), "a secret is told: {output}");
        }
    }
    quiet.stderr
}

/// Passwords, the client secret, and the token if there is one.
fn secrets(workdir: &Workdir) -> Vec<String> {
    let mut secrets = vec![PASSWORD.to_owned()];
    secrets.extend(workdir.variable_if_set("CURSUS_CLIENT_SECRET"));
    for entry in walkdir::WalkDir::new(workdir.path(".cursus")).into_iter().flatten() {
        let token = std::fs::read(entry.path())
            .ok()
            .and_then(|file| serde_json::from_slice::<Value>(&file).ok())
            .and_then(|file| file["access_token"].as_str().map(str::to_owned));
        secrets.extend(token);
    }
    secrets
}

/// Compares with a snapshot in which what differs from run to run has names.
macro_rules! assert_says {
    ($workdir:expr, $said:expr, @$expected:literal) => {
        settings(&$workdir).bind(|| insta::assert_snapshot!($said, @$expected))
    };
}

#[tokio::test]
async fn without_credentials_it_says_which_are_missing_and_where_to_put_them() {
    let mut workdir = Workdir::new().await;
    let said = refusal(&workdir, &["extract"], 2).await;
    assert_says!(workdir, said, @"");
    workdir.set("CURSUS_CLIENT_ID", "an-id");
    let said = refusal(&workdir, &["run"], 2).await;
    assert_says!(workdir, said, @"");
}

#[tokio::test]
async fn wrong_credentials_are_told_apart_from_an_api_that_is_away() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.set("CURSUS_CLIENT_SECRET", PASSWORD);
    let said = refusal(&workdir, &["extract"], 1).await;
    assert_says!(workdir, said, @"");
    workdir.set("CURSUS_API_URL", NOBODY);
    let said = refusal(&workdir, &["extract", "--select", "cursus"], 1).await;
    assert_says!(workdir, said, @"");
}

#[tokio::test]
async fn a_token_travels_over_https_or_not_at_all() {
    let mut workdir = Workdir::new().await;
    workdir.set("CURSUS_CLIENT_ID", "an-id");
    workdir.set("CURSUS_CLIENT_SECRET", PASSWORD);
    workdir.set("CURSUS_API_URL", "http://api.example.org");
    let said = refusal(&workdir, &["extract"], 2).await;
    assert_says!(workdir, said, @"");
    workdir.set("CURSUS_API_URL", format!("https://me:{PASSWORD}@api.example.org"));
    let said = refusal(&workdir, &["extract"], 2).await;
    assert_says!(workdir, said, @"");
}

#[tokio::test]
async fn a_broken_line_of_dotenv_is_not_shown() {
    let workdir = Workdir::new().await;
    workdir.write(".env", format!("CURSUS_CLIENT_ID=an-id\nCURSUS_CLIENT_SECRET {PASSWORD}\n"));
    let said = refusal(&workdir, &["extract"], 2).await;
    assert_says!(workdir, said, @"");
}

/// One command a way in which there is no database; none of them may cost a request.
#[tokio::test]
async fn a_database_that_cannot_be_used_is_told_before_the_first_request() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let socket = testing::cluster().await.socket_dir().display().to_string();
    let url = |user: &str, database: &str| {
        format!("postgres://{user}:{PASSWORD}@{}/{database}", socket.replace('/', "%2F"))
    };
    let name = workdir.column("SELECT current_database()").await.remove(0);
    outsiders(&workdir).await;
    let urls = [
        ("unreachable", NO_DATABASE.to_owned(), 1),
        ("no URL", format!("postgres//me:{PASSWORD}@host/mirror"), 2),
        ("wrong password", url("cursus_outsider", &name), 1),
        ("no such database", url("cursus_reader", "absent"), 1),
        ("no rights", url("cursus_reader", &name), 1),
    ];
    let mut all = String::new();
    for (case, url, code) in urls {
        workdir.set("CURSUS_DATABASE_URL", url);
        writeln!(all, "{case}: {}", refusal(&workdir, &["run"], code).await.trim()).unwrap();
    }
    assert_says!(workdir, all, @"");
    assert_eq!(simulator.statistics().requests, 0);
}

/// A user whose password is asked for, and one who may connect but nothing else.
async fn outsiders(workdir: &Workdir) {
    for role in ["cursus_outsider", "cursus_reader"] {
        let there = workdir.number(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{role}'")).await;
        if there == 0 {
            workdir.query(&format!("CREATE ROLE {role} LOGIN PASSWORD 'another one'")).await;
        }
    }
    let path = workdir.column("SHOW hba_file").await.remove(0);
    let rules = std::fs::read_to_string(&path).unwrap();
    let rule = "local all cursus_outsider scram-sha-256\n";
    if !rules.starts_with(rule) {
        std::fs::write(&path, format!("{rule}{rules}")).unwrap();
        workdir.query("SELECT pg_reload_conf()").await;
    }
}

#[tokio::test]
async fn a_schema_newer_than_the_program_is_left_alone() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.cursus(["migrate"]).await.exits(0);
    workdir
        .query("INSERT INTO refinery_schema_history VALUES (77, 'later', '2030-01-01T00:00:00Z', '1')")
        .await;
    let said = refusal(&workdir, &["run"], 1).await;
    assert_says!(workdir, said, @"");
    assert_eq!(simulator.statistics().requests, 0);
}

#[tokio::test]
async fn a_configuration_with_ten_faults_tells_all_ten_and_asks_nothing() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[
        ("timeout = \"120s\"", "timeout = \"soon\""),
        ("max_in_flight = 32", "max_in_flght = 32"),
        ("[staging]\ndir = \"staging\"", "[staging]\ndir = 5"),
        ("schema = \"public\"", "schema = \"My Schema\""),
        ("min_rows = 20", "min_rows = -20"),
        ("path = \"/v2/achievements\"", "path = \"v2/achievements\""),
        ("ids_of = \"users\"", "ids_of = \"user\""),
        ("rows = \"/project_sessions\"", "rows = \"project_sessions\""),
        ("within = { user_id = \"users.id\" }", "within = { user_id = \"users\" }"),
        ("sql = \"sql/users_campus.sql\"", "sql = \"sql/user_campus.sql\""),
    ]);
    let said = refusal(&workdir, &["run"], 2).await;
    assert_says!(workdir, said, @"");
    assert_eq!(simulator.statistics().requests, 0);
    assert!(!workdir.path("staging").exists());
}

#[tokio::test]
async fn a_configuration_that_does_not_fit_the_database_asks_nothing() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.write(
        "migrations/mirror/V1000__extra.sql",
        "CREATE TABLE extra (id bigint PRIMARY KEY, label text NOT NULL, place point);",
    );
    workdir.pipeline(&[
        ("language_name = \"/language/name\"", "language_nam = \"/language/name\""),
        (
            "name = \"coalitions\"\nfrom = \"coalitions\"",
            "name = \"coalitions\"\nfrom = \"coalitions\"\nkey = [\"slug\"]",
        ),
        (
            "[[derive]]",
            "[[table]]\nname = \"extra\"\nfrom = \"cursus\"\n[table.columns]\nlabel = false\n\n\
             [[table]]\nname = \"absent\"\nfrom = \"cursus\"\n\n[[derive]]",
        ),
    ]);
    let said = refusal(&workdir, &["run"], 2).await;
    assert_says!(workdir, said, @"");
    assert_eq!(simulator.statistics().requests, 0);
}

#[tokio::test]
async fn a_name_that_is_not_there_comes_with_those_that_are() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let mut all = String::new();
    for arguments in [
        &["load"][..],
        &["load", "latest"],
        &["stage", "ls", "latest"],
        &["extract", "--select", "user"],
        &["run", "--select", "users,coalition,xyz"],
        &["extract", "--exclude", "campuses"],
        &["extract", "--select", "cursus", "--exclude", "cursus"],
    ] {
        let said = refusal(&workdir, arguments, 2).await;
        writeln!(all, "$ cursus {}\n{said}", arguments.join(" ")).unwrap();
    }
    assert_eq!(simulator.statistics().requests, 0);
    workdir.cursus(["extract", "--select", "cursus"]).await.exits(0);
    workdir.without_api();
    for arguments in [
        &["load", "--select", "curses"][..],
        &["load", "20200101T000000Z"],
        &["load", "2020-01-01"],
        &["load", "./absent"],
        &["load", "--into", "My Schema"],
        &["stage", "ls", "latest", "users"],
        &["stage", "cat", "latest", "curses"],
    ] {
        let said = refusal(&workdir, arguments, 2).await;
        writeln!(all, "$ cursus {}\n{said}", arguments.join(" ")).unwrap();
    }
    assert_says!(workdir, all, @"");
}

#[tokio::test]
async fn two_runs_at_once_are_one_and_a_sentence_that_names_it() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let lock = Staging::new(workdir.path("staging")).lock("run").unwrap();
    let said = refusal(&workdir, &["extract", "--select", "cursus"], 5).await;
    assert_says!(workdir, said.replace(&format!("pid {}", std::process::id()), "pid [PID]"), @"");
    assert_eq!(simulator.statistics().hits, 0);
    drop(lock);
    workdir.cursus(["extract", "--select", "cursus"]).await.exits(0);
}

#[tokio::test]
async fn a_file_where_a_directory_should_be_is_named() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.write("occupied", "");
    let mut all = String::new();
    for arguments in [
        &["extract", "--staging", "occupied"][..],
        &["extract", "--staging", "occupied/below"],
        &["load", "--staging", "occupied"],
        &["extract", "--config", "occupied/pipeline.toml"],
        &["extract", "--config", "absent.toml"],
    ] {
        let code = if arguments.contains(&"--config") { 2 } else { 1 };
        let said = refusal(&workdir, arguments, code).await;
        writeln!(all, "$ cursus {}\n{said}", arguments.join(" ")).unwrap();
    }
    workdir.write(".cursus", "");
    let said = refusal(&workdir, &["extract", "--select", "cursus"], 1).await;
    writeln!(all, "$ cursus extract --select cursus\n{said}").unwrap();
    assert_says!(workdir, all, @"");
}

/// A staged run of a few resources, of which each test damages its own copy.
struct Staged {
    workdir: Workdir,
    /// The run's directory below a staging directory.
    run: PathBuf,
}

impl Staged {
    async fn new() -> Self {
        let simulator = simulator().await;
        let mut workdir = Workdir::with(&simulator).await;
        workdir
            .cursus(["extract", "--select", "cursus,campus,coalitions"])
            .await
            .exits(0);
        workdir.without_api();
        let run = walkdir::WalkDir::new(workdir.path("staging"))
            .into_iter()
            .flatten()
            .find(|entry| entry.file_name() == "run.json")
            .map(|entry| entry.path().parent().unwrap().to_owned())
            .unwrap();
        let run = run.strip_prefix(workdir.path("staging")).unwrap().to_owned();
        Self { workdir, run }
    }

    /// A copy of the staged run; gives the directory of its campuses.
    fn copy(&self, name: &str) -> PathBuf {
        let from = self.workdir.path("staging");
        for entry in walkdir::WalkDir::new(&from).into_iter().map(Result::unwrap) {
            let to = self.workdir.path(name).join(entry.path().strip_prefix(&from).unwrap());
            if entry.file_type().is_dir() {
                std::fs::create_dir_all(to).unwrap();
            } else {
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
        self.workdir.path(name).join(&self.run).join("campus")
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

const PAGE: &str = "page-00001.json.gz";

/// Replaces the only page by another body, with journal and manifest as if the server had sent it.
fn received(directory: &Path, body: &[u8]) {
    std::fs::write(directory.join(PAGE), gzip(body)).unwrap();
    let journal = directory.join("pages.jsonl");
    let mut line: Value = serde_json::from_slice(&std::fs::read(&journal).unwrap()).unwrap();
    line["bytes"] = json!(body.len());
    line["sha256"] = json!(sha256(body));
    let line = format!("{line}\n");
    std::fs::write(&journal, &line).unwrap();
    edit_manifest(directory, "journal_sha256", &json!(sha256(line.as_bytes())));
}

fn edit_manifest(directory: &Path, key: &str, value: &Value) {
    let path = directory.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    manifest[key] = value.clone();
    std::fs::write(&path, manifest.to_string()).unwrap();
}

/// Each way to damage a page, a journal or a manifest; the resources beside it load.
#[tokio::test]
async fn a_damaged_resource_is_named_and_the_others_load() {
    let staged = Staged::new().await;
    let workdir = &staged.workdir;
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 12] = [
        ("truncated", |campus| {
            let bytes = std::fs::read(campus.join(PAGE)).unwrap();
            std::fs::write(campus.join(PAGE), &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("empty", |campus| std::fs::write(campus.join(PAGE), "").unwrap()),
        ("not_gzip", |campus| std::fs::write(campus.join(PAGE), "<html>").unwrap()),
        ("other_content", |campus| std::fs::write(campus.join(PAGE), gzip(b"[]")).unwrap()),
        ("missing", |campus| std::fs::remove_file(campus.join(PAGE)).unwrap()),
        ("not_json", |campus| received(campus, b"[{\"id\": 1}, <html>")),
        ("not_utf8", |campus| received(campus, b"[{\"id\": 1, \"name\": \"\xff\"}]")),
        ("not_an_array", |campus| received(campus, b"{\"error\": \"not found\"}")),
        ("journal_edited", |campus| {
            let path = campus.join("pages.jsonl");
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replace("\"page\":1", "\"page\":2")).unwrap();
        }),
        ("journal_gone", |campus| std::fs::remove_file(campus.join("pages.jsonl")).unwrap()),
        ("manifest_of_another", |campus| edit_manifest(campus, "resource", &json!("users"))),
        ("manifest_broken", |campus| std::fs::write(campus.join("manifest.json"), "{\"format\":").unwrap()),
    ];
    let mut all = String::new();
    for (name, damage) in damages {
        damage(&staged.copy(name));
        let said = refusal(workdir, &["load", "--staging", name, "--into", name], 1).await;
        writeln!(all, "{name}: {}", said.trim()).unwrap();
        let loaded = workdir
            .number(&format!("SELECT count(*) FROM {name}.cursus"))
            .await;
        assert_eq!(loaded, 12, "the other resources load: {said}");
        assert_eq!(workdir.number(&format!("SELECT count(*) FROM {name}.campuses")).await, 0);
        assert_eq!(workdir.number(&format!("SELECT count(*) FROM {name}.coalitions")).await, 20);
    }
    assert_says!(workdir, all, @"");
}

/// What is damaged is healed by what the error advises.
#[tokio::test]
async fn after_the_advice_of_the_error_everything_loads() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.cursus(["extract", "--select", "cursus,campus"]).await.exits(0);
    for file in ["manifest.json", PAGE] {
        let damaged = walkdir::WalkDir::new(workdir.path("staging"))
            .into_iter()
            .flatten()
            .find(|entry| entry.path().ends_with(Path::new("campus").join(file)))
            .unwrap();
        std::fs::write(damaged.path(), "{").unwrap();
        workdir.cursus(["load"]).await.exits(1);
        workdir.cursus(["extract", "--full", "--select", "campus"]).await.exits(0);
        workdir.cursus(["load", "--select", "campus"]).await.exits(0);
        assert_eq!(workdir.number("SELECT count(*) FROM campuses").await, 8);
    }
}

/// The limit of a file's size stands for a full disk: it binds root too, and needs no rights.
#[tokio::test]
async fn a_full_disk_is_told_and_what_was_staged_is_kept() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let run = async |blocks: &str, arguments: &str| {
        let mut command = tokio::process::Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; ulimit -f $1; shift; exec \"$@\"", "sh", blocks])
            .arg(env!("CARGO_BIN_EXE_cursus"))
            .args(arguments.split(' '))
            .current_dir(workdir.path(""))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for name in [
            "HOME",
            "XDG_STATE_HOME",
            "CURSUS_API_URL",
            "CURSUS_CLIENT_ID",
            "CURSUS_CLIENT_SECRET",
            "CURSUS_DATABASE_URL",
        ] {
            command.env(name, workdir.variable(name));
        }
        let output = command.output().await.unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, document, said) = run("8", "extract --select cursus,projects --json -q").await;
    assert_eq!(code, Some(1), "{document}{said}");
    assert_says!(workdir, document, @"");
    let (code, document, said) = run("unlimited", "run --select cursus,projects --json -q").await;
    assert_eq!(code, Some(0), "{document}{said}");
    assert_eq!(workdir.number("SELECT count(*) FROM projects").await, 60);
}
