//! `pipeline.prune_candidate`: deletes that the prune limit held, and rows that are kept since others refer to them.

use serde::Serialize;
use tokio_postgres::{GenericClient, Transaction};

use crate::convert::unsigned;
use crate::database::{Quoted, utc};
use crate::load::error::LoadError;
use crate::load::ledger::backlog::has_ledger;
use crate::load::ledger::loads::LoadLedger;
use crate::load::mapping::Mapping;
use crate::name::Name;
use crate::staging::Approval;

/// Rows of one table that one run would have deleted, less those that a later load has seen.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Held {
    pub(crate) run_id: String,
    pub(crate) resource: String,
    pub(crate) table: String,
    pub(crate) rows: u64,
    pub(crate) reasons: Vec<String>,
    pub(crate) since: String,
    /// Hash of their keys.
    #[serde(skip)]
    sha256: String,
}

impl Held {
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

    /// Says that exactly these rows of this schema may go.
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

/// The held deletes of a schema, oldest first. The text of a jsonb value is the same for the same key.
pub(crate) async fn held(
    client: &impl GenericClient,
    schema: &str,
) -> Result<Vec<Held>, LoadError> {
    let doing = "read pipeline.prune_candidate";
    if !has_ledger(client).await.map_err(LoadError::at(doing))? {
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
pub(crate) async fn held_keys(
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

impl LoadLedger<'_> {
    /// Drops the candidates of a table: a complete full read knows better. Those of other resources in the same run were
    /// judged a moment ago.
    pub(crate) async fn drop_candidates(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
    ) -> Result<(), LoadError> {
        transaction
            .execute(
                "DELETE FROM pipeline.prune_candidate WHERE schema_name = $1 AND table_name = $2 \
                 AND (run_id <> $3 OR resource = $4)",
                &[
                    &self.schema,
                    &mapping.table.name.as_str(),
                    &self.run.id().as_str(),
                    &self.resource.as_str(),
                ],
            )
            .await
            .map_err(LoadError::at(
                "replace old candidates in pipeline.prune_candidate",
            ))?;
        Ok(())
    }

    /// Drops the candidates of a table that a complete full read has shown: all but these, which it lacks.
    pub(crate) async fn drop_shown_candidates(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        absent: &[i64],
    ) -> Result<(), LoadError> {
        let key = mapping.key_names().next().unwrap_or_default();
        transaction
            .execute(
                "DELETE FROM pipeline.prune_candidate AS c WHERE schema_name = $1 AND table_name = $2 \
                 AND approved_at IS NULL AND (run_id <> $3 OR resource = $6) \
                 AND (run_id = $3 OR NOT EXISTS (SELECT FROM unnest($4::bigint[]) AS a (id) \
                 WHERE jsonb_build_object($5::text, a.id) = c.key))",
                &[
                    &self.schema,
                    &mapping.table.name.as_str(),
                    &self.run.id().as_str(),
                    &absent,
                    &key,
                    &self.resource.as_str(),
                ],
            )
            .await
            .map_err(LoadError::at(
                "settle candidates in pipeline.prune_candidate",
            ))?;
        Ok(())
    }

    /// Drops the candidates of a table that this load judges anew: its own of an earlier load, and those that it has
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
        let statement = format!(
            "DELETE FROM pipeline.prune_candidate AS c WHERE schema_name = $1 AND table_name = $2 \
             AND approved_at IS NULL AND ({by_others}resource = $4) \
             AND (run_id = $3 OR EXISTS (SELECT FROM {staged} AS s WHERE {key} = c.key))"
        );
        transaction
            .execute(
                &statement,
                &[
                    &self.schema,
                    &mapping.table.name.as_str(),
                    &self.run.id().as_str(),
                    &self.resource.as_str(),
                ],
            )
            .await
            .map_err(LoadError::at(
                "settle candidates in pipeline.prune_candidate",
            ))?;
        Ok(())
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
        let statement = format!(
            "DELETE FROM pipeline.prune_candidate AS c WHERE schema_name = $1 AND table_name = $2 AND approved_at IS NULL \
             AND coalesce(reason = $3 OR reason LIKE '%: ' || $3, true) AND NOT EXISTS (SELECT FROM {}.{} AS t WHERE {} = c.key AND ({holds}))",
            Quoted(self.schema),
            Quoted(mapping.table.name.as_str()),
            mapping.key_object("t"),
        );
        transaction
            .execute(
                &statement,
                &[&self.schema, &mapping.table.name.as_str(), &reason],
            )
            .await
            .map_err(LoadError::at(
                "settle candidates in pipeline.prune_candidate",
            ))?;
        Ok(())
    }

    /// Records held deletes; returns how many were not recorded already. What this run has `found` gone is
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
