//! `.staging.json`: a random id by which a database knows the staging directory that it was loaded from, wherever the directory is.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::directory::Staging;
use super::error::StagingError;
use super::lock::StagingLock;
use super::manifest::FORMAT;
use super::private_files;
use super::run::Run;
use crate::failpoint;
use crate::hash::hex;
use crate::random;

pub(super) const FILE: &str = ".staging.json";
const RESTORE: &str = "put the file back; if there is no copy of it, remove it, and the next `cursus extract` or `cursus run` \
                       writes it again with the id that the newest run has";
const DIGITS: usize = 32;

#[derive(Serialize, Deserialize)]
struct Identity {
    format: u32,
    id: String,
}

impl Staging {
    /// The id of the directory; `None` before the first run that records one.
    pub(crate) fn id(&self) -> Result<Option<String>, StagingError> {
        let path = self.root().join(FILE);
        let Some(Identity { id, .. }) = private_files::read_json(&path, RESTORE)? else {
            return Ok(None);
        };
        if is_id(&id) {
            return Ok(Some(id));
        }
        Err(StagingError::broken(
            path,
            "it holds no id of a staging directory",
            RESTORE,
        ))
    }

    /// The id of the directory, made if there is none. Where the file was removed, the newest run still has the id: with another one
    /// its runs would be taken for those of another directory.
    pub(crate) fn identify(&self, _lock: &StagingLock) -> Result<String, StagingError> {
        if let Some(id) = self.id()? {
            return Ok(id);
        }
        let runs = self.runs()?;
        let noted = runs.last().and_then(|run| run.record().staging_id.clone());
        let id = match noted.filter(|id| is_id(id)) {
            Some(id) => id,
            None => random_hex::<{ DIGITS / 2 }>(self.root())?,
        };
        let identity = Identity { format: FORMAT, id };
        let path = self.root().join(FILE);
        private_files::write_json(&path, &failpoint::IDENTITY, &identity)?;
        Ok(identity.id)
    }

    /// The runs of earlier versions are of the directory that they are in.
    pub(super) fn note_id(&self, mut runs: Vec<Run>) -> Vec<Run> {
        if runs.iter().any(|run| run.record().staging_id.is_none()) {
            // A damaged file is reported where the id is needed.
            let id = self.id().ok().flatten();
            for run in &mut runs {
                run.presume_staging_id(id.as_ref());
            }
        }
        runs
    }
}

/// That many random bytes, in hex.
pub(super) fn random_hex<const N: usize>(root: &Path) -> Result<String, StagingError> {
    let bytes = random::bytes::<N>().ok_or_else(|| {
        let refused = std::io::Error::other("the system gave no random bytes");
        private_files::io_error("make an id for", root, refused)
    })?;
    Ok(hex(&bytes))
}

fn is_id(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
