//! `check`, `runs` and the metrics: what a monitoring system reads.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use cursus_simulator::{Fault, FaultKind, Simulator};
use nix::sys::signal::Signal;
use tokio::io::AsyncWriteExt;

use crate::support::running::until;
use crate::support::workdir::NO_DATABASE;
use crate::support::{Ran, Running, Workdir, files, simulator};

/// A mirror of a few resources.
async fn mirror(simulator: &Simulator) -> Workdir {
    let workdir = Workdir::with(simulator).await;
    workdir.json(["run", "--select", SELECT]).await;
    workdir
}

const SELECT: &str = "cursus,users";

async fn check(workdir: &Workdir, more: &[&str]) -> Ran {
    let arguments = [&["check", "--select", SELECT], more].concat();
    workdir.cursus(arguments).await
}

/// Its only line, which begins like this.
#[track_caller]
fn assert_line(ran: &Ran, state: &str) -> String {
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 1, "one line: {ran}");
    assert!(lines[0].starts_with(&format!("CURSUS {state}: ")), "{ran}");
    assert!(lines[0].matches('|').count() <= 1, "{ran}");
    lines[0].to_owned()
}

#[tokio::test]
async fn check_is_ok_after_a_run_and_gives_figures() {
    let simulator = simulator().await;
    let workdir = mirror(&simulator).await;
    let before = files::files(&workdir.path("."));
    let ran = check(&workdir, &[]).await.exits(0);
    let line = assert_line(&ran, "OK");
    assert_eq!(check(&workdir, &["-q"]).await.exits(0).stdout, "");
    let (_, figures) = line.split_once(" | ").unwrap();
    for figure in figures.split(' ') {
        let (label, value) = figure.split_once('=').unwrap();
        assert!(!label.is_empty(), "{line}");
        let fields: Vec<&str> = value.split(';').collect();
        assert!(fields.len() <= 5 && !fields[0].is_empty(), "{figure}");
    }
    for label in [
        "age_users=",
        "last_run_age=",
        "held_deletes=0;0",
        "quarantined=",
        "disk_free=",
        "requests_left=",
        "secret_left=",
    ] {
        assert!(figures.contains(label), "{label}: {figures}");
    }
    assert_eq!(
        files::files(&workdir.path(".")),
        before,
        "nothing is written"
    );
    // Of all that the pipeline has, some was never read.
    let line = assert_line(&workdir.cursus(["check"]).await.exits(1), "WARNING");
    assert!(line.contains("never read completely: campus, "), "{line}");
    let json: serde_json::Value = check(&workdir, &["--json"]).await.exits(0).json();
    assert_eq!(json["state"], "OK");
}

#[tokio::test]
async fn check_warns_of_age_and_twice_the_age_is_critical() {
    let simulator = simulator().await;
    let mut workdir = mirror(&simulator).await;
    let shifted = |hours: i64| {
        let now = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
        now.to_string()
    };
    workdir.set("CURSUS_CLOCK", shifted(27 + 24));
    let ran = check(&workdir, &["--max-age", "50h"]).await.exits(1);
    let line = assert_line(&ran, "WARNING");
    assert!(
        line.contains("users is 2 days 3 h old (limit 2 days 2 h)"),
        "{line}"
    );
    let ran = check(&workdir, &["--max-age", "users=25h", "--max-age", "60h"])
        .await
        .exits(2);
    assert_line(&ran, "CRITICAL");
    check(
        &workdir,
        &[
            "--max-age",
            "1s",
            "--max-age",
            "users=60h",
            "--max-age",
            "cursus=60h",
        ],
    )
    .await
    .exits(0);
}

