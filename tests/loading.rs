//! Staged runs into the mirror: the same rows by every way, nothing twice, nothing older.

use std::collections::BTreeMap;
use std::time::Duration;

use cursus::database::embedded::{Cluster, DATABASE, Options};
use serde_json::{Value, json};

use crate::support::boxes::{delta, full, stage, workdir_of};
use crate::support::workdir::NO_DATABASE;
use crate::support::{Workdir, oracle, simulator};

/// Every row of every table, without when it was ingested.
async fn content(workdir: &Workdir, schema: &str) -> BTreeMap<String, Vec<String>> {
    let mut content = BTreeMap::new();
    for table in &oracle::TABLES {
        let columns: Vec<String> = (table.columns.iter())
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        let rows = format!(
            "SELECT to_jsonb(t) AS row FROM (SELECT {} FROM {schema}.{}) AS t ORDER BY row",
            columns.join(", "),
            table.table
        );
        content.insert(table.table.to_owned(), workdir.column(&rows).await);
    }
    content
}

/// Where every row lies, which transaction wrote it, and when it was ingested.
async fn places(workdir: &Workdir) -> BTreeMap<&'static str, Vec<Vec<Option<String>>>> {
    let mut places = BTreeMap::new();
    for table in &oracle::TABLES {
        let rows = format!(
            "SELECT ctid, xmin, ingested_at FROM {} ORDER BY ctid",
            table.table
        );
        places.insert(table.table, workdir.query(&rows).await);
    }
    places
}

/// The sum of a count over all tables of a report.
fn sum(report: &Value, count: &str) -> u64 {
    let tables = report["tables"].as_array().unwrap();
    tables
        .iter()
        .map(|table| table[count].as_u64().unwrap())
        .sum()
}

fn run_id(report: &Value) -> String {
    report["run_id"].as_str().unwrap().to_owned()
}

/// Three runs: full, delta, delta. Their ids.
async fn three_runs(workdir: &Workdir, simulator: &cursus_simulator::Simulator) -> Vec<String> {
    let mut runs = Vec::new();
    for hours in [0, 13, 13] {
        simulator.advance(Duration::from_hours(hours));
        runs.push(run_id(&workdir.json(["extract"]).await));
    }
    runs
}

#[tokio::test]
async fn a_second_load_changes_nothing() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    let before = places(&workdir).await;
    let locked =
        "SELECT ctid, xmax FROM coalitions_users UNION ALL SELECT ctid, xmax FROM coalitions";
    let locks = workdir.query(locked).await;
    let again = workdir.json(["load", "--again"]).await;
    for count in ["inserted", "updated", "deleted", "quarantined"] {
        assert_eq!(sum(&again, count), 0, "{count}: {again:#}");
    }
    assert_eq!(again["tables"].as_array().unwrap().len(), oracle::LOADED);
    assert!(places(&workdir).await == before, "a row was written again");
    assert!(workdir.query(locked).await == locks, "a row was locked");
}

#[tokio::test]
async fn load_without_changes_writes_almost_no_wal() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    // A server of its own: others write too. It may run as another user.
    let dir = tempfile::tempdir().unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), everybody).unwrap();
    let options = Options { fsync: false };
    let cluster = Cluster::open(&dir.path().join("pg"), &options)
        .await
        .unwrap();
    let (client, connection) = cluster
        .config(DATABASE)
        .connect(tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    workdir.client = client;
    let socket = cluster.socket_dir().display().to_string();
    let url = format!("host={socket} user=cursus dbname={DATABASE}");
    workdir.set("CURSUS_DATABASE_URL", url);
    workdir.json(["run"]).await;
    // What a first read of a page leaves behind is settled.
    workdir.query("VACUUM").await;
    let written = "SELECT pg_current_wal_insert_lsn() - '0/0'";
    let tuples = "SELECT sum(n_tup_ins), sum(n_tup_upd), sum(n_tup_del), sum(n_dead_tup) FROM pg_stat_user_tables \
                  WHERE schemaname = 'public'";
    let (tuples_before, before) = (workdir.query(tuples).await, workdir.number(written).await);
    workdir.json(["load", "--again"]).await;
    let bytes = workdir.number(written).await - before;
    assert!(bytes < 1_000_000, "{bytes}");
    assert_eq!(workdir.query(tuples).await, tuples_before);
}

