//! What `cursus watch` needs over hundreds of rounds: its memory after so many of them, and the time of a round.
//! Fails when a round fails, when it needs more memory than extract may, or when it needs more as runs pile up.
//!
//! `cargo bench --bench watch`; the number of rounds may follow: `-- 1000`. Linux only, for its /proc.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints its figures, and fails by panicking"
)]

#[allow(dead_code, unused_imports, reason = "the tests use the rest")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use support::{Workdir, simulator};

/// What the whole process may need.
const MOST_MB: f64 = 64.0;
/// From here on memory is expected to be level, however many runs come.
const SETTLED: u64 = 100;
/// How much more a later round may need.
const MOST_GROWTH: f64 = 1.1;

fn main() -> ExitCode {
    // cargo passes `--bench` to every benchmark.
    let rounds = std::env::args().find_map(|argument| argument.parse().ok());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if runtime.block_on(measure(rounds.unwrap_or(300))) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn measure(rounds: u64) -> bool {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
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
    let (mut hits, mut peak, mut settled, mut last) = (0, 0.0, 0.0_f64, 0.0);
    let mut since = (0, started);
    println!(
        "{:>8} {:>10} {:>10} {:>8} {:>12}",
        "rounds", "RSS MB", "peak MB", "hits", "ms a round"
    );
    while let Some(line) = lines.next_line().await.unwrap() {
        let round: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(round["state"], "complete", "{round:#}");
        hits += round["hits"].as_u64().unwrap();
        let number = round["round"].as_u64().unwrap();
        // The last one ends the process.
        if number < rounds
            && let (Some(now), Some(most)) = (memory(id, "VmRSS:"), memory(id, "VmHWM:"))
        {
            (peak, last) = (most, now);
            if number <= SETTLED {
                settled = settled.max(now);
            }
            if number == 1 || number.is_multiple_of(50) || number == rounds - 1 {
                let took = since.1.elapsed().as_secs_f64() * 1000.0;
                let each = took / f64::from(u32::try_from(number - since.0).unwrap());
                println!("{number:>8} {now:>10.1} {most:>10.1} {hits:>8} {each:>12.0}");
                since = (number, Instant::now());
            }
        }
        simulator.advance(Duration::from_mins(15));
    }
    assert!(child.wait().await.unwrap().success());
    println!(
        "{rounds} rounds, {:.0} ms each; a quarter of an hour of changes between them",
        started.elapsed().as_secs_f64() * 1000.0 / f64::from(u32::try_from(rounds).unwrap())
    );
    println!(
        "{:+.1} % since round {SETTLED}",
        (last / settled - 1.0) * 100.0
    );
    peak <= MOST_MB && last <= settled * MOST_GROWTH
}

/// Megabytes of a line of the process's status.
fn memory(id: u32, line: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|found| found.strip_prefix(line))?;
    let kilobytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes / 1024.0)
}
