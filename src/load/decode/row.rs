//! One record → the rows of one table, as binary COPY.
//!
//! A row is complete before it counts; a rejected record becomes a row that carries its key only.

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::config::{Source, Where};
use crate::load::cell::{CellType, Misfit, RejectReason, accepts};
use crate::load::decode::missing_keys::{MissingKey, MissingKeys, watch};
use crate::load::decode::types::{
    Chunk, DecodeStop, DecodedTable, KeyOrder, KeylessRows, RejectedRecord, RowFilter, RowState,
    position,
};
use crate::load::mapping::Mapping;
use crate::template::{Template, Values};
use crate::walk::{Element, Elements, Slots, Walker};

/// COPY data is handed on in pieces of about this size.
const CHUNK: usize = 256 << 10;
/// Rejected records are sent on when there are this many.
const MAX_REJECTED: usize = 1000;
/// Why a list gives no rows: a code, and a sentence.
const NULL_LIST: (&str, &str) = (
    "null",
    "the list is missing or null, which does not say that it is empty",
);
const NO_LIST: (&str, &str) = ("type", "a list is wanted");
/// What a staged row has before its columns: the count of fields, its position, its state.
const HEAD: usize = 2 + (4 + 8) + (4 + 2);

pub(crate) struct TableDecoder {
    columns: Vec<Column>,
    key: Vec<usize>,
    only_key: Option<Vec<u8>>,
    /// The column that names the owner.
    owner: Option<usize>,
    conditions: Vec<Condition>,
    explode: Option<Explode>,
    data: Vec<u8>,
    rejected: Vec<RejectedRecord>,
    order: KeyOrder,
    filter: Option<Box<dyn RowFilter>>,
    pub(crate) seen: DecodedTable,
}

struct Column {
    name: String,
    pointer: String,
    cell: CellType,
    is_key: bool,
    is_cursor: bool,
    /// Without a value there is no row.
    is_needed: bool,
    from: ValueSource,
}

enum ValueSource {
    Slot(usize),
    ParentSlot(usize),
    Constant(Template, Option<String>),
}

struct Condition {
    slot: usize,
    pointer: String,
    accepted: Vec<Value>,
}

struct Explode {
    slot: usize,
    pointer: String,
    /// Whether an object counts as a list of one record.
    or_object: bool,
    elements: Elements,
    /// Keys of the elements.
    absent: MissingKeys,
}

/// One row on its way: where it comes from.
pub(crate) struct RecordPlace<'p> {
    pub(crate) file: &'p str,
    pub(crate) record: u64,
    pub(crate) element: Option<u64>,
    pub(crate) position: i64,
}

impl TableDecoder {
    /// Keys of the records that are mapped go to `absent`.
    pub(crate) fn new(
        mapping: &Mapping,
        root: &mut Walker,
        absent: &mut MissingKeys,
        filter: Option<Box<dyn RowFilter>>,
    ) -> Self {
        let exploded = mapping.table.rows.as_ref();
        let (mut elements, list) = exploded.map_or_else(Default::default, |list| {
            let (elements, slot) = Elements::of(list, root);
            (elements, Some(slot))
        });
        let mut absent_in_element = MissingKeys::default();
        watch(
            mapping,
            root,
            absent,
            &mut elements.walker,
            &mut absent_in_element,
        );
        let conditions = mapping
            .table
            .conditions
            .iter()
            .map(|Where { pointer, accepted }| Condition {
                slot: if exploded.is_some() {
                    &mut elements.walker
                } else {
                    &mut *root
                }
                .add(pointer),
                pointer: pointer.to_string(),
                accepted: accepted.clone(),
            })
            .collect();
        // By these it is decided which rows are deleted: a null decides nothing.
        let decisive = mapping.table.owner.iter().chain(&mapping.table.within);
        let decisive: Vec<&str> = decisive.map(|it| it.column.as_str()).collect();
        let mut columns = Vec::new();
        for (at, column) in mapping.columns.iter().enumerate() {
            let (from, pointer) = match &column.source {
                Source::Record(pointer) => {
                    let walker = if exploded.is_some() {
                        &mut elements.walker
                    } else {
                        &mut *root
                    };
                    (ValueSource::Slot(walker.add(pointer)), pointer.to_string())
                }
                Source::Parent(pointer) => (
                    ValueSource::ParentSlot(elements.add_to_holder(pointer, root)),
                    format!("..{pointer}"),
                ),
                Source::Constant(template) => (
                    ValueSource::Constant(template.clone(), None),
                    template.to_string(),
                ),
                Source::Elsewhere => continue,
            };
            columns.push(Column {
                name: column.name.clone(),
                pointer,
                cell: column.cell,
                is_key: mapping.key.contains(&at),
                is_cursor: mapping.cursor == Some(at),
                is_needed: column.not_null || decisive.contains(&column.name.as_str()),
                from,
            });
        }
        let owner = mapping.table.owner.as_ref();
        Self {
            owner: owner.and_then(|owner| {
                let mut names = columns.iter().map(|column| column.name.as_str());
                names.position(|name| name == owner.column.as_str())
            }),
            columns,
            key: mapping.key.clone(),
            only_key: mapping.only_key.clone(),
            conditions,
            explode: exploded.zip(list).map(|(pointer, slot)| Explode {
                slot,
                pointer: pointer.to_string(),
                or_object: mapping.table.is_update_only(),
                elements,
                absent: absent_in_element,
            }),
            data: Vec::with_capacity(CHUNK * 5 / 4),
            rejected: Vec::new(),
            order: KeyOrder::default(),
            filter,
            seen: DecodedTable::default(),
        }
    }

