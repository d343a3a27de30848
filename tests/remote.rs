//! The stage in an object store: what is pushed comes back row by row, a kill leaves a run there or not, and nothing is overwritten but
//! what an erasure has rewritten. Here the store is a directory; `stores` does the same against servers.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cursus::failpoint::Point;
use cursus::staging::Staging;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::boxes::{self, content, directory, full, loads, stage, things};
use crate::support::files::{files, sha256};
use crate::support::running::until;
use crate::support::state::{self, Lines, assert_same};
use crate::support::{Running, Workdir, simulator};

/// Where the store is, below the directory of a test.
pub(crate) const STORE: &str = "store";

/// A place, and at which of the times that it is reached.
type At = (Point, u32);

/// Every step of a push, of one after an erasure, of a pull, and of a removal.
pub(crate) const PUSH: [At; 6] = [
    (Point::RemotePut, 1),
    (Point::RemotePut, 2),
    (Point::RemotePut, 5),
    (Point::RemotePublish, 1),
    (Point::RemotePublish, 2),
    (Point::RemotePublished, 1),
];
pub(crate) const PUSH_ERASED: [At; 3] = [
    (Point::RemoteReplace, 1),
    (Point::RemoteReplace, 2),
    (Point::RemoteReplace, 4),
];
pub(crate) const PULL: [At; 9] = [
    (Point::ReceivedWrite, 1),
    (Point::ReceivedSync, 3),
    (Point::ReceivedRename, 4),
    (Point::ReceivedNamed, 5),
    (Point::ReceivedDone, 6),
    (Point::ReceivedDone, 9),
    (Point::TakeOver, 1),
    (Point::TakenOver, 1),
    (Point::TakeOver, 2),
];
pub(crate) const REMOVE: [At; 3] = [
    (Point::RemoteRemove, 1),
    (Point::RemoteUnpublished, 1),
    (Point::RemoteRemove, 3),
];

fn make_store(workdir: &Workdir) -> PathBuf {
    let store = workdir.path(STORE);
    fs::create_dir_all(&store).unwrap();
    store
}

/// The files of a store, by name, with their hashes.
fn objects(store: &Path) -> BTreeMap<String, String> {
    let name = |path: &PathBuf| path.strip_prefix(store).unwrap().display().to_string();
    (files(store).iter())
        .map(|path| (name(path), sha256(&fs::read(path).unwrap())))
        .collect()
}

/// The files of a store that are the same ones as before: not written again, not even with the same bytes.
fn inodes(store: &Path) -> BTreeMap<PathBuf, (u64, i64)> {
    let inode = |path: &PathBuf| {
        let there = path.metadata().unwrap();
        (there.ino(), there.mtime_nsec())
    };
    (files(store).into_iter())
        .map(|path| (path.clone(), inode(&path)))
        .collect()
}

/// The rows of the mirror.
async fn tables(workdir: &Workdir) -> Lines {
    let mut lines = state::of_database(workdir).await;
    lines.retain(|name, _| name.starts_with("public."));
    lines
}

/// Another machine, with the same pipeline and an empty database, that sees the store of the first.
async fn other_machine(first: &Workdir) -> Workdir {
    let workdir = Workdir::new().await;
    for file in [
        "pipeline.toml",
        "sql/count.sql",
        "migrations/mirror/V1000__things.sql",
    ] {
        if let Ok(text) = fs::read(first.path(file)) {
            workdir.write(file, text);
        }
    }
    std::os::unix::fs::symlink(first.path(STORE), workdir.path(STORE)).unwrap();
    workdir
}

/// Three runs that are staged and loaded, and a store.
pub(crate) async fn three_runs() -> (Workdir, [String; 3]) {
    let workdir = boxes::workdir().await;
    let ids = boxes::three_runs(&workdir);
    workdir.json(["load"]).await;
    make_store(&workdir);
    (workdir, ids)
}

