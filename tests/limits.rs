//! The rate limits belong to the key: all programs that use it count together, and the hour is never overdrawn.

use std::process::Stdio;

use cursus_simulator::{Limits, Options, Simulator, Window};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::{OtherClient, Workdir, api, small};

async fn limited(per_second: u32, per_hour: u32) -> Simulator {
    api::start(Options {
        limits: Limits {
            per_second,
            per_hour,
            window: Window::Rolling,
            ..Limits::default()
        },
        ..small()
    })
    .await
}

/// Requests of another program on the key.
async fn used_by_others(simulator: &Simulator, requests: u32) {
    let other = OtherClient::of(simulator).await;
    for _ in 0..requests {
        other.get("/v2/cursus").await;
    }
}

#[tokio::test]
async fn two_commands_on_one_key_count_together() {
    let simulator = limited(15, 100_000).await;
    let mut one = Workdir::with(&simulator).await;
    let two = Workdir::with(&simulator).await;
    one.set("XDG_STATE_HOME", two.variable("XDG_STATE_HOME"));
    let (first, second) = tokio::join!(one.json(["extract"]), two.json(["extract"]));
    for report in [first, second] {
        assert_eq!(report["state"], "complete", "{report:#}");
    }
    // Each for itself would have half of its requests rejected. A machine with much else to do can hold one of them up
    // on its way, from one window into the next.
    let rejected = simulator.statistics().rejected_429;
    assert!(rejected <= 2, "{rejected} of 40 requests were rejected");
}

#[tokio::test]
async fn requests_of_others_are_noticed_and_the_reserve_kept() {
    const PER_HOUR: u32 = 100;
    const OTHERS: u32 = 80;
    const RESERVE: u64 = 10;
    let simulator = limited(1_000, PER_HOUR).await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[("reserve_per_hour = 100", "reserve_per_hour = 10")]);
    used_by_others(&simulator, OTHERS).await;
    let report = workdir.json_exits(6, ["extract", "--no-wait"]).await;
    let errors = report["errors"].to_string();
    assert!(
        errors.contains("API requests are used up; run the same command again after"),
        "{errors}"
    );
    // Two tokens, the others' and ours, are requests of the hour as well.
    let ours = u64::from(PER_HOUR - OTHERS) - 2 - RESERVE;
    assert_eq!(
        report["hits"], ours,
        "all that was left is used: {report:#}"
    );
    assert_eq!(simulator.statistics().rejected_429, 0);
}

#[tokio::test]
async fn wait_for_the_next_hour_is_shown_and_keeps_pages() {
    let simulator = limited(1_000, 20).await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[("reserve_per_hour = 100", "reserve_per_hour = 10")]);
    let mut waiting = workdir
        .command(["extract"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let announced = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("this hour's requests are used up, until 20") {
                return;
            }
        }
        panic!("it ended without a word of waiting");
    };
    announced.await;
    let pid = Pid::from_raw(waiting.id().unwrap().cast_signed());
    kill(pid, Signal::SIGTERM).unwrap();
    let rest = async { while let Ok(Some(_)) = lines.next_line().await {} };
    let (ended, ()) = tokio::join!(waiting.wait(), rest);
    assert_eq!(ended.unwrap().code(), Some(143));
    assert_eq!(simulator.statistics().rejected_429, 0);
    assert!(simulator.statistics().hits <= 10);
    let pages = walkdir::WalkDir::new(workdir.run_directory())
        .into_iter()
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .path()
                .to_string_lossy()
                .ends_with(".json.gz")
        })
        .count();
    assert!(pages > 0);
}
