//! A busy key is no failure: a run that is throttled waits, one whose token is revoked asks for another, and both complete.

use std::time::Duration;

use cursus_simulator::{Fault, FaultKind, Limits, Options, Simulator, Window};
use serde_json::Value;

use crate::support::running::until;
use crate::support::{OtherClient, Workdir, api, simulator, small};

const READ: &str = "coalitions_users";
const EXTRACT: [&str; 3] = ["extract", "--select", READ];

const PATIENCE: &str = "# patience = \"30m\"";

fn too_many(retry_after: Option<u64>) -> FaultKind {
    FaultKind::TooManyRequests { retry_after }
}

/// Every record of the resource is staged once.
async fn is_whole(simulator: &Simulator, workdir: &Workdir) {
    let id = |row: &Value| row["id"].as_i64().unwrap();
    let ids = |rows: Vec<Value>| {
        let mut ids: Vec<i64> = rows.iter().map(id).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(workdir.staged(READ).await), ids(simulator.rows(READ)));
}

#[tokio::test]
async fn more_429s_than_a_page_has_retries_cost_none() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    simulator.inject(Fault::new(READ, too_many(Some(1))).nth(2).times(9));
    let ran = workdir.cursus(EXTRACT).await.exits(0);
    let output = "throttled by the API (429)";
    let lines = ran.stderr.lines().filter(|line| line.contains(output));
    assert_eq!(lines.count(), 1, "one sentence, not one an answer: {ran}");
    is_whole(&simulator, &workdir).await;
    let statistics = simulator.statistics();
    assert_eq!(statistics.faults, 9);
    let pages = statistics.hits - 9;
    assert!(pages <= 7, "no page is asked for twice: {pages}");
}

#[tokio::test]
async fn a_program_that_uses_up_the_second_delays_a_run() {
    let simulator = api::start(Options {
        limits: Limits {
            per_second: 4,
            per_hour: 100_000,
            window: Window::Fixed,
            ..Limits::default()
        },
        ..small()
    })
    .await;
    let workdir = Workdir::with(&simulator).await;
    let other = OtherClient::of(&simulator).await;
    let requests = || simulator.statistics().requests;
    let greedy = async {
        // As many as the run itself sends, so that the second has not enough for both.
        loop {
            other.ask("/v2/cursus").await;
            let before = requests();
            let asks = async || requests() > before;
            until("the run asks again", asks).await;
        }
    };
    let ran = tokio::select! {
        ran = workdir.json(EXTRACT) => ran,
        () = greedy => unreachable!("it never ends"),
    };
    assert_eq!(ran["state"], "complete", "{ran:#}");
    assert_eq!(ran["rate"]["retries"], 0, "{ran:#}");
    is_whole(&simulator, &workdir).await;
}

#[tokio::test]
async fn patience_ends_with_exit_6_and_the_same_command_resumes() {
    for retry_after in [None, Some(1), Some(3_000)] {
        let simulator = simulator().await;
        let workdir = Workdir::with(&simulator).await;
        workdir.pipeline(&[(PATIENCE, "patience = \"3s\"")]);
        simulator.inject(Fault::new("/v2", too_many(retry_after)).nth(4));
        let began = std::time::Instant::now();
        let report = workdir.json_exits(6, EXTRACT).await;
        assert!(began.elapsed() >= Duration::from_secs(3));
        assert_eq!(report["state"], "stopped", "{report:#}");
        let output = report["errors"][0].as_str().unwrap();
        let says = "answered every request with 429 (too many requests) for 3 s";
        assert!(
            output.contains(says) && output.contains("same command"),
            "{output}"
        );
        let statistics = simulator.statistics();
        assert_eq!(report["hits"], statistics.hits);
        // Those that were under way, then one a pause.
        assert!(statistics.faults <= 8, "{statistics:?}");

        simulator.clear_faults();
        if retry_after == Some(3_000) {
            continue;
        }
        let before = statistics.hits;
        let report = workdir.json(EXTRACT).await;
        assert_eq!(report["state"], "complete", "{report:#}");
        is_whole(&simulator, &workdir).await;
        assert!(simulator.statistics().hits - before <= 5, "3 were staged");
    }
}

#[tokio::test]
async fn without_patience_the_first_429_ends_a_run() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[(PATIENCE, "patience = \"0s\"")]);
    simulator.inject(Fault::new(READ, too_many(Some(1))).times(1));
    workdir.json_exits(6, EXTRACT).await;
    assert_eq!(simulator.statistics().hits, 1);
    workdir.json(EXTRACT).await;
    is_whole(&simulator, &workdir).await;
}

#[tokio::test]
async fn a_throttled_question_is_answered_with_exit_6() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[(PATIENCE, "patience = \"2s\"")]);
    simulator.inject(Fault::new("/oauth/token", too_many(None)));
    let ran = workdir.cursus(["token", "show"]).await;
    ran.exits(6).says("429 (too many requests)");
    assert!(simulator.statistics().requests <= 4);
}

#[tokio::test]
async fn tokens_that_are_revoked_under_load_cost_no_page() {
    for latency in [0, 40] {
        let simulator = api::start(Options {
            latency: Duration::ZERO..=Duration::from_millis(latency),
            ..small()
        })
        .await;
        let workdir = Workdir::with(&simulator).await;
        for nth in [5, 10, 15, 20, 25, 30] {
            let fault = Fault::new("/v2", FaultKind::RevokedToken);
            simulator.inject(fault.nth(nth).times(1));
        }
        let report = workdir.json(["extract"]).await;
        assert_eq!(report["state"], "complete", "{report:#}");
        assert_eq!(report["rate"]["retries"], 0, "{report:#}");
        let tokens = report["rate"]["token_requests"].as_u64().unwrap();
        assert!((2..=7).contains(&tokens), "{tokens} tokens");
        is_whole(&simulator, &workdir).await;
    }
}

#[tokio::test]
async fn a_token_endpoint_in_trouble_delays_a_run() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    simulator.inject(Fault::new("/v2", FaultKind::RevokedToken).nth(6).times(1));
    simulator.inject(Fault::new("/oauth/token", too_many(None)).nth(2).times(2));
    let broken = FaultKind::Status { status: 503 };
    simulator.inject(Fault::new("/oauth/token", broken).nth(2).times(2));
    let report = workdir.json(["extract"]).await;
    assert_eq!(report["state"], "complete", "{report:#}");
    assert_eq!(report["rate"]["retries"], 2, "{report:#}");
    is_whole(&simulator, &workdir).await;
}

#[tokio::test]
async fn a_resource_that_refuses_good_tokens_stops_no_other() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    for resource in ["campus", "achievements"] {
        simulator.inject(Fault::new(resource, FaultKind::RefusedToken));
    }
    let report = workdir.json_exits(3, ["extract"]).await;
    let output = report["errors"].to_string();
    assert!(
        output.contains("with a token that it accepts for others"),
        "{output}"
    );
    is_whole(&simulator, &workdir).await;
    let tokens = simulator.statistics().by_path["/oauth/token"];
    assert!(tokens <= 9, "{tokens} tokens");
}
