//! Killed at any durable step, and run again: as if nothing had happened, for at most the requests under way.
//!
//! One step a phase is in `make test`, all of them in `make test-matrix`. `CURSUS_SEED` draws other pairs of kills.

use std::collections::BTreeSet;

use cursus::failpoint::Point;
use cursus_simulator::Simulator;
use nix::sys::signal::Signal;

use crate::support::boxes::{self, boxes, full, thing, things};
use crate::support::running::until;
use crate::support::state::{self, Lines, assert_same};
use crate::support::{Ran, Running, Template, Workdir, figures, simulator};

/// Requests under way at most, in these tests.
const IN_FLIGHT: u64 = 4;

/// A place, and at which of the times that it is reached.
type At = (Point, u32);

/// A first extract: everything that it writes.
const EXTRACT: [At; 43] = [
    (Point::LockTaken, 1),
    (Point::IdentityWrite, 1),
    (Point::IdentitySync, 1),
    (Point::IdentityRename, 1),
    (Point::IdentityNamed, 1),
    (Point::IdentityDone, 1),
    (Point::RunMake, 1),
    (Point::RunMade, 1),
    (Point::RunWrite, 1),
    (Point::RunSync, 1),
    (Point::RunRename, 1),
    (Point::RunNamed, 1),
    (Point::RunDone, 1),
    (Point::TokenWrite, 1),
    (Point::TokenRename, 1),
    (Point::TokenDone, 1),
    (Point::LedgerWrite, 3),
    (Point::LedgerTorn, 4),
    (Point::LedgerDone, 5),
    (Point::ResourceMake, 3),
    (Point::ResourceMade, 5),
    (Point::PageWrite, 1),
    (Point::PageSync, 4),
    (Point::PageRename, 7),
    (Point::PageNamed, 10),
    (Point::PageDone, 13),
    (Point::LineAppend, 1),
    (Point::LineTorn, 5),
    (Point::LineSync, 9),
    (Point::LineDone, 14),
    (Point::ManifestWrite, 1),
    (Point::ManifestSync, 3),
    (Point::ManifestRename, 5),
    (Point::ManifestNamed, 7),
    (Point::ManifestDone, 9),
    (Point::ManifestDone, 11),
    (Point::RunWrite, 2),
    (Point::RunSync, 2),
    (Point::RunRename, 2),
    (Point::RunNamed, 2),
    (Point::RunDone, 2),
    (Point::PageSync, 18),
    (Point::LineTorn, 18),
];

/// One step of each thing that an extract writes.
const EXTRACT_SAMPLE: [At; 6] = [
    (Point::RunMade, 1),
    (Point::LedgerTorn, 4),
    (Point::PageNamed, 10),
    (Point::LineTorn, 5),
    (Point::ManifestRename, 5),
    (Point::RunNamed, 2),
];

/// An extract that finds half a line in a journal.
const MENDED: [At; 5] = [
    (Point::JournalWrite, 1),
    (Point::JournalSync, 1),
    (Point::JournalRename, 1),
    (Point::JournalNamed, 1),
    (Point::JournalDone, 1),
];

/// A first load, from nothing.
const FIRST_LOAD: [At; 7] = [
    (Point::MigrateSchema, 1),
    (Point::MigrateSet, 1),
    (Point::MigrateSet, 3),
    (Point::MigrateDone, 1),
    (Point::LoadBulk, 1),
    (Point::LoadCopy, 1),
    (Point::LoadCommitted, 1),
];

/// A load that changes, adds, deletes, holds back, and finds parents of what waits.
const LOAD: [At; 20] = [
    (Point::RunsListed, 1),
    (Point::LoadBegin, 1),
    (Point::LoadCompare, 1),
    (Point::LoadCopy, 1),
    (Point::LoadCopy, 2),
    (Point::LoadCopy, 4),
    (Point::LoadCopied, 1),
    (Point::LoadCopied, 3),
    (Point::LoadMerge, 1),
    (Point::LoadMerge, 2),
    (Point::LoadMerge, 4),
    (Point::LoadRetryOrphans, 1),
    (Point::LoadPrune, 1),
    (Point::LoadPruneOutOfScope, 1),
    (Point::LoadApprove, 1),
    (Point::LoadDerive, 1),
    (Point::LoadRecord, 1),
    (Point::LoadRecord, 3),
    (Point::LoadCommit, 1),
    (Point::LoadCommitted, 1),
];

