//! Decoded rows → temporary tables: the reading thread runs ahead of the COPY through a bounded channel.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::Transaction;

use crate::failpoint::Point;
use crate::load::decode::decoder::{DecodedResource, Decoder};
use crate::load::decode::missing_keys::MissingKey;
use crate::load::decode::types::{AHEAD, Chunk, DecodeError, RecordSelection, RejectedRecord};
use crate::load::error::LoadError;
use crate::load::mapping::Mapping;
use crate::load::merge::compare::{self, Compared, TableHints};
use crate::load::sql::statements::Statements;
use crate::name::Name;
use crate::staging::{Run, StagedResource, StagingError};
use crate::template::Values;

/// Rejected records that are written to the quarantine at once.
const QUARANTINE_BATCH: usize = 1000;
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COPY_TRAILER: &[u8] = &(-1_i16).to_be_bytes();

/// A resource that is being read, ahead of its turn.
pub(crate) struct Reading {
    pub(crate) staged: Arc<StagedResource>,
    /// None if its rows are to be compared first.
    decoding: Option<Decoding>,
}

/// Pages that a thread of their own makes rows of.
struct Decoding {
    chunks: mpsc::Receiver<Chunk>,
    reader: JoinHandle<Result<DecodedResource, DecodeError>>,
}

impl Decoding {
    fn start(
        staged: &Arc<StagedResource>,
        chosen: Option<RecordSelection>,
        mappings: &[&Mapping],
        scope: &Values,
    ) -> Self {
        let (sender, chunks) = mpsc::channel(AHEAD);
        let decoder = Decoder::new(mappings, scope, sender, None);
        let staged = Arc::clone(staged);
        let reader = tokio::task::spawn_blocking(move || decoder.run(&staged, chosen.as_ref()));
        Self { chunks, reader }
    }
}

/// Begins to read a resource: opens it, and decodes as far ahead as the channel holds, unless its rows are to be
/// compared with those of its table. What is dropped stops.
pub(crate) fn read_ahead(
    run: &Run,
    resource: &Name,
    mappings: &[Mapping],
    scope: &Values,
    hints: TableHints,
) -> JoinHandle<Result<Reading, LoadError>> {
    let (run, resource, scope) = (run.clone(), resource.clone(), scope.clone());
    let mappings = mappings.to_vec();
    tokio::spawn(async move {
        let opening = tokio::task::spawn_blocking(move || match run.staged(&resource)? {
            Some(staged) => Ok(staged),
            None => Err(StagingError::NoRun(format!(
                "{} has no final pages of {resource}; extract it again",
                run.id()
            ))),
        });
        let staged = Arc::new(opening.await.map_err(|_| LoadError::Thread)??);
        let is_compared = compare::is_possible(staged.manifest(), &mappings, hints);
        let decoding =
            (!is_compared).then(|| Decoding::start(&staged, None, &fed(&mappings), &scope));
        Ok(Reading { staged, decoding })
    })
}

/// The mappings that are fed by records.
pub(crate) fn fed(mappings: &[Mapping]) -> Vec<&Mapping> {
    let is_fed = |mapping: &&Mapping| mapping.table.select.is_none();
    mappings.iter().filter(is_fed).collect()
}

/// Makes and fills the staged tables of `mappings` (all fed by records) and gives what was seen: a table whose rows were
/// compared may have none, if there is nothing to stage. Rejected records go to `quarantine` in
/// batches, with the table's place in the list.
pub(crate) async fn fill(
    transaction: &Transaction<'_>,
    reading: Reading,
    mappings: &[&Mapping],
    schema: &str,
    scope: &Values,
    quarantine: impl AsyncFnMut(usize, Vec<RejectedRecord>) -> Result<(), LoadError>,
) -> Result<DecodedResource, LoadError> {
    let Reading {
        mut staged,
        decoding,
    } = reading;
    if let (None, [mapping]) = (&decoding, mappings) {
        match compare::compare(transaction, staged, mapping, schema, scope).await? {
            Compared::Done(decoded, chunks) => {
                let decoded = refuse_renamed_keys(transaction, decoded, mappings, schema).await?;
                if let Some(chunks) = chunks {
                    create_staged(transaction, mapping, schema).await?;
                    copy(transaction, chunks, mappings, schema, quarantine).await?;
                }
                return Ok(decoded);
            }
            Compared::Impossible(all) => staged = all,
        }
    }
    for mapping in mappings {
        create_staged(transaction, mapping, schema).await?;
    }
    let decoding = decoding.unwrap_or_else(|| Decoding::start(&staged, None, mappings, scope));
    let decoded = finish(transaction, decoding, mappings, schema, quarantine).await?;
    refuse_renamed_keys(transaction, decoded, mappings, schema).await
}

