//! Staged pages → rows of binary COPY, a chunk at a time, on a thread of its own.
//!
//! Every record of a page is walked once, and a row is whole before it leaves; a record that does not fit
//! becomes a row that carries its key only, so that it is known to be there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::staging::{StagedResource, StagingError};
use crate::template::Values;

use super::absent::{Absent, Missing};
use super::drift::Shape;
use super::known::{Compared, Known};
use super::mapping::Mapping;
use super::pages::{Page, Pages};
use super::places::Places;
use super::row::{Ended, Place, TableDecoder};
use crate::walk::Walker;

/// A row's place: the record's number, then the element's within the record.
pub(super) const ELEMENT_BITS: u32 = 20;

/// What a staged row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub(super) enum RowState {
    /// To be merged. The lowest, since it is asked for by `<`.
    InScope = 0,
    /// Fails `where`: an existing row goes.
    OutOfScope = 1,
    /// Does not fit: an existing row stays as it is.
    Quarantined = 2,
}

/// From the decoder to the COPY: rows of one table, and records that do not fit it.
pub(super) struct Chunk {
    /// The table's place in the resource's list.
    pub(super) table: usize,
    pub(super) rows: Bytes,
    pub(super) unfit: Vec<Unfit>,
}

/// A record that does not fit, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Unfit {
    pub(super) file: String,
    pub(super) record: u64,
    pub(super) element: Option<u64>,
    /// The key, where it could be read, as JSON.
    pub(super) key: Option<String>,
    /// What it has in the column that names its owner, if it has one, as JSON.
    pub(super) parent: Option<String>,
    pub(super) column: Option<String>,
    pub(super) pointer: Option<String>,
    pub(super) code: &'static str,
    pub(super) reason: String,
}

/// What was seen while decoding.
#[derive(Debug)]
pub(super) struct Decoded {
    /// Where the records are.
    pub(super) places: Places,
    /// For each table.
    pub(super) tables: Vec<TableSeen>,
    /// What a sample of the records looked like.
    pub(super) shape: Shape,
    /// Mapped keys that no record has.
    pub(super) missing: BTreeSet<Missing>,
}

/// What was seen of one table.
#[derive(Clone, Debug, Default)]
pub(super) struct TableSeen {
    /// Some key may be there more than once.
    pub(super) may_repeat: bool,
    /// Rows, and lists of rows, without a readable key.
    pub(super) keyless: u64,
    /// What these leave of the proof that a row is gone.
    pub(super) missing_keys: MissingKeys,
    /// Staged rows, by state.
    pub(super) in_scope: u64,
    pub(super) out_of_scope: u64,
    pub(super) quarantined: u64,
    /// Rows that were compared on the way and are in the table as they are; they are not staged.
    pub(super) unchanged: u64,
    /// If they were compared: what was seen of the table's rows.
    pub(super) compared: Option<Compared>,
}

/// Which rows may be among those without a readable key, although they seem to be absent. Later in the list are more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MissingKeys {
    /// None: every row has its key.
    #[default]
    None,
    /// Rows of owners that the quarantine names.
    OfKnownOwners,
    /// Rows of owners that no record names.
    OfUnknownOwner,
    /// Any row.
    Any,
}

/// Some records of some files, by index; the files relative to their run.
pub(super) type Chosen = BTreeMap<String, BTreeSet<u64>>;

/// Why decoding ended early.
#[derive(Debug)]
pub(super) enum Stopped {
    /// A page cannot be read.
    Staging(StagingError),
    /// The rows cannot be compared on the way: they are to be staged.
    Incomparable,
    /// Nobody takes the chunks any more.
    Abandoned,
    /// There is no thread to be had.
    Thread,
}

impl From<StagingError> for Stopped {
    fn from(error: StagingError) -> Self {
        Self::Staging(error)
    }
}

/// Why a page gave no more rows.
enum Problem {
    Json(serde_json::Error),
    Ended(Ended),
}

/// Decodes all pages of a resource for its tables (those fed by records).
pub(super) struct Decoder {
    scope: Values,
    walker: Walker,
    tables: Vec<TableDecoder>,
    chunks: mpsc::Sender<Chunk>,
    /// Keys of the records themselves.
    absent: Absent,
    shape: Shape,
}

impl Decoder {
    /// Compiles the mappings; the chunks' table numbers are places in `mappings`. With `known`, which is of the only
    /// table, rows that are there already are left out.
    pub(super) fn new(
        mappings: &[&Mapping],
        scope: &Values,
        chunks: mpsc::Sender<Chunk>,
        mut known: Option<Known>,
    ) -> Self {
        let mut walker = Walker::default();
        let mut absent = Absent::default();
        let tables = mappings
            .iter()
            .map(|mapping| TableDecoder::new(mapping, &mut walker, &mut absent, known.take()))
            .collect();
        Self {
            scope: scope.clone(),
            walker,
            tables,
            chunks,
            absent,
            shape: Shape::default(),
        }
    }