#[tokio::test]
async fn check_is_critical_after_a_failure_and_without_database() {
    let simulator = simulator().await;
    let mut workdir = mirror(&simulator).await;
    let secret = simulator.client_secret();
    workdir.set("CURSUS_CLIENT_SECRET", "wrong");
    workdir.cursus(["run", "--select", SELECT]).await.exits(1);
    let line = assert_line(&check(&workdir, &["-q"]).await.exits(2), "CRITICAL");
    assert!(
        line.contains("last run ") && line.contains("invalid_client"),
        "{line}"
    );
    workdir.set("CURSUS_CLIENT_SECRET", secret);
    workdir.json(["run", "--select", SELECT, "--force"]).await;
    check(&workdir, &[]).await.exits(0);
    let url = workdir.variable("CURSUS_DATABASE_URL").to_owned();
    workdir.set("CURSUS_DATABASE_URL", NO_DATABASE);
    let line = assert_line(&check(&workdir, &[]).await.exits(2), "CRITICAL");
    assert!(line.contains("cannot reach the database"), "{line}");
    assert!(
        line.contains("age_users=") && !line.contains("quarantined="),
        "{line}"
    );
    workdir.set("CURSUS_DATABASE_URL", url);
    // The mirror is deleted.
    workdir.new_database().await;
    assert_line(&check(&workdir, &[]).await.exits(2), "CRITICAL");
}

#[tokio::test]
async fn check_is_unknown_where_it_cannot_tell() {
    let mut workdir = Workdir::new().await;
    workdir.unset("CURSUS_DATABASE_URL");
    let ran = workdir.cursus(["check"]).await.exits(3);
    assert_line(&ran, "UNKNOWN");
    assert!(
        !workdir.path(".cursus").exists(),
        "no private PostgreSQL is made"
    );
    assert!(!workdir.path("staging").exists());
    for arguments in [
        &["check", "--max-age", "curses=1h"][..],
        &["check", "--max-age", "users:none=1h"],
        &["check", "--select", "curses"],
        &["check", "--max-age", "soon"],
        &["check", "--max-age", "=1h"],
        &["check", "--max-age", "0s"],
        &["check", "--nothing"],
        &["check", "RUN"],
        &["--config", "missing.toml", "check"],
    ] {
        let ran = workdir.cursus(arguments).await.exits(3);
        assert_line(&ran, "UNKNOWN");
    }
    workdir.write("pipeline.toml", "version = ");
    assert_line(&workdir.cursus(["check"]).await.exits(3), "UNKNOWN");
    workdir.pipeline(&[]);
    let line = assert_line(&workdir.cursus(["check"]).await.exits(3), "UNKNOWN");
    assert!(line.contains("nothing was ever read here"), "{line}");
    workdir.set("CURSUS_DATABASE_URL", "postgres://x:canary/word@/");
    let ran = workdir.cursus(["check"]).await.exits(3);
    assert!(!assert_line(&ran, "UNKNOWN").contains("canary"), "{ran}");
}

