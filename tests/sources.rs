//! One schema, one source: nothing is deleted because another project, scope or API does not show it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cursus::staging::{RunSpec, Staging};
use cursus_simulator::Simulator;
use jiff::Timestamp;
use serde_json::Value;

use crate::support::boxes::{self, boxes, content, delta, full, stage, stage_of, thing, things};
use crate::support::workdir::copy_all;
use crate::support::{Workdir, oracle, page_requests, simulator};

const IDENTITY: &str = "staging/.staging.json";
const HOUR: Duration = Duration::from_hours(1);
/// An API and a scope.
const HERE: (&str, &str) = ("https://api.example.org", "here");

/// The campuses with the most students, most first.
fn campuses(simulator: &Simulator) -> [String; 2] {
    let mut students: BTreeMap<String, usize> = BTreeMap::new();
    for row in simulator.rows("campus_users") {
        if row["is_primary"] == true {
            *students.entry(row["campus_id"].to_string()).or_default() += 1;
        }
    }
    let mut campuses: Vec<(usize, String)> = students.into_iter().map(|(id, n)| (n, id)).collect();
    campuses.sort();
    let mut campuses = campuses.into_iter().rev().map(|(_, id)| id);
    [campuses.next().unwrap(), campuses.next().unwrap()]
}

fn scope(workdir: &Workdir, campus: &str) {
    workdir.pipeline(&[("campus_ids = []", &format!("campus_ids = [{campus}]"))]);
}

/// The same, with a prune limit above all tables.
fn unlimited(workdir: &Workdir, campus: &str) {
    workdir.pipeline(&[
        ("campus_ids = []", &format!("campus_ids = [{campus}]")),
        ("min_rows = 20", "min_rows = 5000"),
    ]);
}

/// Another project on the database of the first one.
async fn beside(first: &Workdir, simulator: &Simulator) -> Workdir {
    let mut second = Workdir::with(simulator).await;
    second.set("CURSUS_DATABASE_URL", first.variable("CURSUS_DATABASE_URL"));
    second
}

/// Another directory of boxes on the database of the first one.
async fn boxes_beside(first: &Workdir) -> Workdir {
    let mut second = boxes::workdir().await;
    second.set("CURSUS_DATABASE_URL", first.variable("CURSUS_DATABASE_URL"));
    second
}

async fn people(workdir: &Workdir) -> Vec<String> {
    let people = "SELECT id FROM users UNION ALL SELECT user_id FROM campus_users \
                  UNION ALL SELECT user_id FROM projects_users ORDER BY 1";
    workdir.column(people).await
}

fn staging_id(workdir: &Workdir) -> String {
    let text = std::fs::read(workdir.path(IDENTITY)).unwrap();
    let identity: Value = serde_json::from_slice(&text).unwrap();
    identity["id"].as_str().unwrap().to_owned()
}

async fn bound_to(workdir: &Workdir) -> String {
    let source = "SELECT concat_ws(' ', staging_id, origin, scope) FROM pipeline.source WHERE schema_name = 'public'";
    workdir.column(source).await.concat()
}

fn warnings(report: &Value) -> String {
    report["warnings"].to_string()
}

