//! The statements that note what a load does to followed rows, and what has come of it at the load's end.
//!
//! Before a statement changes rows of the target, it is noted in a temporary table of the transaction how they were. What a row is
//! at the end is read from the target itself. So a row that was changed and changed back is no change.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::database::{Literal, Quoted};
use crate::load::decode::types::ELEMENT_BITS;
use crate::load::sql::statements::{Statements, in_scope, joined, same};

/// Orders what is noted of a row: the first note has what was before the load, the last one says which record it is from.
static STEP: AtomicU64 = AtomicU64::new(0);

/// Whose doing a change is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doer<'d> {
    pub(crate) run: &'d str,
    /// Not of a derived statement.
    pub(crate) resource: Option<&'d str>,
    /// The rows have places in pages.
    pub(crate) has_places: bool,
}

impl Doer<'_> {
    /// An expression: where a row `s` is in its pages.
    fn place(&self) -> &'static str {
        if self.has_places {
            "s.staged_position"
        } else {
            "NULL"
        }
    }

    /// Expressions: step, run, resource.
    fn notes(&self) -> (u64, String) {
        let step = STEP.fetch_add(1, Ordering::Relaxed);
        let resource = self.resource.map_or_else(
            || "NULL".to_owned(),
            |resource| Literal(resource).to_string(),
        );
        (step, format!("{step}, {}, {resource}", Literal(self.run)))
    }
}

