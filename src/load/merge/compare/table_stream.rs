//! The rows that a table has, read beside the pages: what is the same byte for byte need not be sent.
//!
//! Both sides come in the order of the key, so that nothing is kept in memory but the last few rows. Bytes that are
//! the same are the same value; of all others the server is the judge, later.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::load::cell::CellType;
use crate::load::decode::types::{DecodeStop, RowFilter, TableComparison};
use crate::load::mapping::Mapping;
use crate::load::merge::compare::document::is_same_document;

/// Rows that stay at hand: a page whose rows moved while the API was read begins with some of the page before.
const RECENT: usize = 256;
/// Keys that may be absent: more are looked for by the server.
const MAX_ABSENT: usize = 250_000;

/// Signature, flags and length of the extension of a binary COPY.
const COPY_HEADER: usize = 11 + 4 + 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowMatch {
    /// It is new, or not the same byte for byte.
    Different,
    /// The table has it as it is.
    Same,
    /// So it has, and the pages have it twice.
    Duplicate,
}

/// A stream of rows in the order of their key.
pub(super) struct TableStream {
    batches: mpsc::Receiver<Vec<Bytes>>,
    batch: std::vec::IntoIter<Bytes>,
    is_first: bool,
    next: Option<Row>,
    /// Rows that were the same, newest last.
    recent: VecDeque<Row>,
    last: Option<i64>,
    descending: bool,
    key: usize,
    /// The columns whose bytes may differ though the document is the same.
    documents: Vec<bool>,
    seen: TableComparison,
}

impl RowFilter for TableStream {
    fn is_staged(&mut self, key: Option<i64>, fields: Option<&[u8]>) -> Result<bool, DecodeStop> {
        let row = self.judge(key.ok_or(DecodeStop::Incomparable)?, fields)?;
        self.seen.unchanged += u64::from(row == RowMatch::Same);
        Ok(row == RowMatch::Different)
    }

    fn finish(mut self: Box<Self>) -> Result<TableComparison, DecodeStop> {
        while let Some(row) = match self.next.take() {
            None => self.receive()?,
            row => row,
        } {
            self.note_absent(row.key)?;
        }
        Ok(self.seen)
    }
}

struct Row {
    key: i64,
    /// The fields, each with its length.
    fields: Bytes,
}

impl TableStream {
    /// Of a table with a single integer key, whose rows come as binary COPY.
    pub(super) fn new(
        mapping: &Mapping,
        descending: bool,
        batches: mpsc::Receiver<Vec<Bytes>>,
    ) -> Self {
        let documents = mapping.columns.iter();
        Self::of(
            mapping.key.first().copied().unwrap_or_default(),
            documents
                .map(|column| column.cell == CellType::Jsonb)
                .collect(),
            descending,
            batches,
        )
    }

    fn of(
        key: usize,
        documents: Vec<bool>,
        descending: bool,
        batches: mpsc::Receiver<Vec<Bytes>>,
    ) -> Self {
        Self {
            batches,
            batch: Vec::new().into_iter(),
            is_first: true,
            next: None,
            recent: VecDeque::with_capacity(RECENT),
            last: None,
            descending,
            key,
            documents,
            seen: TableComparison::default(),
        }
    }

    /// Judges the next record's row; without fields it only passes by.
    fn judge(&mut self, key: i64, fields: Option<&[u8]>) -> Result<RowMatch, DecodeStop> {
        if self.last.is_some_and(|last| !self.is_before(last, key)) {
            return self.judge_again(key, fields);
        }
        self.last = Some(key);
        loop {
            if self.next.is_none() {
                self.next = self.receive()?;
            }
            let Some(row) = self.next.take() else {
                return Ok(RowMatch::Different);
            };
            if row.key == key {
                let is_same = fields.is_some_and(|fields| self.is_same(fields, &row.fields));
                if is_same {
                    if self.recent.len() == RECENT {
                        self.recent.pop_front();
                    }
                    self.recent.push_back(row);
                    return Ok(RowMatch::Same);
                }
                return Ok(RowMatch::Different);
            }
            if !self.is_before(row.key, key) {
                self.next = Some(row);
                return Ok(RowMatch::Different);
            }
            self.note_absent(row.key)?;
        }
    }

    /// A row that comes late: the same as a short while ago, or nothing can be said in passing.
    fn judge_again(&self, key: i64, fields: Option<&[u8]>) -> Result<RowMatch, DecodeStop> {
        let recent = self.recent.iter().rev().find(|row| row.key == key);
        match (recent, fields) {
            (Some(row), Some(fields)) if self.is_same(fields, &row.fields) => {
                Ok(RowMatch::Duplicate)
            }
            _ => Err(DecodeStop::Incomparable),
        }
    }

    fn note_absent(&mut self, key: i64) -> Result<(), DecodeStop> {
        if self.seen.absent.len() == MAX_ABSENT {
            return Err(DecodeStop::Incomparable);
        }
        self.seen.absent.push(key);
        Ok(())
    }

    fn is_before(&self, a: i64, b: i64) -> bool {
        if self.descending { a > b } else { a < b }
    }

