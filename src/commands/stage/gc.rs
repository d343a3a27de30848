//! `cursus stage gc`: remove old runs that are no longer needed.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::cli::{GcArgs, Global};
use crate::commands::{print_json, print_line, print_table};
use crate::database::{Database, DatabaseError};
use crate::exit::{Exit, Failure};
use crate::load::{Loaded, has_ledger, held_runs, loaded, pending, quarantined_runs};
use crate::name::Name;
use crate::pipeline::connect;
#[cfg(feature = "remote")]
use crate::remote::{self, Remote, open_staging};
use crate::report::{Column, Table, counted, grouped, span_of};
use crate::settings::Settings;
use crate::staging::{Claims, GcDecision, Keep, Run, RunId, StagingError, judge};

#[derive(Clone, Copy)]
pub(in crate::commands) struct GcSelection {
    pub(in crate::commands) keep: Duration,
    pub(in crate::commands) dry_run: bool,
}

#[derive(Serialize)]
pub(in crate::commands) struct GcReport {
    dry_run: bool,
    pub(in crate::commands) removed: Vec<Removed>,
    freed_bytes: u64,
    kept: Vec<KeptRun>,
    younger: usize,
}

#[derive(Serialize)]
pub(in crate::commands) struct Removed {
    run_id: RunId,
    bytes: u64,
}

#[derive(Serialize)]
struct KeptRun {
    run_id: RunId,
    reasons: Vec<String>,
}

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &GcArgs,
) -> Result<Exit, Failure> {
    let keep = arguments.keep.unwrap_or(settings.config.staging.keep);
    let choice = GcSelection {
        keep,
        dry_run: arguments.dry_run,
    };
    #[cfg(feature = "remote")]
    if let Some(url) = &arguments.remote {
        let url = (!url.is_empty()).then_some(url.as_str());
        let remote = settings.remote(url)?;
        let with_database = !arguments.without_database;
        let report = collect_there(settings, &remote, choice, with_database).await?;
        print_report(global, &report, keep);
        return Ok(Exit::Done);
    }
    if !settings.staging.root().exists() {
        settings.staging.find("latest")?;
    }
    let report = if arguments.without_database {
        collect(settings, None, choice).await?
    } else {
        collect_unneeded(settings, choice).await?
    };
    print_report(global, &report, keep);
    Ok(Exit::Done)
}

fn print_report(global: &Global, report: &GcReport, keep: Duration) {
    if global.json {
        print_json(report);
    } else {
        print(report, keep);
    }
}

/// Removes runs from an object store that neither the store nor the database needs.
#[cfg(feature = "remote")]
async fn collect_there(
    settings: &Settings,
    remote: &Remote,
    choice: GcSelection,
    with_database: bool,
) -> Result<GcReport, Failure> {
    // On a machine that has no staging directory nobody pushes.
    let is_locked = !choice.dry_run && settings.staging.root().exists();
    let _lock = if is_locked {
        Some(settings.lock_store(remote).await?)
    } else {
        None
    };
    let opened = open_staging(remote, &settings.config.people).await?;
    let runs = opened.staging.runs()?;
    let claims = if with_database {
        let database = connect_to_claim(settings).await?;
        let claims = claims(settings, &database, &runs).await;
        let _ = database.close().await;
        claims?
    } else {
        Claims::new()
    };
    let judged = tokio::task::spawn_blocking(move || judge(&runs, choice.before(), &claims)).await;
    let verdicts = judged.map_err(|_| thread_ended())??;
    let mut report = GcReport::new(choice.dry_run);
    for verdict in verdicts {
        let id = verdict.run.id();
        let bytes = match (verdict.keep.is_empty(), choice.dry_run) {
            (false, _) => 0,
            (true, true) => remote::size(remote, id).await?,
            (true, false) => remote::unpublish(remote, id).await?,
        };
        report.add(&verdict, bytes);
    }
    for id in opened.stored.leftovers(choice.before()) {
        let bytes = if choice.dry_run {
            remote::size(remote, &id).await?
        } else {
            remote::unpublish(remote, &id).await?
        };
        report.freed_bytes += bytes;
        report.removed.push(Removed { run_id: id, bytes });
    }
    Ok(report)
}

fn thread_ended() -> Failure {
    Failure::new(
        Exit::Failed,
        "a thread that removes runs ended early; this is a fault of cursus, please report it",
    )
}

impl GcSelection {
    /// What began before may be removed.
    fn before(self) -> Timestamp {
        SignedDuration::try_from(self.keep)
            .ok()
            .and_then(|keep| crate::clock::now().checked_sub(keep).ok())
            .unwrap_or(Timestamp::MIN)
    }
}

/// Removes old runs that neither staging nor the database needs, in a session of its own.
pub(in crate::commands) async fn collect_unneeded(
    settings: &Settings,
    choice: GcSelection,
) -> Result<GcReport, Failure> {
    let database = connect_to_claim(settings).await?;
    let report = collect(settings, Some(&database), choice).await;
    let _ = database.close().await;
    report
}

