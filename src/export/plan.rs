//! What a profile asks for, checked against the tables and against what is personal. All faults are found together.

use tokio_postgres::types::{Kind, Type};

use super::profile::{Fault, Profile, ProfileFile};
use crate::config::{Config, ProfileColumn, ProfileTable, Treatment};
use crate::database::catalogue::{Column, TableShape};
use crate::database::{Literal, Quoted};
use crate::load::{Mapping, column_roles};
use crate::name::did_you_mean;
use crate::person::{ColumnRole, People};

/// A table as it is handed out.
#[derive(Debug)]
pub(super) struct PlannedTable {
    pub(super) name: String,
    pub(super) comment: Option<String>,
    /// Whose freshness is that of the table.
    pub(super) resource: String,
    pub(super) columns: Vec<PlannedColumn>,
    /// Gives the columns as texts.
    pub(super) query: String,
}

#[derive(Debug)]
pub(super) struct PlannedColumn {
    pub(super) name: String,
    pub(super) comment: Option<String>,
    pub(super) kind: ValueKind,
    pub(super) treatment: Treatment,
    pub(super) not_null: bool,
}

/// How the text of a value is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueKind {
    Boolean,
    Integer,
    Real,
    Decimal,
    Date,
    /// With a zone, which is UTC.
    Time,
    LocalTime,
    Json,
    /// One of the texts of an enum type.
    Word,
    Text,
}

impl ValueKind {
    fn of(r#type: &Type) -> Self {
        match *r#type {
            Type::BOOL => Self::Boolean,
            Type::INT2 | Type::INT4 | Type::INT8 => Self::Integer,
            Type::FLOAT4 | Type::FLOAT8 => Self::Real,
            Type::NUMERIC => Self::Decimal,
            Type::DATE => Self::Date,
            Type::TIMESTAMPTZ => Self::Time,
            Type::TIMESTAMP => Self::LocalTime,
            Type::JSON | Type::JSONB => Self::Json,
            _ if matches!(r#type.kind(), Kind::Enum(_)) => Self::Word,
            _ => Self::Text,
        }
    }

    /// In SQL, as PostgreSQL and DuckDB know it.
    pub(super) fn sql(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Integer => "bigint",
            Self::Real => "double precision",
            Self::Decimal => "numeric",
            Self::Date => "date",
            Self::Time => "timestamp with time zone",
            Self::LocalTime => "timestamp",
            Self::Json => "json",
            Self::Word | Self::Text => "text",
        }
    }

    pub(super) fn is_time(self) -> bool {
        matches!(self, Self::Date | Self::Time | Self::LocalTime)
    }
}

/// The tables of a profile, or all that is wrong with it.
pub(super) fn plan(
    profile: &Profile,
    config: &Config,
    mappings: &[Mapping],
) -> Result<Vec<PlannedTable>, Vec<String>> {
    let check = Check {
        config,
        mappings,
        person_ids: person_ids(mappings, &config.people),
    };
    let mut faults = profile.faults();
    let mut planned: Vec<PlannedTable> = Vec::new();
    for file in &profile.files {
        for table in &file.tables {
            match check.table(file, table) {
                // What the project says of a table goes before what its pack says.
                Ok(table) if planned.iter().any(|said| said.name == table.name) => {}
                Ok(table) => planned.push(table),
                Err(found) => faults.extend(found),
            }
        }
    }
    if faults.is_empty() {
        return Ok(planned);
    }
    faults.sort();
    Err(faults.iter().map(Fault::to_string).collect())
}

fn fault_at(file: &ProfileFile, line: usize, place: &str, fault: &str) -> Fault {
    Fault {
        file: file.name.clone(),
        line,
        sentence: format!("{place}: {fault}"),
    }
}

/// Each table once, as its own resource fills it.
fn own(mappings: &[Mapping]) -> impl Iterator<Item = &Mapping> {
    let of_own = mappings.iter();
    of_own.filter(|mapping| !mapping.table.is_update_only())
}

/// The columns that hold ids of people, as table and column: by `[person]`, or because they refer to such a column.
fn person_ids(mappings: &[Mapping], people: &People) -> Vec<(String, String)> {
    let mut ids = Vec::new();
    for mapping in own(mappings) {
        for (column, role) in column_roles(mapping, people) {
            if role == ColumnRole::Id {
                ids.push((mapping.table.name.to_string(), column.to_owned()));
            }
        }
    }
    loop {
        let mut more = Vec::new();
        for mapping in own(mappings) {
            for (column, table, target) in references(mapping) {
                let (from, to) = (
                    (mapping.table.name.to_string(), column),
                    (table.to_owned(), target),
                );
                if ids.contains(&to) && !ids.contains(&from) && !more.contains(&from) {
                    more.push(from);
                }
            }
        }
        if more.is_empty() {
            return ids;
        }
        ids.extend(more);
    }
}