#[tokio::test]
async fn two_projects_of_two_scopes_do_not_share_a_schema() {
    let simulator = simulator().await;
    let [here, there] = campuses(&simulator);
    let first = Workdir::with(&simulator).await;
    scope(&first, &here);
    first.json(["run"]).await;
    let before = people(&first).await;
    assert!(before.len() > 5, "{before:?}");
    let bound = bound_to(&first).await;
    let second = beside(&first, &simulator).await;
    scope(&second, &there);

    // Not one request is spent.
    let spent = page_requests(&simulator);
    for command in [
        &["run"][..],
        &["run", "--full"],
        &["watch", "--every", "1h", "--rounds", "1"],
    ] {
        let ran = second.cursus(command).await.exits(4);
        let ran = ran.says(&format!(
            "reads {} with campus_ids = {there}",
            simulator.url()
        ));
        ran.says(&format!(
            "the schema public holds {} with campus_ids = {here}",
            simulator.url()
        ))
        .says("`cursus run --adopt`");
    }
    assert_eq!(page_requests(&simulator), spent);

    let looked = second.cursus(["doctor"]).await;
    assert!(looked.stdout.contains("`cursus run --adopt`"), "{looked}");

    // What is staged without a database is not loaded either, by any way.
    second.json(["extract"]).await;
    for command in [
        &["load"][..],
        &["load", "latest"],
        &["load", "--again"],
        &["load", "--select", "users"],
        &["load", "--allow-prune"],
        &["load", "--dry-run"],
        &["replay", "--rebuild"],
        &["replay", "--rebuild", "--allow-prune"],
        &["run", "--force"],
    ] {
        let ran = second.cursus(command).await.exits(4);
        ran.says(&format!("campus_ids = {there}"))
            .says(&format!("campus_ids = {here}"))
            .says("--adopt`");
    }
    let report = second.json_exits(4, ["load"]).await;
    assert!(report["errors"].to_string().contains(&there), "{report:#}");
    assert_eq!(people(&first).await, before);
    assert_eq!(bound_to(&first).await, bound);
    let runs = "SELECT count(DISTINCT run_id) FROM pipeline.load WHERE schema_name = 'public'";
    assert_eq!(first.number(runs).await, 1);

    // Beside the mirror it goes where it likes; and the first one continues.
    second.json(["load", "--into", "mine"]).await;
    second.json(["replay", "--into", "past"]).await;
    second.cursus(["diff", "mine", "latest"]).await.exits(0);
    first.json(["run", "--full"]).await;
    assert_eq!(people(&first).await, before);
}

#[tokio::test]
async fn a_scope_that_is_written_into_the_queries_counts_as_one() {
    let simulator = simulator().await;
    let [here, there] = campuses(&simulator);
    let first = Workdir::with(&simulator).await;
    first.pipeline(&[("\"{campus_ids}\"", &format!("\"{here}\""))]);
    first.json(["run"]).await;
    let before = people(&first).await;
    let second = beside(&first, &simulator).await;
    second.pipeline(&[("\"{campus_ids}\"", &format!("\"{there}\""))]);
    let spent = page_requests(&simulator);
    let ran = second.cursus(["run"]).await.exits(4);
    ran.says("asking for users in another way");
    assert_eq!(page_requests(&simulator), spent);
    second.json(["extract"]).await;
    second
        .cursus(["load"])
        .await
        .exits(4)
        .says("in another way");
    assert_eq!(people(&first).await, before);
}

#[tokio::test]
async fn adopt_rebinds_once_and_says_what_may_be_deleted() {
    let simulator = simulator().await;
    let [here, there] = campuses(&simulator);
    let first = Workdir::with(&simulator).await;
    // Not all rows of a table are to be deleted, which is held whatever the limit is.
    let both = format!("{here}, {there}");
    unlimited(&first, &both);
    first.json(["run"]).await;
    let of_first = people(&first).await;
    let users = first.number("SELECT count(*) FROM users").await;
    let second = beside(&first, &simulator).await;
    unlimited(&second, &there);
    second.json(["extract"]).await;
    // Tried out first, it changes nothing.
    let tried = second.json(["load", "--adopt", "--dry-run"]).await;
    assert!(warnings(&tried).contains("is rebound from"), "{tried:#}");
    assert_eq!(people(&first).await, of_first);
    second.cursus(["load"]).await.exits(4);

    let report = second.json(["load", "--adopt"]).await;
    let answer = warnings(&report);
    for part in [
        format!("campus_ids = {here},{there}"),
        format!("campus_ids = {there}"),
        format!("users {users}"),
        "at most".to_owned(),
    ] {
        assert!(answer.contains(&part), "{part}: {answer}");
    }
    let apart = Workdir::with(&simulator).await;
    scope(&apart, &there);
    apart.json(["run"]).await;
    assert_eq!(people(&first).await, people(&apart).await);
    let adopted = "SELECT count(*) FROM pipeline.source WHERE adopted_at IS NOT NULL AND first_run = last_run";
    assert_eq!(first.number(adopted).await, 1);

    // The other one is refused now, until it says the same.
    let spent = page_requests(&simulator);
    first
        .cursus(["run"])
        .await
        .exits(4)
        .says(&here)
        .says(&there);
    first.cursus(["load"]).await.exits(4);
    assert_eq!(page_requests(&simulator), spent);
    second.json(["run"]).await;
    let back = first.cursus(["run", "--full", "--adopt"]).await;
    back.exits(0)
        .says("warning: the schema public is rebound from");
    assert_eq!(people(&first).await, of_first);
    second.cursus(["run"]).await.exits(4);
    first.json(["run"]).await;
}