#[tokio::test]
async fn runs_lists_commands_newest_first_and_one_in_detail() {
    let simulator = simulator().await;
    let mut workdir = mirror(&simulator).await;
    workdir
        .json(["extract", "--select", "cursus", "--force"])
        .await;
    workdir.json(["load"]).await;
    workdir.set("CURSUS_CLIENT_SECRET", "wrong");
    workdir.cursus(["run", "--select", "curses"]).await.exits(2);
    let runs = workdir.json(["runs"]).await;
    let commands = |runs: &serde_json::Value| -> Vec<String> {
        let runs = runs["runs"].as_array().unwrap().iter();
        runs.map(|run| run["command"].as_str().unwrap_or("-").to_owned())
            .collect()
    };
    assert_eq!(commands(&runs), ["run", "load", "extract", "run"]);
    assert_eq!(runs["database"], "reachable");
    let [failed, _, _, first] = &runs["runs"].as_array().unwrap()[..] else {
        panic!("{runs:#}");
    };
    assert_eq!(
        (&failed["exit_code"], &failed["outcome"]),
        (&2.into(), &"failed".into())
    );
    assert!(
        failed["error"].as_str().unwrap().contains("did you mean"),
        "{failed}"
    );
    assert!(first["requests"].as_u64().unwrap() > 1, "{first}");
    assert!(first["rows_staged"].as_u64() > Some(0) && first["rows_changed"].as_u64() > Some(0));
    assert!(first["loaded_at"].is_string(), "{first}");
    assert_eq!(
        commands(&workdir.json(["runs", "--limit", "1"]).await),
        ["run"]
    );
    let id = first["run_id"].as_str().unwrap();
    let detail = workdir.json(["runs", id]).await;
    assert_eq!(detail["run_id"], id);
    assert_eq!(detail["commands"][0]["command"], "run");
    assert_eq!(detail["resources"].as_array().unwrap().len(), 2);
    assert!(
        detail["tables"]
            .as_array()
            .unwrap()
            .iter()
            .any(|load| load["table"] == "users")
    );
    let text = workdir.cursus(["runs", id]).await.exits(0).stdout;
    assert!(
        text.contains("users") && text.contains("exit code 0"),
        "{text}"
    );
    workdir.cursus(["runs", "20000101T000000Z"]).await.exits(2);
    // Without the database it says what it does not know.
    workdir.set("CURSUS_DATABASE_URL", NO_DATABASE);
    let ran = workdir.cursus(["runs"]).await.exits(0);
    assert!(ran.stderr.contains("is not known: cannot reach"), "{ran}");
    let detail = workdir.json(["runs", id]).await;
    assert!(detail["tables"].is_null(), "{detail:#}");
    // A deleted run is known by its command.
    std::fs::remove_dir_all(workdir.run_directory().parent().unwrap()).unwrap();
    assert_eq!(
        workdir.json(["runs", id]).await["commands"][0]["outcome"],
        "complete"
    );
}

#[tokio::test]
async fn a_killed_command_shows_as_its_run_in_the_list() {
    let simulator = simulator().await;
    let workdir = mirror(&simulator).await;
    simulator.inject(Fault::new("/v2", FaultKind::Stall { seconds: 3600.0 }));
    let arguments = ["extract", "--select", "users", "--full"];
    for kill in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGKILL] {
        let requests = simulator.statistics().hits;
        let running = Running::start(&workdir, &arguments);
        until("it reads", async || simulator.statistics().hits > requests).await;
        let last = workdir.json(["status"]).await["last_run"].clone();
        assert_eq!(last["outcome"], "running", "{last:#}");
        running.signal(kill);
        running.end().await;
        let last = workdir.json(["status"]).await["last_run"].clone();
        assert_eq!(last["outcome"], "interrupted", "{last:#}");
        let is_recorded = last["command"] == "extract";
        assert_eq!(is_recorded, kill == Signal::SIGTERM, "{last:#}");
        let runs = workdir.json(["runs"]).await;
        assert_eq!(runs["runs"][0]["outcome"], "interrupted", "{runs:#}");
    }
}

/// The value of a sample.
fn sample(text: &str, name: &str) -> Option<f64> {
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("{name} ")))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[tokio::test]
async fn metrics_are_written_by_rename_and_counters_never_fall() {
    let simulator = simulator().await;
    let mut workdir = mirror(&simulator).await;
    let file = workdir.path("cursus.prom");
    let write = ["status", "-q", "--prometheus", "cursus.prom"];
    let ran = workdir.cursus(write).await.exits(0);
    assert_eq!(ran.stdout, "");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o644);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_promtool_accepts(&text).await;
    for name in [
        "cursus_resource_last_complete_timestamp_seconds{resource=\"users\",read=\"\"}",
        "cursus_resource_rows{resource=\"users\",read=\"\"}",
        "cursus_resource_state{resource=\"users\",read=\"\",state=\"complete\"}",
        "cursus_last_run_timestamp_seconds{outcome=\"complete\"}",
        "cursus_requests_total{status=\"200\"}",
        "cursus_requests_remaining",
        "cursus_secret_expiry_timestamp_seconds",
        "cursus_quarantined_rows",
        "cursus_held_deletes",
    ] {
        assert!(sample(&text, name).is_some(), "{name}: {text}");
    }
    assert!(text.contains("cursus_build_info{version=\""), "{text}");
    let total = "cursus_requests_total{status=\"200\"}";
    let before = sample(&text, total).unwrap();
    let sent = simulator.statistics().hits;
    assert!(before > 1.0 && sent > 0, "{text}");
    // Requests of other commands count too.
    workdir.json(["plan", "--select", "users"]).await;
    workdir.cursus(write).await.exits(0);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(sample(&text, total) > Some(before), "{text}");

    // What is not known has no sample.
    workdir.set("CURSUS_DATABASE_URL", NO_DATABASE);
    workdir.cursus(write).await.exits(1);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_promtool_accepts(&text).await;
    assert!(sample(&text, total) > Some(before), "{text}");
    assert!(
        !text.contains("quarantined") && !text.contains("held"),
        "{text}"
    );
}

