//! What a load did to a table, in numbers.

use serde::Serialize;
use serde_json::Value;

use crate::name::Name;

/// Rows of one table; `staged` is the sum of inserted, updated, unchanged, `out_of_scope` and quarantined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct TableCounts {
    pub(crate) name: Name,
    /// Distinct rows that were read.
    pub(crate) staged: u64,
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) unchanged: u64,
    pub(crate) deleted: u64,
    pub(crate) out_of_scope: u64,
    /// Rejected rows, now in `pipeline.quarantine`.
    pub(crate) quarantined: u64,
    /// Selected rows that referred to nothing.
    pub(crate) unresolved: u64,
    /// Deletes that the prune limit held.
    pub(crate) refused: u64,
    /// Rows that left the API, in this load or before, and are kept, since others refer to them.
    pub(crate) kept: u64,
    /// Of those: rows that this load has found absent.
    #[serde(skip_serializing_if = "is_none")]
    pub(crate) referred: u64,
    pub(crate) duration_ms: u64,
    /// Updated rows may refer to other rows than before.
    #[serde(skip)]
    pub(crate) references_changed: bool,
    /// Of a dry run: which rows, for example.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) samples: Option<Samples>,
}

/// Keys of a few rows, and places of a few records; no other values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Samples {
    pub(crate) inserted: Vec<Value>,
    pub(crate) updated: Vec<Value>,
    pub(crate) deleted: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) held: Vec<Value>,
    #[serde(rename = "unfit", skip_serializing_if = "Vec::is_empty")]
    pub(crate) rejected: Vec<RejectSample>,
}

/// A rejected record: where it is staged and why, without a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RejectSample {
    /// The page, relative to the run's directory; empty: rows of a SELECT have none.
    pub(crate) file: String,
    pub(crate) record: u64,
    /// Its place in the nested list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) element: Option<u64>,
    pub(crate) column: Option<String>,
    pub(crate) reason: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Keys in a sample.
pub(crate) const SAMPLE: usize = 5;

impl Samples {
    fn add(&mut self, other: Self) {
        for (keys, more) in [
            (&mut self.inserted, other.inserted),
            (&mut self.updated, other.updated),
            (&mut self.deleted, other.deleted),
            (&mut self.held, other.held),
        ] {
            keys.extend(more);
            keys.truncate(SAMPLE);
        }
        self.rejected.extend(other.rejected);
        self.rejected.truncate(SAMPLE);
    }
}

impl TableCounts {
    pub(crate) fn new(name: Name) -> Self {
        Self {
            name,
            staged: 0,
            inserted: 0,
            updated: 0,
            unchanged: 0,
            deleted: 0,
            out_of_scope: 0,
            quarantined: 0,
            unresolved: 0,
            refused: 0,
            kept: 0,
            referred: 0,
            duration_ms: 0,
            references_changed: false,
            samples: None,
        }
    }

    /// Rows that are not as they were.
    pub(crate) fn changed(&self) -> u64 {
        self.inserted + self.updated + self.deleted
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.staged += other.staged;
        self.references_changed |= other.references_changed;
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.deleted += other.deleted;
        self.out_of_scope += other.out_of_scope;
        self.quarantined += other.quarantined;
        self.unresolved += other.unresolved;
        self.refused += other.refused;
        // Of the later one, which is how it is.
        self.kept = other.kept;
        self.referred += other.referred;
        self.duration_ms += other.duration_ms;
        if let Some(samples) = &other.samples {
            self.sample(samples.clone());
        }
    }

    pub(crate) fn sample(&mut self, keys: Samples) {
        self.samples.get_or_insert_default().add(keys);
    }
}
