//! `cursus runs`: the history of commands that read, loaded or changed something, newest first, and one run in detail. It is made of
//! the command log, of the records of staged runs, and of the load ledger where the database answers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::cli::{Global, RunsArgs};
use crate::database::DatabaseError;
use crate::exit::{Exit, Failure};
use crate::load::{self, LedgerLoad};
use crate::pipeline::connect;
use crate::printable;
use crate::report::{Column, Table, counted, grouped, resources_table, span};
use crate::settings::Settings;
use crate::staging::{CommandRecord, ResourceSummary, Run};
use crate::status::last::LastRun;

/// A command, or a run of which no command is recorded.
#[derive(Serialize)]
struct Entry {
    run_id: Option<String>,
    /// None: not recorded.
    command: Option<String>,
    outcome: String,
    exit_code: Option<u8>,
    started_at: Timestamp,
    /// None: it is running, or unknown.
    finished_at: Option<Timestamp>,
    requests: u64,
    rows_staged: u64,
    /// None: not known without the database.
    rows_changed: Option<u64>,
    /// When a part of the run was last loaded; none: never, or not known without the database.
    loaded_at: Option<Timestamp>,
    error: Option<String>,
}

#[derive(Serialize)]
struct History {
    runs: Vec<Entry>,
    /// Whether the load ledger could be read, or why not.
    database: String,
}

#[derive(Serialize)]
struct Detail {
    run_id: String,
    /// The commands that worked on it, oldest first.
    commands: Vec<Entry>,
    resources: Vec<ResourceSummary>,
    /// None: not known without the database.
    tables: Option<Vec<LedgerLoad>>,
    database: String,
}

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &RunsArgs,
) -> Result<Exit, Failure> {
    let commands = settings.staging.commands()?;
    let runs = settings.staging.runs_in_full()?;
    let ledger = Ledger::read(settings).await;
    if let Some(run) = &arguments.run {
        detail(global, settings, run, &commands, &runs, &ledger)?;
    } else {
        let is_written = settings.staging.is_being_written()?;
        let mut entries = entries(&commands, &runs, is_written, &ledger);
        entries.truncate(arguments.limit);
        let history = History {
            runs: entries,
            database: ledger.sentence(),
        };
        if global.json {
            super::print_json(&history);
        } else if history.runs.is_empty() {
            super::print_line("nothing was done here yet; `cursus run` makes the first run");
        } else {
            print_entries(&history.runs);
        }
        ledger.warn(global);
    }
    Ok(Exit::Done)
}

/// What the load ledger knows, by run.
enum Ledger {
    Known(BTreeMap<String, Vec<LedgerLoad>>),
    Unknown(Failure),
}

impl Ledger {
    async fn read(settings: &Settings) -> Self {
        let read = async {
            if settings.unmade_cluster().is_some() {
                return Ok(BTreeMap::new());
            }
            let schema = settings.config.database.schema.as_str();
            let database = connect::connect(settings, schema).await?;
            let client = &database.client;
            let has_ledger = load::has_ledger(client)
                .await
                .map_err(DatabaseError::from)?;
            let loads = if has_ledger {
                load::ledger_loads(client, schema).await?
            } else {
                BTreeMap::new()
            };
            database.close().await?;
            Ok::<_, Failure>(loads)
        };
        read.await.map_or_else(Self::Unknown, Self::Known)
    }

    fn of(&self, run: &str) -> Option<&[LedgerLoad]> {
        match self {
            Self::Known(loads) => Some(loads.get(run).map_or(&[], Vec::as_slice)),
            Self::Unknown(_) => None,
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::Known(_) => "reachable".to_owned(),
            Self::Unknown(failure) => failure.sentence(),
        }
    }

    fn warn(&self, global: &Global) {
        if let Self::Unknown(failure) = self
            && !global.quiet
        {
            let sentence = failure.sentence();
            super::warning(&format!(
                "what was loaded of runs without a recorded command is not known: {}",
                printable::without_credentials(&sentence)
            ));
        }
    }
}

/// All, newest first.
fn entries(
    commands: &[CommandRecord],
    runs: &[Run],
    is_written: bool,
    ledger: &Ledger,
) -> Vec<Entry> {
    let recorded: BTreeSet<&str> = (commands.iter())
        .filter_map(|command| command.run_id.as_deref())
        .collect();
    let mut entries: Vec<Entry> = commands.iter().map(Entry::of_command).collect();
    let newest = runs.last().map(Run::id);
    for run in runs {
        // A newer process may work on a run that an earlier command is recorded for.
        let is_written = is_written && newest == Some(run.id());
        if !recorded.contains(run.id().as_str()) || is_written && run.is_open() {
            entries.push(Entry::of_run(run, is_written));
        }
    }
    for entry in &mut entries {
        entry.add(ledger);
    }
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.started_at));
    entries
}

impl Entry {
    fn of_command(record: &CommandRecord) -> Self {
        Self {
            run_id: record.run_id.clone(),
            command: Some(record.command.clone()),
            outcome: record.outcome.clone(),
            exit_code: Some(record.exit_code),
            started_at: record.started_at,
            finished_at: Some(record.finished_at),
            requests: record.requests.values().sum(),
            rows_staged: record.rows_staged,
            rows_changed: Some(record.rows_changed),
            loaded_at: None,
            error: record.error.clone(),
        }
    }

    fn of_run(run: &Run, is_written: bool) -> Self {
        let record = run.record();
        let last = LastRun::of(run, is_written);
        Self {
            run_id: last.run_id,
            command: None,
            outcome: last.outcome,
            exit_code: None,
            started_at: last.started_at,
            finished_at: last.finished_at,
            requests: record.hits,
            rows_staged: record.resources.iter().map(|resource| resource.rows).sum(),
            rows_changed: None,
            loaded_at: None,
            error: last.error,
        }
    }

