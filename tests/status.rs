//! `status` begins with the last run, whatever became of it, and says what it does not know.

use std::time::Duration;

use cursus::staging::Staging;
use cursus_simulator::{Fault, FaultKind, Options, Simulator};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::running::until;
use crate::support::workdir::{NO_DATABASE, NOBODY};
use crate::support::{Running, SCALE, Workdir, api, boxes, simulator, small};

/// The first line of `status`, and `last_run` of its document; both with exit code 0.
async fn last_run(workdir: &Workdir) -> (String, Value) {
    let text = workdir.cursus(["status"]).await.exits(0).stdout;
    let line = text.lines().next().unwrap().to_owned();
    let json = workdir.json(["status"]).await;
    (line, json["last_run"].clone())
}

/// The last run ended like this, with an error that says so.
#[track_caller]
fn assert_ended(last: &(String, Value), outcome: &str, error: &str) {
    let (line, json) = last;
    assert!(line.starts_with("last run  "), "{line}");
    assert!(line.contains(&format!("{outcome} ")), "{line}");
    assert!(line.contains(error), "{line}");
    assert_eq!(json["outcome"], outcome, "{json:#}");
    assert!(
        json["error"].as_str().unwrap_or_default().contains(error),
        "{json:#}"
    );
    assert!(json["started_at"].is_string(), "{json:#}");
}

async fn whole(simulator: &Simulator) -> Workdir {
    let workdir = Workdir::with(simulator).await;
    workdir.json(["run", "--select", "cursus,users"]).await;
    workdir
}

#[tokio::test]
async fn a_wrong_secret_leads_the_status() {
    let simulator = simulator().await;
    let mut workdir = whole(&simulator).await;
    let (line, json) = last_run(&workdir).await;
    assert!(line.contains("complete"), "{line}");
    assert_eq!(json["exit_code"], 0);
    assert_eq!(json["error"], Value::Null);
    for command in [
        &["extract"][..],
        &["run"],
        &["watch", "--every", "1h", "--rounds", "1"],
    ] {
        workdir.set("CURSUS_CLIENT_SECRET", "canary");
        workdir.cursus(command).await.exits(1);
        let last = last_run(&workdir).await;
        assert_ended(&last, "failed", "invalid_client");
        assert_eq!(last.1["command"], command[0]);
        let status = workdir.json(["status"]).await;
        assert!(!status.to_string().contains("canary"));
        assert_eq!(status["resources"][0]["state"], "complete");
        // The run itself keeps why it ended.
        let run = last.1["run_id"].as_str().unwrap();
        let record = boxes::directory(&workdir, run).join("run.json");
        let record = std::fs::read_to_string(record).unwrap();
        assert!(
            record.contains("invalid_client") && !record.contains("canary"),
            "{record}"
        );
        workdir.set("CURSUS_CLIENT_SECRET", simulator.client_secret());
        workdir.json(["run"]).await;
        let (line, json) = last_run(&workdir).await;
        assert!(line.contains("complete"), "{line}");
        assert_eq!(json["outcome"], "complete");
    }
}

#[tokio::test]
async fn what_failed_before_it_read_anything_leads_the_status() {
    let simulator = simulator().await;
    let mut workdir = whole(&simulator).await;
    for (variable, value, code, outcome, error) in [
        (
            "CURSUS_CLIENT_ID",
            "",
            2,
            "failed",
            "there are no credentials",
        ),
        (
            "CURSUS_DATABASE_URL",
            NO_DATABASE,
            1,
            "failed",
            "cannot reach the database",
        ),
        ("CURSUS_API_URL", NOBODY, 4, "refused", "this project reads"),
    ] {
        for command in [&["run"][..], &["watch", "--every", "1h", "--rounds", "1"]] {
            workdir.json(["run", "--select", "cursus", "--force"]).await;
            let was = workdir.variable(variable).to_owned();
            workdir.set(variable, value);
            workdir.cursus(command).await.exits(code);
            workdir.set(variable, was);
            assert_ended(&last_run(&workdir).await, outcome, error);
        }
    }
    workdir.cursus(["run", "--select", "curses"]).await.exits(2);
    assert_ended(
        &last_run(&workdir).await,
        "failed",
        "did you mean `cursus`?",
    );

    // Also the first command of all.
    let mut workdir = Workdir::with(&simulator).await;
    workdir.unset("CURSUS_CLIENT_SECRET");
    workdir.cursus(["run"]).await.exits(2);
    assert_ended(
        &last_run(&workdir).await,
        "failed",
        "there are no credentials",
    );
}

