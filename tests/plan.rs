//! What a run costs is known before it: what `plan` forecasts is what `run` then spends.

use std::time::Duration;

use cursus_simulator::{Fault, FaultKind, Limits, Options};
use serde_json::Value;

use crate::support::snapshot::assert_said;
use crate::support::{Workdir, api, page_requests, simulator, small};

/// Resources of the shipped pipeline that do not fan out.
const PROBED: u64 = 10;

/// Name, mode, rows and requests of each resource that is not skipped.
fn reads(document: &Value) -> Vec<(String, String, u64, u64)> {
    let resources = document["resources"].as_array().unwrap();
    resources
        .iter()
        .filter(|resource| resource["mode"] != "skip" && !resource["mode"].is_null())
        .map(|resource| {
            let number = |key: &str| {
                resource[key]
                    .as_u64()
                    .unwrap_or_else(|| panic!("{resource}"))
            };
            let text = |key: &str| resource[key].as_str().unwrap().to_owned();
            {
                // Of a fan-out the ids are known, not how many rows each gives.
                let rows = if resource["name"] == "campus_users" {
                    0
                } else {
                    // A run counts repeated rows as well.
                    (resource["x_total"].as_u64()).unwrap_or_else(|| number("rows"))
                };
                (text("name"), text("mode"), rows, number("hits"))
            }
        })
        .collect()
}

/// Fails unless the forecast that a run tells in its summary was right by 5 % at most.
#[track_caller]
fn assert_forecast(report: &Value) {
    let forecast = &report["forecast"];
    assert_eq!(forecast["actual"], report["hits"], "{report:#}");
    let error = forecast["error_percent"].as_f64().unwrap();
    assert!(error.abs() <= 5.0, "{report:#}");
}

/// Pages of 7 rows: enough of them for a wrong forecast to show.
fn small_pages(workdir: &Workdir) {
    workdir.pipeline(&[
        ("page_size = 100 ", "page_size = 7 "),
        ("batch = 85", "batch = 3"),
    ]);
}

#[tokio::test]
async fn what_a_probing_plan_forecasts_is_what_the_run_spends() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    small_pages(&workdir);
    for (flags, wait) in [(&[][..], 0), (&[], 13), (&[], 2), (&["--full"], 0)] {
        simulator.advance(Duration::from_hours(wait));
        let before = page_requests(&simulator);
        let plan = workdir.json([&["plan"], flags].concat()).await;
        let probing = page_requests(&simulator) - before;
        assert_eq!(plan["probing_hits"], probing);
        assert!(probing <= PROBED);
        assert_eq!(plan["at_least"], false, "{plan:#}");
        let before = page_requests(&simulator);
        let report = workdir.json([&["run"], flags].concat()).await;
        assert_eq!(reads(&plan), reads(&report), "{flags:?} after {wait} h");
        assert_eq!(plan["hits"], report["hits"]);
        assert_eq!(plan["hits"], page_requests(&simulator) - before);
    }
}

#[tokio::test]
async fn plan_stages_nothing_and_costs_one_request_a_resource() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    // It needs no database either.
    workdir.set("CURSUS_DATABASE_URL", crate::support::workdir::NO_DATABASE);
    let plan = workdir.json(["plan"]).await;
    assert_eq!(plan["host"], "127.0.0.1");
    assert_eq!(plan["probing_hits"], PROBED);
    assert_eq!(page_requests(&simulator), PROBED);
    assert!(!workdir.path("staging").exists());
    workdir.json(["extract"]).await;
    let before = page_requests(&simulator);
    let plan = workdir.json(["plan"]).await;
    let asked = reads(&plan).len() as u64 - 1;
    assert_eq!(
        page_requests(&simulator) - before,
        asked,
        "what is skipped and what fans out is not asked"
    );
    assert!(asked < PROBED);
    let plan = workdir
        .json(["plan", "--force", "--select", "cursus,users"])
        .await;
    let names: Vec<_> = reads(&plan).into_iter().map(|read| read.0).collect();
    assert_eq!(names, ["cursus", "users"]);
}

#[tokio::test]
async fn offline_it_asks_nothing_and_says_what_it_does_not_know() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    small_pages(&workdir);
    let before = workdir.json(["plan", "--offline"]).await;
    for unknown in ["hits", "seconds", "done_at"] {
        assert_eq!(before[unknown], Value::Null, "{before:#}");
    }
    assert_eq!(before["at_least"], true);
    workdir.json(["run"]).await;
    workdir.json(["run"]).await;
    let id = workdir.variable("CURSUS_CLIENT_ID").to_owned();
    workdir.unset("CURSUS_CLIENT_ID");
    let full = workdir.json(["plan", "--offline", "--full"]).await;
    let delta = workdir.json(["plan", "--offline"]).await;
    workdir.set("CURSUS_CLIENT_ID", id);
    assert_eq!(full["at_least"], false, "{full:#}");
    let run = workdir.json(["run"]).await;
    assert_eq!(delta["hits"], run["hits"], "{delta:#}\n{run:#}");
    let run = workdir.json(["run", "--full"]).await;
    assert_eq!(full["hits"], run["hits"], "{full:#}\n{run:#}");
}

