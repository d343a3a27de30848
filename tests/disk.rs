//! Disks that are full or closed, and files that go: a sentence, nothing lost, and the next run completes.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cursus::failpoint::Point;
use cursus_simulator::{Fault, FaultKind, Simulator};
use nix::unistd::Uid;

use crate::support::boxes;
use crate::support::files::Mount;
use crate::support::state::{self, assert_same};
use crate::support::{Ran, Template, Workdir, figures, oracle, simulator};

/// A user with no rights at all.
const NOBODY: u32 = 65_534;

/// Where an extract meets a full disk, and how it ends.
const FULL: [(Point, u32, i32); 25] = [
    (Point::RunMake, 1, 1),
    (Point::RunWrite, 1, 1),
    (Point::RunSync, 1, 1),
    (Point::RunRename, 1, 1),
    (Point::RunNamed, 1, 1),
    (Point::ResourceMake, 1, 1),
    (Point::ResourceMake, 4, 1),
    (Point::PageWrite, 1, 1),
    (Point::PageWrite, 9, 1),
    (Point::PageSync, 5, 1),
    (Point::PageRename, 6, 1),
    (Point::PageNamed, 7, 1),
    (Point::LineAppend, 3, 1),
    (Point::LineTorn, 8, 1),
    (Point::LineSync, 12, 1),
    (Point::ManifestWrite, 1, 1),
    (Point::ManifestSync, 4, 1),
    (Point::ManifestRename, 6, 1),
    (Point::ManifestNamed, 8, 1),
    (Point::RunWrite, 2, 1),
    (Point::RunNamed, 2, 1),
    (Point::LedgerWrite, 3, 1),
    (Point::LedgerTorn, 4, 1),
    // Without the file the next command asks for a token of its own.
    (Point::TokenWrite, 1, 0),
    (Point::TokenRename, 1, 0),
];

/// Where one meets it that mends half a line of a journal.
const FULL_AGAIN: [(Point, u32, i32); 4] = [
    (Point::JournalWrite, 1, 1),
    (Point::JournalSync, 1, 1),
    (Point::JournalRename, 1, 1),
    (Point::JournalNamed, 1, 1),
];

/// Fails unless it ended with a sentence that tells this of the disk.
#[track_caller]
fn says_of_disk(ran: &Ran, code: i32, what: &str) {
    assert_eq!(ran.code, Some(code), "{ran}");
    assert!(ran.stderr.contains(what), "{ran}");
    assert!(!ran.stderr.contains("panicked"), "{ran}");
}

/// Journals that end in the middle of a line.
fn torn(workdir: &Workdir) -> Vec<String> {
    let entries = walkdir::WalkDir::new(workdir.path("staging")).into_iter();
    let journals = entries.flatten().map(walkdir::DirEntry::into_path);
    let is_torn = |path: &PathBuf| {
        path.ends_with("pages.jsonl")
            && (std::fs::read(path).unwrap().last()).is_some_and(|last| *last != b'\n')
    };
    let torn = journals.filter(is_torn);
    torn.map(|path| path.display().to_string()).collect()
}

/// One step of each thing that an extract writes.
const FULL_SAMPLE: [(Point, u32, i32); 4] = [
    (Point::ResourceMake, 4, 1),
    (Point::PageWrite, 9, 1),
    (Point::LineTorn, 8, 1),
    (Point::ManifestSync, 4, 1),
];

