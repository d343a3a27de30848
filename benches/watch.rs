//! What `cursus watch` needs over hundreds of rounds: its memory after them, and the time of a round.
//! Fails when a round fails, when it needs more memory than extract may, or when it needs more as runs pile up.
//!
//! `cargo bench --bench watch`; the number of rounds may follow: `-- 1000`. Linux only, for its /proc. With `faults` the API
//! fails now and then in every way that it knows, and changes while it is read; a few rounds may then fail, but at the end the
//! mirror must be what the API shows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints its figures, and fails by panicking"
)]

#[allow(dead_code, unused_imports, reason = "the tests use the rest")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use cursus_simulator::{Churn, Fault, FaultKind, Options, Simulator};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use support::{Workdir, api, oracle, simulator, small};

/// What the whole process may need.
const MOST_MB: f64 = 64.0;
/// From here on memory is expected to be level, however many runs come.
const SETTLED: u64 = 100;
/// With faults a round is rarely the worst one: what that needs is known later.
const SETTLED_WITH_FAULTS: u64 = 200;
/// How much more a later round may need.
const MOST_GROWTH: f64 = 1.1;
/// How many more files may be open at one moment than ever before: a connection or two.
const MORE_FILES: usize = 3;
/// With faults one round in this many may fail; one of a short measurement.
const FEWEST_A_FAILURE: u64 = 20;
/// Exit codes of a round, and of `watch` for its worst one, from good to bad.
const EXITS: [u64; 7] = [0, 3, 6, 4, 5, 2, 1];
/// Of each way to fail, for each request.
const PROBABILITY: f64 = 0.001;