#[tokio::test]
async fn a_load_that_failed_leads_or_follows_its_run() {
    let simulator = simulator().await;
    let workdir = whole(&simulator).await;
    workdir.pipeline(&[]);
    workdir.write("sql/users_campus.sql", "SELECT 1 / 0");
    workdir
        .cursus(["run", "--select", "users", "--full"])
        .await
        .exits(1);
    assert_ended(&last_run(&workdir).await, "failed", "users_campus");
    workdir
        .json(["extract", "--select", "users", "--full"])
        .await;
    workdir.cursus(["load"]).await.exits(1);
    let status = workdir.cursus(["status"]).await.exits(0).stdout;
    let lines: Vec<&str> = status.lines().collect();
    assert!(
        lines[0].starts_with("last run  ") && lines[0].contains("complete"),
        "{status}"
    );
    assert!(
        lines[1].starts_with("last load ") && lines[1].contains("failed"),
        "{status}"
    );
    assert!(lines[1].contains("users_campus"), "{status}");
    let json = workdir.json(["status"]).await;
    assert_eq!(json["last_load"]["outcome"], "failed");
}

#[tokio::test]
async fn running_or_killed_run_leads_the_status() {
    let simulator = simulator().await;
    let workdir = whole(&simulator).await;
    simulator.inject(Fault::new("/v2", FaultKind::Stall { seconds: 3600.0 }));
    let requests = simulator.statistics().hits;
    let arguments = ["extract", "--select", "users", "--full"];
    let running = Running::start(&workdir, &arguments);
    until("it reads", async || simulator.statistics().hits > requests).await;
    let (line, json) = last_run(&workdir).await;
    assert!(line.contains("running (begun "), "{line}");
    assert_eq!(json["outcome"], "running");
    assert_eq!(json["finished_at"], Value::Null);
    // Who is refused beside it does not hide it.
    workdir.cursus(["extract"]).await.exits(5);
    assert_eq!(last_run(&workdir).await.1["outcome"], "running");
    running.signal(Signal::SIGKILL);
    running.end().await;
    assert_ended(&last_run(&workdir).await, "interrupted", "resumes it");
    let running = Running::start(&workdir, &arguments);
    let requests = simulator.statistics().hits;
    until("it reads", async || simulator.statistics().hits > requests).await;
    running.signal(Signal::SIGTERM);
    running.end().await.exits(143);
    assert_ended(
        &last_run(&workdir).await,
        "interrupted",
        "interrupted by SIGTERM",
    );
    simulator.clear_faults();
    workdir.json(arguments).await;
    assert_eq!(last_run(&workdir).await.1["outcome"], "complete");
}

#[tokio::test]
async fn a_run_that_ended_in_its_load_is_not_called_complete() {
    let simulator = simulator().await;
    let mut workdir = whole(&simulator).await;
    for (end, code, outcome, error) in [
        ("kill", None, "unknown", "how its load ended"),
        ("panic", Some(1), "failed", "a fault in cursus"),
    ] {
        workdir.set("CURSUS_FAILPOINT", format!("load.commit={end}"));
        let ran = workdir.cursus(["run", "--select", "users", "--full"]).await;
        assert_eq!(ran.code, code, "{ran}");
        workdir.unset("CURSUS_FAILPOINT");
        assert_ended(&last_run(&workdir).await, outcome, error);
        workdir.cursus(["load"]).await.exits(0);
    }
}