/// A statement runs again that has failed.
const DERIVE: [At; 2] = [(Point::DeriveCommit, 1), (Point::DeriveCommitted, 1)];

const APPROVE: [At; 7] = [
    (Point::ApprovalsWrite, 1),
    (Point::ApprovalsSync, 1),
    (Point::ApprovalsRename, 1),
    (Point::ApprovalsNamed, 1),
    (Point::ApprovalsDone, 1),
    (Point::ApproveCommit, 1),
    (Point::ApproveCommitted, 1),
];
const RETRY: [At; 2] = [(Point::RetryCommit, 1), (Point::RetryCommitted, 1)];
const DROP: [At; 2] = [(Point::DropEntries, 1), (Point::DropDone, 1)];
const GC: [At; 3] = [
    (Point::GcRename, 1),
    (Point::GcRenamed, 1),
    (Point::GcRemoved, 1),
];
const REPLAY: [At; 6] = [
    (Point::ReplayMake, 1),
    (Point::ReplayMade, 1),
    (Point::MigrateSet, 1),
    (Point::LoadCopied, 4),
    (Point::LoadCommit, 1),
    (Point::LoadCommitted, 1),
];
const REBUILD: [At; 10] = [
    (Point::ReplayMake, 1),
    (Point::ReplayMade, 1),
    (Point::LoadMerge, 2),
    (Point::LoadCommitted, 1),
    (Point::LoadCommit, 2),
    (Point::RebuildMerge, 1),
    (Point::RebuildRecord, 1),
    (Point::RebuildCommit, 1),
    (Point::RebuildCommitted, 1),
    (Point::RebuildDropped, 1),
];
const MIGRATE: [At; 3] = [
    (Point::MigrateSchema, 1),
    (Point::MigrateSet, 2),
    (Point::MigrateDone, 1),
];

/// The places of the matrix.
fn all_places() -> BTreeSet<At> {
    let lists: [&[At]; 18] = [
        &EXTRACT,
        &MENDED,
        &FIRST_LOAD,
        &LOAD,
        &DERIVE,
        &APPROVE,
        &RETRY,
        &DROP,
        &GC,
        &REPLAY,
        &REBUILD,
        &MIGRATE,
        &crate::erasure::FORGET,
        &crate::remote::PUSH,
        &crate::remote::PUSH_ERASED,
        &crate::remote::PULL,
        &crate::remote::REMOVE,
        &crate::export::EXPORT,
    ];
    lists.concat().into_iter().collect()
}

#[test]
fn no_durable_step_is_left_out() {
    let killed: BTreeSet<Point> = all_places().iter().map(|(point, _)| *point).collect();
    let all: BTreeSet<Point> = Point::ALL.iter().copied().collect();
    assert_eq!(killed, all);
}

/// Runs a command that kills itself there; whether it came so far.
async fn killed(workdir: &mut Workdir, command: &[&str], (point, nth): At) -> bool {
    workdir.set("CURSUS_FAILPOINT", format!("{}:{nth}=kill", point.name()));
    let ran = workdir.cursus(command).await;
    workdir.unset("CURSUS_FAILPOINT");
    ran.code.is_none()
}

fn when((point, nth): At) -> String {
    format!("after the kill at {}:{nth}", point.name())
}

/// What is on the disk and in the database.
async fn state(workdir: &Workdir) -> [Lines; 2] {
    [
        state::of_staging(&workdir.path("staging")),
        state::of_database(workdir).await,
    ]
}

/// A command that is killed at each of these places, and run again.
async fn survives(template: &Template, command: &[&str], code: i32, places: &[At]) {
    let workdir = template.workdir().await;
    workdir.cursus(command).await.exits(code);
    let expected = state(&workdir).await;
    for at in places {
        let mut workdir = template.workdir().await;
        let is_killed = killed(&mut workdir, command, *at).await;
        assert!(is_killed, "{} is not reached", when(*at));
        again(&workdir, command, code, &when(*at)).await;
        for (found, expected) in state(&workdir).await.iter().zip(&expected) {
            assert_same(found, expected, &when(*at));
        }
        workdir.end().await;
    }
}

