//! A machine whose clock is set while it works: no cursor goes back or skips, nothing is read twice, and names keep the order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cursus::staging::{Run, Staging};
use cursus_simulator::{Fault, FaultKind, Options, Simulator};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::support::{Workdir, api, oracle, small};

/// The first day of March after a leap day, shortly after midnight.
const NOW: &str = "2028-03-01T00:30:00Z";

/// How far the clock is set, in hours: also across the leap day, and far ahead.
const JUMPS: [i64; 6] = [-1, -24, -49, 1, 24, 400 * 24];

async fn simulator_at(time: &str) -> Simulator {
    let start = time.parse().unwrap();
    api::start(Options { start, ..small() }).await
}

fn at(hours: i64) -> String {
    let now: Timestamp = NOW.parse().unwrap();
    (now + SignedDuration::from_hours(hours)).to_string()
}

/// How far each resource is known, by the newest run that says so.
fn cursors(workdir: &Workdir) -> BTreeMap<String, Timestamp> {
    let mut cursors = BTreeMap::new();
    for run in Staging::new(workdir.path("staging")).runs().unwrap() {
        for resource in run.resources().unwrap() {
            let manifest = run.manifest(&resource).unwrap();
            if let Some(cursor) = manifest.and_then(|manifest| manifest.cursor) {
                cursors.insert(resource.to_string(), cursor);
            }
        }
    }
    cursors
}

/// Fails unless names of runs come in the order of their numbers.
#[track_caller]
fn assert_in_order(workdir: &Workdir) {
    let runs = Staging::new(workdir.path("staging")).runs().unwrap();
    assert!(runs.is_sorted_by_key(Run::id));
}

/// The mode in which a resource was read.
fn mode<'r>(report: &'r Value, name: &str) -> &'r Value {
    let resources = report["resources"].as_array().unwrap();
    let found = resources.iter().find(|resource| resource["name"] == name);
    &found.unwrap()["mode"]
}

#[tokio::test]
async fn clock_set_between_runs_moves_no_cursor_back() {
    // Further ahead a full read seems due, and one resource is read before the server tells the time.
    for jump in JUMPS.into_iter().filter(|jump| *jump < 7 * 24) {
        let simulator = simulator_at(NOW).await;
        let mut workdir = Workdir::with(&simulator).await;
        workdir.set("CURSUS_CLOCK", NOW);
        workdir.json(["run"]).await;
        let mut known = cursors(&workdir);
        // It is set, and set right again.
        for clock in [at(jump), at(6)] {
            simulator.advance(Duration::from_hours(3));
            workdir.set("CURSUS_CLOCK", clock);
            let report = workdir.json(["run"]).await;
            assert_eq!(mode(&report, "users"), "delta", "{jump} hours: {report:#}");
            let now = cursors(&workdir);
            for (resource, cursor) in &known {
                assert!(now[resource] >= *cursor, "{jump} hours: {resource}");
            }
            assert!(now["users"] > known["users"], "{jump} hours");
            known = now;
            assert_in_order(&workdir);
        }
        workdir.json(["run", "--full"]).await;
        oracle::assert_mirrors(&workdir, &simulator).await;
    }
}

#[tokio::test]
async fn clock_set_during_a_run_changes_no_read() {
    for jump in JUMPS {
        let simulator = simulator_at(NOW).await;
        let mut workdir = Workdir::with(&simulator).await;
        workdir.set("CURSUS_CLOCK", NOW);
        let jumps = format!("line.done:7=jump{}", jump * 3600);
        workdir.set("CURSUS_FAILPOINT", jumps);
        let report = workdir.json(["run"]).await;
        assert_eq!(report["state"], "complete", "{jump} hours: {report:#}");
        oracle::assert_mirrors(&workdir, &simulator).await;
        for cursor in cursors(&workdir).values() {
            let ahead = cursor.duration_since(NOW.parse().unwrap());
            assert!(ahead.as_mins() < 10, "{jump} hours: {cursor}");
        }
    }
}

