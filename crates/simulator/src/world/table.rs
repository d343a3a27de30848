//! The rows of one resource by id, and what can be done with them whatever they are.

use std::collections::BTreeMap;

use serde_json::Value;

use super::World;
use super::patch::Patch;
use crate::query::{PatchedRow, Query, Row};

/// Rows by id. Ids are never used twice.
pub(crate) struct Table<R> {
    pub(super) rows: BTreeMap<i64, R>,
    pub(super) last: i64,
    patches: BTreeMap<i64, Patch>,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            last: 0,
            patches: BTreeMap::new(),
        }
    }
}

impl<R: Row> Table<R> {
    pub(super) fn rows(&self) -> impl DoubleEndedIterator<Item = &R> {
        self.rows.values()
    }

    /// The rows as a query sees them, by ascending id.
    pub(crate) fn patched_rows(&self) -> impl Iterator<Item = PatchedRow<'_, R>> {
        let patched = |(id, row): (&i64, _)| PatchedRow::new(row, self.patch(*id));
        self.rows.iter().map(patched)
    }

    pub(super) fn get(&self, id: i64) -> Option<&R> {
        self.rows.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: i64) -> Option<&mut R> {
        self.rows.get_mut(&id)
    }

    pub(super) fn insert(&mut self, row: R) {
        self.last = self.last.max(row.id());
        self.rows.insert(row.id(), row);
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

    /// The id of a random row with a property.
    pub(super) fn any_that(
        &self,
        random: &mut fastrand::Rng,
        has: impl Fn(&R) -> bool,
    ) -> Option<i64> {
        // Mostly a few tries find one, without a look at all rows.
        for _ in 0..32 {
            let id = self.any(random)?;
            if self.get(id).is_some_and(&has) {
                return Some(id);
            }
        }
        let all = self.rows().filter(|row| has(row)).map(Row::id);
        random.choice(all.collect::<Vec<_>>())
    }

    /// The fields of a row that were set.
    pub(super) fn patch(&self, id: i64) -> Option<&Patch> {
        self.patches.get(&id)
    }
}

/// What needs no knowledge of the rows' type.
pub(crate) trait Rows {
    fn len(&self) -> usize;
    fn contains(&self, id: i64) -> bool;
    fn remove_row(&mut self, id: i64);
    /// A row near a random place.
    fn any_row(&self, random: &mut fastrand::Rng) -> Option<i64>;
    /// The ids that a query picks, in its order.
    fn pick(&self, query: &Query, world: &World) -> Vec<i64>;
    /// Appends the JSON of a row; `false` where there is no such row.
    fn write(&self, id: i64, world: &World, out: &mut Vec<u8>) -> bool;
    /// Sets a field of a row; `false` where there is no such row.
    fn set(&mut self, id: i64, field: &str, value: Option<Value>) -> bool;
    /// Whether a field of any row was set.
    fn sets(&self, field: &str) -> bool;
}

impl<R: Row> Rows for Table<R> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn contains(&self, id: i64) -> bool {
        self.rows.contains_key(&id)
    }

    fn remove_row(&mut self, id: i64) {
        self.rows.remove(&id);
        self.patches.remove(&id);
    }

    fn any_row(&self, random: &mut fastrand::Rng) -> Option<i64> {
        self.any(random)
    }

    fn pick(&self, query: &Query, world: &World) -> Vec<i64> {
        query.pick(self, world)
    }

    fn write(&self, id: i64, world: &World, out: &mut Vec<u8>) -> bool {
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

    fn set(&mut self, id: i64, field: &str, value: Option<Value>) -> bool {
        let exists = self.contains(id);
        if exists {
            self.patches.entry(id).or_default().set(field, value);
        }
        exists
    }

    fn sets(&self, field: &str) -> bool {
        self.patches.values().any(|patch| patch.sets(field))
    }
}
