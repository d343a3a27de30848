//! A page of changes, newest first, for people who look and programs that page. However rare what is asked for is, a page costs little: at
//! most 10,000 changes are looked at for it.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::change::Change;
use super::versions::kept_tables;
use super::{CHANGE, Extent, Since, change, extent_in, is_made};
use crate::convert::{signed, unsigned};
use crate::key_arg::Key;

/// Changes that are looked at for a page.
const LOOKED_AT: i64 = 10_000;
/// Keys that what was typed can stand for: a number and a text look alike.
const MOST_KEYS: usize = 64;

/// Which changes are asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) table: Option<String>,
    pub(crate) key: Option<WantedKey>,
    /// `c`, `u`, `d` or `s`.
    pub(crate) op: Option<String>,
    pub(crate) run: Option<String>,
    pub(crate) since: Option<Since>,
    /// Older than the change of this number.
    pub(crate) before: Option<u64>,
}

/// A row's key.
#[derive(Clone, Debug)]
pub(crate) enum WantedKey {
    /// As people type it.
    Typed(Key),
    /// As a change has it.
    Json(Value),
}

/// Changes, newest first.
#[derive(Debug, Default)]
pub(crate) struct ChangePage {
    pub(crate) changes: Vec<Change>,
    /// There may be more before the change of this number.
    pub(crate) next: Option<u64>,
    pub(crate) extent: Extent,
    /// The tables of which it is known how rows were, with the columns.
    pub(crate) kept: BTreeMap<String, Vec<String>>,
}

/// Reads a page of at most `most` changes; an empty one where nothing was ever written down.
pub(crate) async fn page(
    client: &Client,
    schema: &str,
    wanted: &Wanted,
    most: usize,
) -> Result<ChangePage, tokio_postgres::Error> {
    let known = if is_made(client).await? {
        extent_in(client, schema).await?
    } else {
        None
    };
    let extent = known.unwrap_or_default();
    let keys = (wanted.key.as_ref()).map(|key| keys(key, wanted.table.as_deref(), &extent.tables));
    let (after, since) = match wanted.since {
        Some(Since::After(after)) => (after, None),
        Some(Since::At(at)) => (0, Some(at.as_duration().as_secs_f64())),
        None => (0, None),
    };
    let mut page = ChangePage {
        extent,
        kept: kept_tables(client, schema).await?,
        ..ChangePage::default()
    };
    if page.extent.last == 0 {
        return Ok(page);
    }
    let before = wanted.before.map_or(i64::MAX, signed);
    let looked_at = format!(
        "SELECT * FROM pipeline.change WHERE schema_name = $1 AND seq < $2 AND seq > $3 \
         AND ($4::text IS NULL OR table_name = $4) AND ($5::text IS NULL OR run_id = $5) \
         AND ($6::jsonb[] IS NULL OR key = ANY ($6)) ORDER BY schema_name DESC, seq DESC LIMIT {LOOKED_AT}"
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
        (&schema, Type::TEXT),
        (&before, Type::INT8),
        (&signed(after), Type::INT8),
        (&wanted.table, Type::TEXT),
        (&wanted.run, Type::TEXT),
        (&keys, Type::JSONB_ARRAY),
    ];
    let limit = i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1);
    // In the order that it has: it is not sorted again, and not read to its end.
    let statement = format!(
        "SELECT {CHANGE} FROM ({looked_at}) AS c WHERE ($7::text IS NULL OR op = $7) \
         AND ($8::float8 IS NULL OR seen_at >= to_timestamp($8)) ORDER BY seq DESC LIMIT $9"
    );
    let more: [(&(dyn ToSql + Sync), Type); 3] = [
        (&wanted.op, Type::TEXT),
        (&since, Type::FLOAT8),
        (&limit, Type::INT8),
    ];
    let all: Vec<_> = parameters.iter().cloned().chain(more).collect();
    let rows = client.query_typed(&statement, &all).await?;
    page.changes = rows.iter().map(change).collect::<Result<_, _>>()?;
    if page.changes.len() > most {
        page.changes.truncate(most);
        page.next = page.changes.last().map(|change| change.seq);
    } else if wanted.op.is_some() || since.is_some() {
        page.next = end_of(client, &looked_at, &parameters, since).await?;
    } else {
        // All that was looked at is here.
        page.next = None;
    }
    Ok(page)
}

/// The oldest change that was looked at, if there may be more before it.
async fn end_of(
    client: &Client,
    looked_at: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
    since: Option<f64>,
) -> Result<Option<u64>, tokio_postgres::Error> {
    let statement = format!(
        "SELECT count(*), min(seq), extract(epoch FROM min(seen_at))::float8 FROM ({looked_at}) AS c"
    );
    let row = client.query_typed_one(&statement, parameters).await?;
    let (count, oldest, seen): (i64, Option<i64>, Option<f64>) =
        (row.get(0), row.get(1), row.get(2));
    let is_past = since.is_some_and(|since| seen.is_some_and(|seen| seen < since));
    Ok(oldest
        .filter(|_| count == LOOKED_AT && !is_past)
        .map(unsigned))
}

/// The keys of rows that are meant, as changes have them. `tables` are followed columns by table, the key first.
pub(super) fn keys(
    key: &WantedKey,
    table: Option<&str>,
    tables: &BTreeMap<String, Vec<String>>,
) -> Vec<Value> {
    let typed = match key {
        WantedKey::Json(key) => return vec![key.clone()],
        WantedKey::Typed(typed) => typed,
    };
    let mut found: Vec<Value> = Vec::new();
    let tables = tables.iter();
    for (_, columns) in tables.filter(|(name, _)| table.is_none_or(|it| it == *name)) {
        // The key's columns are the first ones; how many there are is not written down.
        for count in 1..=columns.len() {
            let Some(values) = typed.of(&columns[..count]) else {
                continue;
            };
            let mut keys = vec![BTreeMap::new()];
            for (column, value) in columns.iter().zip(values) {
                keys = (keys.iter())
                    .flat_map(|key| readings(value).map(|value| with(key, column, value)))
                    .take(MOST_KEYS)
                    .collect();
            }
            found.extend(
                keys.into_iter()
                    .map(|key| Value::Object(key.into_iter().collect())),
            );
        }
    }
    found.sort_by_key(ToString::to_string);
    found.dedup();
    found
}

fn with(key: &BTreeMap<String, Value>, column: &str, value: Value) -> BTreeMap<String, Value> {
    let mut key = key.clone();
    key.insert(column.to_owned(), value);
    key
}

/// What a typed value can be: a text, and a number or truth value that is written so.
fn readings(value: &str) -> impl Iterator<Item = Value> {
    let other = serde_json::from_str(value).ok();
    let other = other.filter(|other: &Value| other.is_number() || other.is_boolean());
    [Some(Value::String(value.to_owned())), other]
        .into_iter()
        .flatten()
}
