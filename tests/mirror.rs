//! The main job: after a run, the mirror is what the API shows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cursus_simulator::{Fault, FaultKind, Options, Scale, Simulator};
use serde_json::Value;

use crate::support::{Workdir, api, oracle, simulator, small};

const HOUR: Duration = Duration::from_hours(1);

/// A value of each entry of an array of a report, by the entry's name.
fn by_name(report: &Value, array: &str, value: &str) -> BTreeMap<String, String> {
    let entries = report[array].as_array().unwrap();
    let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
    entries
        .iter()
        .map(|entry| (text(&entry["name"]), text(&entry[value])))
        .collect()
}

#[tokio::test]
async fn a_full_run_holds_the_apis_rows_in_every_column() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let report = workdir.json(["run"]).await;
    oracle::assert_mirrors(&workdir, &simulator).await;
    assert_eq!(report["state"], "complete", "{report:#}");
    assert_eq!(report["mode"], "full");
    let modes = by_name(&report, "resources", "mode");
    assert_eq!(modes.len(), oracle::RESOURCES.len());
    assert!(modes.values().all(|mode| mode == "full"), "{modes:?}");
    let inserted = by_name(&report, "tables", "inserted");
    assert_eq!(inserted.len(), oracle::LOADED);
    for (table, inserted) in inserted {
        let rows = workdir
            .number(&format!("SELECT count(*) FROM {table}"))
            .await;
        assert!(rows > 0, "{table} is empty");
        assert_eq!(rows.to_string(), inserted, "{table}");
    }
}

#[tokio::test]
async fn the_oracle_knows_every_column_of_every_table() {
    let workdir = Workdir::new().await;
    workdir.cursus(["migrate"]).await.exits(0);
    let there: BTreeSet<String> = workdir
        .column(
            "SELECT table_name || '.' || column_name FROM information_schema.columns \
             JOIN information_schema.tables USING (table_schema, table_name) WHERE table_type = 'BASE TABLE' AND table_schema = 'public' AND column_name <> 'ingested_at' AND table_name NOT LIKE 'refinery_schema_history%'",
        )
        .await
        .into_iter()
        .collect();
    let known = oracle::TABLES
        .iter()
        .flat_map(|table| {
            (table.columns.iter()).map(|(column, _)| format!("{}.{column}", table.table))
        })
        .collect();
    assert_eq!(there, known);
    let ingested: BTreeSet<String> = workdir
        .column("SELECT table_name FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name) WHERE table_type = 'BASE TABLE' AND table_schema = 'public' AND column_name = 'ingested_at'")
        .await
        .into_iter()
        .collect();
    assert_eq!(
        ingested,
        oracle::TABLES
            .iter()
            .map(|table| table.table.to_owned())
            .collect()
    );
}

#[tokio::test]
async fn the_quick_starts_size_and_its_three_queries_work() {
    let options = Options {
        scale: Scale::quick_start(),
        ..small()
    };
    let simulator = api::start(options).await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    oracle::assert_mirrors(&workdir, &simulator).await;
    let count = "SELECT COUNT(*) FROM users WHERE cursus_id=21 AND kind='student';";
    assert_eq!(workdir.number(count).await, 47);
    let count = "SELECT COUNT(*) FROM projects_users WHERE cursus_id=21;";
    assert_eq!(workdir.number(count).await, 940);
    let join = "SELECT u.login, p.name, pu.final_mark FROM users u JOIN projects_users pu ON u.id=pu.user_id \
        JOIN projects p ON pu.project_id=p.id WHERE u.cursus_id=21 LIMIT 5;";
    assert_eq!(workdir.query(join).await.len(), 5);
}

