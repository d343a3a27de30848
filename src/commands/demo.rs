//! `cursus demo`: a simulated API, a private PostgreSQL, a first run, a day later a second one.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use super::init::packs::with_packs;
use super::init::write;
use super::record::CommandOutcome;
use super::sql::{Rows, shown};
use crate::cli::{DemoArgs, Global, RunArgs};
use crate::config::Config;
use crate::context::Context;
use crate::convert::unsigned;
use crate::database::DatabaseError;
use crate::embedded_files;
use crate::exit::{Exit, Failure};
use crate::load::TableCounts;
use crate::pipeline::{self, RunOutcome, connect::connect_unchecked};
use crate::project::{CONFIG, STATE, working_directory};
use crate::report::{Column, RunReport, Table, counted, grouped, took};
use crate::serve::{self, Server};
use crate::settings::{self, Environment, Settings, state_dir};
use crate::staging::Staging;
use crate::trusted::{self, Folder};
use cursus_simulator::{Limits, Options, Simulator};

/// The demonstration's API allows more than the real one (2 a second), or it would take nine minutes.
const PER_SECOND: u32 = 100;
const PER_HOUR: u32 = 100_000;
/// Between the two runs.
const A_DAY: Duration = Duration::from_hours(24);
/// Marks a directory that a demonstration may clear.
const MARKER: &str = ".cursus-demo";

/// The queries to run, and the last one, which the reader is invited to run.
fn queries() -> (Vec<&'static str>, &'static str) {
    let mut queries: Vec<&str> = (embedded_files::DEMO.lines())
        .filter(|line| !line.starts_with("--"))
        .collect();
    let last = queries.pop().unwrap_or_default();
    (queries, last.trim_end_matches(';'))
}

