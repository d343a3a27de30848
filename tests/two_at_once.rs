//! Two at once: one works, the other ends with exit code 5 and names it, or waits. Locks die with their owner.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use cursus::failpoint::Point;
use cursus_simulator::{Fault, FaultKind, Simulator};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use crate::support::boxes::{self, COUNT};
use crate::support::files::files;
use crate::support::running::{sessions, until, until_asleep};
use crate::support::workdir::PIPELINE;
use crate::support::{Running, Workdir, simulator};

/// A statement from which only a signal or a kill leads out.
const FOR_EVER: &str = "SELECT pg_sleep(3600)";

/// No answer comes from then on.
fn stall(simulator: &Simulator) {
    let kind = FaultKind::Stall { seconds: 3600.0 };
    simulator.inject(Fault::new("/v2", kind));
}

/// The other is refused and names the holder by process, subcommand and start, never by its arguments.
async fn is_refused(workdir: &Workdir, arguments: &[&str], holder: &Running, command: &str) {
    let ran = workdir.cursus(arguments).await.exits(5);
    let pid = holder.pid();
    let named = format!("pid {pid}, `cursus {command}`, since 20");
    assert!(ran.stderr.contains(&named), "{named}: {ran}");
    assert!(
        !ran.stderr.contains("--select"),
        "its arguments are printed: {ran}"
    );
}

#[tokio::test]
async fn second_extract_is_refused_or_waits() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    stall(&simulator);
    for command in ["extract", "run", "watch"] {
        let mut arguments = vec![command, "--select", "cursus"];
        if command == "watch" {
            arguments.extend(["--every", "1h"]);
        }
        let before = simulator.statistics().hits;
        let first = Running::start(&workdir, &arguments);
        until("it reads", async || simulator.statistics().hits > before).await;
        for second in [
            &["extract", "--force"][..],
            &["run"],
            &["stage", "gc"],
            &["extract", "--wait-lock", "60ms"],
        ] {
            is_refused(&workdir, second, &first, command).await;
        }
        let rounds = ["watch", "--every", "1h", "--rounds", "1", "--json"];
        let skipped = workdir.cursus(rounds).await.exits(5);
        assert_eq!(skipped.json()["state"], "skipped", "{skipped}");
        assert!(skipped.stdout.contains(&format!("pid {},", first.pid())));
        // Commands that only read are let.
        workdir.cursus(["stage", "ls"]).await.exits(0);
        workdir.cursus(["status"]).await.exits(0);

        let waits = ["extract", "--select", "campus", "--wait-lock", "60s"];
        let mut second = Running::start(&workdir, &waits);
        second.until_it_says("waiting for pid").await;
        simulator.clear_faults();
        first.signal(Signal::SIGKILL);
        assert_eq!(first.end().await.code, None);
        second.end().await.exits(0);
        stall(&simulator);
    }
}

/// A named pipe at which a process waits until its writer closes it.
pub(crate) fn pipe(workdir: &Workdir, name: &str) -> PathBuf {
    let pipe = workdir.path(name);
    nix::unistd::mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    pipe
}

/// Opens a named pipe for writing as soon as a process waits there.
pub(crate) async fn reached(pipe: PathBuf) -> File {
    let opening = move || File::options().write(true).open(pipe).unwrap();
    tokio::task::spawn_blocking(opening).await.unwrap()
}

/// What the journals of all runs hold.
fn journals(workdir: &Workdir) -> Vec<Vec<u8>> {
    let files = files(&workdir.path("staging")).into_iter();
    let journals = files.filter(|path| path.ends_with("pages.jsonl"));
    journals.map(|path| std::fs::read(path).unwrap()).collect()
}

/// A page write runs on a thread of its own, which does not end with the read that began it.
#[tokio::test]
async fn no_page_is_written_after_the_staging_lock_is_released() {
    for command in ["extract", "run"] {
        for point in [Point::PageWrite, Point::PageRename, Point::LineAppend] {
            let simulator = simulator().await;
            let mut workdir = Workdir::with(&simulator).await;
            let pipe = pipe(&workdir, "pipe");
            let failpoint = format!("{}:2=wait:{}", point.name(), pipe.display());
            workdir.set("CURSUS_FAILPOINT", failpoint);
            let mut first = Running::start(&workdir, &[command]);
            let held = reached(pipe).await;
            workdir.unset("CURSUS_FAILPOINT");
            first.signal(Signal::SIGTERM);
            first.until_it_says("interrupted by SIGTERM").await;
            // If it can be taken, the process has ended, and the write with it.
            let lock = File::open(workdir.path("staging/.lock")).unwrap();
            let before = lock.try_lock().is_ok().then(|| journals(&workdir));
            drop(held);
            first.end().await.exits(143);
            if let Some(before) = before {
                let when = format!("{command}, {}", point.name());
                assert_eq!(journals(&workdir), before, "{when}");
            }
            drop(lock);
            workdir.json([command]).await;
        }
    }
}

