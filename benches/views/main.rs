//! Measures the queries that programs poll, on a mirror of the network's size (`fill.sql`). Fails if the median of one is above 50 ms.
//!
//! `cargo bench --bench views -- upcoming --explain` measures the queries with `upcoming` in their name, and prints their plans.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints its figures, and fails by panicking"
)]

#[allow(dead_code, unused_imports, reason = "the tests use the rest")]
#[path = "../../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use support::Workdir;

const LIMIT: Duration = Duration::from_millis(50);
const ROUNDS: usize = 9;

/// Polled queries: all of a view that is short, else the rows of one campus, project or person.
const POLLED: [(&str, &str); 15] = [
    ("online_now, all", "SELECT * FROM online_now"),
    (
        "online_now, a campus",
        "SELECT * FROM online_now WHERE campus_id = 7",
    ),
    (
        "logtime_daily, a person",
        "SELECT * FROM logtime_daily WHERE user_id = 4711",
    ),
    (
        "logtime_daily, a campus and week",
        "SELECT * FROM logtime_daily WHERE campus_id = 7 AND day > current_date - 7",
    ),
    (
        "logtime_daily, a person today",
        "SELECT * FROM logtime_daily WHERE user_id = 4711 AND day >= current_date - 1",
    ),
    (
        "logtime_weekly, a person",
        "SELECT * FROM logtime_weekly WHERE user_id = 4711",
    ),
    (
        "leaderboard, a campus",
        "SELECT * FROM leaderboard WHERE campus_id = 7 AND place <= 100",
    ),
    (
        "pool_ranking, a pool",
        "SELECT * FROM pool_ranking WHERE campus_id = 7 AND pool_year = '2024' AND pool_month = 'july'",
    ),
    ("blackhole_soon, all", "SELECT * FROM blackhole_soon"),
    (
        "project_peers, a project and campus",
        "SELECT * FROM project_peers WHERE slug = '42cursus-5' AND campus_id = 7",
    ),
    (
        "project_peers, who of a project is online",
        "SELECT p.* FROM project_peers AS p JOIN online_now AS o USING (user_id) WHERE p.slug = '42cursus-5' AND o.campus_id = 7",
    ),
    (
        "project_statistics, all",
        "SELECT * FROM project_statistics",
    ),
    ("coalition_board, all", "SELECT * FROM coalition_board"),
    ("upcoming, all", "SELECT * FROM upcoming"),
    (
        "current_enrolments, a person",
        "SELECT * FROM current_enrolments WHERE user_id = 4711",
    ),
];

/// Queries over the whole network, for a report now and then: they have no limit.
const REPORTED: [(&str, &str); 2] = [
    (
        "leaderboard, first of each campus",
        "SELECT * FROM leaderboard WHERE place <= 3",
    ),
    (
        "pool_ranking, first of each pool",
        "SELECT * FROM pool_ranking WHERE place = 1",
    ),
];

/// The derived statements that fill the tables of views.
const DERIVED: [(&str, &str); 3] = [
    (
        "logtime_days",
        include_str!("../../packs/locations/sql/logtime_days.sql"),
    ),
    (
        "open_sessions",
        include_str!("../../packs/locations/sql/open_sessions.sql"),
    ),
    (
        "project_totals",
        include_str!("../../packs/statistics/sql/project_totals.sql"),
    ),
];

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let explains = arguments.iter().any(|argument| argument == "--explain");
    let wanted = arguments
        .iter()
        .find(|argument| !argument.starts_with('-'))
        .map_or("", String::as_str);
    let workdir = Workdir::new().await;
    workdir.pipeline(&[(
        "version = 1 ",
        "packs = [\"locations\", \"events\", \"exams\", \"blocs\"]\nversion = 1 ",
    )]);
    workdir.cursus(["migrate"]).await.exits(0);
    let begun = Instant::now();
    workdir.query(include_str!("fill.sql")).await;
    workdir.query("ANALYZE").await;
    println!("filled in {:.0?}", begun.elapsed());
    for (table, statement) in DERIVED {
        // With the settings of a load.
        let load =
            format!("BEGIN; SET LOCAL jit = off; SET LOCAL work_mem = '64MB'; {statement}; COMMIT");
        let begun = Instant::now();
        workdir.query(&load).await;
        println!("{table}: derived in {:.1?}", begun.elapsed());
    }
    // So that nothing of it disturbs the measurement.
    workdir.query("VACUUM ANALYZE").await;
    workdir.query("CHECKPOINT").await;
    println!("\n| what is asked | rows | median | min – max |\n|---|---|---|---|");
    let mut is_fast = true;
    let queries = (POLLED.iter().map(|query| (query, true)))
        .chain(REPORTED.iter().map(|query| (query, false)));
    for (&(name, query), is_polled) in queries {
        if !name.contains(wanted) {
            continue;
        }
        let rows = workdir.query(query).await.len();
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            workdir.query(query).await;
            times.push(begun.elapsed());
        }
        times.sort();
        let median = times[ROUNDS / 2];
        is_fast &= !is_polled || median <= LIMIT;
        println!(
            "| {name}{} | {rows} | {:.1} ms | {:.1} – {:.1} ms |",
            if is_polled { "" } else { " (no limit)" },
            millis(median),
            millis(times[0]),
            millis(times[ROUNDS - 1])
        );
        if explains {
            let plan = workdir
                .column(&format!("EXPLAIN (ANALYZE, BUFFERS) {query}"))
                .await;
            println!("{}", plan.join("\n"));
        }
    }
    if is_fast {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