#[tokio::test]
async fn offline_what_came_since_the_last_full_read_is_counted() {
    let simulator = api::start(Options {
        scale: cursus_simulator::Scale {
            memberships: 50,
            ..small().scale
        },
        ..small()
    })
    .await;
    let workdir = Workdir::with(&simulator).await;
    small_pages(&workdir);
    workdir.json(["run"]).await;
    for _ in 0..5 {
        simulator.advance(Duration::from_hours(20));
        workdir.json(["run"]).await;
    }
    let plan = workdir.json(["plan", "--offline", "--full"]).await;
    let run = workdir.json(["run", "--full"]).await;
    let grown = |name: &str| {
        let rows = |document: &Value| {
            reads(document)
                .into_iter()
                .find(|read| read.0 == name)
                .unwrap()
                .2
        };
        (rows(&plan), rows(&run))
    };
    let (expected, read) = grown("projects_users");
    assert_eq!(expected, read);
    assert!(read > 200, "nothing came: {read}");
    assert_forecast(&run);
}

#[tokio::test]
async fn after_each_run_its_forecast_is_right_where_nothing_changes() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    small_pages(&workdir);
    for flags in [
        &[][..],
        &[],
        &[],
        &["--full"],
        &["--select", "users,campus_users", "--full"],
    ] {
        let report = workdir.json([&["run"], flags].concat()).await;
        assert_forecast(&report);
    }
    let ran = workdir
        .cursus(["extract", "--full", "--select", "cursus"])
        .await;
    assert!(
        ran.stdout.contains("2 requests (forecast 2, 0.0 % off)"),
        "{ran}"
    );
}

#[tokio::test]
async fn what_an_unfinished_run_has_staged_costs_nothing_more() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    small_pages(&workdir);
    let cost = workdir.json(["plan"]).await["hits"].as_u64().unwrap();
    let stopped = workdir.json_exits(6, ["extract", "--max-hits", "60"]).await;
    for flags in [&["plan"][..], &["plan", "--offline"]] {
        let plan = workdir.json(flags).await;
        let staged = plan["resources"].as_array().unwrap().iter();
        let staged = staged.filter(|resource| {
            let reason = resource["reason"].as_str().unwrap();
            reason.contains(stopped["run_id"].as_str().unwrap())
        });
        assert!(staged.count() > 1, "{plan:#}");
        assert!(flags.len() > 1 || plan["hits"] == cost - 60, "{plan:#}");
    }
    let before = page_requests(&simulator);
    let report = workdir.json(["extract"]).await;
    assert_eq!(page_requests(&simulator) - before, cost - 60);
    assert_forecast(&report);
}

#[tokio::test]
async fn retries_appear_as_the_error_of_the_forecast() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    simulator.inject(Fault::new("cursus", FaultKind::Status { status: 502 }).times(1));
    let report = workdir.json(["extract", "--select", "cursus,campus"]).await;
    assert_eq!(
        report["forecast"],
        serde_json::json!({"hits": 2, "actual": 3, "error_percent": -33.3})
    );
    let stopped = workdir
        .json_exits(6, ["extract", "--full", "--max-hits", "3"])
        .await;
    assert!(stopped.get("forecast").is_none(), "{stopped:#}");
}

#[tokio::test]
async fn plan_warns_when_the_hour_has_too_few_requests_left() {
    let per_hour = 40;
    let simulator = api::start(Options {
        limits: Limits {
            per_hour,
            ..small().limits
        },
        ..small()
    })
    .await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[
        ("page_size = 100 ", "page_size = 7 "),
        ("reserve_per_hour = 100", "reserve_per_hour = 4 "),
    ]);
    let ran = workdir.cursus(["plan", "--json"]).await.exits(0);
    let plan = ran.json();
    // The probing requests and the token count as well; on a busy machine one may have been asked for twice.
    let left = u64::from(per_hour) - 4 - PROBED - 1;
    assert_eq!(plan["hour"]["limit"], per_hour - 4);
    let remaining = plan["hour"]["remaining"].as_u64().unwrap();
    assert!((left - 2..=left).contains(&remaining), "{plan:#}");
    assert!(plan["seconds"].as_u64().unwrap() >= 3_600, "{plan:#}");
    ran.says(&format!(
        "are needed, but only {remaining} are left of this hour's 36"
    ));
}

#[tokio::test]
async fn forbidden_resource_is_named_and_the_rest_is_planned() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    simulator.inject(Fault::new("coalitions", FaultKind::Forbidden));
    let ran = workdir.cursus(["plan", "--json"]).await.exits(0);
    assert_eq!(ran.json()["at_least"], true);
    ran.says("coalitions cannot be read: ");
}

#[tokio::test]
async fn plan_prints_a_table() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    assert_said(
        "plan_before",
        &workdir,
        &workdir.cursus(["plan", "--offline"]).await,
    );
    assert_said("plan_first", &workdir, &workdir.cursus(["plan"]).await);
    workdir.json(["run"]).await;
    assert_said("plan", &workdir, &workdir.cursus(["plan"]).await);
    assert_said(
        "plan_offline",
        &workdir,
        &workdir.cursus(["plan", "--offline", "--full"]).await,
    );
    assert_said(
        "plan_unknown",
        &workdir,
        &workdir.cursus(["plan", "--select", "user"]).await,
    );
}
