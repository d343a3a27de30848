//! `adoption.json`: a schema was rebound with a run from the API that it held before, so that a replay can do the same.

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
pub(super) const NOTE: &str = "adoption";
const FILE: &str = "adoption.json";
const ADOPT_AGAIN: &str = "restore the file; without it the run is refused by schemas of the API before it, until it is adopted again \
                           (`cursus load --adopt`)";

/// That a schema may hold what another API shows from this run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Adoption {
    pub(crate) schema: Name,
    /// The origin of the API that it held before.
    pub(crate) from: String,
    pub(crate) adopted_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Adoptions {
    format: u32,
    adoptions: Vec<Adoption>,
}

impl Adoption {
    /// Those of a run.
    pub(crate) fn of(run: &Run) -> Result<Vec<Self>, StagingError> {
        run.bring(None)?;
        let file: Option<Adoptions> =
            private_files::read_json(&run.directory().join(FILE), ADOPT_AGAIN)?;
        Ok(file.map_or_else(Vec::new, |file| file.adoptions))
    }

    /// Records that a schema was rebound with a run, durably.
    pub(crate) fn record(self, run: &Run) -> Result<(), StagingError> {
        let _locked = run.lock_approvals()?;
        let mut adoptions = Self::of(run)?;
        // Recorded before, by a process that was interrupted before the rows were loaded.
        adoptions.retain(|known| (&known.schema, &known.from) != (&self.schema, &self.from));
        adoptions.push(self);
        let file = Adoptions {
            format: FORMAT,
            adoptions,
        };
        private_files::write_json(&run.directory().join(FILE), &failpoint::APPROVALS, &file)
    }
}