#[tokio::test]
async fn deletes_of_a_changed_scope_are_held_under_its_name() {
    let simulator = simulator().await;
    let [here, there] = campuses(&simulator);
    let workdir = Workdir::with(&simulator).await;
    let limited = |campus: &str, rows: &str| {
        workdir.pipeline(&[
            ("campus_ids = []", &format!("campus_ids = [{campus}]")),
            ("min_rows = 20", &format!("min_rows = {rows}")),
        ]);
    };
    let both = format!("{here}, {there}");
    limited(&both, "0");
    workdir.json(["run"]).await;
    let before = people(&workdir).await;
    limited(&there, "0");
    let report = workdir.json_exits(4, ["run"]).await;
    let heading = format!("scope changed from campus_ids = {here},{there} to campus_ids = {there}");
    assert!(warnings(&report).contains(&heading), "{report:#}");
    let after = people(&workdir).await;
    assert!(
        before.iter().all(|id| after.contains(id)),
        "a row was deleted"
    );
    let held = workdir.json(["prune", "ls"]).await;
    let held = held.as_array().unwrap();
    assert!(!held.is_empty());
    for held in held {
        assert!(held["reasons"].to_string().contains(&heading), "{held:#}");
    }
    workdir.cursus(["prune", "ls"]).await.exits(0);
    // It is said once, and a replay comes to the same.
    let report = workdir.json(["run"]).await;
    assert!(!warnings(&report).contains("scope changed"), "{report:#}");
    workdir.json_exits(4, ["replay", "--into", "past"]).await;
    let candidates = |schema: &str| {
        format!(
            "SELECT concat_ws(' ', table_name, key, reason) FROM pipeline.prune_candidate WHERE schema_name = '{schema}' ORDER BY 1"
        )
    };
    assert_eq!(
        workdir.column(&candidates("past")).await,
        workdir.column(&candidates("public")).await
    );
    let run = held[0]["run_id"].as_str().unwrap();
    workdir.json(["prune", "approve", run]).await;
    let ids = workdir.column("SELECT id FROM users").await;
    assert!(!ids.is_empty());

    // A few are deleted at once, and reported.
    limited(&both, "0");
    let ran = workdir.cursus(["run"]).await.exits(0);
    ran.says("scope changed from").says("rows deleted: none");
    limited(&here, "500");
    let ran = workdir.cursus(["run"]).await.exits(0);
    let change = format!("scope changed from campus_ids = {here},{there} to campus_ids = {here}");
    ran.says(&change).says("rows deleted: ");
    let apart = Workdir::with(&simulator).await;
    scope(&apart, &here);
    apart.json(["run"]).await;
    assert_eq!(
        workdir.column("SELECT id FROM users ORDER BY 1").await,
        apart.column("SELECT id FROM users ORDER BY 1").await
    );
    workdir.cursus(["replay", "--rebuild"]).await.exits(0);
    assert!(bound_to(&workdir).await.contains(&format!("[\"{here}\"]")));
}