    fn add(&mut self, ledger: &Ledger) {
        let Some(loads) = self.run_id.as_deref().and_then(|run| ledger.of(run)) else {
            return;
        };
        self.loaded_at = loads.iter().map(|load| load.loaded_at).max();
        if self.command.is_none() {
            self.rows_changed = Some(loads.iter().map(LedgerLoad::changed).sum());
        }
    }
}

fn print_entries(entries: &[Entry]) {
    let dash = || "-".to_owned();
    let rows = entries.iter().map(|entry| {
        let took = entry
            .finished_at
            .map(|end| span(end.duration_since(entry.started_at)));
        vec![
            format!("{:.0}", entry.started_at),
            entry.command.clone().unwrap_or_else(dash),
            entry.run_id.clone().unwrap_or_else(dash),
            entry.outcome.clone(),
            entry.exit_code.map_or_else(dash, |code| code.to_string()),
            took.unwrap_or_else(dash),
            grouped(entry.requests),
            grouped(entry.rows_staged),
            entry.rows_changed.map_or_else(dash, grouped),
            entry.error.clone().unwrap_or_default(),
        ]
    });
    let columns = [
        Column::fixed("started"),
        Column::fixed("command"),
        Column::fixed("run").rank(1),
        Column::fixed("outcome"),
        Column::number("exit").rank(2),
        Column::fixed("took").rank(5),
        Column::number("requests").rank(3),
        Column::number("staged").rank(6),
        Column::number("changed").rank(4),
        Column::text("error"),
    ];
    super::print_table(&Table::new(columns, rows));
}

/// Prints one run: a staged one, or one of which only records are left.
fn detail(
    global: &Global,
    settings: &Settings,
    typed: &str,
    commands: &[CommandRecord],
    runs: &[Run],
    ledger: &Ledger,
) -> Result<(), Failure> {
    let is_known = commands
        .iter()
        .any(|record| record.run_id.as_deref() == Some(typed))
        || ledger.of(typed).is_some_and(|loads| !loads.is_empty());
    let run = match settings.staging.find_among(runs, typed) {
        Ok(run) => Some(run),
        Err(_) if is_known => None,
        Err(error) => return Err(error.into()),
    };
    let id = run
        .as_ref()
        .map_or_else(|| typed.to_owned(), |run| run.id().to_string());
    let mut entries: Vec<Entry> = (commands.iter())
        .filter(|record| record.run_id.as_deref() == Some(id.as_str()))
        .map(Entry::of_command)
        .collect();
    if let Some(run) = &run
        && (entries.is_empty() || run.is_open())
    {
        let is_written = run.is_open() && settings.staging.is_being_written()?;
        if entries.is_empty() || is_written {
            entries.push(Entry::of_run(run, is_written));
        }
    }
    for entry in &mut entries {
        entry.add(ledger);
    }
    let tables = ledger.of(&id).map(<[_]>::to_vec);
    let detail = Detail {
        run_id: id,
        commands: entries,
        resources: run.map_or_else(Vec::new, |run| run.record().resources.clone()),
        tables,
        database: ledger.sentence(),
    };
    if global.json {
        super::print_json(&detail);
    } else {
        print_detail(&detail);
    }
    ledger.warn(global);
    Ok(())
}

fn print_detail(detail: &Detail) {
    super::print_line(&format!("run {}", detail.run_id));
    for entry in &detail.commands {
        let command = entry.command.as_deref().unwrap_or("not recorded");
        let code = entry
            .exit_code
            .map_or_else(String::new, |code| format!(", exit code {code}"));
        let end = match entry.finished_at {
            Some(end) => format!(
                " to {end:.0} ({})",
                span(end.duration_since(entry.started_at))
            ),
            None => String::new(),
        };
        super::print_line(&format!(
            "{command}: {}{code}; {:.0}{end}; {}, {} staged, {} changed",
            entry.outcome,
            entry.started_at,
            counted(entry.requests, "request"),
            counted(entry.rows_staged, "row"),
            entry
                .rows_changed
                .map_or_else(|| "unknown".to_owned(), |rows| counted(rows, "row")),
        ));
        if let Some(error) = &entry.error {
            super::print_line(&format!("  {error}"));
        }
    }
    if !detail.resources.is_empty() {
        super::print_table(&resources_table(&detail.resources));
    }
    match detail.tables.as_deref() {
        None => super::print_line("loaded: unknown without the database"),
        Some([]) => super::print_line("loaded: nothing"),
        Some(loads) => {
            let rows = loads.iter().map(|load| {
                vec![
                    load.table.clone(),
                    load.resource.clone(),
                    format!("{:.0}", load.loaded_at),
                    grouped(load.staged),
                    grouped(load.inserted),
                    grouped(load.updated),
                    grouped(load.deleted),
                    grouped(load.quarantined),
                    span(SignedDuration::from_millis(
                        i64::try_from(load.duration_ms).unwrap_or(0),
                    )),
                ]
            });
            let columns = [
                Column::fixed("table"),
                Column::fixed("resource").rank(3),
                Column::fixed("loaded").rank(4),
                Column::number("staged").rank(2),
                Column::number("inserted"),
                Column::number("updated"),
                Column::number("deleted"),
                Column::number("quarantined"),
                Column::fixed("took").rank(5),
            ];
            super::print_table(&Table::new(columns, rows));
        }
    }
}