#[tokio::test]
async fn run_without_requests_left_is_shown_as_stopped() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir
        .cursus(["extract", "--max-hits", "2"])
        .await
        .exits(6);
    let (line, json) = last_run(&workdir).await;
    assert!(line.contains("stopped"), "{line}");
    assert_eq!(
        (&json["outcome"], &json["exit_code"]),
        (&json!("stopped"), &json!(6))
    );
    // It stopped before most was read.
    let run = workdir.json(["stage", "ls"]).await;
    assert_ne!(run[0]["mode"], "full", "{run:#}");
}

#[tokio::test]
async fn without_the_database_what_only_it_knows_is_unknown() {
    let simulator = simulator().await;
    let mut workdir = whole(&simulator).await;
    workdir.set("CURSUS_DATABASE_URL", NO_DATABASE);
    let ran = workdir
        .cursus(["status"])
        .await
        .exits(1)
        .says("error: cannot reach the database");
    assert!(!ran.stdout.contains("not loaded yet"), "{ran}");
    assert!(ran.stdout.contains("unknown without the database"), "{ran}");
    assert!(
        ran.stdout.lines().next().unwrap().contains("complete"),
        "{ran}"
    );
    let json = workdir.json_exits(1, ["status"]).await;
    for key in ["pending", "quarantined", "prune_candidates"] {
        assert_eq!(json[key], Value::Null, "{json:#}");
    }
    assert_eq!(json["resources"][0]["loaded_run"], "unknown", "{json:#}");
    assert_eq!(json["last_run"]["outcome"], "complete");
    assert!(
        json["database"]
            .as_str()
            .unwrap()
            .starts_with("cannot reach")
    );
}

#[tokio::test]
async fn expiry_of_the_client_secret_is_announced() {
    for (days, text, warned) in [
        (20, "expires in 19 days 23 h", false),
        (3, "expires in 2 days 23 h", true),
    ] {
        let simulator = api::start(Options {
            secret_life: Duration::from_hours(24 * days),
            ..small()
        })
        .await;
        let workdir = Workdir::with(&simulator).await;
        let ran = workdir.cursus(["status"]).await.exits(0);
        assert!(ran.stdout.contains("secret    unknown"), "{ran}");
        workdir.json(["extract", "--select", "cursus"]).await;
        let before = simulator.statistics();
        let ran = workdir.cursus(["status"]).await.exits(0);
        assert!(ran.stdout.contains(&format!("secret    {text}")), "{ran}");
        assert_eq!(ran.stderr.contains("create a new one"), warned, "{ran}");
        let json = workdir.json(["status"]).await;
        assert_eq!(json["secret_days_left"], days - 1, "{json:#}");
        assert!(json["secret_valid_until"].is_string());
        let after = simulator.statistics();
        assert_eq!(
            (after.hits, after.by_path),
            (before.hits, before.by_path),
            "it asks nothing"
        );
    }
}

/// A whole run of yesterday's kind, and after it one that staged nothing.
async fn failed_after_whole() -> (Simulator, Workdir, String) {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let whole = workdir.json(["run"]).await["run_id"]
        .as_str()
        .unwrap()
        .to_owned();
    workdir.set("CURSUS_CLIENT_SECRET", "wrong");
    workdir
        .cursus(["extract", "--select", "users"])
        .await
        .exits(1);
    workdir.set("CURSUS_CLIENT_SECRET", simulator.client_secret());
    (simulator, workdir, whole)
}