/// A query and its rows.
type Answer = (&'static str, Rows);

fn json((query, Rows { rows, .. }): &Answer) -> Value {
    json!({ "query": query, "rows": rows })
}

pub(super) async fn run(
    global: &Global,
    context: &Context,
    arguments: &DemoArgs,
) -> Result<Exit, Failure> {
    let started = Instant::now();
    let folder = choose(arguments.dir.as_deref())?;
    // Held to the end: another demo there would clear this one.
    let place = Staging::new(folder.path());
    let lock = settings::lock(&place, "demo", global.wait_lock).await?;
    prepare(&folder)?;
    let folder = folder.path().to_owned();
    let say = |line: &str| {
        if !global.json && !global.quiet {
            super::note(line);
        }
    };
    say(
        "a simulated 42 API with synthetic people, a private PostgreSQL, and the full pipeline between them",
    );
    let simulator = Simulator::start(Options {
        limits: Limits {
            per_second: PER_SECOND,
            per_hour: PER_HOUR,
            ..Limits::default()
        },
        latency: Duration::from_millis(20)..=Duration::from_millis(80),
        // Its second day is today: what is open then is open now.
        start: Options::default().start - A_DAY,
        ..Options::default()
    })
    .await
    .map_err(|error| Failure {
        exit: Exit::Failed,
        error: error.into(),
    })?;
    let variables: [(&'static str, OsString); 4] = [
        ("CURSUS_API_URL", simulator.url().into()),
        ("CURSUS_CLIENT_ID", simulator.client_id().into()),
        ("CURSUS_CLIENT_SECRET", simulator.client_secret().into()),
        ("XDG_STATE_HOME", folder.join(STATE).join("state").into()),
    ];
    let own = Global {
        config: None,
        staging: None,
        // The database that is cleared below is always the demo's own.
        database_url: Some("embedded".into()),
        ..global.clone()
    };
    let (shared, base) = (context.clone(), folder.clone());
    let resolve = move || {
        // Nothing of the user's own environment: not their key, and not their database.
        let environment = Environment::only(variables.clone());
        // Of what lies in the directory nothing is read: no configuration, no SQL, no migration.
        let config = Config::parse(&pipeline()?, None)?;
        Settings::of(&own, "demo", environment, base.clone(), config, &shared)
    };
    let settings = resolve()?;
    // Bound now, so that an address that is taken is known before the work.
    let server = match arguments.serve {
        Some(listen) => {
            let options = serve::Options {
                listen,
                hosts: Vec::new(),
                token_file: None,
            };
            Some(Server::bind(options, context.sessions().clone(), resolve).await?)
        }
        None => None,
    };
    // One hold on the private PostgreSQL for all that follows, so that it starts once.
    let database = connect_unchecked(&settings).await?;
    // The cluster of an earlier demo is reused, its databases are dropped.
    database
        .client
        .batch_execute("DROP SCHEMA IF EXISTS public, pipeline CASCADE; CREATE SCHEMA public")
        .await
        .map_err(DatabaseError::from)?;
    say(&format!(
        "day 1: everything, at {PER_SECOND} requests a second (the real API allows 2)"
    ));
    let first = run_recorded(&settings).await?;
    super::sql::path(&database, settings.config.database.schema.as_str()).await?;
    let answers = ask(&database).await?;
    say("day 2: what changed since (marks, memberships, new and leaving students)");
    simulator.advance(A_DAY);
    let second = run_recorded(&settings).await?;
    let exit = first.exit.max(second.exit);
    // Ctrl-C ends the pages with 0, which a run that has not done all must not hide.
    let server = server.filter(|_| exit == Exit::Done);
    let (first, second) = (first.report, second.report);
    let counts = count_rows(&database, &first).await?;
    let tomorrow = ask(&database).await?;
    let changes = count_changes(&database, &settings).await?;
    database.close().await?;
    simulator.stop().await;
    if global.json {
        super::print_json(&json!({
            "dir": folder.display().to_string(),
            "first": first,
            "second": second,
            "rows": counts.iter().map(|(name, count)| (name.clone(), Value::from(*count))).collect::<serde_json::Map<_, _>>(),
            "changes": changes,
            "queries": {
                "day_1": answers.iter().map(json).collect::<Vec<_>>(),
                "day_2": tomorrow.iter().map(json).collect::<Vec<_>>(),
            },
        }));
    } else {
        print_tables(&counts, &first, &second);
        print_changes(&changes);
        print_answers(&answers, &tomorrow);
        print_next(&folder, started.elapsed(), server.is_some());
    }
    drop(lock);
    match server {
        Some(server) => {
            super::note(&format!("open {}/campus in a browser", server.url()));
            super::serve::serve(global, context, &server).await
        }
        None => Ok(exit),
    }
}

/// A run of one day, recorded as a command of its own.
async fn run_recorded(settings: &Settings) -> Result<RunOutcome, Failure> {
    let started_at = crate::clock::now();
    let result = pipeline::run(settings, &RunArgs::default()).await;
    let outcome = match &result {
        Ok(outcome) => CommandOutcome::of(&outcome.report, outcome.exit),
        Err(failure) => CommandOutcome::failed(failure),
    };
    outcome.record(settings, started_at);
    result
}

fn failed(doing: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("cannot {doing} {}: {error}", path.display()),
    )
}

/// A directory for a demonstration: made now, or the caller's alone, and then empty or of an earlier demonstration.
fn choose(dir: Option<&Path>) -> Result<Folder, Failure> {
    let path = match dir {
        Some(dir) => working_directory()?.join(dir),
        None => state_dir(&Environment::of_process())
            .ok_or_else(|| {
                Failure::usage("there is no home directory; say where: `cursus demo --dir DIR`")
            })?
            .join("demo"),
    };
    // What is in another's directory can change at any time, and so can a link.
    if let Some(fault) = trusted::fault_of_own(&path) {
        return Err(trusted::list(&[fault]).into());
    }
    let folder = Folder::make_private(&path).map_err(|fault| trusted::list(&[fault]))?;
    let is_empty = std::fs::read_dir(&path)
        .map_err(|error| failed("list", &path, &error))?
        .next()
        .is_none();
    let marker = folder
        .read(MARKER)
        .map_err(|fault| trusted::list(&[fault]))?;
    if !is_empty && marker.is_none() {
        return Err(Failure::usage(format!(
            "{} is not empty and not from an earlier demo; choose another directory with --dir",
            path.display()
        )));
    }
    if is_empty {
        mark(&folder)?;
    }
    Ok(folder)
}

/// What a marker holds: the directory that it was made in. Copied elsewhere, in an archive say, it marks nothing.
fn mark_of(folder: &Folder) -> Result<String, Failure> {
    let there = folder.as_file().metadata()?;
    Ok(format!("{}:{}\n", there.dev(), there.ino()))
}

fn mark(folder: &Folder) -> Result<(), Failure> {
    write(&folder.path().join(MARKER), &mark_of(folder)?, 0o600, true).map(drop)
}

/// The shipped configuration, with changes turned on, and all packs that need no right.
fn pipeline() -> Result<String, Failure> {
    let config = Config::load(None)?;
    let packs = config.packs.iter();
    let packs = packs.filter(|pack| !pack.is_default && pack.right.is_none());
    let packs: Vec<String> = packs.map(|pack| pack.name.clone()).collect();
    let shipped = with_packs(embedded_files::PIPELINE, &packs);
    Ok(format!("{shipped}{}", embedded_files::DEMO_CHANGES))
}

/// Clears an earlier demo and writes the default configuration. Needs the lock.
fn prepare(folder: &Folder) -> Result<(), Failure> {
    let path = folder.path();
    let marker = folder
        .read(MARKER)
        .map_err(|fault| trusted::list(&[fault]))?;
    let mut cleared = vec!["staging"];
    // The cluster of an earlier demo is kept, but not one that was copied from elsewhere: it is not trusted.
    if marker.as_deref() != Some(mark_of(folder)?.as_bytes()) {
        cleared.push(STATE);
    }
    for name in &cleared {
        let path = path.join(name);
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(failed("clear", &path, &error));
            }
            _ => {}
        }
    }
    mark(folder)?;
    write(&path.join(CONFIG), &pipeline()?, 0o644, true).map(drop)
}

