//! Pages that the server cannot give in time are asked for in halves.

use std::collections::BTreeSet;
use std::time::Duration;

use cursus_simulator::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::support::{Workdir, simulator};

const DAY: Duration = Duration::from_hours(24);

async fn ids(workdir: &Workdir, resource: &str) -> BTreeSet<i64> {
    let staged = workdir.staged(resource).await;
    staged
        .iter()
        .map(|row| row["id"].as_i64().unwrap())
        .collect()
}

fn manifest(workdir: &Workdir, resource: &str) -> Value {
    let path = workdir.run_directory().join(resource).join("manifest.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[tokio::test]
async fn a_page_that_takes_too_long_is_halved() {
    // By ids, by numbers, and in windows of time.
    for (resource, rows) in [
        ("achievements_users", 150),
        ("coalitions", 20),
        ("projects_users", 200),
    ] {
        let simulator = simulator().await;
        let workdir = Workdir::with(&simulator).await;
        workdir.pipeline(&[("page_size = 100 ", "page_size = 16 ")]);
        simulator.slow_page(resource, Some(4));
        // Another resource is the first to tell the server's time.
        let both = format!("users,{resource}");
        let arguments = ["extract", "--select", both.as_str()];
        let report = workdir.json(arguments).await;
        let of = |report: &Value| {
            let resources = report["resources"].as_array().unwrap();
            resources
                .iter()
                .find(|read| read["name"] == resource)
                .unwrap()
                .clone()
        };
        let read = of(&report);
        assert_eq!(read["state"], "complete", "{read:#}");
        let staged = ids(&workdir, resource).await;
        assert!(staged.len() >= rows, "{} of {resource}", staged.len());
        assert_eq!(manifest(&workdir, resource)["smaller_pages"]["size"], 4);
        workdir.json(["stage", "verify", "latest"]).await;
        // The next read begins with what worked, and a day later with more.
        let report = workdir.json([&arguments[..], &["--full"]].concat()).await;
        let read = of(&report);
        assert_eq!(read["hits"], read["pages"], "{report:#}");
        simulator.slow_page(resource, None);
        simulator.advance(2 * DAY);
        let report = workdir.json([&arguments[..], &["--full"]].concat()).await;
        assert_eq!(of(&report)["state"], "complete", "{report:#}");
        assert_eq!(manifest(&workdir, resource)["smaller_pages"]["size"], 8);
    }
}

#[tokio::test]
async fn a_page_in_the_middle_is_halved_and_no_row_is_lost() {
    for resource in ["achievements_users", "projects_users", "coalitions"] {
        let simulator = simulator().await;
        let workdir = Workdir::with(&simulator).await;
        workdir.pipeline(&[("page_size = 100 ", "page_size = 10 ")]);
        let slow = FaultKind::Status { status: 504 };
        simulator.inject(Fault::new(resource, slow).nth(2).times(2));
        let report = workdir.json(["extract", "--select", resource]).await;
        assert_eq!(report["resources"][0]["state"], "complete", "{report:#}");
        let expected: BTreeSet<i64> = (simulator.rows(resource).iter())
            .filter(|row| {
                resource != "projects_users"
                    || row["cursus_ids"].as_array().unwrap().contains(&json!(21))
            })
            .map(|row| row["id"].as_i64().unwrap())
            .collect();
        assert!(ids(&workdir, resource).await.is_superset(&expected));
        workdir.json(["stage", "verify", "latest"]).await;
    }
}

#[tokio::test]
async fn a_passing_fault_halves_nothing() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let slow = FaultKind::Status { status: 504 };
    simulator.inject(Fault::new("achievements_users", slow).times(1));
    workdir
        .json(["extract", "--select", "achievements_users"])
        .await;
    assert!(manifest(&workdir, "achievements_users")["smaller_pages"].is_null());
}
