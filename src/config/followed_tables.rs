//! `[changes]` and `[history]`: which tables are followed, and which of their columns.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::de::DeValue;

use super::names::Names;
use super::reader::{At, Section, kind};
use crate::name::Name;

/// The columns of followed tables, beside the key; the catalogue knows whether they exist.
pub(crate) type FollowedTables = BTreeMap<Name, Vec<Name>>;

/// What a load writes down of the rows that it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChangesConfig {
    /// How long a change is kept at least; whole months are dropped.
    pub(crate) keep: Duration,
    pub(crate) tables: FollowedTables,
}

pub(super) fn read(section: Section<'_>, tables: &Names) -> ChangesConfig {
    const KEEP: Duration = Duration::from_hours(90 * 24);
    let longest = Duration::from_hours(100 * 366 * 24);
    let keep = section.duration_up_to("keep", longest).unwrap_or(KEEP);
    let tables = read_tables(&section, tables);
    section.finish();
    ChangesConfig { keep, tables }
}

/// `[history]`: the columns that are kept as they were.
pub(super) fn read_history(section: Section<'_>, tables: &Names) -> FollowedTables {
    let followed = read_tables(&section, tables);
    section.finish();
    followed
}

fn read_tables(section: &Section<'_>, tables: &Names) -> FollowedTables {
    let mut followed = BTreeMap::new();
    if let Some(section) = section.section("tables") {
        for (key, value) in section.entries() {
            let table = tables.find(&section, "tables", &key);
            let columns = read_columns(&section, &key, &value);
            followed.extend(table.map(|table| (table, columns)));
        }
    }
    followed
}

fn read_columns(section: &Section<'_>, key: &At<&str>, value: &At<&DeValue<'_>>) -> Vec<Name> {
    let DeValue::Array(list) = value.value else {
        section.problem(
            value.at,
            format_args!(
                "`{}` is a list of columns, not {}",
                key.value,
                kind(value.value)
            ),
        );
        return Vec::new();
    };
    let mut columns = Vec::new();
    for item in list {
        let at = item.span().start;
        let DeValue::String(text) = item.get_ref() else {
            let found = kind(item.get_ref());
            section.problem(
                at,
                format_args!("a column of `{}` is a text, not {found}", key.value),
            );
            continue;
        };
        match Name::parse(text) {
            Ok(column) if columns.contains(&column) => {
                section.problem(at, format_args!("`{}` has {column} twice", key.value));
            }
            Ok(column) => columns.push(column),
            Err(error) => {
                section.problem(at, format_args!("`{}` = \"{text}\": {error}", key.value));
            }
        }
    }
    columns
}