    /// Mapped keys that no element has.
    pub(crate) fn missing_element_keys(&self) -> impl Iterator<Item = &MissingKey> {
        self.explode
            .iter()
            .flat_map(|explode| explode.absent.missing())
    }

    pub(crate) fn fill_constants(&mut self, values: &Values) {
        for column in &mut self.columns {
            if let ValueSource::Constant(template, value) = &mut column.from {
                let filled = template.fill(values);
                *value = filled.map(|text| column.cell.json_of(text));
            }
        }
    }

    pub(crate) fn record(
        &mut self,
        number: usize,
        slots: &Slots<'_>,
        place: &RecordPlace<'_>,
        chunks: &mpsc::Sender<Chunk>,
    ) -> Result<(), DecodeStop> {
        if let Some(mut explode) = self.explode.take() {
            self.elements(&mut explode, slots, place);
            self.explode = Some(explode);
        } else {
            self.row(slots, slots, place)?;
        }
        if self.data.len() >= CHUNK || self.rejected.len() >= MAX_REJECTED {
            self.flush(number, chunks)?;
        }
        Ok(())
    }

    fn elements(&mut self, explode: &mut Explode, slots: &Slots<'_>, place: &RecordPlace<'_>) {
        if explode.or_object && slots[explode.slot] == Some("null") {
            // There is none to update.
            return;
        }
        let Some(list) = slots[explode.slot].filter(|list| *list != "null") else {
            let holder = explode.elements.unknown_holder(slots);
            self.no_list(&explode.pointer, &holder, place, NULL_LIST);
            return;
        };
        let Explode {
            pointer,
            elements,
            absent,
            or_object,
            ..
        } = explode;
        let walked = elements.each(list, slots, *or_object, |element| match element {
            Element::One(index, element, holder) => {
                absent.see(element, place.file);
                let place = RecordPlace {
                    element: Some(index),
                    position: place.position | (position(0, index)),
                    ..*place
                };
                // Exploded rows are not compared on the way, so nothing ends here.
                let _ = self.row(element, holder, &place);
            }
            Element::NoList(holder, is_null) => {
                let reason = if is_null { NULL_LIST } else { NO_LIST };
                self.no_list(pointer, holder, place, reason);
            }
        });
        if walked.is_err() {
            let holder = elements.unknown_holder(slots);
            self.no_list(pointer, &holder, place, NO_LIST);
        }
    }

