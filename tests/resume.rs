//! An interrupted run resumes where it stopped, and repeats at most the requests that were under way.

use std::time::Duration;

use cursus_simulator::Limits;

use crate::support::files::edit;
use crate::support::{Workdir, api, oracle, page_requests, simulator, small};

/// What an uninterrupted first run costs.
async fn cost() -> u64 {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["extract"]).await;
    page_requests(&simulator)
}

async fn runs(workdir: &Workdir) -> usize {
    let runs = workdir.json(["stage", "ls"]).await;
    runs.as_array().unwrap().len()
}

#[tokio::test]
async fn run_without_requests_left_resumes_where_it_stopped() {
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
    assert_eq!(page_requests(&simulator), cost);
    assert_eq!(runs(&workdir).await, 1);
    workdir.json(["load"]).await;
    oracle::assert_mirrors(&workdir, &simulator).await;
}

#[tokio::test]
async fn a_killed_run_costs_only_what_was_under_way() {
    const PER_SECOND: u32 = 20;
    let cost = cost().await;
    let simulator = api::start(cursus_simulator::Options {
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
    while page_requests(&simulator) < cost / 2 {
        tick.tick().await;
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before it could be killed"
        );
    }
    child.kill().await.unwrap();
    let under_way = u64::from(PER_SECOND);
    workdir.json(["extract"]).await;
    let extra = page_requests(&simulator) - cost;
    assert!(
        extra <= under_way,
        "{extra} requests more than an uninterrupted run"
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
async fn no_resume_and_another_selection_start_a_new_run() {
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

#[tokio::test]
async fn run_of_another_server_is_not_resumed() {
    let cost = cost().await;
    let first = simulator().await;
    let mut workdir = Workdir::with(&first).await;
    let stopped = ["extract", "--max-hits", "9"];
    workdir.cursus(stopped).await.exits(6);
    // The same questions, of rows that are not the same.
    let second = api::start(cursus_simulator::Options { seed: 7, ..small() }).await;
    workdir.use_api(&second);
    let plan = workdir.json(["plan", "--offline"]).await;
    assert!(!plan.to_string().contains("staged by"), "{plan:#}");
    let ran = workdir.cursus(["extract"]).await.exits(0);
    ran.says(&format!("a new one begins: it asked {}", first.url()));
    assert_eq!(page_requests(&second), cost);
    assert_eq!(runs(&workdir).await, 2);
    // And not one that says nothing of it.
    let stopped = [&stopped[..], &["--full"]].concat();
    workdir.cursus(&stopped).await.exits(6);
    let path = workdir.run_directory().join("run.json");
    edit(&path, |record| {
        assert_eq!(record["server"], second.url());
        record.as_object_mut().unwrap().remove("server");
    });
    let ran = workdir.cursus(&stopped).await.exits(6);
    ran.says("it does not say which API it asked");
}

#[tokio::test]
async fn run_with_a_final_answer_to_another_read_is_not_resumed() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let read = ["--select", "users,coalitions_users"];
    let stopped = [&["extract", "--max-hits", "3"][..], &read].concat();
    workdir.cursus(&stopped).await.exits(6);
    let first = workdir.run_directory();
    assert!(first.join("users/manifest.json").exists());
    workdir.pipeline(&[("campus_ids = []", "campus_ids = [1]")]);
    let plan = workdir
        .json([&["plan", "--offline"][..], &read].concat())
        .await;
    assert!(!plan.to_string().contains("which is resumed"), "{plan:#}");
    let ran = workdir.cursus([&["extract"][..], &read].concat()).await;
    ran.exits(0)
        .says("a new one begins: it asked for users in another way");
    let users = workdir.run_directory().join("users/pages.jsonl");
    let asked = std::fs::read_to_string(users).unwrap();
    assert!(asked.contains("primary_campus_id"), "{asked}");
    assert_eq!(runs(&workdir).await, 2);
}
