//! Reads what loads have changed: in order, from a position on, and never past a gap without a word. Writes a consumer's position and
//! nothing else.

mod change;
mod cloud_event;
mod consumer;
mod line;
mod page;
mod versions;

use std::collections::BTreeMap;

use futures_util::{TryStreamExt, pin_mut};
use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, GenericClient, Row, Transaction};

use crate::convert::{counted, signed, unsigned};
use crate::database::{DatabaseError, snapshot};
use crate::key_arg::Key;
pub(crate) use change::Change;
pub(crate) use cloud_event::cloud_event;
pub(crate) use consumer::{read_position, store_position};
pub(crate) use line::line;
pub(crate) use page::{ChangePage, Wanted, WantedKey, page};
pub(crate) use versions::{Version, VersionPage, versions};

/// Changes that are read in one transaction: a reader that is slow to take them holds nothing back for long.
const BATCH: i64 = 5_000;

/// What is read of a change, for [`change()`].
const CHANGE: &str = "seq, (extract(epoch FROM seen_at) * 1000)::bigint, run_id, resource, table_name, op, key::text, changed, \
    before::text, after::text, file, record_index";

/// How far the changes of a mirror go.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Extent {
    /// The newest; 0: none.
    pub(crate) last: u64,
    /// The newest that is not kept any more; 0: none.
    pub(crate) dropped: u64,
    /// Changes before it may have been dropped.
    pub(crate) dropped_until: Option<Timestamp>,
    /// The followed columns of each table, the key first.
    pub(crate) tables: BTreeMap<String, Vec<String>>,
}

/// From where on to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// After the change of this number.
    After(u64),
    /// What was seen at this time or later.
    At(Timestamp),
}

/// Which changes to read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// All tables if there is none.
    pub(crate) tables: Vec<String>,
    pub(crate) key: Option<Key>,
}

/// Changes that a reader needs and that are not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangesError {
    #[error(
        "{} after number {after} are not kept any more (`keep` of [changes]): read the tables again, then continue with --since {dropped}",
        counted(dropped - after, "change")
    )]
    Gap { after: u64, dropped: u64 },
    #[error(
        "changes up to {until} are not kept any more (`keep` of [changes]): read the tables again, then continue with --since {dropped}"
    )]
    GapBefore { until: Timestamp, dropped: u64 },
    #[error(
        "there is no change number {after}, the newest is {last}: the schema was made again, or this is another one; read the tables again, \
         then continue with --since {last}"
    )]
    Ahead { after: u64, last: u64 },
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<tokio_postgres::Error> for ChangesError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

impl ChangesError {
    /// Whether it is about the database, and another try may help.
    pub(crate) fn is_of_database(&self) -> bool {
        matches!(self, Self::Database(_))
    }
}

/// Whether the load ledger has a place for changes.
pub(crate) async fn is_made(client: &Client) -> Result<bool, tokio_postgres::Error> {
    let ask = "SELECT to_regclass('pipeline.change_feed') IS NOT NULL";
    Ok(client.query_typed_one(ask, &[]).await?.get(0))
}

/// Whether any change of a schema was ever written down.
pub(crate) async fn has_some(client: &Client, schema: &str) -> Result<bool, tokio_postgres::Error> {
    if !is_made(client).await? {
        return Ok(false);
    }
    let extent = extent_in(client, schema).await?;
    Ok(extent.is_some_and(|extent| extent.last > 0))
}

/// How far the changes of a schema go; none if no table of it was ever followed.
pub(crate) async fn extent(
    client: &mut Client,
    schema: &str,
) -> Result<Option<Extent>, tokio_postgres::Error> {
    let transaction = begin(client).await?;
    extent_in(&transaction, schema).await
}

/// What was dropped is dropped under an exclusive lock: what this transaction finds to be kept stays until its end.
///
/// Changes are read in the order of their index. Without statistics, as after a large load, the server would sort all that are left for
/// each batch.
async fn begin(client: &mut Client) -> Result<Transaction<'_>, tokio_postgres::Error> {
    let transaction = snapshot(client).await?;
    transaction
        .batch_execute(
            "LOCK TABLE pipeline.change IN ACCESS SHARE MODE; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off",
        )
        .await?;
    Ok(transaction)
}

async fn extent_in(
    client: &impl GenericClient,
    schema: &str,
) -> Result<Option<Extent>, tokio_postgres::Error> {
    let row = client
        .query_typed_opt(
            "SELECT last_seq, dropped_seq, (extract(epoch FROM dropped_until) * 1000)::bigint, tables \
             FROM pipeline.change_feed WHERE schema_name = $1",
            &[(&schema, Type::TEXT)],
        )
        .await?;
    let columns = |tables: Value| serde_json::from_value(tables).unwrap_or_default();
    Ok(row.map(|row| Extent {
        last: unsigned(row.get(0)),
        dropped: unsigned(row.get(1)),
        dropped_until: row.get::<_, Option<i64>>(2).map(time),
        tables: columns(row.get(3)),
    }))
}

