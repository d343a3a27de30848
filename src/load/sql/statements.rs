//! The statements of a load: names in, text out.
//!
//! `target` is a table of the mirror, `staged` the temporary table of the rows that were read (all of
//! them, with their state), `diff` those that are new or differ, `deletes` the keys of delete candidates.

use std::collections::BTreeSet;

use crate::config::Reference;
use crate::database::catalogue::ForeignKey;
use crate::database::{Literal, Quoted};
use crate::load::counts::SAMPLE;
use crate::load::decode::types::{ELEMENT_BITS, RowState};
use crate::load::mapping::{INGESTED_AT, Mapping};
use crate::name::Name;

pub(crate) struct Statements<'m> {
    pub(super) mapping: &'m Mapping,
    pub(super) schema: &'m str,
    /// `"schema"."table"`.
    pub(crate) target: String,
    pub(super) columns: Vec<String>,
    pub(super) key: Vec<String>,
}

/// `a.x = b.x AND a.y = b.y`.
pub(super) fn same(a: &str, b: &str, columns: &[String]) -> String {
    joined(columns, " AND ", |column| {
        format!("{a}.{column} = {b}.{column}")
    })
}

pub(super) fn joined(
    columns: &[String],
    separator: &str,
    each: impl Fn(&String) -> String,
) -> String {
    columns.iter().map(each).collect::<Vec<_>>().join(separator)
}

/// Whether a staged row is to be merged. Not by `=`: of a table without statistics the planner expects one row in 200
/// to equal a value, and a third to be below it.
pub(super) fn in_scope(alias: &str) -> String {
    format!("{alias}.staged_state < {}", RowState::OutOfScope as i16)
}

fn temporary(what: &str, table: &Name) -> String {
    Quoted(&format!("{what}_{table}")).to_string()
}

/// The name of the staged table of this one, which need not be that of the statements: `staged_users`.
pub(crate) fn staged_of(table: &Name) -> String {
    temporary("staged", table)
}

pub(super) fn list(columns: &[String]) -> String {
    columns.join(", ")
}

pub(super) fn of(alias: &str, columns: &[String]) -> String {
    joined(columns, ", ", |column| format!("{alias}.{column}"))
}

/// Asks for the statements that empty the temporary tables of earlier transactions of the session, or drop the large ones. Making a
/// table costs more than filling it with the rows of a sync; truncating one, as `ON COMMIT DELETE ROWS` does, costs as much.
pub(crate) fn clear_staged() -> String {
    const MOST_BYTES: u32 = 1 << 18;
    format!(
        "SELECT string_agg(format(CASE WHEN pg_table_size(oid) > {MOST_BYTES} THEN 'DROP TABLE pg_temp.%I' ELSE 'DELETE FROM pg_temp.%I' END, \
         relname), '; ') FROM pg_catalog.pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind = 'r' AND relname ~ '^(staged|deletes)_'"
    )
}

impl<'m> Statements<'m> {
    pub(crate) fn new(mapping: &'m Mapping, schema: &'m str) -> Self {
        let quoted = |name: &str| Quoted(name).to_string();
        Self {
            target: format!("{}.{}", Quoted(schema), Quoted(mapping.table.name.as_str())),
            columns: mapping
                .columns
                .iter()
                .map(|column| quoted(&column.name))
                .collect(),
            key: mapping.key_names().map(quoted).collect(),
            mapping,
            schema,
        }
    }

    pub(crate) fn staged(&self) -> String {
        self.temporary("staged")
    }

    pub(super) fn diff(&self) -> String {
        self.temporary("diff")
    }

    pub(super) fn delete_list(&self) -> String {
        self.temporary("deletes")
    }

    /// A temporary table's name. Each resource that feeds a table has its own; no name of ours has an `@`.
    fn temporary(&self, what: &str) -> String {
        let table = &self.mapping.table;
        let mut also_from = table.also_from.iter();
        match also_from.position(|feed| feed.from == table.from) {
            Some(place) => Quoted(&format!("{what}_{}@{place}", table.name)).to_string(),
            None => temporary(what, &table.name),
        }
    }

    /// Without the domains of the target: a value that they refuse is for the row to answer, not for the COPY. The table stays for
    /// the next transactions of the session, which begin with [`clear_staged`].
    pub(crate) fn create_staged(&self) -> String {
        let bare: Vec<String> = (self.columns.iter().zip(&self.mapping.columns))
            .map(|(column, mapped)| {
                let shape = self.mapping.shape.column(&mapped.name);
                match shape.and_then(|shape| shape.under_domain.as_deref()) {
                    Some(under) => format!("{column}::{under} AS {column}"),
                    None => column.clone(),
                }
            })
            .collect();
        format!(
            "CREATE TEMPORARY TABLE IF NOT EXISTS {} AS SELECT NULL::bigint AS staged_position, \
             NULL::smallint AS staged_state, {} FROM {} WITH NO DATA",
            self.staged(),
            list(&bare),
            self.target
        )
    }

