//! Rows that come, change and go while they are read: nothing that was there all the time is missing.

use std::collections::BTreeSet;

use cursus_simulator::{Churn, Fault, FaultKind, Options, Scale, Simulator};
use serde_json::Value;

use crate::support::{Workdir, api::start, small};

/// 30 pages and more of what is read, 20 rows a page.
const PAGE: usize = 20;

async fn churning(resource: &str, every: u32) -> Simulator {
    start(Options {
        scale: Scale {
            projects: 700,
            achievements: 700,
            coalitions: 90,
            students: 700,
            others: 100,
            enrolments: 700,
            memberships: 700,
            earned: 700,
            ..small().scale
        },
        churn: Some(Churn {
            every,
            inserted: 1,
            updated: 2,
            deleted: 1,
            resources: vec![resource.to_owned()],
        }),
        ..small()
    })
    .await
}

/// The rows that the shipped question asks for, and only they.
fn asked_for(simulator: &Simulator, resource: &str) -> BTreeSet<i64> {
    let enrolled: BTreeSet<i64> = (simulator.rows("cursus_users").iter())
        .filter(|row| row["cursus_id"] == 21)
        .map(|row| row["user"]["id"].as_i64().unwrap())
        .collect();
    let is_asked_for = |row: &Value| match resource {
        "users" => {
            row["kind"] == "student"
                && row["alumni?"] == false
                && enrolled.contains(&row["id"].as_i64().unwrap())
        }
        "projects_users" => (row["cursus_ids"].as_array().unwrap()).contains(&Value::from(21)),
        "cursus_users" => row["cursus_id"] == 21,
        _ => true,
    };
    (simulator.rows(resource).iter())
        .filter(|row| is_asked_for(row))
        .map(|row| row["id"].as_i64().unwrap())
        .collect()
}

/// Reads `resource` while it changes; gives the summary, and the pages that there were.
async fn reads_all(resource: &str, every: u32) -> (Value, u64) {
    let simulator = churning(resource, every).await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[("page_size = 100 ", &format!("page_size = {PAGE} "))]);
    let before = asked_for(&simulator, resource);
    let report = workdir
        .cursus(["extract", "--json", "--select", resource])
        .await
        .json();
    let after = asked_for(&simulator, resource);
    assert_ne!(before, after, "nothing changed");
    let lasting: BTreeSet<i64> = before.intersection(&after).copied().collect();
    let staged = workdir.staged(resource).await;
    let staged: BTreeSet<i64> = (staged.iter())
        .map(|record| record["id"].as_i64().unwrap())
        .collect();
    let missing: Vec<&i64> = lasting.difference(&staged).collect();
    let read = report["resources"][0].clone();
    let is_complete = read["state"] == "complete";
    assert!(
        !is_complete || missing.is_empty(),
        "{missing:?} are missing: {read:#}"
    );
    workdir.json(["stage", "verify", "latest"]).await;
    (read, before.len().div_ceil(PAGE) as u64)
}

#[tokio::test]
async fn lasting_rows_are_staged_for_5_percent_more_requests() {
    for resource in [
        "users",
        "cursus_users",
        "projects",
        "achievements",
        "achievements_users",
        "coalitions_users",
    ] {
        let (read, pages) = reads_all(resource, 3).await;
        assert_eq!(read["state"], "complete", "{resource}: {read:#}");
        let requests = read["hits"].as_u64().unwrap();
        assert!(
            requests <= pages + pages.div_ceil(20),
            "{resource}: {requests} requests for {pages} pages"
        );
    }
}

#[tokio::test]
async fn a_list_without_an_order_is_read_in_windows_of_time() {
    let (read, pages) = reads_all("projects_users", 12).await;
    assert_eq!(read["state"], "complete", "{read:#}");
    // The window that closes the read (two, if more than a page changed meanwhile), and pages that rows slipped out of.
    let requests = read["hits"].as_u64().unwrap();
    assert!(
        requests <= pages + 9,
        "{requests} requests for {pages} pages"
    );
}

#[tokio::test]
async fn list_without_id_ranges_claims_no_unproven_completeness() {
    let (read, _) = reads_all("coalitions", 2).await;
    assert_ne!(read["state"], "complete", "{read:#}");
}

#[tokio::test]
async fn empty_answer_without_a_total_proves_nothing() {
    let simulator = start(Options {
        scale: Scale {
            earned: 0,
            ..small().scale
        },
        faults: vec![Fault::new("achievements_users", FaultKind::NoTotal)],
        ..small()
    })
    .await;
    let workdir = Workdir::with(&simulator).await;
    let arguments = ["extract", "--select", "achievements_users"];
    let report = workdir.json_exits(3, arguments).await;
    let read = &report["resources"][0];
    assert_eq!(
        (&read["state"], &read["rows"]),
        (&"drifted".into(), &0.into())
    );
    workdir.json(["stage", "verify", "latest"]).await;
}