/// People whose campuses changed without a sign: their own row has not moved, and `campus_users` has no dates to ask by.
/// Only the next full read of the users sees it.
fn moved_unseen(simulator: &Simulator, before: &[Value], users_before: &[Value]) -> BTreeSet<i64> {
    let changed = |now: Vec<Value>, before: &[Value], id: &str| -> BTreeSet<i64> {
        let changed = now.iter().filter(|row| !before.contains(row));
        changed.filter_map(|row| row[id].as_i64()).collect()
    };
    let moved = changed(simulator.rows("campus_users"), before, "user_id");
    let seen = changed(simulator.rows("users"), users_before, "id");
    moved.difference(&seen).copied().collect()
}

#[tokio::test]
async fn a_delta_run_after_a_while_equals_again() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    let mut unseen = BTreeSet::new();
    // Longer than every min_age and shorter than every full_every; then longer than that of projects.
    for hours in [21, 25, 72] {
        let (campuses, users) = (simulator.rows("campus_users"), simulator.rows("users"));
        simulator.advance(HOUR * hours);
        unseen.extend(moved_unseen(&simulator, &campuses, &users));
        let requests_before = simulator.statistics().hits;
        let report = workdir.json(["run"]).await;
        oracle::assert_mirrors_but(&workdir, &simulator, &unseen).await;
        let modes = by_name(&report, "resources", "mode");
        let deltas = [
            "achievements",
            "users",
            "cursus_users",
            "campus_users",
            "projects_users",
            "achievements_users",
            "coalitions_users",
        ];
        for resource in deltas {
            assert_eq!(
                modes[resource], "delta",
                "{resource} after {hours} h: {report:#}"
            );
        }
        assert_eq!(
            modes["projects"],
            if hours == 72 { "full" } else { "delta" }
        );
        for resource in ["cursus", "campus", "coalitions"] {
            assert_eq!(modes[resource], "full", "{resource} after {hours} h");
        }
        // One page of each, and what the closing checks ask.
        let requests = simulator.statistics().hits - requests_before;
        assert!(requests <= 16, "{requests} requests: {report:#}");
        assert_eq!(
            report["hits"], requests,
            "the report counts what the API counts"
        );
    }
    workdir.json(["run", "--full"]).await;
    oracle::assert_mirrors(&workdir, &simulator).await;
}

#[tokio::test]
async fn a_run_right_after_a_run_asks_little_and_changes_nothing() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    let report = workdir.json(["run"]).await;
    let states = by_name(&report, "resources", "state");
    for resource in ["cursus", "campus", "achievements", "coalitions"] {
        assert_eq!(
            states[resource], "skipped",
            "younger than its min_age: {report:#}"
        );
    }
    assert_eq!(report["state"], "complete");
    for counts in ["inserted", "updated", "deleted", "quarantined"] {
        let counted = by_name(&report, "tables", counts);
        assert!(
            counted.values().all(|count| count == "0"),
            "{counts}: {counted:?}"
        );
    }
    oracle::assert_mirrors(&workdir, &simulator).await;
}

#[tokio::test]
async fn alumni_are_deleted_by_the_next_delta() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    let before: BTreeSet<String> = workdir
        .column("SELECT id FROM users")
        .await
        .into_iter()
        .collect();
    simulator.advance(HOUR * 24);
    let left: Vec<String> = simulator
        .rows("users")
        .iter()
        .filter(|user| user["alumni?"] == true)
        .map(|user| user["id"].to_string())
        .filter(|id| before.contains(id))
        .collect();
    assert!(!left.is_empty(), "nobody left: the test is void");
    let report = workdir.json(["run"]).await;
    assert_eq!(by_name(&report, "resources", "mode")["users"], "delta");
    assert_eq!(
        by_name(&report, "tables", "deleted")["users"],
        left.len().to_string()
    );
    let left = left.join(", ");
    for (table, column) in [("users", "id"), ("campus_users", "user_id")] {
        let stayed = format!("SELECT count(*) FROM {table} WHERE {column} IN ({left})");
        assert_eq!(workdir.number(&stayed).await, 0, "{table}");
    }
    // What they did stays: every row of the API's list is kept.
    let kept = format!("SELECT count(*) FROM cursus_users WHERE user_id IN ({left})");
    assert!(workdir.number(&kept).await > 0);
}

