//! Killed at random instants, hundreds of times: after each kill the same command again, and the mirror is what the API shows,
//! every staged page is whole, and no more requests were lost than were under way. Fails at the first thing that is not so.
//!
//! `cargo bench --bench soak -- [KILLS] [SEED]`; 200 kills by default, and a seed of its own, which is printed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints its figures, and fails by panicking"
)]

mod moved;
#[allow(dead_code, unused_imports, reason = "the tests use the rest")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use cursus::config::Config;
use cursus::extract;
use cursus::staging::Staging;
use cursus_simulator::{Limits, Options, Simulator};

use moved::Moved;
use support::{Workdir, api, oracle, small};

/// Requests under way at most.
const IN_FLIGHT: u64 = 8;

/// What is killed: its name, how often in 20, and its arguments.
const COMMANDS: [(&str, u32, &[&str]); 5] = [
    ("run", 10, &["run", "--force"]),
    ("load", 4, &["load"]),
    ("replay --into", 3, &["replay", "--into", "again"]),
    ("replay --rebuild", 2, &["replay", "--rebuild"]),
    ("stage gc", 1, &["stage", "gc", "--keep", "0s"]),
];

/// What came of the kills of one command.
#[derive(Default)]
struct Figures {
    kills: u32,
    /// It was faster than its killer.
    missed: u32,
    most_extra: u64,
    /// How long it takes when nobody kills it.
    takes: Duration,
}

struct Soak {
    simulator: Simulator,
    workdir: Workdir,
    moved: Moved,
    random: fastrand::Rng,
    figures: BTreeMap<&'static str, Figures>,
}

