//! The stage in a bucket: what it costs in requests, whose credentials are used, and what a lost answer is taken for.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::replay_groups::{shelves, state, two_groups};
use crate::support::boxes::{self, content, delta, directory, full, stage, thing};
use crate::support::bucket::{Bucket, URL};
use crate::support::running::until;
use crate::support::{Running, Workdir};

/// Three runs that are staged and loaded, and the bucket.
async fn three_runs() -> (Workdir, Bucket) {
    let bucket = Bucket::start().await;
    let mut workdir = boxes::workdir().await;
    boxes::three_runs(&workdir);
    workdir.json(["load"]).await;
    bucket.open_to(&mut workdir);
    (workdir, bucket)
}

async fn other_machine(first: &Workdir, bucket: &Bucket) -> Workdir {
    let mut workdir = boxes::workdir().await;
    let pipeline = fs::read(first.path("pipeline.toml")).unwrap();
    workdir.write("pipeline.toml", pipeline);
    bucket.open_to(&mut workdir);
    workdir
}

/// The folder of a run in the bucket.
fn folder(workdir: &Workdir, run: &str) -> String {
    let directory = directory(workdir, run);
    let place = directory.strip_prefix(workdir.path("staging")).unwrap();
    format!("stage/{}/", place.display())
}

/// Closed runs without pages that are older than all others: in the bucket, the last of them also here, so that runs that are made
/// here come after them.
fn older_runs(workdir: &Workdir, bucket: &Bucket, runs: u32) {
    let newest = stage(workdir, &[]);
    let record = directory(workdir, &newest).join("run.json");
    let mut text: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    fs::remove_dir_all(directory(workdir, &newest)).unwrap();
    text.as_object_mut().unwrap().remove("sha256");
    let begin: jiff::Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
    for number in 1..=runs {
        // One each five minutes, as `watch` makes them.
        let at = begin + jiff::SignedDuration::from_mins(5 * i64::from(number));
        let name = at.strftime("%Y%m%dT%H%M%SZ").to_string();
        text["run_id"] = json!(name);
        text["seq"] = json!(number);
        let place = directory(workdir, &name);
        let bytes = serde_json::to_vec_pretty(&text).unwrap();
        if number == runs {
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join("run.json"), &bytes).unwrap();
        }
        bucket.insert(&format!("{}run.json", folder(workdir, &name)), bytes);
    }
}

/// What is asked for by a push and a load of one new run, with this number of older runs in the bucket.
async fn costs_what_is_new(runs: u32) {
    let bucket = Bucket::start().await;
    let mut workdir = boxes::workdir().await;
    bucket.open_to(&mut workdir);
    older_runs(&workdir, &bucket, runs);
    boxes::three_runs(&workdir);
    workdir.json(["stage", "push", URL]).await;
    workdir.json(["load"]).await;
    let newest = stage(
        &workdir,
        &[delta("things", vec![thing(1, 4.0), thing(13, 1.0)])],
    );
    bucket.asked();
    workdir.json(["stage", "push", URL]).await;
    let days = (runs / 288) as usize + 3;
    let all = runs as usize + 4;
    let at_most = |asked: &[(String, String)], lists: usize, gets: usize| {
        let count = |method: &str| asked.iter().filter(|(of, _)| of == method).count();
        assert!(count("LIST") <= lists, "{}", count("LIST"));
        assert!(count("GET") <= gets, "{}", count("GET"));
        count("PUT")
    };
    let asked = bucket.asked();
    // A run that is there costs its record alone.
    assert_eq!(
        at_most(&asked, days + 2, all + 6),
        4,
        "a page, its journal, the manifest, the record"
    );
    // A database that has loaded all but the newest: the same one, without its staging directory.
    fs::remove_dir_all(workdir.path("staging")).unwrap();
    let report = workdir.json(["load", "--from", URL]).await;
    assert_eq!(report["runs"], json!([newest]));
    at_most(&bucket.asked(), days + 6, all + 16);
}

#[tokio::test]
async fn push_and_load_cost_what_is_new() {
    costs_what_is_new(600).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn push_and_load_cost_what_is_new_of_10_000_runs() {
    costs_what_is_new(10_000).await;
}

#[tokio::test]
async fn replays_read_from_a_bucket_what_they_need() {
    let (workdir, bucket) = three_runs().await;
    workdir.json(["stage", "push", URL]).await;
    let other = other_machine(&workdir, &bucket).await;
    bucket.asked();
    other.json(["load", "--from", URL]).await;
    let asked = bucket.asked();
    let mut names: Vec<&String> = asked.iter().map(|(_, name)| name).collect();
    names.retain(|name| name.contains("manifest.json") || name.contains("pages.jsonl"));
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all, "asked twice");
    let expected = content(&workdir, "public").await;
    assert_eq!(content(&other, "public").await, expected);
    for into in ["again", "once_more"] {
        other.json(["replay", "--from", URL, "--into", into]).await;
        assert_eq!(content(&other, into).await["things"], expected["things"]);
    }
    let gc = ["stage", "gc", "--remote", URL, "--keep", "0s"];
    other.json(gc).await;
    // A run that nobody can read is an error, not no run.
    for name in bucket.names() {
        if name.ends_with("things/manifest.json") {
            bucket.insert(&name, b"{".to_vec());
        }
    }
    let third = other_machine(&workdir, &bucket).await;
    let loaded = third.cursus(["load", "--from", URL]).await;
    assert!(matches!(loaded.code, Some(1 | 4)), "{loaded}");
    assert_eq!(third.count("things").await, 0);
}