    /// Lets the server count the staged rows, for the plans of what reads them.
    pub(crate) fn count_for_plans(&self) -> String {
        format!("ANALYZE {} ({})", self.staged(), self.key[0])
    }

    pub(crate) fn copy_staged(&self) -> String {
        format!(
            "COPY {} (staged_position, staged_state, {}) FROM STDIN (FORMAT binary)",
            self.staged(),
            list(&self.columns)
        )
    }

    /// Returns the target's rows in the order of the key, as they would be staged.
    pub(crate) fn copy_out(&self, descending: bool) -> String {
        format!(
            "COPY (SELECT {} FROM {} ORDER BY {}{}) TO STDOUT (FORMAT binary)",
            list(&self.columns),
            self.target,
            list(&self.key),
            if descending { " DESC" } else { "" }
        )
    }

    /// Keeps the newest row of every key: by cursor, then by when it was received.
    pub(crate) fn dedupe(&self) -> String {
        let newest = self.mapping.cursor.map_or_else(String::new, |cursor| {
            format!("{} DESC NULLS LAST, ", self.columns[cursor])
        });
        format!(
            "DELETE FROM {staged} WHERE ctid IN (SELECT ctid FROM (SELECT ctid, row_number() OVER \
             (PARTITION BY {key} ORDER BY {newest}staged_position DESC) AS place FROM {staged}) AS ranked \
             WHERE place > 1)",
            staged = self.staged(),
            key = list(&self.key),
        )
    }

    /// The places and the states of the staged rows.
    pub(crate) fn staged_rows(&self) -> String {
        format!(
            "SELECT staged_position, staged_state FROM {}",
            self.staged()
        )
    }

    /// Keeps only rows with a key of those at these places (first parameter), of these records (second), or of these (third).
    pub(crate) fn keep_wanted(&self) -> String {
        format!(
            "DELETE FROM {staged} AS s WHERE NOT EXISTS (SELECT FROM {staged} AS w WHERE {} \
             AND (w.staged_position = ANY ($1::bigint[]) OR (w.staged_position >> {ELEMENT_BITS}) = ANY ($2::bigint[]))) \
             AND NOT {} = ANY ($3::jsonb[])",
            same("w", "s", &self.key),
            self.mapping.key_object("s"),
            staged = self.staged(),
        )
    }

    /// Takes out the rows at these places whose key the table has.
    pub(crate) fn drop_known(&self) -> String {
        format!(
            "DELETE FROM {} AS s USING {} AS t WHERE {} AND s.staged_position = ANY ($1::bigint[])",
            self.staged(),
            self.target,
            same("t", "s", &self.key),
        )
    }

    /// Takes out rows that came with an older version of their parent than the one that is kept.
    pub(crate) fn drop_rows_of_older_parents(&self) -> Option<String> {
        let owner = self.mapping.table.owner.as_ref()?;
        Some(format!(
            "DELETE FROM {staged} AS s USING {parent} AS p WHERE s.{column} = p.{target} \
             AND (s.staged_position >> {ELEMENT_BITS}) <> (p.staged_position >> {ELEMENT_BITS})",
            staged = self.staged(),
            parent = staged_of(&owner.table),
            column = Quoted(owner.column.as_str()),
            target = Quoted(owner.target.as_str()),
        ))
    }

    /// Marks staged rows whose reference is not in its table as out of scope. Where that table is one of these, of which rows
    /// may be missing, only those that the target does not have: the others stay.
    pub(crate) fn mark_outside(&self, incomplete_tables: &BTreeSet<Name>) -> Vec<String> {
        let references = self.mapping.table.within.iter();
        references
            .map(|within| {
                let unless_known = if incomplete_tables.contains(&within.table) {
                    format!(" AND {}", self.is_new())
                } else {
                    String::new()
                };
                format!(
                    "UPDATE {} AS s SET staged_state = {} WHERE {} AND {}{unless_known}",
                    self.staged(),
                    RowState::OutOfScope as i16,
                    in_scope("s"),
                    self.is_outside_of(within, "s"),
                )
            })
            .collect()
    }

    /// Marks staged rows of a parent that is out of scope: they are out of scope too.
    pub(crate) fn mark_of_outside_parents(&self) -> Option<String> {
        let owner = self.mapping.table.owner.as_ref()?;
        Some(format!(
            "UPDATE {} AS s SET staged_state = {outside} FROM {} AS p WHERE {} \
             AND p.staged_state = {outside} AND p.{} = s.{}",
            self.staged(),
            staged_of(&owner.table),
            in_scope("s"),
            Quoted(owner.target.as_str()),
            Quoted(owner.column.as_str()),
            outside = RowState::OutOfScope as i16,
        ))
    }

