//! Mapped keys that no record has: whether the API has renamed them is judged on all records.

use std::collections::BTreeMap;

use crate::config::Source;
use crate::load::decode::types::MIN_RECORDS_WITHOUT_KEY;
use crate::load::mapping::Mapping;
use crate::name::Name;
use crate::pointer::Pointer;
use crate::walk::{Place, Slots, Walker};

/// Mapped keys that no record has shown so far; one that is shown costs nothing any more.
#[derive(Debug, Default)]
pub(crate) struct MissingKeys {
    unseen: Vec<Unseen>,
    /// The others, and the first file that shows each.
    seen: BTreeMap<String, String>,
}

/// A mapped key that no record has, and who needs it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MissingKey {
    /// As it is written in `pipeline.toml`.
    pub(crate) pointer: String,
    pub(crate) table: Name,
    /// The column that it fills; none: without it there is no row.
    pub(crate) column: Option<String>,
}

#[derive(Debug)]
struct Unseen {
    place: Place,
    key: MissingKey,
    /// Records in which it is absent, not null or within a null.
    records: u64,
}

impl MissingKeys {
    fn watch(&mut self, place: Place, key: MissingKey) {
        self.unseen.push(Unseen {
            place,
            key,
            records: 0,
        });
    }

    /// Looks at a record of a file.
    pub(crate) fn see(&mut self, slots: &Slots<'_>, file: &str) {
        if self.unseen.is_empty() {
            return;
        }
        let seen = &mut self.seen;
        self.unseen.retain_mut(|unseen| {
            unseen.records += u64::from(unseen.place.is_absent(slots));
            let is_there = unseen.place.is_there(slots);
            if is_there {
                let pointer = unseen.key.pointer.clone();
                seen.entry(pointer).or_insert_with(|| file.to_owned());
            }
            !is_there
        });
    }

    /// The keys that some record has shown, and the first file that shows each.
    pub(crate) fn into_seen(self) -> BTreeMap<String, String> {
        self.seen
    }

    /// The keys that were in no record, of enough records.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &MissingKey> {
        let missing = self
            .unseen
            .iter()
            .filter(|one| one.records >= MIN_RECORDS_WITHOUT_KEY);
        missing.map(|one| &one.key)
    }
}

/// Watches every key that the mapping needs.
pub(crate) fn watch(
    mapping: &Mapping,
    root: &mut Walker,
    absent: &mut MissingKeys,
    element: &mut Walker,
    absent_in_element: &mut MissingKeys,
) {
    let table = &mapping.table;
    let key = |pointer: String, column: Option<&str>| MissingKey {
        pointer,
        table: table.name.clone(),
        column: column.map(str::to_owned),
    };
    let mut of_row = |pointer: &Pointer, column, root: &mut Walker, absent: &mut MissingKeys| {
        if table.rows.is_some() {
            let shown = format!("{pointer} ({})", table.name);
            absent_in_element.watch(element.place(pointer), key(shown, column));
        } else {
            absent.watch(root.place(pointer), key(pointer.to_string(), column));
        }
    };
    let is_of_lists = (table.rows.as_ref()).is_some_and(|rows| rows.split_at_each().is_some());
    for column in &mapping.columns {
        let name = Some(column.name.as_str());
        match &column.source {
            Source::Record(pointer) => of_row(pointer, name, root, absent),
            // Of those that hold the lists of a list nothing is noted.
            Source::Parent(_) if is_of_lists => {}
            Source::Parent(pointer) => {
                absent.watch(root.place(pointer), key(pointer.to_string(), name));
            }
            Source::Constant(_) | Source::Elsewhere => {}
        }
    }
    for condition in &table.conditions {
        of_row(&condition.pointer, None, root, absent);
    }
    if let Some(rows) = &table.rows {
        let outer = rows
            .split_at_each()
            .map_or_else(|| rows.clone(), |(outer, _)| outer);
        absent.watch(root.place(&outer), key(outer.to_string(), None));
    }
}
