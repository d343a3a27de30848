//! How long a rebuild from 60 nights takes: in one process (`replay --rebuild`), and in groups by one job and by two jobs at a time.
//! The mirror is the same after each of them, row by row.
//!
//! `cargo bench --bench replay`, with a number of students, of nights and of rounds if others are wanted: `-- 1000 60 3`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints its figures, and fails by panicking"
)]

#[allow(dead_code, unused_imports, reason = "the tests use the rest")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use cursus_simulator::{Limits, Options, Scale};
use futures_util::StreamExt;

use support::{Workdir, api};

const NIGHT: Duration = Duration::from_hours(24);

#[tokio::main]
async fn main() {
    // cargo passes `--bench` to every benchmark.
    let numbers: Vec<u64> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let number = |at: usize, default: u64| numbers.get(at).copied().unwrap_or(default);
    let (students, nights, rounds) = (number(0, 1_000), number(1, 60), number(2, 3));
    let simulator = api::start(Options {
        scale: Scale::of_students(usize::try_from(students).unwrap()),
        limits: Limits {
            per_second: 10_000,
            per_hour: 1_000_000,
            ..Limits::default()
        },
        undated: api::UNDATED,
        ..Options::default()
    })
    .await;
    let workdir = Workdir::with(&simulator).await;
    for _ in 0..nights {
        workdir.json(["run"]).await;
        simulator.advance(NIGHT);
    }
    let plan = workdir.json(["replay", "--plan"]).await;
    let groups = plan["groups"].as_array().unwrap().len();
    println!("{}", workdir.cursus(["replay", "--plan"]).await.stdout);
    let expected = mirror(&workdir).await;
    let mut columns: [Vec<f64>; 5] = Default::default();
    for round in 0..rounds {
        let plain = timed(workdir.cursus(["replay", "--rebuild"])).await;
        assert_eq!(mirror(&workdir).await, expected);
        let one = in_jobs(&workdir, groups, 1).await;
        assert_eq!(mirror(&workdir).await, expected);
        let two = in_jobs(&workdir, groups, 2).await;
        assert_eq!(mirror(&workdir).await, expected);
        println!(
            "round {}: one process {plain:.2} s, one job at a time {one:.2} s, two jobs {two:.2} s; two to one process {:.2}, to one job {:.2}",
            round + 1,
            two / plain,
            two / one
        );
        let figures = [plain, one, two, two / plain, two / one];
        for (column, figure) in columns.iter_mut().zip(figures) {
            column.push(figure);
        }
    }
    let medians = columns.map(|mut column| {
        column.sort_by(f64::total_cmp);
        column[column.len() / 2]
    });
    println!(
        "medians: one process {:.2} s, one job at a time {:.2} s, two jobs {:.2} s; two to one process {:.2}, to one job {:.2}",
        medians[0], medians[1], medians[2], medians[3], medians[4]
    );
}

/// Seconds from the plan to the end of the finish, with at most `at_once` jobs at a time.
async fn in_jobs(workdir: &Workdir, groups: usize, at_once: usize) -> f64 {
    timed(async {
        workdir.cursus(["replay", "--plan"]).await.exits(0);
        let jobs = (1..=groups).map(|group| async move {
            let started = Instant::now();
            let job = ["replay", "--group", &group.to_string()];
            workdir.cursus(job).await.exits(0);
            (group, started.elapsed())
        });
        // A job begins as soon as one ends, whichever: the first group is the longest.
        let mut took: Vec<_> = futures_util::stream::iter(jobs)
            .buffer_unordered(at_once)
            .collect()
            .await;
        took.sort();
        let finish = Instant::now();
        let ran = workdir.cursus(["replay", "--finish"]).await;
        println!(
            "  {at_once} at a time: groups {:?}, finish {:?}",
            took.iter()
                .map(|(_, took)| took.as_secs_f64())
                .collect::<Vec<_>>(),
            finish.elapsed()
        );
        ran
    })
    .await
}

async fn timed<T>(work: impl Future<Output = T>) -> f64 {
    let started = Instant::now();
    work.await;
    started.elapsed().as_secs_f64()
}

/// A fingerprint of each table's rows.
async fn mirror(workdir: &Workdir) -> Vec<String> {
    let tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename !~ 'history$' ORDER BY 1";
    let mut rows = Vec::new();
    for table in workdir.column(tables).await {
        let hash = format!(
            "SELECT '{table} ' || count(*) || ' ' || coalesce(sum(hashtextextended((to_jsonb(t) - 'ingested_at')::text, 0)::numeric), 0) \
             FROM {table} AS t"
        );
        rows.extend(workdir.column(&hash).await);
    }
    rows
}