impl Statements<'_> {
    /// The key first, then what `[changes]` follows, then what `[history]` keeps beside that.
    fn followed(&self) -> Vec<String> {
        let mut names = self.names_in_changes();
        for name in self.names_in_history() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        quoted(&names)
    }

    /// `alias.k0`, for each followed column of a temporary table, which has them by number: any name can be one of the target's.
    pub(super) fn numbered(alias: &str, count: usize) -> Vec<String> {
        (0..count).map(|at| format!("{alias}k{at}")).collect()
    }

    pub(super) fn noted(&self) -> String {
        self.of_table("noted")
    }

    fn snapshot(&self) -> String {
        self.of_table("before")
    }

    /// One for all resources that feed the table.
    pub(super) fn of_table(&self, what: &str) -> String {
        // No name of a table has an `@`: a derived statement finds its own tables.
        Quoted(&format!("{what}@{}", self.mapping.table.name)).to_string()
    }

    /// Whether something was noted; an expression.
    pub(crate) fn is_noted(&self) -> String {
        let notes = format!("pg_temp.{}", self.noted());
        format!("to_regclass({}) IS NOT NULL", Literal(&notes))
    }

    /// Another schema has a table of this name, and its rows are noted under the same name.
    pub(crate) fn drop_noted(&self) -> String {
        format!("DROP TABLE IF EXISTS pg_temp.{}", self.noted())
    }

    pub(crate) fn is_followed(&self) -> bool {
        self.mapping.followed.is_some()
    }

    fn as_numbered(&self, alias: &str) -> String {
        let columns = self.followed();
        let columns = columns.iter().enumerate();
        let columns: Vec<String> = columns
            .map(|(at, column)| format!("{alias}.{column} AS k{at}"))
            .collect();
        columns.join(", ")
    }

    pub(crate) fn create_noted(&self) -> String {
        format!(
            "CREATE TEMPORARY TABLE IF NOT EXISTS {} ON COMMIT DROP AS SELECT NULL::bigint AS step, NULL::text AS run_id, \
             NULL::text AS resource, NULL::boolean AS existed, NULL::bigint AS place, NULL::text AS file, \
             NULL::bigint AS record_index, {} FROM {} AS t WITH NO DATA",
            self.noted(),
            self.as_numbered("t"),
            self.target,
        )
    }

    /// Notes the target's rows whose key is in `from` and that are `wanted`; returns the step too.
    fn note_present(&self, from: &str, wanted: &str, doer: Doer<'_>) -> (u64, String) {
        let columns = self.followed();
        let (step, notes) = doer.notes();
        let place = doer.place();
        let statement = format!(
            "INSERT INTO {} (step, run_id, resource, existed, place, {}) SELECT {notes}, true, {place}, {} FROM {} AS t, {from} AS s \
             WHERE {} AND {wanted}",
            self.noted(),
            Self::numbered("", columns.len()).join(", "),
            joined(&columns, ", ", |column| format!("t.{column}")),
            self.target,
            same("t", "s", &self.key),
        );
        (step, statement)
    }

    /// Notes the keys in `from` that are `wanted`, of rows that the target does not have.
    fn note_absent(&self, from: &str, wanted: &str, doer: Doer<'_>) -> (u64, String) {
        let (step, notes) = doer.notes();
        let place = doer.place();
        let statement = format!(
            "INSERT INTO {} (step, run_id, resource, existed, place, {}) SELECT {notes}, false, {place}, {} FROM {from} AS s \
             WHERE {wanted}",
            self.noted(),
            Self::numbered("", self.key.len()).join(", "),
            joined(&self.key, ", ", |column| format!("s.{column}")),
        );
        (step, statement)
    }

    /// Notes what [`Self::update`] will change.
    pub(crate) fn note_update(&self, has_diff: bool, doer: Doer<'_>) -> (u64, String) {
        if has_diff {
            return self.note_present(&self.diff(), "NOT s.staged_new", doer);
        }
        let wanted = format!("{} AND {}", in_scope("s"), self.replaces());
        self.note_present(&self.staged(), &wanted, doer)
    }

    /// Notes what [`Self::insert`] will add.
    pub(crate) fn note_insert(&self, has_diff: bool, doer: Doer<'_>) -> (u64, String) {
        if has_diff {
            return self.note_absent(&self.diff(), "s.staged_new", doer);
        }
        let wanted = format!("{} AND {}", in_scope("s"), self.is_new());
        self.note_absent(&self.staged(), &wanted, doer)
    }

    /// Notes what [`Self::delete_listed`] will delete.
    pub(crate) fn note_listed(&self, doer: Doer<'_>) -> (u64, String) {
        self.note_present(&self.delete_list(), "true", doer)
    }

    /// Notes the target's rows `t` that are `wanted`; an expression.
    pub(crate) fn note_where(&self, wanted: &str, doer: Doer<'_>) -> (u64, String) {
        self.note_present(&self.target, wanted, doer)
    }

    /// Notes what a rebuild will change, and what it will add.
    pub(crate) fn note_rebuild(&self, scratch: &str, doer: Doer<'_>) -> [(u64, String); 2] {
        let from = self.of(scratch);
        [
            self.note_present(&from, &self.differs(), doer),
            self.note_absent(&from, &self.is_new(), doer),
        ]
    }

    /// The pages that noted rows of a step are from. Parameter: the number of the first record of each page.
    pub(crate) fn noted_pages(&self, step: u64) -> String {
        format!(
            "SELECT DISTINCT width_bucket(place >> {ELEMENT_BITS}, $1::bigint[]) FROM {} WHERE step = {step} AND place IS NOT NULL",
            self.noted()
        )
    }

    /// Writes the pages of noted rows of a step. Parameters: the numbers of the first records; the pages, their files, and
    /// their first records.
    pub(crate) fn note_files(&self, step: u64) -> String {
        format!(
            "UPDATE {} AS n SET file = p.file, record_index = (n.place >> {ELEMENT_BITS}) - p.first \
             FROM unnest($2::int[], $3::text[], $4::bigint[]) AS p (page, file, first) \
             WHERE n.step = {step} AND width_bucket(n.place >> {ELEMENT_BITS}, $1::bigint[]) = p.page",
            self.noted()
        )
    }

    /// Keeps the followed columns of all rows, before a statement that may change any of them.
    pub(crate) fn create_snapshot(&self) -> String {
        format!(
            "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} AS t",
            self.snapshot(),
            self.as_numbered("t"),
            self.target
        )
    }

    /// Notes what differs from the snapshot, and drops it.
    pub(crate) fn note_snapshot(&self, doer: Doer<'_>) -> String {
        let columns = self.followed();
        let (_, notes) = doer.notes();
        let numbered = Self::numbered("", columns.len());
        let each = |at: usize| {
            if at < self.key.len() {
                format!("coalesce(b.k{at}, t.{})", columns[at])
            } else {
                format!("b.k{at}")
            }
        };
        let values: Vec<String> = (0..columns.len()).map(each).collect();
        let matching: Vec<String> = (self.key.iter().enumerate())
            .map(|(at, column)| format!("b.k{at} = t.{column}"))
            .collect();
        format!(
            "INSERT INTO {} (step, run_id, resource, existed, {}) SELECT {notes}, b.tableoid IS NOT NULL, {} FROM {snapshot} AS b \
             FULL JOIN {} AS t ON {} WHERE b.tableoid IS NULL OR t.tableoid IS NULL OR {}; DROP TABLE {snapshot}",
            self.noted(),
            numbered.join(", "),
            values.join(", "),
            self.target,
            matching.join(" AND "),
            Self::is_changed("b", &columns),
            snapshot = self.snapshot(),
        )
    }

    /// Whether one of these columns of `t`, the first followed ones, is not what the numbered columns say. As text: not every type
    /// has an equality, and of some it hides what differs.
    fn is_changed(before: &str, columns: &[String]) -> String {
        let sides = |side: &dyn Fn(usize, &String) -> String| {
            let sides = columns.iter().enumerate();
            sides
                .map(|(at, column)| side(at, column))
                .collect::<Vec<_>>()
                .join(", ")
        };
        format!(
            "ROW({}) IS DISTINCT FROM ROW({})",
            sides(&|at, _| format!("{before}.k{at}::text")),
            sides(&|_, column| format!("t.{column}::text")),
        )
    }

    /// These columns of a row as a JSON object.
    pub(super) fn object(columns: &[String], value: impl Fn(usize, &String) -> String) -> String {
        let columns = columns.iter().enumerate();
        let columns: Vec<String> = columns
            .map(|(at, column)| format!("{} AS {column}", value(at, column)))
            .collect();
        format!(
            "(SELECT to_jsonb(o) FROM (SELECT {}) AS o)",
            columns.join(", ")
        )
    }

    pub(super) fn noted_key(&self) -> String {
        Self::object(&self.key, |at, _| format!("n.k{at}"))
    }

    /// Writes what has come of the noted rows, numbered on from a number, in the order of the key: those that the target has, or the
    /// `deleted` ones.
    pub(crate) fn write_changes(&self, deleted: bool, after: i64) -> String {
        let columns = quoted(&self.names_in_changes());
        let keys = Self::numbered("", self.key.len()).join(", ");
        let before = Self::object(&columns, |at, _| format!("n.k{at}"));
        let matching: Vec<String> = (self.key.iter().enumerate())
            .map(|(at, column)| format!("t.{column} = n.k{at}"))
            .collect();
        let (op, changed, before, present, wanted) = if deleted {
            (
                "'d'".to_owned(),
                "'{}'::text[]".to_owned(),
                before,
                "NULL".to_owned(),
                "n.existed AND t.tableoid IS NULL".to_owned(),
            )
        } else {
            let changed: Vec<String> = columns
                .iter()
                .zip(self.names_in_changes())
                .enumerate()
                .skip(self.key.len())
                .map(|(at, (column, name))| {
                    format!(
                        "CASE WHEN n.k{at}::text IS DISTINCT FROM t.{column}::text THEN {} END",
                        Literal(name)
                    )
                })
                .collect();
            (
                "CASE WHEN n.existed THEN 'u' ELSE 'c' END".to_owned(),
                format!(
                    "CASE WHEN n.existed THEN array_remove(ARRAY[{}]::text[], NULL) ELSE '{{}}' END",
                    changed.join(", ")
                ),
                format!("CASE WHEN n.existed THEN {before} END"),
                Self::object(&columns, |_, column| format!("t.{column}")),
                format!(
                    "t.tableoid IS NOT NULL AND (NOT n.existed OR {})",
                    Self::is_changed("n", &columns)
                ),
            )
        };
        format!(
            "WITH first AS (SELECT DISTINCT ON ({keys}) * FROM {noted} ORDER BY {keys}, step), \
             last AS (SELECT DISTINCT ON ({keys}) {keys}, run_id, resource, file, record_index FROM {noted} ORDER BY {keys}, step DESC) \
             INSERT INTO pipeline.change (schema_name, seq, run_id, resource, table_name, op, key, changed, before, after, file, record_index) \
             SELECT {schema}, {after} + row_number() OVER (ORDER BY {ordered}), l.run_id, l.resource, {table}, {op}, {key}, {changed}, \
             {before}, {present}, l.file, l.record_index FROM first AS n JOIN last AS l ON {one} LEFT JOIN {target} AS t ON {matching} \
             WHERE {wanted}",
            noted = self.noted(),
            schema = Literal(self.schema),
            table = Literal(self.mapping.table.name.as_str()),
            ordered = Self::numbered("n.", self.key.len()).join(", "),
            key = self.noted_key(),
            one = joined(&Self::numbered("", self.key.len()), " AND ", |key| format!(
                "n.{key} = l.{key}"
            )),
            target = self.target,
            matching = matching.join(" AND "),
        )
    }

    /// The key first, then the other columns of `[changes]`.
    pub(crate) fn names_in_changes(&self) -> Vec<&str> {
        let followed = self.mapping.followed.as_ref();
        self.with_key(followed.and_then(|followed| followed.changes.as_deref()))
    }

    /// The key first, then the other columns of `[history]`.
    pub(crate) fn names_in_history(&self) -> Vec<&str> {
        let followed = self.mapping.followed.as_ref();
        self.with_key(followed.and_then(|followed| followed.history.as_deref()))
    }

    fn with_key<'n>(&'n self, columns: Option<&'n [String]>) -> Vec<&'n str> {
        let mut names: Vec<&str> = self.mapping.key_names().collect();
        for name in columns.into_iter().flatten() {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }
}

pub(super) fn quoted(names: &[&str]) -> Vec<String> {
    let names = names.iter();
    names.map(|name| Quoted(name).to_string()).collect()
}
