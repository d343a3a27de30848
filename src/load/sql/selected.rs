//! The statements of tables that a SELECT fills.

use crate::database::{Literal, Quoted};
use crate::load::decode::types::RowState;
use crate::load::sql::statements::{Statements, joined, list, of};

/// The column of a SELECT that says why a row of it is quarantined.
pub(crate) const REJECT_REASON: &str = "reject_reason";

fn bare(query: &str) -> &str {
    query.trim().trim_end_matches(';')
}

impl Statements<'_> {
    /// Fills the staged table of a `select` block.
    pub(crate) fn insert_selected(&self, query: &str) -> String {
        format!(
            "INSERT INTO {} (staged_position, staged_state, {}) \
             SELECT row_number() OVER (), {}, {} FROM (\n{}\n) AS selected",
            self.staged(),
            list(&self.columns),
            RowState::InScope as i16,
            of("selected", &self.columns),
            bare(query)
        )
    }

    /// As [`Self::insert_selected`], without the rows that have a reject reason: those are quarantined, up to a limit.
    /// Parameters: run, resource, how many. Returns how many there are.
    pub(crate) fn insert_or_reject_selected(&self, query: &str) -> String {
        let table = &self.mapping.table;
        let parent = table.owner.as_ref().map_or_else(
            || "NULL::jsonb".to_owned(),
            |owner| format!("to_jsonb({})", Quoted(owner.column.as_str())),
        );
        format!(
            "WITH selected AS MATERIALIZED (\n{query}\n), taken AS (\
             INSERT INTO {staged} (staged_position, staged_state, {columns}) \
             SELECT row_number() OVER (), {in_scope}, {columns} FROM selected WHERE {REJECT_REASON} IS NULL), \
             rejected AS (INSERT INTO pipeline.quarantine (schema_name, run_id, resource, table_name, file, record_index, \
             parent, code, reason) SELECT {schema}, $1, $2, {name}, '', 0, {parent}, 'type', {REJECT_REASON}::text \
             FROM selected WHERE {REJECT_REASON} IS NOT NULL LIMIT $3) \
             SELECT count(*), count({parent}) FROM selected WHERE {REJECT_REASON} IS NOT NULL",
            query = bare(query),
            staged = self.staged(),
            columns = list(&self.columns),
            in_scope = RowState::InScope as i16,
            schema = Literal(self.schema),
            name = Literal(table.name.as_str()),
        )
    }

    /// What a SELECT gives, to look at its columns.
    pub(crate) fn selected(query: &str) -> String {
        format!("SELECT * FROM (\n{}\n) AS selected", bare(query))
    }

    /// Takes out selected rows without a key: the count is that of unresolved references.
    pub(crate) fn delete_keyless(&self) -> String {
        format!(
            "DELETE FROM {} WHERE {}",
            self.staged(),
            joined(&self.key, " OR ", |column| format!("{column} IS NULL"))
        )
    }
}
