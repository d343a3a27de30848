//! SIGINT, SIGTERM and SIGHUP: the end at the next safe point, 130, 143 or 129, and a sentence that says what is left and how to
//! resume. What SIGHUP is to `watch`, `service` has.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Write as _};
use std::process::Stdio;
use std::time::Duration;

use cursus_simulator::{Fault, FaultKind};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use crate::support::running::{sessions, until, until_asleep};
use crate::support::workdir::{NO_DATABASE, PATIENCE, PIPELINE};
use crate::support::{Ran, Running, Workdir, boxes, oracle, simulator};

const SIGNALS: [(Signal, &str, i32); 3] = [
    (Signal::SIGINT, "SIGINT", 130),
    (Signal::SIGTERM, "SIGTERM", 143),
    (Signal::SIGHUP, "SIGHUP", 129),
];

/// Resources that are read by the ids of another, after all others.
const FANNED_OUT: usize = 1;

/// It ended by itself, and in this way.
#[track_caller]
fn is_stopped(ran: Ran, name: &str, code: i32) -> Ran {
    let ran = ran.exits(code).says(&format!("interrupted by {name}: "));
    assert!(!ran.stderr.contains("stopped at once"), "{ran}");
    ran
}

#[tokio::test]
async fn stopped_extract_resumes_without_asking_twice() {
    let cost = {
        let simulator = simulator().await;
        let workdir = Workdir::with(&simulator).await;
        workdir.json(["run"]).await["hits"].as_u64().unwrap()
    };
    for (signal, name, code) in SIGNALS {
        for command in ["extract", "run", "watch"] {
            if command == "watch" && signal == Signal::SIGHUP {
                continue;
            }
            let simulator = simulator().await;
            let workdir = Workdir::with(&simulator).await;
            // One answer never comes; all others do.
            let kind = FaultKind::Stall { seconds: 3600.0 };
            simulator.inject(Fault::new("coalitions", kind));
            let mut arguments = vec![command, "--json"];
            if command == "watch" {
                arguments.extend(["--every", "1h"]);
            }
            let running = Running::start(&workdir, &arguments);
            // Nothing but that answer is missing, and what needs it.
            let manifests = async || {
                let files = walkdir::WalkDir::new(workdir.path("staging")).into_iter();
                let names = files.flatten().map(walkdir::DirEntry::into_path);
                names.filter(|path| path.ends_with("manifest.json")).count()
            };
            let whole = oracle::RESOURCES.len() - 1 - FANNED_OUT;
            until("all else is read", async || manifests().await == whole).await;
            running.signal(signal);
            let ran = is_stopped(running.end().await, name, code);
            let document = ran.json();
            assert_eq!(document["state"], "stopped", "{ran}");
            let run = document["run_id"].as_str().unwrap();
            let left =
                format!("the run {run} keeps {whole} finished resources and 0 pages of others");
            assert!(
                document["errors"][0].as_str().unwrap().contains(&left),
                "{ran}"
            );

            simulator.clear_faults();
            let resumed = workdir.json(["run"]).await;
            assert_eq!(resumed["run_id"], run);
            assert_eq!(simulator.statistics().hits, cost + 1, "{command}");
            oracle::assert_mirrors(&workdir, &simulator).await;
        }
    }
}

#[tokio::test]
async fn stopped_load_cancels_its_statement_and_session() {
    for (signal, name, code) in SIGNALS {
        let workdir = boxes::workdir().await;
        boxes::three_runs(&workdir);
        let count = std::fs::read_to_string(workdir.path("sql/count.sql")).unwrap();
        for (arguments, left) in [
            (&["load"][..], "0 of 3 pending runs loaded, "),
            (
                &["replay", "--into", "past"],
                "0 of 3 pending runs loaded, ",
            ),
            (&["replay", "--rebuild"], "the mirror is as it was"),
        ] {
            workdir.write("sql/count.sql", "SELECT pg_sleep(3600)");
            let running = Running::start(&workdir, arguments);
            until_asleep(&workdir, &running).await;
            let pid = running.pid();
            running.signal(signal);
            let ran = is_stopped(running.end().await, name, code);
            assert!(ran.stderr.contains(left), "{ran}");
            assert_eq!(workdir.number(&sessions(pid, "state = 'active'")).await, 0);

            workdir.write("sql/count.sql", &count);
            workdir.cursus(["load"]).await.exits(0);
            let rows = workdir.number("SELECT count(*) FROM things").await;
            assert_eq!(rows, 12, "it resumes");
        }
    }
}

