//! What decoding hands from one step to the next. Imports nothing of `decode`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::staging::StagingError;
use crate::template::Values;

/// A row's place: the record's number, then the element's within the record.
pub(crate) const ELEMENT_BITS: u32 = 20;

/// Chunks that the reader may be ahead.
pub(crate) const AHEAD: usize = 4;

/// Records that must lack a key before it counts as missing.
pub(crate) const MIN_RECORDS_WITHOUT_KEY: u64 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub(crate) enum RowState {
    /// To be merged. The lowest, since it is asked for by `<`.
    InScope = 0,
    /// Fails `where`: an existing row is deleted.
    OutOfScope = 1,
    /// Rejected: an existing row stays as it is.
    Quarantined = 2,
}

/// From the decoder to the COPY: rows of one table, and rejected records it.
pub(crate) struct Chunk {
    /// The table's place in the resource's list.
    pub(crate) table: usize,
    pub(crate) rows: Bytes,
    pub(crate) rejected: Vec<RejectedRecord>,
}

#[derive(Clone, Debug)]
pub(crate) struct RejectedRecord {
    pub(crate) file: String,
    pub(crate) record: u64,
    pub(crate) element: Option<u64>,
    /// The key, where it could be read, as JSON.
    pub(crate) key: Option<String>,
    /// What it has in the column that names its owner, if it has one, as JSON.
    pub(crate) parent: Option<String>,
    pub(crate) column: Option<String>,
    pub(crate) pointer: Option<String>,
    pub(crate) code: &'static str,
    pub(crate) reason: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct DecodedTable {
    /// Some key may be there more than once.
    pub(crate) may_repeat: bool,
    /// Rows, and lists of rows, without a readable key.
    pub(crate) keyless: u64,
    /// Which rows these may be: of those the read proves no absence.
    pub(crate) keyless_rows: KeylessRows,
    /// Staged rows, by state.
    pub(crate) in_scope: u64,
    pub(crate) out_of_scope: u64,
    pub(crate) quarantined: u64,
    /// If rows were compared on the way: what is known of the table's rows.
    pub(crate) compared: Option<TableComparison>,
}

impl DecodedTable {
    /// Staged rows.
    pub(crate) fn rows(&self) -> u64 {
        self.in_scope + self.out_of_scope + self.quarantined
    }
}

/// Leaves rows out on their way to the COPY: those that the table has as they are.
pub(crate) trait RowFilter: Send {
    /// Whether a row is staged. The fields are those of a row in scope.
    fn is_staged(&mut self, key: Option<i64>, fields: Option<&[u8]>) -> Result<bool, DecodeStop>;

    /// Ends after the last row.
    fn finish(self: Box<Self>) -> Result<TableComparison, DecodeStop>;
}

/// What is known of a table's rows after a comparison.
#[derive(Clone, Debug, Default)]
pub(crate) struct TableComparison {
    pub(crate) rows: u64,
    /// Rows that the table has as they are; they are not staged.
    pub(crate) unchanged: u64,
    /// Keys that no record has.
    pub(crate) absent: Vec<i64>,
}

/// Whether keys come strictly ascending or descending: then none repeats, and no dedupe is needed.
#[derive(Default)]
pub(super) struct KeyOrder {
    last: Option<i64>,
    descending: Option<bool>,
    pub(super) broken: bool,
}

impl KeyOrder {
    pub(super) fn see(&mut self, key: Option<i64>) {
        let Some(key) = key else {
            self.broken = true;
            return;
        };
        if let Some(last) = self.last {
            let descending = key < last;
            if key == last || self.descending.is_some_and(|known| known != descending) {
                self.broken = true;
            }
            self.descending = Some(descending);
        }
        self.last = Some(key);
    }
}

/// Which rows may be among those without a readable key, although they seem to be absent. Later in the list are more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KeylessRows {
    /// None: every row has its key.
    #[default]
    None,
    /// Rows of owners that the quarantine names.
    OfKnownOwners,
    /// Rows of owners that no record names.
    OfUnknownOwner,
    Any,
}

/// Some records of some files, by index; the files relative to their run.
pub(crate) type RecordSelection = BTreeMap<String, BTreeSet<u64>>;

#[derive(Debug)]
pub(crate) enum DecodeError {
    Staging(StagingError),
    /// The rows cannot be compared on the way: they are to be staged.
    Incomparable,
    Abandoned,
    Thread,
}

impl From<StagingError> for DecodeError {
    fn from(error: StagingError) -> Self {
        Self::Staging(error)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodeStop {
    /// Nobody takes the chunks any more: the load has failed on the other side.
    Abandoned,
    /// The rows do not come in an order in which they can be compared.
    Incomparable,
}

pub(crate) fn position(record: u64, element: u64) -> i64 {
    let element = element.min((1 << ELEMENT_BITS) - 1);
    i64::try_from((record << ELEMENT_BITS) | element).unwrap_or(i64::MAX)
}

/// The placeholder of a slice such as `coalition_id=12`; batches have no single value.
pub(crate) fn slice_values(slice: Option<&str>) -> Values {
    slice
        .and_then(|slice| slice.split_once('='))
        .filter(|(_, id)| !id.contains(".."))
        .map(|(name, id)| Values::from([(name.to_owned(), vec![id.to_owned()])]))
        .unwrap_or_default()
}