#[tokio::test]
async fn latest_and_a_day_name_the_newest_run_that_staged_something() {
    let (simulator, workdir, whole) = failed_after_whole().await;
    // Nothing is due: it reads nothing.
    workdir.json(["extract", "--select", "cursus"]).await;
    assert_eq!(
        workdir
            .json(["stage", "ls"])
            .await
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let day = format!("{}-{}-{}", &whole[..4], &whole[4..6], &whole[6..8]);
    for named in ["latest", &day] {
        let shown = workdir.cursus(["stage", "ls", named]).await.exits(0);
        let directory = boxes::directory(&workdir, &whole);
        assert!(
            shown.stdout.starts_with(directory.to_str().unwrap()),
            "{shown}"
        );
        let verified = workdir.json(["stage", "verify", named]).await;
        assert!(verified.as_array().unwrap().len() > 5, "{verified:#}");
        let cat = workdir
            .cursus(["stage", "cat", named, "users"])
            .await
            .exits(0);
        assert_eq!(cat.stdout.lines().count(), SCALE.students);
        let ran = workdir.cursus(["load", named]).await.exits(0);
        assert!(
            ran.stdout
                .contains(&format!("the run {whole} is loaded already")),
            "{ran}"
        );
        let diff = workdir.cursus(["diff", "live", named]).await.exits(0);
        assert!(diff.stdout.contains(&whole), "{diff}");
        workdir.query("DROP SCHEMA IF EXISTS past CASCADE").await;
        let replay = ["replay", "--to", named, "--into", "past"];
        let replayed = workdir.json(replay).await;
        assert_eq!(replayed["runs"], json!([whole]), "{replayed:#}");
    }
    // A failure does not keep the next one from resuming.
    simulator.advance(Duration::from_hours(2));
    let report = workdir.json(["run"]).await;
    assert_eq!(
        (&report["mode"], &report["state"]),
        (&json!("delta"), &json!("complete"))
    );
    let runs = workdir.json(["stage", "ls"]).await;
    let numbers: Vec<&Value> = runs
        .as_array()
        .unwrap()
        .iter()
        .map(|run| &run["seq"])
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    let shown = workdir.cursus(["stage", "ls", "latest"]).await.exits(0);
    let newest = boxes::directory(&workdir, report["run_id"].as_str().unwrap());
    assert!(
        shown.stdout.starts_with(newest.to_str().unwrap()),
        "{shown}"
    );
}

#[tokio::test]
async fn where_nothing_was_staged_there_is_no_latest_run() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.set("CURSUS_CLIENT_SECRET", "wrong");
    workdir.cursus(["extract"]).await.exits(1);
    let ran = workdir.cursus(["stage", "verify", "latest"]).await.exits(2);
    ran.says("has staged anything");
    let day = workdir.json(["stage", "ls"]).await[0]["run_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let day = format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..8]);
    let ran = workdir.cursus(["stage", "verify", &day]).await.exits(2);
    ran.says("has staged anything");
}

#[tokio::test]
async fn gc_removes_failed_runs_without_pages() {
    let (_simulator, workdir, whole) = failed_after_whole().await;
    workdir.json(["run", "--select", "cursus", "--force"]).await;
    let report = workdir.json(["stage", "gc", "--keep", "0s"]).await;
    let removed = report["removed"].as_array().unwrap();
    assert_eq!(removed.len(), 1, "{report:#}");
    assert_ne!(removed[0]["run_id"], json!(whole));
}

#[tokio::test]
async fn a_run_that_reads_nothing_is_no_full_read() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run", "--select", "cursus"]).await;
    let report = workdir.json(["run", "--select", "cursus"]).await;
    assert_eq!(report["resources"][0]["state"], "skipped", "{report:#}");
    assert_eq!(report["mode"], Value::Null, "{report:#}");
    let runs = workdir.json(["stage", "ls"]).await;
    assert_eq!(runs[1]["mode"], Value::Null, "{runs:#}");
    assert_eq!(workdir.count("pipeline.load").await, 1);
}

/// The read of a resource, as a report tells it.
fn read<'r>(report: &'r Value, name: &str) -> &'r Value {
    let mut resources = report["resources"].as_array().unwrap().iter();
    resources.find(|resource| resource["name"] == name).unwrap()
}