/// Runs a command to its end: as ever, or to say that all is done.
async fn again(workdir: &Workdir, command: &[&str], code: i32, when: &str) -> Ran {
    let ran = workdir.cursus(command).await;
    assert!(
        ran.code == Some(code) || ran.code == Some(0),
        "{when}: {ran}"
    );
    let left = state::left_over(&workdir.path("staging"));
    assert!(left.is_empty(), "{when} these are left: {left:?}");
    ran
}

/// A directory that asks a simulator, with few requests at once.
async fn few_at_once(simulator: &Simulator) -> Template {
    let workdir = Workdir::with(simulator).await;
    let in_flight = format!("max_in_flight = {IN_FLIGHT} ");
    workdir.pipeline(&[("max_in_flight = 256 ", &in_flight)]);
    Template::of(workdir).await
}

/// An extract that is killed at each of these places and run again, then loaded; what it costs more.
async fn extract_survives(simulator: &Simulator, template: &Template, places: &[At]) {
    let requests = || simulator.statistics().hits;
    let workdir = template.workdir().await;
    let before = requests();
    workdir.json(["extract"]).await;
    let cost = requests() - before;
    workdir.json(["load"]).await;
    let [staged, rows] = state(&workdir).await;
    for (index, at) in places.iter().enumerate() {
        let when = when(*at);
        let mut workdir = template.workdir().await;
        let before = requests();
        let is_killed = killed(&mut workdir, &["extract"], *at).await;
        assert!(is_killed, "{when}: it is not reached");
        let mut found = state::of_staging(&workdir.path("staging"));
        if found == staged {
            // The run had ended: another one would come after it.
            assert_eq!(requests() - before, cost, "{when}");
        } else {
            again(&workdir, &["extract"], 0, &when).await;
            let extra = requests() - before - cost;
            assert!(extra <= IN_FLIGHT, "{when}: {extra} requests too many");
            found = state::of_staging(&workdir.path("staging"));
        }
        assert_same(&found, &staged, &when);
        // The same pages give the same rows: now and then that is tried.
        if index % 4 == 0 {
            workdir.json(["load"]).await;
            assert_same(&state::of_database(&workdir).await, &rows, &when);
        }
        workdir.end().await;
    }
}

/// A first extract, and one that repairs a journal, killed at these places.
async fn extracts_survive(places: &[At], mended: &[At]) {
    let simulator = simulator().await;
    let template = few_at_once(&simulator).await;
    extract_survives(&simulator, &template, places).await;
    let mut workdir = template.workdir().await;
    assert!(killed(&mut workdir, &["extract"], (Point::LineTorn, 6)).await);
    let template = Template::of(workdir).await;
    extract_survives(&simulator, &template, mended).await;
}

#[tokio::test]
async fn extract_killed_in_each_phase_resumes() {
    extracts_survive(&EXTRACT_SAMPLE, &MENDED[2..3]).await;
}

/// For no more than the requests under way.
#[tokio::test]
#[ignore = "matrix"]
async fn extract_killed_anywhere_resumes() {
    extracts_survive(&EXTRACT, &MENDED).await;
    figures::note(
        "places at which the process was killed (SIGKILL), in turn",
        all_places().len(),
    );
}

/// Kills a command at two of these places, drawn until both are reached.
async fn killed_twice(
    template: &Template,
    command: &[&str],
    places: &[At],
    random: &mut fastrand::Rng,
) -> (Workdir, String) {
    loop {
        let mut workdir = template.workdir().await;
        let mut pair = Vec::new();
        while pair.len() < 2 {
            let at = (random.choice(places).unwrap().0, random.u32(1..=4));
            if !killed(&mut workdir, command, at).await {
                break;
            }
            pair.push(at);
        }
        if let [first, second] = pair[..] {
            return (workdir, format!("{} and {}", when(first), when(second)));
        }
        // It came to its end: there is nothing left to kill.
        workdir.end().await;
    }
}

fn random() -> (u64, fastrand::Rng) {
    let seed = std::env::var("CURSUS_SEED").map_or(5, |seed| seed.parse().unwrap());
    (seed, fastrand::Rng::with_seed(seed))
}

/// Of a sync, a load and a rebuild.
const PAIRS: [usize; 3] = [6, 6, 4];

