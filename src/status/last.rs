//! The outcome of the last run: as its command recorded it, else of the run itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::exit::Exit;
use crate::report::span;
use crate::staging::{
    CommandRecord, Outcome, Run, RunRecord, RunState, Staging, StagingError, Work,
};

pub(crate) const UNKNOWN: &str = "unknown";

const NOT_RECORDED: &str = "everything was read, but how its load ended is not recorded: it is running, or its process was \
    killed, or an earlier version of cursus made the run";

#[derive(Serialize)]
pub(crate) struct LastRun {
    /// `None` if no run was created.
    pub(crate) run_id: Option<String>,
    /// The subcommand; `None` if it is not recorded.
    pub(crate) command: Option<String>,
    pub(crate) outcome: String,
    pub(crate) exit_code: Option<u8>,
    pub(crate) started_at: Timestamp,
    /// `None` if it is running, or unknown.
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) error: Option<String>,
}

/// All runs, and the outcome of the last one.
pub(super) fn runs(
    staging: &Staging,
    commands: &[CommandRecord],
) -> Result<(Vec<Run>, Option<LastRun>), StagingError> {
    let mut runs = staging.runs()?;
    let is_open = |runs: &[Run]| runs.last().is_some_and(Run::is_open);
    let is_written = is_open(&runs) && staging.is_being_written()?;
    if is_open(&runs) && !is_written {
        // It may have been closed since it was listed.
        runs = staging.runs()?;
    }
    let newest = runs.last();
    let record = last_of(commands, Work::Run).filter(|record| {
        !is_written && newest.is_none_or(|run| is_about_or_after(record, run.record()))
    });
    let last = match record {
        Some(record) => Some(record.clone().into()),
        None => newest.map(|run| LastRun::of(run, is_written)),
    };
    Ok((runs, last))
}

/// The last command that only loaded; that of a run is part of it.
pub(super) fn load(commands: &[CommandRecord]) -> Option<LastRun> {
    last_of(commands, Work::Load).cloned().map(LastRun::from)
}

/// When the last run of each outcome ended, `last` among them.
pub(super) fn outcomes(
    commands: &[CommandRecord],
    last: Option<&LastRun>,
) -> BTreeMap<String, Timestamp> {
    let runs = commands.iter().filter(|record| record.work() == Work::Run);
    let mut outcomes: BTreeMap<String, Timestamp> = runs
        .map(|record| (record.outcome.clone(), record.finished_at))
        .collect();
    if let Some(last) = last {
        let at = last.finished_at.unwrap_or(last.started_at);
        outcomes.insert(last.outcome.clone(), at);
    }
    outcomes
}

/// Whether a command has loaded to its end.
pub(super) fn has_loaded(commands: &[CommandRecord]) -> bool {
    let ends = [Exit::Done, Exit::Incomplete].map(Exit::code);
    let loads = ["run", "watch", "load"];
    commands
        .iter()
        .any(|record| loads.contains(&record.command.as_str()) && ends.contains(&record.exit_code))
}

fn last_of(commands: &[CommandRecord], work: Work) -> Option<&CommandRecord> {
    commands.iter().rev().find(|record| record.work() == work)
}

/// Whether a record says how the newest run ended, or is of a later command. It does not if the run was resumed or
/// created later, by a process that left no record.
fn is_about_or_after(record: &CommandRecord, run: &RunRecord) -> bool {
    let is_of_end = run.state == RunState::Closed
        && record.run_id.as_deref() == Some(run.run_id.as_str())
        && record.outcome != Exit::Interrupted.outcome();
    let later = [Some(run.started_at), run.resumed_at, run.finished_at];
    is_of_end || later.into_iter().flatten().max() <= Some(record.finished_at)
}

impl LastRun {
    pub(crate) fn of(run: &Run, is_written: bool) -> Self {
        let record = run.record();
        let (outcome, error) = match record.outcome {
            // A finished command leaves a record.
            Some(Outcome::Complete) => (UNKNOWN.to_owned(), Some(NOT_RECORDED.to_owned())),
            Some(outcome) => (outcome.to_string(), record.error.clone()),
            None if is_written => ("running".to_owned(), None),
            None => (
                Exit::Interrupted.outcome().to_owned(),
                Some(
                    "its process was killed; the same command resumes it within 24 hours"
                        .to_owned(),
                ),
            ),
        };
        Self {
            run_id: Some(run.id().to_string()),
            command: None,
            outcome,
            exit_code: None,
            started_at: record.started_at,
            finished_at: record.finished_at,
            error,
        }
    }

    pub(crate) fn finished_at(&self) -> Option<Timestamp> {
        self.finished_at
    }

    pub(crate) fn sentence(&self, now: Timestamp) -> String {
        let mut words: Vec<String> = self.run_id.iter().cloned().collect();
        words.push(self.outcome.clone());
        words.push(match self.finished_at {
            Some(finished) => format!("{} ago", span(now.duration_since(finished))),
            None => format!("(begun {} ago)", span(now.duration_since(self.started_at))),
        });
        let error = self.error.iter().map(|error| format!(": {error}"));
        words.join(" ") + &error.collect::<String>()
    }
}

impl From<CommandRecord> for LastRun {
    fn from(record: CommandRecord) -> Self {
        Self {
            run_id: record.run_id,
            command: Some(record.command),
            outcome: record.outcome,
            exit_code: Some(record.exit_code),
            started_at: record.started_at,
            finished_at: Some(record.finished_at),
            error: record.error,
        }
    }
}