#[tokio::test]
async fn a_lost_staging_directory_is_replaced_by_full_reads() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    let lost = staging_id(&workdir);
    std::fs::remove_dir_all(workdir.path("staging")).unwrap();
    simulator.advance(30 * HOUR);
    // Some of it only; what is left out is not taken for read.
    let report = workdir
        .json(["run", "--select", "cursus,campus,projects"])
        .await;
    assert!(
        warnings(&report).contains("another staging directory"),
        "{report:#}"
    );
    assert_eq!(report["mode"], "full");
    let report = workdir.json(["run", "--since", "1d"]).await;
    for resource in report["resources"].as_array().unwrap() {
        let name = resource["name"].as_str().unwrap();
        let is_known = ["cursus", "campus", "projects"].contains(&name);
        assert!(is_known || resource["mode"] == "full", "{resource:#}");
    }
    oracle::assert_mirrors(&workdir, &simulator).await;
    assert_ne!(staging_id(&workdir), lost);
    assert!(bound_to(&workdir).await.contains(&staging_id(&workdir)));
    let report = workdir.json(["run"]).await;
    assert_eq!(warnings(&report), "null", "{report:#}");
}

#[tokio::test]
async fn only_complete_full_reads_replace_a_lost_directory() {
    let workdir = boxes::workdir().await;
    let second = boxes_beside(&workdir).await;
    // The numbers of its other runs are above those that are loaded.
    let staging = Staging::new(second.path("staging"));
    let lock = staging.lock("test").unwrap();
    let early = Timestamp::now() - HOUR;
    staging
        .create_run(&lock, early, 0, &RunSpec::default())
        .unwrap();
    drop(lock);
    let all = |count| {
        [
            full("boxes", boxes(1..=3)),
            full("things", things(1..=count)),
        ]
    };
    stage_of(&workdir, HERE, &all(10));
    workdir.json(["load"]).await;
    let before = content(&workdir, "public").await;
    let records = vec![thing(1, 9.0), thing(30, 1.0)];
    stage_of(&second, HERE, &[delta("things", records)]);
    let ran = second.cursus(["load"]).await.exits(4);
    ran.says("things: not loaded: its rows come from another staging directory")
        .says("only a complete full read takes their place");
    assert_eq!(content(&workdir, "public").await, before);

    stage_of(&second, HERE, &[full("things", things(1..=11))]);
    let report = second.json(["load"]).await;
    assert!(warnings(&report).contains("things"), "{report:#}");
    assert!(!warnings(&report).contains("boxes"), "{report:#}");
    assert_eq!(workdir.count("things").await, 11);
    stage_of(
        &second,
        HERE,
        &[
            delta("boxes", boxes(4..=4)),
            delta("things", vec![thing(12, 1.0)]),
        ],
    );
    second
        .cursus(["load"])
        .await
        .exits(4)
        .says("boxes: not loaded");
    assert_eq!(workdir.count("boxes").await, 3);
    stage_of(&second, HERE, &all(12));
    second.json(["load"]).await;
    let report = second.json(["load"]).await;
    assert_eq!(warnings(&report), "null");
    assert_eq!(workdir.count("things").await, 12);
}

#[tokio::test]
async fn lost_directory_that_was_extracted_again_is_loaded() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.set("CURSUS_FAILPOINT", "lock.taken=jump-3600");
    for _ in 0..2 {
        workdir.json(["run", "--full"]).await;
    }
    workdir.unset("CURSUS_FAILPOINT");
    std::fs::remove_dir_all(workdir.path("staging")).unwrap();
    // Without the database nobody knows which number comes next.
    workdir.json(["extract"]).await;
    let ran = workdir.cursus(["load"]).await.exits(1);
    ran.says("`cursus run` numbers on from the database");
    workdir.json(["run"]).await;
    oracle::assert_mirrors(&workdir, &simulator).await;
    workdir.json(["load"]).await;
}