#[tokio::test]
async fn a_failed_extraction_ends_after_its_last_page_write() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let (writes, loads) = (pipe(&workdir, "writes"), pipe(&workdir, "loads"));
    let failpoint = format!(
        "page.rename:2=wait:{},page.rename:4=enospc,load.begin=wait:{}",
        writes.display(),
        loads.display()
    );
    workdir.set("CURSUS_FAILPOINT", failpoint);
    let first = Running::start(&workdir, &["run"]);
    let held = reached(writes).await;
    let mut load = Box::pin(reached(loads));
    // The disk is full for every other page; the run ends, but the write does not.
    let too_early = tokio::time::timeout(Duration::from_millis(500), &mut load).await;
    assert!(too_early.is_err(), "it loads while a page is being written");
    drop(held);
    drop(load.await);
    let ran = first.end().await.exits(1);
    assert!(ran.stderr.contains("No space left on device"), "{ran}");
    workdir.unset("CURSUS_FAILPOINT");
    workdir.json(["run"]).await;
}

#[tokio::test]
async fn second_load_into_a_schema_is_refused_or_waits() {
    let workdir = boxes::workdir().await;
    boxes::three_runs(&workdir);
    workdir.write("sql/count.sql", FOR_EVER);
    for (command, first, others) in [
        (
            "load",
            &["load", "--select", "boxes,things,notes"][..],
            &[
                &["load"][..],
                &["replay", "--rebuild"],
                &["quarantine", "retry"],
                &["prune", "approve", "latest"],
            ][..],
        ),
        (
            "load",
            &["load", "--into", "past", "--select", "boxes,things,notes"],
            &[&["replay", "--into", "past"], &["load", "--into", "past"]],
        ),
        (
            "replay",
            &[
                "replay",
                "--into",
                "apart",
                "--select",
                "boxes,things,notes",
            ],
            &[&["replay", "--into", "apart"], &["load", "--into", "apart"]],
        ),
        ("replay", &["replay", "--rebuild"], &[&["load"]]),
    ] {
        let first = Running::start(&workdir, first);
        until_asleep(&workdir, &first).await;
        for other in others {
            let at_once = [*other, &["--wait-lock", "0s"]].concat();
            is_refused(&workdir, &at_once, &first, command).await;
        }
        // Commands that only read are let.
        workdir.cursus(["status"]).await.exits(0);
        workdir.write("sql/count.sql", COUNT);

        // It dies without a word; the server finds out by itself.
        let waits = [others[0], &["--wait-lock", "10m"]].concat();
        let second = Running::start(&workdir, &waits);
        let waiting = sessions(second.pid(), "wait_event = 'advisory'");
        until("it waits", async || workdir.number(&waiting).await == 1).await;
        first.signal(Signal::SIGKILL);
        first.end().await;
        let ran = second.end().await;
        assert!(matches!(ran.code, Some(0 | 4)), "{ran}");
        workdir.write("sql/count.sql", FOR_EVER);
        for schema in ["public", "past", "apart"] {
            workdir
                .query(&format!(
                    "DROP SCHEMA IF EXISTS {schema} CASCADE; DELETE FROM pipeline.load WHERE schema_name = '{schema}'"
                ))
                .await;
        }
        workdir.query("CREATE SCHEMA public").await;
    }
}

#[tokio::test]
async fn waiters_for_a_load_start_when_it_has_finished() {
    let workdir = boxes::workdir().await;
    boxes::three_runs(&workdir);
    workdir.query("CREATE TABLE public.go (now boolean)").await;
    let until_allowed = "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM public.go) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$";
    workdir.write("sql/count.sql", until_allowed);
    let first = Running::start(&workdir, &["load"]);
    until_asleep(&workdir, &first).await;
    let second = Running::start(&workdir, &["load", "--wait-lock", "60s"]);
    let waiting = sessions(second.pid(), "wait_event = 'advisory'");
    until("it waits", async || workdir.number(&waiting).await == 1).await;
    workdir.query("INSERT INTO public.go VALUES (true)").await;
    first.end().await.exits(0);
    let ran = second.end().await.exits(0);
    assert!(ran.stdout.contains("nothing to load"), "{ran}");
}

#[tokio::test]
async fn load_during_the_load_of_a_watch_names_it() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.write("pipeline.toml", PIPELINE);
    workdir.write("sql/users_campus.sql", FOR_EVER);
    let arguments = ["watch", "--every", "1h", "--select", "users,campus_users"];
    let watch = Running::start(&workdir, &arguments);
    until_asleep(&workdir, &watch).await;
    for other in ["load", "run", "migrate"] {
        if other == "migrate" {
            workdir.cursus([other]).await.exits(0);
        } else {
            is_refused(&workdir, &[other, "--wait-lock", "0s"], &watch, "watch").await;
        }
    }
}

#[tokio::test]
async fn loads_into_two_schemas_do_not_wait_for_each_other() {
    let workdir = boxes::workdir().await;
    boxes::three_runs(&workdir);
    workdir.cursus(["load"]).await.exits(0);
    // As another load does until it commits.
    workdir
        .query("BEGIN; SELECT FROM pipeline.run FOR UPDATE")
        .await;
    workdir.cursus(["replay", "--into", "past"]).await.exits(0);
    workdir.query("ROLLBACK").await;
}