/// Column, table and column of each reference, with a foreign key or without.
fn references(mapping: &Mapping) -> Vec<(String, &str, String)> {
    let table = &mapping.table;
    let soft = table
        .owner
        .iter()
        .chain(&table.within)
        .chain(&table.references);
    let soft = soft.map(|soft| {
        (
            soft.column.to_string(),
            soft.table.as_str(),
            soft.target.to_string(),
        )
    });
    let hard = mapping.shape.references.iter().flat_map(|key| {
        let pairs = key.columns.iter().zip(&key.referenced_columns);
        pairs.map(|(column, target)| {
            (
                column.clone(),
                key.referenced_table.as_str(),
                target.clone(),
            )
        })
    });
    soft.chain(hard).collect()
}

struct Check<'a> {
    config: &'a Config,
    mappings: &'a [Mapping],
    person_ids: Vec<(String, String)>,
}

impl Check<'_> {
    /// The columns of a table that hold ids of people.
    fn ids_in(&self, table: &str) -> impl Iterator<Item = &str> {
        let of_it = self.person_ids.iter().filter(move |(of, _)| of == table);
        of_it.map(|(_, column)| column.as_str())
    }

    fn table(&self, file: &ProfileFile, table: &ProfileTable) -> Result<PlannedTable, Vec<Fault>> {
        let name = &table.name;
        let at_table = |fault: String| vec![fault_at(file, table.line, name, &fault)];
        let Some(mapping) = own(self.mappings).find(|mapping| mapping.table.name.as_str() == name)
        else {
            let names = self
                .mappings
                .iter()
                .map(|mapping| mapping.table.name.as_str());
            let advice = did_you_mean(name, names).unwrap_or_else(|| {
                "what is personal in any other is not known; take it out".to_owned()
            });
            return Err(at_table(format!(
                "it is no table of pipeline.toml; {advice}"
            )));
        };
        if let Some(pack) = &file.pack
            && mapping.table.pack.as_ref() != Some(pack)
        {
            return Err(at_table(format!(
                "the pack `{pack}` hands out its own tables alone; name this table in sql/export beside pipeline.toml, or remove it here"
            )));
        }
        let resource = &mapping.table.from;
        if !self.config.people.declares(resource) {
            return Err(at_table(format!(
                "[person] of pipeline.toml does not say who is in `{resource}`; write a [[person.place]] for it, or name it in `nobody_in`"
            )));
        }
        let has_places = self.config.people.places_in(resource).next().is_some();
        let roles = column_roles(mapping, &self.config.people);
        if mapping.table.select.is_some() && has_places && roles.is_empty() {
            return Err(at_table(format!(
                "a SELECT fills it from records of {resource}, which hold people; write a [[person.table]] in pipeline.toml that says which \
                 of its columns are theirs"
            )));
        }
        if mapping.hides_rows() {
            return Err(at_table(
                "row-level security hides rows of it from this role; export as one that sees them all"
                    .to_owned(),
            ));
        }
        let subject = Subject {
            mapping,
            roles,
            is_of_nobody: self.config.people.nobody_in.contains(resource),
            is_about_people: table
                .columns
                .iter()
                .any(|column| column.treatment.is_person())
                || self.ids_in(name).any(|id| {
                    let column = mapping.shape.column(id);
                    column.is_some_and(|column| column.not_null)
                }),
        };
        let (mut columns, mut faults) = (Vec::new(), Vec::new());
        for column in &table.columns {
            match subject.column(column, self.ids_in(name).any(|id| id == column.name)) {
                Ok(planned) => columns.push(planned),
                Err(fault) => {
                    let place = format!("{name}.{}", column.name);
                    faults.push(fault_at(file, column.line, &place, &fault));
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(PlannedTable {
            name: name.clone(),
            comment: mapping.shape.comment.clone(),
            resource: resource.to_string(),
            query: query(&mapping.shape, &columns),
            columns,
        })
    }
}

/// A table whose columns are looked at.
struct Subject<'a> {
    mapping: &'a Mapping,
    roles: Vec<(&'a str, ColumnRole)>,
    is_of_nobody: bool,
    /// Whether each row is about a person, or is handed out with the id of one.
    is_about_people: bool,
}

impl Subject<'_> {
    fn column(&self, wanted: &ProfileColumn, is_person_id: bool) -> Result<PlannedColumn, String> {
        let shape = &self.mapping.shape;
        let Some(column) = shape.column(&wanted.name) else {
            let names = shape.columns.iter().map(|column| column.name.as_str());
            let advice = did_you_mean(&wanted.name, names).unwrap_or_else(|| "take it out".into());
            return Err(format!("there is no such column in the database; {advice}"));
        };
        let mut roles = self.roles.iter();
        let role = roles.find(|(name, _)| *name == column.name);
        if let Some((_, ColumnRole::Personal | ColumnRole::Mixed)) = role {
            return Err(
                "[person] of pipeline.toml calls it personal, so that it is never exported; take it out"
                    .to_owned(),
            );
        }
        if is_person_id && !wanted.treatment.is_person() {
            return Err("it holds ids of people; write \"hash:person\"".to_owned());
        }
        let kind = ValueKind::of(&column.r#type);
        let is_hash = matches!(wanted.treatment, Treatment::Hash(_));
        let mut filled = self.mapping.columns.iter();
        let is_of_record =
            self.mapping.table.select.is_none() && filled.any(|filled| filled.name == column.name);
        let may_hold_people = !(self.is_of_nobody && is_of_record);
        if column.generated && may_hold_people && !is_hash {
            return Err(
                "the database makes it of other columns, which can be personal; take it out"
                    .to_owned(),
            );
        }
        match &wanted.treatment {
            Treatment::Cut(period) if !kind.is_time() => {
                return Err(format!(
                    "it has the type {}, and a time alone has a {period}",
                    column.declared
                ));
            }
            Treatment::Copy
                if may_hold_people && matches!(kind, ValueKind::Text | ValueKind::Json) =>
            {
                return Err(format!(
                    "it has the type {}, which can hold people; write \"safe\" if nobody is ever in it, or take it out",
                    column.declared
                ));
            }
            Treatment::Copy | Treatment::Safe
                if self.is_about_people && shape.is_unique(&[column.name.as_str()]) =>
            {
                return Err(
                    "it finds one row at the API, and with it the person; write \"hash:NAME\", or take it out"
                        .to_owned(),
                );
            }
            _ => {}
        }
        Ok(PlannedColumn {
            name: column.name.clone(),
            comment: column.comment.clone(),
            kind: match wanted.treatment {
                Treatment::Hash(_) => ValueKind::Text,
                Treatment::Cut(_) => ValueKind::Date,
                Treatment::Copy | Treatment::Safe => kind,
            },
            treatment: wanted.treatment.clone(),
            not_null: column.not_null,
        })
    }
}

/// The rows in a random order: that of the mirror is that of ids, and would tell which row of two bundles is the same.
fn query(shape: &TableShape, columns: &[PlannedColumn]) -> String {
    let texts: Vec<String> = columns
        .iter()
        .filter_map(|planned| Some(text(planned, shape.column(&planned.name)?)))
        .collect();
    format!(
        "SELECT {} FROM {}.{} AS t ORDER BY random()",
        texts.join(", "),
        Quoted(&shape.schema),
        Quoted(&shape.name)
    )
}

/// A value as text, in a session whose times are UTC and ISO 8601; an expression.
fn text(planned: &PlannedColumn, column: &Column) -> String {
    let value = format!("t.{}", Quoted(&planned.name));
    let kind = ValueKind::of(&column.r#type);
    let with_t = |pattern: &str, replacement: &str| {
        let (pattern, replacement) = (Literal(pattern), Literal(replacement));
        format!("regexp_replace({value}::text, {pattern}, {replacement})")
    };
    match (&planned.treatment, kind) {
        (Treatment::Cut(period), _) => {
            let local = if kind == ValueKind::Time {
                format!("{value} AT TIME ZONE 'UTC'")
            } else {
                format!("{value}::timestamp")
            };
            format!("date_trunc('{period}', {local})::date::text")
        }
        (Treatment::Copy | Treatment::Safe, ValueKind::Time) => {
            with_t(r"^([0-9]+-[0-9]+-[0-9]+) ([0-9:.]+)\+00", r"\1T\2Z")
        }
        (Treatment::Copy | Treatment::Safe, ValueKind::LocalTime) => {
            with_t("^([0-9]+-[0-9]+-[0-9]+) ", r"\1T")
        }
        _ => format!("{value}::text"),
    }
}
