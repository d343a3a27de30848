//! The rows of one resource by id, and what can be done with them whatever they are.

use std::collections::BTreeMap;

use serde_json::Value;

use super::World;
use super::patch::Patch;
use super::row::Row;

/// Rows by id. Ids are never used twice.
#[derive(Default)]
pub(crate) struct Table {
    pub(super) rows: BTreeMap<i64, Row>,
    pub(super) last: i64,
    patches: BTreeMap<i64, Patch>,
}

impl Table {
    /// By ascending id.
    pub(crate) fn rows(&self) -> impl DoubleEndedIterator<Item = &Row> {
        self.rows.values()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = i64> {
        self.rows.keys().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn get(&self, id: i64) -> Option<&Row> {
        self.rows.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: i64) -> Option<&mut Row> {
        self.rows.get_mut(&id)
    }

    pub(super) fn insert(&mut self, row: Row) {
        self.last = self.last.max(row.id);
        self.rows.insert(row.id, row);
    }

    pub(super) fn remove(&mut self, id: i64) -> Option<Row> {
        self.patches.remove(&id);
        self.rows.remove(&id)
    }

    /// An id above every id ever used here.
    pub(super) fn next_id(&mut self) -> i64 {
        self.last += 1;
        self.last
    }

    /// The id of a row near a random place.
    pub(super) fn any(&self, random: &mut fastrand::Rng) -> Option<i64> {
        let first = *self.rows.first_key_value()?.0;
        let last = *self.rows.last_key_value()?.0;
        let from = random.i64(first..=last);
        let (id, _) = self.rows.range(from..).next()?;
        Some(*id)
    }

    pub(super) fn any_mut(&mut self, random: &mut fastrand::Rng) -> Option<&mut Row> {
        let id = self.any(random)?;
        self.get_mut(id)
    }

    /// The id of a random row with a property.
    pub(super) fn any_that(
        &self,
        random: &mut fastrand::Rng,
        has: impl Fn(&Row) -> bool,
    ) -> Option<i64> {
        // Mostly a few tries find one, without a look at all rows.
        for _ in 0..32 {
            let id = self.any(random)?;
            if self.get(id).is_some_and(&has) {
                return Some(id);
            }
        }
        let all = self.rows().filter(|row| has(row)).map(|row| row.id);
        random.choice(all.collect::<Vec<_>>())
    }

    /// The fields of a row that were set.
    pub(super) fn patch(&self, id: i64) -> Option<&Patch> {
        self.patches.get(&id)
    }

    /// Sets a field of a row; `false` where there is no such row.
    pub(super) fn set(&mut self, id: i64, field: &str, value: Option<Value>) -> bool {
        let exists = self.rows.contains_key(&id);
        if exists {
            self.patches.entry(id).or_default().set(field, value);
        }
        exists
    }

    /// Whether a field of any row was set.
    pub(crate) fn sets(&self, field: &str) -> bool {
        self.patches.values().any(|patch| patch.sets(field))
    }

    /// Appends the JSON of a row; `false` where there is no such row.
    pub(crate) fn write(&self, id: i64, world: &World, out: &mut Vec<u8>) -> bool {
        let Some(row) = self.get(id) else {
            return false;
        };
        let start = out.len();
        row.write(world, out);
        if let Some(patch) = self.patch(id) {
            let own = String::from_utf8_lossy(&out[start..]).into_owned();
            out.truncate(start);
            out.extend_from_slice(patch.apply(&own).as_bytes());
        }
        true
    }
}
