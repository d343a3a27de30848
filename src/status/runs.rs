//! The history of commands that read, loaded or changed something, newest first, and one run in detail. It is made of the command log,
//! of the records of staged runs, and of the load ledger where the database answers. Prints nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::Client;

use super::last::LastRun;
use crate::database::DatabaseError;
use crate::exit::Failure;
use crate::load::{self, LedgerLoad};
use crate::settings::Settings;
use crate::staging::{CommandRecord, ResourceSummary, Run, StagingError};

/// A command, or a run of which no command is recorded.
#[derive(Serialize)]
pub(crate) struct Entry {
    pub(crate) run_id: Option<String>,
    /// None: not recorded.
    pub(crate) command: Option<String>,
    pub(crate) outcome: String,
    pub(crate) exit_code: Option<u8>,
    pub(crate) started_at: Timestamp,
    /// None: it is running, or unknown.
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) requests: u64,
    pub(crate) rows_staged: u64,
    /// None: not known without the database.
    pub(crate) rows_changed: Option<u64>,
    /// When a part of the run was last loaded; none: never, or not known without the database.
    pub(crate) loaded_at: Option<Timestamp>,
    pub(crate) error: Option<String>,
}

/// The document of `runs --json`.
#[derive(Serialize)]
pub(crate) struct History {
    pub(crate) runs: Vec<Entry>,
    /// Whether the load ledger could be read, or why not.
    pub(crate) database: String,
}

/// The document of `runs RUN --json`.
#[derive(Serialize)]
pub(crate) struct Detail {
    pub(crate) run_id: String,
    /// The commands that worked on it, oldest first.
    pub(crate) commands: Vec<Entry>,
    pub(crate) resources: Vec<ResourceSummary>,
    /// None: not known without the database.
    pub(crate) tables: Option<Vec<LedgerLoad>>,
    pub(crate) database: String,
}

/// All that is known of runs.
pub(crate) struct KnownRuns {
    pub(crate) commands: Vec<CommandRecord>,
    runs: Vec<Run>,
    /// Whether a process works on the newest.
    is_written: bool,
    pub(crate) ledger: Ledger,
}

impl KnownRuns {
    /// With a connection to the mirror; none where nothing was ever loaded.
    pub(crate) async fn of(
        settings: &Settings,
        client: Result<Option<&Client>, Failure>,
    ) -> Result<Self, StagingError> {
        Ok(Self {
            commands: settings.staging.commands()?,
            runs: settings.staging.runs_in_full()?,
            is_written: settings.staging.is_being_written()?,
            ledger: Ledger::of(settings, client).await,
        })
    }

    /// All commands and runs, at most `limit`.
    pub(crate) fn history(&self, limit: usize) -> History {
        let mut runs = self.entries();
        runs.truncate(limit);
        History {
            runs,
            database: self.ledger.sentence(),
        }
    }

    /// One run: a staged one, or one of which only records are left.
    pub(crate) fn detail(&self, settings: &Settings, typed: &str) -> Result<Detail, StagingError> {
        let is_known = self.is_recorded(typed);
        match settings.staging.find_among(&self.runs, typed) {
            Ok(run) => Ok(self.detail_of(run.id().as_str(), Some(&run))),
            Err(_) if is_known => Ok(self.detail_of(typed, None)),
            Err(error) => Err(error),
        }
    }

    /// The same by its whole id; none: nothing is known of it.
    pub(crate) fn detail_by_id(&self, id: &str) -> Option<Detail> {
        let run = self.runs.iter().find(|run| run.id().as_str() == id);
        (run.is_some() || self.is_recorded(id)).then(|| self.detail_of(id, run))
    }

    fn is_recorded(&self, id: &str) -> bool {
        let mut commands = self.commands.iter();
        commands.any(|record| record.run_id.as_deref() == Some(id))
            || self.ledger.loads(id).is_some_and(|loads| !loads.is_empty())
    }

    fn detail_of(&self, id: &str, run: Option<&Run>) -> Detail {
        let mut entries: Vec<Entry> = (self.commands.iter())
            .filter(|record| record.run_id.as_deref() == Some(id))
            .map(Entry::of_command)
            .collect();
        if let Some(run) = run
            && (entries.is_empty() || run.is_open())
        {
            let is_written = run.is_open() && self.is_written;
            if entries.is_empty() || is_written {
                entries.push(Entry::of_run(run, is_written));
            }
        }
        for entry in &mut entries {
            entry.add(&self.ledger);
        }
        Detail {
            run_id: id.to_owned(),
            commands: entries,
            resources: run.map_or_else(Vec::new, |run| run.record().resources.clone()),
            tables: self.ledger.loads(id).map(<[_]>::to_vec),
            database: self.ledger.sentence(),
        }
    }

    /// All, newest first.
    fn entries(&self) -> Vec<Entry> {
        let Self { commands, runs, .. } = self;
        let recorded: BTreeSet<&str> = (commands.iter())
            .filter_map(|command| command.run_id.as_deref())
            .collect();
        let mut entries: Vec<Entry> = commands.iter().map(Entry::of_command).collect();
        let newest = runs.last().map(Run::id);
        for run in runs {
            // A newer process may work on a run that an earlier command is recorded for.
            let is_written = self.is_written && newest == Some(run.id());
            if !recorded.contains(run.id().as_str()) || is_written && run.is_open() {
                entries.push(Entry::of_run(run, is_written));
            }
        }
        for entry in &mut entries {
            entry.add(&self.ledger);
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.started_at));
        entries
    }
}

/// What the load ledger knows, by run.
pub(crate) enum Ledger {
    Known(BTreeMap<String, Vec<LedgerLoad>>),
    Unknown(Failure),
}

impl Ledger {
    async fn of(settings: &Settings, client: Result<Option<&Client>, Failure>) -> Self {
        let read = async {
            let Some(client) = client? else {
                return Ok(BTreeMap::new());
            };
            let has_ledger = load::has_ledger(client)
                .await
                .map_err(DatabaseError::from)?;
            if !has_ledger {
                return Ok(BTreeMap::new());
            }
            let schema = settings.config.database.schema.as_str();
            Ok::<_, Failure>(load::ledger_loads(client, schema).await?)
        };
        read.await.map_or_else(Self::Unknown, Self::Known)
    }

    fn loads(&self, run: &str) -> Option<&[LedgerLoad]> {
        match self {
            Self::Known(loads) => Some(loads.get(run).map_or(&[], Vec::as_slice)),
            Self::Unknown(_) => None,
        }
    }

    /// Why it is not known.
    pub(crate) fn failure(&self) -> Option<String> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(failure) => Some(failure.sentence()),
        }
    }

    fn sentence(&self) -> String {
        self.failure().unwrap_or_else(|| "reachable".to_owned())
    }
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
        let Some(loads) = self.run_id.as_deref().and_then(|run| ledger.loads(run)) else {
            return;
        };
        self.loaded_at = loads.iter().map(|load| load.loaded_at).max();
        if self.command.is_none() {
            self.rows_changed = Some(loads.iter().map(LedgerLoad::changed).sum());
        }
    }
}
