//! Facts of the body of a page, and the identities of its records.

use jiff::Timestamp;
use roaring::RoaringTreemap;
use sha2::{Digest, Sha256};

/// Facts of the body of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageFacts {
    pub(crate) rows: u64,
    /// Integer ids, in the order of their records.
    pub(crate) ids: Vec<i64>,
    /// Fingerprints of all other ids, such as texts.
    pub(crate) other_ids: Vec<u64>,
    pub(crate) without_id: u64,
    /// Records that changed before the window: the server ignores the range.
    pub(crate) outside: u64,
    /// Times of the records, where lists are read in windows of time.
    pub(crate) times: Vec<Timestamp>,
    /// Identities of records whose cursor is no time, so that no window of time shows them.
    pub(crate) undated: Vec<u64>,
    /// Records of ids that were not asked for: the server ignores the filter.
    pub(crate) unrequested_ids: u64,
}

impl PageFacts {
    /// Notes the id of the next record; gives its identity.
    pub(crate) fn note_id(&mut self, raw: Option<&str>) -> Option<u64> {
        let Some(raw) = raw.filter(|raw| *raw != "null") else {
            self.without_id += 1;
            return None;
        };
        if let Ok(id) = raw.parse::<i64>() {
            self.ids.push(id);
            return Some(identity(id));
        }
        let other = fingerprint(raw.as_bytes());
        self.other_ids.push(other);
        Some(other)
    }

    /// Identities of the records that have one.
    pub(super) fn identities(&self) -> impl Iterator<Item = u64> {
        let ids = self.ids.iter().map(|id| identity(*id));
        ids.chain(self.other_ids.iter().copied())
    }
}

/// The identity of a record in a set: its id, or a fingerprint above all ids where it is negative.
fn identity(id: i64) -> u64 {
    u64::try_from(id).unwrap_or_else(|_| fingerprint(&id.to_be_bytes()))
}

fn fingerprint(id: &[u8]) -> u64 {
    let hash = Sha256::digest(id);
    let bytes = hash.first_chunk().copied().unwrap_or_default();
    u64::from_be_bytes(bytes) | 1 << 63
}

/// The integer ids of a set of identities.
pub(crate) fn only_ids(mut identities: RoaringTreemap) -> RoaringTreemap {
    identities.remove_range(1 << 63..);
    identities
}
