//! One table of a load: its block of `pipeline.toml` joined with its shape in the catalogue.

use std::collections::BTreeSet;

use crate::config::{Config, Feed, FollowedTables, Resource, Source, Table};
use crate::database::catalogue::{Check, ForeignKey, ROW_SECURITY, TableShape};
use crate::database::{Literal, Quoted};
use crate::load::cell::CellType;
use crate::load::error::LoadError;
use crate::name::{Name, did_you_mean};
use crate::pointer::Pointer;
use crate::printable;
use crate::staging::{Manifest, ReadManifest};

/// Moves by itself: set when a row is inserted, and when it really changes.
pub(crate) const INGESTED_AT: &str = "ingested_at";

/// A table ready to be staged and merged.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    pub(crate) table: Table,
    pub(crate) shape: TableShape,
    /// The columns that a load fills, in the table's order.
    pub(crate) columns: Vec<MappedColumn>,
    /// The key, as places in `columns`.
    pub(crate) key: Vec<usize>,
    /// The resource's cursor field, as a place in `columns`.
    pub(crate) cursor: Option<usize>,
    /// What the table checks of the columns that a load fills.
    pub(crate) checks: Vec<Check>,
    /// Named reads that prove absence, and which rows `t` each covers; an expression.
    pub(crate) proving_reads: Vec<(Name, String)>,
    /// Whether a read can show all records there are; not, where the resource consists of named reads alone.
    pub(crate) has_full_reads: bool,
    /// Whether the table keeps its row where a staged one differs but has the same cursor: another resource that feeds the table
    /// is loaded up to this run or a later one, and its answer may be newer.
    pub(crate) yields: bool,
    /// What is written down of its rows; none: the table is not followed.
    pub(crate) followed: Option<Followed>,
    /// The fields of the only key whose rows are staged, as COPY has them; none: all rows are.
    pub(crate) only_key: Option<Vec<u8>>,
}

/// The columns of a table, beside the key, whose values a load writes down when it changes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Followed {
    /// Of `[changes]`.
    pub(crate) changes: Option<Vec<String>>,
    /// Of `[history]`.
    pub(crate) history: Option<Vec<String>>,
}

#[derive(Clone, Debug)]
pub(crate) struct MappedColumn {
    pub(crate) name: String,
    pub(crate) cell: CellType,
    pub(crate) not_null: bool,
    pub(crate) source: Source,
}

impl Mapping {
    /// Joins a table block with the catalogue; every disagreement is a sentence.
    pub(crate) fn resolve(
        config: &Config,
        table: &Table,
        shape: Option<TableShape>,
        mut checks: Vec<Check>,
    ) -> Result<Self, Vec<String>> {
        let Some(shape) = shape else {
            return Err(vec![format!(
                "table {}: it is not in the database; add a migration that creates it",
                table.name
            )]);
        };
        let mut problems = Vec::new();
        let mut problem = |text: String| problems.push(format!("table {}: {text}", table.name));
        let columns = columns(table, &shape, &mut problem);
        let key = key(table, &shape, &columns, &mut problem);
        let resource = config.resource(table.from.as_str());
        let cursor = cursor(resource, &columns);
        for reference in table
            .owner
            .iter()
            .chain(&table.within)
            .chain(&table.references)
        {
            if !columns
                .iter()
                .any(|column| column.name == reference.column.as_str())
            {
                problem(format!(
                    "`{}` refers to {}, but a load does not fill it",
                    reference.column, reference.table
                ));
            }
        }
        let proving_reads = proving_reads(config, table, &columns, &mut problem);
        let followed = Followed::of(config, table);
        for (section, columns) in followed.iter().flat_map(Followed::sections) {
            check_followed(section, columns, &shape, &mut problem);
        }
        // Of columns that come from elsewhere the load knows no value.
        checks.retain(|check| {
            let mut names = check.columns.iter();
            !check.columns.is_empty()
                && names.all(|name| columns.iter().any(|column| column.name == *name))
        });
        if problems.is_empty() {
            Ok(Self {
                table: table.clone(),
                shape,
                columns,
                key,
                cursor,
                checks,
                proving_reads,
                has_full_reads: config
                    .resource(table.from.as_str())
                    .is_none_or(Resource::has_own_read),
                yields: false,
                followed,
                only_key: None,
            })
        } else {
            Err(problems)
        }
    }