#[tokio::test]
async fn stopped_query_is_cancelled() {
    let workdir = Workdir::new().await;
    let running = Running::start(&workdir, &["sql", "SELECT pg_sleep(3600)"]);
    until_asleep(&workdir, &running).await;
    let pid = running.pid();
    running.signal(Signal::SIGINT);
    is_stopped(running.end().await, "SIGINT", 130);
    assert_eq!(workdir.number(&sessions(pid, "state = 'active'")).await, 0);
}

#[tokio::test]
async fn run_stopped_during_its_load_says_what_is_left() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.write("pipeline.toml", PIPELINE);
    workdir.write("sql/users_campus.sql", "SELECT pg_sleep(3600)");
    for command in [&["run"][..], &["watch", "--every", "1h"]] {
        let running = Running::start(&workdir, command);
        until_asleep(&workdir, &running).await;
        running.signal(Signal::SIGTERM);
        let ran = is_stopped(running.end().await, "SIGTERM", 143);
        let left = "`cursus load` starts with it";
        assert!(ran.stderr.contains(left), "{ran}");
    }
    std::fs::remove_file(workdir.path("sql/users_campus.sql")).unwrap();
    workdir.cursus(["load"]).await.exits(0);
    oracle::assert_mirrors(&workdir, &simulator).await;
}

/// Reading a pipe that nobody writes to stands for whatever does not come to an end.
#[tokio::test]
async fn second_signal_or_timeout_ends_a_command_at_once() {
    let mut workdir = Workdir::new().await;
    let pipe = workdir.path("root.pem");
    nix::unistd::mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let url = format!(
        "{NO_DATABASE}&sslmode=verify-ca&sslrootcert={}",
        pipe.display()
    );
    workdir.set("CURSUS_DATABASE_URL", url);
    for second in [Some(Signal::SIGINT), None] {
        let mut running = Running::start(&workdir, &["status"]);
        let opening = pipe.clone();
        // Opens when somebody reads.
        let opened =
            tokio::task::spawn_blocking(move || File::options().write(true).open(opening).unwrap());
        let held = opened.await.unwrap();
        running.signal(Signal::SIGTERM);
        running.until_it_says("a second signal stops it").await;
        let why = match second {
            Some(second) => {
                running.signal(second);
                "because a second signal was received"
            }
            None => "no safe point was reached",
        };
        running.end().await.exits(143).says(why);
        drop(held);
    }
}

/// A pipe that takes no byte more, and that nobody reads.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    for size in [4096, 1] {
        while writer.write(&vec![b'.'; size]).is_ok() {}
    }
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (reader, writer)
}

/// Whether a process catches a signal (`SigCgt`) or ignores it (`SigIgn`), as the system tells it.
fn handles(pid: i32, how: &str, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let signals = status.lines().find_map(|line| line.strip_prefix(how));
    let signals = signals.unwrap().trim_start_matches(':').trim();
    let signals = u64::from_str_radix(signals, 16).unwrap();
    signals & (1 << (signal as u32 - 1)) != 0
}

fn catches_sigterm(pid: i32) -> bool {
    handles(pid, "SigCgt", Signal::SIGTERM)
}

#[tokio::test]
async fn command_with_unread_stderr_ends_in_time() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let kind = FaultKind::Stall { seconds: 3600.0 };
    simulator.inject(Fault::new("/v2", kind));
    for (arguments, signals) in [
        (&["extract"][..], 1),
        (&["extract"], 2),
        (&["sql", "SELECT pg_sleep(3600)"], 1),
    ] {
        let (_reader, full) = full_pipe();
        let mut command = workdir.command(arguments);
        command.stdout(std::process::Stdio::null()).stderr(full);
        let mut child = command.spawn().unwrap();
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        until("it watches for signals", async || catches_sigterm(pid)).await;
        if arguments[0] == "sql" {
            let asleep = sessions(pid, "wait_event = 'PgSleep'");
            let look = async || workdir.number(&asleep).await == 1;
            until("the server sleeps for it", look).await;
        }
        for _ in 0..signals {
            kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        }
        let ended = tokio::time::timeout(Duration::from_secs(15), child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("{arguments:?} does not end"));
        assert_eq!(ended.unwrap().code(), Some(143), "{arguments:?}");
    }
}

