//! `watch` is `run` again and again: one round at a time, through failures, until a signal.

use std::process::Stdio;
use std::time::Duration;

use cursus::staging::Staging;
use cursus_simulator::{Fault, FaultKind, Limits, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::support::running::until;
use crate::support::workdir::PATIENCE;
use crate::support::{SCALE, Workdir, api, oracle, simulator, small};

/// A running `watch`.
struct Watch {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    fn start(workdir: &Workdir, arguments: &[&str]) -> Self {
        let all = [&["watch", "--json", "-q", "--jitter", "0s"], arguments].concat();
        let mut command = workdir.command(all);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next round's document.
    async fn round(&mut self) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.expect("no round comes").unwrap();
        serde_json::from_str(&line.expect("it ended")).unwrap()
    }

    /// The first round from now on that this is true of.
    async fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..1000 {
            let round = self.round().await;
            if is_it(&round) {
                return round;
            }
        }
        panic!("no such round comes");
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    async fn exit(mut self) -> Option<i32> {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.expect("it does not end").unwrap().code()
    }

    /// Ends it by SIGTERM, in a round or between two.
    async fn end(self) {
        self.signal(Signal::SIGTERM);
        let code = self.exit().await;
        assert!(matches!(code, Some(0 | 143)), "{code:?}");
    }
}

fn is(state: &'static str) -> impl Fn(&Value) -> bool {
    move |round| round["state"] == state
}

async fn runs(workdir: &Workdir) -> usize {
    let runs = workdir.json(["stage", "ls"]).await;
    runs.as_array().unwrap().len()
}

#[tokio::test]
async fn every_round_is_a_run_and_one_document_a_line() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let mut watch = Watch::start(&workdir, &["--every", "1ms", "--rounds", "3"]);
    for number in 1..=3 {
        let round = watch.round().await;
        assert_eq!(round["round"], number, "{round:#}");
        assert_eq!(round["exit_code"], 0, "{round:#}");
        assert_eq!(round["state"], "complete", "{round:#}");
        let mode = if number == 1 { "full" } else { "delta" };
        assert_eq!(round["mode"], mode, "{round:#}");
        assert_eq!(round["next_at"].is_string(), number < 3, "{round:#}");
        simulator.advance(Duration::from_mins(15));
    }
    assert_eq!(watch.exit().await, Some(0));
    assert_eq!(runs(&workdir).await, 3);
    workdir.json(["run", "--full"]).await;
    oracle::assert_mirrors(&workdir, &simulator).await;
}

#[tokio::test]
async fn a_round_is_a_line_for_people() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let arguments = [
        "watch", "--every", "1ms", "--rounds", "2", "--select", "cursus",
    ];
    let ran = workdir.cursus(arguments).await.exits(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{ran}");
    assert!(lines[0].starts_with("round 1: "), "{ran}");
    let said = format!(", complete, 1 request, {} rows changed, ", SCALE.cursus);
    assert!(lines[0].contains(&said), "{ran}");
    assert!(lines[0].contains("; next at "), "{ran}");
    assert!(lines[1].contains(", 0 requests, 0 rows changed, "), "{ran}");
}

#[tokio::test]
async fn round_beside_another_command_is_skipped_once() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let lock = Staging::new(workdir.path("staging")).lock("run").unwrap();
    let mut watch = Watch::start(&workdir, &["--every", "20ms", "--select", "cursus"]);
    let round = watch.round().await;
    assert_eq!(round["state"], "skipped", "{round:#}");
    assert_eq!(round["exit_code"], 5);
    assert_eq!(simulator.statistics().hits, 0);
    drop(lock);
    watch.until(is("complete")).await;
    watch.end().await;
}

#[tokio::test]
async fn a_signal_between_rounds_ends_it_at_once_and_quietly() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut watch = Watch::start(&workdir, &["--every", "1h", "--select", "cursus"]);
        watch.round().await;
        watch.signal(signal);
        assert_eq!(watch.lines.next_line().await.unwrap(), None);
        let mut said = String::new();
        let mut stderr = watch.child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "");
        assert_eq!(watch.exit().await, Some(0));
    }
}

#[tokio::test]
async fn signal_during_a_round_keeps_pages_for_the_next_run() {
    const PER_SECOND: u32 = 20;
    let cost = {
        let simulator = simulator().await;
        let workdir = Workdir::with(&simulator).await;
        workdir.json(["extract"]).await["hits"].as_u64().unwrap()
    };
    let simulator = api::start(Options {
        limits: Limits {
            per_second: PER_SECOND,
            per_hour: 100_000,
            ..Limits::default()
        },
        latency: Duration::from_millis(100)..=Duration::from_millis(200),
        ..small()
    })
    .await;
    let workdir = Workdir::with(&simulator).await;
    let watch = Watch::start(&workdir, &["--every", "1h"]);
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while simulator.statistics().hits < cost / 2 {
        tick.tick().await;
    }
    watch.signal(Signal::SIGTERM);
    assert_eq!(watch.exit().await, Some(143));
    workdir.json(["run"]).await;
    let extra = simulator.statistics().hits - cost;
    assert!(
        extra <= u64::from(PER_SECOND),
        "{extra} requests more than an uninterrupted run"
    );
    assert_eq!(runs(&workdir).await, 1);
    oracle::assert_mirrors(&workdir, &simulator).await;
}

