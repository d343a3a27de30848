//! `pipeline.prune_candidate`: deletes that the prune limit held, and rows that are absent from the API and kept, since others refer to
//! them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use tokio_postgres::types::ToSql;
use tokio_postgres::{GenericClient, Row, Transaction};

use crate::convert::unsigned;
use crate::database::utc;
use crate::load::counts::SAMPLE;
use crate::load::error::LoadError;
use crate::load::ledger::backlog::has_ledger;
use crate::load::ledger::loads::LoadLedger;
use crate::load::mapping::Mapping;
use crate::load::sql::statements::Statements;
use crate::name::Name;
use crate::staging::Approval;

/// Rows of one table that one run lacks and that were not deleted, less those that a later load has seen.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HeldDeletes {
    pub(crate) run_id: String,
    pub(crate) resource: String,
    pub(crate) table: String,
    pub(crate) rows: u64,
    pub(crate) reasons: Vec<String>,
    /// The tables whose rows refer to them, so that they are kept; empty: the prune limit holds them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) referred_by: Vec<String>,
    pub(crate) since: String,
    /// Hash of their keys.
    #[serde(skip)]
    sha256: String,
}

impl HeldDeletes {
    /// Whether the approval is of this very set: of the mirror, then it counts wherever the runs are loaded, or of
    /// this schema. What is tried out beside the mirror deletes nothing in it.
    pub(crate) fn is_covered(
        &self,
        approval: &Approval,
        schema: &str,
        mirror: &Name,
        as_of: u64,
    ) -> bool {
        let looked_at = approval.schema.as_ref().unwrap_or(mirror);
        (looked_at == mirror || looked_at.as_str() == schema)
            && approval.table.as_str() == self.table
            && approval.rows == self.rows
            && approval.sha256 == self.sha256
            && approval.as_of <= as_of
    }

