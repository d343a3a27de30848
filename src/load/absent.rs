//! Mapped keys that no record has: whether the API has renamed them is judged on all records.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Transaction;

use crate::config::Source;
use crate::name::Name;
use crate::pointer::Pointer;
use crate::walk::{Place, Slots, Walker};

use super::decode::Decoded;
use super::error::LoadError;
use super::mapping::Mapping;
use super::sql::Statements;

/// Records that must lack a key before it counts as gone.
pub(super) const ENOUGH: u64 = 20;

/// Mapped keys that no record has shown so far; one that is shown costs nothing any more.
#[derive(Debug, Default)]
pub(super) struct Absent {
    unseen: Vec<Unseen>,
    /// The others, and the first file that shows each.
    seen: BTreeMap<String, String>,
}

/// A mapped key that no record has, and who needs it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Missing {
    /// As it is written in `pipeline.toml`.
    pub(super) pointer: String,
    pub(super) table: Name,
    /// The column that it fills; none: without it there is no row.
    pub(super) column: Option<String>,
}

#[derive(Debug)]
struct Unseen {
    place: Place,
    key: Missing,
    /// Records in which it is absent, not null or within a null.
    records: u64,
}

impl Absent {
    /// Watches a key.
    fn watch(&mut self, place: Place, key: Missing) {
        self.unseen.push(Unseen {
            place,
            key,
            records: 0,
        });
    }

    /// Looks at a record of a file.
    pub(super) fn see(&mut self, slots: &Slots<'_>, file: &str) {
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
    pub(super) fn into_seen(self) -> BTreeMap<String, String> {
        self.seen
    }

    /// The keys that were in no record, of enough records.
    pub(super) fn gone(&self) -> impl Iterator<Item = &Missing> {
        let gone = self.unseen.iter().filter(|one| one.records >= ENOUGH);
        gone.map(|one| &one.key)
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
    let key = |pointer: String, column: Option<&str>| Missing {
        pointer,
        table: table.name.clone(),
        column: column.map(str::to_owned),
    };
    let mut of_row = |pointer: &Pointer, column, root: &mut Walker, absent: &mut Absent| {
        if table.rows.is_some() {
            let shown = format!("{pointer} ({})", table.name);
            absent_in_element.watch(element.place(pointer), key(shown, column));
        } else {
            absent.watch(root.place(pointer), key(pointer.to_string(), column));
        }
    };
    for column in &mapping.columns {
        let name = Some(column.name.as_str());
        match &column.source {
            Source::Record(pointer) => of_row(pointer, name, root, absent),
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
        absent.watch(root.place(rows), key(rows.to_string(), None));
    }
}

/// Refuses records without a mapped key where that would overwrite data with nothing: the table holds some in the column,
/// or, if there is no row without the key, it holds rows. Where there is none the key may have come later than the
/// record: it is only told.
pub(super) async fn judge(
    transaction: &Transaction<'_>,
    mut decoded: Decoded,
    mappings: &[&Mapping],
    schema: &str,
) -> Result<Decoded, LoadError> {
    let mut lost = BTreeSet::new();
    for Missing {
        pointer,
        table,
        column,
    } in std::mem::take(&mut decoded.missing)
    {
        let mut mappings = mappings.iter();
        let Some(mapping) = mappings.find(|mapping| mapping.table.name == table) else {
            continue;
        };
        let statement = Statements::new(mapping, schema).has_data(column.as_deref());
        let row = (transaction.query_typed_one(&statement, &[]).await)
            .map_err(LoadError::at(format!("look for data in {table}")))?;
        if row.get(0) {
            lost.insert(pointer.clone());
        }
        decoded.shape.absent.insert(pointer);
    }
    if lost.is_empty() {
        return Ok(decoded);
    }
    Err(LoadError::Renamed {
        keys: lost.into_iter().collect(),
        file: decoded.shape.first_file,
    })
}
