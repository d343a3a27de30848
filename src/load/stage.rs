//! Decoded rows → temporary tables: the reading thread runs ahead of the COPY through a bounded channel.

use std::pin::pin;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::sync::mpsc;
use tokio_postgres::Transaction;

use crate::staging::StagedResource;
use crate::template::Values;

use super::decode::{Chunk, Decoded, Decoder, Unfit};
use super::error::LoadError;
use super::mapping::Mapping;
use super::sql::Statements;

/// Chunks that the reader may be ahead.
const AHEAD: usize = 4;
/// Unfit records that are written to the quarantine at once.
const QUARANTINE_BATCH: usize = 1000;

const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COPY_TRAILER: &[u8] = &(-1_i16).to_be_bytes();

/// Unfit records of one batch: the table's place in the list, and the record.
pub(super) type UnfitRows = Vec<(usize, Unfit)>;

/// Fills the staged tables of `mappings` (all fed by records) and gives what was seen.
/// Unfit records go to `quarantine` in batches.
pub(super) async fn fill(
    transaction: &Transaction<'_>,
    staged: StagedResource,
    mappings: &[&Mapping],
    schema: &str,
    scope: &Values,
    mut quarantine: impl AsyncFnMut(UnfitRows) -> Result<(), LoadError>,
) -> Result<Decoded, LoadError> {
    let (sender, mut chunks) = mpsc::channel(AHEAD);
    let decoder = Decoder::new(mappings, scope, sender);
    let reader = tokio::task::spawn_blocking(move || decoder.run(&staged));
    let copies: Vec<String> = mappings
        .iter()
        .map(|mapping| Statements::new(mapping, schema).copy_staged())
        .collect();
    let mut unfit: UnfitRows = Vec::new();
    let mut next = chunks.recv().await;
    while let Some(chunk) = next.take() {
        match chunk {
            Chunk::Unfit { table, unfit: row } => {
                unfit.push((table, row));
                if unfit.len() >= QUARANTINE_BATCH {
                    quarantine(std::mem::take(&mut unfit)).await?;
                }
                next = chunks.recv().await;
            }
            Chunk::Rows { table, data } => {
                let doing = || format!("take the rows of {}", mappings[table].table.name);
                let sink = transaction
                    .copy_in::<_, Bytes>(&copies[table])
                    .await
                    .map_err(LoadError::at(doing()))?;
                let mut sink = pin!(sink);
                sink.feed(Bytes::from_static(COPY_HEADER))
                    .await
                    .map_err(LoadError::at(doing()))?;
                let mut data = Some(data);
                while let Some(rows) = data.take() {
                    sink.send(rows).await.map_err(LoadError::at(doing()))?;
                    next = chunks.recv().await;
                    while unfit.len() < QUARANTINE_BATCH {
                        match next.take() {
                            Some(Chunk::Unfit { table, unfit: row }) => {
                                unfit.push((table, row));
                                next = chunks.recv().await;
                            }
                            other => {
                                next = other;
                                break;
                            }
                        }
                    }
                    match next.take() {
                        Some(Chunk::Rows {
                            table: same,
                            data: rows,
                        }) if same == table => data = Some(rows),
                        other => next = other,
                    }
                }
                sink.send(Bytes::from_static(COPY_TRAILER))
                    .await
                    .map_err(LoadError::at(doing()))?;
                sink.finish().await.map_err(LoadError::at(doing()))?;
                if unfit.len() >= QUARANTINE_BATCH {
                    quarantine(std::mem::take(&mut unfit)).await?;
                }
            }
        }
    }
    if !unfit.is_empty() {
        quarantine(unfit).await?;
    }
    Ok(reader.await.map_err(|_| LoadError::Thread)??)
}
