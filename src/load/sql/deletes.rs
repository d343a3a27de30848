//! The statements of deletes: which rows are candidates, which are kept, which are deleted.

use crate::config::Reference;
use crate::database::catalogue::ForeignKey;
use crate::database::{Literal, Quoted};
use crate::load::decode::types::RowState;
use crate::load::sql::delete_reason::{DeleteReason, DeleteScope};
use crate::load::sql::statements::{Statements, list, of, same, staged_of};
use crate::name::Name;

/// Whether the owner of the row `t` was read; an expression, `further` a condition on it.
fn has_owner(owner: &Reference, further: &str) -> String {
    format!(
        "EXISTS (SELECT FROM {} AS p WHERE p.{} = t.{}{further})",
        staged_of(&owner.table),
        Quoted(owner.target.as_str()),
        Quoted(owner.column.as_str()),
    )
}

impl Statements<'_> {
    /// Begins an empty list. The table stays, as the staged ones do.
    pub(crate) fn create_delete_list(&self) -> String {
        format!(
            "CREATE TEMPORARY TABLE IF NOT EXISTS {deletes} AS SELECT NULL::text AS delete_reason, {} FROM {} WITH NO DATA; \
             DELETE FROM {deletes}",
            list(&self.key),
            self.target,
            deletes = self.delete_list(),
        )
    }

    pub(crate) fn drop_delete_list(&self) -> String {
        format!("DROP TABLE IF EXISTS pg_temp.{}", self.delete_list())
    }

    /// Why the row `t` is no delete candidate although it was not read: its owner was rejected, or has rows without a readable
    /// key; expressions.
    fn protections(&self, keyless_in: Option<&str>) -> Vec<String> {
        let Some(owner) = &self.mapping.table.owner else {
            return Vec::new();
        };
        let is_rejected = format!(" AND p.staged_state = {}", RowState::Quarantined as i16);
        let mut protections = vec![has_owner(owner, &is_rejected)];
        if let Some(run) = keyless_in {
            protections.push(format!(
                "EXISTS (SELECT FROM pipeline.quarantine AS q WHERE q.schema_name = {} AND q.run_id = {} \
                 AND q.table_name = {} AND q.key IS NULL AND q.parent = to_jsonb(t.{}))",
                Literal(self.schema),
                Literal(run),
                Literal(self.mapping.table.name.as_str()),
                Quoted(owner.column.as_str()),
            ));
        }
        protections
    }

    /// Whether the row `t` is no delete candidate although it was not read; an expression, if rows have an owner.
    pub(crate) fn is_protected(&self, keyless_in: Option<&str>) -> Option<String> {
        let protections = self.protections(keyless_in);
        (!protections.is_empty()).then(|| protections.join(" OR "))
    }

    /// Collects keys that are to be deleted.
    pub(crate) fn collect_deletes(
        &self,
        reason: DeleteReason,
        ground: DeleteScope<'_>,
    ) -> Option<String> {
        let staged = self.staged();
        let there = format!(
            "(SELECT FROM {staged} AS s WHERE {})",
            same("s", "t", &self.key)
        );
        // Each by itself, so that the planner can join.
        let protections = self.protections(ground.keyless_in);
        let is_absent = [format!("EXISTS {there}")]
            .into_iter()
            .chain(protections)
            .map(|unless| format!("NOT {unless}"))
            .collect::<Vec<_>>()
            .join(" AND ");
        let condition = match reason {
            DeleteReason::Outside => self.is_outside(ground.incomplete_tables)?,
            DeleteReason::OutOfScope => format!(
                "EXISTS (SELECT FROM {staged} AS s WHERE s.staged_state = {} AND {}{})",
                RowState::OutOfScope as i16,
                same("s", "t", &self.key),
                // Of two versions with the same cursor the one that is out of scope is deleted.
                self.is_older(false)
                    .map_or_else(String::new, |older| format!(" AND NOT {older}")),
            ),
            DeleteReason::Absent => is_absent,
            DeleteReason::AbsentFromRead => format!("({}) AND {is_absent}", ground.covered?),
            DeleteReason::Orphaned => {
                let owner = self.mapping.table.owner.as_ref()?;
                format!("{} AND {is_absent}", has_owner(owner, ""))
            }
        };
        Some(format!(
            "INSERT INTO {table} SELECT '{}', {} FROM {} AS t WHERE ({condition}) AND NOT EXISTS (SELECT FROM {table} AS g WHERE {})",
            reason.reason(),
            of("t", &self.key),
            self.target,
            same("g", "t", &self.key),
            table = self.delete_list(),
        ))
    }

    /// Collects keys of the rows `t` of which a condition holds.
    pub(crate) fn collect_where(&self, reason: &str, condition: &str) -> String {
        format!(
            "INSERT INTO {} SELECT {}, {} FROM {} AS t WHERE {condition}",
            self.delete_list(),
            Literal(reason),
            of("t", &self.key),
            self.target,
        )
    }

    /// Collects keys (the parameter) that a comparison has found to be absent.
    pub(crate) fn collect_absent(&self) -> String {
        format!(
            "INSERT INTO {} SELECT '{}', {} FROM {} AS t WHERE t.{} = ANY ($1::bigint[])",
            self.delete_list(),
            DeleteReason::Absent.reason(),
            of("t", &self.key),
            self.target,
            self.key[0],
        )
    }

    /// Takes rows off the list that other rows refer to, or may refer to where row-level security hides them: a cascade would
    /// delete rows that no limit has counted. Rows that are deleted themselves do not count. One statement for each reference, to
    /// be repeated while they find any. Each returns the count, and records what it has found as kept by a run of a resource.
    pub(crate) fn keep_referenced(&self, notes: Option<(&str, &Name)>) -> Vec<String> {
        let table = self.mapping.table.name.as_str();
        let statement = |foreign: &ForeignKey| {
            let matching = foreign
                .columns
                .iter()
                .zip(&foreign.referenced_columns)
                .map(|(column, target)| format!("r.{} = t.{}", Quoted(column), Quoted(target)))
                .collect::<Vec<_>>()
                .join(" AND ");
            let further = if foreign.is_of_itself() {
                let is_deleted = same("o", "r", &self.key);
                format!(
                    " AND NOT EXISTS (SELECT FROM {} AS o WHERE {is_deleted})",
                    self.delete_list()
                )
            } else {
                String::new()
            };
            let referrer = format!("{}.{}", Quoted(&foreign.schema), Quoted(&foreign.table));
            let spared = format!(
                "WITH spared AS (DELETE FROM {} AS g USING {} AS t WHERE {} AND (row_security_active({}) \
                 OR EXISTS (SELECT FROM {referrer} AS r WHERE {matching}{further})) RETURNING g.*)",
                self.delete_list(),
                self.target,
                same("t", "g", &self.key),
                Literal(&referrer),
            );
            let noted = notes.map_or_else(String::new, |(run, resource)| {
                format!(
                    ", noted AS (INSERT INTO pipeline.prune_candidate (schema_name, table_name, run_id, resource, reason, \
                     key, referred_by) SELECT k.schema_name, k.table_name, {run}, {resource}, k.delete_reason, k.key, \
                     {referrer} FROM (SELECT {schema} AS schema_name, {table} AS table_name, delete_reason, {key} AS key \
                     FROM spared) AS k WHERE NOT EXISTS (SELECT FROM pipeline.prune_candidate AS c \
                     WHERE c.schema_name = k.schema_name AND c.table_name = k.table_name AND c.key = k.key \
                     AND c.approved_at IS NULL) \
                     ON CONFLICT (schema_name, table_name, run_id, key) DO UPDATE SET approved_at = NULL, \
                     reason = excluded.reason, referred_by = excluded.referred_by, created_at = now())",
                    run = Literal(run),
                    resource = Literal(resource.as_str()),
                    referrer = Literal(&foreign.table),
                    schema = Literal(self.schema),
                    table = Literal(table),
                    key = self.mapping.key_object("spared"),
                )
            });
            format!("{spared}{noted} SELECT count(*) FROM spared")
        };
        let referrers = self.mapping.shape.referenced_by.iter();
        referrers.map(statement).collect()
    }

    /// Forgets kept rows that are not there any more.
    pub(crate) fn forget_kept(&self) -> String {
        let key: Vec<String> = (self.mapping.key.iter())
            .map(|at| {
                let column = &self.mapping.columns[*at];
                format!("{} {}", Quoted(&column.name), column.cell.name())
            })
            .collect();
        format!(
            "DELETE FROM pipeline.prune_candidate AS c WHERE c.schema_name = {} AND c.table_name = {} \
             AND c.approved_at IS NULL AND c.referred_by IS NOT NULL \
             AND NOT EXISTS (SELECT FROM jsonb_to_record(c.key) AS k ({}) JOIN {} AS t ON {})",
            Literal(self.schema),
            Literal(self.mapping.table.name.as_str()),
            list(&key),
            self.target,
            same("t", "k", &self.key),
        )
    }

    pub(crate) fn delete_listed(&self) -> String {
        format!(
            "DELETE FROM {} AS t USING {} AS g WHERE {}",
            self.target,
            self.delete_list(),
            same("t", "g", &self.key)
        )
    }

    /// Counts the listed rows that are still there.
    pub(crate) fn count_undeleted(&self) -> String {
        format!(
            "SELECT count(*) FROM {} AS t JOIN {} AS g ON {}",
            self.target,
            self.delete_list(),
            same("t", "g", &self.key)
        )
    }

    /// Collects the rows of a run's held candidates. Parameters: schema, table, run, resource.
    pub(crate) fn collect_held(&self) -> String {
        format!(
            "INSERT INTO {} SELECT c.reason, {} FROM {} AS t JOIN pipeline.prune_candidate AS c ON c.key = {} \
             WHERE c.schema_name = $1 AND c.table_name = $2 AND c.run_id = $3 AND c.resource = $4 AND c.approved_at IS NULL \
             AND c.referred_by IS NULL",
            self.delete_list(),
            of("t", &self.key),
            self.target,
            self.mapping.key_object("t"),
        )
    }

    /// Settles a run's held candidates whose rows are not there any more. Parameters: schema, table, run, resource.
    pub(crate) fn settle_held(&self) -> String {
        format!(
            "UPDATE pipeline.prune_candidate AS c SET approved_at = now() WHERE c.schema_name = $1 AND c.table_name = $2 \
             AND c.run_id = $3 AND c.resource = $4 AND c.approved_at IS NULL AND c.referred_by IS NULL AND NOT EXISTS (SELECT FROM {} AS t WHERE {} = c.key)",
            self.target,
            self.mapping.key_object("t"),
        )
    }

    /// Collects the rows that a scratch schema does not have.
    pub(crate) fn collect_not_in(&self, scratch: &str) -> String {
        format!(
            "INSERT INTO {} SELECT 'absent from the staged runs', {} FROM {} AS t WHERE {}",
            self.delete_list(),
            of("t", &self.key),
            self.target,
            self.not_in(scratch),
        )
    }

    /// Keys and reasons of the listed rows, to be recorded as held.
    pub(crate) fn delete_keys(&self) -> String {
        format!(
            "SELECT delete_reason, {} FROM {} AS g",
            self.mapping.key_object("g"),
            self.delete_list()
        )
    }
}
