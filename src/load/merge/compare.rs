//! The comparison on the way: of a full read, rows that the table has as they are need not be sent to be found unchanged.
//!
//! Pages and table are read in the order of the key and compared byte by byte while the pages are decoded. A row that only seems to
//! differ is staged, and the merge decides: what this module leaves out changes no row, no count and no entry of quarantine, which
//! `load::tests` holds it to against the merge of all rows.

mod document;
mod table_stream;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_postgres::Transaction;

use crate::failpoint::Point;
use crate::load::cell::CellType;
use crate::load::decode::decoder::{DecodedResource, Decoder};
use crate::load::decode::types::{AHEAD, Chunk, DecodeError, RejectedRecord};
use crate::load::error::LoadError;
use crate::load::mapping::Mapping;
use crate::load::merge::compare::table_stream::TableStream;
use crate::load::sql::statements::Statements;
use crate::staging::{Manifest, Mode, PageEntry, StagedResource};
use crate::template::Values;

/// Rows of the table that are handed over at once, and how many such batches may be queued.
const ROWS: usize = 512;
const BATCHES: usize = 2;
/// Bytes of rows that differ, and rejected records, that are kept in memory until the comparison has ended.
const MAX_DIFFERING: usize = 8 << 20;

/// What is known of the tables of a resource.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableHints {
    pub(crate) is_empty: bool,
    /// Some table has records in quarantine or held deletes, which the keys of this read may settle.
    pub(crate) is_awaited: bool,
    /// Another resource of the run feeds some table too, and its rows are compared with those of this read.
    pub(crate) is_shared: bool,
}

pub(super) enum Compared {
    /// What was decoded, and the rows to stage, if there are any.
    Done(DecodedResource, Option<mpsc::Receiver<Chunk>>),
    /// Nothing: all rows are to be staged.
    Impossible(Arc<StagedResource>),
}

/// Whether the rows of a read can be compared with those of its table.
pub(super) fn is_possible(manifest: &Manifest, mappings: &[Mapping], hints: TableHints) -> bool {
    manifest.mode == Mode::Full
        && !hints.is_empty
        && !hints.is_shared
        && (manifest.is_complete_full() || !hints.is_awaited)
        && is_comparable(mappings)
}

/// Whether the table is fed by this read alone, without rows nested in others, and has a single integer key.
fn is_comparable(mappings: &[Mapping]) -> bool {
    let [mapping] = mappings else {
        return false;
    };
    let table = &mapping.table;
    let is_plain = table.select.is_none()
        && table.rows.is_none()
        && table.owner.is_none()
        && table.within.is_empty();
    let is_whole = |at: &usize| {
        matches!(
            mapping.columns[*at].cell,
            CellType::Int2 | CellType::Int4 | CellType::Int8
        )
    };
    is_plain && mapping.key.len() == 1 && mapping.key.iter().all(is_whole)
}

/// The order of the records, as far as a page shows. Slices have an order of their own each.
fn is_descending(page: &PageEntry) -> Option<bool> {
    if page.slice.is_some() {
        return None;
    }
    let (first, last) = page.first_id.zip(page.last_id)?;
    (first != last).then_some(last < first)
}

/// Compares the rows of a read with those of its table.
pub(super) async fn compare(
    transaction: &Transaction<'_>,
    staged: Arc<StagedResource>,
    mapping: &Mapping,
    schema: &str,
    scope: &Values,
) -> Result<Compared, LoadError> {
    // As they were asked for: those of the same moment are received in any order.
    let staged = Arc::new(Arc::unwrap_or_clone(staged).by_number());
    let compared = compare_in_order(transaction, &staged, mapping, schema, scope).await?;
    let Some((decoded, chunks)) = compared else {
        let staged = Arc::new(Arc::unwrap_or_clone(staged).by_time());
        return Ok(Compared::Impossible(staged));
    };
    if chunks.is_empty() {
        return Ok(Compared::Done(decoded, None));
    }
    let (sender, receiver) = mpsc::channel(chunks.len());
    for chunk in chunks {
        sender.try_send(chunk).map_err(|_| LoadError::Thread)?;
    }
    Ok(Compared::Done(decoded, Some(receiver)))
}

/// What was decoded, and the rows that differ; none if the order breaks or too many differ.
async fn compare_in_order(
    transaction: &Transaction<'_>,
    staged: &Arc<StagedResource>,
    mapping: &Mapping,
    schema: &str,
    scope: &Values,
) -> Result<Option<(DecodedResource, Vec<Chunk>)>, LoadError> {
    let first = staged.pages().next().transpose()?;
    let Some(descending) = first.as_ref().and_then(is_descending) else {
        return Ok(None);
    };
    let doing = || format!("read the rows of {}", mapping.table.name);
    let statement = Statements::new(mapping, schema).copy_out(descending);
    let rows = transaction.copy_out(&statement).await;
    let rows = Box::pin(rows.map_err(LoadError::at(doing()))?);
    let (sender, batches) = mpsc::channel(BATCHES);
    let (chunks_sender, mut chunks) = mpsc::channel(AHEAD);
    let filter = Box::new(TableStream::new(mapping, descending, batches));
    let decoder = Decoder::new(&[mapping], scope, chunks_sender, Some(filter));
    let staged = Arc::clone(staged);
    let reader = tokio::task::spawn_blocking(move || decoder.run(&staged, None));
    // A task of its own runs beside the connection's, without waking another thread for every few rows.
    let hand_over = tokio::spawn(async move {
        let mut rows = rows.chunks(ROWS);
        while let Some(batch) = rows.next().await {
            let batch: Vec<Bytes> = batch.into_iter().collect::<Result<_, _>>()?;
            if sender.send(batch).await.is_err() {
                break;
            }
        }
        Ok(())
    });
    // The session is busy with the rows of the table: what differs is kept in memory.
    let mut differing = Some(Vec::new());
    let mut bytes = 0;
    while let Some(chunk) = chunks.recv().await {
        bytes += chunk.rows.len() + chunk.rejected.len() * size_of::<RejectedRecord>();
        if bytes > MAX_DIFFERING {
            chunks.close();
            differing = None;
        }
        if let Some(differing) = &mut differing {
            differing.push(chunk);
        }
    }
    let handed_over = hand_over.await.map_err(|_| LoadError::Thread)?;
    handed_over.map_err(LoadError::at(doing()))?;
    let decoded = match reader.await.map_err(|_| LoadError::Thread)? {
        Ok(decoded) => decoded,
        Err(DecodeError::Staging(error)) => return Err(error.into()),
        Err(DecodeError::Incomparable) => return Ok(None),
        Err(DecodeError::Abandoned | DecodeError::Thread) => return Err(LoadError::Thread),
    };
    Point::LoadCompare.reach();
    Ok(differing.map(|differing| (decoded, differing)))
}

#[cfg(test)]
mod tests;