#[tokio::test]
async fn a_fan_out_over_ids_that_nobody_knows_is_no_read() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[(
        "for_each = { ids_of = \"users\"",
        "min_age = \"20h\"\nfor_each = { ids_of = \"users\"",
    )]);
    simulator.inject(Fault::new(
        "/v2/cursus/21/users",
        FaultKind::Status { status: 404 },
    ));
    let selected = ["run", "--select", "users,campus_users"];
    let report = workdir.json_exits(3, selected).await;
    let memberships = read(&report, "campus_users");
    assert_eq!(memberships["state"], "skipped", "{report:#}");
    assert!(
        memberships["notes"]
            .to_string()
            .contains("depends on `users`"),
        "{report:#}"
    );
    assert_ne!(report["mode"], "full", "{report:#}");
    let loads = "SELECT count(*) FROM pipeline.load WHERE resource = 'campus_users'";
    assert_eq!(workdir.number(loads).await, 0);
    // It is not young, although nothing was read of it.
    simulator.clear_faults();
    let report = workdir.json(selected).await;
    let memberships = read(&report, "campus_users");
    assert_eq!(
        (&memberships["state"], &memberships["mode"]),
        (&json!("complete"), &json!("full"))
    );
    assert!(memberships["rows"].as_u64() > Some(0), "{report:#}");
}

#[tokio::test]
async fn a_fan_out_over_no_ids_is_no_full_read() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[(
        "\"filter[kind]\" = \"student\"",
        "\"filter[kind]\" = \"nobody\"",
    )]);
    let report = workdir
        .json(["run", "--select", "users,campus_users"])
        .await;
    assert_eq!(read(&report, "users")["rows"], 0, "{report:#}");
    assert_ne!(read(&report, "campus_users")["mode"], "full", "{report:#}");
    let full =
        "SELECT count(*) FROM pipeline.load WHERE resource = 'campus_users' AND mode = 'full'";
    assert_eq!(workdir.number(full).await, 0);
    // And old runs still go.
    workdir
        .json(["run", "--select", "users,campus_users", "--full"])
        .await;
    let report = workdir.json(["stage", "gc", "--keep", "0s"]).await;
    assert_eq!(report["removed"].as_array().unwrap().len(), 1, "{report:#}");
}

#[tokio::test]
async fn a_refused_run_does_not_hide_the_last_one() {
    let simulator = simulator().await;
    let workdir = whole(&simulator).await;
    let lock = Staging::new(workdir.path("staging")).lock("stage").unwrap();
    workdir.cursus(["run"]).await.exits(5);
    // Nothing of it is recorded while the other is running.
    assert_eq!(last_run(&workdir).await.1["outcome"], "complete");
    drop(lock);
}

#[tokio::test]
async fn kept_rows_are_counted_by_table() {
    let workdir = boxes::workdir().await;
    let first = [
        boxes::full("boxes", boxes::boxes(1..=2)),
        boxes::full("things", boxes::things(1..=3)),
    ];
    boxes::stage(&workdir, &first);
    boxes::stage(&workdir, &[boxes::full("boxes", boxes::boxes(2..=2))]);
    workdir.cursus(["load"]).await;
    let ran = workdir.cursus(["status"]).await.exits(0);
    let answer = "other rows refer to them: boxes 1 row (`cursus prune ls`)";
    assert!(ran.stdout.contains(answer), "{ran}");
    let json = workdir.json(["status"]).await;
    assert_eq!(json["kept_rows"], json!({"boxes": 1}), "{json:#}");
    // As an earlier version has left the database.
    workdir
        .query("ALTER TABLE pipeline.prune_candidate RENAME COLUMN referred_by TO later; DELETE FROM pipeline.refinery_schema_history WHERE version > 6")
        .await;
    let ran = workdir.cursus(["status"]).await.exits(1);
    ran.says("cursus migrate");
}
