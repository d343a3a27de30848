//! Whatever the API does wrong, a run ends complete, or says in a sentence what is missing and keeps what was good.
//!
//! Most faults befall one answer of one resource whose rows the simulator can show unfiltered.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use cursus_simulator::{Fault, FaultKind, Limits, Options, Simulator};
use futures_util::future::join_all;
use serde_json::Value;

use crate::fan_out::{FLAT, ONE_BY_ONE};
use crate::support::{Workdir, api, simulator, small};

/// The resource that fails; it has several pages.
const READ: &str = "coalitions_users";

const EXTRACT: [&str; 3] = ["extract", "--select", READ];

fn by_id(rows: impl IntoIterator<Item = Value>) -> BTreeMap<i64, Value> {
    rows.into_iter()
        .map(|row| (row["id"].as_i64().unwrap(), row))
        .collect()
}

fn truth(simulator: &Simulator, resource: &str) -> BTreeMap<i64, Value> {
    by_id(simulator.rows(resource))
}

/// The records of a resource that can be loaded.
async fn staged(workdir: &Workdir, resource: &str) -> BTreeMap<i64, Value> {
    by_id(workdir.staged(resource).await)
}

/// All pages on the disk, also those of resources that were not read to their end.
fn pages(workdir: &Workdir) -> Vec<Vec<Value>> {
    let is_page = |path: &Path| path.to_string_lossy().ends_with(".json.gz");
    walkdir::WalkDir::new(workdir.run_directory())
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| is_page(path))
        .map(|path| {
            let file = std::fs::File::open(path).unwrap();
            serde_json::from_reader(flate2::read::GzDecoder::new(file)).unwrap()
        })
        .collect()
}

fn resource<'r>(report: &'r Value, name: &str) -> &'r Value {
    let resources = report["resources"].as_array().unwrap();
    resources
        .iter()
        .find(|resource| resource["name"] == name)
        .unwrap()
}

/// The one sentence that a report has for what went wrong.
#[track_caller]
fn sentence(report: &Value) -> &str {
    let errors = report["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{report:#}");
    errors[0].as_str().unwrap()
}

/// One answer fails so: nothing is missing, after one more attempt if the answer was of no use. After a 429 that is no retry.
async fn recovers(kind: FaultKind, retries: u64) -> Value {
    recovers_with(&[], kind, retries).await
}

/// The same with these texts of the shipped configuration replaced.
async fn recovers_with(replacements: &[(&str, &str)], kind: FaultKind, retries: u64) -> Value {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(replacements);
    simulator.inject(Fault::new(READ, kind.clone()).nth(2).times(1));
    let report = workdir.json(EXTRACT).await;
    assert_eq!(report["state"], "complete", "{kind:?}: {report:#}");
    assert_eq!(report["rate"]["retries"], retries, "{kind:?}: {report:#}");
    assert_eq!(simulator.statistics().faults, 1, "{kind:?} was met");
    assert_eq!(report["hits"], simulator.statistics().hits, "{kind:?}");
    assert!(
        staged(&workdir, READ).await == truth(&simulator, READ),
        "{kind:?}"
    );
    report
}

#[tokio::test]
async fn a_429_is_waited_for_as_long_as_it_says() {
    let report = recovers(
        FaultKind::TooManyRequests {
            retry_after: Some(1),
        },
        0,
    )
    .await;
    assert_eq!(report["rejected_429"], 1);
    assert!(
        report["rate"]["waited_ms"].as_u64() >= Some(1_000),
        "{report:#}"
    );
}

#[tokio::test]
async fn a_429_that_does_not_say_how_long_is_waited_for_too() {
    let report = recovers(FaultKind::TooManyRequests { retry_after: None }, 0).await;
    assert_eq!(report["rejected_429"], 1);
}

#[tokio::test]
async fn an_hourly_429_is_waited_for_as_long_as_it_says() {
    let report = recovers(
        FaultKind::HourlyLimit {
            retry_after: Some(1),
        },
        0,
    )
    .await;
    assert_eq!(report["rejected_429"], 1);
}