fn names(report: &Value, key: &str) -> Vec<String> {
    let list = report[key].as_array().unwrap().iter();
    list.map(|id| id.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn lost_mirror_comes_back_from_a_store_row_by_row() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    make_store(&workdir);
    workdir.json(["run"]).await;
    simulator.advance(Duration::from_hours(30));
    workdir.json(["run"]).await;
    let pushed = workdir.json(["stage", "push", STORE]).await;
    assert_eq!(pushed["runs"].as_array().unwrap().len(), 2, "{pushed:#}");
    let before = inodes(&workdir.path(STORE));
    let again = workdir.json(["stage", "push", STORE]).await;
    assert_eq!((&again["objects"], &again["there"]), (&0.into(), &2.into()));
    assert_eq!(inodes(&workdir.path(STORE)), before, "written again");
    for path in before.keys() {
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{mode:o} {}", path.display());
    }
    let rows = tables(&workdir).await;

    let other = other_machine(&workdir).await;
    other.json(["load", "--from", STORE]).await;
    assert_same(&tables(&other).await, &rows, "loaded from the store");
    assert!(
        files(&other.path("staging")).is_empty(),
        "pages were copied"
    );
    let url = format!("file://{}", workdir.path(STORE).display());
    other
        .json(["replay", "--from", &url, "--into", "again"])
        .await;
    let count = "SELECT count(*) FROM again.users";
    let users = workdir.count("users").await;
    assert_eq!(usize::try_from(other.number(count).await).unwrap(), users);

    let third = other_machine(&workdir).await;
    let pulled = third.json(["stage", "pull", STORE]).await;
    assert_eq!(pulled["runs"].as_array().unwrap().len(), 2, "{pulled:#}");
    let staged = |workdir: &Workdir| state::of_staging(&workdir.path("staging"));
    assert_same(&staged(&third), &staged(&workdir), "pulled");
    third.cursus(["stage", "verify", "latest"]).await.exits(0);
    third.json(["load"]).await;
    assert_same(&tables(&third).await, &rows, "pulled and loaded");
}

#[tokio::test]
async fn approvals_come_with_their_runs() {
    let (workdir, _) = three_runs().await;
    workdir.json(["stage", "push", STORE]).await;
    let held = stage(&workdir, &[full("things", things(9..=12))]);
    workdir.cursus(["load"]).await.exits(4);
    workdir.json(["stage", "push", STORE]).await;
    // After the push: the run is there already.
    workdir.json(["prune", "approve", &held]).await;
    workdir.json(["stage", "push", STORE]).await;
    let other = other_machine(&workdir).await;
    other.json(["load", "--from", STORE]).await;
    assert_eq!(
        content(&other, "public").await,
        content(&workdir, "public").await
    );
    let other = other_machine(&workdir).await;
    other.json(["stage", "pull", STORE]).await;
    other.json(["load"]).await;
    assert_eq!(
        content(&other, "public").await,
        content(&workdir, "public").await
    );
    assert_eq!(
        loads(&other, "public").await,
        loads(&workdir, "public").await
    );
}

/// Runs a command that kills itself there.
async fn killed(workdir: &mut Workdir, command: &[&str], (point, nth): At) {
    workdir.set("CURSUS_FAILPOINT", format!("{}:{nth}=kill", point.name()));
    let ran = workdir.cursus(command).await;
    workdir.unset("CURSUS_FAILPOINT");
    assert_eq!(
        ran.code,
        None,
        "{}:{nth} is not reached: {ran}",
        point.name()
    );
}

#[tokio::test]
async fn push_killed_anywhere_is_completed_by_the_next() {
    let (mut workdir, _) = three_runs().await;
    workdir.json(["stage", "push", STORE]).await;
    let expected = objects(&workdir.path(STORE));
    for at in PUSH {
        fs::remove_dir_all(workdir.path(STORE)).unwrap();
        make_store(&workdir);
        killed(&mut workdir, &["stage", "push", STORE], at).await;
        // What is published so far is complete.
        let other = other_machine(&workdir).await;
        let pulled = other.cursus(["stage", "pull", STORE]).await;
        assert!(matches!(pulled.code, Some(0 | 2)), "{at:?}: {pulled}");
        if pulled.code == Some(0) {
            other.cursus(["load"]).await.exits(0);
        }
        other.end().await;
        workdir.json(["stage", "push", STORE]).await;
        assert_eq!(objects(&workdir.path(STORE)), expected, "{at:?}");
    }
}

#[tokio::test]
async fn pull_killed_anywhere_is_completed_by_the_next() {
    let (workdir, _) = three_runs().await;
    workdir.json(["stage", "push", STORE]).await;
    let staged = |workdir: &Workdir| state::of_staging(&workdir.path("staging"));
    for at in PULL {
        let mut other = other_machine(&workdir).await;
        killed(&mut other, &["stage", "pull", STORE], at).await;
        // A run is here completely or not at all.
        for run in other.json(["stage", "ls"]).await.as_array().unwrap() {
            let run = run["run_id"].as_str().unwrap();
            other.cursus(["stage", "verify", run]).await;
            other.cursus(["load", run]).await.exits(0);
        }
        other.json(["stage", "pull", STORE]).await;
        assert_same(&staged(&other), &staged(&workdir), &format!("{at:?}"));
        let left = state::left_over(&other.path("staging"));
        assert!(left.is_empty(), "{at:?}: {left:?}");
        other.end().await;
    }
}

#[tokio::test]
async fn removal_killed_anywhere_is_completed_by_the_next() {
    let (mut workdir, [_, second, third]) = three_runs().await;
    let fourth = stage(
        &workdir,
        &[
            full("boxes", boxes::boxes(1..=3)),
            full("things", things(1..=12)),
            full("notes", Vec::new()),
        ],
    );
    workdir.json(["load"]).await;
    let remove = ["stage", "gc", "--remote", STORE, "--keep", "0s"];
    for at in REMOVE {
        fs::remove_dir_all(workdir.path(STORE)).unwrap();
        make_store(&workdir);
        workdir.json(["stage", "push", STORE]).await;
        let dry = workdir.json([&remove[..], &["--dry-run"]].concat()).await;
        assert_eq!(dry["removed"].as_array().unwrap().len(), 3, "{dry:#}");
        killed(&mut workdir, &remove, at).await;
        workdir.json(remove).await;
        let there: Vec<String> = objects(&workdir.path(STORE)).into_keys().collect();
        let of = |run: &str| format!("T{}", run.split_once('T').unwrap().1);
        for removed in [&second, &third] {
            let lasts = there.iter().any(|path| path.contains(&of(removed)));
            assert!(!lasts, "{at:?}: {there:?}");
        }
        assert!(
            there.iter().any(|path| path.contains(&of(&fourth))),
            "{there:?}"
        );
        // What is here is not pushed again; what is there makes the same mirror.
        let again = workdir.json(["stage", "push", STORE]).await;
        assert_eq!(again["runs"], Value::Array(Vec::new()), "{again:#}");
        let other = other_machine(&workdir).await;
        other.json(["load", "--from", STORE]).await;
        assert_same(
            &tables(&other).await,
            &tables(&workdir).await,
            "what is left",
        );
        other.end().await;
    }
}

#[tokio::test]
async fn run_with_other_content_is_refused_both_ways() {
    let (workdir, [first, _, last]) = three_runs().await;
    workdir.json(["stage", "push", STORE]).await;
    let place = |run: &str| {
        let place = directory(&workdir, run);
        let place = place.strip_prefix(workdir.path("staging")).unwrap();
        workdir.path(STORE).join(place)
    };
    let record = place(&first).join("run.json");
    let right = fs::read(&record).unwrap();
    let ours = sha256(&right);
    let other = [&right[..], b"\n"].concat();
    let theirs = sha256(&other);
    fs::write(&record, &other).unwrap();
    let before = objects(&workdir.path(STORE));
    for command in [["stage", "push", STORE], ["stage", "pull", STORE]] {
        let refused = workdir.cursus(command).await.exits(4).says("run.json");
        refused.says(&ours).says(&theirs);
    }
    assert_eq!(objects(&workdir.path(STORE)), before);
    fs::write(&record, right).unwrap();
    // A page of a run that is not published yet.
    fs::remove_file(place(&last).join("run.json")).unwrap();
    let page = place(&last).join("things/page-00001.json.gz");
    fs::write(&page, b"other").unwrap();
    let refused = workdir.cursus(["stage", "push", STORE]).await.exits(4);
    refused.says("page-00001.json.gz").says(&sha256(b"other"));
}

#[tokio::test]
async fn store_of_another_staging_directory_is_refused() {
    let (workdir, _) = three_runs().await;
    workdir.json(["stage", "push", STORE]).await;
    let (other, _) = three_runs().await;
    fs::remove_dir(other.path(STORE)).unwrap();
    std::os::unix::fs::symlink(workdir.path(STORE), other.path(STORE)).unwrap();
    // The lock file names who had the lock last.
    let objects = |folder: &Path| {
        let mut objects = objects(folder);
        objects.remove(".lock");
        objects
    };
    let before = (
        objects(&workdir.path(STORE)),
        objects(&other.path("staging")),
    );
    for command in [["stage", "push", STORE], ["stage", "pull", STORE]] {
        let refused = other.cursus(command).await.exits(4);
        refused.says("another staging directory");
    }
    let mut after = (
        objects(&workdir.path(STORE)),
        objects(&other.path("staging")),
    );
    after.1.retain(|name, _| before.1.contains_key(name));
    assert_eq!(after, before);
}

/// Two machines have added to the same runs: each has a run of the same number.
#[tokio::test]
async fn runs_of_the_same_number_are_refused_both_ways() {
    let (workdir, _) = three_runs().await;
    workdir.json(["stage", "push", STORE]).await;
    let other = other_machine(&workdir).await;
    other.json(["stage", "pull", STORE]).await;
    let theirs = stage(&other, &[full("boxes", boxes::boxes(1..=3))]);
    let mut ours = theirs.clone();
    while ours == theirs {
        // Made in the same second it would have the same name, and be refused for its content.
        ours = stage(&workdir, &[full("boxes", boxes::boxes(1..=2))]);
        if ours == theirs {
            fs::remove_dir_all(directory(&workdir, &ours)).unwrap();
        }
    }
    workdir.json(["stage", "push", STORE]).await;
    let before = objects(&workdir.path(STORE));
    for command in [["stage", "push", STORE], ["stage", "pull", STORE]] {
        other
            .cursus(command)
            .await
            .exits(4)
            .says("has the number 4");
    }
    assert_eq!(objects(&workdir.path(STORE)), before);
}

#[tokio::test]
async fn damaged_object_is_refused_and_nothing_is_taken() {
    let (workdir, [first, ..]) = three_runs().await;
    workdir.json(["stage", "push", STORE]).await;
    let place = directory(&workdir, &first);
    let place = place.strip_prefix(workdir.path("staging")).unwrap();
    for file in [
        "run.json",
        "things/manifest.json",
        "things/pages.jsonl",
        "things/page-00001.json.gz",
    ] {
        let path = workdir.path(STORE).join(place).join(file);
        let whole = fs::read(&path).unwrap();
        for damage in [Some(&whole[..whole.len() / 2]), None] {
            match damage {
                Some(half) => fs::write(&path, half).unwrap(),
                // Without its record it is a run that is not published.
                None if file == "run.json" => continue,
                None => fs::remove_file(&path).unwrap(),
            }
            let other = other_machine(&workdir).await;
            let pulled = other.cursus(["stage", "pull", STORE]).await;
            assert!(matches!(pulled.code, Some(1 | 4)), "{file}: {pulled}");
            assert_eq!(other.json(["stage", "ls"]).await, Value::Array(Vec::new()));
            let loaded = other.cursus(["load", "--from", STORE]).await;
            assert!(matches!(loaded.code, Some(1 | 4)), "{file}: {loaded}");
            other.end().await;
        }
        fs::write(&path, &whole).unwrap();
    }
}

#[tokio::test]
async fn half_pushed_run_is_named_and_not_taken() {
    let (mut workdir, [first, ..]) = three_runs().await;
    killed(
        &mut workdir,
        &["stage", "push", STORE],
        (Point::RemotePublish, 2),
    )
    .await;
    let other = other_machine(&workdir).await;
    let pulled = other.json(["stage", "pull", STORE]).await;
    assert_eq!(names(&pulled, "runs"), [first]);
    assert_eq!(names(&pulled, "unpublished").len(), 1, "{pulled:#}");
}

#[tokio::test]
async fn what_forget_rewrote_is_replaced_and_nothing_else() {
    let mut workdir = crate::erasure::mirror().await;
    make_store(&workdir);
    workdir.json(["stage", "push", STORE]).await;
    let old = other_machine(&workdir).await;
    old.json(["stage", "pull", STORE]).await;
    let (before, same) = (objects(&workdir.path(STORE)), inodes(&workdir.path(STORE)));
    workdir.json(["forget", "2"]).await;
    for at in PUSH_ERASED {
        killed(&mut workdir, &["stage", "push", STORE], at).await;
    }
    let pushed = workdir.json(["stage", "push", STORE]).await;
    assert_ne!(pushed["rewritten_pages"], 0, "{pushed:#}");
    crate::erasure::is_erased(&workdir, "pushed").await;
    let staged = objects(&workdir.path("staging"));
    for (name, hash) in objects(&workdir.path(STORE)) {
        if before.get(&name) == Some(&hash) {
            let path = workdir.path(STORE).join(&name);
            let there = path.metadata().unwrap();
            assert_eq!(same[&path], (there.ino(), there.mtime_nsec()), "{name}");
        } else {
            assert_eq!(staged.get(&name), Some(&hash), "{name}");
        }
    }
    let again = workdir.json(["stage", "push", STORE]).await;
    assert_eq!(
        (&again["objects"], &again["rewritten_pages"]),
        (&0.into(), &0.into())
    );
    // A machine that has the runs as they were.
    let pulled = old.json(["stage", "pull", STORE]).await;
    assert_ne!(pulled["rewritten_pages"], 0, "{pulled:#}");
    crate::erasure::is_erased(&old, "pulled").await;
    let verified = old.cursus(["stage", "verify", "latest"]).await;
    assert!(!verified.stdout.contains("damaged"), "{verified}");
    // One that restores the store's ledger from before cannot bring anybody back.
    fs::remove_file(old.path("staging/erasures.jsonl")).unwrap();
    old.cursus(["stage", "push", STORE])
        .await
        .exits(4)
        .says("erasure ledger");
}

/// A push that has stopped where it is about to write for the nth time.
async fn stopped_push(workdir: &mut Workdir, nth: u32) -> Running {
    let stop = format!("{}:{nth}=stop", Point::RemotePut.name());
    workdir.set("CURSUS_FAILPOINT", stop);
    let push = Running::start(workdir, &["stage", "push", STORE]);
    workdir.unset("CURSUS_FAILPOINT");
    until("it has stopped", async || push.is_stopped()).await;
    push
}

#[tokio::test]
async fn one_process_of_a_machine_writes_to_a_store() {
    let (mut workdir, _) = three_runs().await;
    let first = stopped_push(&mut workdir, 3).await;
    let remove = ["stage", "gc", "--remote", STORE, "--keep", "0s"];
    for second in [&["stage", "push", STORE][..], &remove] {
        let refused = workdir.cursus(second).await.exits(5);
        let holder = format!("pid {}, `cursus stage push`", first.pid());
        refused.says(&holder).says("--wait-lock");
    }
    // Runs may be written meanwhile.
    drop(Staging::new(workdir.path("staging")).lock("test").unwrap());
    let waits = ["stage", "push", STORE, "--wait-lock", "2m"];
    let mut waits = Running::start(&workdir, &waits);
    waits.until_it_says("waiting for").await;
    first.signal(Signal::SIGCONT);
    first.end().await.exits(0);
    let waited = waits.end().await.exits(0);
    assert!(waited.stdout.contains("3 runs there already"), "{waited}");
}

/// What another machine does there meanwhile is not undone.
#[tokio::test]
async fn run_that_was_disturbed_is_not_published() {
    let (mut workdir, [first, ..]) = three_runs().await;
    let place = directory(&workdir, &first);
    let place = place.strip_prefix(workdir.path("staging")).unwrap();
    let place = workdir.path(STORE).join(place);
    let push = stopped_push(&mut workdir, 5).await;
    let boxes = place.join("boxes/page-00001.json.gz");
    fs::remove_file(&boxes).unwrap();
    push.signal(Signal::SIGCONT);
    let refused = push.end().await.exits(4).says("was removed");
    assert!(refused.stderr.contains("was not published"), "{refused}");
    assert!(!place.join("run.json").exists());
    workdir.json(["stage", "push", STORE]).await;
    assert!(boxes.exists() && place.join("run.json").exists());

    fs::remove_dir_all(workdir.path(STORE)).unwrap();
    make_store(&workdir);
    let push = stopped_push(&mut workdir, 5).await;
    fs::write(workdir.path(STORE).join("erasures.jsonl"), "{}\n").unwrap();
    push.signal(Signal::SIGCONT);
    push.end().await.exits(4).says("people were erased there");
    assert!(!place.join("run.json").exists());
}

/// A push reads pages while `forget` rewrites them: it ends as it may, and the next one leaves nobody there.
#[tokio::test]
async fn push_during_an_erasure_brings_nobody_back() {
    for nth in [2, 9] {
        let mut workdir = crate::erasure::mirror().await;
        make_store(&workdir);
        let push = stopped_push(&mut workdir, nth).await;
        workdir.json(["forget", "2"]).await;
        push.signal(Signal::SIGCONT);
        let ended = push.end().await;
        assert!(matches!(ended.code, Some(0 | 1)), "{ended}");
        workdir.json(["stage", "push", STORE]).await;
        crate::erasure::is_erased(&workdir, &format!("pushed from {nth} on")).await;
        workdir.end().await;
    }
}

/// From the store, to a machine that has the runs as they were, to one that has nothing, and to one that loads from the store.
#[tokio::test]
async fn what_forget_dropped_is_dropped_wherever_it_goes() {
    use crate::erasure_drop::{campus, is_dropped};
    let workdir = campus().await;
    make_store(&workdir);
    workdir.json(["stage", "push", STORE]).await;
    let old = other_machine(&workdir).await;
    old.json(["stage", "pull", STORE]).await;
    old.cursus(["load"]).await.exits(4);
    workdir.json(["forget", "2", "--drop"]).await;
    let pushed = workdir.json(["stage", "push", STORE]).await;
    assert_ne!(pushed["rewritten_pages"], 0, "{pushed:#}");
    is_dropped(&workdir, "pushed").await;
    let pulled = old.json(["stage", "pull", STORE]).await;
    assert_ne!(pulled["rewritten_pages"], 0, "{pulled:#}");
    old.cursus(["load"]).await.exits(0);
    is_dropped(&old, "pulled by one that had them").await;
    let new = other_machine(&workdir).await;
    new.json(["stage", "pull", STORE]).await;
    new.cursus(["load"]).await.exits(0);
    is_dropped(&new, "pulled").await;
    let reader = other_machine(&workdir).await;
    reader.cursus(["load", "--from", STORE]).await.exits(0);
    crate::erasure::is_erased(&reader, "loaded from the store").await;
    for machine in [&old, &new, &reader] {
        let rows = "SELECT to_jsonb(u) - 'ingested_at' FROM users AS u ORDER BY id";
        assert_eq!(machine.column(rows).await, workdir.column(rows).await);
    }
}

#[tokio::test]
async fn unfinished_run_waits_for_the_next_one() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    make_store(&workdir);
    workdir
        .cursus(["extract", "--max-hits", "3"])
        .await
        .exits(6);
    let pushed = workdir.json(["stage", "push", STORE]).await;
    assert_eq!(pushed["runs"], Value::Array(Vec::new()));
    assert!(pushed["unfinished"].is_string(), "{pushed:#}");
    workdir.json(["extract"]).await;
    let pushed = workdir.json(["stage", "push", STORE]).await;
    assert_eq!(pushed["runs"].as_array().unwrap().len(), 1, "{pushed:#}");
}

