//! Runs in a directory of the test's own.

use std::os::unix::fs::PermissionsExt;

use jiff::Timestamp;

use super::*;
use crate::clock;
use crate::name::Name;

fn page(number: u32, fetched_at: Timestamp) -> PageEntry {
    PageEntry {
        page: number,
        slice: None,
        request: String::new(),
        page_request: PageRequest {
            list: "/v2/users".to_owned(),
            page_size: 100,
            page_number: number.into(),
            ..PageRequest::default()
        },
        status: 200,
        rows: 0,
        bytes: 0,
        sha256: String::new(),
        x_total: None,
        per_page: None,
        first_id: None,
        last_id: None,
        fetched_at,
        server_date: None,
        duration_ms: 1,
        attempts: 1,
        replaces: None,
        rewritten: None,
    }
}

fn opened() -> (tempfile::TempDir, Staging, StagingLock) {
    let directory = tempfile::tempdir().unwrap();
    let staging = Staging::new(directory.path());
    let lock = staging.lock("test").unwrap();
    (directory, staging, lock)
}

fn new_run(staging: &Staging, lock: &StagingLock, now: Timestamp) -> Run {
    let run = staging.create_run(lock, now, 0, &RunSpec::default());
    run.unwrap()
}

#[test]
fn pages_and_runs_stay_in_order_when_the_clock_goes_back() {
    let (_directory, staging, lock) = opened();
    let now = clock::now();
    let day = jiff::SignedDuration::from_hours(24);
    let run = new_run(&staging, &lock, now + day);
    let name = Name::parse("users").unwrap();
    let (writer, _) = run.writer(lock.share(), &name).unwrap();
    let first = writer.write(&b"[]"[..], page(1, now + day)).unwrap();
    drop(writer);
    let (writer, known) = run.writer(lock.share(), &name).unwrap();
    assert_eq!(known.iter().next().unwrap().unwrap(), first);
    let second = writer.write(&b"[]"[..], page(2, clock::now())).unwrap();
    let third = writer.write(&b"[]"[..], page(3, clock::now())).unwrap();
    assert!(first.fetched_at < second.fetched_at && second.fetched_at < third.fetched_at);
    let next = new_run(&staging, &lock, now);
    assert!(next.id() > run.id());
    assert_eq!(next.record().started_at, now);
}

#[test]
fn page_that_cannot_be_read_stays_in_the_journal() {
    let (directory, staging, lock) = opened();
    let now = clock::now();
    let run = new_run(&staging, &lock, now);
    let name = Name::parse("users").unwrap();
    let (writer, _) = run.writer(lock.share(), &name).unwrap();
    let entry = PageEntry {
        slice: Some("id=1".to_owned()),
        ..page(1, now)
    };
    writer.write(&b"[]"[..], entry).unwrap();
    drop(writer);
    let (slice, aside) = (
        run.directory().join("users/id=1"),
        directory.path().join("aside"),
    );
    std::fs::rename(&slice, &aside).unwrap();
    std::fs::write(&slice, "").unwrap();
    assert!(matches!(
        run.writer(lock.share(), &name),
        Err(StagingError::Io { .. })
    ));
    std::fs::remove_file(&slice).unwrap();
    std::fs::rename(&aside, &slice).unwrap();
    let (_, known) = run.writer(lock.share(), &name).unwrap();
    assert_eq!(known.iter().count(), 1);
}