#[tokio::test]
async fn another_api_is_refused_until_it_is_adopted() {
    let (one, other) = (simulator().await, simulator().await);
    let mut workdir = Workdir::with(&one).await;
    workdir.json(["run"]).await;
    let before = people(&workdir).await;
    for (name, value) in [
        ("CURSUS_API_URL", other.url()),
        ("CURSUS_CLIENT_ID", other.client_id().to_owned()),
        ("CURSUS_CLIENT_SECRET", other.client_secret().to_owned()),
    ] {
        workdir.set(name, value);
    }
    let ran = workdir.cursus(["run"]).await.exits(4);
    ran.says(&one.url()).says(&other.url());
    assert_eq!(page_requests(&other), 0);
    workdir.json(["extract"]).await;
    workdir.cursus(["load"]).await.exits(4).says(&other.url());
    workdir
        .cursus(["replay", "--rebuild"])
        .await
        .exits(4)
        .says(&other.url());
    workdir
        .cursus(["replay", "--into", "past"])
        .await
        .exits(4)
        .says(&other.url());
    assert_eq!(people(&workdir).await, before);

    let report = workdir.json(["load", "--adopt"]).await;
    assert!(warnings(&report).contains(&other.url()), "{report:#}");
    oracle::assert_mirrors(&workdir, &other).await;
    // The runs of both are there, and later loads of them know what was decided.
    workdir.json(["replay", "--into", "whole"]).await;
    workdir.json(["replay", "--rebuild"]).await;
    workdir.json(["run"]).await;
    workdir.new_database().await;
    workdir.json(["load"]).await;
    oracle::assert_mirrors(&workdir, &other).await;
}

#[tokio::test]
async fn a_run_of_another_api_between_holds_nothing_back() {
    let workdir = boxes::workdir().await;
    let all = |count| {
        [
            full("boxes", boxes(1..=3)),
            full("things", things(1..=count)),
        ]
    };
    let elsewhere = ("http://127.0.0.1:4242", "here");
    stage_of(&workdir, HERE, &all(10));
    workdir.json(["load"]).await;
    let first = stage_of(&workdir, elsewhere, &all(4));
    stage_of(&workdir, elsewhere, &[full("things", vec![thing(1, 7.0)])]);
    let more = vec![thing(11, 1.0)];
    stage_of(&workdir, HERE, &[delta("things", more)]);
    let ran = workdir.cursus(["load"]).await.exits(4);
    ran.says(&format!(
        "the run {first} and 1 run after it read http://127.0.0.1:4242"
    ));
    assert_eq!(workdir.count("things").await, 11);
    assert_eq!(workdir.count("things WHERE weight = 7").await, 0);
    // What the mirror was refused, a rebuild does not bring in.
    workdir.cursus(["replay", "--rebuild"]).await.exits(4);
    assert_eq!(workdir.count("things").await, 11);
    // Until it is out of the way, it is reported.
    let ran = workdir.cursus(["load"]).await.exits(4);
    ran.says("move what is not to be loaded out of the staging directory");
    std::fs::remove_dir_all(boxes::directory(&workdir, &first)).unwrap();
    workdir.cursus(["load"]).await.exits(0);
}

#[tokio::test]
async fn copied_staging_directory_works_on_another_machine() {
    let simulator = simulator().await;
    let first = Workdir::with(&simulator).await;
    first.json(["run"]).await;
    let second = beside(&first, &simulator).await;
    std::fs::create_dir(second.path("staging")).unwrap();
    copy_all(&first.path("staging"), &second.path("staging"));
    simulator.advance(2 * HOUR);
    let report = second.json(["run"]).await;
    assert_eq!(report["mode"], "delta", "{report:#}");
    assert_eq!(warnings(&report), "null", "{report:#}");
    assert_eq!(staging_id(&first), staging_id(&second));
}

