//! How long `cursus load` takes, beside the floor measured in the same run, and how much memory and WAL.
//!
//! `cargo bench --bench load` measures every set, in some minutes; `-- quick` the smallest one; `-- c1m u100k 5` those sets, 5 rounds.
//! Measured is the whole process, from its start to its end, against tables that are there and migrated. The floor is
//! max(decoding into structs, binary COPY into a temporary table) + the quickest of three hand-written merges, + the
//! anti-join of the deletes where the case deletes. PostgreSQL has its stock settings; a CHECKPOINT precedes every timed step.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod decode;
mod floor;
mod pages;
mod records;
// The builder of the tests.
#[path = "../../tests/support/staged.rs"]
mod staged;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cursus::database::embedded::{Cluster, DATABASE, Options};
use cursus::staging::Mode;
use nix::sys::resource::{UsageWho, getrusage};
use tokio_postgres::Client;

use floor::{FORMS, Table};
use pages::{SETS, Set};

pub(crate) type Error = Box<dyn std::error::Error>;

/// As the first argument: run what follows, and print its peak memory.
const MEASURE: &str = "--measure";

/// The situations of a load.
const CASES: [&str; 4] = [
    "first, empty table",
    "first, other rows there",
    "reload, nothing changed",
    "1 % changed, 0.5 % new, 0.2 % deleted",
];
const EMPTY: usize = 0;
const OTHERS: usize = 1;
const RELOAD: usize = 2;
const CHANGED: usize = 3;

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, program, rest @ ..] = arguments.as_slice()
        && first == MEASURE
    {
        return measure(program, rest);
    }
    let named = |name: &str| arguments.iter().any(|argument| argument == name);
    let mut sets: Vec<Set> = SETS.into_iter().filter(|set| named(set.name)).collect();
    if sets.is_empty() {
        sets = SETS[..if named("quick") { 1 } else { 4 }].to_vec();
    }
    // cargo passes `--bench` to every benchmark.
    let rounds = arguments.iter().find_map(|argument| argument.parse().ok());
    let rounds: usize = rounds.unwrap_or(if named("quick") { 3 } else { 5 });
    let folder = tempfile::Builder::new().prefix("cursus-bench-").tempdir()?;
    // The private server runs as another user when we are root.
    std::fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let cluster = Cluster::open(&folder.path().join("pg"), &Options { fsync: true }).await?;
        println!("seconds: median (min – max); ratio: median of the rounds' ratios\n");
        for set in sets {
            Bench::new(folder.path(), &cluster, set)?
                .run(rounds)
                .await?;
        }
        Ok(())
    })
}

/// One set of records on its way through the cases.
struct Bench<'b> {
    folder: &'b Path,
    cluster: &'b Cluster,
    set: Set,
    ours: [Vec<f64>; 4],
    floor: [Vec<f64>; 4],
    /// The parts of the floor, by name.
    parts: BTreeMap<String, Vec<f64>>,
    /// The quickest form of each case's merge.
    form: [Option<&'static str>; 4],
    wal: Vec<f64>,
    peak: i64,
    /// Rows a second that one core writes as Parquet, and the kilobytes that it needs.
    exported: Vec<f64>,
    export_peak: i64,
}

impl<'b> Bench<'b> {
    fn new(folder: &'b Path, cluster: &'b Cluster, set: Set) -> Result<Self, Error> {
        let bench = Self {
            folder,
            cluster,
            set,
            ours: Default::default(),
            floor: Default::default(),
            parts: BTreeMap::new(),
            form: [None; 4],
            wal: Vec::new(),
            peak: 0,
            exported: Vec::new(),
            export_peak: 0,
        };
        set.stage(&bench.staging("first"), 1, Mode::Full)?;
        set.stage(&bench.staging("delta"), 1, Mode::Delta)?;
        set.stage(&bench.staging("second"), 2, Mode::Full)?;
        Ok(bench)
    }