/// A terminal that closes sends SIGHUP twice, a service manager may send it with SIGTERM.
#[tokio::test]
async fn sighup_is_never_the_second_signal() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let kind = FaultKind::Stall { seconds: 3600.0 };
    simulator.inject(Fault::new("/v2", kind));
    for (first, name, code) in SIGNALS {
        let running = Running::start(&workdir, &["extract", "--no-resume"]);
        let requests = simulator.statistics().hits;
        let asks = async || simulator.statistics().hits > requests;
        until("it waits for an answer", asks).await;
        running.signal(first);
        running.signal(Signal::SIGHUP);
        let ran = running.end().await;
        // The system tells a process of several signals in no order.
        if ran.stderr.contains("interrupted by SIGHUP") {
            is_stopped(ran, "SIGHUP", 129);
        } else {
            is_stopped(ran, name, code);
        }
    }
}

#[tokio::test]
async fn under_nohup_sighup_stays_ignored() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let kind = FaultKind::Stall { seconds: 3600.0 };
    simulator.inject(Fault::new("/v2", kind));
    for arguments in [&["extract"][..], &["watch", "--every", "1h"]] {
        let mut command = workdir.command_by("nohup", arguments);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        until("it watches for signals", async || catches_sigterm(pid)).await;
        assert!(handles(pid, "SigIgn", Signal::SIGHUP), "{arguments:?}");
        assert!(!handles(pid, "SigCgt", Signal::SIGHUP), "{arguments:?}");
        for signal in [Signal::SIGHUP, Signal::SIGTERM] {
            kill(Pid::from_raw(pid), signal).unwrap();
        }
        let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        let ended = ended.expect("it does not end").unwrap();
        assert_eq!(ended.status.code(), Some(143), "{arguments:?}");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!said.contains("configuration"), "{said}");
    }
}

/// SIGHUP comes when everything that is written to the terminal already fails.
#[tokio::test]
async fn a_terminal_that_is_closed_ends_what_runs_on_it() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let kind = FaultKind::Stall { seconds: 3600.0 };
    simulator.inject(Fault::new("/v2", kind));
    for arguments in [
        &["extract"][..],
        &["run", "-vv"],
        &["watch", "--every", "1h"],
        &["sql", "SELECT pg_sleep(3600)"],
    ] {
        let terminal = openpty(None, None).unwrap();
        for end in [&terminal.master, &terminal.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let end = || Stdio::from(terminal.slave.try_clone().unwrap());
        let mut command = workdir.command_by("setsid", &[&["--ctty"], arguments].concat());
        command.stdin(end()).stdout(end()).stderr(end());
        let mut child = command.spawn().unwrap();
        drop(command);
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        let watches = async || handles(pid, "SigCgt", Signal::SIGHUP);
        until("it watches for signals", watches).await;
        drop(terminal);
        let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("{arguments:?} does not end"));
        assert_eq!(ended.unwrap().code(), Some(129), "{arguments:?}");
    }
    let last = &workdir.json(["status"]).await["last_run"];
    assert_eq!(last["outcome"], "interrupted", "{last:#}");
}

/// A full disk under a log, a closed terminal under `nohup`: what cannot be written is lost, and nothing else.
#[tokio::test]
async fn a_stderr_that_takes_nothing_stops_nothing() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    for arguments in [
        &["run", "-vv"][..],
        &["extract", "--full", "--log-format", "json"],
        &["watch", "--every", "1h", "--rounds", "1"],
    ] {
        let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
        let mut command = workdir.command(arguments);
        command.stdout(full()).stderr(full());
        let ended = tokio::time::timeout(PATIENCE, command.status()).await;
        let ended = ended.expect("it does not end").unwrap();
        assert_eq!(ended.code(), Some(0), "{arguments:?}");
    }
    oracle::assert_mirrors(&workdir, &simulator).await;
}