    /// Whether a reference of the row `t` is not in its table, of the tables that are not among these; an expression, if there
    /// are any.
    pub(crate) fn is_outside(&self, incomplete_tables: &BTreeSet<Name>) -> Option<String> {
        let references = self.mapping.table.within.iter();
        let outside: Vec<String> = references
            .filter(|within| !incomplete_tables.contains(&within.table))
            .map(|within| format!("({})", self.is_outside_of(within, "t")))
            .collect();
        (!outside.is_empty()).then(|| outside.join(" OR "))
    }

    fn is_outside_of(&self, within: &Reference, alias: &str) -> String {
        let column = Quoted(within.column.as_str());
        format!(
            "{alias}.{column} IS NOT NULL AND NOT EXISTS (SELECT FROM {}.{} AS w WHERE w.{} = {alias}.{column})",
            Quoted(self.schema),
            Quoted(within.table.as_str()),
            Quoted(within.target.as_str()),
        )
    }

    /// For each soft reference: its column, and the count of dangling ones.
    pub(crate) fn count_dangling(&self) -> Vec<(&'m str, String)> {
        self.mapping
            .table
            .references
            .iter()
            .map(|reference| {
                let column = reference.column.as_str();
                let statement = format!(
                    "SELECT count(*) FROM {} AS t WHERE t.{column} IS NOT NULL AND NOT EXISTS \
                     (SELECT FROM {}.{} AS r WHERE r.{} = t.{column})",
                    self.target,
                    Quoted(self.schema),
                    Quoted(reference.table.as_str()),
                    Quoted(reference.target.as_str()),
                    column = Quoted(column),
                );
                (column, statement)
            })
            .collect()
    }

    /// Asks whether an update can change what a row refers to.
    pub(crate) fn changes_references(&self, has_diff: bool) -> String {
        let references = self.mapping.table.references.iter();
        let columns: Vec<String> = references
            .map(|reference| Quoted(reference.column.as_str()).to_string())
            .filter(|column| !self.key.contains(column))
            .collect();
        if columns.is_empty() {
            return "SELECT false".to_owned();
        }
        // A column that is not staged cannot be compared.
        if !columns.iter().all(|column| self.columns.contains(column)) {
            return "SELECT true".to_owned();
        }
        let (from, wanted) = if has_diff {
            (self.diff(), "NOT s.staged_new".to_owned())
        } else {
            (self.staged(), in_scope("s"))
        };
        format!(
            "SELECT EXISTS (SELECT FROM {from} AS s JOIN {} AS t ON {} WHERE {wanted} AND ({}))",
            self.target,
            same("t", "s", &self.key),
            joined(&columns, " OR ", |column| format!(
                "t.{column} IS DISTINCT FROM s.{column}"
            )),
        )
    }

    /// An expression.
    pub(crate) fn is_empty(&self) -> String {
        format!("NOT EXISTS (SELECT FROM {})", self.target)
    }

    /// Whether no complete full read was ever loaded into the target; an expression.
    pub(crate) fn is_never_whole(&self) -> String {
        format!(
            "NOT EXISTS (SELECT FROM pipeline.load WHERE schema_name = {} AND resource = {} \
             AND table_name = {} AND mode = 'full' AND state = 'complete')",
            Literal(self.schema),
            Literal(self.mapping.table.from.as_str()),
            Literal(self.mapping.table.name.as_str()),
        )
    }

    /// Whether the target has a row, or a value in this column.
    pub(crate) fn has_data(&self, column: Option<&str>) -> String {
        let wanted = column.map_or_else(String::new, |column| {
            format!(" WHERE {} IS NOT NULL", Quoted(column))
        });
        format!("SELECT EXISTS (SELECT FROM {}{wanted})", self.target)
    }

    /// Counts the target's rows, or no more than are `enough`.
    pub(crate) fn count_target(&self, enough: Option<u64>) -> String {
        let limit = enough.map_or_else(String::new, |enough| format!(" LIMIT {enough}"));
        format!(
            "SELECT count(*) FROM (SELECT FROM {}{limit}) AS rows",
            self.target
        )
    }

    /// Counts the rows that the target has as they were to be merged, or newer: of the diff, or all that are staged and in scope.
    pub(crate) fn count_held(&self, has_diff: bool) -> String {
        let (from, wanted) = if has_diff {
            (self.diff(), "true".to_owned())
        } else {
            (self.staged(), in_scope("s"))
        };
        self.count_same(&from, &wanted, &self.replaces())
    }

