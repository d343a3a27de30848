//! Which columns of the mirror are personal: it follows from where their values are in the records ([`crate::person`]).

use crate::config::Source;
use crate::database::{Literal, Quoted};
use crate::load::mapping::{INGESTED_AT, Mapping};
use crate::name::Name;
use crate::person::{ColumnRole, EACH, Own, People, PersonPlace};

/// The columns of a table that hold something of one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PersonalColumns {
    pub(crate) table: Name,
    /// The column with the id.
    pub(crate) id: String,
    pub(crate) personal: Vec<String>,
    key: Vec<String>,
    /// The other columns of the table, also those that SQL fills.
    others: Vec<String>,
    /// Whether the table notes when a row changed.
    pub(crate) is_stamped: bool,
    pub(crate) interceptors: Vec<String>,
    /// The rows are the person's own; else the person is something that they name.
    pub(crate) is_own: bool,
    /// Whether a row can be without the id.
    is_nullable: bool,
}

/// Where a column's value is in the record of its resource; none of one that a record does not fill.
fn tokens_of(mapping: &Mapping, source: &Source) -> Option<Vec<String>> {
    match (source, &mapping.table.rows) {
        (Source::Record(pointer) | Source::Parent(pointer), None) => {
            Some(pointer.tokens().to_vec())
        }
        (Source::Parent(pointer), Some(rows)) => {
            let mut tokens = Vec::new();
            if let Some((outer, _)) = rows.split_at_each() {
                tokens.extend_from_slice(outer.tokens());
                tokens.push(EACH.to_owned());
            }
            tokens.extend_from_slice(pointer.tokens());
            Some(tokens)
        }
        (Source::Record(pointer), Some(rows)) => {
            let mut tokens = rows.tokens().to_vec();
            tokens.push(EACH.to_owned());
            tokens.extend_from_slice(pointer.tokens());
            Some(tokens)
        }
        (Source::Constant(_) | Source::Elsewhere, _) => None,
    }
}

/// The columns that hold people, table by table. The error lists all that cannot be erased.
pub(crate) fn personal_columns(
    mappings: &[Mapping],
    people: &People,
) -> Result<Vec<PersonalColumns>, Vec<String>> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    let own = |mapping: &&Mapping| !mapping.table.is_update_only();
    for mapping in mappings.iter().filter(own) {
        let table = &mapping.table.name;
        let of_table = || people.tables.iter().filter(|it| it.table == *table);
        for declared in of_table() {
            let (id, personal) = (&declared.id, declared.personal.as_slice());
            // Beside columns that records fill it may be somebody else whom the row names.
            let is_own =
                mapping.table.select.is_some() && people.owns_records_of(&mapping.table.from);
            add(mapping, id, personal, is_own, &mut found, &mut problems);
        }
        if mapping.table.select.is_none() {
            for place in people.places_in(&mapping.table.from) {
                add_of_place(mapping, place, &mut found, &mut problems);
            }
        } else if people.places_in(&mapping.table.from).next().is_some() && of_table().count() == 0
        {
            problems.push(format!(
                "{table} is filled by a SELECT from records of {}, which hold people; write a [[person.table]] that says which of its \
                 columns are theirs",
                mapping.table.from
            ));
        }
    }
    if problems.is_empty() {
        Ok(found)
    } else {
        problems.sort();
        problems.dedup();
        Err(problems)
    }
}

/// Adds what columns hold of the people in a place of the records that fill them.
fn add_of_place(
    mapping: &Mapping,
    place: &PersonPlace,
    found: &mut Vec<PersonalColumns>,
    problems: &mut Vec<String>,
) {
    let table = &mapping.table.name;
    let (mut id, mut personal) = (None, Vec::new());
    for column in &mapping.columns {
        let Some(tokens) = tokens_of(mapping, &column.source) else {
            continue;
        };
        let name = &column.name;
        match place.role(&tokens) {
            ColumnRole::Id => id = Some(name),
            ColumnRole::Other => {}
            ColumnRole::Mixed => problems.push(format!(
                "{table}.{name} holds more than the personal values of one person, which cannot be taken apart; fill columns of \
                 their own, or none"
            )),
            ColumnRole::Personal => personal.push(name.clone()),
        }
    }
    match id {
        Some(id) => {
            let is_own = is_own(mapping, place);
            add(mapping, id, &personal, is_own, found, problems);
        }
        None if personal.is_empty() => {}
        None => problems.push(format!(
            "{table}.{} is personal, and no column has the person's id; fill one from {}{}",
            personal.join(" and ."),
            place.at,
            place.id
        )),
    }
}