async fn count_rows(
    database: &crate::database::Database,
    report: &RunReport,
) -> Result<Vec<(String, u64)>, Failure> {
    let mut counts = Vec::new();
    for table in &report.tables {
        let row = database
            .client
            .query_one(
                &format!(
                    "SELECT count(*) FROM {}",
                    crate::database::Quoted(table.name.as_str())
                ),
                &[],
            )
            .await
            .map_err(DatabaseError::from)?;
        counts.push((table.name.to_string(), unsigned(row.get(0))));
    }
    Ok(counts)
}

/// What the second day has changed in a followed table.
#[derive(Serialize)]
struct TableChanges {
    table: String,
    came: u64,
    left: u64,
    changed: u64,
    /// In how many rows each column differs, the most first.
    columns: Vec<(String, u64)>,
}

async fn count_changes(
    database: &crate::database::Database,
    settings: &Settings,
) -> Result<Vec<TableChanges>, Failure> {
    let schema = settings.config.database.schema.as_str();
    let rows = database
        .client
        .query(
            "SELECT c.table_name, count(*) FILTER (WHERE op = 'c'), count(*) FILTER (WHERE op = 'd'), \
             count(*) FILTER (WHERE op = 'u'), coalesce((SELECT array_agg(name ORDER BY n DESC, name) FROM \
             (SELECT name, count(*) AS n FROM pipeline.change AS u, unnest(u.changed) AS name WHERE u.op = 'u' \
             AND u.schema_name = $1 AND u.table_name = c.table_name GROUP BY name) AS names), '{}'), \
             coalesce((SELECT array_agg(n ORDER BY n DESC, name) FROM \
             (SELECT name, count(*) AS n FROM pipeline.change AS u, unnest(u.changed) AS name WHERE u.op = 'u' \
             AND u.schema_name = $1 AND u.table_name = c.table_name GROUP BY name) AS names), '{}') \
             FROM pipeline.change AS c WHERE c.schema_name = $1 AND op <> 's' GROUP BY c.table_name ORDER BY 1",
            &[&schema],
        )
        .await
        .map_err(DatabaseError::from)?;
    let changes = rows.iter().map(|row| TableChanges {
        table: row.get(0),
        came: unsigned(row.get(1)),
        left: unsigned(row.get(2)),
        changed: unsigned(row.get(3)),
        columns: {
            let (names, counts): (Vec<String>, Vec<i64>) = (row.get(4), row.get(5));
            names
                .into_iter()
                .zip(counts.into_iter().map(unsigned))
                .collect()
        },
    });
    Ok(changes.collect())
}