#[tokio::test]
async fn damaged_staging_identity_is_reported() {
    use std::os::unix::fs::PermissionsExt;
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    // A command that only reads makes none.
    for command in [&["status"][..], &["stage", "ls"], &["plan", "--offline"]] {
        workdir.cursus(command).await;
        assert!(!workdir.path(IDENTITY).exists(), "{command:?}");
    }
    workdir.json(["run"]).await;
    let id = staging_id(&workdir);
    let mode = std::fs::metadata(workdir.path(IDENTITY))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let whole = std::fs::read_to_string(workdir.path(IDENTITY)).unwrap();
    let flipped = whole.replacen(&id[..4], "0123", 1);
    let short = r#"{"format": 1, "id": "12"}"#;
    for damaged in [&whole[..20], "", "[]", &flipped, short] {
        workdir.write(IDENTITY, damaged);
        let spent = page_requests(&simulator);
        for command in [&["extract", "--full"][..], &["run", "--full"], &["load"]] {
            let ran = workdir.cursus(command).await.exits(1);
            let ran = ran.says(IDENTITY);
            ran.says("put the file back");
        }
        assert_eq!(page_requests(&simulator), spent);
        workdir.cursus(["stage", "ls"]).await.exits(0);
        workdir.cursus(["status"]).await.exits(0);
        assert_eq!(
            std::fs::read_to_string(workdir.path(IDENTITY)).unwrap(),
            damaged
        );
    }
    // Without the file, the id is that of the runs.
    std::fs::remove_file(workdir.path(IDENTITY)).unwrap();
    workdir.json(["run", "--full"]).await;
    assert_eq!(staging_id(&workdir), id);
}

#[tokio::test]
async fn of_two_first_loads_at_once_one_binds_the_schema() {
    let simulator = simulator().await;
    let [here, there] = campuses(&simulator);
    let first = Workdir::with(&simulator).await;
    let second = beside(&first, &simulator).await;
    for (workdir, campus) in [(&first, &here), (&second, &there)] {
        scope(workdir, campus);
        workdir.json(["extract"]).await;
    }
    let load = ["load", "--wait-lock", "2m"];
    let (one, other) = tokio::join!(first.cursus(load), second.cursus(load));
    let (campus, refused) = match one.code {
        Some(0) => (&here, other),
        _ => (&there, one),
    };
    refused.exits(4).says("`cursus load --adopt`");
    let apart = Workdir::with(&simulator).await;
    scope(&apart, campus);
    apart.json(["run"]).await;
    assert_eq!(people(&first).await, people(&apart).await);
}

/// Takes what earlier versions did not write out of a JSON file.
fn as_before(path: &Path) {
    let mut record: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for name in ["staging_id", "scope", "sha256"] {
        record.as_object_mut().unwrap().remove(name);
    }
    std::fs::write(path, record.to_string()).unwrap();
}

#[tokio::test]
async fn a_schema_of_an_earlier_version_is_bound_by_its_first_load() {
    let simulator = simulator().await;
    let [here, there] = campuses(&simulator);
    let workdir = Workdir::with(&simulator).await;
    scope(&workdir, &here);
    workdir.json(["run"]).await;
    as_before(&workdir.run_directory().join("run.json"));
    std::fs::remove_file(workdir.path(IDENTITY)).unwrap();
    workdir.query("DELETE FROM pipeline.source").await;
    // What was loaded is tried once more: it has no id, and none is made for that.
    workdir.json(["load", "--again"]).await;
    assert!(!workdir.path(IDENTITY).exists());
    let bound = bound_to(&workdir).await;
    assert!(
        bound.contains(&simulator.url()) && bound.contains(&here),
        "{bound}"
    );
    let second = beside(&workdir, &simulator).await;
    scope(&second, &there);
    second.cursus(["run"]).await.exits(4).says(&here);

    simulator.advance(2 * HOUR);
    let report = workdir.json(["run"]).await;
    assert_eq!(report["mode"], "delta", "{report:#}");
    assert_eq!(warnings(&report), "null", "{report:#}");
    assert!(bound_to(&workdir).await.contains(&staging_id(&workdir)));
    second.cursus(["run"]).await.exits(4).says(&here);

    // Without any load since, the next run binds it.
    workdir.query("DELETE FROM pipeline.source").await;
    workdir.json(["run", "--full"]).await;
    assert!(bound_to(&workdir).await.contains(&staging_id(&workdir)));
}