#[test]
fn file_of_another_format_is_refused() {
    let (_directory, staging, lock) = opened();
    let run = new_run(&staging, &lock, clock::now());
    let users = Name::parse("users").unwrap();
    let (writer, _) = run.writer(lock.share(), &users).unwrap();
    drop(writer);
    let refused = |file: &str, text: &str| {
        let path = run.directory().join(file);
        std::fs::write(&path, text).unwrap();
        let error = match file {
            "run.json" => staging.runs().unwrap_err(),
            "approvals.json" => run.approvals().unwrap_err(),
            _ => run.manifest(&users).unwrap_err(),
        };
        let text = error.to_string();
        assert!(text.starts_with(&path.display().to_string()), "{text}");
        assert!(text.contains("its format is 2"), "{text}");
    };
    refused("approvals.json", r#"{"format": 2, "approvals": []}"#);
    // Also if it has nothing else that is known.
    refused("users/manifest.json", r#"{"format": 2}"#);
    let record = std::fs::read_to_string(run.directory().join("run.json")).unwrap();
    let record = record.replace("\"format\": 1", "\"format\": 2");
    refused("run.json", &record);
}

#[test]
fn check_for_a_writer_does_not_block_writers() {
    let directory = tempfile::tempdir().unwrap();
    let staging = Staging::new(directory.path());
    drop(staging.lock("test").unwrap());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                staging.is_being_written().unwrap();
            }
        });
        let locked = (0..300).all(|_| staging.lock("test").is_ok());
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(locked);
    });
}

#[test]
fn run_that_was_never_made_leaves_nothing() {
    let (directory, staging, lock) = opened();
    let died = directory.path().join("2026-11-23/T020000Z");
    private_files::create_dirs(&died).unwrap();
    std::fs::write(died.join(".run.json.tmp"), "{").unwrap();
    new_run(&staging, &lock, clock::now());
    assert!(!died.exists());
}

#[test]
fn listed_runs_omit_details_and_a_resumed_run_keeps_them() {
    let (_directory, staging, lock) = opened();
    let (now, asked) = (Timestamp::now(), RunSpec::default());
    for limit in [1_200, 2_400] {
        let mut run = staging.create_run(&lock, now, 0, &asked).unwrap();
        run.update(|record| {
            let name = Name::parse("users").unwrap();
            let summary =
                ResourceSummary::without_pages(name, ResourceState::Failed, "a note".to_owned());
            record.resources.push(summary);
            record
                .rate
                .insert("limit_per_hour".to_owned(), limit.into());
            record.outcome = Some(Outcome::Stopped);
        })
        .unwrap();
    }
    let runs = staging.runs().unwrap();
    assert!(runs.iter().all(|run| run.record().resources.is_empty()));
    let limits: Vec<_> = (runs.iter())
        .map(|run| run.record().rate.get("limit_per_hour")?.as_u64())
        .collect();
    assert_eq!(limits, [None, Some(2_400)]);
    let resumed = staging.resume(&lock, now, &asked).unwrap().unwrap();
    assert_eq!(resumed.record().resources.len(), 1);
    let full = staging.runs_in_full().unwrap();
    assert_eq!(full[1].record(), resumed.record());
    assert_eq!(full[0].record().rate["limit_per_hour"], 1_200);
}

#[test]
fn concurrent_approvals_are_all_recorded() {
    let (_directory, staging, lock) = opened();
    let now = clock::now();
    let run = new_run(&staging, &lock, now);
    let approval = |n: u64| Approval {
        schema: None,
        resource: Name::parse("users").unwrap(),
        table: Name::parse("users").unwrap(),
        rows: n,
        sha256: n.to_string(),
        as_of: n,
        approved_at: now,
    };
    std::thread::scope(|scope| {
        for n in 0..8 {
            let run = &run;
            scope.spawn(move || run.approve([approval(n)]).unwrap());
        }
    });
    let mut noted: Vec<u64> = (run.approvals().unwrap().iter())
        .map(|approval| approval.as_of)
        .collect();
    noted.sort_unstable();
    assert_eq!(noted, (0..8).collect::<Vec<_>>());
}

