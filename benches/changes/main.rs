//! What it costs to follow tables, and how fast the commands are that work on changes and on long histories of runs.
//!
//! `cargo bench --bench changes` measures all parts; `-- follow forget` those, `-- replay 200` with 200 runs. A limit that is missed
//! fails it.
//! PostgreSQL has its stock settings. Runs are staged as an extraction would have, and copied with other names and times.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[allow(dead_code, reason = "the bench of loads uses the rest")]
#[path = "../load/records.rs"]
mod records;
// The builder of the tests.
#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../../tests/support/staged.rs"]
mod staged;

mod runs;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use cursus::database::embedded::{Cluster, DATABASE, Options};
use cursus::staging::{Mode, RunSpec, Staging, StagingLock};
use cursus_simulator::{Scale, Simulator};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio_postgres::Client;

use runs::{copy, rows, stage, texts};
use staged::close;

type Error = Box<dyn std::error::Error>;

/// Time of a load with `[changes]` and `[history]`, as a multiple of the time without.
const MOST_OF_FOLLOWING: f64 = 1.2;
const CHANGES: u64 = 1_000_000;
/// Changes a second.
const LEAST_RATE: f64 = 50_000.0;
/// Kilobytes of memory of a follower.
const MOST_MEMORY: u64 = 48_000;
const RUNS: i64 = 1_000;
/// Milliseconds a run: 1,000 runs in 25 seconds.
const MOST_OF_REPLAY: f64 = 25.0;
const NIGHTS: i64 = 365;
/// Seconds.
const MOST_OF_FORGET: f64 = 60.0;

const PIPELINE: &str = include_str!("../../pipeline.toml");
const FOLLOWED: &str = "\n[changes.tables]\ncoalitions_users = [\"score\", \"rank\"]\nusers = [\"login\", \"wallet\", \"location\"]\n\
    [history.tables]\ncoalitions_users = [\"score\", \"rank\"]\nusers = [\"login\", \"wallet\", \"location\"]\n";

/// A campus of 1,000 students; lists of the whole network are short.
const CAMPUS: Scale = Scale {
    cursus: 12,
    campuses: 25,
    projects: 60,
    achievements: 120,
    coalitions: 20,
    students: 1_000,
    others: 100,
    enrolments: 5_200,
    memberships: 2_300,
    earned: 2_200,
};
/// What is read once, and what every sync reads.
const REFERENCE: [&str; 5] = ["cursus", "campus", "projects", "achievements", "coalitions"];
const SYNCED: [&str; 6] = [
    "users",
    "cursus_users",
    "campus_users",
    "projects_users",
    "achievements_users",
    "coalitions_users",
];

#[tokio::main]
async fn main() -> Result<(), Error> {
    let named: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |part: &str| {
        let is_name = |name: &&String| name.starts_with(char::is_alphabetic);
        let mut parts = named.iter().filter(is_name);
        parts.clone().next().is_none() || parts.any(|name| name == part)
    };
    let folder = tempfile::Builder::new().prefix("cursus-bench-").tempdir()?;
    // The private server runs as another user when we are root.
    fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    let cluster = Cluster::open(&folder.path().join("pg"), &Options { fsync: true }).await?;
    let mut bench = Bench {
        folder: folder.path(),
        cluster: &cluster,
        missed: Vec::new(),
    };
    if is_wanted("loads") {
        bench.loads().await?;
    }
    if is_wanted("follow") {
        bench.follow().await?;
    }
    if is_wanted("replay") || is_wanted("forget") {
        let campus = Simulator::start(cursus_simulator::Options {
            scale: CAMPUS,
            ..cursus_simulator::Options::default()
        })
        .await?;
        if is_wanted("replay") {
            let runs = named.iter().find_map(|argument| argument.parse().ok());
            bench.replay(&campus, runs.unwrap_or(RUNS)).await?;
        }
        if is_wanted("forget") {
            bench.forget(&campus).await?;
        }
    }
    if bench.missed.is_empty() {
        return Ok(());
    }
    Err(format!("limits missed: {}", bench.missed.join("; ")).into())
}

