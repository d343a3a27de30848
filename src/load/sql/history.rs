//! The statements of `pipeline.history`: how rows are now, and what that opens and closes.

use crate::load::sql::changes::quoted;
use crate::load::sql::statements::Statements;

/// Which rows are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Those that were noted.
    Noted,
    /// All that the table has, and all that the history has of it.
    All,
}

/// Versions of a schema and a table whose row is as it is said to be until something else is known. Parameters: the schema, the table.
const OPEN: &str = "h.schema_name = $1 AND h.table_name = $2 AND h.valid_to IS NULL";
/// As text: of numbers it shows what an equality hides.
const DIFFERS: &str = "h.row::text IS DISTINCT FROM s.row::text";

impl Statements<'_> {
    fn present(&self) -> String {
        self.of_table("history")
    }

    /// Collects how rows are: their key, and the followed columns, or NULL if the table does not have them.
    pub(crate) fn create_present(&self, rows: Rows) -> String {
        let columns = quoted(&self.names_in_history());
        let row = Self::object(&columns, |_, column| format!("t.{column}"));
        let create = format!(
            "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS",
            self.present()
        );
        if rows == Rows::All {
            let key = Self::object(&self.key, |_, column| format!("t.{column}"));
            return format!(
                "{create} SELECT {key} AS key, {row} AS row FROM {} AS t",
                self.target
            );
        }
        let numbers = Self::numbered("", self.key.len());
        let matching: Vec<String> = (self.key.iter().zip(&numbers))
            .map(|(column, number)| format!("t.{column} = n.{number}"))
            .collect();
        format!(
            "{create} SELECT {} AS key, CASE WHEN t.tableoid IS NOT NULL THEN {row} END AS row \
             FROM (SELECT DISTINCT {} FROM {}) AS n LEFT JOIN {} AS t ON {}",
            self.noted_key(),
            numbers.join(", "),
            self.noted(),
            self.target,
            matching.join(" AND "),
        )
    }

    /// Adds the rows that the history has open and the table does not have. Parameters: the schema, the table.
    pub(crate) fn add_absent(&self) -> String {
        format!(
            "INSERT INTO {present} (key) SELECT h.key FROM pipeline.history AS h \
             WHERE {OPEN} AND NOT EXISTS (SELECT FROM {present} AS s WHERE s.key = h.key)",
            present = self.present()
        )
    }

    /// Closes versions whose row differs or was deleted, and opens those of rows that came or differ. What was opened at the same time
    /// was never so. Parameters: the schema, the table, the time, the run.
    pub(crate) fn write_history(&self) -> [String; 3] {
        let present = self.present();
        [
            format!(
                "DELETE FROM pipeline.history AS h USING {present} AS s \
                 WHERE {OPEN} AND h.key = s.key AND h.valid_from >= $3::text::timestamptz AND {DIFFERS} AND $4::text IS NOT NULL"
            ),
            format!(
                "UPDATE pipeline.history AS h SET valid_to = $3::text::timestamptz, to_run = $4 FROM {present} AS s \
                 WHERE {OPEN} AND h.key = s.key AND {DIFFERS}"
            ),
            format!(
                "INSERT INTO pipeline.history (schema_name, table_name, key, row, valid_from, from_run) \
                 SELECT $1, $2, s.key, s.row, $3::text::timestamptz, $4 FROM {present} AS s \
                 WHERE s.row IS NOT NULL AND NOT EXISTS (SELECT FROM pipeline.history AS h WHERE {OPEN} AND h.key = s.key) \
                 ORDER BY s.key"
            ),
        ]
    }
}