#[tokio::test]
async fn loaded_run_is_named_and_skipped() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let run = run_id(&workdir.json(["run"]).await);
    let before = places(&workdir).await;
    for arguments in [vec!["load"], vec!["load", "latest"], vec!["load", &run]] {
        let ran = workdir.cursus(arguments).await.exits(0);
        assert!(ran.stdout.contains("nothing to load"), "{ran}");
    }
    assert!(places(&workdir).await == before);
    // Newer runs wait on.
    workdir.json(["extract", "--full"]).await;
    let ran = workdir.cursus(["load", &run]).await.exits(0);
    let answer = format!("nothing to load: the run {run} is loaded already; ");
    assert!(ran.stdout.starts_with(&answer), "{ran}");
    let report = workdir.json(["load", &run]).await;
    assert_eq!(report["runs"], Value::Array(Vec::new()));
    assert_eq!(report["skipped"], serde_json::json!([run]));
    assert!(places(&workdir).await == before);
    assert_eq!(workdir.json(["load"]).await.get("skipped"), None);
}

#[tokio::test]
async fn extract_then_load_equals_run() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    let of_run = content(&workdir, "public").await;

    workdir.new_database().await;
    workdir.set("CURSUS_STAGING_DIR", "elsewhere");
    let database = workdir.variable("CURSUS_DATABASE_URL").to_owned();
    workdir.set("CURSUS_DATABASE_URL", NO_DATABASE);
    workdir.json(["extract"]).await;
    workdir.set("CURSUS_DATABASE_URL", database);
    workdir.without_api();
    workdir.json(["load"]).await;
    assert!(content(&workdir, "public").await == of_run);
    oracle::assert_mirrors(&workdir, &simulator).await;
}

#[tokio::test]
async fn all_runs_into_an_empty_schema_give_the_live_mirror() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let mut runs = Vec::new();
    for hours in [0, 13, 13] {
        simulator.advance(Duration::from_hours(hours));
        runs.push(run_id(&workdir.json(["run"]).await));
    }
    let report = workdir.json(["load", "--into", "scratch"]).await;
    assert_eq!(report["runs"], serde_json::json!(runs));
    assert!(content(&workdir, "scratch").await == content(&workdir, "public").await);
    // The load ledger keeps the schemas apart: the mirror itself has nothing to load.
    let report = workdir.json(["load"]).await;
    assert_eq!(report["runs"], serde_json::json!([]));
}

#[tokio::test]
async fn runs_one_by_one_equal_all_at_once() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let runs = three_runs(&workdir, &simulator).await;
    workdir.without_api();
    workdir.json(["load"]).await;
    let at_once = content(&workdir, "public").await;

    workdir.new_database().await;
    for run in &runs {
        let report = workdir.json(["load", run]).await;
        assert_eq!(report["runs"], serde_json::json!([run]));
    }
    assert!(content(&workdir, "public").await == at_once);
}

#[tokio::test]
async fn a_past_run_can_be_seen_in_a_schema_of_its_own() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let first = run_id(&workdir.json(["run"]).await);
    let past = content(&workdir, "public").await;
    simulator.advance(Duration::from_hours(30));
    workdir.json(["run", "--full"]).await;
    workdir.json(["load", &first, "--into", "past"]).await;
    assert!(
        content(&workdir, "past").await == past,
        "a later full read must not hide the past"
    );
}

#[tokio::test]
async fn older_data_never_overwrite_newer() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let runs = three_runs(&workdir, &simulator).await;
    workdir.json(["load"]).await;
    let before = places(&workdir).await;
    workdir
        .cursus(["load", &runs[0], "--again"])
        .await
        .exits(4)
        .says("older data never overwrites newer");
    assert!(places(&workdir).await == before);
    // A run that was passed over, because a full read after it was loaded, is refused as well.
    workdir.json(["extract", "--full"]).await;
    simulator.advance(Duration::from_hours(13));
    workdir.json(["run", "--full"]).await;
    let passed = workdir.column("SELECT count(*) FROM pipeline.run").await;
    let staged = workdir.json(["stage", "ls"]).await;
    let passed_over = run_id(&staged[3]);
    workdir
        .cursus(["load", &passed_over])
        .await
        .exits(4)
        .says(&passed_over)
        .says("--into NAME");
    assert_eq!(
        workdir.column("SELECT count(*) FROM pipeline.run").await,
        passed
    );
}

