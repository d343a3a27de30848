//! `erasures.jsonl`: who was erased, by a keyed hash, and which journals were rewritten for it.
//!
//! A line is appended and synced before what it names is done, so that a kill leaves an erasure that can be finished.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::person::{Erased, Extent, PersonHash};
use crate::staging::error::StagingError;
use crate::staging::private_files;

/// In the staging directory.
pub(crate) const FILE: &str = "erasures.jsonl";
const RESTORE: &str =
    "restore the file from a backup; what it names is erased again by the next load";

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
    /// Journals that were rewritten: run, resource, hash.
    rewrites: BTreeSet<(String, String, String)>,
    /// Erasures that were begun and not finished, oldest first.
    pub(crate) open: Vec<String>,
}

impl ErasureLedger {
    pub(crate) fn is_empty(&self) -> bool {
        self.people.is_empty() && self.open.is_empty()
    }

    /// Whether a journal was rewritten into the one with this hash.
    pub(super) fn names(&self, run: &str, resource: &str, journal_sha256: &str) -> bool {
        let journal = (run.into(), resource.into(), journal_sha256.into());
        self.rewrites.contains(&journal)
    }

    pub(super) fn add_rewrite(&mut self, run: &str, resource: &str, journal_sha256: &str) {
        let journal = (run.into(), resource.into(), journal_sha256.into());
        self.rewrites.insert(journal);
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
    pub(crate) fn read(root: &Path) -> Result<Self, StagingError> {
        let path = root.join(FILE);
        let bytes = private_files::read(&path)?.unwrap_or_default();
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

/// The resources of runs that an erasure ledger says were rewritten, in the order of its lines.
#[cfg(feature = "remote")]
pub(crate) fn rewritten_in(ledger: &[u8]) -> Vec<(String, Name)> {
    let mut rewritten: Vec<(String, Name)> = Vec::new();
    for text in ledger.split(|byte| *byte == b'\n') {
        let line = serde_json::from_slice::<Line>(text);
        let place = line.ok().and_then(|line| line.run.zip(line.resource));
        rewritten.extend(place.filter(|place| !rewritten.contains(place)));
    }
    rewritten
}