#[tokio::test]
async fn wrong_address_of_a_store_is_a_sentence() {
    let (workdir, _) = three_runs().await;
    for (url, says) in [
        ("s3://", "names no bucket"),
        ("ftp://host/path", "no such kind"),
        ("absent", "make it first"),
        ("s3://bucket/a?X-Amz-Signature=canary", "not repeated"),
    ] {
        let ran = workdir
            .cursus(["stage", "push", url])
            .await
            .exits(2)
            .says(says);
        assert!(!ran.stderr.contains("canary"), "{ran}");
    }
    workdir
        .cursus(["stage", "push"])
        .await
        .exits(2)
        .says("s3://BUCKET/PATH");
    workdir
        .cursus(["load", "--from", STORE])
        .await
        .exits(2)
        .says("there is no run");
}

/// Rows of Parquet files: by column, as JSON.
fn rows_of(folder: &Path) -> Vec<serde_json::Map<String, Value>> {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    let mut rows = Vec::new();
    for path in files(folder) {
        if path.extension().is_none_or(|end| end != "parquet") {
            continue;
        }
        let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
        for row in reader.get_row_iter(None).unwrap() {
            let row = row.unwrap();
            let values = row.get_column_iter();
            rows.push(
                values
                    .map(|(name, field)| (name.clone(), value_of(field)))
                    .collect(),
            );
        }
    }
    rows
}