#[tokio::test]
async fn dry_run_shows_counts_and_changes_nothing() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    simulator.advance(Duration::from_hours(13));
    workdir.json(["extract"]).await;
    let before = places(&workdir).await;
    let ledger = workdir.column("SELECT count(*) FROM pipeline.load").await;
    let dry = workdir.json(["load", "--dry-run"]).await;
    assert!(sum(&dry, "updated") > 0, "{dry:#}");
    assert!(places(&workdir).await == before);
    assert_eq!(
        workdir.column("SELECT count(*) FROM pipeline.load").await,
        ledger
    );
    let ran = workdir.cursus(["load", "--dry-run"]).await.exits(0);
    assert!(ran.stdout.contains("(dry run: rolled back)"), "{ran}");
    // The real one then does what was shown.
    let real = workdir.json(["load"]).await;
    for count in [
        "inserted",
        "updated",
        "unchanged",
        "deleted",
        "out_of_scope",
    ] {
        assert_eq!(sum(&real, count), sum(&dry, count), "{count}");
    }
}

#[tokio::test]
async fn only_the_selected_resources_are_loaded_and_the_rest_follows() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let run = run_id(&workdir.json(["extract"]).await);
    let report = workdir.json(["load", "--select", "cursus,campus"]).await;
    let names: Vec<&str> = report["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|table| table["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["cursus", "campuses"]);
    assert_eq!(workdir.count("users").await, 0);
    let report = workdir.json(["load"]).await;
    assert_eq!(report["runs"], serde_json::json!([run]));
    oracle::assert_mirrors(&workdir, &simulator).await;
}

#[tokio::test]
async fn a_new_database_is_filled_from_staging_or_by_a_full_read() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    simulator.advance(Duration::from_hours(13));
    // A new database, and the run that it would need is not staged any more.
    workdir.new_database().await;
    let staging = workdir.path("staging");
    std::fs::remove_dir_all(&staging).unwrap();
    workdir.json(["run"]).await;
    oracle::assert_mirrors(&workdir, &simulator).await;
    // A new database alone: staging has the past, so a delta is enough.
    simulator.advance(Duration::from_hours(13));
    workdir.new_database().await;
    let report = workdir.json(["run"]).await;
    let users = report["resources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|resource| resource["name"] == "users");
    assert_eq!(users.unwrap()["mode"], "delta", "{report:#}");
    oracle::assert_mirrors(&workdir, &simulator).await;
}

#[tokio::test]
async fn lost_delta_is_replaced_by_a_full_read() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    simulator.advance(Duration::from_hours(13));
    workdir.json(["extract"]).await;
    let lost = workdir.run_directory();
    simulator.advance(Duration::from_hours(13));
    workdir.json(["extract"]).await;
    std::fs::remove_dir_all(lost).unwrap();
    workdir.json(["load"]).await;
    let report = workdir.json(["run"]).await;
    let resources = report["resources"].as_array().unwrap();
    let users = resources.iter().find(|one| one["name"] == "users").unwrap();
    assert_eq!(users["mode"], "full", "{report:#}");
    oracle::assert_mirrors(&workdir, &simulator).await;
    let report = workdir.json(["run"]).await;
    assert_eq!(report["mode"], "delta", "{report:#}");
}

#[tokio::test]
async fn load_ledger_records_what_was_loaded() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let report = workdir.json(["run"]).await;
    let run = run_id(&report);
    let ledger = workdir
        .query(&format!("SELECT table_name, sum(staged), sum(inserted), sum(updated), sum(unchanged), sum(deleted), sum(out_of_scope), sum(quarantined) FROM pipeline.load WHERE run_id = '{run}' AND schema_name = 'public' GROUP BY table_name ORDER BY min(id)"))
        .await;
    let answer: Vec<Vec<Option<String>>> = report["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|table| {
            let counts = [
                "staged",
                "inserted",
                "updated",
                "unchanged",
                "deleted",
                "out_of_scope",
                "quarantined",
            ];
            let mut row = vec![Some(table["name"].as_str().unwrap().to_owned())];
            row.extend(counts.map(|count| Some(table[count].to_string())));
            row
        })
        .collect();
    assert_eq!(ledger, answer);
    let runs = workdir
        .query("SELECT run_id, seq, mode, state, hits FROM pipeline.run")
        .await;
    let requests = report["hits"].to_string();
    let answer = [run.as_str(), "1", "full", "complete", requests.as_str()];
    assert_eq!(runs, [answer.map(|value| Some(value.to_owned()))]);
    let fresh = workdir
        .query("SELECT resource, state, mode FROM pipeline.freshness WHERE read IS NULL")
        .await;
    assert_eq!(fresh.len(), oracle::RESOURCES.len());
}

