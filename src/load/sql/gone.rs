//! The statements about rows that are gone.

use crate::config::Reference;
use crate::database::Quoted;
use crate::database::catalogue::ForeignKey;

use super::super::decode::RowState;
use super::{Statements, list, of, same, staged_of};

/// Which rows a delete is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Gone {
    /// Records that fail `where`, or whose reference left (`within`).
    OutOfScope,
    /// Rows whose reference left (`within`).
    Outside,
    /// Rows that a complete full read did not show.
    Absent,
    /// Rows that their parent no longer has.
    Orphaned,
}

impl Gone {
    pub(in super::super) fn reason(self) -> &'static str {
        match self {
            Self::OutOfScope => "out of scope",
            Self::Outside => "its reference left",
            Self::Absent => "absent from a complete full read",
            Self::Orphaned => "absent from its parent",
        }
    }
}

/// Whether the owner of the row `t` was read, with a state for which this holds; an expression.
fn has_owner(owner: &Reference, state: &str) -> String {
    format!(
        "EXISTS (SELECT FROM {} AS p WHERE p.staged_state {state} AND p.{} = t.{})",
        staged_of(&owner.table),
        Quoted(owner.target.as_str()),
        Quoted(owner.column.as_str()),
    )
}

impl Statements<'_> {
    pub(in super::super) fn create_gone(&self) -> String {
        format!(
            "DROP TABLE IF EXISTS {gone}; \
             CREATE TEMPORARY TABLE {gone} ON COMMIT DROP AS SELECT NULL::text AS gone_reason, {} FROM {} WITH NO DATA",
            list(&self.key),
            self.target,
            gone = self.gone(),
        )
    }

    /// Collects keys that are to be deleted.
    pub(in super::super) fn collect_gone(&self, gone: Gone) -> Option<String> {
        let staged = self.staged();
        let there = format!(
            "(SELECT FROM {staged} AS s WHERE {})",
            same("s", "t", &self.key)
        );
        let owner = self.mapping.table.owner.as_ref();
        let unfit = RowState::Quarantined as i16;
        let conditions: Vec<String> = match gone {
            Gone::Outside => self.outside("t"),
            Gone::OutOfScope => vec![format!(
                "EXISTS (SELECT FROM {staged} AS s WHERE s.staged_state = {} AND {})",
                RowState::OutOfScope as i16,
                same("s", "t", &self.key)
            )],
            // Rows of a parent that did not fit are not known to be gone.
            Gone::Absent => vec![format!(
                "NOT EXISTS {there}{}",
                owner.map_or_else(String::new, |owner| {
                    format!(" AND NOT {}", has_owner(owner, &format!("= {unfit}")))
                })
            )],
            Gone::Orphaned => owner
                .into_iter()
                .map(|owner| {
                    let is_known = has_owner(owner, &format!("<> {unfit}"));
                    format!("{is_known} AND NOT EXISTS {there}")
                })
                .collect(),
        };
        if conditions.is_empty() {
            return None;
        }
        Some(format!(
            "INSERT INTO {table} SELECT '{}', {} FROM {} AS t WHERE ({}) AND NOT EXISTS (SELECT FROM {table} AS g WHERE {})",
            gone.reason(),
            of("t", &self.key),
            self.target,
            conditions.join(" OR "),
            same("g", "t", &self.key),
            table = self.gone(),
        ))
    }

    /// Collects keys (the parameter) that a comparison has found to be absent.
    pub(in super::super) fn collect_absent(&self) -> String {
        format!(
            "INSERT INTO {} SELECT '{}', {} FROM {} AS t WHERE t.{} = ANY ($1::bigint[])",
            self.gone(),
            Gone::Absent.reason(),
            of("t", &self.key),
            self.target,
            self.key[0],
        )
    }

    /// Takes keys out again of rows that others still refer to: with them rows would go that no guard has counted. Of the
    /// others those do not count that go too. To be repeated while it finds any.
    pub(in super::super) fn spare_referenced(&self) -> Option<String> {
        let referrers = self.referrers(|foreign| {
            if foreign.is_of_itself() {
                let gone = same("o", "r", &self.key);
                format!(
                    " AND NOT EXISTS (SELECT FROM {} AS o WHERE {gone})",
                    self.gone()
                )
            } else {
                String::new()
            }
        });
        let referrers: Vec<String> = (referrers.iter())
            .map(|referrer| format!("EXISTS {referrer}"))
            .collect();
        (!referrers.is_empty()).then(|| {
            format!(
                "DELETE FROM {} AS g USING {} AS t WHERE {} AND ({})",
                self.gone(),
                self.target,
                same("t", "g", &self.key),
                referrers.join(" OR "),
            )
        })
    }

    /// Rows that refer to the row `t`, a query for each reference.
    fn referrers(&self, further: impl Fn(&ForeignKey) -> String) -> Vec<String> {
        self.mapping
            .shape
            .referenced_by
            .iter()
            .map(|foreign| {
                let matching = foreign
                    .columns
                    .iter()
                    .zip(&foreign.referenced_columns)
                    .map(|(column, target)| format!("r.{} = t.{}", Quoted(column), Quoted(target)))
                    .collect::<Vec<_>>()
                    .join(" AND ");
                format!(
                    "(SELECT FROM {}.{} AS r WHERE {matching}{})",
                    Quoted(&foreign.schema),
                    Quoted(&foreign.table),
                    further(foreign)
                )
            })
            .collect()
    }

    pub(in super::super) fn delete_gone(&self) -> String {
        format!(
            "DELETE FROM {} AS t USING {} AS g WHERE {}",
            self.target,
            self.gone(),
            same("t", "g", &self.key)
        )
    }

    /// Collects the rows of a run's held candidates. Parameters: schema, table, run.
    pub(in super::super) fn collect_held(&self) -> String {
        format!(
            "INSERT INTO {} SELECT c.reason, {} FROM {} AS t JOIN pipeline.prune_candidate AS c ON c.key = {} \
             WHERE c.schema_name = $1 AND c.table_name = $2 AND c.run_id = $3 AND c.approved_at IS NULL",
            self.gone(),
            of("t", &self.key),
            self.target,
            self.mapping.key_object("t"),
        )
    }

    /// Settles a run's held candidates whose rows are not there any more. Parameters: schema, table, run.
    pub(in super::super) fn settle_held(&self) -> String {
        format!(
            "UPDATE pipeline.prune_candidate AS c SET approved_at = now() WHERE c.schema_name = $1 AND c.table_name = $2 \
             AND c.run_id = $3 AND c.approved_at IS NULL AND NOT EXISTS (SELECT FROM {} AS t WHERE {} = c.key)",
            self.target,
            self.mapping.key_object("t"),
        )
    }

    /// Collects the rows that a scratch schema does not have.
    pub(in super::super) fn collect_not_in(&self, scratch: &str) -> String {
        format!(
            "INSERT INTO {} SELECT NULL, {} FROM {} AS t WHERE {}",
            self.gone(),
            of("t", &self.key),
            self.target,
            self.not_in(scratch),
        )
    }

    /// Keys and reasons of the gone rows, for the candidates of a refused delete.
    pub(in super::super) fn gone_keys(&self) -> String {
        format!(
            "SELECT gone_reason, {} FROM {} AS g",
            self.mapping.key_object("g"),
            self.gone()
        )
    }
}
