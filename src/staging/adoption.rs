//! `adoption.json`: a schema was rebound with a run from the API that it held before, so that a replay can do the same.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::StagingError;
use super::files;
use super::manifest::FORMAT;
use super::run::Run;
use crate::failpoint;
use crate::name::Name;

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

impl Run {
    fn adoption_file(&self) -> PathBuf {
        self.directory().join(FILE)
    }

    pub(crate) fn adoptions(&self) -> Result<Vec<Adoption>, StagingError> {
        let file: Option<Adoptions> = files::read_json(&self.adoption_file(), ADOPT_AGAIN)?;
        Ok(file.map_or_else(Vec::new, |file| file.adoptions))
    }

    /// Records that a schema was rebound with it, durably.
    pub(crate) fn adopt(&self, adoption: Adoption) -> Result<(), StagingError> {
        let _locked = self.lock_approvals()?;
        let mut adoptions = self.adoptions()?;
        // Recorded before, by a process that was interrupted before the rows were loaded.
        adoptions
            .retain(|known| (&known.schema, &known.from) != (&adoption.schema, &adoption.from));
        adoptions.push(adoption);
        let file = Adoptions {
            format: FORMAT,
            adoptions,
        };
        files::write_json(&self.adoption_file(), &failpoint::APPROVALS, &file)
    }
}