    /// The next row of the table; none at its end.
    fn receive(&mut self) -> Result<Option<Row>, DecodeStop> {
        loop {
            let Some(mut bytes) = self.batch.next() else {
                match self.batches.blocking_recv() {
                    Some(batch) => self.batch = batch.into_iter(),
                    // The trailer ends the rows, so this stream broke off.
                    None => return Err(DecodeStop::Abandoned),
                }
                continue;
            };
            if std::mem::take(&mut self.is_first) {
                if bytes.len() < COPY_HEADER {
                    return Err(DecodeStop::Incomparable);
                }
                bytes = bytes.slice(COPY_HEADER..);
            }
            match bytes.get(..2) {
                None => {}
                Some([0xff, 0xff]) => {
                    // Nothing comes after it: the next call returns the same.
                    self.batch = vec![bytes].into_iter();
                    return Ok(None);
                }
                Some(_) => {
                    let fields = bytes.slice(2..);
                    let key = key(&fields, self.key).ok_or(DecodeStop::Incomparable)?;
                    self.seen.rows += 1;
                    return Ok(Some(Row { key, fields }));
                }
            }
        }
    }

    fn is_same(&self, ours: &[u8], theirs: &[u8]) -> bool {
        if ours == theirs {
            return true;
        }
        if !self.documents.contains(&true) {
            return false;
        }
        let (mut ours, mut theirs) = (ours, theirs);
        for is_document in &self.documents {
            let (Some(our), Some(their)) = (field(&mut ours), field(&mut theirs)) else {
                return false;
            };
            // Behind the length, the first byte of a jsonb is its format.
            let same = our == their
                || (*is_document
                    && matches!(
                        (our, their),
                        ([_, _, _, _, 1, our @ ..], [_, _, _, _, 1, their @ ..]) if is_same_document(our, their)
                    ));
            if !same {
                return false;
            }
        }
        true
    }
}

/// Takes the first field off, with its length; that of NULL is negative.
fn field<'f>(fields: &mut &'f [u8]) -> Option<&'f [u8]> {
    let length = i32::from_be_bytes(*fields.first_chunk()?);
    let (field, rest) = fields.split_at_checked(4 + usize::try_from(length).unwrap_or(0))?;
    *fields = rest;
    Some(field)
}

/// The whole number in the field at this place.
fn key(fields: &[u8], at: usize) -> Option<i64> {
    let mut rest = fields;
    for _ in 0..at {
        field(&mut rest)?;
    }
    match field(&mut rest)?.get(4..)? {
        long @ [_, _, _, _, _, _, _, _] => Some(i64::from_be_bytes(long.try_into().ok()?)),
        int @ [_, _, _, _] => Some(i32::from_be_bytes(int.try_into().ok()?).into()),
        short @ [_, _] => Some(i16::from_be_bytes(short.try_into().ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// A value, and the key behind it.
    fn fields(key: i64, value: u8) -> Vec<u8> {
        let mut fields = vec![0, 0, 0, 1, value, 0, 0, 0, 8];
        fields.extend(key.to_be_bytes());
        fields
    }

    /// The rows of a table as binary COPY, `size` rows a batch.
    fn known(rows: &[(i64, u8)], descending: bool, size: usize) -> TableStream {
        let mut messages: Vec<Bytes> = Vec::new();
        for (key, value) in rows {
            let mut row = vec![0, 2];
            row.extend(fields(*key, *value));
            messages.push(row.into());
        }
        messages.push(vec![0xff, 0xff].into());
        let first = [&[0; COPY_HEADER], &messages[0][..]].concat();
        messages[0] = first.into();
        let (sender, batches) = mpsc::channel(messages.len());
        for batch in messages.chunks(size) {
            sender.try_send(batch.to_vec()).unwrap();
        }
        TableStream::of(1, vec![false, false], descending, batches)
    }

    proptest! {
        #[test]
        fn every_row_is_judged_as_looking_it_up_would(
            table in prop::collection::btree_map(-30..30_i64, 0..3_u8, 0..30),
            records in prop::collection::btree_map(-30..30_i64, 0..3_u8, 0..30),
            descending: bool,
            size in 1..9_usize,
        ) {
            let ordered = |rows: &BTreeMap<i64, u8>| {
                let mut rows: Vec<(i64, u8)> = rows.iter().map(|(key, value)| (*key, *value)).collect();
                if descending {
                    rows.reverse();
                }
                rows
            };
            let mut known = known(&ordered(&table), descending, size);
            for (key, value) in ordered(&records) {
                let verdict = known.judge(key, Some(&fields(key, value)));
                let wanted = if table.get(&key) == Some(&value) { RowMatch::Same } else { RowMatch::Different };
                prop_assert_eq!(verdict, Ok(wanted));
                // Once more: the same again, or nothing can be said.
                let again = known.judge(key, Some(&fields(key, value)));
                let wanted = if wanted == RowMatch::Same { Ok(RowMatch::Duplicate) } else { Err(DecodeStop::Incomparable) };
                prop_assert_eq!(again, wanted);
            }
            let seen = Box::new(known).finish().unwrap();
            let absent: BTreeSet<i64> = seen.absent.into_iter().collect();
            let wanted: BTreeSet<i64> = table.keys().filter(|key| !records.contains_key(key)).copied().collect();
            prop_assert_eq!(absent, wanted);
            prop_assert_eq!(seen.rows, table.len() as u64);
        }
    }

    #[test]
    fn a_table_that_breaks_off_is_not_taken_for_a_small_one() {
        let (sender, batches) = mpsc::channel(1);
        let mut row = vec![0; COPY_HEADER];
        row.extend([0, 2]);
        row.extend(fields(1, 1));
        sender.try_send(vec![row.into()]).unwrap();
        drop(sender);
        let mut known = TableStream::of(1, vec![false, false], false, batches);
        assert_eq!(known.judge(1, Some(&fields(1, 1))), Ok(RowMatch::Same));
        assert_eq!(Box::new(known).finish().unwrap_err(), DecodeStop::Abandoned);
    }
}
