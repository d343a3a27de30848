//! How a row was, newest version first, by `pipeline.history`: for people who look. It changes nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::Wanted;
use super::page::keys;
use crate::convert::{signed, unsigned};

/// What a row was, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    /// When it began, in microseconds since 1970: of a row each version has its own.
    pub(crate) number: u64,
    /// Its key: column name to value.
    pub(crate) key: Box<RawValue>,
    /// The key and the followed columns.
    pub(crate) row: Box<RawValue>,
    pub(crate) valid_from: Timestamp,
    /// None: nothing else is known yet.
    pub(crate) valid_to: Option<Timestamp>,
    /// The run that showed it.
    pub(crate) from_run: String,
    /// The run that showed something else, or nothing.
    pub(crate) to_run: Option<String>,
}

/// From when to when the history of a table is known.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) from: Timestamp,
    /// None: it is kept now.
    pub(crate) to: Option<Timestamp>,
}

/// Versions of a row, newest first.
#[derive(Debug, Default)]
pub(crate) struct VersionPage {
    pub(crate) versions: Vec<Version>,
    /// The version before the last of them; none: the last is the oldest.
    pub(crate) earlier: Option<Version>,
    /// Of the table, newest first, at most [`MOST_SPANS`].
    pub(crate) spans: Vec<Span>,
    /// The tables whose rows are kept, with the columns, the key first.
    pub(crate) kept: BTreeMap<String, Vec<String>>,
}

const MOST_SPANS: i64 = 20;

/// The tables of a schema of which it is known how rows were; none where the ledger has no place for that.
pub(super) async fn kept_tables(
    client: &Client,
    schema: &str,
) -> Result<BTreeMap<String, Vec<String>>, tokio_postgres::Error> {
    let ask = "SELECT to_regclass('pipeline.history_span') IS NOT NULL";
    if !client.query_typed_one(ask, &[]).await?.get::<_, bool>(0) {
        return Ok(BTreeMap::new());
    }
    let newest = "SELECT DISTINCT ON (table_name) table_name, columns FROM pipeline.history_span WHERE schema_name = $1 \
        ORDER BY table_name, valid_from DESC";
    let rows = client.query_typed(newest, &[(&schema, Type::TEXT)]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Reads at most `most` versions of the row of a table and a key, and the one before them; none if no row is named.
pub(crate) async fn versions(
    client: &Client,
    schema: &str,
    wanted: &Wanted,
    most: usize,
) -> Result<VersionPage, tokio_postgres::Error> {
    let kept = kept_tables(client, schema).await?;
    let mut page = VersionPage {
        kept,
        ..VersionPage::default()
    };
    let (Some(table), Some(key)) = (&wanted.table, &wanted.key) else {
        return Ok(page);
    };
    if !page.kept.contains_key(table) {
        return Ok(page);
    }
    let keys = keys(key, Some(table), &page.kept);
    let before = wanted.before.map_or(i64::MAX, signed);
    let limit = i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1);
    let micros = |time: &str| format!("(extract(epoch FROM {time}) * 1000000)::bigint");
    let (from, to) = (micros("valid_from"), micros("valid_to"));
    // What is so now is found by the index of open versions, what was by that of the table's closed ones.
    let part = |which: &str| {
        format!(
            "SELECT {from} AS since, key::text, row::text, {to}, from_run, to_run FROM pipeline.history \
             WHERE schema_name = $1 AND table_name = $2 AND key = ANY ($3) AND valid_to IS {which} AND {from} < $4"
        )
    };
    let statement = format!(
        "({}) UNION ALL ({}) ORDER BY since DESC LIMIT $5",
        part("NULL"),
        part("NOT NULL")
    );
    let rows = client
        .query_typed(
            &statement,
            &[
                (&schema, Type::TEXT),
                (&table, Type::TEXT),
                (&keys, Type::JSONB_ARRAY),
                (&before, Type::INT8),
                (&limit, Type::INT8),
            ],
        )
        .await?;
    page.versions = rows.iter().filter_map(version).collect();
    page.earlier = (page.versions.len() > most)
        .then(|| page.versions.pop())
        .flatten();
    page.spans = spans(client, schema, table).await?;
    Ok(page)
}

async fn spans(
    client: &Client,
    schema: &str,
    table: &str,
) -> Result<Vec<Span>, tokio_postgres::Error> {
    let statement = format!(
        "SELECT (extract(epoch FROM valid_from) * 1000000)::bigint, (extract(epoch FROM valid_to) * 1000000)::bigint \
         FROM pipeline.history_span WHERE schema_name = $1 AND table_name = $2 ORDER BY valid_from DESC LIMIT {MOST_SPANS}"
    );
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&schema, Type::TEXT), (&table, Type::TEXT)];
    let rows = client.query_typed(&statement, &parameters).await?;
    Ok(rows
        .iter()
        .map(|row| Span {
            from: time(row.get(0)),
            to: row.get::<_, Option<i64>>(1).map(time),
        })
        .collect())
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or_default()
}

/// None of one whose values are no JSON, which the database does not keep.
fn version(row: &Row) -> Option<Version> {
    let since: i64 = row.get(0);
    Some(Version {
        number: unsigned(since),
        key: RawValue::from_string(row.get(1)).ok()?,
        row: RawValue::from_string(row.get(2)).ok()?,
        valid_from: time(since),
        valid_to: row.get::<_, Option<i64>>(3).map(time),
        from_run: row.get(4),
        to_run: row.get(5),
    })
}
