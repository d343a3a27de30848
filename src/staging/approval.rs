//! `approvals.json`: deletes of a run that a person has approved, so that a replay can apply them.

use std::fs::File;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::StagingError;
use super::manifest::FORMAT;
use super::private_files;
use super::run::Run;
use crate::failpoint;
use crate::name::Name;

/// Of the file, without its end.
#[cfg_attr(
    not(feature = "remote"),
    allow(dead_code, reason = "for object stores")
)]
pub(super) const NOTE: &str = "approvals";
const FILE: &str = "approvals.json";
const APPROVE_AGAIN: &str = "restore the file; without it deletes of this run are held until they are approved again (`cursus prune approve`)";

/// An approved set of deletes of one table, bound to its size and hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approval {
    /// The schema; absent in those of earlier versions, which are of the mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) schema: Option<Name>,
    pub(crate) resource: Name,
    pub(crate) table: Name,
    pub(crate) rows: u64,
    /// SHA-256 of their keys, in hex.
    pub(crate) sha256: String,
    /// Number of the newest run that was loaded at that time: a replay deletes when it is as far.
    pub(crate) as_of: u64,
    pub(crate) approved_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Approvals {
    format: u32,
    approvals: Vec<Approval>,
}

impl Run {
    fn approvals_file(&self) -> PathBuf {
        self.directory().join(FILE)
    }

    pub(crate) fn approvals(&self) -> Result<Vec<Approval>, StagingError> {
        self.bring(None)?;
        let file: Option<Approvals> =
            private_files::read_json(&self.approvals_file(), APPROVE_AGAIN)?;
        Ok(file.map_or_else(Vec::new, |file| file.approvals))
    }

    /// Approvals are written one after the other: for another schema another lock is held.
    pub(super) fn lock_approvals(&self) -> Result<File, StagingError> {
        let directory =
            File::open(self.directory()).map_err(private_files::io("open", self.directory()))?;
        directory
            .lock()
            .map_err(private_files::io("lock", self.directory()))?;
        Ok(directory)
    }

    pub(crate) fn approve(
        &self,
        more: impl IntoIterator<Item = Approval>,
    ) -> Result<(), StagingError> {
        let _locked = self.lock_approvals()?;
        let mut approvals = self.approvals()?;
        for approval in more {
            let is_same = |known: &Approval| {
                (&known.schema, &known.table, &known.sha256, known.as_of)
                    == (
                        &approval.schema,
                        &approval.table,
                        &approval.sha256,
                        approval.as_of,
                    )
            };
            // Recorded before, by a process that was interrupted before the rows were deleted.
            if !approvals.iter().any(is_same) {
                approvals.push(approval);
            }
        }
        let file = Approvals {
            format: FORMAT,
            approvals,
        };
        private_files::write_json(&self.approvals_file(), &failpoint::APPROVALS, &file)
    }
}
