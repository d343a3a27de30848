//! Mapped keys that no record has: whether the API has renamed them is judged on all records.

use crate::config::Source;
use crate::walk::{Place, Slots, Walker};

use super::mapping::Mapping;

/// Records that must lack a key before it counts as gone.
pub(super) const ENOUGH: u64 = 20;

/// Mapped keys that no record has shown so far; one that is shown costs nothing any more.
#[derive(Debug, Default)]
pub(super) struct Absent {
    unseen: Vec<Unseen>,
}

#[derive(Debug)]
struct Unseen {
    place: Place,
    /// As it is written in `pipeline.toml`.
    pointer: String,
    /// Records in which it is absent, not null or within a null.
    records: u64,
}

impl Absent {
    /// Watches a pointer.
    pub(super) fn watch(&mut self, place: Place, pointer: String) {
        self.unseen.push(Unseen {
            place,
            pointer,
            records: 0,
        });
    }

    /// Looks at a record.
    pub(super) fn see(&mut self, slots: &Slots<'_>) {
        if self.unseen.is_empty() {
            return;
        }
        self.unseen.retain_mut(|unseen| {
            unseen.records += u64::from(unseen.place.is_absent(slots));
            !unseen.place.is_there(slots)
        });
    }

    /// The pointers that were in no record, of enough records.
    pub(super) fn gone(&self) -> impl Iterator<Item = &str> {
        let gone = self.unseen.iter().filter(|one| one.records >= ENOUGH);
        gone.map(|one| one.pointer.as_str())
    }
}

/// Watches every key that the mapping needs.
pub(super) fn watch(
    mapping: &Mapping,
    root: &mut Walker,
    absent: &mut Absent,
    element: &mut Walker,
    absent_in_element: &mut Absent,
) {
    let table = &mapping.table;
    let sources = mapping.columns.iter().map(|column| &column.source);
    for source in sources {
        match source {
            Source::Record(pointer) if table.rows.is_some() => {
                let shown = format!("{pointer} ({})", table.name);
                absent_in_element.watch(element.place(pointer), shown);
            }
            Source::Record(pointer) | Source::Parent(pointer) => {
                absent.watch(root.place(pointer), pointer.to_string());
            }
            Source::Constant(_) | Source::Elsewhere => {}
        }
    }
    for condition in &table.conditions {
        let pointer = &condition.pointer;
        if table.rows.is_some() {
            let shown = format!("{pointer} ({})", table.name);
            absent_in_element.watch(element.place(pointer), shown);
        } else {
            absent.watch(root.place(pointer), pointer.to_string());
        }
    }
    if let Some(rows) = &table.rows {
        absent.watch(root.place(rows), rows.to_string());
    }
}
