//! The outcome of the last command that extracts, and of the last one that only loads. Not a log: each record replaces the
//! one before, and a new run removes it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::directory::Staging;
use super::error::StagingError;
use super::files;
use super::lock::StagingLock;
use super::manifest::FORMAT;
use crate::failpoint;

const REMOVE: &str = "remove it; the next command makes a new one";

/// A kind of command whose last outcome is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// `extract`, `run`, or a round of `watch`.
    Run,
    Load,
}

impl Work {
    fn file(self) -> &'static str {
        match self {
            Self::Run => ".last-run.json",
            Self::Load => ".last-load.json",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandRecord {
    pub(crate) format: u32,
    pub(crate) command: String,
    /// The run that it wrote, or the last that it loaded; `None` if it came to none.
    pub(crate) run_id: Option<String>,
    pub(crate) started_at: Timestamp,
    pub(crate) finished_at: Timestamp,
    pub(crate) outcome: String,
    pub(crate) exit_code: u8,
    /// What went wrong, the sentences that it printed; they hold no secret and no personal value.
    pub(crate) error: Option<String>,
}

impl CommandRecord {
    pub(crate) fn ending_now(command: &str, started_at: Timestamp) -> Self {
        Self {
            format: FORMAT,
            command: command.to_owned(),
            run_id: None,
            started_at,
            finished_at: crate::clock::now(),
            outcome: String::new(),
            exit_code: 0,
            error: None,
        }
    }
}

impl Staging {
    /// Records the outcome of a command; of a run also where no staging directory is yet.
    pub(crate) fn record_command(
        &self,
        work: Work,
        record: &CommandRecord,
    ) -> Result<(), StagingError> {
        match work {
            Work::Run => files::create_dirs(self.root())?,
            Work::Load if !self.root().is_dir() => return Ok(()),
            Work::Load => {}
        }
        files::write_json(&self.root().join(work.file()), &failpoint::RUN, record)
    }

    /// The outcome of the last command of a kind; `None` if a run has begun since, or none is recorded.
    pub(crate) fn last_command(&self, work: Work) -> Result<Option<CommandRecord>, StagingError> {
        files::read_json(&self.root().join(work.file()), REMOVE)
    }

    /// Removes the record of the last run when another one begins.
    pub(super) fn forget_last_run(&self, _lock: &StagingLock) {
        // If it cannot be removed, `status` shows an outdated record; to fail would be worse.
        let _ = std::fs::remove_file(self.root().join(Work::Run.file()));
    }
}