    /// Counts the rows of which it does not hold that they are `missing` from the target.
    pub(super) fn count_same(&self, from: &str, wanted: &str, missing: &str) -> String {
        format!(
            "SELECT count(*) FROM {from} AS s JOIN {} AS t ON {} WHERE {wanted} AND NOT ({})",
            self.target,
            same("t", "s", &self.key),
            missing,
        )
    }

    pub(crate) fn count_states(&self) -> String {
        format!(
            "SELECT staged_state, count(*) FROM {} GROUP BY staged_state",
            self.staged()
        )
    }

    /// The rows that are new or differ. Joining first leaves the rest untouched and unlocked.
    pub(crate) fn create_diff(&self) -> String {
        format!(
            "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT s.staged_position, t.{first} IS NULL AS staged_new, {} \
             FROM {} AS s LEFT JOIN {} AS t ON {} \
             WHERE {} AND (t.{first} IS NULL OR ({}))",
            self.diff(),
            of("s", &self.columns),
            self.staged(),
            self.target,
            same("t", "s", &self.key),
            in_scope("s"),
            self.replaces(),
            first = self.key[0],
        )
    }

    pub(crate) fn has_self_reference(&self) -> bool {
        self.mapping.references().any(ForeignKey::is_of_itself)
    }

    pub(crate) fn drop_temporary(&self) -> String {
        format!("DROP TABLE IF EXISTS {}, {}", self.staged(), self.diff())
    }

    pub(super) fn differs(&self) -> String {
        // json has no equality; its text has.
        let side = |alias: &str| {
            let values: Vec<String> = self
                .columns
                .iter()
                .zip(&self.mapping.columns)
                .map(|(column, mapped)| {
                    let cast = if mapped.cell == crate::load::cell::CellType::Json {
                        "::text"
                    } else {
                        ""
                    };
                    format!("{alias}.{column}{cast}")
                })
                .collect();
            values.join(", ")
        };
        format!("ROW({}) IS DISTINCT FROM ROW({})", side("s"), side("t"))
    }

    /// Updates rows that differ; none if there is nothing but the key.
    pub(crate) fn update(&self, has_diff: bool) -> Option<String> {
        if has_diff {
            return self.update_where(&self.diff(), "NOT s.staged_new");
        }
        let wanted = format!("{} AND {}", in_scope("s"), self.replaces());
        self.update_where(&self.staged(), &wanted)
    }

    pub(super) fn update_where(&self, from: &str, wanted: &str) -> Option<String> {
        let mut assignments: Vec<String> = (self.columns.iter())
            .filter(|column| !self.key.contains(column))
            .map(|column| format!("{column} = s.{column}"))
            .collect();
        if assignments.is_empty() {
            return None;
        }
        if self.mapping.has_ingested_at() {
            assignments.push(format!("{} = now()", Quoted(INGESTED_AT)));
        }
        Some(format!(
            "UPDATE {} AS t SET {} FROM {from} AS s WHERE {} AND {wanted}",
            self.target,
            assignments.join(", "),
            same("t", "s", &self.key)
        ))
    }

    pub(crate) fn insert(&self, has_diff: bool) -> String {
        if has_diff {
            return self.insert_where(&self.diff(), "s.staged_new");
        }
        let wanted = format!("{} AND {}", in_scope("s"), self.is_new());
        self.insert_where(&self.staged(), &wanted)
    }

    pub(super) fn is_new(&self) -> String {
        format!(
            "NOT EXISTS (SELECT FROM {} AS t WHERE {})",
            self.target,
            same("t", "s", &self.key)
        )
    }

    pub(super) fn insert_where(&self, from: &str, wanted: &str) -> String {
        format!(
            "INSERT INTO {} AS t ({columns}) SELECT {columns} FROM {from} AS s WHERE {wanted}",
            self.target,
            columns = list(&self.columns)
        )
    }

    /// Runs a statement that changes the target; returns the count of rows, and keys of a few.
    pub(crate) fn sampled(&self, statement: &str) -> String {
        format!(
            "WITH done AS ({statement} RETURNING {} AS key) SELECT count(*), \
             coalesce((SELECT jsonb_agg(key) FROM (SELECT key FROM done LIMIT {SAMPLE}) AS few), '[]') FROM done",
            self.mapping.key_object("t"),
        )
    }

    /// Fills an empty table with all that is in scope.
    pub(crate) fn insert_all(&self) -> String {
        format!(
            "INSERT INTO {} AS t ({columns}) SELECT {columns} FROM {} AS s WHERE {}",
            self.target,
            self.staged(),
            in_scope("s"),
            columns = list(&self.columns)
        )
    }
}
