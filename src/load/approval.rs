//! Deletes that the guard has held back: which they are, and how those go that a person has approved.
//!
//! An approval is a file of the run that asked for the deletes, written first. It goes by the hash of the rows' keys,
//! so whoever loads the run again comes to the same set, finds it approved and deletes it, and any other set is held.

use serde::Serialize;
use tokio_postgres::types::ToSql;
use tokio_postgres::{GenericClient, Transaction};

use crate::database::utc;
use crate::name::Name;
use crate::number::unsigned;
use crate::staging::{Approval, Run};

use super::books::has_books;
use super::counts::TableCounts;
use super::error::LoadError;
use super::mapping::Mapping;
use super::prune;
use super::sql::Statements;

/// Rows of one table that one run would have deleted, less those that a later load has seen.
#[derive(Clone, Debug, Serialize)]
pub struct Held {
    /// The run.
    pub run_id: String,
    /// The resource.
    pub resource: String,
    /// The table.
    pub table: String,
    /// How many rows.
    pub rows: u64,
    /// Why they would go.
    pub reasons: Vec<String>,
    /// Since when.
    pub since: String,
    /// Hash of their keys.
    #[serde(skip)]
    sha256: String,
}

impl Held {
    /// Whether somebody has said so of this very set: of the mirror, then it counts wherever the runs are loaded, or of
    /// this schema. What is tried out beside the mirror deletes nothing in it.
    fn is_covered(&self, approval: &Approval, schema: &str, mirror: &Name, as_of: u64) -> bool {
        let looked_at = approval.schema.as_ref().unwrap_or(mirror);
        (looked_at == mirror || looked_at.as_str() == schema)
            && approval.table.as_str() == self.table
            && approval.rows == self.rows
            && approval.sha256 == self.sha256
            && approval.as_of <= as_of
    }

    /// Says that exactly these rows of this schema may go.
    pub(super) fn approve(&self, schema: &Name, as_of: u64) -> Option<Approval> {
        Some(Approval {
            schema: Some(schema.clone()),
            resource: Name::parse(&self.resource).ok()?,
            table: Name::parse(&self.table).ok()?,
            rows: self.rows,
            sha256: self.sha256.clone(),
            as_of,
            approved_at: crate::clock::now(),
        })
    }
}

/// What is held back in a schema, oldest first. The text of a jsonb value is the same for the same key.
pub async fn held(client: &impl GenericClient, schema: &str) -> Result<Vec<Held>, LoadError> {
    let doing = "read pipeline.prune_candidate";
    if !has_books(client).await.map_err(LoadError::at(doing))? {
        return Ok(Vec::new());
    }
    let rows = client
        .query(
            &format!(
                "SELECT run_id, resource, table_name, count(*), array_agg(DISTINCT reason ORDER BY reason), {}, \
                 encode(sha256(convert_to(string_agg(key::text, E'\\n' ORDER BY key::text COLLATE \"C\"), 'UTF8')), 'hex') \
                 FROM pipeline.prune_candidate WHERE schema_name = $1 AND approved_at IS NULL AND referred_by IS NULL \
                 GROUP BY run_id, resource, table_name ORDER BY min(created_at), run_id, table_name",
                utc("min(created_at)")
            ),
            &[&schema],
        )
        .await
        .map_err(LoadError::at(doing))?;
    let held = rows.iter().map(|row| Held {
        run_id: row.get(0),
        resource: row.get(1),
        table: row.get(2),
        rows: unsigned(row.get(3)),
        reasons: row.get(4),
        since: row.get(5),
        sha256: row.get(6),
    });
    Ok(held.collect())
}

/// The keys of the rows that a run would have deleted, by table.
pub async fn held_keys(
    client: &impl GenericClient,
    schema: &str,
    run: &str,
) -> Result<Vec<(String, serde_json::Value)>, LoadError> {
    let rows = client
        .query(
            "SELECT table_name, key FROM pipeline.prune_candidate \
             WHERE schema_name = $1 AND run_id = $2 AND approved_at IS NULL AND referred_by IS NULL \
             ORDER BY table_name, key",
            &[&schema, &run],
        )
        .await
        .map_err(LoadError::at("read pipeline.prune_candidate"))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// A set that went.
pub(super) struct Honoured {
    /// The run that was refused it.
    pub(super) run_id: String,
    /// Of the table: what was deleted, and what stays since others refer to it.
    pub(super) counts: TableCounts,
}

/// Deletes every held set that was approved when this run, or one before it, was the newest; last table first. A row
/// that another refers to by now stays, and is held on: others would go with it.
pub(super) async fn honour(
    transaction: &Transaction<'_>,
    schema: &str,
    mirror: &Name,
    mappings: &[Mapping],
    runs: &[Run],
    as_of: u64,
) -> Result<Vec<Honoured>, LoadError> {
    let mut honoured = Vec::new();
    let all = held(transaction, schema).await?;
    let own = |mapping: &&Mapping| !mapping.table.is_update_only();
    for mapping in mappings.iter().filter(own).rev() {
        let name = &mapping.table.name;
        for held in all.iter().filter(|held| held.table == name.as_str()) {
            let Some(run) = runs.iter().find(|run| run.id().as_str() == held.run_id) else {
                continue;
            };
            let approvals = run.approvals()?;
            if !(approvals.iter()).any(|approval| held.is_covered(approval, schema, mirror, as_of))
            {
                continue;
            }
            let statements = Statements::new(mapping, schema);
            let deleted = delete_held(transaction, &statements, held, schema, name).await;
            let (counts, rows) =
                deleted.map_err(LoadError::at(format!("delete what was approved of {name}")))?;
            mapping.check_arrived(rows, counts.deleted, "deleted")?;
            honoured.push(Honoured {
                run_id: held.run_id.clone(),
                counts,
            });
        }
    }
    Ok(honoured)
}

/// Deletes a held set, and tells of how many rows it was to be.
async fn delete_held(
    transaction: &Transaction<'_>,
    statements: &Statements<'_>,
    held: &Held,
    schema: &str,
    table: &Name,
) -> Result<(TableCounts, u64), tokio_postgres::Error> {
    let parameters: [&(dyn ToSql + Sync); 4] =
        [&schema, &table.as_str(), &held.run_id, &held.resource];
    let mut counts = TableCounts::new(table.clone());
    transaction.batch_execute(&statements.create_gone()).await?;
    let listed = transaction
        .execute(&statements.collect_held(), &parameters)
        .await?;
    counts.referred = prune::spare(transaction, statements, None).await?;
    let gone = listed - counts.referred.min(listed);
    transaction.execute(&statements.delete_gone(), &[]).await?;
    let left = transaction.query_one(&statements.count_left(), &[]).await?;
    counts.deleted = gone - unsigned(left.get(0)).min(gone);
    transaction
        .execute(&statements.settle_held(), &parameters)
        .await?;
    Ok((counts, gone))
}