/// Adds the columns of a table that are personal to those whose id is in another one of it.
fn add(
    mapping: &Mapping,
    id: &str,
    personal: &[String],
    is_own: bool,
    found: &mut Vec<PersonalColumns>,
    problems: &mut Vec<String>,
) {
    let table = &mapping.table.name;
    let key: Vec<String> = mapping.key_names().map(str::to_owned).collect();
    for name in personal.iter().map(String::as_str).chain([id]) {
        let mut columns = mapping.shape.columns.iter();
        match columns.find(|column| column.name == name) {
            None => problems.push(format!(
                "[[person.table]] of {table}: the column `{name}` is not in the database"
            )),
            Some(_) if name == id => {}
            Some(column) if column.generated => problems.push(format!(
                "{table}.{name} is personal, and generated by the database; name the columns that it is made of instead"
            )),
            Some(column) if column.not_null || key.iter().any(|key| key == name) => problems.push(format!(
                "{table}.{name} is personal, and cannot be null; drop its NOT NULL, or take it out of the key"
            )),
            Some(_) => {}
        }
    }
    let known = found
        .iter()
        .position(|one| one.table == *table && one.id == id);
    let at = known.unwrap_or_else(|| {
        let columns = mapping.shape.columns.iter();
        found.push(PersonalColumns {
            table: table.clone(),
            id: id.to_owned(),
            personal: Vec::new(),
            key,
            is_stamped: columns.clone().any(|column| column.name == INGESTED_AT),
            // What is generated may be made of what is personal.
            others: columns
                .filter(|column| !column.generated || column.name == id)
                .map(|column| column.name.clone())
                .collect(),
            interceptors: mapping.shape.interceptors.clone(),
            is_own: false,
            is_nullable: is_nullable(mapping, id),
        });
        found.len() - 1
    });
    let one = &mut found[at];
    one.is_own |= is_own;
    for name in personal {
        if !one.personal.contains(name) {
            one.personal.push(name.clone());
        }
    }
    one.others.retain(|name| !one.personal.contains(name));
}

/// Whether the rows of a table are the own of the person in a place of the records that fill it.
fn is_own(mapping: &Mapping, place: &PersonPlace) -> bool {
    match (place.own, &mapping.table.rows) {
        (None, _) | (Some(Own::Entry), None) => false,
        (Some(Own::Record), _) => true,
        (Some(Own::Entry), Some(rows)) => {
            let each = [EACH.to_owned()];
            let element = [rows.tokens(), &each].concat();
            element.starts_with(place.at.tokens())
        }
    }
}

fn is_nullable(mapping: &Mapping, column: &str) -> bool {
    let mut columns = mapping.shape.columns.iter();
    let is_it = columns.find(|one| one.name == column);
    is_it.is_none_or(|one| !one.not_null && !one.generated)
        && !mapping.key_names().any(|key| key == column)
}