/// A closed run with a page, a manifest and an approval.
fn closed_run(staging: &Staging, lock: &StagingLock, users: &Name) -> Run {
    let now = clock::now();
    let mut run = new_run(staging, lock, now);
    let (writer, _) = run.writer(lock.share(), users).unwrap();
    writer.write(&b"[]"[..], page(1, now)).unwrap();
    let manifest = Manifest {
        format: FORMAT,
        run_id: None,
        resource: users.clone(),
        mode: Mode::Full,
        state: State::Complete,
        pages: 1,
        rows: 0,
        bytes: 2,
        hits: 1,
        x_total: Some(0),
        window: None,
        cursor: Some(now),
        request_hash: "0123456789abcdef".to_owned(),
        journal_sha256: writer.journal_sha256().unwrap(),
        own_read: true,
        smaller_pages: None,
        reads: std::collections::BTreeMap::new(),
        evidence: Evidence::default(),
        started_at: now,
        finished_at: now,
    };
    run.seal(&manifest).unwrap();
    run.update(|record| {
        record.state = RunState::Closed;
        record.outcome = Some(Outcome::Complete);
        record.resources = vec![ResourceSummary::from(&manifest)];
        record
            .rate
            .insert("limit_per_hour".to_owned(), 1_200.into());
    })
    .unwrap();
    let approval = Approval {
        schema: None,
        resource: users.clone(),
        table: users.clone(),
        rows: 1,
        sha256: "00".to_owned(),
        as_of: 1,
        approved_at: now,
    };
    run.approve([approval]).unwrap();
    run
}

#[test]
fn pages_come_in_order_and_a_changed_line_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut lines) = (directory.path().join("pages.jsonl"), Vec::new());
    let (now, second) = (clock::now(), jiff::SignedDuration::from_secs(1));
    for (number, at) in [(3, now + second), (2, now), (1, now), (4, Timestamp::MIN)] {
        serde_json::to_writer(&mut lines, &page(number, at)).unwrap();
        lines.push(b'\n');
    }
    std::fs::write(&path, &lines).unwrap();
    let hash = crate::hash::hex(&<sha2::Sha256 as sha2::Digest>::digest(&lines));
    let received = journal::Pages::open_sealed(path.clone(), &hash, None).unwrap();
    let numbers = |journal: &journal::Pages| {
        let pages = (0..journal.len()).map(|at| journal.page(at).unwrap().page);
        pages.collect::<Vec<_>>()
    };
    assert_eq!(numbers(&received), [4, 2, 1, 3]);
    assert_eq!(numbers(&received.clone().by_number()), [1, 2, 3, 4]);
    let text = String::from_utf8(lines).unwrap();
    // Still a journal line, of the same length.
    std::fs::write(&path, text.replacen("\"page\":3", "\"page\":7", 1)).unwrap();
    assert_eq!(received.page(0).unwrap().page, 4);
    let error = received.page(3).unwrap_err().to_string();
    assert!(
        error.contains("it was changed while it was being read"),
        "{error}"
    );
    std::fs::write(&path, "").unwrap();
    let error = received.page(0).unwrap_err().to_string();
    assert!(
        error.contains("it was changed while it was being read"),
        "{error}"
    );
}

#[test]
fn flipped_bit_in_a_run_is_reported_or_changes_nothing() {
    let (_directory, staging, lock) = opened();
    let users = Name::parse("users").unwrap();
    let run = closed_run(&staging, &lock, &users);
    let read = || {
        let run = staging.runs_in_full()?.remove(0);
        let staged = run.staged(&users)?;
        let staged = staged.map(|staged| {
            let pages = staged.pages().collect::<Result<Vec<_>, _>>()?;
            Ok::<_, StagingError>((staged.manifest().clone(), pages))
        });
        let staged = staged.transpose()?;
        let text = format!("{:?} {staged:?} {:?}", run.record(), run.approvals()?);
        Ok::<_, StagingError>(text)
    };
    let sound = read().unwrap();
    for name in [
        "run.json",
        "approvals.json",
        "users/manifest.json",
        "users/pages.jsonl",
    ] {
        let path = run.directory().join(name);
        let bytes = std::fs::read(&path).unwrap();
        let mut found = 0;
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            std::fs::write(&path, flipped).unwrap();
            match read() {
                Ok(text) => assert_eq!(text, sound, "byte {at} of {name}"),
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains(name), "byte {at} of {name}: {text}");
                    found += 1;
                }
            }
        }
        // The others are in white space, and in the name of the digest.
        assert!(found * 10 > bytes.len() * 7, "{found} in {name}");
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(read().unwrap(), sound);
}