#[tokio::test]
async fn renewed_secret_is_used_and_broken_configuration_is_not() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.unset("CURSUS_CLIENT_SECRET");
    let secret = |secret: &str| workdir.write(".env", format!("CURSUS_CLIENT_SECRET={secret}\n"));
    secret(simulator.client_secret());
    workdir.pipeline(&[("min_age = \"20h\"", "min_age = \"0s\"")]);
    let mut watch = Watch::start(&workdir, &["--every", "20ms", "--select", "cursus"]);
    assert_eq!(watch.round().await["state"], "complete");
    workdir.write(".env", "no such line\n");
    let answer = |round: &Value| round["warnings"][0].is_string();
    let round = watch.until(answer).await;
    assert_eq!(round["state"], "complete", "{round:#}");
    let warning = round["warnings"][0].as_str().unwrap();
    assert!(warning.contains("is not used"), "{warning}");
    assert!(!warning.contains("such"), "what may be a secret is shown");
    // The secret dies, and with it the token that was kept.
    secret("expired");
    watch.until(|round| !answer(round)).await;
    simulator.revoke_tokens();
    let round = watch.until(is("failed")).await;
    assert!(
        round["errors"][0]
            .as_str()
            .unwrap()
            .contains("invalid_client"),
        "{round:#}"
    );
    assert_eq!(round["exit_code"], 1);
    secret(simulator.client_secret());
    watch.until(is("complete")).await;
    watch.end().await;
}

#[tokio::test]
async fn failed_rounds_are_reported_and_tried_again() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let target = "/oauth/token";
    simulator.inject(Fault::new(target, FaultKind::InvalidClient).times(2));
    let mut watch = Watch::start(&workdir, &["--every", "5ms", "--select", "cursus"]);
    for _ in 0..2 {
        let round = watch.round().await;
        assert_eq!(round["state"], "failed", "{round:#}");
    }
    assert_eq!(watch.round().await["state"], "complete");
    watch.end().await;
}

#[tokio::test]
async fn unneeded_runs_are_removed_after_each_load() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    every_round_in_full(&workdir);
    let arguments = ["--every", "1ms", "--rounds", "5", "--select", "cursus"];
    let mut watch = Watch::start(&workdir, &arguments);
    for number in 1..=5 {
        let removed = watch.round().await["removed_runs"].as_u64();
        assert_eq!(removed, Some(u64::from(number > 1)));
    }
    assert_eq!(watch.exit().await, Some(0));
    assert_eq!(runs(&workdir).await, 1);
}

#[tokio::test]
async fn what_no_round_could_work_with_is_refused_at_the_start() {
    let workdir = Workdir::new().await;
    let every = ["watch", "--every", "1h"];
    let ran = workdir.cursus(every).await.exits(2);
    ran.says("there are no credentials");
    for wrong in ["0s", "often", "9999y"] {
        workdir.cursus(["watch", "--every", wrong]).await.exits(2);
    }
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let ran = workdir
        .cursus([&every[..], &["--select", "curses"]].concat())
        .await;
    ran.exits(2).says("did you mean `cursus`?");
    workdir.write("pipeline.toml", "version = 2\n");
    workdir.cursus(every).await.exits(2);
}

/// Every round is a full read, and supersedes the one before.
fn every_round_in_full(workdir: &Workdir) {
    workdir.pipeline(&[
        ("keep = \"30d\"", "keep = \"0s\""),
        ("min_age = \"20h\"", "min_age = \"0s\""),
    ]);
}

#[tokio::test]
async fn old_runs_are_removed_although_idle_sessions_end() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    every_round_in_full(&workdir);
    workdir.json(["run", "--select", "cursus"]).await;
    // It reads, and whatever session it has is idle.
    let kind = FaultKind::Stall { seconds: 3600.0 };
    simulator.inject(Fault::new("/v2", kind).times(1));
    let requests = simulator.statistics().hits;
    workdir.pipeline(&[
        ("keep = \"30d\"", "keep = \"0s\""),
        ("min_age = \"20h\"", "min_age = \"0s\""),
        ("timeout = \"120s\"", "timeout = \"1s\""),
    ]);
    let arguments = ["--every", "1h", "--rounds", "1", "--select", "cursus"];
    let mut watch = Watch::start(&workdir, &arguments);
    until("it reads", async || simulator.statistics().hits > requests).await;
    let pid = watch.child.id().unwrap();
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '% pid={pid}'"
    );
    workdir.query(&end).await;
    let round = watch.round().await;
    assert_eq!(round["state"], "complete", "{round:#}");
    assert_eq!(round["removed_runs"], 1, "{round:#}");
    assert_eq!(round["warnings"], Value::Null, "{round:#}");
    assert_eq!(watch.exit().await, Some(0));
}

#[tokio::test]
async fn old_runs_are_removed_after_a_round_that_failed() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    every_round_in_full(&workdir);
    workdir.json(["run", "--select", "cursus,users"]).await;
    workdir.write("sql/users_campus.sql", "SELECT 1 / 0");
    simulator.advance(Duration::from_hours(24 * 8));
    let arguments = ["--every", "1h", "--rounds", "1", "--select", "cursus,users"];
    let mut watch = Watch::start(&workdir, &arguments);
    let round = watch.round().await;
    assert_eq!(round["exit_code"], 1, "{round:#}");
    assert_eq!(round["removed_runs"], 1, "{round:#}");
    assert_eq!(watch.exit().await, Some(1));
}