#[tokio::test]
async fn hourly_429_without_retry_after_waits_for_the_next_hour() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let fault = FaultKind::HourlyLimit { retry_after: None };
    simulator.inject(Fault::new(READ, fault).nth(2).times(1));
    let report = workdir
        .json_exits(6, [&EXTRACT[..], &["--no-wait"]].concat())
        .await;
    assert!(
        sentence(&report).contains("run the same command again after"),
        "{report:#}"
    );
    let requests = simulator.statistics().hits;
    assert!(!pages(&workdir).is_empty());
    // Another command does not ask before that, whatever the server would say.
    workdir
        .json_exits(6, [&EXTRACT[..], &["--no-wait"]].concat())
        .await;
    assert_eq!(simulator.statistics().hits, requests);
    // An hour later the ledger of requests says nothing any more.
    workdir.set("XDG_STATE_HOME", workdir.path(".later"));
    let report = workdir.json(EXTRACT).await;
    assert_eq!(report["state"], "complete", "{report:#}");
    assert_eq!(staged(&workdir, READ).await, truth(&simulator, READ));
}

#[tokio::test]
async fn gateway_errors_as_web_pages_are_asked_again() {
    let kinds = [500, 502, 503, 504].map(|status| FaultKind::Status { status });
    join_all(kinds.map(|kind| recovers(kind, 1))).await;
}

#[tokio::test]
async fn a_web_page_with_200_is_no_page() {
    recovers(FaultKind::Html, 1).await;
}

#[tokio::test]
async fn an_object_is_no_page() {
    recovers(FaultKind::Object, 1).await;
}

#[tokio::test]
async fn an_empty_body_is_no_page() {
    recovers(FaultKind::Empty, 1).await;
}

#[tokio::test]
async fn broken_json_is_no_page() {
    recovers(FaultKind::BrokenJson, 1).await;
}

#[tokio::test]
async fn fewer_bytes_than_announced_are_no_page() {
    recovers(FaultKind::FewerBytes, 1).await;
}

#[tokio::test]
async fn a_reset_before_the_answer_is_asked_again() {
    recovers(FaultKind::ResetBefore, 1).await;
}

#[tokio::test]
async fn a_reset_inside_the_body_is_asked_again() {
    recovers(FaultKind::ResetInside, 1).await;
}

#[tokio::test]
async fn a_server_that_stalls_is_left_and_asked_again() {
    let impatient = [("timeout = \"120s\"", "timeout = \"1s\"")];
    recovers_with(&impatient, FaultKind::Stall { seconds: 60.0 }, 1).await;
}

#[tokio::test]
async fn gzip_that_nobody_asked_for_is_unpacked() {
    recovers(FaultKind::Gzip, 0).await;
}

#[tokio::test]
async fn slow_chunks_make_a_complete_page() {
    recovers(FaultKind::SlowChunks { seconds: 0.5 }, 0).await;
}

#[tokio::test]
async fn a_token_revoked_midway_is_renewed_once() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    simulator.inject(Fault::new(READ, FaultKind::RevokedToken).nth(2).times(1));
    let report = workdir.json(EXTRACT).await;
    assert_eq!(report["state"], "complete", "{report:#}");
    assert_eq!(report["rate"]["token_requests"], 2, "{report:#}");
    assert_eq!(staged(&workdir, READ).await, truth(&simulator, READ));
}

/// The first answer, the second, or every one is wrong so: every row is there, or the report says what is not.
async fn full_or_reported(kinds: impl IntoIterator<Item = FaultKind>) {
    let faults = kinds.into_iter().flat_map(|kind| {
        let fault = Fault::new(READ, kind);
        [fault.clone().times(1), fault.clone().nth(2).times(1), fault]
    });
    join_all(faults.map(reads_whole_or_tells)).await;
}

