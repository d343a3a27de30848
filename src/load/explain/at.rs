//! How a row was at a time, by `pipeline.history`.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::config::Config;
use crate::database::utc;
use crate::key_arg::Key;
use crate::load::error::LoadError;
use crate::load::explain::origin::{ExplainError, RowQuery, raw};
use crate::load::mappings::mappings;

/// A row as it was.
#[derive(Debug, Serialize)]
pub(crate) struct RowAt {
    pub(crate) table: String,
    /// Its key: column name to value.
    pub(crate) key: Value,
    pub(crate) at: Timestamp,
    /// What was so then; none: the table had no such row.
    #[serde(flatten)]
    pub(crate) version: Option<RowVersion>,
}

/// What a row was, and for how long.
#[derive(Debug, Serialize)]
pub(crate) struct RowVersion {
    /// The key and the followed columns.
    pub(crate) row: Option<Box<RawValue>>,
    pub(crate) valid_from: String,
    /// None: it is so now.
    pub(crate) valid_to: Option<String>,
    /// The run that showed it.
    pub(crate) from_run: String,
    /// The run that showed something else, or nothing.
    pub(crate) to_run: Option<String>,
}

/// Reads how the row of `table` with this key was.
pub(crate) async fn explain_at(
    config: &Config,
    client: &mut Client,
    schema: &str,
    (table, key): (&str, &Key),
    at: Timestamp,
) -> Result<RowAt, ExplainError> {
    let mappings = mappings(config, client, schema).await?;
    let mapping = (mappings.iter())
        .find(|mapping| mapping.table.name.as_str() == table)
        .ok_or_else(|| ExplainError::Key(format!("pipeline.toml has no table {table}")))?;
    let wanted = RowQuery::of(mapping, key)?;
    let failed = || LoadError::at("read pipeline.history");
    let moment = at.to_string();
    let spans = format!(
        "SELECT bool_or(valid_from <= $3::text::timestamptz AND (valid_to > $3::text::timestamptz \
         OR valid_to IS NULL AND $3::text::timestamptz <= greatest(now(), changed_at))), \
         string_agg('from ' || {} || ' to ' || coalesce({}, 'now'), ', ' ORDER BY valid_from) \
         FROM pipeline.history_span WHERE schema_name = $1 AND table_name = $2",
        utc("valid_from"),
        utc("valid_to")
    );
    let parameters = [
        (
            &schema as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::TEXT,
        ),
        (&table, Type::TEXT),
        (&moment, Type::TEXT),
    ];
    let known = client.query_typed_one(&spans, &parameters).await;
    let known = known.map_err(failed())?;
    let table = table.to_owned();
    match (known.get(0), known.get::<_, Option<String>>(1)) {
        (Some(true), _) => {}
        (_, None) => return Err(ExplainError::NoHistory { table }),
        (_, Some(known)) => return Err(ExplainError::UnknownThen { table, at, known }),
    }
    let key = wanted.json();
    let version = format!(
        "SELECT row::text, {}, {}, from_run, to_run FROM pipeline.history WHERE schema_name = $1 AND table_name = $2 AND key = $4 \
         AND valid_from <= $3::text::timestamptz AND (valid_to > $3::text::timestamptz OR valid_to IS NULL)",
        utc("valid_from"),
        utc("valid_to")
    );
    let mut parameters = parameters.to_vec();
    parameters.push((&key, Type::JSONB));
    let row = client.query_typed_opt(&version, &parameters).await;
    let version = row.map_err(failed())?.map(|row| RowVersion {
        row: raw(row.get(0)),
        valid_from: row.get(1),
        valid_to: row.get(2),
        from_run: row.get(3),
        to_run: row.get(4),
    });
    Ok(RowAt {
        table,
        key: wanted.json(),
        at,
        version,
    })
}