fn value_of(field: &parquet::record::Field) -> Value {
    use parquet::record::Field;
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => (*value).into(),
        Field::Short(value) => (*value).into(),
        Field::Int(value) => (*value).into(),
        Field::Long(value) => (*value).into(),
        Field::Str(value) => value.clone().into(),
        other => other.to_string().into(),
    }
}

/// Typed as the mirror's columns are, beside the record as it was staged; what is the same is not written again.
#[tokio::test]
async fn parquet_has_every_staged_record_once() {
    let workdir = crate::erasure::mirror().await;
    let store = make_store(&workdir);
    let export = ["stage", "export", "--format", "parquet", STORE];
    let exported = workdir.json(export).await;
    assert_eq!(exported["runs"], 3, "{exported:#}");
    assert_eq!(exported["export"], 1);
    let users = rows_of(&store.join("resource=users"));
    assert_eq!(users.len(), 4, "three, and one again");
    let person = users.iter().find(|user| user["login"] == "ann").unwrap();
    let record: Value = serde_json::from_str(person["_record"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&record["login"], &person["wallet"]),
        (&"ann".into(), &5.into())
    );
    assert_eq!(person["alumni"], false);
    assert!(person["_file"].as_str().unwrap().starts_with("users/page-"));
    // What the mirror rejects is null, and in the record as it is.
    let odd = users.iter().filter(|user| user["wallet"].is_null());
    let odd: Vec<&Value> = odd.map(|user| &user["_record"]).collect();
    assert!(
        odd.len() == 1 && odd[0].as_str().unwrap().contains("has none"),
        "{odd:?}"
    );
    let before = inodes(&store);
    let again = workdir.json(export).await;
    assert_eq!((&again["runs"], &again["there"]), (&0.into(), &3.into()));
    assert_eq!(inodes(&store), before, "written again");
    let forgotten = workdir.json(["forget", "2"]).await;
    // One copy, however often it was brought up to date; what would erase them from it is said.
    let exports = forgotten["exports"].as_array().unwrap();
    assert_eq!(exports.len(), 1, "{forgotten:#}");
    let what = exports[0]["what"].as_str().unwrap();
    let url = format!("file://{}", store.display());
    assert!(
        what.contains(&format!("`cursus stage export {url}`")),
        "{what}"
    );
    let erased = workdir.json(export).await;
    assert_ne!(erased["runs"], 0);
    for user in rows_of(&store) {
        let text = Value::Object(user).to_string();
        assert!(!text.contains("cAnArY"), "{text}");
    }
    // A record that was removed is none.
    workdir.json(["forget", "2", "--drop"]).await;
    workdir.json(export).await;
    assert_eq!(rows_of(&store.join("resource=users")).len(), 2);
    for row in rows_of(&store) {
        let record = row["_record"].as_str().unwrap();
        assert!(!record.contains("cursus:dropped"), "{record}");
    }
    // A run that is not staged any more is not exported any more.
    let latest = workdir.json(["stage", "ls"]).await;
    let first = latest[0]["run_id"].as_str().unwrap().to_owned();
    fs::remove_dir_all(directory(&workdir, &first)).unwrap();
    assert_eq!(workdir.json(export).await["removed"], 1);
    let left = rows_of(&store);
    assert!(!left.is_empty() && left.iter().all(|row| row["_run"] != first.as_str()));
}