struct Bench<'b> {
    folder: &'b Path,
    cluster: &'b Cluster,
    missed: Vec<String>,
}

/// A project of its own, with a migrated database.
struct Mirror {
    directory: PathBuf,
    url: String,
    client: Client,
}

impl Bench<'_> {
    async fn mirror(&self, name: &str, more: &str) -> Result<Mirror, Error> {
        let directory = self.folder.join(name);
        fs::create_dir(&directory)?;
        fs::write(directory.join("pipeline.toml"), format!("{PIPELINE}{more}"))?;
        let maker = self.connect(DATABASE).await?;
        maker
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await?;
        let mirror = Mirror {
            directory,
            url: format!(
                "host={} user=cursus dbname={name}",
                self.cluster.socket_dir().display()
            ),
            client: self.connect(name).await?,
        };
        mirror.cursus(&["migrate"])?;
        Ok(mirror)
    }

    async fn connect(&self, database: &str) -> Result<Client, Error> {
        let config = self.cluster.config(database);
        let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Prints a figure, and notes a limit that it misses.
    fn judge(&mut self, what: &str, figure: f64, (least, most): (f64, f64)) {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default();
        println!("{what}: {figure:.2} (machine's load {load})");
        if figure < least || figure > most {
            self.missed.push(format!("{what} is {figure:.2}"));
        }
    }

    fn at_most(&mut self, what: &str, figure: f64, most: f64) {
        self.judge(what, figure, (0.0, most));
    }
}

impl Mirror {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cursus"));
        command
            .args(arguments)
            .args(["--database-url", &self.url])
            .current_dir(&self.directory)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end; seconds, and what it has printed.
    fn cursus(&self, arguments: &[&str]) -> Result<(f64, String), Error> {
        let started = Instant::now();
        let output = self.command(arguments).args(["-q", "--json"]).output()?;
        let took = started.elapsed().as_secs_f64();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("cursus {}: {said}", arguments.join(" ")).into());
        }
        Ok((took, String::from_utf8(output.stdout)?))
    }

    fn staging(&self) -> PathBuf {
        self.directory.join("staging")
    }
}