/// Of milliseconds.
fn time(at: i64) -> Timestamp {
    Timestamp::from_millisecond(at).unwrap_or_default()
}

impl Extent {
    /// Whether all after this number are kept.
    pub(crate) fn check(&self, after: u64) -> Result<(), ChangesError> {
        if after < self.dropped {
            return Err(ChangesError::Gap {
                after,
                dropped: self.dropped,
            });
        }
        if after > self.last {
            return Err(ChangesError::Ahead {
                after,
                last: self.last,
            });
        }
        Ok(())
    }
}

/// The number after which to read; all that is kept without a `since`.
pub(crate) async fn position(
    client: &mut Client,
    schema: &str,
    since: Option<Since>,
) -> Result<u64, ChangesError> {
    let transaction = begin(client).await?;
    let extent = extent_in(&transaction, schema).await?.unwrap_or_default();
    let at = match since {
        None => return Ok(extent.dropped),
        Some(Since::After(after)) => {
            extent.check(after)?;
            return Ok(after);
        }
        Some(Since::At(at)) => at,
    };
    if let Some(until) = extent.dropped_until.filter(|until| *until > at) {
        return Err(ChangesError::GapBefore {
            until,
            dropped: extent.dropped,
        });
    }
    let row = transaction
        .query_typed_one(
            "SELECT min(seq) FROM pipeline.change WHERE schema_name = $1 AND seen_at >= to_timestamp($2)",
            &[
                (&schema, Type::TEXT),
                (&at.as_duration().as_secs_f64(), Type::FLOAT8),
            ],
        )
        .await?;
    let first: Option<i64> = row.get(0);
    Ok(first.map_or(extent.last, |first| unsigned(first) - 1))
}

/// Gives the changes after a number to `take`, up to a batch of them; returns the number up to which there are no others, and whether
/// it is the newest.
pub(crate) async fn read(
    client: &mut Client,
    schema: &str,
    after: u64,
    filter: &Filter,
    mut take: impl FnMut(Change),
) -> Result<(u64, bool), ChangesError> {
    let transaction = begin(client).await?;
    let extent = extent_in(&transaction, schema).await?.unwrap_or_default();
    extent.check(after)?;
    if after == extent.last {
        return Ok((after, true));
    }
    let tables = (!filter.tables.is_empty()).then_some(&filter.tables);
    let rows = transaction
        .query_typed_raw(
            &format!(
                "SELECT {CHANGE} FROM pipeline.change WHERE schema_name = $1 AND seq > $2 \
                 AND ($3::text[] IS NULL OR table_name = ANY ($3)) ORDER BY schema_name, seq LIMIT $4"
            ),
            [
                (&schema as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT),
                (&signed(after), Type::INT8),
                (&tables, Type::TEXT_ARRAY),
                (&BATCH, Type::INT8),
            ],
        )
        .await?;
    pin_mut!(rows);
    let (mut count, mut last) = (0, after);
    while let Some(row) = rows.try_next().await? {
        let change = change(&row)?;
        (count, last) = (count + 1, change.seq);
        if filter.wants(&change, &extent) {
            take(change);
        }
    }
    // Of fewer than were asked for there are no more.
    let is_end = count < BATCH;
    Ok((if is_end { extent.last } else { last }, is_end))
}

fn change(row: &Row) -> Result<Change, tokio_postgres::Error> {
    // The server has made it of jsonb.
    let json = |at: usize| -> Result<Option<Box<RawValue>>, tokio_postgres::Error> {
        let text: Option<String> = row.try_get(at)?;
        Ok(text.and_then(|text| RawValue::from_string(text).ok()))
    };
    Ok(Change {
        seq: unsigned(row.try_get(0)?),
        seen_at: time(row.try_get(1)?),
        run: row.try_get(2)?,
        resource: row.try_get(3)?,
        table: row.try_get(4)?,
        op: row.try_get(5)?,
        key: json(6)?,
        changed: row.try_get(7)?,
        before: json(8)?,
        after: json(9)?,
        file: row.try_get(10)?,
        record: row.try_get(11)?,
    })
}

impl Filter {
    fn wants(&self, change: &Change, extent: &Extent) -> bool {
        let Some(wanted) = &self.key else {
            return true;
        };
        let Some(key) = &change.key else {
            return false;
        };
        let key: BTreeMap<String, Value> = serde_json::from_str(key.get()).unwrap_or_default();
        // In the order of the key, which an object does not keep.
        let known = extent.tables.get(&change.table);
        let mut columns: Vec<&String> = known.into_iter().flatten().take(key.len()).collect();
        if !columns.iter().all(|column| key.contains_key(*column)) || columns.is_empty() {
            columns = key.keys().collect();
        }
        let Some(values) = wanted.of(&columns) else {
            return false;
        };
        let mut pairs = columns.iter().zip(values);
        pairs.all(|(column, value)| match &key[*column] {
            Value::String(text) => text == value,
            other => *other.to_string() == *value,
        })
    }
}