/// Why rows of people cannot be removed: a row would be without an id that it must have, or refer to one that is removed.
pub(crate) fn drop_problems(
    mappings: &[Mapping],
    people: &People,
    columns: &[PersonalColumns],
) -> Vec<String> {
    let mut problems = Vec::new();
    let must_name = |table: &Name, id: &str| {
        format!(
            "{table}.{id} names a person and must not be null, and pipeline.toml does not say that the row is the person's own; write `own` in \
             the [[person.place]] of its records, or drop its NOT NULL"
        )
    };
    for one in columns.iter().filter(|one| !one.is_own && !one.is_nullable) {
        problems.push(must_name(&one.table, &one.id));
    }
    for mapping in mappings.iter().filter(|one| one.table.is_update_only()) {
        for place in people.places_in(&mapping.table.from) {
            let mut named = mapping.columns.iter().filter(|column| {
                tokens_of(mapping, &column.source)
                    .is_some_and(|tokens| place.role(&tokens) == ColumnRole::Id)
            });
            problems.extend(
                named
                    .find(|column| !is_own(mapping, place) && !is_nullable(mapping, &column.name))
                    .map(|column| must_name(&mapping.table.name, &column.name)),
            );
        }
    }
    let is_own = |table: &str| {
        let mut own = columns.iter().filter(|one| one.is_own);
        own.any(|one| one.table.as_str() == table)
    };
    let own = mappings
        .iter()
        .filter(|mapping| !mapping.table.is_update_only() && is_own(mapping.table.name.as_str()));
    for mapping in own {
        let others = mapping.shape.referenced_by.iter();
        for other in others.filter(|key| key.schema != key.referenced_schema || !is_own(&key.table))
        {
            problems.push(format!(
                "rows of {0}.{1} refer to rows of {2}, which are removed with their person, and pipeline.toml does not say whose they are; \
                 write `own` in the [[person.place]] of their records, or a [[person.table]], or drop the foreign key",
                other.schema, other.table, mapping.table.name
            ));
        }
    }
    problems.sort();
    problems.dedup();
    problems
}

/// What each column of a table holds of people, as far as records fill it or `[[person.table]]` says it; the most that is said of it.
pub(crate) fn column_roles<'m>(
    mapping: &'m Mapping,
    people: &'m People,
) -> Vec<(&'m str, ColumnRole)> {
    let mut roles: Vec<(&str, ColumnRole)> = Vec::new();
    let table = &mapping.table;
    for declared in people.tables.iter().filter(|it| it.table == table.name) {
        let personal = declared.personal.iter();
        roles.extend(personal.map(|name| (name.as_str(), ColumnRole::Personal)));
        roles.push((&declared.id, ColumnRole::Id));
    }
    let places = people.places_in(&table.from);
    for place in places.filter(|_| table.select.is_none()) {
        for column in &mapping.columns {
            if let Some(tokens) = tokens_of(mapping, &column.source) {
                roles.push((&column.name, place.role(&tokens)));
            }
        }
    }
    let weight = |role: ColumnRole| match role {
        ColumnRole::Personal | ColumnRole::Mixed => 0,
        ColumnRole::Id => 1,
        ColumnRole::Other => 2,
    };
    roles.sort_by_key(|(name, role)| (*name, weight(*role)));
    roles.dedup_by_key(|(name, _)| *name);
    roles
}

impl PersonalColumns {
    pub(crate) fn target(&self, schema: &str) -> String {
        format!("{}.{}", Quoted(schema), Quoted(self.table.as_str()))
    }

    /// Whether a row has a personal value.
    pub(crate) fn has_some(&self) -> String {
        let columns = self.personal.iter();
        let is_there = columns.map(|column| format!("t.{} IS NOT NULL", Quoted(column)));
        let is_there: Vec<String> = is_there.collect();
        if is_there.is_empty() {
            "false".to_owned()
        } else {
            format!("({})", is_there.join(" OR "))
        }
    }

    /// The columns that hold nothing personal of the person.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &str> {
        self.others.iter().map(String::as_str)
    }

    /// The same where the person's id is erased as well.
    pub(crate) fn kept_without_id(&self) -> Vec<&str> {
        self.kept().filter(|name| *name != self.id).collect()
    }

    pub(crate) fn key_object(&self) -> String {
        let parts = self.key.iter();
        let parts = parts.map(|name| format!("{}, t.{}", Literal(name), Quoted(name)));
        format!(
            "jsonb_build_object({})",
            parts.collect::<Vec<_>>().join(", ")
        )
    }
}
