//! What is in quarantine and what is held, counted for `status`, `gc` and replay.

use tokio_postgres::GenericClient;

use crate::database::DatabaseError;
use crate::load::error::LoadError;

/// Whether the load ledger exists: the first migration makes all of it.
pub(crate) async fn has_ledger(client: &impl GenericClient) -> Result<bool, tokio_postgres::Error> {
    let row = client
        .query_one("SELECT to_regclass('pipeline.load') IS NOT NULL", &[])
        .await?;
    Ok(row.get(0))
}

/// What is quarantined and held in a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) quarantined: i64,
    pub(crate) held: i64,
    /// Rows that left the API and are kept, since others refer to them.
    pub(crate) kept: i64,
}

pub(crate) async fn backlog(
    client: &impl GenericClient,
    schema: &str,
) -> Result<Backlog, DatabaseError> {
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

/// What is quarantined and held in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableBacklog {
    pub(crate) table: String,
    pub(crate) held: i64,
    pub(crate) quarantined: i64,
}

pub(crate) async fn backlog_by_table(
    client: &impl GenericClient,
    schema: &str,
) -> Result<Vec<TableBacklog>, LoadError> {
    let rows = client
        .query(
            "SELECT table_name, count(*) FILTER (WHERE held), count(*) FILTER (WHERE NOT held) FROM (\
             SELECT table_name, true AS held FROM pipeline.prune_candidate WHERE schema_name = $1 AND approved_at IS NULL \
             AND referred_by IS NULL UNION ALL \
             SELECT table_name, false FROM pipeline.quarantine WHERE schema_name = $1) AS backlog GROUP BY 1 ORDER BY 1",
            &[&schema],
        )
        .await
        .map_err(LoadError::at("read the load ledger"))?;
    let backlog = rows.iter().map(|row| TableBacklog {
        table: row.get(0),
        held: row.get(1),
        quarantined: row.get(2),
    });
    Ok(backlog.collect())
}

/// The runs with rows in quarantine, of any schema.
pub(crate) async fn quarantined_runs(
    client: &impl GenericClient,
) -> Result<Vec<String>, DatabaseError> {
    let runs = "SELECT DISTINCT run_id FROM pipeline.quarantine";
    let rows = client.query(runs, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The runs with held deletes, of any schema.
pub(crate) async fn held_runs(client: &impl GenericClient) -> Result<Vec<String>, DatabaseError> {
    let runs = "SELECT DISTINCT run_id FROM pipeline.prune_candidate WHERE approved_at IS NULL AND referred_by IS NULL";
    let rows = client.query(runs, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
