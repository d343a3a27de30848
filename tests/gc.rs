//! `stage gc` removes what nobody needs any more, and nothing else: not by age, not half, not while it is written.

use std::collections::BTreeSet;
use std::fs;

use cursus::staging::Staging;
use serde_json::{Value, json};

use crate::support::boxes::directory;
use crate::support::files::edit;
use crate::support::workdir::NO_DATABASE;
use crate::support::{Workdir, oracle, simulator};

/// Everything that is old enough by any measure.
const GC: [&str; 4] = ["stage", "gc", "--keep", "0s"];

/// The ids of the runs that are there, in order.
async fn runs(workdir: &Workdir) -> Vec<String> {
    let runs = workdir.json(["stage", "ls"]).await;
    let ids = runs.as_array().unwrap().iter();
    ids.map(|run| run["run_id"].as_str().unwrap().to_owned())
        .collect()
}

/// Extracts, or extracts and loads; gives the run's id.
async fn run(workdir: &Workdir, arguments: &[&str]) -> String {
    let report = workdir.json(arguments).await;
    report["run_id"].as_str().unwrap().to_owned()
}

fn removed(report: &Value) -> Vec<&str> {
    let removed = report["removed"].as_array().unwrap().iter();
    removed.map(|run| run["run_id"].as_str().unwrap()).collect()
}

/// Why a run stays.
fn reasons<'r>(report: &'r Value, run: &str) -> Vec<&'r str> {
    let kept = report["kept"].as_array().unwrap();
    let kept = kept.iter().find(|kept| kept["run_id"] == run);
    let kept = kept.unwrap_or_else(|| panic!("{run} does not stay: {report:#}"));
    let reasons = kept["reasons"].as_array().unwrap().iter();
    reasons.map(|reason| reason.as_str().unwrap()).collect()
}

#[tokio::test]
async fn gc_removes_superseded_runs_and_keeps_the_mirror() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let first = run(&workdir, &["run"]).await;
    let second = run(&workdir, &["run"]).await;
    let third = run(&workdir, &["run", "--full"]).await;
    simulator.advance(std::time::Duration::from_hours(2));
    let fourth = run(&workdir, &["run"]).await;
    let dry = workdir.json([&GC[..], &["--dry-run"]].concat()).await;
    assert_eq!(removed(&dry), [&*first, &*second]);
    assert_eq!(runs(&workdir).await.len(), 4, "a dry run removes nothing");
    let done = workdir.json(GC).await;
    assert_eq!(removed(&done), [&*first, &*second]);
    assert_eq!(done["freed_bytes"], dry["freed_bytes"]);
    assert_ne!(done["freed_bytes"], 0);
    assert_eq!(runs(&workdir).await, [third, fourth]);
    // What is left makes the same mirror from nothing, and the next delta continues from it.
    workdir.new_database().await;
    workdir.json(["load"]).await;
    let moved = BTreeSet::new();
    oracle::assert_mirrors_but(&workdir, &simulator, &moved).await;
    let report = workdir.json(["run"]).await;
    assert_eq!(report["mode"], "delta", "{report:#}");
}

#[tokio::test]
async fn gc_keeps_the_last_full_read_and_all_after_it() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let first = run(&workdir, &["run", "--select", "users,cursus"]).await;
    let second = run(&workdir, &["run", "--select", "users"]).await;
    let third = run(&workdir, &["run", "--select", "cursus", "--full"]).await;
    let report = workdir.json(GC).await;
    assert_eq!(removed(&report), Vec::<&str>::new());
    for id in [&first, &second] {
        assert_eq!(
            reasons(&report, id),
            ["no newer run has a complete full read of users"]
        );
    }
    assert_eq!(
        reasons(&report, &third),
        [
            "it is the newest run",
            "no newer run has a complete full read of cursus"
        ]
    );
}

#[tokio::test]
async fn gc_keeps_runs_that_are_not_loaded() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let both = "users,coalitions";
    let first = run(&workdir, &["run", "--select", both]).await;
    let second = run(&workdir, &["extract", "--select", both, "--force"]).await;
    run(&workdir, &["extract", "--select", "users", "--full"]).await;
    run(&workdir, &["extract", "--select", "coalitions", "--full"]).await;
    let report = workdir.json(GC).await;
    assert_eq!(removed(&report), [&*first]);
    assert_eq!(
        reasons(&report, &second),
        ["not loaded yet: coalitions, users"]
    );
    workdir.json(["load"]).await;
    assert_eq!(removed(&workdir.json(GC).await), [&*second]);
}

#[tokio::test]
async fn gc_keeps_runs_of_quarantine_and_held_deletes() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let full = ["run", "--select", "cursus", "--full"];
    let first = run(&workdir, &full).await;
    let second = run(&workdir, &full).await;
    run(&workdir, &full).await;
    workdir
        .query(&format!(
            "INSERT INTO pipeline.quarantine (schema_name, run_id, resource, table_name, file, record_index, code, reason) \
             VALUES ('elsewhere', '{first}', 'cursus', 'cursus', '', 0, 'type', 'a test'); \
             INSERT INTO pipeline.prune_candidate (schema_name, run_id, resource, table_name, key, reason) \
             VALUES ('public', '{second}', 'cursus', 'cursus', '{{}}', 'a test')"
        ))
        .await;
    let report = workdir.json(GC).await;
    assert_eq!(removed(&report), Vec::<&str>::new());
    assert!(reasons(&report, &first)[0].contains("quarantined rows refer to it"));
    assert!(reasons(&report, &second)[0].contains("held deletes refer to it"));
    workdir
        .query("DELETE FROM pipeline.quarantine; DELETE FROM pipeline.prune_candidate")
        .await;
    assert_eq!(removed(&workdir.json(GC).await), [&*first, &*second]);
}