fn main() {
    let numbers: Vec<u64> = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let kills = numbers.first().copied().unwrap_or(200);
    let seed = numbers.get(1).copied().unwrap_or_else(|| fastrand::u64(..));
    println!("{kills} kills, seed {seed}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { Soak::start(seed).await.soak(kills).await });
}

impl Soak {
    async fn start(seed: u64) -> Self {
        let simulator = api::start(Options {
            seed,
            limits: Limits {
                per_second: 200,
                per_hour: 1_000_000,
                ..Limits::default()
            },
            latency: Duration::from_millis(1)..=Duration::from_millis(30),
            ..small()
        })
        .await;
        let workdir = Workdir::with(&simulator).await;
        let in_flight = format!("max_in_flight = {IN_FLIGHT} ");
        workdir.pipeline(&[("max_in_flight = 256 ", &in_flight)]);
        workdir.json(["run"]).await;
        Self {
            simulator,
            workdir,
            moved: Moved::default(),
            random: fastrand::Rng::with_seed(seed),
            figures: BTreeMap::new(),
        }
    }

    async fn soak(&mut self, kills: u64) {
        let began = Instant::now();
        let mut killed = 0;
        while killed < kills {
            let (name, arguments) = self.choose();
            self.prepare(name).await;
            let (requests, pages) = self.cost();
            let was_killed = self.kill(name, arguments).await;
            killed += u64::from(was_killed);
            if was_killed && killed.is_multiple_of(50) {
                println!("{killed} after {:.0} s", began.elapsed().as_secs_f64());
            }
            let again = Instant::now();
            self.workdir.json(arguments).await;
            let took = again.elapsed();
            let (requests_now, pages_now) = self.cost();
            let extra = (requests_now - requests).saturating_sub(pages_now.saturating_sub(pages));
            assert!(extra <= IN_FLIGHT, "{name}: {extra} requests were lost");
            self.check(name).await;
            let figures = self.figures.entry(name).or_default();
            figures.kills += u32::from(was_killed);
            figures.missed += u32::from(!was_killed);
            figures.most_extra = figures.most_extra.max(extra);
            figures.takes = if figures.takes.is_zero() {
                took
            } else {
                (figures.takes * 3 + took) / 4
            };
        }
        println!(
            "{:<18} {:>6} {:>7} {:>16} {:>9}",
            "command", "killed", "missed", "most requests lost", "takes ms"
        );
        for (name, figures) in &self.figures {
            println!(
                "{name:<18} {:>6} {:>7} {:>16} {:>9}",
                figures.kills,
                figures.missed,
                figures.most_extra,
                figures.takes.as_millis()
            );
        }
        println!(
            "{killed} kills survived in {:.0} s; at most {} requests lost by one, {IN_FLIGHT} under way; after each the mirror \
             held what the API showed, and every staged page was whole",
            began.elapsed().as_secs_f64(),
            self.figures
                .values()
                .map(|f| f.most_extra)
                .max()
                .unwrap_or(0),
        );
    }

    fn choose(&mut self) -> (&'static str, &'static [&'static str]) {
        let mut left = self.random.u32(0..20);
        for (name, share, arguments) in COMMANDS {
            if left < share {
                return (name, arguments);
            }
            left -= share;
        }
        (COMMANDS[0].0, COMMANDS[0].2)
    }

    /// What the command needs to have something to do.
    async fn prepare(&mut self, name: &str) {
        let hours = self.random.u64(0..30);
        match name {
            "run" => {
                self.moved
                    .advance(&self.simulator, Duration::from_hours(hours));
            }
            "load" => {
                self.moved
                    .advance(&self.simulator, Duration::from_hours(hours));
                self.workdir.json(["extract", "--force"]).await;
            }
            "replay --into" => {
                self.workdir
                    .query("DROP SCHEMA IF EXISTS again CASCADE")
                    .await;
            }
            "replay --rebuild" => {
                self.workdir
                    .query("UPDATE users SET login = 'wrong' WHERE id % 3 = 0; DELETE FROM cursus_users WHERE id % 5 = 0")
                    .await;
            }
            _ => {
                self.workdir.json(["run", "--full"]).await;
                self.moved = Moved::default();
            }
        }
    }

    /// Kills the command at an instant; whether it was there to be killed.
    async fn kill(&mut self, name: &str, arguments: &[&str]) -> bool {
        let takes = self.figures.get(name).map(|figures| figures.takes);
        let takes = takes.unwrap_or(Duration::from_millis(500));
        let mut child = (self.workdir.command(arguments))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let within = takes.mul_f64(self.random.f64());
        match tokio::time::timeout(within, child.wait()).await {
            Ok(ended) => {
                assert!(ended.unwrap().success(), "{name} fails");
                false
            }
            Err(_) => {
                child.kill().await.unwrap();
                true
            }
        }
    }

    /// Requests so far, and those whose pages are staged, also if their runs went since.
    fn cost(&self) -> (u64, u64) {
        let staging = Staging::new(self.workdir.path("staging"));
        let mut requests = 0;
        for run in staging.runs().unwrap() {
            for resource in run.resources().unwrap() {
                if let Some(staged) = run.staged(&resource).unwrap() {
                    let attempts = staged.pages().map(|page| u64::from(page.unwrap().attempts));
                    requests += attempts.sum::<u64>();
                }
            }
        }
        (self.simulator.statistics().hits, requests)
    }

    /// Nothing is said that the files do not prove, of any run.
    fn verify(&self) {
        let config = Config::load(Some(&self.workdir.path("pipeline.toml"))).unwrap();
        for run in Staging::new(self.workdir.path("staging")).runs().unwrap() {
            for verified in extract::verify(&run, &config).unwrap() {
                assert!(verified.holds(), "{}: {verified:#?}", run.id());
            }
        }
    }

    async fn check(&self, name: &str) {
        self.verify();
        if name == "replay --into" {
            let differs = self.workdir.json(["diff", "public", "again"]).await;
            for table in differs["tables"].as_array().unwrap() {
                let same = ["added", "removed", "changed"].map(|what| table[what] == 0);
                assert_eq!(same, [true; 3], "the replay differs: {table:#}");
            }
        }
        oracle::assert_mirrors_but(&self.workdir, &self.simulator, &self.moved.0).await;
    }
}