#[tokio::test]
async fn full_disk_in_each_phase_is_reported_and_recovered() {
    full_disk_at(&FULL_SAMPLE, &FULL_AGAIN[..1]).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn full_disk_at_any_step_is_reported_and_recovered() {
    full_disk_at(&FULL, &FULL_AGAIN).await;
    figures::note(
        "steps of the disk that failed with ENOSPC",
        FULL.len() + FULL_AGAIN.len() + REPAIRS.len(),
    );
}

/// An extract, and one that repairs a journal, whose disk is full at these places; then one whose disk is not.
async fn full_disk_at(first: &[(Point, u32, i32)], again: &[(Point, u32, i32)]) {
    let simulator = simulator().await;
    let template = Template::of(Workdir::with(&simulator).await).await;
    let workdir = template.workdir().await;
    workdir.json(["extract"]).await;
    let staged = state::of_staging(&workdir.path("staging"));
    let mut killed = template.workdir().await;
    killed.set(
        "CURSUS_FAILPOINT",
        format!("{}:6=kill", Point::LineTorn.name()),
    );
    assert_eq!(killed.cursus(["extract"]).await.code, None);
    killed.unset("CURSUS_FAILPOINT");
    let mended = Template::of(killed).await;
    let of = |template, places: &[(Point, u32, i32)]| {
        let places = places.iter().map(move |place| (template, *place));
        places.collect::<Vec<_>>()
    };
    for (template, (point, nth, code)) in [of(&template, first), of(&mended, again)].concat() {
        let mut workdir = template.workdir().await;
        let when = format!("{}:{nth}=enospc", point.name());
        workdir.set("CURSUS_FAILPOINT", &when);
        let ran = workdir.cursus(["extract"]).await;
        says_of_disk(&ran, code, "No space left on device");
        workdir.unset("CURSUS_FAILPOINT");
        // Half a line stays until it can be mended.
        let may_be_torn = FULL_AGAIN.iter().any(|(again, ..)| *again == point);
        assert!(may_be_torn || torn(&workdir).is_empty(), "{when}");
        if code != 0 {
            workdir.json(["extract"]).await;
        }
        let found = state::of_staging(&workdir.path("staging"));
        // The first run was complete, which its record could not say any more: a second run.
        if found.len() > staged.len() {
            assert_eq!(point, Point::RunNamed, "{when}: a run too much");
        } else {
            assert_same(&found, &staged, &when);
        }
        let left = state::left_over(&workdir.path("staging"));
        assert!(left.is_empty(), "{when} these are left: {left:?}");
        workdir.json(["load"]).await;
        oracle::assert_mirrors(&workdir, &simulator).await;
        workdir.end().await;
    }
}

/// Where repairs meet a full disk.
const REPAIRS: [(Point, &[&str]); 5] = [
    (Point::ApprovalsWrite, &["prune", "approve", "latest"]),
    (Point::ApprovalsSync, &["prune", "approve", "latest"]),
    (Point::ApprovalsRename, &["prune", "approve", "latest"]),
    (Point::ApprovalsNamed, &["prune", "approve", "latest"]),
    (Point::GcRename, &["stage", "gc", "--keep", "0s"]),
];

#[tokio::test]
async fn a_repair_on_a_full_disk_changes_nothing() {
    let workdir = boxes::workdir().await;
    let [_, _, _] = boxes::three_runs(&workdir);
    workdir.json(["load"]).await;
    let run = boxes::stage(&workdir, &[boxes::full("boxes", boxes::boxes(1..=3))]);
    boxes::stage(&workdir, &[boxes::full("things", Vec::new())]);
    workdir.cursus(["load"]).await.exits(4);
    let template = Template::of(workdir).await;
    for (point, command) in REPAIRS {
        let mut workdir = template.workdir().await;
        let before = state::of_database(&workdir).await;
        workdir.set("CURSUS_FAILPOINT", format!("{}=enospc", point.name()));
        let ran = workdir.cursus(command).await;
        says_of_disk(&ran, 1, "No space left on device");
        assert_same(&state::of_database(&workdir).await, &before, point.name());
        assert!(boxes::directory(&workdir, &run).exists());
        workdir.unset("CURSUS_FAILPOINT");
        workdir.cursus(command).await.exits(0);
    }
}

/// Says that a test has not tried what it is for.
#[expect(clippy::print_stderr, reason = "for readers of the tests' output")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

#[tokio::test]
async fn small_file_system_fills_up_and_a_larger_one_resumes() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let Some(mount) = Mount::of(workdir.path("staging"), "size=64k") else {
        skipped("nothing can be mounted here");
        return;
    };
    let ran = workdir.cursus(["extract"]).await;
    says_of_disk(&ran, 1, "No space left on device");
    mount.again("size=64m,ro");
    let ran = workdir.cursus(["extract"]).await;
    says_of_disk(&ran, 1, "Read-only file system");
    mount.again("rw");
    workdir.json(["run"]).await;
    let runs = workdir.json(["stage", "ls"]).await;
    assert_eq!(runs.as_array().unwrap().len(), 1, "it started again");
    oracle::assert_mirrors(&workdir, &simulator).await;
    assert_eq!(state::left_over(&workdir.path("staging")), [""; 0]);
    drop(mount);
}