#[test]
fn run_without_digests_is_read_and_gets_them() {
    let (_directory, staging, lock) = opened();
    let users = Name::parse("users").unwrap();
    let run = closed_run(&staging, &lock, &users);
    for name in ["run.json", "approvals.json", "users/manifest.json"] {
        let path = run.directory().join(name);
        let mut document: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert!(document.as_object_mut().unwrap().remove("sha256").is_some());
        std::fs::write(&path, document.to_string()).unwrap();
    }
    // And of those before manifests were noted.
    let path = run.directory().join("run.json");
    let record = std::fs::read_to_string(&path).unwrap();
    let noted = format!(
        "\"manifest_sha256\":\"{}\",",
        run.record().resources[0].manifest_sha256.as_ref().unwrap()
    );
    let record = record.replace(&noted, "");
    std::fs::write(&path, record).unwrap();
    let mut old = staging.runs_in_full().unwrap().remove(0);
    assert_eq!(old.record().resources[0].manifest_sha256, None);
    assert_eq!(old.record().seq, run.record().seq);
    assert!(old.staged(&users).unwrap().is_some());
    assert_eq!(old.approvals().unwrap().len(), 1);
    old.update(|record| record.hits += 1).unwrap();
    let record = std::fs::read_to_string(run.directory().join("run.json")).unwrap();
    assert!(record.contains("\"sha256\""), "{record}");
}

#[test]
fn manifest_other_than_the_recorded_one_is_refused() {
    let (_directory, staging, lock) = opened();
    let users = Name::parse("users").unwrap();
    let run = closed_run(&staging, &lock, &users);
    let other = Manifest {
        mode: Mode::Delta,
        ..run.manifest(&users).unwrap().unwrap()
    };
    // Complete, its own digest included.
    run.seal(&other).unwrap();
    let listed = staging.runs().unwrap().remove(0);
    for run in [&run, &listed] {
        let text = run.manifest(&users).unwrap_err().to_string();
        assert!(
            text.contains("not the one that run.json was closed with"),
            "{text}"
        );
    }
    // A process that resumes the run reads it as it is.
    let mut open = run.clone();
    open.update(|record| record.state = RunState::Open).unwrap();
    assert_eq!(open.manifest(&users).unwrap().unwrap().mode, Mode::Delta);
}

#[test]
fn run_whose_number_and_name_disagree_is_refused() {
    let (_directory, staging, lock) = opened();
    let asked = RunSpec::default();
    let mut runs: Vec<Run> = (0..3)
        .map(|_| staging.create_run(&lock, clock::now(), 0, &asked).unwrap())
        .collect();
    runs[0].update(|record| record.seq = 5).unwrap();
    let text = staging.runs().unwrap_err().to_string();
    let named = runs[0].directory().display().to_string();
    assert!(text.starts_with(&named), "{text}");
    let younger = format!("above that of the younger run {} (3)", runs[2].id());
    assert!(text.contains(&younger), "{text}");
}

