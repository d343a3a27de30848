//! An interrupted run, resumed by a command that asks the same of the same API.

use jiff::{SignedDuration, Timestamp};
use tracing::warn;

use super::directory::Staging;
use super::error::StagingError;
use super::lock::StagingLock;
use super::run::Run;
use super::run_record::{Outcome, RunState};
use super::run_spec::{RunSpec, Selection};
use crate::printable;

/// An older run is not resumed: its first pages would be too far from its last ones.
const RESUMED_WITHIN: SignedDuration = SignedDuration::from_hours(24);

impl Staging {
    /// The newest run, if it was interrupted and has the same specification. A run with another one is
    /// reported.
    pub(crate) fn unfinished(
        &self,
        now: Timestamp,
        spec: &RunSpec,
    ) -> Result<Option<Run>, StagingError> {
        let newest = self.runs()?.pop();
        let Some(run) = newest.filter(|run| run.is_resumable(&spec.selection, now)) else {
            return Ok(None);
        };
        if let Some(difference) = run.difference(spec)? {
            warn!(
                "the run {} is not resumed, a new one begins: {difference}",
                run.id()
            );
            return Ok(None);
        }
        Run::open(run.directory(), run.id())
    }

    /// The unfinished run, open again. Needs the lock.
    pub(crate) fn resume(
        &self,
        _lock: &StagingLock,
        now: Timestamp,
        spec: &RunSpec,
    ) -> Result<Option<Run>, StagingError> {
        let Some(mut run) = self.unfinished(now, spec)? else {
            return Ok(None);
        };
        run.update(|record| {
            record.state = RunState::Open;
            record.outcome = None;
            record.error = None;
            record.finished_at = None;
            record.resumed_at = Some(now);
        })?;
        Ok(Some(run))
    }
}

impl Run {
    /// Whether it is open or was interrupted: it is being written, or may be resumed.
    pub(super) fn may_grow(&self) -> bool {
        matches!(
            self.record().outcome,
            None | Some(Outcome::Stopped | Outcome::Failed)
        )
    }

    /// Whether the same selection resumes this run: it was interrupted, not long before `now`.
    fn is_resumable(&self, selection: &Selection, now: Timestamp) -> bool {
        let record = self.record();
        let age = now.duration_since(record.started_at);
        self.may_grow() && record.selection == *selection && age.abs() < RESUMED_WITHIN
    }

    /// In what it differs from `spec`. Pages of a resource that is not final are checked when it is resumed.
    fn difference(&self, spec: &RunSpec) -> Result<Option<String>, StagingError> {
        match &self.record().server {
            Some(server) if *server == spec.server => {}
            Some(server) => {
                return Ok(Some(format!("it asked {}", printable::line(server))));
            }
            None => return Ok(Some("it does not say which API it asked".to_owned())),
        }
        for (resource, hash) in &spec.request_hashes {
            match self.manifest(resource) {
                Ok(Some(manifest)) if manifest.own_read && manifest.request_hash != *hash => {
                    return Ok(Some(format!(
                        "it asked for {resource} in another way (pipeline.toml has changed since)"
                    )));
                }
                // A damaged one is reported where it is read.
                Ok(_) | Err(StagingError::Broken { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(scope) = &self.record().scope
            && *scope != spec.scope
        {
            return Ok(Some(
                "it was read for another scope ([scope] of pipeline.toml has changed since)"
                    .to_owned(),
            ));
        }
        Ok(None)
    }
}