#[tokio::test]
async fn without_its_database_it_removes_nothing_unless_there_is_none() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let full = ["extract", "--select", "cursus", "--full"];
    let first = run(&workdir, &full).await;
    let second = run(&workdir, &full).await;
    workdir.set("CURSUS_DATABASE_URL", NO_DATABASE);
    workdir
        .cursus(GC)
        .await
        .exits(1)
        .says("nothing was removed, because only the database knows what is loaded")
        .says("--without-database");
    assert_eq!(runs(&workdir).await.len(), 2);
    let report = workdir
        .json([&GC[..], &["--without-database"]].concat())
        .await;
    assert_eq!(removed(&report), [&*first]);
    assert_eq!(runs(&workdir).await, [second]);
}

#[tokio::test]
async fn runs_younger_than_keep_stay() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let full = ["run", "--select", "cursus", "--full"];
    let first = run(&workdir, &full).await;
    run(&workdir, &full).await;
    let report = workdir.json(["stage", "gc"]).await;
    assert_eq!(report["younger"], 2);
    assert_eq!(removed(&report), Vec::<&str>::new());
    let path = directory(&workdir, &first).join("run.json");
    edit(&path, |record| {
        record["started_at"] = json!("2020-01-01T00:00:00Z");
    });
    let report = workdir.json(["stage", "gc"]).await;
    assert_eq!(removed(&report), [&*first]);
}

#[tokio::test]
async fn a_run_that_is_being_written_is_never_touched() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let full = ["run", "--select", "cursus", "--full"];
    run(&workdir, &full).await;
    run(&workdir, &full).await;
    let lock = Staging::new(workdir.path("staging")).lock("run").unwrap();
    workdir
        .cursus(GC)
        .await
        .exits(5)
        .says("another cursus is writing");
    assert_eq!(runs(&workdir).await.len(), 2);
    drop(lock);
    workdir.cursus(GC).await.exits(0);
    assert_eq!(runs(&workdir).await.len(), 1);
}

#[tokio::test]
async fn gc_removes_open_runs_that_others_followed() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let died = run(&workdir, &["extract", "--select", "users"]).await;
    let directory = directory(&workdir, &died);
    let path = directory.join("run.json");
    edit(&path, |record| {
        record["state"] = json!("open");
        record["outcome"] = Value::Null;
    });
    fs::remove_file(directory.join("users/manifest.json")).unwrap();
    let report = workdir.json(GC).await;
    assert_eq!(reasons(&report, &died), ["it is the newest run"]);
    run(&workdir, &["extract", "--select", "cursus"]).await;
    assert_eq!(removed(&workdir.json(GC).await), [&*died]);
}

#[tokio::test]
async fn killed_removal_is_finished_by_the_next_gc() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let full = ["run", "--select", "cursus,campus", "--full"];
    let first = run(&workdir, &full).await;
    let second = run(&workdir, &full).await;
    let away = workdir.path(format!("staging/.removed-{first}"));
    fs::rename(directory(&workdir, &first), &away).unwrap();
    fs::remove_file(away.join("run.json")).unwrap();
    fs::remove_file(away.join("cursus/page-00001.json.gz")).unwrap();
    assert_eq!(runs(&workdir).await, [&*second]);
    let third = run(&workdir, &full).await;
    workdir.json(["load"]).await;
    workdir.json(["status"]).await;
    let report = workdir.json(GC).await;
    assert_eq!(removed(&report), [&*second]);
    assert!(!away.exists());
    assert_eq!(runs(&workdir).await, [third]);
}

#[tokio::test]
async fn file_named_like_a_removed_run_is_reported_and_kept() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let full = ["run", "--select", "cursus", "--full"];
    let first = run(&workdir, &full).await;
    let second = run(&workdir, &full).await;
    workdir.write("staging/.removed-x", "precious");
    let ran = workdir
        .cursus([&GC[..], &["--json"]].concat())
        .await
        .exits(0);
    assert_eq!(removed(&ran.json()), [&*first]);
    assert_eq!(ran.stderr.matches(".removed-x").count(), 1, "{ran}");
    assert_eq!(runs(&workdir).await, [&*second]);
    assert!(workdir.path("staging/.removed-x").exists());
}

#[tokio::test]
async fn a_run_with_a_manifest_that_cannot_be_read_stays() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let full = ["run", "--select", "cursus", "--full"];
    let first = run(&workdir, &full).await;
    run(&workdir, &full).await;
    fs::write(
        directory(&workdir, &first).join("cursus/manifest.json"),
        "no",
    )
    .unwrap();
    let report = workdir.json(GC).await;
    assert!(
        reasons(&report, &first).contains(&"unreadable: the manifest of cursus"),
        "{report:#}"
    );
}

#[tokio::test]
async fn gc_prints_what_it_removes_and_keeps_and_why() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    run(&workdir, &["run", "--select", "cursus"]).await;
    run(&workdir, &["run", "--select", "users"]).await;
    run(&workdir, &["run", "--select", "cursus", "--full"]).await;
    let ran = workdir
        .cursus([&GC[..], &["--dry-run"]].concat())
        .await
        .exits(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let says = |words: [&str; 2]| {
        lines
            .iter()
            .any(|line| words.iter().all(|word| line.contains(word)))
    };
    assert!(says(["to be removed", "Z"]), "{ran}");
    assert!(
        says(["kept", "no newer run has a complete full read of users"]),
        "{ran}"
    );
    assert!(
        says(["1 run to be removed", "nothing was removed (dry run)"]),
        "{ran}"
    );
}
