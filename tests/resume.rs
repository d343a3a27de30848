//! A run that ended before its time goes on where it stopped, at no more hits than were under way.

use std::time::Duration;

use cursus::simulate::{Limits, Simulator};

use crate::support::{Workdir, api, oracle, simulator, small};

/// Requests for pages that the simulator has answered.
fn hits(simulator: &Simulator) -> u64 {
    simulator.statistics().hits
}

/// What an uninterrupted first run costs.
async fn cost() -> u64 {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["extract"]).await;
    hits(&simulator)
}

async fn runs(workdir: &Workdir) -> usize {
    let runs = workdir.json(["stage", "ls"]).await;
    runs.as_array().unwrap().len()
}

#[tokio::test]
async fn a_run_whose_hits_are_used_up_goes_on_where_it_stopped() {
    let cost = cost().await;
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let mut rounds = 0;
    loop {
        rounds += 1;
        let ran = workdir.cursus(["extract", "--max-hits", "9"]).await;
        if ran.code == Some(0) {
            break;
        }
        ran.exits(6);
        assert!(rounds < cost, "it does not get on");
    }
    assert!(rounds > 1);
    assert_eq!(hits(&simulator), cost);
    assert_eq!(runs(&workdir).await, 1);
    workdir.json(["load"]).await;
    oracle::assert_mirrors(&workdir, &simulator).await;
}

#[tokio::test]
async fn a_killed_run_costs_only_what_was_under_way() {
    const PER_SECOND: u32 = 20;
    let cost = cost().await;
    let simulator = api::start(cursus::simulate::Options {
        limits: Limits {
            per_second: PER_SECOND,
            per_hour: 100_000,
            ..Limits::default()
        },
        latency: Duration::from_millis(200)..=Duration::from_millis(300),
        ..small()
    })
    .await;
    let workdir = Workdir::with(&simulator).await;
    let mut child = workdir.command(["extract"]).spawn().unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while hits(&simulator) < cost / 2 {
        tick.tick().await;
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before it could be killed"
        );
    }
    child.kill().await.unwrap();
    let under_way = u64::from(PER_SECOND);
    workdir.json(["extract"]).await;
    let extra = hits(&simulator) - cost;
    assert!(
        extra <= under_way,
        "{extra} hits more than an uninterrupted run"
    );
    assert_eq!(runs(&workdir).await, 1);
    workdir.json(["load"]).await;
    oracle::assert_mirrors(&workdir, &simulator).await;
}

#[tokio::test]
async fn a_page_that_was_damaged_meanwhile_is_asked_for_again() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir
        .cursus(["extract", "--max-hits", "9"])
        .await
        .exits(6);
    let page = walkdir::WalkDir::new(workdir.run_directory())
        .into_iter()
        .map(Result::unwrap)
        .find(|entry| {
            entry.file_name() == "page-00001.json.gz"
                && !entry
                    .path()
                    .parent()
                    .unwrap()
                    .join("manifest.json")
                    .exists()
        })
        .expect("a page of an unfinished resource");
    std::fs::write(page.path(), "no longer a page").unwrap();
    workdir.json(["run"]).await;
    oracle::assert_mirrors(&workdir, &simulator).await;
}

#[tokio::test]
async fn no_resume_and_another_selection_begin_anew() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir
        .cursus(["extract", "--max-hits", "9"])
        .await
        .exits(6);
    workdir.json(["extract", "--select", "cursus"]).await;
    assert_eq!(runs(&workdir).await, 2);
    workdir
        .cursus(["extract", "--max-hits", "9"])
        .await
        .exits(6);
    workdir
        .cursus(["extract", "--max-hits", "9", "--no-resume"])
        .await
        .exits(6);
    assert_eq!(runs(&workdir).await, 4);
}