#[tokio::test]
async fn repairs_touch_no_rows_of_another_project() {
    let workdir = boxes::workdir().await;
    let all = |count| {
        [
            full("boxes", boxes(1..=3)),
            full("things", things(1..=count)),
        ]
    };
    stage_of(&workdir, HERE, &all(20));
    let bad = thing(30, 1.0).replace("\"weight\":1.0", "\"weight\":\"x\"");
    let mut few = things(1..=4);
    few.push(bad.clone());
    let run = stage_of(&workdir, HERE, &[full("things", few)]);
    workdir.cursus(["load"]).await;
    assert!(
        workdir
            .number("SELECT count(*) FROM pipeline.prune_candidate")
            .await
            > 0
    );
    assert!(
        workdir
            .number("SELECT count(*) FROM pipeline.quarantine")
            .await
            > 0
    );
    let before = content(&workdir, "public").await;

    // A run of the same name, in another project.
    let second = boxes_beside(&workdir).await;
    let elsewhere = ("https://api.example.org", "there");
    let theirs = stage_of(&second, elsewhere, &[full("things", vec![thing(30, 1.0)])]);
    let directory = boxes::directory(&second, &theirs);
    let renamed = boxes::directory(&second, &run);
    if directory != renamed {
        std::fs::create_dir_all(renamed.parent().unwrap()).unwrap();
        std::fs::rename(&directory, &renamed).unwrap();
        for file in ["run.json", "things/manifest.json"] {
            let path = renamed.join(file);
            let text = std::fs::read_to_string(&path)
                .unwrap()
                .replace(&theirs, &run);
            let mut record: Value = serde_json::from_str(&text).unwrap();
            record.as_object_mut().unwrap().remove("sha256");
            if let Some(resources) = record.get_mut("resources") {
                *resources = Value::Array(Vec::new());
            }
            std::fs::write(path, record.to_string()).unwrap();
        }
    }
    for command in [&["prune", "approve", &run][..], &["quarantine", "retry"]] {
        let ran = second.cursus(command).await.exits(4);
        ran.says("place = there").says("place = here");
    }
    assert_eq!(content(&workdir, "public").await, before);
}

#[tokio::test]
async fn a_run_is_loaded_with_the_scope_it_was_read_with() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["extract"]).await;
    workdir.pipeline(&[("cursus_id = 21 ", "cursus_id = 42 ")]);
    workdir.json(["load"]).await;
    assert!(
        workdir
            .number("SELECT count(*) FROM users WHERE cursus_id = 21")
            .await
            > 0
    );
    assert_eq!(workdir.count("users WHERE cursus_id <> 21").await, 0);
    assert!(bound_to(&workdir).await.contains("21"));
}

#[tokio::test]
async fn a_run_of_another_scope_is_not_resumed() {
    let simulator = simulator().await;
    let [here, there] = campuses(&simulator);
    let workdir = Workdir::with(&simulator).await;
    scope(&workdir, &here);
    workdir
        .cursus(["extract", "--select", "cursus,campus", "--max-hits", "1"])
        .await
        .exits(6);
    scope(&workdir, &there);
    let ran = workdir
        .cursus(["extract", "--select", "cursus,campus"])
        .await
        .exits(0);
    ran.says("it was read for another scope");
}

#[tokio::test]
async fn runs_that_say_nothing_of_their_source_load_as_before() {
    let workdir = boxes::workdir().await;
    stage(
        &workdir,
        &[full("boxes", boxes(1..=3)), full("things", things(1..=5))],
    );
    workdir.json(["load"]).await;
    stage(&workdir, &[delta("things", vec![thing(6, 1.0)])]);
    let report = workdir.json(["load"]).await;
    assert_eq!(warnings(&report), "null");
    assert_eq!(workdir.count("things").await, 6);
}