    /// The same table, as another resource feeds it.
    pub(crate) fn fed_by(&self, feed: &Feed) -> Self {
        Self {
            table: self.table.fed_by(feed),
            ..self.clone()
        }
    }

    /// Writes down no changes of its rows, but their history.
    pub(crate) fn without_changes(&mut self) {
        let history = self.followed.take().and_then(|followed| followed.history);
        self.followed = history.map(|history| Followed {
            changes: None,
            history: Some(history),
        });
    }

    /// Whether several resources feed the table, so that what comes later need not be newer.
    pub(crate) fn is_shared(&self) -> bool {
        !self.table.also_from.is_empty()
    }

    /// Whether a read of its resource proves which rows of the table are absent from the API.
    pub(crate) fn is_proven_by(&self, manifest: &Manifest) -> bool {
        manifest.is_complete_full() && !self.table.is_update_only()
    }

    /// Which rows `t` the named reads of a run cover that prove absence; an expression. None, unless all of them are
    /// complete: a row that is absent from one may have moved to the part of another.
    pub(crate) fn covered_by(&self, manifest: &Manifest) -> Option<String> {
        let is_proof = |name: &Name| {
            manifest
                .reads
                .get(name)
                .is_some_and(ReadManifest::is_complete_full)
        };
        let are_complete = self.proving_reads.iter().all(|(name, _)| is_proof(name));
        let covered = self
            .proving_reads
            .iter()
            .map(|(_, covered)| covered.as_str());
        let covered = covered.collect::<Vec<_>>().join(" OR ");
        let covers = are_complete && !covered.is_empty() && !self.table.is_update_only();
        covers.then_some(covered)
    }

    /// References that a load fills. Of columns that come from elsewhere it knows no value.
    pub(crate) fn references(&self) -> impl Iterator<Item = &ForeignKey> {
        let is_filled = |name: &String| self.columns.iter().any(|column| column.name == *name);
        self.shape.references.iter().filter(move |foreign| {
            foreign.columns.iter().all(is_filled)
                && (!foreign.is_of_itself() || foreign.referenced_columns.iter().all(is_filled))
        })
    }

    pub(crate) fn key_names(&self) -> impl Iterator<Item = &str> {
        self.key.iter().map(|at| self.columns[*at].name.as_str())
    }

    /// SQL for the key of a row as a JSON object: `{"id": 12}`.
    pub(crate) fn key_object(&self, alias: &str) -> String {
        let parts: Vec<String> = self
            .key_names()
            .map(|name| format!("{}, {alias}.{}", Literal(name), Quoted(name)))
            .collect();
        format!("jsonb_build_object({})", parts.join(", "))
    }

    /// The tables that its rows refer to.
    pub(crate) fn needs(&self) -> impl Iterator<Item = &str> {
        let declared = self.table.within.iter().map(|within| within.table.as_str());
        let after = self.table.after.iter().map(Name::as_str);
        let keys = self
            .shape
            .references
            .iter()
            .map(|foreign| foreign.referenced_table.as_str());
        // What it updates is inserted before.
        let own = (self.table.is_update_only()).then_some(self.table.name.as_str());
        declared.chain(after).chain(keys).chain(own)
    }

    /// Whether its SELECT may lack rows since one of these tables lacks some.
    pub(crate) fn selects_from(&self, incomplete_tables: &BTreeSet<Name>) -> bool {
        // Of the owner the rows are staged.
        let owner = self.table.owner.as_ref().map(|owner| owner.table.as_str());
        let mut needed = self.needs().filter(|table| Some(*table) != owner);
        self.table.select.is_some() && needed.any(|table| incomplete_tables.contains(table))
    }