    /// Notes a record whose rows are not known.
    fn no_list(
        &mut self,
        pointer: &str,
        slots: &Slots<'_>,
        place: &RecordPlace<'_>,
        (code, reason): (&'static str, &str),
    ) {
        let parent = self.parent_json(None, slots);
        self.count_keyless(parent.as_ref());
        self.rejected.push(RejectedRecord {
            file: place.file.to_owned(),
            record: place.record,
            element: None,
            key: None,
            parent,
            column: None,
            pointer: Some(pointer.to_owned()),
            code,
            reason: reason.to_owned(),
        });
    }

    /// Counts a row, or a list of rows, without a readable key.
    fn count_keyless(&mut self, parent: Option<&String>) {
        let owner = self.owner.map(|owner| &self.columns[owner].from);
        let keyless_rows = match (parent, owner) {
            (Some(_), _) => KeylessRows::OfKnownOwners,
            (None, Some(ValueSource::ParentSlot(_))) => KeylessRows::OfUnknownOwner,
            (None, _) => KeylessRows::Any,
        };
        self.seen.keyless += 1;
        self.seen.keyless_rows = self.seen.keyless_rows.max(keyless_rows);
    }

    fn row(
        &mut self,
        slots: &Slots<'_>,
        parent: &Slots<'_>,
        place: &RecordPlace<'_>,
    ) -> Result<(), DecodeStop> {
        if !self.is_wanted(slots, parent) {
            return Ok(());
        }
        let key = self.single_key(slots, parent);
        self.order.see(key);
        let start = self.data.len();
        let (column, pointer, code, misfit) = match self.state(slots) {
            Ok(state) => match self.encode(slots, parent, place.position, state) {
                Ok(()) => return self.keep(state, key, start),
                Err((at, code, misfit)) => {
                    let column = &self.columns[at];
                    (
                        Some(column.name.clone()),
                        column.pointer.clone(),
                        code,
                        misfit,
                    )
                }
            },
            // A missing value is no reason to delete a row.
            Err((pointer, (code, misfit))) => (None, pointer, code, misfit),
        };
        let key_is_known = self
            .encode(slots, parent, place.position, RowState::Quarantined)
            .is_ok();
        let parent_json = self.parent_json(Some(slots), parent);
        if !key_is_known {
            self.count_keyless(parent_json.as_ref());
        }
        self.rejected.push(RejectedRecord {
            file: place.file.to_owned(),
            record: place.record,
            element: place.element,
            key: key_is_known.then(|| self.key_json(slots, parent)),
            parent: parent_json,
            column,
            pointer: Some(pointer),
            code,
            reason: misfit.0,
        });
        if key_is_known {
            self.keep(RowState::Quarantined, key, start)
        } else {
            Ok(())
        }
    }

    /// Counts a row, unless the filter leaves it out.
    fn keep(&mut self, state: RowState, key: Option<i64>, start: usize) -> Result<(), DecodeStop> {
        if let Some(filter) = &mut self.filter {
            let fields = (state == RowState::InScope).then(|| &self.data[start + HEAD..]);
            if !filter.is_staged(key, fields)? {
                self.data.truncate(start);
                return Ok(());
            }
        }
        match state {
            RowState::InScope => self.seen.in_scope += 1,
            RowState::OutOfScope => self.seen.out_of_scope += 1,
            RowState::Quarantined => self.seen.quarantined += 1,
        }
        Ok(())
    }

    /// Sends the last chunk; returns the totals.
    pub(crate) fn finish(
        mut self,
        number: usize,
        chunks: &mpsc::Sender<Chunk>,
    ) -> Result<DecodedTable, DecodeStop> {
        if !self.data.is_empty() || !self.rejected.is_empty() {
            self.flush(number, chunks)?;
        }
        self.seen.compared = self.filter.map(RowFilter::finish).transpose()?;
        // What was compared came in order: what came twice was left out.
        self.seen.may_repeat = self.order.broken && self.seen.compared.is_none();
        Ok(self.seen)
    }

    /// Whether a record is in scope. If a condition cannot be judged, whatever the others say: its pointer, and why.
    fn state(&self, slots: &Slots<'_>) -> Result<RowState, (String, RejectReason)> {
        let mut state = RowState::InScope;
        for condition in &self.conditions {
            let accepted = accepts(slots[condition.slot], &condition.accepted);
            if !accepted.map_err(|why| (condition.pointer.clone(), why))? {
                state = RowState::OutOfScope;
            }
        }
        Ok(state)
    }

    /// Appends a complete row or nothing. A row that is not in scope carries its key and its cursor only.
    fn encode(
        &mut self,
        slots: &Slots<'_>,
        parent: &Slots<'_>,
        position: i64,
        state: RowState,
    ) -> Result<(), (usize, &'static str, Misfit)> {
        let start = self.data.len();
        let fields = i16::try_from(self.columns.len() + 2).unwrap_or(i16::MAX);
        let data = &mut self.data;
        data.extend_from_slice(&fields.to_be_bytes());
        data.extend_from_slice(&8_i32.to_be_bytes());
        data.extend_from_slice(&position.to_be_bytes());
        data.extend_from_slice(&2_i32.to_be_bytes());
        data.extend_from_slice(&(state as i16).to_be_bytes());
        let in_scope = state == RowState::InScope;
        for (at, column) in self.columns.iter().enumerate() {
            let is_key = column.is_key;
            let wanted = is_key || in_scope;
            let raw = if wanted || column.is_cursor {
                column.from.raw(slots, parent)
            } else {
                None
            };
            let mut encoded = column.cell.encode(raw, data);
            if !wanted && encoded.is_err() {
                encoded = column.cell.encode(None, data);
            }
            let is_null = raw.is_none_or(|raw| raw == "null");
            let (code, misfit) = match encoded {
                Err(misfit) => (if is_key { "key" } else { "type" }, misfit),
                Ok(()) if wanted && is_null && (is_key || column.is_needed) => (
                    if is_key { "key" } else { "null" },
                    Misfit("the value is missing or null, but the column needs one".to_owned()),
                ),
                Ok(()) => continue,
            };
            data.truncate(start);
            return Err((at, code, misfit));
        }
        Ok(())
    }

    fn is_wanted(&self, slots: &Slots<'_>, parent: &Slots<'_>) -> bool {
        let Some(wanted) = &self.only_key else {
            return true;
        };
        let mut key = Vec::new();
        let is_encoded = self.key.iter().all(|at| {
            let column = &self.columns[*at];
            let raw = column.from.raw(slots, parent);
            column.cell.encode(raw, &mut key).is_ok()
        });
        is_encoded && key == *wanted
    }

    fn single_key(&self, slots: &Slots<'_>, parent: &Slots<'_>) -> Option<i64> {
        match self.key.as_slice() {
            [key] => self.columns[*key].from.raw(slots, parent)?.parse().ok(),
            _ => None,
        }
    }

    fn key_json(&self, slots: &Slots<'_>, parent: &Slots<'_>) -> String {
        let key: Value = (self.key)
            .iter()
            .map(|at| {
                let column = &self.columns[*at];
                let raw = column.from.raw(slots, parent).unwrap_or("null");
                (column.name.clone(), column.cell.key_json(raw))
            })
            .collect::<serde_json::Map<_, _>>()
            .into();
        key.to_string()
    }

    /// What names the owner, if there is something and it fits its column.
    fn parent_json(&self, own: Option<&Slots<'_>>, parent: &Slots<'_>) -> Option<String> {
        let column = &self.columns[self.owner?];
        let raw = match (&column.from, own) {
            (ValueSource::Slot(_), None) => None,
            (from, own) => from.raw(own.unwrap_or(parent), parent),
        };
        let raw = raw.filter(|raw| *raw != "null")?;
        column.cell.encode(Some(raw), &mut Vec::new()).ok()?;
        Some(column.cell.key_json(raw).to_string())
    }

    fn flush(&mut self, number: usize, chunks: &mpsc::Sender<Chunk>) -> Result<(), DecodeStop> {
        let data = std::mem::replace(&mut self.data, Vec::with_capacity(CHUNK * 5 / 4));
        let chunk = Chunk {
            table: number,
            rows: Bytes::from(data),
            rejected: std::mem::take(&mut self.rejected),
        };
        chunks
            .blocking_send(chunk)
            .map_err(|_| DecodeStop::Abandoned)
    }
}

impl ValueSource {
    fn raw<'v>(&'v self, slots: &Slots<'v>, parent: &Slots<'v>) -> Option<&'v str> {
        match self {
            Self::Slot(slot) => slots[*slot],
            Self::ParentSlot(slot) => parent[*slot],
            Self::Constant(_, value) => value.as_deref(),
        }
    }
}
