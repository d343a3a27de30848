//! `[[table]]` and `[[derive]]`: where records go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use toml::de::DeValue;

use super::reader::{At, Section, kind};
use super::resource::{Resource, check_placeholders, known, names_in};
use crate::assets;
use crate::name::Name;
use crate::pointer::Pointer;
use crate::template::{Template, Values};

/// A table of the mirror and how its rows are made.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name in the mirror's schema.
    pub name: Name,
    /// The resource whose records feed it.
    pub from: Name,
    /// A nested array whose elements are the records (exploded), instead of the record itself.
    pub rows: Option<Pointer>,
    /// A query over staged tables and the mirror that gives the rows, instead of records.
    pub select: Option<SqlFile>,
    /// A record that fails it has no row; it takes an existing one away.
    pub conditions: Vec<Where>,
    /// Sources of columns that are not simply the record's key of the same name.
    pub columns: BTreeMap<Name, Source>,
    /// The key columns; empty means the table's primary key.
    pub key: Vec<Name>,
    /// Tables that are merged before.
    pub after: Vec<Name>,
    /// The parent whose records define these rows: rows absent from a parent that was read go.
    pub owner: Option<Reference>,
    /// Rows whose reference is not in that table are out of scope.
    pub within: Vec<Reference>,
    pub(super) at: usize,
}

/// `column = "table.column"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The column of this table.
    pub column: Name,
    /// The table that it refers to.
    pub table: Name,
    /// The column there.
    pub target: Name,
}

/// Where a column's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A value of the record.
    Record(Pointer),
    /// A value of the record that an exploded element came from.
    Parent(Pointer),
    /// The same text for all rows: from the scope, or of the slice.
    Constant(Template),
    /// Not from the record: filled by SQL.
    Elsewhere,
}

/// A condition on a record: the value at `pointer` is one of `accepted`.
#[derive(Clone, Debug, PartialEq)]
pub struct Where {
    /// Into the record.
    pub pointer: Pointer,
    /// Texts, numbers or booleans.
    pub accepted: Vec<Value>,
}

/// A file of `sql/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlFile {
    /// As written in the configuration.
    pub name: String,
    /// Its statement.
    pub text: String,
}

/// `[[derive]]`: a statement at the end of a load.
#[derive(Clone, Debug)]
pub struct Derive {
    /// For messages.
    pub name: Name,
    /// The statement.
    pub sql: SqlFile,
    /// It runs when one of these was loaded; empty means always.
    pub after: Vec<Name>,
}

/// Reads all `[[table]]` blocks.
pub(super) fn read(
    blocks: Vec<Section<'_>>,
    resources: &[Resource],
    scope: &Values,
    config: Option<&Path>,
) -> Vec<Table> {
    let names: BTreeSet<String> = blocks
        .iter()
        .filter_map(|block| block.text("name"))
        .map(|name| name.value.to_owned())
        .collect();
    let mut tables: Vec<Table> = Vec::new();
    for mut block in blocks {
        let name = block.required_text("name");
        let name = block.parsed("name", name, Name::parse);
        if let Some(name) = &name {
            block.rename(format!("[[table]] {}", name.value));
            if tables.iter().any(|other| other.name == name.value) {
                block.problem(name.at, "there is another table of this name");
            }
        }
        let table = read_one(&block, name.map(|name| name.value), resources, scope, &names, config);
        block.finish();
        tables.extend(table);
    }
    tables
}

fn read_one(
    block: &Section<'_>,
    name: Option<Name>,
    resources: &[Resource],
    scope: &Values,
    names: &BTreeSet<String>,
    config: Option<&Path>,
) -> Option<Table> {
    let resource_names: BTreeSet<String> = resources
        .iter()
        .map(|resource| resource.name.as_str().to_owned())
        .collect();
    let from = block
        .required_text("from")
        .filter(|from| known(block, from, "from", &resource_names, "resource"));
    let resource = from
        .as_ref()
        .and_then(|from| resources.iter().find(|r| r.name.as_str() == from.value));
    let rows = block.text("rows");
    let rows = block.parsed("rows", rows, Pointer::parse);
    let select = read_sql(block, "select", config);
    if let (Some(rows), Some(_)) = (&rows, &select) {
        block.problem(rows.at, "a table has `rows` or `select`, not both");
    }
    let conditions = block
        .section("where")
        .map(|section| read_where(&section))
        .unwrap_or_default();
    let columns = block
        .section("columns")
        .map(|section| read_columns(&section, rows.is_some(), scope, resource))
        .unwrap_or_default();
    let key = block
        .texts("key")
        .into_iter()
        .filter_map(|column| block.parsed("key", Some(column), Name::parse))
        .map(|column| column.value)
        .collect();
    let after = names_in(block, "after", names, "table");
    let owner = read_references(block, "owner", names);
    if owner.len() > 1 {
        block.problem(block.at(), "`owner` names one column");
    }
    let within = read_references(block, "within", names);
    let from = resource?.name.clone();
    Some(Table {
        name: name?,
        from,
        rows: rows.map(|rows| rows.value),
        select,
        conditions,
        columns,
        key,
        after,
        owner: owner.into_iter().next(),
        within,
        at: block.at(),
    })
}