    /// Whether row-level security hides rows of the table.
    pub(crate) fn hides_rows(&self) -> bool {
        let mut interceptors = self.shape.interceptors.iter();
        interceptors.any(|interceptor| interceptor == ROW_SECURITY)
    }

    /// Whether something of the table may change or drop rows on their way into it.
    pub(crate) fn is_intercepted(&self) -> bool {
        !self.shape.interceptors.is_empty()
    }

    /// The triggers, rules and policies of the table, in a sentence; none if it has none.
    pub(crate) fn intercepted(&self) -> Option<String> {
        let sentence = format!(
            "the table {} has {}",
            self.table.name,
            self.shape.interceptors.join(", ")
        );
        self.is_intercepted()
            .then(|| printable::line(&sentence).into_owned())
    }

    /// Refuses a statement that has not done to all of these rows what it says.
    pub(crate) fn check_arrived(
        &self,
        rows: u64,
        done: u64,
        doing: &'static str,
    ) -> Result<(), LoadError> {
        if done == rows {
            return Ok(());
        }
        Err(LoadError::Intercepted {
            table: self.table.name.to_string(),
            rows,
            missing: rows.abs_diff(done),
            doing,
            interceptors: self.shape.interceptors.clone(),
        })
    }

    pub(crate) fn has_ingested_at(&self) -> bool {
        self.shape
            .columns
            .iter()
            .any(|column| column.name == INGESTED_AT)
    }
}

impl Followed {
    /// None if neither section names the table.
    pub(crate) fn of(config: &Config, table: &Table) -> Option<Self> {
        let of = |tables: &FollowedTables| {
            let columns = tables.get(&table.name)?;
            Some(columns.iter().map(Name::to_string).collect())
        };
        let (changes, history) = (of(&config.changes.tables), of(&config.history));
        (changes.is_some() || history.is_some()).then_some(Self { changes, history })
    }

    /// Each section that names the table, with its columns.
    pub(crate) fn sections(&self) -> impl Iterator<Item = (&'static str, &[String])> {
        let changes = self
            .changes
            .as_deref()
            .map(|columns| ("[changes]", columns));
        let history = self
            .history
            .as_deref()
            .map(|columns| ("[history]", columns));
        changes.into_iter().chain(history)
    }
}

fn check_followed(
    section: &str,
    columns: &[String],
    shape: &TableShape,
    problem: &mut impl FnMut(String),
) {
    for name in columns {
        if name == INGESTED_AT {
            problem(format!(
                "{section} follows `{INGESTED_AT}`, which moves with every change; take it out of the list"
            ));
        } else if shape.column(name).is_none() {
            let names = shape.columns.iter().map(|column| column.name.as_str());
            let advice = did_you_mean(name, names)
                .unwrap_or_else(|| format!("add it in a migration, or take it out of {section}"));
            problem(format!(
                "{section} follows the column `{name}`, which is not in the database; {advice}"
            ));
        }
    }
}

