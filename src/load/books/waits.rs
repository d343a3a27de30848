//! What the books say of what waits, to whoever asks from outside a load.

use tokio_postgres::GenericClient;

use crate::database::DatabaseError;

use super::super::error::LoadError;

/// Whether the books are there: they are made, all at once, by the first migration.
pub async fn has_books(client: &impl GenericClient) -> Result<bool, tokio_postgres::Error> {
    let row = client
        .query_one("SELECT to_regclass('pipeline.load') IS NOT NULL", &[])
        .await?;
    Ok(row.get(0))
}

/// How much waits in a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Rows in quarantine.
    pub quarantined: i64,
    /// Rows that the guard holds.
    pub held: i64,
    /// Rows that left the API and are kept, since others refer to them; by table: [`kept_rows`](super::kept_rows).
    pub kept: i64,
}

/// Counts what waits in a schema.
pub async fn backlog(client: &impl GenericClient, schema: &str) -> Result<Backlog, DatabaseError> {
    let counts = client
        .query_one(
            "SELECT (SELECT count(*) FROM pipeline.quarantine WHERE schema_name = $1), \
             count(*) FILTER (WHERE referred_by IS NULL), count(*) FILTER (WHERE referred_by IS NOT NULL) \
             FROM pipeline.prune_candidate WHERE schema_name = $1 AND approved_at IS NULL",
            &[&schema],
        )
        .await?;
    Ok(Backlog {
        quarantined: counts.get(0),
        held: counts.get(1),
        kept: counts.get(2),
    })
}

/// What waits in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits {
    /// The table.
    pub table: String,
    /// Rows that the guard holds.
    pub held: i64,
    /// Rows in quarantine.
    pub unfit: i64,
}

/// What waits in a schema, by table.
pub(in super::super) async fn waits(
    client: &impl GenericClient,
    schema: &str,
) -> Result<Vec<Waits>, LoadError> {
    let rows = client
        .query(
            "SELECT table_name, count(*) FILTER (WHERE held), count(*) FILTER (WHERE NOT held) FROM (\
             SELECT table_name, true AS held FROM pipeline.prune_candidate WHERE schema_name = $1 AND approved_at IS NULL \
             AND referred_by IS NULL UNION ALL \
             SELECT table_name, false FROM pipeline.quarantine WHERE schema_name = $1) AS waits GROUP BY 1 ORDER BY 1",
            &[&schema],
        )
        .await
        .map_err(LoadError::at("look into the books"))?;
    let waits = rows.iter().map(|row| Waits {
        table: row.get(0),
        held: row.get(1),
        unfit: row.get(2),
    });
    Ok(waits.collect())
}

/// The runs of which rows wait in quarantine, in whatever schema.
pub async fn quarantined_runs(client: &impl GenericClient) -> Result<Vec<String>, DatabaseError> {
    let runs = "SELECT DISTINCT run_id FROM pipeline.quarantine";
    let rows = client.query(runs, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The runs that were refused a delete, in whatever schema.
pub async fn refused_runs(client: &impl GenericClient) -> Result<Vec<String>, DatabaseError> {
    let runs = "SELECT DISTINCT run_id FROM pipeline.prune_candidate WHERE approved_at IS NULL AND referred_by IS NULL";
    let rows = client.query(runs, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