impl Bench<'_> {
    /// The same runs are loaded without and with `[changes]` and `[history]`, in turn. Of each run 1 % of the rows differ.
    async fn loads(&mut self) -> Result<(), Error> {
        const ROWS: u64 = 100_000;
        const ROUNDS: u64 = 7;
        type Document = fn(u64, bool) -> String;
        let sets: [(&str, Document); 2] = [
            ("coalitions_users", records::membership),
            ("users", records::person),
        ];
        for (resource, record) in sets {
            let off = self.mirror(&format!("off_{resource}"), "").await?;
            let on = self.mirror(&format!("on_{resource}"), FOLLOWED).await?;
            let root = off.staging();
            let mut took = [Vec::new(), Vec::new()];
            for round in 0..=ROUNDS {
                let records = (1..=ROWS).rev();
                let records = records.map(|id| (id, record(id, id % 100 < round)));
                let coalitions =
                    (1..=records::COALITIONS).map(|id| (id, records::coalition(id, false)));
                let staging = Staging::new(&root);
                let lock = staging.lock("bench")?;
                let now = Timestamp::now();
                let mut run = staging.create_run(&lock, now, 0, &RunSpec::default())?;
                if round == 0 && resource == "coalitions_users" {
                    stage(&lock, &run, "coalitions", (Mode::Full, now), coalitions)?;
                }
                stage(&lock, &run, resource, (Mode::Full, now), records)?;
                close(&mut run)?;
                drop(lock);
                let mut pair = [(0, &off), (1, &on)];
                if round % 2 == 1 {
                    pair.reverse();
                }
                for (place, mirror) in pair {
                    mirror.client.batch_execute("CHECKPOINT").await?;
                    let staging = root.display().to_string();
                    let (seconds, _) = mirror.cursus(&["load", "--staging", &staging])?;
                    if round > 0 {
                        took[place].push(seconds);
                    }
                }
            }
            let written = "SELECT count(*) FROM pipeline.change WHERE op = 'u'";
            let written: i64 = on.client.query_one(written, &[]).await?.get(0);
            assert_eq!(u64::try_from(written)?, ROUNDS * ROWS / 100);
            let [off, on] = took.map(median);
            println!(
                "loads of {ROWS} {resource}, 1 % changed: {off:.3} s without, {on:.3} s with changes and history (medians of {ROUNDS})"
            );
            self.at_most(
                &format!("{resource}, with to without"),
                on / off,
                MOST_OF_FOLLOWING,
            );
        }
        Ok(())
    }

    /// A reader that begins before a million changes, through a pipe.
    async fn follow(&mut self) -> Result<(), Error> {
        let mirror = self.mirror("follow", FOLLOWED).await?;
        let now = Timestamp::now();
        let (staging, lock) = lock(&mirror)?;
        let mut run = staging.create_run(&lock, now, 0, &RunSpec::default())?;
        let people = (1..=100).rev().map(|id| (id, records::person(id, false)));
        stage(&lock, &run, "users", (Mode::Full, now), people)?;
        close(&mut run)?;
        mirror.cursus(&["load"])?;
        let person = |location: &str| {
            format!(
                "jsonb_build_object('id', n % 100000, 'login', 'login' || n % 100000, 'wallet', n % 900, 'location', {location})"
            )
        };
        let write = format!(
            "INSERT INTO pipeline.change (schema_name, seq, run_id, resource, table_name, op, key, changed, before, after, file, record_index) \
             SELECT 'public', f.last_seq + n, '20261101T000000Z', 'users', 'users', 'u', jsonb_build_object('id', n % 100000), '{{location}}', \
             {}, {}, 'users/page-00001.json.gz', n % 100 FROM pipeline.change_feed AS f, generate_series(1, {CHANGES}) AS n; \
             UPDATE pipeline.change_feed SET last_seq = last_seq + {CHANGES}",
            person("NULL"),
            person("'c1r' || n % 14 || 's' || n % 9"),
        );
        let begin = "SELECT last_seq::text FROM pipeline.change_feed";
        let begin: String = mirror.client.query_one(begin, &[]).await?.get(0);
        mirror.client.batch_execute(&write).await?;
        mirror.client.batch_execute("CHECKPOINT").await?;
        let started = Instant::now();
        let mut follower = mirror
            .command(&["changes", "--follow", "--json", "--since", &begin])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut out = follower.stdout.take().ok_or("no pipe")?;
        let (mut lines, mut piece) = (0, vec![0; 1 << 16]);
        while lines < CHANGES {
            let length = out.read(&mut piece)?;
            if length == 0 {
                return Err("the follower has ended".into());
            }
            let ends = piece[..length].iter().filter(|byte| **byte == b'\n');
            lines += ends.count() as u64;
        }
        let seconds = started.elapsed().as_secs_f64();
        let status = fs::read_to_string(format!("/proc/{}/status", follower.id()))?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let memory = memory.and_then(|line| line.split_whitespace().next());
        let memory: u64 = memory.ok_or("no VmHWM")?.parse()?;
        follower.kill()?;
        follower.wait()?;
        println!("follow: {CHANGES} changes in {seconds:.2} s, {memory} kB at most");
        let rate = float(CHANGES) / seconds;
        self.judge("changes a second", rate, (LEAST_RATE, f64::INFINITY));
        self.at_most("kB of the follower", float(memory), float(MOST_MEMORY));
        Ok(())
    }

    /// A campus that is read in full once, then by a sync every quarter of an hour: each shows five changed rows of each list.
    async fn replay(&mut self, campus: &Simulator, runs: i64) -> Result<(), Error> {
        const EACH: usize = 5;
        const TEMPLATES: usize = 20;
        let mirror = self.mirror("replay", "").await?;
        let first: Timestamp = "2026-11-02T00:00:00Z".parse()?;
        let at = |number: i64| first + SignedDuration::from_mins(15 * number);
        let (staging, lock) = lock(&mirror)?;
        let mut run = staging.create_run(&lock, first, 0, &RunSpec::default())?;
        for resource in REFERENCE.into_iter().chain(SYNCED) {
            let records = rows(campus, resource);
            stage(&lock, &run, resource, (Mode::Full, first), records)?;
        }
        close(&mut run)?;
        let mut templates = Vec::new();
        for place in 0..TEMPLATES {
            let now = at(i64::try_from(place)? + 1);
            let mut run = staging.create_run(&lock, now, 0, &RunSpec::default())?;
            for resource in SYNCED {
                let mut changed = campus.rows(resource);
                changed = changed.into_iter().skip(place * EACH).take(EACH).collect();
                for row in &mut changed {
                    row["updated_at"] = now.to_string().into();
                }
                stage(&lock, &run, resource, (Mode::Delta, now), texts(changed))?;
            }
            close(&mut run)?;
            templates.push((run, now));
        }
        for number in i64::try_from(TEMPLATES)? + 1..runs {
            let (run, then) = &templates[usize::try_from(number)? % TEMPLATES];
            copy(run, &staging, (*then, at(number)), number + 1, false)?;
        }
        drop(lock);
        let (seconds, report) = mirror.cursus(&["replay", "--into", "past"])?;
        let report: Value = serde_json::from_str(&report)?;
        let tables = report["tables"].as_array().ok_or("no tables")?;
        let updated: Vec<String> = tables
            .iter()
            .map(|table| format!("{} {}", table["name"], table["updated"]))
            .collect();
        println!("replay: updated {}", updated.join(", "));
        let all = report["runs"].as_array().ok_or("no runs")?;
        assert_eq!(i64::try_from(all.len())?, runs);
        let each = seconds * 1_000.0 / float(u64::try_from(runs)?);
        println!("replay: {runs} runs in {seconds:.2} s");
        self.at_most("milliseconds a run of a replay", each, MOST_OF_REPLAY);
        Ok(())
    }

    /// A year of nights of a campus. The second person is erased from journals that the first erasure has rewritten.
    async fn forget(&mut self, campus: &Simulator) -> Result<(), Error> {
        /// Of each list; with them a night has 110 pages.
        const PAGES: [usize; 6] = [10, 10, 10, 50, 20, 10];
        let mirror = self.mirror("forget", "").await?;
        let first: Timestamp = "2025-11-30T02:00:00Z".parse()?;
        let (staging, lock) = lock(&mirror)?;
        let mut run = staging.create_run(&lock, first, 0, &RunSpec::default())?;
        let pages = REFERENCE.map(|resource| (resource, usize::MAX)).into_iter();
        for (resource, pages) in pages.chain(SYNCED.into_iter().zip(PAGES)) {
            let records = rows(campus, resource)
                .into_iter()
                .take(pages.saturating_mul(100));
            stage(&lock, &run, resource, (Mode::Full, first), records)?;
        }
        close(&mut run)?;
        drop(lock);
        mirror.cursus(&["load"])?;
        for night in 1..NIGHTS {
            let now = first + SignedDuration::from_hours(24 * night);
            copy(&run, &staging, (first, now), night + 1, true)?;
        }
        let ids = "SELECT id::text FROM users AS u WHERE EXISTS (SELECT FROM projects_users AS p WHERE p.user_id = u.id) ORDER BY id LIMIT 2";
        for row in mirror.client.query(ids, &[]).await? {
            let id: String = row.get(0);
            let (seconds, report) = mirror.cursus(&["forget", &id])?;
            let report: Value = serde_json::from_str(&report)?;
            let pages = report["pages"].as_array().map_or(0, Vec::len);
            println!("forget: {pages} pages with the person");
            assert!(pages >= 3 * usize::try_from(NIGHTS)?);
            self.at_most("seconds of a forget over a year", seconds, MOST_OF_FORGET);
        }
        Ok(())
    }
}

fn lock(mirror: &Mirror) -> Result<(Staging, StagingLock), Error> {
    let staging = Staging::new(mirror.staging());
    let lock = staging.lock("bench")?;
    Ok((staging, lock))
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
fn float(number: u64) -> f64 {
    number as f64
}
