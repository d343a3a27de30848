//! The statements of `pipeline.history`: how rows are now, and what that opens and closes.

use crate::database::Literal;
use crate::load::sql::note_changes::quoted;
use crate::load::sql::statements::Statements;

/// Which rows are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Those that were noted.
    Noted,
    /// All that the table has, and all that the history has of it.
    All,
}

impl Statements<'_> {
    fn present(&self) -> String {
        self.of_table("history")
    }

    /// Collects how rows are, each with its open version: the key, and the followed columns, or NULL if the table does not have them.
    pub(crate) fn create_present(&self, rows: Rows) -> String {
        let columns = quoted(&self.names_in_history());
        let row = Self::object(&columns, |_, column| format!("t.{column}"));
        let rows = if rows == Rows::All {
            let key = Self::object(&self.key, |_, column| format!("t.{column}"));
            format!(
                "SELECT {key} AS key, {row} AS row FROM {} AS t",
                self.target
            )
        } else {
            let numbers = Self::numbered("", self.key.len());
            let matching: Vec<String> = (self.key.iter().zip(&numbers))
                .map(|(column, number)| format!("t.{column} = n.{number}"))
                .collect();
            format!(
                "SELECT {} AS key, CASE WHEN t.tableoid IS NOT NULL THEN {row} END AS row \
                 FROM (SELECT DISTINCT {} FROM {}) AS n LEFT JOIN {} AS t ON {}",
                self.noted_key(),
                numbers.join(", "),
                self.noted(),
                self.target,
                matching.join(" AND "),
            )
        };
        // Each key is looked up by the index of open versions, also where the server has no statistics: OFFSET rules other joins out,
        // IS NOT DISTINCT FROM other indexes. As text: of numbers it shows what an equality hides.
        format!(
            "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT s.key, s.row, h.id AS open, h.valid_from, \
             h.row::text IS DISTINCT FROM s.row::text AS differs FROM ({rows}) AS s \
             LEFT JOIN LATERAL (SELECT * FROM pipeline.history AS h WHERE {} AND h.key = s.key OFFSET 0) AS h ON true",
            self.present(),
            self.open(),
        )
    }

    /// Versions whose row is as it is said to be until something else is known.
    fn open(&self) -> String {
        format!(
            "h.schema_name IS NOT DISTINCT FROM {} AND h.table_name IS NOT DISTINCT FROM {} AND h.valid_to IS NULL",
            Literal(self.schema),
            Literal(self.mapping.table.name.as_str())
        )
    }

    /// Adds the rows that the history has open and the table does not have.
    pub(crate) fn add_absent(&self) -> String {
        format!(
            "INSERT INTO {present} (key, open, valid_from, differs) SELECT h.key, h.id, h.valid_from, true FROM pipeline.history AS h \
             WHERE {} AND NOT EXISTS (SELECT FROM {present} AS s WHERE s.open = h.id)",
            self.open(),
            present = self.present()
        )
    }

    /// Closes versions whose row differs or was deleted, and opens those of rows that came or differ, at a time by a run. What was opened
    /// at the same time was never so.
    pub(crate) fn write_history(&self, at: &str, run: &str) -> [String; 3] {
        let (present, run) = (self.present(), Literal(run));
        let at = format!("{}::timestamptz", Literal(at));
        // By their numbers alone: by its table too, all of it would be read where there are no statistics.
        let closed = |when: &str| {
            format!(
                "h.id = ANY (ARRAY(SELECT s.open FROM {present} AS s WHERE s.differs AND s.valid_from {when} {at}))"
            )
        };
        [
            format!("DELETE FROM pipeline.history AS h WHERE {}", closed(">=")),
            format!(
                "UPDATE pipeline.history AS h SET valid_to = {at}, to_run = {run} WHERE {}",
                closed("<")
            ),
            format!(
                "INSERT INTO pipeline.history (schema_name, table_name, key, row, valid_from, from_run) \
                 SELECT {}, {}, s.key, s.row, {at}, {run} FROM {present} AS s WHERE s.row IS NOT NULL AND s.differs ORDER BY s.key",
                Literal(self.schema),
                Literal(self.mapping.table.name.as_str()),
            ),
        ]
    }
}