/// Named reads that prove absence. A row is covered if it passes the filters, each of which must be a column of its name.
fn proving_reads(
    config: &Config,
    table: &Table,
    columns: &[MappedColumn],
    problem: &mut impl FnMut(String),
) -> Vec<(Name, String)> {
    let Some(resource) = config.resource(table.from.as_str()) else {
        return Vec::new();
    };
    let reads = resource.reads.iter();
    let proves = |read: &&Resource| read.read.as_ref().is_some_and(|read| read.proves_absence);
    // Nested rows follow their parents.
    let is_of_records = table.rows.is_none() && table.select.is_none();
    let mut proving = Vec::new();
    for read in reads.filter(|read| is_of_records && proves(read)) {
        let mut conditions = Vec::new();
        // What it has of the resource holds for every row of the table.
        let own = read
            .query
            .iter()
            .filter(|parameter| !resource.query.contains(parameter));
        for parameter in own {
            let Some(values) = parameter.value.fill(&config.scope) else {
                continue;
            };
            let name = parameter.name.as_str();
            let field = name
                .strip_prefix("filter[")
                .and_then(|name| name.strip_suffix(']'));
            let field = field.map(|field| field.trim_end_matches('?'));
            let column = columns
                .iter()
                .find(|column| Some(column.name.as_str()) == field);
            let Some(column) = column else {
                problem(format!(
                    "{} proves absence by `{name}`, but the table has no column of this name that a load fills",
                    read.label()
                ));
                continue;
            };
            let values: Vec<String> =
                (values.split(',').map(|value| Literal(value).to_string())).collect();
            conditions.push(format!(
                "t.{}::text IN ({})",
                Quoted(&column.name),
                values.join(", ")
            ));
        }
        match read.read_name() {
            Some(name) if !conditions.is_empty() => {
                proving.push((name.clone(), format!("({})", conditions.join(" AND "))));
            }
            _ => problem(format!(
                "{} proves absence, but has no filter of its own that says of which rows",
                read.label()
            )),
        }
    }
    proving
}

fn columns(
    table: &Table,
    shape: &TableShape,
    problem: &mut impl FnMut(String),
) -> Vec<MappedColumn> {
    for name in table.columns.keys() {
        if !shape
            .columns
            .iter()
            .any(|column| column.name == name.as_str())
        {
            let names = shape.columns.iter().map(|column| column.name.as_str());
            let advice = did_you_mean(name.as_str(), names).unwrap_or_else(|| {
                "add it in a migration, or take it out of [table.columns]".to_owned()
            });
            problem(format!(
                "the column `{name}` is not in the database; {advice}"
            ));
        }
    }
    let mut mapped = Vec::new();
    for column in &shape.columns {
        let source = match table.columns.get(column.name.as_str()) {
            Some(source) => source.clone(),
            None if column.name == INGESTED_AT || column.generated => Source::Elsewhere,
            None => Source::Record(Pointer::key(&column.name)),
        };
        if source == Source::Elsewhere {
            if column.not_null && !column.has_default {
                problem(format!(
                    "the column `{}` is NOT NULL without a default, but a load does not fill it",
                    column.name
                ));
            }
            continue;
        }
        match CellType::of(&column.r#type) {
            Some(cell) => mapped.push(MappedColumn {
                name: column.name.clone(),
                cell,
                not_null: column.not_null,
                source,
            }),
            None => problem(format!(
                "the column `{}` has the type {}, which cannot be loaded; use one of: {}",
                column.name,
                column.r#type.name(),
                CellType::known()
            )),
        }
    }
    mapped
}

fn key(
    table: &Table,
    shape: &TableShape,
    columns: &[MappedColumn],
    problem: &mut impl FnMut(String),
) -> Vec<usize> {
    let names: Vec<&str> = if table.key.is_empty() {
        shape.primary_key.iter().map(String::as_str).collect()
    } else {
        table.key.iter().map(Name::as_str).collect()
    };
    if names.is_empty() {
        problem("it has no primary key and the block names no `key`".to_owned());
    }
    if !names.is_empty() && !shape.is_unique(&names) {
        problem(format!(
            "its key ({}) has no unique index; create one in a migration",
            names.join(", ")
        ));
    }
    let mut key = Vec::new();
    for name in names {
        match columns.iter().position(|column| column.name == name) {
            Some(at) => key.push(at),
            None => problem(format!("the key column `{name}` is not filled by a load")),
        }
    }
    key
}

fn cursor(resource: Option<&Resource>, columns: &[MappedColumn]) -> Option<usize> {
    let field = &resource?.cursor.as_ref()?.field;
    let pointer = Pointer::key(field);
    columns
        .iter()
        .position(|column| column.source == Source::Record(pointer.clone()))
}