    /// An approval of exactly these rows of this schema.
    pub(crate) fn approve(&self, schema: &Name, as_of: u64) -> Option<Approval> {
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

/// The deletes of a schema that the prune limit holds, oldest first.
pub(crate) async fn held(
    client: &impl GenericClient,
    schema: &str,
) -> Result<Vec<HeldDeletes>, LoadError> {
    candidates(client, schema, "referred_by IS NULL").await
}

/// The rows of a schema that are absent from the API and kept, oldest first.
pub(crate) async fn kept_rows(
    client: &impl GenericClient,
    schema: &str,
) -> Result<Vec<HeldDeletes>, LoadError> {
    candidates(client, schema, "referred_by IS NOT NULL").await
}

/// The text of a jsonb value is the same for the same key.
async fn candidates(
    client: &impl GenericClient,
    schema: &str,
    wanted: &str,
) -> Result<Vec<HeldDeletes>, LoadError> {
    if !has_ledger(client).await.map_err(failed())? {
        return Ok(Vec::new());
    }
    let select = format!(
        "SELECT run_id, resource, table_name, count(*), array_agg(DISTINCT reason ORDER BY reason), \
         coalesce(array_agg(DISTINCT referred_by ORDER BY referred_by) FILTER (WHERE referred_by IS NOT NULL), '{{}}'), {}, \
         encode(sha256(convert_to(string_agg(key::text, E'\\n' ORDER BY key::text COLLATE \"C\"), 'UTF8')), 'hex') \
         FROM pipeline.prune_candidate WHERE schema_name = $1 AND approved_at IS NULL AND {wanted} \
         GROUP BY run_id, resource, table_name ORDER BY min(created_at), run_id, table_name",
        utc("min(created_at)")
    );
    let rows = client.query(&select, &[&schema]).await.map_err(failed())?;
    let held = |row: &Row| HeldDeletes {
        run_id: row.get(0),
        resource: row.get(1),
        table: row.get(2),
        rows: unsigned(row.get(3)),
        reasons: row.get(4),
        referred_by: row.get(5),
        since: row.get(6),
        sha256: row.get(7),
    };
    Ok(rows.iter().map(held).collect())
}

fn failed() -> impl FnOnce(tokio_postgres::Error) -> LoadError {
    LoadError::at("read pipeline.prune_candidate")
}

/// The keys of the rows that a run would have deleted, by table: all of them, or a sample of one table.
pub(crate) async fn held_keys(
    client: &impl GenericClient,
    schema: &str,
    run: &str,
    sample_of: Option<&str>,
) -> Result<Vec<(String, Value)>, LoadError> {
    let limit = sample_of.map_or_else(String::new, |_| format!("LIMIT {SAMPLE}"));
    let rows = client
        .query(
            &format!(
                "SELECT table_name, key FROM pipeline.prune_candidate \
                 WHERE schema_name = $1 AND run_id = $2 AND approved_at IS NULL AND referred_by IS NULL \
                 AND ($3::text IS NULL OR table_name = $3) ORDER BY table_name, key {limit}"
            ),
            &[&schema, &run, &sample_of],
        )
        .await
        .map_err(failed())?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Rows of a table that the newest runs lack, but rows of another table refer to them.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) table: Name,
    pub(crate) rows: u64,
    pub(crate) keys: Vec<String>,
}

/// The kept rows of a schema by table, with a few of their keys.
pub(crate) async fn kept_by_table(
    client: &impl GenericClient,
    schema: &str,
) -> Result<Vec<Kept>, LoadError> {
    let statement = "SELECT table_name, count(DISTINCT key), (array_agg(DISTINCT key::text ORDER BY key::text))[1:5] \
         FROM pipeline.prune_candidate WHERE schema_name = $1 AND approved_at IS NULL AND referred_by IS NOT NULL \
         GROUP BY table_name ORDER BY table_name";
    let rows = client.query(statement, &[&schema]).await;
    let kept = |row: &Row| {
        Some(Kept {
            table: Name::parse(row.get(0)).ok()?,
            rows: unsigned(row.get(1)),
            keys: row.get(2),
        })
    };
    Ok(rows.map_err(failed())?.iter().filter_map(kept).collect())
}

/// Forgets kept rows that are not there any more, and counts the others, by table.
pub(crate) async fn count_kept(
    transaction: &Transaction<'_>,
    schema: &str,
    mappings: &[Mapping],
) -> Result<BTreeMap<Name, u64>, LoadError> {
    let mut counts = BTreeMap::new();
    for kept in kept_rows(transaction, schema).await? {
        if let Ok(table) = Name::parse(&kept.table) {
            *counts.entry(table).or_default() += kept.rows;
        }
    }
    for mapping in mappings {
        if let Some(count) = counts.get_mut(&mapping.table.name) {
            let forget = Statements::new(mapping, schema).forget_kept();
            let forgotten = transaction.execute(&forget, &[]).await;
            *count -= forgotten
                .map_err(LoadError::at(
                    "settle kept rows in pipeline.prune_candidate",
                ))?
                .min(*count);
        }
    }
    Ok(counts)
}

impl LoadLedger<'_> {
    /// Deletes candidates of a table, those for which this holds. Parameters: schema, table, run, resource, and these.
    async fn settle(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        wanted: &str,
        further: &[&(dyn ToSql + Sync)],
    ) -> Result<(), LoadError> {
        let statement = format!(
            "DELETE FROM pipeline.prune_candidate AS c WHERE schema_name = $1 AND table_name = $2 \
             AND ($3::text, $4::text) IS NOT NULL AND {wanted}"
        );
        let (table, run) = (mapping.table.name.as_str(), self.run.id().as_str());
        let resource = self.resource.as_str();
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&self.schema, &table, &run, &resource];
        parameters.extend(further);
        let settled = transaction.execute(&statement, &parameters).await;
        settled.map_err(LoadError::at(
            "settle candidates in pipeline.prune_candidate",
        ))?;
        Ok(())
    }

    /// Drops the candidates of a table: a complete full read knows better. Those of other resources in the same run were
    /// judged a moment ago.
    pub(crate) async fn drop_candidates(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
    ) -> Result<(), LoadError> {
        self.settle(transaction, mapping, "(run_id <> $3 OR resource = $4)", &[])
            .await
    }

    /// Drops the candidates of a table that a complete full read has shown: all but these, which it lacks.
    pub(crate) async fn drop_shown_candidates(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        absent: &[i64],
    ) -> Result<(), LoadError> {
        let key = mapping.key_names().next().unwrap_or_default();
        let wanted = "approved_at IS NULL AND (run_id <> $3 OR resource = $4) \
                      AND (run_id = $3 OR NOT EXISTS (SELECT FROM unnest($5::bigint[]) AS a (id) \
                      WHERE jsonb_build_object($6::text, a.id) = c.key))";
        self.settle(transaction, mapping, wanted, &[&absent, &key])
            .await
    }

    /// Drops the candidates of a table that this load judges again: its own of an earlier load, and those that it has
    /// seen. What it only updates it knows to be there by its own resource alone.
    pub(crate) async fn drop_seen_candidates(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        staged: &str,
    ) -> Result<(), LoadError> {
        let key = mapping.key_object("s");
        let by_others = if mapping.table.is_update_only() {
            ""
        } else {
            "run_id <> $3 OR "
        };
        let wanted = format!(
            "approved_at IS NULL AND ({by_others}resource = $4) \
             AND (run_id = $3 OR EXISTS (SELECT FROM {staged} AS s WHERE {key} = c.key))"
        );
        self.settle(transaction, mapping, &wanted, &[]).await
    }

    /// Drops the candidates of a table, those for this reason if there is one (whatever its heading), unless the table has a row
    /// of that key, `t`, for which this holds.
    pub(crate) async fn drop_candidates_unless(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        reason: Option<&str>,
        holds: &str,
    ) -> Result<(), LoadError> {
        let wanted = format!(
            "approved_at IS NULL AND coalesce(reason = $5 OR reason LIKE '%: ' || $5, true) \
             AND NOT EXISTS (SELECT FROM {} AS t WHERE {} = c.key AND ({holds}))",
            Statements::new(mapping, self.schema).target,
            mapping.key_object("t"),
        );
        self.settle(transaction, mapping, &wanted, &[&reason]).await
    }

    /// Records held deletes; returns how many were not recorded already. What this run has `found` absent is
    /// its own now, whichever run had it held before; else what was held by another stays with that one.
    pub(crate) async fn keep_candidates(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        delete_keys: &str,
        found: bool,
    ) -> Result<u64, LoadError> {
        let run = self.run.id().as_str();
        let table = mapping.table.name.as_str();
        let doing = "keep candidates in pipeline.prune_candidate";
        let held = "c.schema_name = $1 AND c.table_name = $2 AND c.run_id <> $3 AND c.approved_at IS NULL AND c.key = g.key";
        // One that nothing refers to any more is kept no longer: it is held.
        let replaced = if found {
            "true"
        } else {
            "c.referred_by IS NOT NULL"
        };
        transaction
            .execute(
                &format!(
                    "DELETE FROM pipeline.prune_candidate AS c USING ({delete_keys}) AS g (reason, key) \
                     WHERE {held} AND {replaced}"
                ),
                &[&self.schema, &table, &run],
            )
            .await
            .map_err(LoadError::at(doing))?;
        transaction
            .execute(
                &format!(
                    "INSERT INTO pipeline.prune_candidate AS n (schema_name, table_name, run_id, resource, reason, key) \
                     SELECT $1, $2, $3, $4, g.* FROM ({delete_keys}) AS g (reason, key) \
                     WHERE NOT EXISTS (SELECT FROM pipeline.prune_candidate AS c WHERE {held}) \
                     ON CONFLICT (schema_name, table_name, run_id, key) DO UPDATE SET approved_at = NULL, \
                     reason = excluded.reason, referred_by = NULL, created_at = now() \
                     WHERE n.approved_at IS NOT NULL OR n.referred_by IS NOT NULL"
                ),
                &[&self.schema, &table, &run, &self.resource.as_str()],
            )
            .await
            .map_err(LoadError::at(doing))
    }
}