async fn reads_whole_or_tells(fault: Fault) {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    simulator.inject(fault.clone());
    let ran = workdir
        .cursus([&EXTRACT[..], &["--json", "-q"]].concat())
        .await;
    assert!(simulator.statistics().faults > 0);
    let (report, staged) = (ran.json(), staged(&workdir, READ).await);
    let truth = truth(&simulator, READ);
    if ran.code == Some(0) {
        assert!(staged == truth, "{fault:?} lost rows unseen: {ran}");
        return;
    }
    assert_eq!(ran.code, Some(3), "{fault:?}: {ran}");
    assert!(
        sentence(&report).len() > READ.len() + " is drifted: ".len(),
        "{fault:?}: {ran}"
    );
    let state = &resource(&report, READ)["state"];
    assert!(state == "partial" || state == "drifted", "{fault:?}: {ran}");
    assert!(
        staged.iter().all(|(id, row)| truth.get(id) == Some(row)),
        "{fault:?}: {ran}"
    );
}

#[tokio::test]
async fn missing_total_loses_no_row_unreported() {
    full_or_reported([FaultKind::NoTotal]).await;
}

#[tokio::test]
async fn wrong_total_loses_no_row_unreported() {
    full_or_reported([-450, -150, -3, 3, 250].map(|by| FaultKind::WrongTotal { by })).await;
}

#[tokio::test]
async fn a_page_shorter_than_asked_loses_no_row_unseen() {
    full_or_reported([1, 60, 100].map(|by| FaultKind::ShortPage { by })).await;
}

#[tokio::test]
async fn one_slice_that_is_not_found_is_named_and_the_others_are_read() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[(FLAT, ONE_BY_ONE)]);
    let truth = truth(&simulator, READ);
    let lost = truth.values().next().unwrap()["coalition_id"]
        .as_i64()
        .unwrap();
    let path = format!("/v2/coalitions/{lost}/coalitions_users");
    simulator.inject(Fault::new(path, FaultKind::NotFound));
    let report = workdir
        .json_exits(3, ["extract", "--select", "coalitions,coalitions_users"])
        .await;
    assert_eq!(resource(&report, READ)["state"], "partial");
    let output = sentence(&report);
    assert!(
        output.contains(&format!("coalition_id={lost} ")) && output.contains("404"),
        "{output}"
    );
    let mut others = truth;
    others.retain(|_, row| row["coalition_id"] != lost);
    assert_eq!(staged(&workdir, READ).await, others);
}

#[tokio::test]
async fn forbidden_resource_is_named_and_the_others_are_read() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    simulator.inject(Fault::new("achievements_users", FaultKind::Forbidden));
    let report = workdir.json_exits(3, ["extract"]).await;
    assert_eq!(report["state"], "partial", "{report:#}");
    let output = sentence(&report);
    assert!(
        output.contains("achievements_users") && output.contains("lacks a role"),
        "{output}"
    );
    for read in report["resources"].as_array().unwrap() {
        let refused = read["name"] == "achievements_users";
        let state = if refused { "failed" } else { "complete" };
        assert_eq!(read["state"], state, "{read:#}");
    }
    assert_eq!(simulator.statistics().faults, 1, "it is asked for once");
    for read in ["cursus", "campus", "coalitions", READ] {
        assert_eq!(
            staged(&workdir, read).await,
            truth(&simulator, read),
            "{read}"
        );
    }
}

