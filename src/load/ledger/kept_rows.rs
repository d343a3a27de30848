//! Rows that left the API and are kept, since other rows refer to them: reported as long as they stay.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio_postgres::{GenericClient, Transaction};

use crate::convert::unsigned;
use crate::database::utc;
use crate::load::error::LoadError;
use crate::load::ledger::backlog::has_ledger;
use crate::load::mapping::Mapping;
use crate::load::sql::statements::Statements;
use crate::name::Name;

/// Rows of one table that one run has found gone, and that are kept.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct KeptRows {
    pub(crate) run_id: String,
    pub(crate) resource: String,
    pub(crate) table: String,
    pub(crate) rows: u64,
    pub(crate) reasons: Vec<String>,
    /// The tables whose rows refer to them.
    pub(crate) referred_by: Vec<String>,
    pub(crate) since: String,
}

/// What is kept in a schema, oldest first.
pub(crate) async fn kept_rows(
    client: &impl GenericClient,
    schema: &str,
) -> Result<Vec<KeptRows>, LoadError> {
    let doing = "read pipeline.prune_candidate";
    if !has_ledger(client).await.map_err(LoadError::at(doing))? {
        return Ok(Vec::new());
    }
    let rows = client
        .query(
            &format!(
                "SELECT run_id, resource, table_name, count(*), array_agg(DISTINCT reason ORDER BY reason), \
                 array_agg(DISTINCT referred_by ORDER BY referred_by), {} FROM pipeline.prune_candidate \
                 WHERE schema_name = $1 AND approved_at IS NULL AND referred_by IS NOT NULL \
                 GROUP BY run_id, resource, table_name ORDER BY min(created_at), run_id, table_name",
                utc("min(created_at)")
            ),
            &[&schema],
        )
        .await
        .map_err(LoadError::at(doing))?;
    let kept = rows.iter().map(|row| KeptRows {
        run_id: row.get(0),
        resource: row.get(1),
        table: row.get(2),
        rows: unsigned(row.get(3)),
        reasons: row.get(4),
        referred_by: row.get(5),
        since: row.get(6),
    });
    Ok(kept.collect())
}

/// Forgets those that are not there any more, and counts the others, by table.
pub(crate) async fn count_kept(
    transaction: &Transaction<'_>,
    schema: &str,
    mappings: &[Mapping],
) -> Result<BTreeMap<Name, u64>, LoadError> {
    let mut counts = count(transaction, schema).await?;
    let mut are_forgotten = false;
    for mapping in mappings {
        if counts.contains_key(&mapping.table.name) {
            let forget = Statements::new(mapping, schema).forget_kept();
            let forgotten = transaction.execute(&forget, &[]).await;
            let doing = LoadError::at("settle what is kept in pipeline.prune_candidate");
            are_forgotten |= forgotten.map_err(doing)? > 0;
        }
    }
    if are_forgotten {
        counts = count(transaction, schema).await?;
    }
    Ok(counts)
}

async fn count(
    transaction: &Transaction<'_>,
    schema: &str,
) -> Result<BTreeMap<Name, u64>, LoadError> {
    let rows = transaction
        .query(
            "SELECT table_name, count(*) FROM pipeline.prune_candidate WHERE schema_name = $1 AND approved_at IS NULL \
             AND referred_by IS NOT NULL GROUP BY table_name",
            &[&schema],
        )
        .await
        .map_err(LoadError::at("read pipeline.prune_candidate"))?;
    let counts = rows.iter().filter_map(|row| {
        let name = Name::parse(row.get(0)).ok()?;
        Some((name, unsigned(row.get(1))))
    });
    Ok(counts.collect())
}