#[tokio::test]
async fn extract_without_its_lock_file_is_still_the_only_one() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    stall(&simulator);
    let first = Running::start(&workdir, &["extract", "--select", "cursus"]);
    until("it reads", async || simulator.statistics().hits > 0).await;
    std::fs::remove_file(workdir.path("staging/.lock")).unwrap();
    let requests = simulator.statistics().hits;
    let ran = workdir.cursus(["extract", "--force"]).await.exits(5);
    ran.says("another cursus is writing");
    assert_eq!(simulator.statistics().hits, requests);
    first.signal(Signal::SIGKILL);
    first.end().await;
}

#[tokio::test]
async fn killed_load_is_waited_for_until_its_server_notices() {
    let workdir = boxes::workdir().await;
    boxes::three_runs(&workdir);
    workdir.write("sql/count.sql", FOR_EVER);
    let first = Running::start(&workdir, &["load"]);
    until_asleep(&workdir, &first).await;
    let pid = first.pid();
    first.signal(Signal::SIGKILL);
    first.end().await;
    workdir.write("sql/count.sql", COUNT);
    let ran = workdir.cursus(["load"]).await.exits(0);
    ran.says("waiting for the server to notice that another cursus")
        .says(&format!("pid {pid},"));
}

#[tokio::test]
async fn who_migrates_is_waited_for_as_long_as_is_asked_for() {
    let workdir = boxes::with_empty_database().await;
    boxes::three_runs(&workdir);
    workdir
        .query("SELECT pg_advisory_lock(x'637572737573'::bigint)")
        .await;
    for command in ["migrate", "load"] {
        let ran = workdir.cursus([command, "--wait-lock", "40ms"]).await;
        ran.exits(5)
            .says("waited 40 ms for another process that migrates");
    }
    workdir.query("SELECT pg_advisory_unlock_all()").await;
    workdir.cursus(["load"]).await.exits(0);
}

#[tokio::test]
async fn second_demo_in_a_directory_is_refused() {
    let workdir = Workdir::new().await;
    let arguments = ["demo", "--dir", "demonstration"];
    let first = Running::start(&workdir, &arguments);
    let staging = workdir.path("demonstration/staging");
    let is_page = |path: &std::path::PathBuf| path.extension() == Some("gz".as_ref());
    let pages = || files(&staging).iter().filter(|path| is_page(path)).count();
    until("it has pages", async || pages() > 2).await;
    is_refused(&workdir, &arguments, &first, "demo").await;
    first.end().await.exits(0);
}

/// A run of an extraction that is being written, with its list closed by a load that waits: what the load does then.
#[tokio::test]
async fn a_run_that_ends_while_it_is_listed_is_loaded_as_it_ended() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    simulator.inject(Fault::new(
        "/v2/campus",
        FaultKind::Stall { seconds: 3600.0 },
    ));
    let select = ["extract", "--select", "cursus,campus"];
    let extract = Running::start(&workdir, &select);
    let sealed = || {
        let is_manifest = |path: &std::path::PathBuf| path.ends_with("cursus/manifest.json");
        files(&workdir.path("staging")).iter().any(is_manifest)
    };
    until("cursus is final", async || sealed()).await;
    workdir.set("CURSUS_FAILPOINT", "runs.listed=stop");
    let load = Running::start(&workdir, &["load"]);
    until("it has listed the runs", async || load.is_stopped()).await;
    workdir.unset("CURSUS_FAILPOINT");
    // The page that is waited for is dropped; the next attempt gets it, and the run ends.
    extract.signal(Signal::SIGKILL);
    extract.end().await;
    simulator.clear_faults();
    workdir.json(select).await;
    load.signal(Signal::SIGCONT);
    load.end().await.exits(0);
    let state = "SELECT state FROM pipeline.run";
    assert_eq!(workdir.column(state).await, ["complete"]);
    assert_eq!(workdir.count("campuses").await, 8);
    let ran = workdir.cursus(["load"]).await.exits(0);
    assert!(ran.stdout.contains("nothing to load"), "{ran}");
}

#[tokio::test]
async fn run_loaded_while_open_is_corrected_by_the_next_load() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let select = ["extract", "--select", "cursus"];
    // It dies when everything is read and only the end is not noted.
    workdir.set("CURSUS_FAILPOINT", "run.write:2=kill");
    assert_eq!(workdir.cursus(select).await.code, None);
    workdir.unset("CURSUS_FAILPOINT");
    workdir.cursus(["load"]).await.exits(0);
    let state = "SELECT state || ' ' || coalesce(mode, '') FROM pipeline.run";
    assert_eq!(workdir.column(state).await, ["open "]);
    workdir.json(select).await;
    let ran = workdir.cursus(["load", "--dry-run"]).await.exits(0);
    assert!(ran.stdout.contains("nothing to load"), "{ran}");
    assert_eq!(workdir.column(state).await, ["open "]);
    let ran = workdir.cursus(["load"]).await.exits(0);
    assert!(ran.stdout.contains("nothing to load"), "{ran}");
    assert_eq!(workdir.column(state).await, ["complete full"]);
}
