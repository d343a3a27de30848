//! The outcome of the last run: as its command recorded it, else of the run itself.

use jiff::Timestamp;
use serde::Serialize;

use crate::exit::Exit;
use crate::report::span;
use crate::staging::{CommandRecord, Outcome, Run, Staging, StagingError, Work};

pub(super) const UNKNOWN: &str = "unknown";

const NOT_RECORDED: &str = "everything was read, but how its load ended is not recorded: it is running, or its process was \
    killed, or an earlier version of cursus made the run";

#[derive(Serialize)]
pub(super) struct LastRun {
    /// `None` if no run was created.
    run_id: Option<String>,
    /// The subcommand; `None` if it is not recorded.
    command: Option<String>,
    outcome: String,
    exit_code: Option<u8>,
    started_at: Timestamp,
    /// `None` if it is running, or unknown.
    finished_at: Option<Timestamp>,
    error: Option<String>,
}

/// All runs, and the outcome of the last one.
pub(super) fn runs(staging: &Staging) -> Result<(Vec<Run>, Option<LastRun>), StagingError> {
    let mut runs = staging.runs()?;
    let is_open = |runs: &[Run]| runs.last().is_some_and(Run::is_open);
    let is_written = is_open(&runs) && staging.is_being_written()?;
    if is_open(&runs) && !is_written {
        // It may have been closed since it was listed.
        runs = staging.runs()?;
    }
    let newest = runs.last().map(|run| LastRun::of(run, is_written));
    let last = match record(staging, Work::Run) {
        Some(record) if !is_written => Some(record.into()),
        _ => newest,
    };
    Ok((runs, last))
}

pub(super) fn load(staging: &Staging) -> Option<LastRun> {
    record(staging, Work::Load).map(LastRun::from)
}

/// The record of the last command of a kind; one that cannot be read is logged.
fn record(staging: &Staging, work: Work) -> Option<CommandRecord> {
    staging.last_command(work).unwrap_or_else(|error| {
        tracing::warn!("{error}");
        None
    })
}

impl LastRun {
    fn of(run: &Run, is_written: bool) -> Self {
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

    pub(super) fn finished_at(&self) -> Option<Timestamp> {
        self.finished_at
    }

    pub(super) fn sentence(&self, now: Timestamp) -> String {
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