/// What is read there comes in many requests; a signal is heard during each of them, and nothing is left on this machine.
#[tokio::test]
async fn a_wait_for_manifests_in_a_bucket_ends_by_a_signal() {
    let (workdir, bucket) = three_runs().await;
    workdir.json(["stage", "push", URL]).await;
    bucket.stall("manifest.json");
    let mut other = other_machine(&workdir, &bucket).await;
    let temporary = other.path("tmp");
    fs::create_dir(&temporary).unwrap();
    other.set("TMPDIR", temporary.display().to_string());
    for command in [
        &["load"][..],
        &["replay", "--into", "past"],
        &["replay", "--rebuild"],
        &["replay", "--plan"],
        &["replay", "--group", "1"],
    ] {
        bucket.asked();
        let running = Running::start(&other, &[command, &["--from", URL]].concat());
        until("it waits for a manifest", async || {
            let mut asked = bucket.asked().into_iter();
            asked.any(|(_, name)| name.contains("manifest.json"))
        })
        .await;
        running.signal(Signal::SIGINT);
        let ran = running.end().await.exits(130).says("interrupted by SIGINT");
        assert!(!ran.stderr.contains("stopped at once"), "{ran}");
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "{command:?}");
    }
}

#[tokio::test]
async fn jobs_of_groups_read_their_own_pages_from_a_bucket() {
    let bucket = Bucket::start().await;
    let mut workdir = two_groups().await;
    bucket.open_to(&mut workdir);
    let first = [
        full("boxes", boxes::boxes(1..=3)),
        full("things", boxes::things(1..=9)),
        full("shelves", shelves(1..=3)),
    ];
    stage(&workdir, &first);
    stage(&workdir, &[delta("shelves", shelves(4..=5))]);
    workdir.cursus(["replay", "--rebuild"]).await.exits(0);
    let expected = state(&workdir).await;
    workdir.json(["stage", "push", URL]).await;
    let mut other = two_groups().await;
    bucket.open_to(&mut other);
    let replay = ["replay", "--from", URL];
    let planned = other.json([&replay[..], &["--plan"]].concat()).await;
    bucket.asked();
    let mut pages = Vec::new();
    for group in planned["groups"].as_array().unwrap() {
        let number = group["group"].to_string();
        let job = [&replay[..], &["--group", &number]].concat();
        other.cursus(job).await.exits(0);
        let resources = group["resources"].as_array().unwrap();
        for (_, name) in bucket.asked() {
            let Some((folder, _)) = name.split_once("/page-") else {
                continue;
            };
            let resource = folder.rsplit('/').next().unwrap();
            assert!(resources.contains(&json!(resource)), "{name} of {group:#}");
            pages.push(name);
        }
    }
    pages.sort();
    let mut all = bucket.names();
    all.retain(|name| name.contains("/page-"));
    assert_eq!(pages, all, "each once");
    other
        .cursus([&replay[..], &["--finish"]].concat())
        .await
        .exits(0);
    assert_eq!(state(&other).await, expected);
    other.end().await;
}

/// The process has precedence over `.env`.
#[tokio::test]
async fn variables_of_a_store_come_from_the_dotenv_file() {
    let bucket = Bucket::start().await;
    let mut workdir = boxes::workdir().await;
    boxes::three_runs(&workdir);
    let lines = bucket
        .variables()
        .map(|(name, value)| format!("{name}={value}\n"));
    workdir.write(".env", lines.concat());
    let file = workdir.path(".env");
    let private = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
    fs::set_permissions(file, private).unwrap();
    workdir.json(["stage", "push", URL]).await;
    assert_eq!(
        bucket.keys().into_iter().collect::<Vec<_>>(),
        ["canary-key-id"]
    );
    workdir.set("AWS_ACCESS_KEY_ID", "of-the-process");
    workdir.json(["stage", "push", URL]).await;
    assert!(
        bucket.keys().contains("of-the-process"),
        "{:?}",
        bucket.keys()
    );
}

/// What was written although its answer was lost is there when it is written again: that is no fault of the store.
#[tokio::test]
async fn lost_answers_are_no_conflict_and_no_overwriting() {
    let (mut workdir, bucket) = three_runs().await;
    for lost in [".cursus-probe-", "page-00001.json.gz", "run.json"] {
        bucket.lose_answer("PUT", lost);
        let pushed = workdir.cursus(["stage", "push", URL]).await;
        pushed.exits(0);
        assert!(!bucket.is_to_lose(), "{lost} was not written");
        for name in bucket.names() {
            assert!(!name.contains(".cursus-probe-"), "{name} was left");
        }
        stage(&workdir, &[delta("things", vec![thing(1, 5.0)])]);
        // The probe is made again where nothing is bound.
        if lost == ".cursus-probe-" {
            assert!(bucket.object("stage/.staging.json").is_some());
        }
    }
    let pipeline = fs::read_to_string(workdir.path("pipeline.toml")).unwrap();
    let remote = format!("[staging]\nremote = \"{URL}\"\n[prune]");
    workdir.write("pipeline.toml", pipeline.replace("[prune]", &remote));
    workdir.set("CURSUS_CLIENT_ID", "id");
    bucket.lose_answer("PUT", ".cursus-probe-");
    let doctor = workdir.json_exits(1, ["doctor"]).await;
    let checks = doctor["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == "object store");
    assert_eq!(check.unwrap()["state"], "ok", "{doctor:#}");
}
