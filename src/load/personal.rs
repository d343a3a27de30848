//! Which columns of the mirror are personal: it follows from where their values are in the records ([`crate::person`]).

use crate::config::Source;
use crate::database::{Literal, Quoted};
use crate::load::mapping::{INGESTED_AT, Mapping};
use crate::name::Name;
use crate::person::{ColumnRole, EACH, People};

/// The columns of a table that hold something of one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PersonalColumns {
    pub(crate) table: Name,
    /// The column with the id.
    pub(crate) id: String,
    pub(crate) personal: Vec<String>,
    key: Vec<String>,
    /// Whether the table notes when a row changed.
    pub(crate) is_stamped: bool,
    pub(crate) interceptors: Vec<String>,
}

/// Where a column's value is in the record of its resource; none of one that a record does not fill.
fn tokens_of(mapping: &Mapping, source: &Source) -> Option<Vec<String>> {
    match (source, &mapping.table.rows) {
        (Source::Record(pointer), None) | (Source::Parent(pointer), _) => {
            Some(pointer.tokens().to_vec())
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
        for place in people.places_in(&mapping.table.from) {
            let (mut id, mut personal) = (None, Vec::new());
            for (at, column) in mapping.columns.iter().enumerate() {
                let Some(tokens) = tokens_of(mapping, &column.source) else {
                    continue;
                };
                let name = &column.name;
                match place.role(&tokens) {
                    ColumnRole::Id => id = Some(name.clone()),
                    ColumnRole::Other => {}
                    ColumnRole::Mixed => problems.push(format!(
                        "{table}.{name} holds more than the personal values of one person, which cannot be taken apart; fill columns of \
                         their own, or none"
                    )),
                    ColumnRole::Personal if column.not_null || mapping.key.contains(&at) => {
                        problems.push(format!(
                            "{table}.{name} is personal, and cannot be null; drop its NOT NULL, or take it out of the key"
                        ));
                    }
                    ColumnRole::Personal => personal.push(name.clone()),
                }
            }
            match id {
                Some(id) => found.push(PersonalColumns {
                    table: table.clone(),
                    id,
                    personal,
                    interceptors: mapping.shape.interceptors.clone(),
                    key: mapping.key_names().map(str::to_owned).collect(),
                    is_stamped: mapping
                        .shape
                        .columns
                        .iter()
                        .any(|column| column.name == INGESTED_AT),
                }),
                None if personal.is_empty() => {}
                None => problems.push(format!(
                    "{table}.{} is personal, and no column has the person's id; fill one from {}{}",
                    personal.join(" and ."),
                    place.at,
                    place.id
                )),
            }
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

    pub(crate) fn key_object(&self) -> String {
        let parts = self.key.iter();
        let parts = parts.map(|name| format!("{}, t.{}", Literal(name), Quoted(name)));
        format!(
            "jsonb_build_object({})",
            parts.collect::<Vec<_>>().join(", ")
        )
    }
}
