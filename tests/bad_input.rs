//! Bad input: each a clear sentence, the right exit code, a JSON document with `--json`, and nothing lost or printed that is secret.

use std::fmt::Write as _;

use serde_json::Value;

use crate::support::snapshot::assert_text;
use crate::support::workdir::{NO_DATABASE, NOBODY, url_at};
use crate::support::{Workdir, simulator, testing};

/// Stands for every password in these tests.
pub(crate) const PASSWORD: &str = "hunter2-is-secret";

/// Runs a command that must end with `code`, and gives what it says went wrong. With `--json -vv` it must end in the same way,
/// with one document that says the same; no secret may be in either.
pub(crate) async fn refusal(workdir: &Workdir, arguments: &[&str], code: i32) -> String {
    let mut quiet = arguments.to_vec();
    quiet.push("-q");
    let quiet = workdir.cursus(quiet).await.exits(code);
    let mut loud = arguments.to_vec();
    loud.extend(["--json", "-vv"]);
    let loud = workdir.cursus(loud).await.exits(code);
    let errors = loud.json()["errors"].clone();
    let count = errors.as_array().map_or(0, Vec::len);
    let answer = quiet
        .stderr
        .lines()
        .filter(|line| line.contains(" error: "))
        .count();
    assert_eq!(
        count, answer,
        "as many errors in JSON as on stderr: {quiet}{loud}"
    );
    for secret in secrets(workdir) {
        for output in [&quiet.stdout, &quiet.stderr, &loud.stdout, &loud.stderr] {
            assert!(!output.contains(&secret), "a secret is printed: {output}");
        }
    }
    quiet.stderr
}

/// Passwords, the client secret, and the token if there is one.
fn secrets(workdir: &Workdir) -> Vec<String> {
    let mut secrets = vec![PASSWORD.to_owned()];
    secrets.extend(workdir.variable_if_set("CURSUS_CLIENT_SECRET"));
    for entry in walkdir::WalkDir::new(workdir.path(".cursus"))
        .into_iter()
        .flatten()
    {
        let token = std::fs::read(entry.path())
            .ok()
            .and_then(|file| serde_json::from_slice::<Value>(&file).ok())
            .and_then(|file| file["access_token"].as_str().map(str::to_owned));
        secrets.extend(token);
    }
    secrets
}

#[tokio::test]
async fn missing_credentials_are_named_with_where_to_put_them() {
    let mut workdir = Workdir::new().await;
    let said = refusal(&workdir, &["extract"], 2).await;
    assert_text("no_credentials", &workdir, &said);
    workdir.set("CURSUS_CLIENT_ID", "an-id");
    let said = refusal(&workdir, &["run"], 2).await;
    assert_text("no_client_secret", &workdir, &said);
}

#[tokio::test]
async fn wrong_credentials_differ_from_an_unreachable_api() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.set("CURSUS_CLIENT_SECRET", PASSWORD);
    let said = refusal(&workdir, &["extract"], 1).await;
    assert_text("wrong_credentials", &workdir, &said);
    workdir.set("CURSUS_API_URL", NOBODY);
    // Once only: it takes the time of all attempts.
    let report = workdir
        .json_exits(1, ["extract", "--select", "cursus"])
        .await;
    assert_text(
        "api_unreachable",
        &workdir,
        report["errors"][0].as_str().unwrap(),
    );
}

#[tokio::test]
async fn tokens_travel_over_https_or_not_at_all() {
    let mut workdir = Workdir::new().await;
    workdir.set("CURSUS_CLIENT_ID", "an-id");
    workdir.set("CURSUS_CLIENT_SECRET", PASSWORD);
    workdir.set("CURSUS_API_URL", "http://api.example.org");
    let said = refusal(&workdir, &["extract"], 2).await;
    assert_text("http_beyond_loopback", &workdir, &said);
    workdir.set(
        "CURSUS_API_URL",
        format!("https://me:{PASSWORD}@api.example.org"),
    );
    let said = refusal(&workdir, &["extract"], 2).await;
    assert_text("password_in_api_url", &workdir, &said);
}

#[tokio::test]
async fn a_broken_line_of_dotenv_is_not_shown() {
    let workdir = Workdir::new().await;
    workdir.write(
        ".env",
        format!("CURSUS_CLIENT_ID=an-id\nCURSUS_CLIENT_SECRET {PASSWORD}\n"),
    );
    let said = refusal(&workdir, &["extract"], 2).await;
    assert_text("dotenv_broken", &workdir, &said);
}

