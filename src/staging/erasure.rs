//! `erasures.jsonl`: who was erased, by a keyed hash, and which journals were rewritten for it.
//!
//! A line is appended and synced before what it names is done, so that a kill leaves an erasure that can be finished.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::StagingError;
use super::files;
use super::run_id::RunId;
use crate::name::Name;
use crate::person::{Erased, Extent, People, PersonHash};

/// In the staging directory.
pub(super) const FILE: &str = "erasures.jsonl";
const RESTORE: &str =
    "restore the file from a backup; what it names is erased again by the next load";

/// One line.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    /// Id of the erasure, one for each call of `forget`.
    pub(super) erasure: String,
    /// A person who is erased by it: HMAC-SHA-256 of the id, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) person: Option<String>,
    /// The key of the hash: the id of the staging directory in which it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    /// What is the person's own is removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) dropped: bool,
    /// A resource of a run that is rewritten for it, and its journal then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resource: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) journal_sha256: Option<String>,
    /// All staged pages are rewritten.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) done: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<Timestamp>,
}

/// When, by which erasure and how far a person was erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErasedAt {
    pub(crate) erasure: String,
    pub(crate) at: Timestamp,
    pub(crate) extent: Extent,
}

/// What the ledger holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct ErasureLedger {
    pub(crate) people: BTreeMap<PersonHash, ErasedAt>,
    /// Journals that were rewritten, by [`rewrite`].
    rewrites: BTreeSet<String>,
    /// Erasures that were begun and not finished, oldest first.
    pub(crate) open: Vec<String>,
}

/// A journal of a resource of a run, by its hash.
fn rewrite(run: &str, resource: &str, journal_sha256: &str) -> String {
    format!("{run}/{resource}/{journal_sha256}")
}

/// Who is blank in whatever is read or written.
#[derive(Debug)]
pub(crate) struct Blanks {
    people: Arc<People>,
    erased: Erased,
    rewrites: BTreeSet<String>,
}

impl Blanks {
    pub(super) fn new(people: Arc<People>, ledger: &ErasureLedger) -> Option<Arc<Self>> {
        let erased = ledger.erased();
        (!erased.is_empty()).then(|| {
            Arc::new(Self {
                people,
                erased,
                rewrites: ledger.rewrites.clone(),
            })
        })
    }

    pub(super) fn hides(&self, person: &PersonHash, extent: Extent) -> bool {
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

impl ErasureLedger {
    pub(crate) fn is_empty(&self) -> bool {
        self.people.is_empty() && self.open.is_empty()
    }

    /// Whether a journal was rewritten into the one with this hash.
    pub(super) fn names(&self, run: &str, resource: &str, journal_sha256: &str) -> bool {
        self.rewrites
            .contains(&rewrite(run, resource, journal_sha256))
    }

    pub(super) fn add_rewrite(&mut self, run: &str, resource: &str, journal_sha256: &str) {
        self.rewrites.insert(rewrite(run, resource, journal_sha256));
    }

    pub(crate) fn erased(&self) -> Erased {
        let people = self.people.iter();
        people
            .map(|(person, erased)| (person.clone(), erased.extent))
            .collect()
    }

    /// Whether a person is erased at least as far.
    pub(crate) fn has(&self, person: &PersonHash, extent: Extent) -> bool {
        let known = self.people.get(person);
        known.is_some_and(|known| known.extent >= extent)
    }

    /// Reads the ledger of the staging directory at `root`.
    pub(super) fn read(root: &Path) -> Result<Self, StagingError> {
        let path = root.join(FILE);
        let bytes = files::read(&path)?.unwrap_or_default();
        let mut ledger = Self::default();
        for (number, text) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
            // It was being written when the power went: nothing was done for it yet.
            if !text.ends_with(b"\n") {
                continue;
            }
            if ledger.take(text).is_none() {
                return Err(StagingError::broken(
                    path,
                    format!("line {number} is no line of the erasure ledger"),
                    RESTORE,
                ));
            }
        }
        Ok(ledger)
    }

    fn take(&mut self, text: &[u8]) -> Option<()> {
        let line: Line = serde_json::from_slice(text).ok()?;
        let is_open = self.open.contains(&line.erasure);
        match line {
            Line {
                erasure,
                person: Some(person),
                key: Some(key),
                at: Some(at),
                dropped,
                ..
            } => {
                let person = PersonHash::parse(&key, &person)?;
                if !is_open {
                    self.open.push(erasure.clone());
                }
                let extent = if dropped {
                    Extent::Records
                } else {
                    Extent::Values
                };
                if !self.has(&person, extent) {
                    let erased = ErasedAt {
                        erasure,
                        at,
                        extent,
                    };
                    self.people.insert(person, erased);
                }
            }
            Line {
                run: Some(run),
                resource: Some(resource),
                journal_sha256: Some(hash),
                ..
            } => self.add_rewrite(&run, resource.as_str(), &hash),
            Line {
                erasure,
                done: true,
                ..
            } => self.open.retain(|open| *open != erasure),
            Line {
                erasure,
                at: Some(_),
                ..
            } if !is_open => self.open.push(erasure),
            Line { at: Some(_), .. } => {}
            _ => return None,
        }
        Some(())
    }
}

/// Refuses a rewritten journal that the erasure ledger does not name: the journal is in a directory of its resource, of its run. The ledger
/// is read unless it named the journal when the runs were listed.
pub(super) fn check_rewrite(
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
        let rewrite = rewrite(run.as_str(), resource, hash);
        if blanks.is_some_and(|blanks| blanks.rewrites.contains(&rewrite))
            || ErasureLedger::read(root)?.rewrites.contains(&rewrite)
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