    /// Reads every page. Blocks; ends early without an error when nobody takes the chunks any more. With `chosen`, only
    /// those records.
    pub(super) fn run(
        mut self,
        staged: &Arc<StagedResource>,
        chosen: Option<&Chosen>,
    ) -> Result<Decoded, Stopped> {
        let mut places = Places::new(Arc::clone(staged));
        let mut record = 0;
        let mut slice = None;
        self.fill_constants(None);
        let read = std::thread::scope(|scope| {
            let reading = Pages::read(scope, staged, chosen).map_err(|_| Stopped::Thread)?;
            reading.each(|page| {
                let Page {
                    at,
                    entry,
                    file,
                    body,
                } = page?;
                places.note(at, record);
                if entry.slice != slice {
                    slice.clone_from(&entry.slice);
                    self.fill_constants(slice.as_deref());
                }
                let text = std::str::from_utf8(&body)
                    .map_err(|_| staged.unreadable(&entry, "it is not UTF-8 text"))?;
                let wanted = chosen.and_then(|chosen| chosen.get(&file));
                record +=
                    self.page(text, &file, record, wanted)
                        .map_err(|problem| match problem {
                            Problem::Ended(Ended::Incomparable) => Stopped::Incomparable,
                            Problem::Ended(Ended::Abandoned) => Stopped::Abandoned,
                            Problem::Json(error) => {
                                let problem = format!(
                                    "it is not a JSON array of records (line {}, column {})",
                                    error.line(),
                                    error.column()
                                );
                                Stopped::Staging(staged.unreadable(&entry, &problem))
                            }
                        })?;
                Ok(body)
            })
        });
        let mut missing = BTreeSet::new();
        match read {
            Ok(()) if chosen.is_none() => {
                let tables = self.tables.iter().flat_map(TableDecoder::gone_keys);
                missing.extend(self.absent.gone().chain(tables).cloned());
            }
            // What was not read to its end says nothing of what is absent.
            Ok(()) | Err(Stopped::Abandoned) => {}
            Err(stopped) => return Err(stopped),
        }
        let mut seen = Vec::new();
        for (number, table) in self.tables.into_iter().enumerate() {
            match table.finish(number, &self.chunks) {
                Ok(table) => seen.push(table),
                Err(Ended::Incomparable) => return Err(Stopped::Incomparable),
                Err(Ended::Abandoned) => break,
            }
        }
        let mut shape = self.shape;
        shape.all = record;
        for (path, file) in self.absent.into_seen() {
            shape.show(path, file);
        }
        Ok(Decoded {
            places,
            tables: seen,
            shape,
            missing,
        })
    }

    /// Makes rows of one page, whose first record has this number; gives the count of its records.
    fn page(
        &mut self,
        text: &str,
        file: &str,
        first: u64,
        wanted: Option<&BTreeSet<u64>>,
    ) -> Result<u64, Problem> {
        if wanted.is_none() {
            self.shape.sample(text, file);
        }
        let (walker, tables, chunks) = (&self.walker, &mut self.tables, &self.chunks);
        let absent = &mut self.absent;
        let mut count = 0;
        let mut ended = None;
        walker
            .page(text, |index, slots| {
                count = index + 1;
                if ended.is_some() || wanted.is_some_and(|wanted| !wanted.contains(&index)) {
                    return;
                }
                absent.see(slots, file);
                for (number, table) in tables.iter_mut().enumerate() {
                    let place = Place {
                        file,
                        record: index,
                        element: None,
                        position: position(first + index, 0),
                    };
                    ended = ended.or(table.record(number, slots, &place, chunks).err());
                }
            })
            .map_err(Problem::Json)?;
        ended.map_or(Ok(count), |ended| Err(Problem::Ended(ended)))
    }

    fn fill_constants(&mut self, slice: Option<&str>) {
        let mut values = self.scope.clone();
        values.extend(slice_values(slice));
        for table in &mut self.tables {
            table.fill_constants(&values);
        }
    }
}

pub(super) fn position(record: u64, element: u64) -> i64 {
    let element = element.min((1 << ELEMENT_BITS) - 1);
    i64::try_from((record << ELEMENT_BITS) | element).unwrap_or(i64::MAX)
}

/// The placeholder of a slice such as `coalition_id=12`; batches have no single value.
pub(super) fn slice_values(slice: Option<&str>) -> Values {
    slice
        .and_then(|slice| slice.split_once('='))
        .filter(|(_, id)| !id.contains(".."))
        .map(|(name, id)| Values::from([(name.to_owned(), vec![id.to_owned()])]))
        .unwrap_or_default()
}