/// `users: 3 left, 16 changed (wallet 12, location 4)`.
fn print_changes(changes: &[TableChanges]) {
    if changes.is_empty() {
        return;
    }
    super::print("\nday 2 as changes (`cursus changes` has each with before and after):\n");
    for of_table in changes {
        let columns: Vec<String> = (of_table.columns.iter())
            .map(|(name, rows)| format!("{name} {}", grouped(*rows)))
            .collect();
        let figures = [
            (of_table.came, "came"),
            (of_table.left, "left"),
            (of_table.changed, "changed"),
        ];
        let figures: Vec<String> = (figures.iter().filter(|(count, _)| *count > 0))
            .map(|(count, what)| format!("{} {what}", grouped(*count)))
            .collect();
        let columns = if columns.is_empty() {
            String::new()
        } else {
            format!(" ({})", columns.join(", "))
        };
        super::print_line(&format!(
            "  {}: {}{columns}",
            of_table.table,
            figures.join(", ")
        ));
    }
}

async fn ask(database: &crate::database::Database) -> Result<Vec<Answer>, Failure> {
    let mut answers = Vec::new();
    for query in queries().0 {
        answers.push((query, super::sql::ask(database, query).await?));
    }
    Ok(answers)
}

fn print_tables(counts: &[(String, u64)], first: &RunReport, second: &RunReport) {
    let rows = counts.iter().map(|(name, count)| {
        let number = |report: &RunReport, figure: fn(&TableCounts) -> u64| {
            let mut tables = report.tables.iter();
            let table = tables.find(|table| table.name.as_str() == name);
            table
                .map(|table| grouped(figure(table)))
                .unwrap_or_default()
        };
        vec![
            name.clone(),
            grouped(*count),
            number(first, |table| table.inserted),
            number(second, |table| table.inserted),
            number(second, |table| table.updated),
            number(second, |table| table.deleted),
        ]
    });
    let columns = [
        Column::fixed("table"),
        Column::number("rows now"),
        Column::number("day 1: new").rank(1),
        Column::number("day 2: new"),
        Column::number("updated"),
        Column::number("deleted"),
    ];
    super::print_table(&Table::new(columns, rows));
    for (day, report) in [("day 1", first), ("day 2", second)] {
        let pages: u64 = report.resources.iter().map(|resource| resource.pages).sum();
        super::print_line(&format!(
            "{day}: {} for {}, {} throttled, {}, {}",
            counted(report.hits, "request"),
            counted(pages, "page"),
            report.rejected_429,
            took(Duration::from_millis(report.duration_ms)),
            report.state
        ));
    }
}

fn print_answers(answers: &[Answer], tomorrow: &[Answer]) {
    for ((query, answer), (_, later)) in answers.iter().zip(tomorrow) {
        super::print(&format!("\n{query}\n"));
        if let ([row], [later]) = (answer.rows.as_slice(), later.rows.as_slice()) {
            let (day_1, day_2) = (shown(row), shown(later));
            super::print_line(&format!(
                "  {} (on day 2: {})",
                day_1.join(" "),
                day_2.join(" ")
            ));
            continue;
        }
        super::print_table(&later.table());
    }
}

fn print_next(folder: &Path, duration: Duration, is_served: bool) {
    let program = std::env::current_exe()
        .map_or_else(|_| "cursus".to_owned(), |path| path.display().to_string());
    let pages = if is_served {
        String::new()
    } else {
        format!(
            "  {program} serve                    # all of it in a browser: http://127.0.0.1:4280/campus\n"
        )
    };
    super::print(&format!(
        "\n{} in all. Everything is in {}. Next:\n  \
         cd {}\n\
         {pages}  {program} sql \"{}\"\n  \
         {program} changes --since 1h       # who changed on day 2, with before and after\n  \
         {program} stage ls latest          # what was staged\n  \
         {program} status                   # how old everything is\n\
         Your own campus: `{program} init` in a new directory, then `doctor` and `run`.\n",
        took(duration),
        folder.display(),
        trusted::shell(folder),
        queries().1,
    ));
}