#[test]
fn no_page_is_written_behind_a_link() {
    use std::os::unix::fs::symlink;
    let directory = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let staging = Staging::new(directory.path());
    let lock = staging.lock("test").unwrap();
    let now = clock::now();
    let run = new_run(&staging, &lock, now);
    let name = Name::parse("users").unwrap();
    let slice = |slice: &str| PageEntry {
        slice: Some(slice.to_owned()),
        ..page(1, now)
    };
    let (writer, _) = run.writer(lock.share(), &name).unwrap();
    let users = run.directory().join("users");
    writer.write(&b"[]"[..], slice("id=1")).unwrap();
    std::fs::remove_dir_all(users.join("id=1")).unwrap();
    symlink(outside.path(), users.join("id=1")).unwrap();
    symlink(outside.path(), users.join("id=2")).unwrap();
    symlink(outside.path().join("new"), users.join("id=3")).unwrap();
    for at in ["id=1", "id=2", "id=3"] {
        let text = writer.write(&b"[]"[..], slice(at)).unwrap_err().to_string();
        assert!(text.contains("it is a symbolic link"), "{text}");
        assert!(
            text.starts_with(&users.join(at).display().to_string()),
            "{text}"
        );
    }
    drop(writer);
    // A process that resumes the run meets the links, too.
    let (writer, known) = run.writer(lock.share(), &name).unwrap();
    assert!(known.is_empty());
    writer.write(&b"[]"[..], slice("id=1")).unwrap_err();
    // The same holds for the directory of the resource.
    std::fs::rename(&users, directory.path().join("aside")).unwrap();
    symlink(outside.path(), &users).unwrap();
    writer.write(&b"[]"[..], page(1, now)).unwrap_err();
    run.writer(lock.share(), &name).unwrap_err();
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn removed_or_linked_lock_file_lets_no_writer_in() {
    let directory = tempfile::tempdir().unwrap();
    let staging = Staging::new(directory.path());
    let path = directory.path().join(private_files::LOCK);
    let lock = staging.lock("test").unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(
        staging.lock("test"),
        Err(StagingError::Locked { .. })
    ));
    assert!(staging.is_being_written().unwrap());
    drop(lock);
    drop(staging.lock("test").unwrap());
    // As a backup of hard links has it.
    std::fs::hard_link(&path, directory.path().join("backup")).unwrap();
    drop(staging.lock("test").unwrap());

    let other = directory.path().join("precious");
    std::fs::write(&other, "precious").unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::hard_link(&other, &path).unwrap();
    let text = staging.lock("test").unwrap_err().to_string();
    assert!(text.contains("it is a hard link"), "{text}");
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "precious");
}

#[test]
fn run_without_its_record_is_refused() {
    let (_directory, staging, lock) = opened();
    let users = Name::parse("users").unwrap();
    let run = closed_run(&staging, &lock, &users);
    let record = run.directory().join("run.json");
    std::fs::remove_file(&record).unwrap();
    let text = staging.runs().unwrap_err().to_string();
    assert!(text.starts_with(&record.display().to_string()), "{text}");
    let path = run.directory().display().to_string();
    for text in ["latest", &path] {
        assert!(matches!(
            staging.find(text),
            Err(StagingError::Broken { .. })
        ));
    }
    let made = staging.create_run(&lock, clock::now(), 0, &RunSpec::default());
    assert!(matches!(made, Err(StagingError::Broken { .. })));
    assert!(run.directory().join("users/manifest.json").exists());
}

