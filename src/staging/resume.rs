//! A run that ended before its time, gone on with by whoever asks the same of the same API.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use tracing::warn;

use super::run::{Outcome, Run, RunState, Selection};
use super::{Staging, StagingError, StagingLock};
use crate::name::Name;
use crate::printable;
use crate::template::Values;

/// An older run is not gone on with: its first pages would be too far from its last ones.
const RESUMED_WITHIN: SignedDuration = SignedDuration::from_hours(24);

/// What a run is asked for, and of whom.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// On the command line.
    pub selection: Selection,
    /// The API's origin.
    pub server: String,
    /// What placeholders stand for.
    pub scope: Values,
    /// Each resource's question, as a hash.
    pub request_hashes: BTreeMap<Name, String>,
}

impl Staging {
    /// The newest run, if it ended before its time and was asked for in the same way. That what it holds answers
    /// another question is told.
    pub fn unfinished(&self, now: Timestamp, asked: &Asked) -> Result<Option<Run>, StagingError> {
        let newest = self.runs()?.pop();
        let Some(run) = newest.filter(|run| run.is_resumable(&asked.selection, now)) else {
            return Ok(None);
        };
        if let Some(difference) = run.difference(asked)? {
            warn!(
                "the run {} is not gone on with, a new one begins: {difference}",
                run.id()
            );
            return Ok(None);
        }
        Run::open(run.directory(), run.id())
    }

    /// The unfinished run, open again. Needs the lock.
    pub fn resume(
        &self,
        lock: &StagingLock,
        now: Timestamp,
        asked: &Asked,
    ) -> Result<Option<Run>, StagingError> {
        let Some(mut run) = self.unfinished(now, asked)? else {
            return Ok(None);
        };
        run.update(|record| {
            record.state = RunState::Open;
            record.outcome = None;
            record.error = None;
            record.finished_at = None;
        })?;
        self.forget_last_run(lock);
        Ok(Some(run))
    }
}

impl Run {
    /// Whether it ended before its time, or has not ended: it is being written, or may be resumed.
    pub(super) fn may_grow(&self) -> bool {
        matches!(
            self.record().outcome,
            None | Some(Outcome::Stopped | Outcome::Failed)
        )
    }

    /// Whether the same selection goes on with this run: it ended before its time, and not long before `now`.
    fn is_resumable(&self, selection: &Selection, now: Timestamp) -> bool {
        let record = self.record();
        let age = now.duration_since(record.started_at);
        self.may_grow() && record.selection == *selection && age.abs() < RESUMED_WITHIN
    }

    /// In what its answers are not those to `asked`. Pages of a resource that is not final are judged by whoever goes
    /// on with them.
    fn difference(&self, asked: &Asked) -> Result<Option<String>, StagingError> {
        match &self.record().server {
            Some(server) if *server == asked.server => {}
            Some(server) => {
                return Ok(Some(format!("it asked {}", printable::line(server))));
            }
            None => return Ok(Some("it does not say which API it asked".to_owned())),
        }
        for (resource, hash) in &asked.request_hashes {
            match self.manifest(resource) {
                Ok(Some(manifest)) if manifest.own_read && manifest.request_hash != *hash => {
                    return Ok(Some(format!(
                        "it asked for {resource} in another way (pipeline.toml has changed since)"
                    )));
                }
                // A broken one is told where it is looked at.
                Ok(_) | Err(StagingError::Broken { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(scope) = &self.record().scope
            && *scope != asked.scope
        {
            return Ok(Some(
                "it was read for another scope ([scope] of pipeline.toml has changed since)"
                    .to_owned(),
            ));
        }
        Ok(None)
    }
}
