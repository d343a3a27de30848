//! How many pages a second `cursus extract` stages durably when the API holds nothing back, and in how much memory.
//!
//! `cargo bench --bench extract`; pages and rounds may follow: `-- 5000 3`. The simulated API answers in 1 ms and shares
//! the machine. "writing alone" stages the same number of pages without asking anybody for them.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cursus::name::Name;
use cursus::staging::{PageEntry, PageRequest, RunSpec, Staging};
use cursus_simulator::{Limits, Options, Scale, Simulator};
use jiff::Timestamp;
use nix::sys::resource::{UsageWho, getrusage};

const PAGE: u64 = 100;

type Error = Box<dyn std::error::Error>;

/// As the first argument: run what follows, and print its peak memory.
const MEASURE: &str = "--measure";

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, program, rest @ ..] = arguments.as_slice()
        && first == MEASURE
    {
        let output = Command::new(program)
            .args(rest)
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        println!("{}", getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss());
        return Ok(());
    }
    let mut numbers = arguments
        .iter()
        .filter_map(|argument| argument.parse::<u64>().ok());
    let pages = numbers.next().unwrap_or(3000);
    let rounds = numbers.next().unwrap_or(5);
    let runtime = tokio::runtime::Runtime::new()?;
    let simulator = runtime.block_on(Simulator::start(options(usize::try_from(pages * PAGE)?)))?;
    let mut all = Vec::new();
    let mut writing = Vec::new();
    let mut peak = 0;
    for _ in 0..rounds {
        let folder = tempfile::Builder::new().prefix("cursus-bench-").tempdir()?;
        let started = Instant::now();
        let memory = extract(folder.path(), &simulator)?;
        all.push(rate(pages, started.elapsed()));
        peak = peak.max(memory);
        let started = Instant::now();
        write(&folder.path().join("alone"), pages)?;
        writing.push(rate(pages, started.elapsed()));
    }
    println!("{pages} pages of {PAGE} rows, {rounds} rounds, whole process: median (min – max)");
    print("extract", &mut all);
    print("writing alone", &mut writing);
    println!("{:<20}{} MB", "peak memory", peak / 1024);
    Ok(())
}

fn options(memberships: usize) -> Options {
    Options {
        scale: Scale {
            memberships,
            ..Scale::quick_start()
        },
        limits: Limits {
            per_second: 1_000_000,
            per_hour: 1_000_000_000,
            ..Limits::default()
        },
        latency: Duration::from_millis(1)..=Duration::from_millis(1),
        ..Options::default()
    }
}

fn extract(folder: &Path, simulator: &Simulator) -> Result<i64, Error> {
    let output = Command::new(std::env::current_exe()?)
        .args([MEASURE, env!("CARGO_BIN_EXE_cursus")])
        .args(["extract", "-q", "--select", "coalitions_users"])
        .current_dir(folder)
        .env("CURSUS_API_URL", simulator.url())
        .env("CURSUS_CLIENT_ID", simulator.client_id())
        .env("CURSUS_CLIENT_SECRET", simulator.client_secret())
        .env("XDG_STATE_HOME", folder)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// Stages pages of the usual size, from as many threads as the extractor's runtime would.
fn write(staging: &Path, pages: u64) -> Result<(), Error> {
    let staging = Staging::new(staging);
    let lock = staging.lock("bench")?;
    let run = staging.create_run(&lock, Timestamp::now(), 0, &RunSpec::default())?;
    let (writer, _) = run.writer(lock.share(), &Name::parse("coalitions_users")?)?;
    let body = body();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|first| {
                let (writer, body) = (&writer, &body);
                scope.spawn(move || {
                    for page in (first + 1..=pages).step_by(8) {
                        writer.write(body.as_slice(), entry(page))?;
                    }
                    Ok::<(), cursus::staging::StagingError>(())
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| "a writer panicked")??;
        }
        Ok(())
    })
}

fn body() -> Vec<u8> {
    let row = |id: u64| {
        format!(
            r#"{{"id":{id},"coalition_id":{},"user_id":{},"score":{},"rank":{},"created_at":"2026-01-02T03:04:05.678Z","updated_at":"2026-02-03T04:05:06.789Z"}}"#,
            id % 397,
            id * 31 % 250_000,
            id * 17 % 4000,
            id % 900
        )
    };
    let rows: Vec<String> = (0..PAGE).map(|at| row(4_000_000 - at * 3)).collect();
    format!("[{}]", rows.join(",")).into_bytes()
}

fn entry(page: u64) -> PageEntry {
    PageEntry {
        page: u32::try_from(page).unwrap_or(u32::MAX),
        slice: None,
        request: String::new(),
        page_request: PageRequest {
            list: "/v2/coalitions_users".to_owned(),
            page_size: PAGE,
            page_number: page,
            ..PageRequest::default()
        },
        status: 200,
        rows: PAGE,
        bytes: 0,
        sha256: String::new(),
        x_total: None,
        per_page: None,
        first_id: None,
        last_id: None,
        fetched_at: Timestamp::now(),
        server_date: None,
        duration_ms: 1,
        attempts: 1,
        replaces: None,
        rewritten: None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(pages: u64, time: Duration) -> f64 {
    pages as f64 / time.as_secs_f64()
}

fn print(name: &str, rates: &mut [f64]) {
    rates.sort_by(f64::total_cmp);
    if let (Some(min), Some(max), Some(median)) =
        (rates.first(), rates.last(), rates.get(rates.len() / 2))
    {
        println!("{name:<20}{median:.0} pages/s ({min:.0} – {max:.0})");
    }
}
