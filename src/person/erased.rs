//! Who was erased: keyed hashes of ids. Neither names nor ids are kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::Extent;
use crate::hash::{Hash, hex, unhex};
use crate::mutex::locked;

/// Ids whose answer is remembered; a page has some hundred.
const REMEMBERED: usize = 100_000;

/// A person by the hash of the id, and the key that it was made with: the id of a staging directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PersonHash {
    pub(crate) key: String,
    pub(crate) hash: Hash,
}

impl PersonHash {
    /// HMAC-SHA-256 of the id.
    pub(crate) fn of(key: &str, id: &str) -> Self {
        // It takes a key of any length.
        let hash = Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_or_else(
            |_| Hash::default(),
            |mut mac| {
                mac.update(id.as_bytes());
                mac.finalize().into_bytes().into()
            },
        );
        Self {
            key: key.to_owned(),
            hash,
        }
    }

    /// Reads what [`Self::digits`] gave.
    pub(crate) fn parse(key: &str, digits: &str) -> Option<Self> {
        Some(Self {
            key: key.to_owned(),
            hash: unhex(digits)?,
        })
    }

    pub(crate) fn digits(&self) -> String {
        hex(&self.hash)
    }
}

/// A set of people, to be asked for many ids.
#[derive(Debug, Default)]
pub(crate) struct Erased {
    by_key: BTreeMap<String, BTreeMap<Hash, Extent>>,
    answers: Mutex<HashMap<String, Option<Extent>>>,
}

impl FromIterator<(PersonHash, Extent)> for Erased {
    fn from_iter<T: IntoIterator<Item = (PersonHash, Extent)>>(people: T) -> Self {
        let mut by_key: BTreeMap<String, BTreeMap<Hash, Extent>> = BTreeMap::new();
        for (PersonHash { key, hash }, extent) in people {
            let known = by_key.entry(key).or_default().entry(hash).or_insert(extent);
            *known = extent.max(*known);
        }
        Self {
            by_key,
            answers: Mutex::default(),
        }
    }
}

impl Erased {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Whether records of somebody are removed.
    pub(crate) fn removes(&self) -> bool {
        let mut people = self.by_key.values().flat_map(BTreeMap::values);
        people.any(|extent| *extent == Extent::Records)
    }

    /// Whether a person is erased at least as far.
    pub(crate) fn has(&self, person: &PersonHash, extent: Extent) -> bool {
        let hashes = self.by_key.get(&person.key);
        let known = hashes.and_then(|hashes| hashes.get(&person.hash));
        known.is_some_and(|known| *known >= extent)
    }

    /// Whether the person of this id is one of them.
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.extent(id).is_some()
    }

    /// How far the person of this id is erased; none: it is nobody of them.
    pub(crate) fn extent(&self, id: &str) -> Option<Extent> {
        if let Some(answer) = locked(&self.answers).get(id) {
            return *answer;
        }
        let sets = self.by_key.iter();
        let known = sets.map(|(key, hashes)| hashes.get(&PersonHash::of(key, id).hash));
        let answer = known.flatten().max().copied();
        let mut answers = locked(&self.answers);
        if answers.len() >= REMEMBERED {
            answers.clear();
        }
        answers.insert(id.to_owned(), answer);
        answer
    }
}
