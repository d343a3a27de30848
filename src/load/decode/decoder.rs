//! Staged pages → rows of binary COPY, a chunk at a time, on a thread of its own.
//!
//! Every record of a page is walked once, and a row is complete before it is sent; a rejected record
//! becomes a row that carries its key only, so that it is known to be there.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::load::decode::missing_keys::{MissingKey, MissingKeys};
use crate::load::decode::pages::{Page, Pages};
use crate::load::decode::record_locator::RecordLocator;
use crate::load::decode::row::{RecordPlace, TableDecoder};
use crate::load::decode::shape::Shape;
use crate::load::decode::types::{
    Chunk, DecodeError, DecodeStop, DecodedTable, RecordSelection, RowFilter, position,
    slice_values,
};
use crate::load::mapping::Mapping;
use crate::person::DROPPED;
use crate::pointer::Pointer;
use crate::staging::StagedResource;
use crate::template::Values;
use crate::walk::Walker;

#[derive(Debug)]
pub(crate) struct DecodedResource {
    pub(crate) places: RecordLocator,
    pub(crate) tables: Vec<DecodedTable>,
    pub(crate) shape: Shape,
    /// Mapped keys that no record has.
    pub(crate) missing: BTreeSet<MissingKey>,
}

/// Why a page gave no more rows.
enum Problem {
    Json(serde_json::Error),
    DecodeStop(DecodeStop),
}

/// Decodes all pages of a resource for its tables (those fed by records).
pub(crate) struct Decoder {
    scope: Values,
    walker: Walker,
    tables: Vec<TableDecoder>,
    chunks: mpsc::Sender<Chunk>,
    /// Keys of the records themselves.
    absent: MissingKeys,
    shape: Shape,
    /// Where it says that a record was removed.
    dropped: usize,
}

impl Decoder {
    /// Compiles the mappings; the chunks' table numbers are places in `mappings`. The filter is for the
    /// only table.
    pub(crate) fn new(
        mappings: &[&Mapping],
        scope: &Values,
        chunks: mpsc::Sender<Chunk>,
        mut filter: Option<Box<dyn RowFilter>>,
    ) -> Self {
        let mut walker = Walker::default();
        let mut absent = MissingKeys::default();
        let tables = mappings
            .iter()
            .map(|mapping| TableDecoder::new(mapping, &mut walker, &mut absent, filter.take()))
            .collect();
        let dropped = walker.add(&Pointer::key(DROPPED));
        Self {
            scope: scope.clone(),
            walker,
            tables,
            chunks,
            absent,
            shape: Shape::default(),
            dropped,
        }
    }

    /// Reads every page. Blocks; ends early without an error when nobody takes the chunks any more. With `chosen`, only
    /// those records.
    pub(crate) fn run(
        mut self,
        staged: &Arc<StagedResource>,
        chosen: Option<&RecordSelection>,
    ) -> Result<DecodedResource, DecodeError> {
        let mut places = RecordLocator::new(Arc::clone(staged));
        let mut record = 0;
        let mut slice = None;
        self.fill_constants(None);
        let read = std::thread::scope(|scope| {
            let reading = Pages::read(scope, staged, chosen).map_err(|_| DecodeError::Thread)?;
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
                            Problem::DecodeStop(DecodeStop::Incomparable) => {
                                DecodeError::Incomparable
                            }
                            Problem::DecodeStop(DecodeStop::Abandoned) => DecodeError::Abandoned,
                            Problem::Json(error) => {
                                let problem = format!(
                                    "it is not a JSON array of records (line {}, column {})",
                                    error.line(),
                                    error.column()
                                );
                                DecodeError::Staging(staged.unreadable(&entry, &problem))
                            }
                        })?;
                Ok(body)
            })
        });
        let mut missing = BTreeSet::new();
        match read {
            Ok(()) if chosen.is_none() => {
                let tables = self
                    .tables
                    .iter()
                    .flat_map(TableDecoder::missing_element_keys);
                missing.extend(self.absent.missing().chain(tables).cloned());
            }
            // What was not read to its end says nothing of what is absent.
            Ok(()) | Err(DecodeError::Abandoned) => {}
            Err(stopped) => return Err(stopped),
        }
        let mut seen = Vec::new();
        for (number, table) in self.tables.into_iter().enumerate() {
            match table.finish(number, &self.chunks) {
                Ok(table) => seen.push(table),
                Err(DecodeStop::Incomparable) => return Err(DecodeError::Incomparable),
                Err(DecodeStop::Abandoned) => break,
            }
        }
        let mut shape = self.shape;
        shape.all = record;
        for (path, file) in self.absent.into_seen() {
            shape.show(path, file);
        }
        Ok(DecodedResource {
            places,
            tables: seen,
            shape,
            missing,
        })
    }

    /// Makes rows of one page, whose first record has this number; returns the count of its records.
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
        let (absent, dropped) = (&mut self.absent, self.dropped);
        let mut count = 0;
        let mut ended = None;
        walker
            .page(text, |index, slots| {
                count = index + 1;
                if ended.is_some() || wanted.is_some_and(|wanted| !wanted.contains(&index)) {
                    return;
                }
                // It keeps its place in the page.
                if slots[dropped].is_some() {
                    return;
                }
                absent.see(slots, file);
                for (number, table) in tables.iter_mut().enumerate() {
                    let place = RecordPlace {
                        file,
                        record: index,
                        element: None,
                        position: position(first + index, 0),
                    };
                    ended = ended.or(table.record(number, slots, &place, chunks).err());
                }
            })
            .map_err(Problem::Json)?;
        ended.map_or(Ok(count), |ended| Err(Problem::DecodeStop(ended)))
    }

    fn fill_constants(&mut self, slice: Option<&str>) {
        let mut values = self.scope.clone();
        values.extend(slice_values(slice));
        for table in &mut self.tables {
            table.fill_constants(&values);
        }
    }
}