#[tokio::test]
async fn sync_killed_twice_equals_an_unkilled_one() {
    sync_survives(1).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn syncs_killed_twice_equal_unkilled_ones() {
    sync_survives(PAIRS[0]).await;
    figures::note("pairs of such places", PAIRS.iter().sum());
}

/// Syncs that are killed at `pairs` pairs of places.
async fn sync_survives(pairs: usize) {
    let (seed, mut random) = random();
    let simulator = simulator().await;
    let workdir = few_at_once(&simulator).await.workdir().await;
    workdir.json(["run"]).await;
    simulator.advance(std::time::Duration::from_hours(30));
    let template = Template::of(workdir).await;
    let workdir = template.workdir().await;
    workdir.json(["run"]).await;
    let expected = tables(&workdir).await;
    let places = [&EXTRACT[..], &LOAD].concat();
    for _ in 0..pairs {
        let (workdir, when) = killed_twice(&template, &["run"], &places, &mut random).await;
        let when = format!("seed {seed}, {when}");
        again(&workdir, &["run"], 0, &when).await;
        assert_same(&tables(&workdir).await, &expected, &when);
        workdir.end().await;
    }
}

#[tokio::test]
#[ignore = "matrix"]
async fn loads_and_rebuilds_killed_twice_equal_unkilled_ones() {
    load_and_rebuild_survive([PAIRS[1], PAIRS[2]]).await;
}

/// Loads and rebuilds that are killed at `pairs` pairs of places.
async fn load_and_rebuild_survive(pairs: [usize; 2]) {
    let (seed, mut random) = random();
    let (workdir, _) = two_runs().await;
    let load = Template::of(workdir).await;
    let rebuild = wrong_in_places().await;
    for (template, command, places, pairs) in [
        (&load, &["load"][..], &LOAD[..], pairs[0]),
        (&rebuild, &["replay", "--rebuild"], &REBUILD, pairs[1]),
    ] {
        let workdir = template.workdir().await;
        workdir.cursus(command).await.exits(4);
        let expected = state(&workdir).await;
        for _ in 0..pairs {
            let (workdir, when) = killed_twice(template, command, places, &mut random).await;
            let when = format!("seed {seed}, {when}");
            again(&workdir, command, 4, &when).await;
            for (found, expected) in state(&workdir).await.iter().zip(&expected) {
                assert_same(found, expected, &when);
            }
            workdir.end().await;
        }
    }
}

/// The rows of the mirror. The load ledger has one run more if a run was killed after its end.
async fn tables(workdir: &Workdir) -> Lines {
    let mut lines = state::of_database(workdir).await;
    lines.retain(|name, _| name.starts_with("public."));
    lines
}

/// Enough for a load to drop the indexes meanwhile.
const NOTES: i64 = 2100;

fn notes(ids: impl Iterator<Item = i64>) -> Vec<String> {
    ids.map(|id| {
        serde_json::json!({"id": id, "thing_id": id % 9 + 1, "text": format!("note {id}")})
            .to_string()
    })
    .collect()
}

/// A run that is staged, of a thing whose box is not there yet.
async fn one_run() -> Workdir {
    let workdir = boxes::with_empty_database().await;
    let mut all = things(1..=10);
    all.push(thing(11, 1.5).replace("\"box_id\":1", "\"box_id\":4"));
    boxes::stage(
        &workdir,
        &[
            full("boxes", boxes(1..=3)),
            full("things", all),
            full("notes", notes(1..=NOTES)),
        ],
    );
    workdir
}

/// Loaded, and a second run: its box comes, a thing is deleted, one is rejected, and too many notes are missing.
async fn two_runs() -> (Workdir, String) {
    let workdir = one_run().await;
    workdir.cursus(["load"]).await.exits(3);
    let mut all = things(2..=9);
    all.push(thing(1, 2.5));
    all.push(thing(11, 1.5).replace("\"box_id\":1", "\"box_id\":4"));
    all.push(thing(12, 1.5).replace("\"weight\":1.5", "\"weight\":\"heavy\""));
    let second = boxes::stage(
        &workdir,
        &[
            full("boxes", boxes(1..=4)),
            full("things", all),
            full("notes", notes(1..=NOTES / 2)),
        ],
    );
    (workdir, second)
}

/// Two runs that are loaded, and a mirror that somebody has changed.
async fn wrong_in_places() -> Template {
    let (workdir, _) = two_runs().await;
    workdir.cursus(["load"]).await.exits(4);
    workdir
        .query("UPDATE things SET weight = 9 WHERE id = 2; DELETE FROM boxes WHERE id = 2")
        .await;
    Template::of(workdir).await
}

#[tokio::test]
async fn load_killed_in_each_phase_is_complete_or_absent() {
    let load = [(Point::LoadMerge, 2), (Point::LoadCommit, 1)];
    loads_survive(&[(Point::LoadCopy, 1)], &load, &DERIVE[..1]).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn load_killed_anywhere_is_complete_or_absent() {
    loads_survive(&FIRST_LOAD, &LOAD, &DERIVE).await;
}

/// A first load, a second one and a derive, killed at these places.
async fn loads_survive(first: &[At], second: &[At], derive: &[At]) {
    let workdir = one_run().await;
    survives(&Template::of(workdir).await, &["load"], 3, first).await;
    let (workdir, _) = two_runs().await;
    survives(&Template::of(workdir).await, &["load"], 4, second).await;
    let workdir = boxes::with_empty_database().await;
    boxes::three_runs(&workdir);
    let count = std::fs::read_to_string(workdir.path("sql/count.sql")).unwrap();
    workdir.write("sql/count.sql", "SELECT 1 / 0");
    workdir.cursus(["load"]).await.exits(1);
    workdir.write("sql/count.sql", &count);
    survives(&Template::of(workdir).await, &["load"], 0, derive).await;
}

#[tokio::test]
async fn repair_killed_in_each_phase_is_done_or_can_be_repeated() {
    let commit = [(Point::ApproveCommit, 1)];
    repairs_survive(&commit, &RETRY[..1], &DROP[..1], &GC[1..2]).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn repair_killed_anywhere_is_done_or_can_be_repeated() {
    repairs_survive(&APPROVE, &RETRY, &DROP, &GC).await;
}

/// The repairs, killed at these places.
async fn repairs_survive(approve: &[At], retry: &[At], drop: &[At], gc: &[At]) {
    let (workdir, run) = two_runs().await;
    workdir.cursus(["load"]).await.exits(4);
    workdir
        .query("ALTER TABLE things ALTER weight TYPE text")
        .await;
    let template = Template::of(workdir).await;
    survives(&template, &["prune", "approve", &run], 0, approve).await;
    survives(&template, &["quarantine", "retry"], 0, retry).await;
    survives(&template, &["quarantine", "drop", "--all"], 0, drop).await;
    survives(&template, &["stage", "gc", "--keep", "0s"], 0, gc).await;
}

#[tokio::test]
async fn replay_killed_in_each_phase_resumes() {
    let rebuild = [(Point::RebuildCommit, 1)];
    replays_survive(&REPLAY[1..2], &rebuild, &MIGRATE[1..2]).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn replay_killed_anywhere_resumes() {
    replays_survive(&REPLAY, &REBUILD, &MIGRATE).await;
}

/// A replay, a rebuild and a first migration, killed at these places.
async fn replays_survive(replay: &[At], rebuild: &[At], migrate: &[At]) {
    let template = wrong_in_places().await;
    survives(&template, &["replay", "--into", "again"], 4, replay).await;
    survives(&template, &["replay", "--rebuild"], 4, rebuild).await;
    let empty = Template::of(boxes::with_empty_database().await).await;
    survives(&empty, &["migrate"], 0, migrate).await;
}

#[tokio::test]
async fn killed_initdb_of_the_private_server_is_recovered() {
    private_server_survives(&["data.new/global/pg_control"]).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn initdb_killed_anywhere_is_recovered() {
    private_server_survives(&[
        "data.new",
        "data.new/base/1",
        "data.new/PG_VERSION",
        "data.new/global/pg_control",
        "data.new/base/5",
    ])
    .await;
}

/// A command that is killed when `initdb`, which outlives it, has made this file.
async fn private_server_survives(steps: &[&str]) {
    for step in steps {
        let mut workdir = Workdir::new().await;
        workdir.unset("CURSUS_DATABASE_URL");
        // As root, the server's user has to pass through it.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(workdir.path(""), mode).unwrap();
        let home = workdir.path(".cursus/pg");
        let running = Running::start(&workdir, &["sql", "--write", "SELECT 1"]);
        let is_past = async || home.join(step).exists() || home.join("data").exists();
        until(step, is_past).await;
        running.signal(Signal::SIGKILL);
        assert_eq!(running.end().await.code, None);
        workdir
            .cursus(["sql", "--write", "SELECT 1"])
            .await
            .exits(0);
        let pid = home.join("data/postmaster.pid");
        until("it stops", async || !pid.exists()).await;
    }
}
