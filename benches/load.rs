//! How long `cursus load` takes, and how much memory: 100,000 staged coalition memberships on stock PostgreSQL.
//!
//! `cargo bench --bench load`; the number of rows and of rounds may follow: `-- 1000000 3`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cursus::database::embedded::{Cluster, DATABASE, Options};
use cursus::name::Name;
use cursus::staging::{
    Evidence, Manifest, Mode, Outcome, PageEntry, RunState, Selection, Staging, State,
};
use jiff::Timestamp;
use nix::sys::resource::{UsageWho, getrusage};

const COALITIONS: u64 = 397;
const PAGE: u64 = 100;

type Error = Box<dyn std::error::Error>;

/// As the first argument: run what follows, and print its peak memory.
const MEASURE: &str = "--measure";

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, program, rest @ ..] = arguments.as_slice()
        && first == MEASURE
    {
        return measure(program, rest);
    }
    // cargo passes `--bench` to every benchmark.
    let mut numbers = arguments
        .iter()
        .filter_map(|argument| argument.parse::<u64>().ok());
    let rows = numbers.next().unwrap_or(100_000);
    let rounds = numbers.next().unwrap_or(5);
    let folder = tempfile::Builder::new().prefix("cursus-bench-").tempdir()?;
    // The private server runs as another user when we are root.
    std::fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    let runtime = tokio::runtime::Runtime::new()?;
    let cluster = runtime.block_on(Cluster::open(
        &folder.path().join("pg"),
        &Options { fsync: true },
    ))?;
    stage(&folder.path().join("staging"), rows)?;
    let mut first = Vec::new();
    let mut again = Vec::new();
    let mut peak = 0;
    for round in 0..rounds {
        let database = format!("bench_{round}");
        runtime.block_on(create_database(&cluster, &database))?;
        for (times, flags) in [(&mut first, &[][..]), (&mut again, &["--again"][..])] {
            let (time, memory) = load(folder.path(), &cluster, &database, flags)?;
            times.push(time);
            peak = peak.max(memory);
        }
    }
    println!("{rows} coalition memberships, {rounds} rounds, whole process: median (min – max)");
    print("first load", &mut first);
    print("reload, nothing changed", &mut again);
    println!("{:<26}{:.1} MB", "peak memory", kilobytes_to_mb(peak));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn kilobytes_to_mb(kilobytes: i64) -> f64 {
    kilobytes as f64 / 1024.0
}

fn print(name: &str, times: &mut [Duration]) {
    times.sort();
    if let (Some(min), Some(max), Some(median)) =
        (times.first(), times.last(), times.get(times.len() / 2))
    {
        println!(
            "{name:<26}{:.3} s ({:.3} – {:.3})",
            median.as_secs_f64(),
            min.as_secs_f64(),
            max.as_secs_f64()
        );
    }
}

async fn create_database(cluster: &Cluster, name: &str) -> Result<(), Error> {
    let (client, connection) = cluster
        .config(DATABASE)
        .connect(tokio_postgres::NoTls)
        .await?;
    tokio::spawn(connection);
    client
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .await?;
    client.batch_execute("CHECKPOINT").await?;
    Ok(())
}

fn load(
    folder: &Path,
    cluster: &Cluster,
    database: &str,
    flags: &[&str],
) -> Result<(Duration, i64), Error> {
    let url = format!(
        "host={} user=cursus dbname={database}",
        cluster.socket_dir().display()
    );
    let started = Instant::now();
    let output = Command::new(std::env::current_exe()?)
        .args([MEASURE, env!("CARGO_BIN_EXE_cursus")])
        .args(["load", "-q", "--json", "--database-url", &url])
        .args(flags)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()?;
    let took = started.elapsed();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let peak = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok((took, peak))
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

/// One complete full read of coalitions and of their memberships.
fn stage(root: &PathBuf, rows: u64) -> Result<(), Error> {
    let staging = Staging::new(root);
    let lock = staging.lock("bench")?;
    let mut run = staging.create_run(&lock, Timestamp::now(), 0, Selection::default())?;
    pages(&run, "coalitions", COALITIONS, |id| {
        format!(
            r##"{{"id":{id},"name":"Coalition {id}","slug":"coalition-{id}","image_url":"https://cdn.example/{id}.svg","cover_url":null,"color":"#00babc","score":{},"user_id":{id}}}"##,
            id * 97
        )
    })?;
    pages(&run, "coalitions_users", rows, |id| {
        let second = id % 60;
        format!(
            r#"{{"id":{id},"coalition_id":{},"user_id":{},"score":{},"rank":{},"created_at":"2024-03-07T08:15:{second:02}.417Z","updated_at":"2026-01-01T00:00:{second:02}.000Z"}}"#,
            1 + id % COALITIONS,
            1 + id * 7919 % 250_000,
            id * 31 % 25_000,
            1 + id % 1200
        )
    })?;
    run.update(|record| {
        record.state = RunState::Closed;
        record.outcome = Some(Outcome::Complete);
    })?;
    Ok(())
}

/// Stages records with ids from `count` down to 1.
fn pages(
    run: &cursus::staging::Run,
    resource: &str,
    count: u64,
    record: impl Fn(u64) -> String,
) -> Result<(), Error> {
    let name = Name::parse(resource)?;
    let (writer, _) = run.writer(&name)?;
    let now = Timestamp::now();
    let ids: Vec<u64> = (1..=count).rev().collect();
    let mut bytes = 0;
    for (index, ids) in ids.chunks(usize::try_from(PAGE)?).enumerate() {
        let body = format!(
            "[{}]",
            ids.iter()
                .map(|id| record(*id))
                .collect::<Vec<_>>()
                .join(",")
        );
        let entry = PageEntry {
            page: u32::try_from(index + 1)?,
            slice: None,
            request: format!("/v2/{resource}?page%5Bnumber%5D={}", index + 1),
            status: 200,
            rows: ids.len() as u64,
            bytes: 0,
            sha256: String::new(),
            x_total: Some(count),
            first_id: None,
            last_id: None,
            fetched_at: now,
            server_date: None,
            duration_ms: 1,
            per_page: None,
            attempts: 1,
            replaces: None,
        };
        bytes += writer.write(body.as_bytes(), entry)?.bytes;
    }
    run.seal(&Manifest {
        format: 1,
        resource: name,
        mode: Mode::Full,
        state: State::Complete,
        pages: count.div_ceil(PAGE),
        rows: count,
        bytes,
        hits: count.div_ceil(PAGE),
        x_total: Some(count),
        window: None,
        cursor: Some(now),
        request_hash: String::new(),
        journal_sha256: writer.journal_sha256()?,
        evidence: Evidence::default(),
        started_at: now,
        finished_at: now,
    })?;
    Ok(())
}