/// The run ends early with a sentence that says this. What was staged stays, and without the fault the same command
/// asks for nothing twice.
async fn stops_and_resumes(simulator: &Simulator, workdir: &Workdir, says: &str) -> u64 {
    let report = workdir.json_exits(1, ["extract"]).await;
    assert_eq!(report["state"], "failed", "{report:#}");
    // A page may have failed before the run did.
    let errors = report["errors"].as_array().unwrap();
    let output = errors
        .iter()
        .any(|error| error.as_str().unwrap().contains(says));
    assert!(output, "{report:#}");
    let requests = simulator.statistics().hits;
    let good = pages(workdir).len() as u64;
    assert!(good > 0, "what was good is staged");
    simulator.clear_faults();
    let resources = report["resources"].as_array().unwrap();
    if resources.iter().any(|read| read["state"] == "partial") {
        // A page failed before the run did: what it belongs to is final, and the next run reads it again.
        workdir.json_exits(3, ["extract"]).await;
        workdir.json(["extract", "--full", "--force"]).await;
    } else {
        let report = workdir.json(["extract"]).await;
        assert_eq!(report["state"], "complete", "{report:#}");
        let all = pages(workdir).len() as u64;
        assert_eq!(simulator.statistics().hits - requests, all - good);
    }
    for read in ["cursus", "campus", "coalitions", READ] {
        assert_eq!(
            staged(workdir, read).await,
            truth(simulator, read),
            "{read}"
        );
    }
    requests
}

#[tokio::test]
async fn cloudflare_block_stops_the_run_and_keeps_staged_pages() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    simulator.inject(Fault::new("/", FaultKind::Cloudflare).nth(8));
    stops_and_resumes(&simulator, &workdir, "Cloudflare").await;
}

#[tokio::test]
async fn expired_secret_stops_the_run_and_keeps_staged_pages() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    simulator.inject(Fault::new("/v2", FaultKind::RevokedToken).nth(8));
    simulator.inject(Fault::new("/oauth/token", FaultKind::InvalidClient).nth(2));
    stops_and_resumes(&simulator, &workdir, "every 28 days").await;
    let tokens = simulator.statistics().by_path["/oauth/token"];
    assert_eq!(
        tokens, 3,
        "the first, one refusal, and one when all was well again"
    );
}

#[tokio::test]
async fn dead_api_ends_the_run_when_retries_are_spent() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    simulator.inject(Fault::new("/", FaultKind::Status { status: 503 }).nth(9));
    let requests = stops_and_resumes(&simulator, &workdir, "run again later").await;
    // Twenty retries and a fifth of the requests, and as many first attempts as there are resources.
    assert!(requests <= 60, "{requests} requests to a dead API");
}

#[tokio::test]
async fn a_token_that_hardly_lives_is_renewed_in_time() {
    let simulator = api::start(Options {
        token_life: Duration::from_secs(2),
        limits: Limits {
            per_second: 10,
            per_hour: 100_000,
            ..Limits::default()
        },
        ..small()
    })
    .await;
    let workdir = Workdir::with(&simulator).await;
    let report = workdir.json(["extract"]).await;
    assert_eq!(report["state"], "complete", "{report:#}");
    let statistics = simulator.statistics();
    assert!(statistics.by_path["/oauth/token"] > 1, "{statistics:?}");
    let answers: BTreeSet<u16> = statistics.by_status.into_keys().collect();
    assert_eq!(
        answers,
        BTreeSet::from([200]),
        "none was sent with a dead token"
    );
    assert_eq!(staged(&workdir, READ).await, truth(&simulator, READ));
}

#[tokio::test]
async fn secret_that_expires_soon_is_in_every_summary() {
    const DAY: Duration = Duration::from_hours(24);
    join_all([(6 * DAY, 1), (8 * DAY, 0)].map(async |(life, output)| {
        let simulator = api::start(Options {
            secret_life: life,
            ..small()
        })
        .await;
        let workdir = Workdir::with(&simulator).await;
        for command in ["extract", "run"] {
            let summary = [command, "--select", "cursus", "--force"];
            let text = workdir.cursus(summary).await.exits(0);
            let lines = text.stderr.lines();
            let warnings =
                lines.filter(|line| line.contains(" warning: the client secret expires at"));
            assert_eq!(warnings.count(), output, "{text}");
            let report = workdir.json(summary).await;
            let warnings = report["warnings"].as_array().map_or(0, Vec::len);
            assert_eq!(warnings, output, "{report:#}");
        }
    }))
    .await;
}
