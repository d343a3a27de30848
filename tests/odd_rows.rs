//! Rows that no window of time shows, and ids that no range of ids shows: they are read, or the read is not complete.

use std::collections::BTreeSet;

use cursus_simulator::{Churn, Options, Simulator};
use serde_json::{Value, json};

use crate::support::{Workdir, api::start, simulator, small};

const ENROLMENTS: [&str; 2] = ["--select", "projects_users"];

async fn mirror(simulator: &Simulator) -> Workdir {
    let workdir = Workdir::with(simulator).await;
    workdir.pipeline(&[("page_size = 100 ", "page_size = 20 ")]);
    workdir
}

/// Enrolments that the pipeline asks for.
fn enrolments(simulator: &Simulator) -> Vec<i64> {
    let rows = simulator.rows("projects_users");
    let is_asked_for = |row: &&Value| row["cursus_ids"].as_array().unwrap().contains(&json!(21));
    let rows = rows.iter().filter(is_asked_for);
    rows.map(|row| row["id"].as_i64().unwrap()).collect()
}

/// Gives some enrolments a cursor that is no time, or far from all others.
fn make_odd(simulator: &Simulator) -> Vec<i64> {
    let odd = [
        json!(null),
        json!(null),
        json!("1969-07-20T20:17:40.000Z"),
        json!("0001-01-01T00:00:00.000Z"),
        json!("2099-01-01T00:00:00.000Z"),
    ];
    let ids = enrolments(simulator);
    let ids = ids.iter().step_by(ids.len() / odd.len());
    let set = ids.zip(odd).map(|(id, value)| {
        assert!(simulator.set_field("projects_users", *id, "updated_at", value));
        *id
    });
    set.collect()
}

async fn mirrored(workdir: &Workdir) -> BTreeSet<i64> {
    let ids = workdir.column("SELECT id::text FROM projects_users").await;
    ids.iter().map(|id| id.parse().unwrap()).collect()
}

fn state(report: &Value) -> (&Value, &Value) {
    (
        &report["resources"][0]["mode"],
        &report["resources"][0]["state"],
    )
}

#[tokio::test]
async fn rows_in_no_window_stay_in_the_mirror() {
    let simulator = simulator().await;
    let workdir = mirror(&simulator).await;
    workdir.json([&["run"][..], &ENROLMENTS].concat()).await;
    let before = mirrored(&workdir).await;
    make_odd(&simulator);
    let report = workdir
        .json([&["run", "--full"][..], &ENROLMENTS].concat())
        .await;
    assert_eq!(
        state(&report),
        (&json!("full"), &json!("complete")),
        "{report:#}"
    );
    assert_eq!(mirrored(&workdir).await, before);
    workdir.json(["stage", "verify", "latest"]).await;
    // Missing rows are deleted.
    let removed = enrolments(&simulator)[3];
    let new = simulator.replace_enrolment(removed).unwrap();
    workdir
        .json([&["run", "--full"][..], &ENROLMENTS].concat())
        .await;
    let mut expected = before;
    expected.remove(&removed);
    expected.insert(new);
    assert_eq!(mirrored(&workdir).await, expected);
}

#[tokio::test]
async fn a_first_mirror_has_rows_without_a_date() {
    let simulator = simulator().await;
    let workdir = mirror(&simulator).await;
    let all = enrolments(&simulator);
    for id in all.iter().take(all.len() / 2) {
        simulator.set_field("projects_users", *id, "updated_at", json!(null));
    }
    let report = workdir.json([&["run"][..], &ENROLMENTS].concat()).await;
    assert_eq!(
        state(&report),
        (&json!("full"), &json!("complete")),
        "{report:#}"
    );
    assert!(
        mirrored(&workdir)
            .await
            .is_superset(&all.into_iter().collect())
    );
}

#[tokio::test]
async fn rows_in_no_window_stay_while_others_change() {
    let simulator = start(Options {
        churn: Some(Churn {
            every: 5,
            inserted: 1,
            updated: 2,
            deleted: 1,
            resources: vec!["projects_users".to_owned()],
        }),
        ..small()
    })
    .await;
    let workdir = mirror(&simulator).await;
    workdir.pipeline(&[
        ("page_size = 100 ", "page_size = 20 "),
        ("max_fraction = 0.02", "max_fraction = 1.0"),
    ]);
    workdir.json([&["run"][..], &ENROLMENTS].concat()).await;
    make_odd(&simulator);
    for _ in 0..3 {
        let before: BTreeSet<i64> = enrolments(&simulator).into_iter().collect();
        let arguments = [&["run", "--full"][..], &ENROLMENTS].concat();
        let run = workdir.cursus(arguments).await;
        assert!([Some(0), Some(3)].contains(&run.code), "{run}");
        let after: BTreeSet<i64> = enrolments(&simulator).into_iter().collect();
        let lasting: BTreeSet<i64> = before.intersection(&after).copied().collect();
        if run.code == Some(0) {
            let missing: Vec<i64> = lasting
                .difference(&mirrored(&workdir).await)
                .copied()
                .collect();
            assert!(missing.is_empty(), "{missing:?} are missing: {run}");
        }
    }
}

#[tokio::test]
async fn ids_that_are_texts_or_missing_cost_a_list_once() {
    for (resource, rows) in [("achievements", 120_u64), ("coalitions", 20)] {
        for odd in [
            Some(json!("seven")),
            Some(json!(-7)),
            Some(json!(null)),
            None,
        ] {
            let simulator = simulator().await;
            let workdir = mirror(&simulator).await;
            workdir.pipeline(&[("page_size = 100 ", "page_size = 7 ")]);
            let id = simulator.rows(resource)[5]["id"].as_i64().unwrap();
            match &odd {
                Some(value) => simulator.set_field(resource, id, "id", value.clone()),
                None => simulator.remove_field(resource, id, "id"),
            };
            let arguments = ["extract", "--select", resource];
            let report = workdir.json(arguments).await;
            let read = &report["resources"][0];
            let staged = workdir.staged(resource).await;
            let names = staged
                .iter()
                .map(|row| row["name"].to_string() + &row["id"].to_string());
            assert_eq!(
                names.collect::<BTreeSet<_>>().len() as u64,
                rows,
                "{odd:?} {read:#}"
            );
            assert_eq!(read["state"], "complete", "{odd:?} {read:#}");
            let requests = read["hits"].as_u64().unwrap();
            assert!(requests <= 2 * rows.div_ceil(7) + 1, "{odd:?} {read:#}");
            workdir.json(["stage", "verify", "latest"]).await;
        }
    }
}