    fn staging(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}-{name}", self.set.name))
    }

    async fn run(mut self, rounds: usize) -> Result<(), Error> {
        for round in 0..rounds {
            self.round(round).await?;
            self.export()?;
        }
        self.print(rounds);
        for name in ["first", "delta", "second"] {
            std::fs::remove_dir_all(self.staging(name))?;
        }
        Ok(())
    }

    async fn round(&mut self, round: usize) -> Result<(), Error> {
        let (ours, beside) = ("ours", "floor");
        self.create(ours, None).await?;
        self.cursus(ours, &["migrate"])?;
        self.timed_load(ours, EMPTY, "first", &[]).await?;
        // The same rows for the floor, and a table with other rows for the second case.
        self.create(beside, Some(ours)).await?;
        let client = self.connect(ours).await?;
        let day1 = self.table(ours).await?.rows(self.set.descending).await?;
        client.batch_execute("VACUUM ANALYZE").await?;
        self.timed_load(ours, RELOAD, "first", &["--again"]).await?;
        let table = self.table(beside).await?;
        let staging = self.staging("first");
        let decoded = decode::pages(&self.directory(&staging)?, self.set.resource)?;
        self.part("decode", decoded);
        let copied = table.stage(&day1).await?;
        self.part("copy", copied);
        let first = decoded.max(copied);
        for form in self.forms(EMPTY) {
            table.reset(None).await?;
            let merged = table.merge(form).await?;
            self.note(EMPTY, form, merged);
        }
        table.vacuum().await?;
        for form in self.forms(RELOAD) {
            let merged = table.merge(form).await?;
            self.note(RELOAD, form, merged);
        }
        self.settle(EMPTY, round, first);
        self.settle(RELOAD, round, first);

        self.timed_load(ours, CHANGED, "second", &[]).await?;
        let day2 = self.table(ours).await?.rows(self.set.descending).await?;
        table
            .client
            .batch_execute(&format!("CREATE TABLE day1 AS TABLE {}", self.set.resource))
            .await?;
        let copied = table.stage(&day2).await?;
        let mut pruned = Duration::ZERO;
        for (place, form) in self.forms(CHANGED).into_iter().enumerate() {
            if place > 0 {
                table.reset(Some("day1")).await?;
            }
            let merged = table.merge(form).await?;
            self.note(CHANGED, form, merged);
            pruned = table.prune().await?;
        }
        self.part("prune", pruned);
        self.settle(CHANGED, round, decoded.max(copied) + pruned);

        table
            .client
            .batch_execute("DROP TABLE day1; TRUNCATE pipeline.load, pipeline.run")
            .await?;
        table.leave_others(self.set.rows).await?;
        drop((table, client));
        // The sessions end a moment after their clients.
        self.create(ours, Some(beside)).await?;
        self.timed_load(ours, OTHERS, "delta", &[]).await?;
        let table = self.table(beside).await?;
        table.stage(&day1).await?;
        for form in self.forms(OTHERS) {
            table.reset(Some("others")).await?;
            let merged = table.merge(form).await?;
            self.note(OTHERS, form, merged);
        }
        self.settle(OTHERS, round, first);
        Ok(())
    }

    /// Writes the pages of the first day as Parquet.
    #[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
    fn export(&mut self) -> Result<(), Error> {
        let (staging, to) = (self.staging("first"), self.staging("parquet"));
        std::fs::create_dir(&to)?;
        let (from, to) = (staging.display().to_string(), to.display().to_string());
        let arguments = ["stage", "export", &to, "--staging", &from];
        let (took, memory) = self.measured(&["taskset", "-c", "0"], "ours", &arguments)?;
        std::fs::remove_dir_all(&to)?;
        self.exported
            .push(self.set.rows as f64 / took.as_secs_f64());
        self.export_peak = self.export_peak.max(memory);
        Ok(())
    }

    fn directory(&self, staging: &Path) -> Result<PathBuf, Error> {
        let run = cursus::staging::Staging::new(staging).find("latest")?;
        Ok(run.directory().join(self.set.resource))
    }

    /// All forms in the first round, then the one that was the quickest.
    fn forms(&self, case: usize) -> Vec<&'static str> {
        self.form[case].map_or_else(|| FORMS.to_vec(), |form| vec![form])
    }

    fn note(&mut self, case: usize, form: &str, took: Duration) {
        self.part(&format!("{}: {form}", CASES[case]), took);
    }

    fn part(&mut self, name: &str, took: Duration) {
        self.parts
            .entry(name.to_owned())
            .or_default()
            .push(took.as_secs_f64());
    }

    /// The floor of a case in this round: the quickest merge, and what is around it.
    fn settle(&mut self, case: usize, round: usize, around: Duration) {
        let time = |form: &&str| {
            let times = self.parts.get(&format!("{}: {form}", CASES[case]));
            times
                .and_then(|times| times.get(round))
                .copied()
                .unwrap_or(f64::MAX)
        };
        let form = FORMS.into_iter().min_by(|a, b| time(a).total_cmp(&time(b)));
        let merged = form.as_ref().map_or(0.0, time);
        self.form[case] = form;
        self.floor[case].push(around.as_secs_f64() + merged);
    }

    async fn connect(&self, database: &str) -> Result<Client, Error> {
        let (client, connection) = self
            .cluster
            .config(database)
            .connect(tokio_postgres::NoTls)
            .await?;
        tokio::spawn(connection);
        Ok(client)
    }

    async fn table(&self, database: &str) -> Result<Table, Error> {
        Table::open(self.connect(database).await?, self.set.resource).await
    }

    async fn create(&self, database: &str, template: Option<&str>) -> Result<(), Error> {
        let client = self.connect(DATABASE).await?;
        client
            .batch_execute(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"))
            .await?;
        if let Some(template) = template {
            let end =
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = $1";
            client.execute(end, &[&template]).await?;
        }
        let template = template.unwrap_or("template0");
        client
            .batch_execute(&format!("CREATE DATABASE {database} TEMPLATE {template}"))
            .await?;
        Ok(())
    }

    async fn timed_load(
        &mut self,
        database: &str,
        case: usize,
        staging: &str,
        flags: &[&str],
    ) -> Result<(), Error> {
        let client = self.connect(database).await?;
        client.batch_execute("CHECKPOINT").await?;
        let lsn = "SELECT (pg_current_wal_lsn() - '0/0')::float8";
        let before: f64 = client.query_one(lsn, &[]).await?.get(0);
        let staging = self.staging(staging).display().to_string();
        let mut arguments = vec!["load", "--staging", &staging];
        arguments.extend(flags);
        let (time, memory) = self.cursus(database, &arguments)?;
        let after: f64 = client.query_one(lsn, &[]).await?.get(0);
        if case == RELOAD {
            self.wal.push((after - before) / 1e6);
        }
        self.peak = self.peak.max(memory);
        self.ours[case].push(time.as_secs_f64());
        Ok(())
    }

    fn cursus(&self, database: &str, arguments: &[&str]) -> Result<(Duration, i64), Error> {
        self.measured(&[], database, arguments)
    }

    /// Runs a command, by another program if there is one: how long it took, and its peak memory in kilobytes.
    fn measured(
        &self,
        by: &[&str],
        database: &str,
        arguments: &[&str],
    ) -> Result<(Duration, i64), Error> {
        let url = format!(
            "host={} user=cursus dbname={database}",
            self.cluster.socket_dir().display()
        );
        let started = Instant::now();
        let output = Command::new(std::env::current_exe()?)
            .arg(MEASURE)
            .args(by)
            .arg(env!("CARGO_BIN_EXE_cursus"))
            .args(arguments)
            .args(["-q", "--json", "--database-url", &url])
            .current_dir(self.folder)
            .stdin(Stdio::null())
            .output()?;
        let took = started.elapsed();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok((took, String::from_utf8(output.stdout)?.trim().parse()?))
    }

    #[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
    fn print(&self, rounds: usize) {
        println!(
            "{}: {} {}, {rounds} rounds",
            self.set.name, self.set.rows, self.set.resource
        );
        for case in [EMPTY, OTHERS, RELOAD, CHANGED] {
            let ratios: Vec<f64> = self.ours[case]
                .iter()
                .zip(&self.floor[case])
                .map(|(a, b)| a / b)
                .collect();
            println!(
                "  {:<36}{:<24}floor {:<24}ratio {:<20}{:.2} µs a row",
                CASES[case],
                spread(&self.ours[case], 3),
                spread(&self.floor[case], 3),
                spread(&ratios, 2),
                median(&self.ours[case]) * 1e6 / self.set.rows as f64
            );
        }
        println!(
            "  WAL of the reload {} MB, peak memory {:.1} MB",
            spread(&self.wal, 2),
            self.peak as f64 / 1024.0
        );
        println!(
            "  Parquet, one core: {} rows a second, peak memory {:.1} MB",
            spread(&self.exported, 0),
            self.export_peak as f64 / 1024.0
        );
        for (name, times) in &self.parts {
            println!("    {name:<48}{}", spread(times, 3));
        }
        println!();
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn spread(values: &[f64], digits: usize) -> String {
    let sorted = sorted(values);
    match (sorted.first(), sorted.last()) {
        (Some(min), Some(max)) => format!(
            "{:.digits$} ({min:.digits$} – {max:.digits$})",
            median(values)
        ),
        _ => "–".to_owned(),
    }
}

/// A process of its own, so that the memory of nobody else is counted.
fn measure(program: &str, arguments: &[String]) -> Result<(), Error> {
    let status = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        return Err("the command failed".into());
    }
    println!("{}", getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss());
    Ok(())
}
