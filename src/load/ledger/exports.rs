//! `pipeline.export`: which copies of rows were given out, so that an erasure can name those that it does not reach.

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::GenericClient;

use crate::convert::unsigned;
use crate::load::error::LoadError;

/// An export that was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Export {
    pub(crate) serial: u64,
    pub(crate) schema: String,
    pub(crate) made_at: Timestamp,
    /// Such as its format and where it was written to.
    pub(crate) what: String,
    /// What it holds, as `table.column`.
    #[serde(skip)]
    pub(crate) columns: Vec<String>,
}

/// Records an export before its first row is given out, and returns its serial. `what` holds no value of a row; `columns` are
/// written `table.column`.
///
/// # Errors
///
/// The database refused it: then nothing is to be given out.
pub(crate) async fn record_export(
    client: &impl GenericClient,
    schema: &str,
    what: &str,
    columns: &[String],
) -> Result<u64, LoadError> {
    let statement =
        "INSERT INTO pipeline.export (mirror, what, columns) VALUES ($1, $2, $3) RETURNING serial";
    let row = client
        .query_one(statement, &[&schema, &what, &columns])
        .await;
    let row = row.map_err(LoadError::at("write pipeline.export"))?;
    Ok(unsigned(row.get(0)))
}

/// As [`record_export`], of a copy that is brought up to date in its place: it is recorded once, by its `what`.
///
/// # Errors
///
/// As of [`record_export`].
#[cfg(feature = "parquet")]
pub(crate) async fn record_lasting_export(
    client: &impl GenericClient,
    schema: &str,
    what: &str,
    columns: &[String],
) -> Result<u64, LoadError> {
    let statement = "UPDATE pipeline.export SET columns = ARRAY(SELECT DISTINCT unnest(columns || $3) ORDER BY 1) \
        WHERE serial = (SELECT min(serial) FROM pipeline.export WHERE mirror = $1 AND what = $2) RETURNING serial";
    let known = client
        .query_opt(statement, &[&schema, &what, &columns])
        .await;
    match known.map_err(LoadError::at("write pipeline.export"))? {
        Some(row) => Ok(unsigned(row.get(0))),
        None => record_export(client, schema, what, columns).await,
    }
}

/// All exports, oldest first.
pub(crate) async fn read(client: &impl GenericClient) -> Result<Vec<Export>, LoadError> {
    let statement = "SELECT serial, mirror, (extract(epoch FROM made_at) * 1000)::bigint, what, columns FROM pipeline.export ORDER BY serial";
    let rows = client.query(statement, &[]).await;
    let rows = rows.map_err(LoadError::at("read pipeline.export"))?;
    let export = |row: &tokio_postgres::Row| Export {
        serial: unsigned(row.get(0)),
        schema: row.get(1),
        made_at: Timestamp::from_millisecond(row.get(2)).unwrap_or_default(),
        what: row.get(3),
        columns: row.get(4),
    };
    Ok(rows.iter().map(export).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::testing;

    #[tokio::test]
    async fn an_export_is_recorded_with_a_serial_of_its_own() {
        let client = testing::database().await;
        let before = "CREATE SCHEMA pipeline; CREATE TABLE pipeline.change (schema_name text, seq bigint, run_id text, table_name text)";
        client.batch_execute(before).await.unwrap();
        let migration = include_str!("../../../migrations/books/V15__export.sql");
        client.batch_execute(migration).await.unwrap();
        let columns = ["users.login".to_owned()];
        for serial in 1..=2 {
            let recorded = record_export(&client, "public", "CSV of users", &columns).await;
            assert_eq!(recorded.unwrap(), serial);
        }
        let exports = read(&client).await.unwrap();
        assert_eq!(exports.len(), 2);
        assert_eq!(
            (exports[1].serial, exports[1].schema.as_str()),
            (2, "public")
        );
        assert_eq!(exports[0].columns, columns);
        for columns in [["users.login"], ["users.email"]].map(|one| one.map(str::to_owned)) {
            let again = record_lasting_export(&client, "public", "Parquet", &columns);
            assert_eq!(again.await.unwrap(), 3);
        }
        let columns = &read(&client).await.unwrap()[2].columns;
        assert_eq!(columns, &["users.email", "users.login"]);
    }
}