/// Fills staged tables that are made, without a comparison; with the chosen records only, if there are some. Not all rows are to be
/// merged, so what all of them lack is not judged.
pub(crate) async fn fill_again(
    transaction: &Transaction<'_>,
    staged: StagedResource,
    chosen: Option<RecordSelection>,
    mappings: &[&Mapping],
    schema: &str,
    scope: &Values,
    quarantine: impl AsyncFnMut(usize, Vec<RejectedRecord>) -> Result<(), LoadError>,
) -> Result<DecodedResource, LoadError> {
    let decoding = Decoding::start(&Arc::new(staged), chosen, mappings, scope);
    finish(transaction, decoding, mappings, schema, quarantine).await
}

async fn finish(
    transaction: &Transaction<'_>,
    decoding: Decoding,
    mappings: &[&Mapping],
    schema: &str,
    quarantine: impl AsyncFnMut(usize, Vec<RejectedRecord>) -> Result<(), LoadError>,
) -> Result<DecodedResource, LoadError> {
    let Decoding { chunks, reader } = decoding;
    copy(transaction, chunks, mappings, schema, quarantine).await?;
    match reader.await.map_err(|_| LoadError::Thread)? {
        Ok(decoded) => Ok(decoded),
        Err(DecodeError::Staging(error)) => Err(error.into()),
        // Nothing was compared, and every chunk was taken.
        Err(DecodeError::Incomparable | DecodeError::Abandoned | DecodeError::Thread) => {
            Err(LoadError::Thread)
        }
    }
}

/// Makes the table that rows are staged in.
pub(crate) async fn create_staged(
    transaction: &Transaction<'_>,
    mapping: &Mapping,
    schema: &str,
) -> Result<(), LoadError> {
    transaction
        .batch_execute(&Statements::new(mapping, schema).create_staged())
        .await
        .map_err(LoadError::at(format!(
            "make a temporary table like {}",
            mapping.table.name
        )))
}

/// Copies chunks into the staged tables until there are no more.
async fn copy(
    transaction: &Transaction<'_>,
    mut chunks: mpsc::Receiver<Chunk>,
    mappings: &[&Mapping],
    schema: &str,
    mut quarantine: impl AsyncFnMut(usize, Vec<RejectedRecord>) -> Result<(), LoadError>,
) -> Result<(), LoadError> {
    let mut next = chunks.recv().await;
    while let Some(first) = next.take() {
        let table = first.table;
        let doing = || format!("take the rows of {}", mappings[table].table.name);
        let statement = Statements::new(mappings[table], schema).copy_staged();
        let sink = transaction
            .copy_in::<_, Bytes>(&statement)
            .await
            .map_err(LoadError::at_copy(doing()))?;
        let mut sink = pin!(sink);
        sink.feed(Bytes::from_static(COPY_HEADER))
            .await
            .map_err(LoadError::at(doing()))?;
        let mut rejected = Vec::new();
        let mut chunk = Some(first);
        while let Some(Chunk {
            rows,
            rejected: more,
            ..
        }) = chunk.take()
        {
            Point::LoadCopy.reach();
            if !rows.is_empty() {
                sink.send(rows).await.map_err(LoadError::at(doing()))?;
            }
            rejected.extend(more);
            next = chunks.recv().await;
            chunk = next.take_if(|next| next.table == table && rejected.len() < QUARANTINE_BATCH);
        }
        sink.send(Bytes::from_static(COPY_TRAILER))
            .await
            .map_err(LoadError::at(doing()))?;
        sink.finish().await.map_err(LoadError::at(doing()))?;
        Point::LoadCopied.reach();
        if !rejected.is_empty() {
            quarantine(table, rejected).await?;
        }
    }
    Ok(())
}

/// Refuses records without a mapped key where that would overwrite data with nothing: the table holds some in the column,
/// or, if there is no row without the key, it holds rows. Where there is none the key may have come later than the
/// record: it is only reported.
async fn refuse_renamed_keys(
    transaction: &Transaction<'_>,
    mut decoded: DecodedResource,
    mappings: &[&Mapping],
    schema: &str,
) -> Result<DecodedResource, LoadError> {
    let mut lost = BTreeSet::new();
    for MissingKey {
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