fn main() -> ExitCode {
    // cargo passes `--bench` to every benchmark.
    let rounds = std::env::args().find_map(|argument| argument.parse().ok());
    let with_faults = std::env::args().any(|argument| argument == "faults");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if runtime.block_on(measure(rounds.unwrap_or(300), with_faults)) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn measure(rounds: u64, with_faults: bool) -> bool {
    let simulator = if with_faults {
        api::start(restless()).await
    } else {
        simulator().await
    };
    let settles = if with_faults {
        SETTLED_WITH_FAULTS
    } else {
        SETTLED
    };
    let workdir = Workdir::with(&simulator).await;
    if with_faults {
        faults().for_each(|fault| simulator.inject(fault));
    }
    let number = rounds.to_string();
    let arguments = [
        "watch", "--every", "1ms", "--jitter", "0s", "--rounds", &number, "--json", "-q",
    ];
    let mut child = workdir
        .command(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let started = Instant::now();
    let (mut requests, mut peak, mut settled, mut last) = (0, 0.0, 0.0_f64, 0.0);
    let (mut most_files, mut settled_files) = (0, 0);
    let mut states: BTreeMap<String, u64> = BTreeMap::new();
    let (mut seen, mut worst) = (0, 0);
    let mut since = (0, started);
    println!(
        "{:>8} {:>10} {:>10} {:>8} {:>8} {:>12}",
        "rounds", "RSS MB", "peak MB", "files", "hits", "ms a round"
    );
    while let Some(line) = lines.next_line().await.unwrap() {
        let round: Value = serde_json::from_str(&line).unwrap();
        let state = round["state"].as_str().unwrap();
        assert!(with_faults || state == "complete", "{round:#}");
        *states.entry(state.to_owned()).or_default() += 1;
        let exit = round["exit_code"].as_u64().unwrap();
        let exit = EXITS.iter().position(|known| *known == exit);
        worst = worst.max(exit.unwrap_or_else(|| panic!("{round:#}")));
        seen += 1;
        requests += round["hits"].as_u64().unwrap_or(0);
        let number = round["round"].as_u64().unwrap();
        assert_eq!(number, seen, "every round is printed once");
        // The last one ends the process.
        if number < rounds
            && let (Some(now), Some(most)) = (memory(id, "VmRSS:"), memory(id, "VmHWM:"))
        {
            (peak, last) = (most, now);
            let files = open_files(id);
            most_files = most_files.max(files);
            if number <= settles {
                settled = settled.max(now);
                settled_files = most_files;
            }
            if number == 1 || number.is_multiple_of(50) || number == rounds - 1 {
                let took = since.1.elapsed().as_secs_f64() * 1000.0;
                let each = took / f64::from(u32::try_from(number - since.0).unwrap());
                println!(
                    "{number:>8} {now:>10.1} {most:>10.1} {files:>8} {requests:>8} {each:>12.0}"
                );
                since = (number, Instant::now());
            }
        }
        simulator.advance(Duration::from_mins(15));
    }
    let ended = child.wait().await.unwrap();
    assert_eq!(seen, rounds, "{ended}: it ended before its last round");
    let code = ended.code().and_then(|code| u64::try_from(code).ok());
    assert_eq!(
        code,
        Some(EXITS[worst]),
        "the end is that of the worst round"
    );
    let failed = states.get("failed").copied().unwrap_or(0);
    let most = (rounds / FEWEST_A_FAILURE).max(1);
    assert!(
        failed <= most,
        "{failed} of {rounds} rounds failed: {states:?}"
    );
    let states: Vec<String> = (states.iter())
        .map(|(state, rounds)| format!("{rounds} {state}"))
        .collect();
    println!("rounds: {}", states.join(", "));
    println!(
        "open files: {settled_files} at most up to round {settles}, {most_files} at most in all"
    );
    if with_faults {
        let spoiled = simulator.statistics().faults;
        println!("answers spoiled by a fault: {spoiled} of {requests}");
        is_mirrored(&simulator, &workdir).await;
    }
    println!(
        "{rounds} rounds, {:.0} ms each; a quarter of an hour of changes between them",
        started.elapsed().as_secs_f64() * 1000.0 / f64::from(u32::try_from(rounds).unwrap())
    );
    println!(
        "{:+.1} % since round {settles}",
        (last / settled - 1.0) * 100.0
    );
    peak <= MOST_MB && last <= settled * MOST_GROWTH && most_files <= settled_files + MORE_FILES
}

/// A small world whose rows come, change and go while they are read.
fn restless() -> Options {
    Options {
        churn: Some(Churn {
            every: 5,
            inserted: 1,
            updated: 1,
            deleted: 1,
            resources: Vec::new(),
        }),
        ..small()
    }
}

/// Every way to fail, each at a low probability; nothing that stops the clock for an hour.
fn faults() -> impl Iterator<Item = Fault> {
    let soon = Some(1);
    let of_pages = [
        FaultKind::TooManyRequests { retry_after: None },
        FaultKind::TooManyRequests { retry_after: soon },
        FaultKind::HourlyLimit { retry_after: soon },
        FaultKind::Status { status: 500 },
        FaultKind::Status { status: 502 },
        FaultKind::Status { status: 503 },
        FaultKind::Html,
        FaultKind::Object,
        FaultKind::Empty,
        FaultKind::BrokenJson,
        FaultKind::FewerBytes,
        FaultKind::ResetBefore,
        FaultKind::ResetInside,
        FaultKind::Stall { seconds: 0.05 },
        FaultKind::Gzip,
        FaultKind::SlowChunks { seconds: 0.05 },
        FaultKind::NoTotal,
        FaultKind::WrongTotal { by: 3 },
        FaultKind::WrongTotal { by: -3 },
        FaultKind::ShortPage { by: 2 },
        FaultKind::NotFound,
        FaultKind::Cloudflare,
        FaultKind::Forbidden,
        FaultKind::RevokedToken,
    ];
    let of_pages = of_pages.map(|kind| Fault::new("/v2", kind));
    let of_token = Fault::new("/oauth/token", FaultKind::InvalidClient);
    let rules = of_pages.into_iter().chain([of_token]);
    rules.map(|rule| Fault {
        probability: Some(PROBABILITY),
        ..rule
    })
}

/// Fails unless deltas have skipped nothing, and a full read makes the mirror what the API shows.
async fn is_mirrored(simulator: &Simulator, workdir: &Workdir) {
    simulator.calm();
    workdir.json(["run", "--force"]).await;
    // Campuses of people whose own row does not change are seen by full reads only.
    let people = simulator.rows("users");
    let moved = people.iter().filter_map(|row| row["id"].as_i64()).collect();
    // Which campuses an achievement has is known by their names, and campuses come and go here as well.
    let is_checked = |table: &str| table != "campus_achievements";
    oracle::assert_lacks_nothing_but(workdir, simulator, &moved, is_checked).await;
    println!("after a last delta the mirror lacked nothing");
    workdir.cursus(["run", "--full"]).await;
    let held = workdir.json(["prune", "ls"]).await;
    if held.as_array().is_some_and(|held| !held.is_empty()) {
        workdir.json(["load", "--again", "--allow-prune"]).await;
    }
    oracle::assert_mirrors(workdir, simulator).await;
    println!("after a full read the mirror was what the API shows");
}

fn open_files(id: u32) -> usize {
    std::fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count)
}

/// Megabytes of a line of the process's status.
fn memory(id: u32, line: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|found| found.strip_prefix(line))?;
    let kilobytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes / 1024.0)
}