#[test]
fn finished_run_shows_nothing_added_later() {
    let directory = tempfile::tempdir().unwrap();
    let staging = Staging::new(directory.path());
    let [users, teams] = ["users", "teams"].map(|name| Name::parse(name).unwrap());
    let lock = staging.lock("test").unwrap();
    let mut run = closed_run(&staging, &lock, &users);
    let others = || {
        let finished = staging.finished_runs().unwrap();
        let shows = |run: &Run| [&users, &teams].map(|name| run.manifest(name).unwrap().is_some());
        finished.iter().map(shows).collect::<Vec<_>>()
    };
    // An open run counts as being written while a process holds the lock.
    run.update(|record| (record.state, record.outcome) = (RunState::Open, None))
        .unwrap();
    assert_eq!(others(), [[false; 2]; 0]);
    drop(lock);
    assert_eq!(others(), [[true, false]]);
    let left = staging.finished_runs().unwrap();
    let closed = |record: &mut RunRecord| {
        (record.state, record.outcome) = (RunState::Closed, Some(Outcome::Failed));
    };
    run.update(closed).unwrap();
    let lock = staging.lock("test").unwrap();
    let failed = staging.finished_runs().unwrap();
    assert!(!failed[0].is_open());
    // Another process resumes it.
    drop(run.writer(lock.share(), &teams).unwrap());
    let manifest = run.manifest(&users).unwrap().unwrap();
    run.seal(&Manifest {
        resource: teams.clone(),
        ..manifest
    })
    .unwrap();
    for listed in [&left[0], &failed[0]] {
        assert!(listed.manifest(&users).unwrap().is_some());
        assert_eq!(listed.manifest(&teams).unwrap(), None);
    }
    run.update(|record| record.outcome = Some(Outcome::Complete))
        .unwrap();
    drop(lock);
    assert_eq!(others(), [[true; 2]]);
}

#[test]
fn the_command_log_is_bounded_repaired_and_never_counts_back() {
    let directory = tempfile::tempdir().unwrap();
    let staging = Staging::new(directory.path().join("staging"));
    let record = |command: &str, count: u64| CommandRecord {
        requests: [("200".to_owned(), count)].into(),
        ..CommandRecord::ending_now(command, clock::now())
    };
    staging.record_command(record("load", 1)).unwrap();
    assert!(!staging.root().exists(), "only a run makes the directory");
    staging.record_command(record("run", 3)).unwrap();
    let path = staging.root().join(".commands.jsonl");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    // A line that was cut, and one of another program.
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("[1]\n{\"format\": 1, \"comm");
    std::fs::write(&path, &text).unwrap();
    assert_eq!(staging.commands().unwrap().len(), 1);
    staging.record_command(record("load", 4)).unwrap();
    let commands = staging.commands().unwrap();
    let names: Vec<&str> = commands.iter().map(|one| one.command.as_str()).collect();
    assert_eq!(names, ["run", "load"]);
    assert_eq!(commands[1].requests_total["200"], 7);
    // Twice what is kept.
    let line = serde_json::to_string(&commands[1]).unwrap() + "\n";
    std::fs::write(&path, line.repeat(10_000)).unwrap();
    staging.record_command(record("run", 1)).unwrap();
    let commands = staging.commands().unwrap();
    assert_eq!(commands.len(), 5_000);
    let last = commands.last().unwrap();
    assert_eq!(
        (last.command.as_str(), last.requests_total["200"]),
        ("run", 8)
    );
}

#[test]
fn processes_append_to_the_command_log_side_by_side() {
    let directory = tempfile::tempdir().unwrap();
    let staging = Staging::new(directory.path().join("staging"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let record = CommandRecord {
                        requests: [("200".to_owned(), 1)].into(),
                        ..CommandRecord::ending_now("run", clock::now())
                    };
                    staging.record_command(record).unwrap();
                }
            });
        }
    });
    let commands = staging.commands().unwrap();
    let totals: Vec<u64> = (commands.iter())
        .map(|one| one.requests_total["200"])
        .collect();
    assert_eq!(totals, (1..=100).collect::<Vec<u64>>());
}

#[test]
fn the_command_log_takes_over_what_an_earlier_version_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let staging = Staging::new(directory.path().join("staging"));
    std::fs::create_dir(staging.root()).unwrap();
    let earlier = staging.root().join(".last-run.json");
    let record = CommandRecord::ending_now("run", clock::now());
    std::fs::write(&earlier, serde_json::to_vec(&record).unwrap()).unwrap();
    assert_eq!(staging.commands().unwrap(), std::slice::from_ref(&record));
    let later = CommandRecord::ending_now("load", clock::now());
    staging.record_command(later.clone()).unwrap();
    assert_eq!(staging.commands().unwrap(), [record, later]);
    assert!(!earlier.exists());
}
