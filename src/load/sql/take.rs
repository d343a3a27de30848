//! The statements about rows that their table would refuse: whose parent is missing, or for which a CHECK does not hold.

use crate::database::Quoted;

use super::super::decode::RowState;
use super::{Statements, joined};

/// Rows that a table would refuse.
pub(in super::super) struct Take {
    /// As the quarantine tells it.
    pub(in super::super) code: &'static str,
    pub(in super::super) column: Option<String>,
    pub(in super::super) reason: String,
    /// Takes them, and tells their places, keys and owners.
    pub(in super::super) statement: String,
}

impl Statements<'_> {
    /// Takes rows that do not fit out of the diff (out of what is in scope, if there is no diff), and tells them.
    pub(in super::super) fn take_unfit(&self, has_diff: bool) -> Vec<Take> {
        let key = self.mapping.key_object("d");
        let owner = self.mapping.table.owner.as_ref();
        let parent = owner.map_or_else(
            || "NULL::jsonb".to_owned(),
            |owner| format!("to_jsonb(d.{})", Quoted(owner.column.as_str())),
        );
        let take = if has_diff {
            format!("DELETE FROM {} AS d WHERE", self.diff())
        } else {
            format!(
                "UPDATE {} AS d SET staged_state = {} WHERE d.staged_state = {} AND",
                self.staged(),
                RowState::Quarantined as i16,
                RowState::InScope as i16,
            )
        };
        let statement = |condition: &str| {
            format!("{take} {condition} RETURNING d.staged_position, {key}, {parent}")
        };
        let mut takes = Vec::new();
        for check in &self.mapping.checks {
            let condition = match &check.of_column {
                // Its value is called VALUE.
                Some(column) => format!(
                    "(SELECT NOT ({}) FROM (SELECT d.{} AS value) AS v)",
                    check.expression,
                    Quoted(column)
                ),
                None => format!("NOT ({})", check.expression),
            };
            takes.push(Take {
                code: "type",
                column: check.of_column.clone(),
                reason: format!("the CHECK constraint {} does not hold", check.name),
                statement: statement(&condition),
            });
        }
        for foreign in &self.mapping.shape.references {
            // A reference to the table itself is settled by the insert as a whole.
            if (&foreign.referenced_schema, &foreign.referenced_table)
                == (&foreign.schema, &foreign.table)
            {
                continue;
            }
            let quoted = |names: &[String]| -> Vec<String> {
                names.iter().map(|name| Quoted(name).to_string()).collect()
            };
            let columns = quoted(&foreign.columns);
            let matching = columns
                .iter()
                .zip(quoted(&foreign.referenced_columns))
                .map(|(column, target)| format!("p.{target} = d.{column}"))
                .collect::<Vec<_>>()
                .join(" AND ");
            let present = joined(&columns, " AND ", |column| {
                format!("d.{column} IS NOT NULL")
            });
            let condition = format!(
                "{present} AND NOT EXISTS (SELECT FROM {}.{} AS p WHERE {matching})",
                Quoted(&foreign.referenced_schema),
                Quoted(&foreign.referenced_table),
            );
            takes.push(Take {
                code: "orphan",
                column: None,
                reason: format!(
                    "{} is not in {}",
                    foreign.columns.join(", "),
                    foreign.referenced_table
                ),
                statement: statement(&condition),
            });
        }
        takes
    }
}
