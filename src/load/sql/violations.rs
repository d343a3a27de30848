//! The statements about rows that their table would refuse: whose parent is missing, or for which a CHECK does not hold.

use crate::database::Quoted;
use crate::database::catalogue::ForeignKey;
use crate::load::decode::types::RowState;
use crate::load::sql::statements::{Statements, in_scope, joined};

pub(crate) struct Violation {
    pub(crate) code: &'static str,
    pub(crate) column: Option<String>,
    pub(crate) reason: String,
    /// Of a reference of the table to itself: a rejected row may be the parent of others.
    pub(crate) is_of_itself: bool,
    /// Removes the rows; returns their positions, keys and owners.
    pub(crate) statement: String,
}

impl Statements<'_> {
    /// One statement for each constraint: it removes the rows that violate it from the diff (without a diff, from what is
    /// in scope) and returns them.
    pub(crate) fn violations(&self, has_diff: bool) -> Vec<Violation> {
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
                "UPDATE {} AS d SET staged_state = {} WHERE {} AND",
                self.staged(),
                RowState::Quarantined as i16,
                in_scope("d"),
            )
        };
        let statement = |condition: &str| {
            format!("{take} {condition} RETURNING d.staged_position, {key}, {parent}")
        };
        let mut violations = Vec::new();
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
            violations.push(Violation {
                code: "type",
                column: check.of_column.clone(),
                reason: format!("the CHECK constraint {} does not hold", check.name),
                is_of_itself: false,
                statement: statement(&condition),
            });
        }
        let mut references: Vec<&ForeignKey> = self.mapping.references().collect();
        // What any other takes may be a parent in the table itself.
        references.sort_by_key(|foreign| foreign.is_of_itself());
        for foreign in references {
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
            let mut condition = format!(
                "{present} AND NOT EXISTS (SELECT FROM {}.{} AS p WHERE {matching})",
                Quoted(&foreign.referenced_schema),
                Quoted(&foreign.referenced_table),
            );
            if foreign.is_of_itself() {
                // The parent may come with it.
                let among = if has_diff {
                    format!("{} AS p WHERE", self.diff())
                } else {
                    format!("{} AS p WHERE {} AND", self.staged(), in_scope("p"))
                };
                condition = format!("{condition} AND NOT EXISTS (SELECT FROM {among} {matching})");
            }
            violations.push(Violation {
                code: "orphan",
                column: None,
                reason: format!(
                    "{} is not in {}",
                    foreign.columns.join(", "),
                    foreign.referenced_table
                ),
                is_of_itself: foreign.is_of_itself(),
                statement: statement(&condition),
            });
        }
        violations
    }
}