/// One command a way in which there is no database; none of them may cost a request.
#[tokio::test]
async fn unusable_database_is_reported_before_the_first_request() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with_empty_database(&simulator).await;
    let socket = testing::cluster().await.socket_dir();
    let url = |user: &str, database: &str| url_at(socket, &format!("{user}:{PASSWORD}"), database);
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
        writeln!(
            all,
            "{case}: {}",
            refusal(&workdir, &["run"], code).await.trim()
        )
        .unwrap();
    }
    assert_text(
        "database_unusable",
        &workdir,
        &all.replace(&socket.display().to_string(), "[SOCKET]"),
    );
    assert_eq!(simulator.statistics().requests, 0);
}

/// A user whose password is asked for, and one who may connect but nothing else.
async fn outsiders(workdir: &Workdir) {
    for role in ["cursus_outsider", "cursus_reader"] {
        let there = workdir
            .number(&format!(
                "SELECT count(*) FROM pg_roles WHERE rolname = '{role}'"
            ))
            .await;
        if there == 0 {
            workdir
                .query(&format!("CREATE ROLE {role} LOGIN PASSWORD 'another one'"))
                .await;
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
async fn schema_newer_than_the_program_is_not_touched() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.cursus(["migrate"]).await.exits(0);
    workdir
        .query(
            "INSERT INTO refinery_schema_history VALUES (77, 'later', '2030-01-01T00:00:00Z', '1')",
        )
        .await;
    let said = refusal(&workdir, &["run"], 1).await;
    assert_text("schema_newer", &workdir, &said);
    assert_eq!(simulator.statistics().requests, 0);
}

#[tokio::test]
async fn all_ten_configuration_faults_are_reported_at_once() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let faults = [
        ("timeout = \"120s\"", "timeout = \"soon\""),
        ("max_in_flight = 256", "max_in_flght = 32"),
        ("[staging]\ndir = \"staging\"", "[staging]\ndir = 5"),
        ("schema = \"public\"", "schema = \"My Schema\""),
        ("min_rows = 20", "min_rows = -20"),
        ("path = \"/v2/achievements\"", "path = \"v2/achievements\""),
        ("ids_of = \"users\"", "ids_of = \"user\""),
        (
            "rows = \"/project_sessions\"",
            "rows = \"project_sessions\"",
        ),
        (
            "within = { user_id = \"users.id\" }",
            "within = { user_id = \"users\" }",
        ),
        (
            "sql = \"sql/users_campus.sql\"",
            "sql = \"sql/user_campus.sql\"",
        ),
    ];
    workdir.pipeline(&faults);
    let said = refusal(&workdir, &["run"], 2).await;
    // Each is reported with its own line, in the order of the lines.
    let text = std::fs::read_to_string(workdir.path("pipeline.toml")).unwrap();
    let mut shown = said.clone();
    for (answer, (_, fault)) in said.lines().skip(1).zip(faults) {
        // Behind the time, which has two colons.
        let line = answer.split(':').nth(3).unwrap();
        let written = text
            .lines()
            .nth(line.parse::<usize>().unwrap() - 1)
            .unwrap();
        let fault = fault.lines().last().unwrap();
        assert!(written.contains(fault), "{answer}\n{written}");
        shown = shown.replacen(&format!(":{line}: "), ":[LINE]: ", 1);
    }
    assert_text("ten_faults", &workdir, &shown);
    assert_eq!(simulator.statistics().requests, 0);
    assert!(!workdir.path("staging").exists());
}

#[tokio::test]
async fn configuration_without_its_table_sends_no_request() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.write(
        "migrations/mirror/V1000__extra.sql",
        "CREATE TABLE extra (id bigint PRIMARY KEY, label text NOT NULL, place point);",
    );
    workdir.pipeline(&[
        (
            "language_name = \"/language/name\"",
            "language_nam = \"/language/name\"",
        ),
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
    assert_text("database_disagrees", &workdir, &said);
    assert_eq!(simulator.statistics().requests, 0);
}

#[tokio::test]
async fn unknown_name_is_reported_with_the_known_ones() {
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
    workdir
        .cursus(["extract", "--select", "cursus"])
        .await
        .exits(0);
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
    assert_text("names_unknown", &workdir, &all);
}