#[tokio::test]
async fn dangling_references_are_recounted_on_every_change() {
    let pipeline = r#"
[prune]
min_rows = 1
max_fraction = 0.1
[[resource]]
name = "people"
path = "/people"
[[resource]]
name = "links"
path = "/links"
cursor = { field = "seen_at", lookback = "1m" }
[[table]]
name = "people"
from = "people"
[[table]]
name = "links"
from = "links"
references = { person_id = "people.id" }
"#;
    let tables = "CREATE TABLE people (id bigint PRIMARY KEY, age bigint); \
                  CREATE TABLE links (id bigint PRIMARY KEY, person_id bigint, seen_at timestamptz);";
    let workdir = workdir_of(pipeline, tables).await;
    let people = |ids: std::ops::RangeInclusive<i64>| {
        let person = |id: i64| json!({"id": id, "age": 1}).to_string();
        full("people", ids.map(person).collect())
    };
    let link = |id: i64, person: i64, day: i64| {
        let seen = format!("2026-01-{day:02}T00:00:00Z");
        json!({"id": id, "person_id": person, "seen_at": seen}).to_string()
    };
    let links =
        |ids: std::ops::RangeInclusive<i64>| full("links", ids.map(|id| link(id, id, 1)).collect());
    let counted = async |wanted: i64| {
        let answer = "SELECT dangling FROM pipeline.freshness WHERE resource = 'links'";
        let truth = "SELECT count(*) FROM links WHERE person_id NOT IN (SELECT id FROM people)";
        let found = (workdir.number(answer).await, workdir.number(truth).await);
        assert_eq!(found, (wanted, wanted));
    };
    stage(&workdir, &[people(1..=10), links(1..=15)]);
    workdir.cursus(["load"]).await.exits(0);
    counted(5).await;
    // Rows come to the other end alone, one goes, and several go as approved.
    stage(&workdir, &[people(1..=14)]);
    workdir.cursus(["load"]).await.exits(0);
    counted(1).await;
    stage(&workdir, &[people(1..=13)]);
    workdir.cursus(["load"]).await.exits(0);
    counted(2).await;
    let run = stage(&workdir, &[people(1..=8)]);
    workdir.cursus(["load"]).await.exits(4);
    counted(2).await;
    workdir.json(["prune", "approve", &run]).await;
    counted(7).await;
    stage(&workdir, &[links(1..=15)]);
    workdir.cursus(["load"]).await.exits(0);
    counted(7).await;
    // Rows that stay refer to something else, by a full read and by a delta.
    let moved = (1..=15).map(|id| link(id, if id == 3 { 99 } else { id }, 2));
    stage(&workdir, &[full("links", moved.collect())]);
    workdir.cursus(["load"]).await.exits(0);
    counted(8).await;
    let seen = vec![link(3, 3, 3), link(9, 1, 3), link(1, 1, 3)];
    stage(&workdir, &[delta("links", seen)]);
    workdir.cursus(["load"]).await.exits(0);
    counted(6).await;
    // The schema that a rebuild of the links alone makes has no people.
    let rebuild = ["replay", "--rebuild", "--select", "links"];
    workdir.cursus(rebuild).await.exits(0);
    counted(6).await;
}

#[tokio::test]
async fn unloadable_resource_waits_alone_for_a_full_read() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["extract"]).await;
    let page = workdir.run_directory().join("users/page-00001.json.gz");
    let bytes = std::fs::read(&page).unwrap();
    std::fs::write(&page, &bytes[..bytes.len() / 2]).unwrap();
    workdir
        .cursus(["load"])
        .await
        .exits(1)
        .says("users/page-00001.json.gz: the file is cut off");
    assert_eq!(workdir.count("users").await, 0);
    assert_eq!(workdir.count("coalitions_users").await, 500);

    // A delta on top of what is missing must not be loaded either.
    simulator.advance(Duration::from_hours(13));
    workdir.json(["extract"]).await;
    let report = workdir.json_exits(1, ["load"]).await;
    assert!(
        !report["tables"].to_string().contains("\"users\""),
        "{report:#}"
    );
    assert_eq!(workdir.count("users").await, 0);

    workdir.json(["extract", "--full"]).await;
    workdir.json(["load"]).await;
    oracle::assert_mirrors(&workdir, &simulator).await;
}