/// The clock of one of the API's servers is ahead, for one answer.
#[tokio::test]
async fn changes_after_a_wrong_server_date_are_read() {
    let read = [
        "--select",
        "cursus,coalitions,achievements,users,cursus_users,projects_users,achievements_users,coalitions_users",
    ];
    for (wrong, select, next) in [
        ("cursus_users", &read[..], 4),
        ("projects_users", &read[..], 25),
        ("users", &read[..], 25),
        // Nothing but the answer itself tells the time.
        ("projects_users", &["--select", "projects_users"][..], 4),
        ("projects_users", &["--select", "projects_users"][..], 25),
    ] {
        let simulator = simulator_at(NOW).await;
        let mut workdir = Workdir::with(&simulator).await;
        workdir.set("CURSUS_CLOCK", NOW);
        workdir.json([&["run"][..], &read].concat()).await;
        simulator.advance(Duration::from_hours(1));
        workdir.set("CURSUS_CLOCK", at(1));
        simulator.inject(Fault::new(wrong, FaultKind::WrongDate { by: 5 * 3600 }));
        workdir.json([&["run"][..], select].concat()).await;
        simulator.clear_faults();
        simulator.advance(Duration::from_hours(next - 1));
        workdir.set("CURSUS_CLOCK", at(next.try_into().unwrap()));
        let report = workdir.json([&["run"][..], select].concat()).await;
        assert_eq!(mode(&report, wrong), "delta", "{report:#}");
        let is_checked = |table: &str| {
            let all = table.ends_with("s_users") && table != "campus_users";
            if select == read { all } else { table == wrong }
        };
        oracle::assert_tables_mirror(&workdir, &simulator, &BTreeSet::new(), is_checked).await;
        for cursor in cursors(&workdir).values() {
            let now: Timestamp = at(next.try_into().unwrap()).parse().unwrap();
            assert!(
                cursor.duration_since(now).as_mins() < 10,
                "{wrong}: {cursor}"
            );
        }
    }
}

#[tokio::test]
async fn clock_skew_within_the_lookback_costs_no_request() {
    let mut spent = Vec::new();
    for by in [0, 300, -300] {
        let simulator = simulator_at(NOW).await;
        let mut workdir = Workdir::with(&simulator).await;
        workdir.set("CURSUS_CLOCK", NOW);
        for hours in [0, 2, 5] {
            workdir.set("CURSUS_CLOCK", at(hours));
            simulator.clear_faults();
            if hours == 2 {
                simulator.inject(Fault::new("/v2", FaultKind::WrongDate { by }));
            }
            let report = workdir.json(["run"]).await;
            assert_eq!(report["state"], "complete", "{by}: {report:#}");
            simulator.advance(Duration::from_hours(if hours == 0 { 2 } else { 3 }));
        }
        spent.push(simulator.statistics().hits);
    }
    assert!(
        spent.iter().all(|requests| *requests == spent[0]),
        "{spent:?}"
    );
}

#[tokio::test]
async fn resume_after_a_clock_change_keeps_pages_in_order() {
    for jump in [-1, -23, 23] {
        let simulator = simulator_at(NOW).await;
        let mut workdir = Workdir::with(&simulator).await;
        workdir.set("CURSUS_CLOCK", NOW);
        workdir.set("CURSUS_FAILPOINT", "line.done:12=kill");
        assert_eq!(workdir.cursus(["extract"]).await.code, None);
        workdir.unset("CURSUS_FAILPOINT");
        workdir.set("CURSUS_CLOCK", at(jump));
        workdir.json(["extract"]).await;
        let runs = Staging::new(workdir.path("staging")).runs().unwrap();
        assert_eq!(runs.len(), 1, "{jump} hours");
        let journal = workdir.run_directory().join("coalitions_users/pages.jsonl");
        let journal = std::fs::read_to_string(journal).unwrap();
        let pages = journal.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["fetched_at"].as_str().unwrap().parse().unwrap()
        });
        let pages: Vec<Timestamp> = pages.collect();
        assert!(pages.is_sorted(), "{jump} hours: {pages:?}");
        workdir.json(["load"]).await;
        oracle::assert_mirrors(&workdir, &simulator).await;
    }
}