/// The metrics of a text: name, type and labels of each, in alphabetical order.
fn listed(text: &str) -> Vec<(String, String, BTreeSet<String>)> {
    let mut metrics = Vec::new();
    for line in text.lines() {
        if let Some(metric) = line.strip_prefix("# TYPE ") {
            let (name, kind) = metric.split_once(' ').unwrap();
            metrics.push((name.to_owned(), kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let (name, labels) = line.split_once(['{', ' ']).unwrap();
            let (of, _, known) = metrics.last_mut().unwrap();
            assert_eq!(of, name, "a sample of another metric: {text}");
            let labels = labels.split_once('}').map_or("", |(labels, _)| labels);
            let names = labels.split(',').filter(|label| !label.is_empty());
            known.extend(names.map(|label| label.split_once('=').unwrap().0.to_owned()));
        }
    }
    metrics.sort();
    metrics
}

#[tokio::test]
async fn metrics_are_those_of_the_list_and_no_others() {
    let simulator = simulator().await;
    let workdir = mirror(&simulator).await;
    let list = include_str!("../deploy/prometheus/metrics.txt");
    let mut expected: Vec<_> = (list.lines().filter(|line| !line.starts_with('#')))
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let labels = words[2].split(',').filter(|label| *label != "-");
            let labels = labels.map(str::to_owned).collect::<BTreeSet<_>>();
            (words[0].to_owned(), words[1].to_owned(), labels)
        })
        .collect();
    let ran = workdir.cursus(["status", "--prometheus", "-"]).await;
    assert_eq!(listed(&ran.exits(0).stdout), expected);
    let arguments = ["status", "--prometheus", "-", "--project", "lyon"];
    let ran = workdir.cursus(arguments).await.exits(0);
    assert_promtool_accepts(&ran.stdout).await;
    let samples = ran.stdout.lines().filter(|line| !line.starts_with('#'));
    for sample in samples {
        assert!(sample.contains("project=\"lyon\"}"), "{sample}");
    }
    for (_, _, labels) in &mut expected {
        labels.insert("project".to_owned());
    }
    assert_eq!(listed(&ran.stdout), expected);
    let without = ["status", "--project", "lyon"];
    workdir.cursus(without).await.exits(2);
}

#[tokio::test]
async fn metrics_that_cannot_be_written_are_a_failure() {
    let simulator = simulator().await;
    let workdir = mirror(&simulator).await;
    workdir.write("folder/file", "");
    for file in [
        "missing/cursus.prom",
        "folder",
        "folder/file/cursus.prom",
        "",
        "/",
    ] {
        let ran = workdir.cursus(["status", "--prometheus", file]).await;
        assert!(ran.stderr.contains("error: "), "{file}: {ran}");
        let is_empty = file.is_empty();
        ran.exits(if is_empty { 2 } else { 1 });
    }
    let text = workdir
        .cursus(["status", "--prometheus", "-"])
        .await
        .exits(0)
        .stdout;
    assert_promtool_accepts(&text).await;
}

async fn assert_promtool_accepts(text: &str) {
    let mut promtool = tokio::process::Command::new("promtool");
    promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let Ok(mut child) = promtool.stderr(Stdio::piped()).spawn() else {
        // It is not installed everywhere.
        return;
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}\n{text}");
}