#[tokio::test]
async fn removed_project_parts_are_deleted_by_the_next_delta() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    // A project changes about once a day; each time it loses a session and a campus.
    let shown = simulator.rows("projects");
    simulator.advance(HOUR * 23);
    while simulator.rows("projects") == shown {
        simulator.advance(HOUR);
    }
    // The shipped full_every of projects would read them in full by now.
    workdir.pipeline(&[("full_every = \"3d\" ", "full_every = \"99d\" ")]);
    let report = workdir
        .json(["run", "--select", "projects", "--force"])
        .await;
    assert_eq!(
        by_name(&report, "resources", "mode")["projects"],
        "delta",
        "{report:#}"
    );
    let deleted = by_name(&report, "tables", "deleted");
    assert_eq!(deleted["projects"], "0");
    assert_ne!(deleted["project_sessions"], "0");
    assert_ne!(deleted["campus_projects"], "0");
    for table in ["project_sessions", "campus_projects"] {
        let rows = workdir
            .number(&format!("SELECT count(*) FROM {table}"))
            .await;
        let key = if table == "campus_projects" {
            "campus"
        } else {
            table
        };
        let shown = simulator.rows("projects");
        let wanted: usize = shown
            .iter()
            .map(|project| project[key].as_array().unwrap().len())
            .sum();
        assert_eq!(rows, i64::try_from(wanted).unwrap(), "{table}");
    }
}

#[tokio::test]
async fn missing_rows_are_deleted_by_the_next_full_run() {
    let options = Options {
        deletions_per_day: 12.0,
        ..small()
    };
    let simulator = api::start(options).await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    simulator.advance(HOUR * 24);
    workdir.json(["run"]).await;
    let mut surplus = BTreeMap::new();
    for table in ["projects_users", "coalitions_users"] {
        let shown: BTreeSet<String> = simulator
            .rows(table)
            .iter()
            .map(|row| row["id"].to_string())
            .collect();
        let held = workdir.column(&format!("SELECT id FROM {table}")).await;
        let removed = held.iter().filter(|id| !shown.contains(*id)).count();
        surplus.insert(table, removed);
    }
    assert!(
        surplus.values().all(|rows| (1..=20).contains(rows)),
        "a delta sees no deletes, and the prune limit allows 20: {surplus:?}"
    );
    let report = workdir.json(["run", "--full"]).await;
    let deleted = by_name(&report, "tables", "deleted");
    for (table, rows) in surplus {
        assert_eq!(deleted[table], rows.to_string(), "{table}");
    }
    oracle::assert_mirrors(&workdir, &simulator).await;
}

#[tokio::test]
async fn faults_of_the_api_cost_requests_and_no_rows() {
    let simulator = simulator().await;
    let faults = [
        ("users", FaultKind::Status { status: 502 }),
        ("projects", FaultKind::ResetInside),
        (
            "projects_users",
            FaultKind::TooManyRequests { retry_after: None },
        ),
        ("coalitions_users", FaultKind::ResetBefore),
        ("coalitions_users", FaultKind::FewerBytes),
        ("achievements", FaultKind::BrokenJson),
        ("achievements_users", FaultKind::Html),
        ("coalitions", FaultKind::RevokedToken),
    ];
    let count = faults.len() as u64;
    for (target, kind) in faults {
        simulator.inject(Fault::new(target, kind).times(1));
    }
    let workdir = Workdir::with(&simulator).await;
    let report = workdir.json(["run"]).await;
    assert_eq!(report["state"], "complete", "{report:#}");
    assert_eq!(simulator.statistics().faults, count, "each fault was met");
    oracle::assert_mirrors(&workdir, &simulator).await;
}
