//! What a table takes from a record: its columns, and the conditions that the record must meet.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use toml::de::DeValue;

use super::names::{Arity, Scope, Slice, check_placeholders};
use super::reader::{At, Section, decimal, kind};
use crate::name::Name;
use crate::pointer::Pointer;
use crate::template::Template;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Record(Pointer),
    /// A value of the record that an exploded element came from.
    Parent(Pointer),
    /// The same text for all rows: from the scope, or of the slice.
    Constant(Template),
    /// Not from the record: filled by SQL.
    Elsewhere,
}

/// As `pipeline.toml` writes it, for people.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(pointer) if pointer.tokens().is_empty() => f.write_str("the record"),
            Self::Record(pointer) => write!(f, "{pointer}"),
            Self::Parent(pointer) => write!(f, "..{pointer}"),
            Self::Constant(template) => write!(f, "{template}"),
            Self::Elsewhere => f.write_str("elsewhere"),
        }
    }
}

/// A condition on a record: the value at `pointer` is one of `accepted`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Where {
    pub(crate) pointer: Pointer,
    pub(crate) accepted: Vec<Value>,
}

pub(super) fn read_where(section: &Section<'_>) -> Vec<Where> {
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
            Some(accepted) if accepted.is_empty() => section.problem(
                value.at,
                format_args!(
                    "`{}` is compared with an empty list, which no record fits",
                    key.value
                ),
            ),
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
        DeValue::Integer(number) => decimal(number).map(Value::from),
        _ => None,
    }
}

/// What the columns of a table can be taken from.
pub(super) struct Records<'a> {
    pub(super) has_parent: bool,
    pub(super) is_select: bool,
    pub(super) scope: &'a Scope,
    pub(super) slice: Slice<'a>,
}

pub(super) fn read_columns(section: &Section<'_>, records: &Records<'_>) -> BTreeMap<Name, Source> {
    let mut columns = BTreeMap::new();
    for (key, value) in section.entries() {
        let name = match Name::parse(key.value) {
            Ok(name) => name,
            Err(error) => {
                section.problem(key.at, format_args!("`{}`: {error}", key.value));
                continue;
            }
        };
        if let Some(source) = read_source(section, key.value, &value, records) {
            columns.insert(name, source);
        }
    }
    columns
}

fn read_source(
    section: &Section<'_>,
    column: &str,
    value: &At<&DeValue<'_>>,
    records: &Records<'_>,
) -> Option<Source> {
    let text = match value.value {
        DeValue::Boolean(false) => return Some(Source::Elsewhere),
        DeValue::String(text) => text.as_ref(),
        other => {
            section.problem(
                value.at,
                format_args!(
                    "`{column}` is a JSON pointer, a \"{{placeholder}}\", or false for a column that SQL fills, not {}",
                    kind(other)
                ),
            );
            return None;
        }
    };
    if records.is_select {
        section.problem(
            value.at,
            format_args!(
                "`{column}`: the SELECT gives the columns; here only `false` means something"
            ),
        );
        return None;
    }
    let fault = |error: &dyn std::fmt::Display| {
        section.problem(value.at, format_args!("`{column}` = \"{text}\": {error}"));
    };
    if let Some(parent) = text.strip_prefix("..") {
        if !records.has_parent {
            fault(&"only a table with `rows` has a parent record to point into");
            return None;
        }
        return Pointer::parse(parent)
            .map_err(|error| fault(&error))
            .ok()
            .map(Source::Parent);
    }
    if text.contains(['{', '}']) && !text.starts_with('/') {
        let template = At {
            value: Template::parse(text).map_err(|error| fault(&error)).ok()?,
            at: value.at,
        };
        check_placeholders(section, &template, records.scope, records.slice, Arity::One);
        return Some(Source::Constant(template.value));
    }
    Pointer::parse(text)
        .map_err(|error| fault(&error))
        .ok()
        .map(Source::Record)
}
