//! Who is blank in whatever is read or written, and which rewritten journals are trusted.

use std::path::Path;
use std::sync::Arc;

use super::ledger::ErasureLedger;
use crate::name::Name;
use crate::person::{Erased, Extent, People, PersonHash};
use crate::staging::error::StagingError;
use crate::staging::run_id::RunId;

#[derive(Debug)]
pub(crate) struct Blanks {
    people: Arc<People>,
    erased: Erased,
    ledger: ErasureLedger,
}

impl Blanks {
    /// None if nobody is erased.
    pub(crate) fn new(people: Arc<People>, ledger: ErasureLedger) -> Option<Arc<Self>> {
        let erased = ledger.erased();
        (!erased.is_empty()).then(|| {
            Arc::new(Self {
                people,
                erased,
                ledger,
            })
        })
    }

    pub(crate) fn hides(&self, person: &PersonHash, extent: Extent) -> bool {
        self.erased.has(person, extent)
    }

    /// Makes those blank in a page; whether something of them was there. One that is no array of records stays as it is: its
    /// reader reports it.
    pub(crate) fn apply(&self, resource: &Name, page: &mut Vec<u8>) -> bool {
        let Ok(text) = std::str::from_utf8(page) else {
            return false;
        };
        let blank = self
            .people
            .erase(resource, text, &mut |id| self.erased.extent(id));
        let Ok(Some(blank)) = blank else {
            return false;
        };
        *page = blank;
        true
    }
}

/// Refuses a rewritten journal that the erasure ledger does not name: the journal is in a directory of its resource, of its run. The ledger
/// is read unless it named the journal when the runs were listed.
pub(crate) fn check_rewrite(
    path: &Path,
    hash: &str,
    blanks: Option<&Blanks>,
) -> Result<(), StagingError> {
    let mut above = path.ancestors().skip(1);
    let resource = above.next().and_then(Path::file_name);
    let directory = above.next();
    let root = above.nth(1);
    let run = directory.and_then(RunId::of_directory);
    let resource = resource.and_then(std::ffi::OsStr::to_str);
    if let (Some(resource), Some(run), Some(root)) = (resource, run, root) {
        let is_named = |ledger: &ErasureLedger| ledger.names(run.as_str(), resource, hash);
        if blanks.is_some_and(|blanks| is_named(&blanks.ledger))
            || is_named(&ErasureLedger::read(root)?)
        {
            return Ok(());
        }
    }
    Err(StagingError::broken(
        path,
        "its pages were rewritten, and the erasure ledger does not name that",
        "restore erasures.jsonl beside the runs; if there is no copy of it, extract this resource again",
    ))
}