/// Runs the binary as somebody without rights, who may not reach where it was built (the home of root): a copy in the directory.
async fn as_nobody(workdir: &Workdir, arguments: &[&str]) -> (Option<i32>, String) {
    let copy = workdir.path("cursus");
    if !copy.exists() {
        std::fs::copy(env!("CARGO_BIN_EXE_cursus"), &copy).unwrap();
    }
    let mut command = workdir.program(&copy);
    command.args(arguments);
    if Uid::effective().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[tokio::test]
async fn unwritable_directories_are_named_and_cost_no_request() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&workdir.path(""), 0o755);
    for directory in ["staging", "staging/2026-11-24", ".state"] {
        std::fs::create_dir_all(workdir.path(directory)).unwrap();
        if Uid::effective().is_root() {
            chown(workdir.path(directory), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    let (code, said) = as_nobody(&workdir, &["stage", "ls"]).await;
    if code != Some(0) {
        skipped(&format!("nobody cannot run the binary here: {said}"));
        return;
    }
    for closed in [".state", "staging"] {
        mode(&workdir.path(closed), 0o555);
        let (code, said) = as_nobody(&workdir, &["extract"]).await;
        assert_eq!(code, Some(1), "{closed}: {said}");
        assert!(said.contains("Permission denied"), "{closed}: {said}");
        assert!(said.contains(closed), "{closed}: {said}");
        mode(&workdir.path(closed), 0o700);
    }
    assert_eq!(simulator.statistics().hits, 0);
    let (code, said) = as_nobody(&workdir, &["extract"]).await;
    assert_eq!(code, Some(0), "{said}");
    // A page that may not be read, in a directory that may.
    let page = workdir.run_directory().join("campus/page-00001.json.gz");
    mode(&page, 0o000);
    let (code, said) = as_nobody(&workdir, &["stage", "verify", "latest"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("campus/page-00001.json.gz"), "{said}");
}

/// Waits until this is so.
async fn until(is_so: impl AsyncFn() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    for _ in 0..4_000 {
        tick.tick().await;
        if is_so().await {
            return;
        }
    }
    panic!("it never is so");
}

/// An extract of memberships, from which something is taken away while its second page is awaited.
async fn bereft(simulator: &Simulator, take: impl Fn(&Path)) -> (Workdir, Option<i32>, String) {
    let workdir = Workdir::with(simulator).await;
    let slow = Fault::new("coalitions_users", FaultKind::Stall { seconds: 1.0 });
    simulator.inject(slow.nth(2).times(1));
    let mut command = workdir.command(["extract", "--select", "coalitions,coalitions_users"]);
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    until(async || {
        let lines = |run: PathBuf| std::fs::read(run.join("coalitions_users/pages.jsonl")).ok();
        workdir.path("staging").is_dir()
            && walkdir::WalkDir::new(workdir.path("staging"))
                .min_depth(2)
                .max_depth(2)
                .into_iter()
                .flatten()
                .any(|run| lines(run.into_path()).is_some_and(|lines| !lines.is_empty()))
    })
    .await;
    take(&workdir.run_directory());
    let output = child.wait_with_output().await.unwrap();
    simulator.clear_faults();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (workdir, output.status.code(), said)
}

/// At one stroke: a directory that is being written to cannot be emptied surely.
fn take_away(directory: &Path) {
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::rename(directory, elsewhere.path().join("away")).unwrap();
}

#[tokio::test]
async fn files_removed_during_an_extract_are_never_complete() {
    type Take = fn(&Path);
    let cases: [(&str, i32, &str, Take); 5] = [
        (
            "the journal",
            1,
            "while the resource was being read",
            |run| {
                std::fs::remove_file(run.join("coalitions_users/pages.jsonl")).unwrap();
            },
        ),
        ("the resource", 1, "No such file or directory", |run| {
            take_away(&run.join("coalitions_users"));
        }),
        ("the run", 1, "No such file or directory", take_away),
        ("run.json", 0, "", |run| {
            std::fs::remove_file(run.join("run.json")).unwrap();
        }),
        ("a page", 0, "", |run| {
            std::fs::remove_file(run.join("coalitions_users/page-00001.json.gz")).unwrap();
        }),
    ];
    let simulator = simulator().await;
    for (what, code, says, take) in cases {
        let (workdir, ended, said) = bereft(&simulator, take).await;
        assert_eq!(ended, Some(code), "without {what}: {said}");
        assert!(said.contains(says), "without {what}: {said}");
        if what == "a page" {
            let ran = workdir.cursus(["load"]).await.exits(1);
            ran.says("coalitions_users/page-00001.json.gz");
            workdir.json(["extract", "--full"]).await;
        }
        workdir.json(["run"]).await;
        oracle::assert_mirrors(&workdir, &simulator).await;
    }
}

#[tokio::test]
async fn page_removed_during_a_load_is_named_and_the_rest_loads() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["extract"]).await;
    workdir.json(["migrate"]).await;
    workdir
        .query("BEGIN; LOCK TABLE cursus IN ACCESS EXCLUSIVE MODE")
        .await;
    let loading = workdir
        .command(["load"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let waits =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'public.cursus'::regclass";
    until(async || workdir.number(waits).await > 0).await;
    let removed = workdir
        .run_directory()
        .join("coalitions_users/page-00002.json.gz");
    std::fs::remove_file(removed).unwrap();
    workdir.query("COMMIT").await;
    let output = loading.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("coalitions_users/page-00002.json.gz"),
        "{said}"
    );
    assert_eq!(workdir.count("coalitions_users").await, 0);
    assert_ne!(workdir.count("users").await, 0);
    workdir.json(["run", "--full"]).await;
    oracle::assert_mirrors(&workdir, &simulator).await;
}