/// Connects to the database that knows what is loaded.
async fn connect_to_claim(settings: &Settings) -> Result<Database, Failure> {
    let unknown = |failure: Failure| {
        let exit = failure.exit;
        let error = failure.error.context(
            "nothing was removed, because only the database knows what is loaded (without one, --without-database uses the \
             staging directory alone)",
        );
        Failure { exit, error }
    };
    connect::connect(settings, settings.config.database.schema.as_str())
        .await
        .map_err(unknown)
}

/// Removes old runs that are not needed; without a database also runs that were not loaded.
async fn collect(
    settings: &Settings,
    database: Option<&Database>,
    choice: GcSelection,
) -> Result<GcReport, Failure> {
    let staging = settings.staging.clone();
    // Under the lock of its writer: a run that is open now was abandoned.
    let lock = settings.lock_staging().await?;
    let runs = staging.runs()?;
    let claims = match database {
        Some(database) => claims(settings, database, &runs).await?,
        None => Claims::new(),
    };
    // Many files: a signal must not wait for them.
    let collected = tokio::task::spawn_blocking(move || {
        let verdicts = judge(&runs, choice.before(), &claims)?;
        let mut report = GcReport::new(choice.dry_run);
        if !choice.dry_run {
            staging.finish_removals(&lock)?;
        }
        for verdict in verdicts {
            let bytes = if verdict.keep.is_empty() {
                verdict.run.size()
            } else {
                0
            };
            if verdict.keep.is_empty() && !choice.dry_run {
                staging.remove(&lock, &verdict.run)?;
            }
            report.add(&verdict, bytes);
        }
        Ok::<_, StagingError>(report)
    })
    .await;
    match collected {
        Ok(report) => Ok(report?),
        Err(_) => Err(thread_ended()),
    }
}

/// Runs that the database needs: not loaded, or referred to.
async fn claims(settings: &Settings, database: &Database, runs: &[Run]) -> Result<Claims, Failure> {
    let mut claims = Claims::new();
    let client = &database.client;
    let has_ledger = has_ledger(client).await.map_err(DatabaseError::from)?;
    let schema = settings.config.database.schema.as_str();
    let loaded = if has_ledger {
        loaded(client, schema, &settings.config).await?
    } else {
        Loaded::new()
    };
    for waiting in pending(&settings.config, runs, &loaded)? {
        let names: Vec<&str> = waiting.resources.iter().map(Name::as_str).collect();
        let why = format!("not loaded yet: {}", names.join(", "));
        claims
            .entry(waiting.run.id().to_string())
            .or_default()
            .push(why);
    }
    if has_ledger {
        // Of every schema, not only this one's.
        for (runs, why) in [
            (
                quarantined_runs(client).await?,
                "quarantined rows refer to it",
            ),
            (held_runs(client).await?, "held deletes refer to it"),
        ] {
            for run in runs {
                claims.entry(run).or_default().push(why.to_owned());
            }
        }
    }
    Ok(claims)
}

impl GcReport {
    fn new(dry_run: bool) -> Self {
        Self {
            dry_run,
            removed: Vec::new(),
            freed_bytes: 0,
            kept: Vec::new(),
            younger: 0,
        }
    }

    fn add(&mut self, verdict: &GcDecision, bytes: u64) {
        let run_id = verdict.run.id().clone();
        match verdict.keep.as_slice() {
            [] => {
                self.freed_bytes += bytes;
                self.removed.push(Removed { run_id, bytes });
            }
            [Keep::Young] => self.younger += 1,
            reasons => self.kept.push(KeptRun {
                run_id,
                reasons: reasons.iter().map(ToString::to_string).collect(),
            }),
        }
    }
}

fn print(report: &GcReport, keep: Duration) {
    let runs = |count: usize| counted(count as u64, "run");
    let (removed, would) = if report.dry_run {
        ("to be removed", ", nothing was removed (dry run)")
    } else {
        ("removed", "")
    };
    let rows = report
        .removed
        .iter()
        .map(|run| (&run.run_id, removed.to_owned(), grouped(run.bytes)))
        .chain(report.kept.iter().map(|run| {
            let why = format!("kept: {}", run.reasons.join("; "));
            (&run.run_id, why, String::new())
        }))
        .map(|(run, what, bytes)| vec![run.to_string(), what, bytes]);
    let mut rows: Vec<_> = rows.collect();
    rows.sort();
    if !rows.is_empty() {
        let columns = [
            Column::fixed("run"),
            Column::text("result"),
            Column::number("bytes").rank(1),
        ];
        print_table(&Table::new(columns, rows));
    }
    print_line(&format!(
        "{} {removed}, {}{would}; {} older than {} kept, {} younger",
        runs(report.removed.len()),
        counted(report.freed_bytes, "byte"),
        runs(report.kept.len()),
        span_of(keep),
        runs(report.younger),
    ));
}