fn read_where(section: &Section<'_>) -> Vec<Where> {
    let mut conditions = Vec::new();
    for (key, value) in section.entries() {
        let pointer = match Pointer::parse(key.value) {
            Ok(pointer) => pointer,
            Err(error) => {
                section.problem(key.at, format_args!("`{}`: {error}", key.value));
                continue;
            }
        };
        let accepted: Option<Vec<Value>> = match value.value {
            DeValue::Array(list) => list.iter().map(|item| literal(item.get_ref())).collect(),
            one => literal(one).map(|value| vec![value]),
        };
        match accepted {
            Some(accepted) => conditions.push(Where { pointer, accepted }),
            None => section.problem(
                value.at,
                format_args!(
                    "`{}` is compared with a text, a whole number, true, false, or a list of these",
                    key.value
                ),
            ),
        }
    }
    conditions
}

fn literal(value: &DeValue<'_>) -> Option<Value> {
    match value {
        DeValue::String(text) => Some(Value::from(text.as_ref())),
        DeValue::Boolean(flag) => Some(Value::from(*flag)),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(Value::from),
        _ => None,
    }
}

fn read_columns(
    section: &Section<'_>,
    exploded: bool,
    scope: &Values,
    resource: Option<&Resource>,
) -> BTreeMap<Name, Source> {
    let mut columns = BTreeMap::new();
    for (key, value) in section.entries() {
        let name = match Name::parse(key.value) {
            Ok(name) => name,
            Err(error) => {
                section.problem(key.at, format_args!("`{}`: {error}", key.value));
                continue;
            }
        };
        if let Some(source) = read_source(section, &key, &value, exploded, scope, resource) {
            columns.insert(name, source);
        }
    }
    columns
}

fn read_source(
    section: &Section<'_>,
    key: &At<&str>,
    value: &At<&DeValue<'_>>,
    exploded: bool,
    scope: &Values,
    resource: Option<&Resource>,
) -> Option<Source> {
    let text = match value.value {
        DeValue::String(text) => text.as_ref(),
        DeValue::Boolean(false) => return Some(Source::Elsewhere),
        other => {
            section.problem(
                value.at,
                format_args!(
                    "`{}` is a JSON pointer, a \"{{placeholder}}\", or false for a column that SQL fills, not {}",
                    key.value,
                    kind(other)
                ),
            );
            return None;
        }
    };
    let pointer = |text: &str| match Pointer::parse(text) {
        Ok(pointer) => Some(pointer),
        Err(error) => {
            section.problem(value.at, format_args!("`{}` = \"{text}\": {error}", key.value));
            None
        }
    };
    if let Some(parent) = text.strip_prefix("..") {
        if !exploded {
            section.problem(
                value.at,
                format_args!("`{}` points into a parent record, which only tables with `rows` have", key.value),
            );
        }
        return pointer(parent).map(Source::Parent);
    }
    if text.contains('{') {
        return match Template::parse(text) {
            Ok(template) => {
                let for_each = resource.and_then(|resource| resource.for_each.as_ref());
                check_placeholders(section, &template, value.at, scope, for_each);
                Some(Source::Constant(template))
            }
            Err(error) => {
                section.problem(value.at, format_args!("`{}`: {error}", key.value));
                None
            }
        };
    }
    pointer(text).map(Source::Record)
}

fn read_references(
    block: &Section<'_>,
    key: &'static str,
    names: &BTreeSet<String>,
) -> Vec<Reference> {
    let Some(section) = block.section(key) else {
        return Vec::new();
    };
    let mut references = Vec::new();
    for (column, value) in section.entries() {
        let parts = match value.value {
            DeValue::String(text) => text.split_once('.'),
            _ => None,
        };
        let Some((table, target)) = parts else {
            section.problem(
                value.at,
                format_args!("`{}` is written \"table.column\"", column.value),
            );
            continue;
        };
        let at = At {
            value: table,
            at: value.at,
        };
        if !known(&section, &at, column.value, names, "table") {
            continue;
        }
        match (Name::parse(column.value), Name::parse(table), Name::parse(target)) {
            (Ok(column), Ok(table), Ok(target)) => references.push(Reference {
                column,
                table,
                target,
            }),
            _ => section.problem(value.at, "these are not all names"),
        }
    }
    references
}

fn read_sql(block: &Section<'_>, key: &'static str, config: Option<&Path>) -> Option<SqlFile> {
    let name = block.text(key)?;
    match assets::sql(name.value, config) {
        Ok(text) => Some(SqlFile {
            name: name.value.to_owned(),
            text,
        }),
        Err(message) => {
            block.problem(name.at, format_args!("`{key}`: {message}"));
            None
        }
    }
}

/// Reads all `[[derive]]` blocks.
pub(super) fn read_derives(
    blocks: Vec<Section<'_>>,
    tables: &[Table],
    config: Option<&Path>,
) -> Vec<Derive> {
    let names: BTreeSet<String> = tables
        .iter()
        .map(|table| table.name.as_str().to_owned())
        .collect();
    let mut derives: Vec<Derive> = Vec::new();
    for mut block in blocks {
        let name = block.required_text("name");
        let name = block.parsed("name", name, Name::parse);
        if let Some(name) = &name {
            block.rename(format!("[[derive]] {}", name.value));
            if derives.iter().any(|other| other.name == name.value) {
                block.problem(name.at, "there is another derive of this name");
            }
        }
        if block.required_text("sql").is_some()
            && let Some(sql) = read_sql(&block, "sql", config)
            && let Some(name) = name
        {
            derives.push(Derive {
                name: name.value,
                sql,
                after: names_in(&block, "after", &names, "table"),
            });
        }
        block.finish();
    }
    derives
}
