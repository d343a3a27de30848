//! `[scope]`: what placeholders stand for, and `[scope.lookup]`: where the API shows what their ids mean.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::names::Scope;
use super::reader::{At, Section, decimal, kind};
use crate::name::advice;
use crate::pointer::Pointer;
use crate::template::Values;

const LOOKUP: &str = "lookup";

/// Where one request shows what the ids of a scope variable stand for. Places in a record are JSON pointers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScopeLookup {
    /// What an id is an id of, for messages.
    pub(crate) noun: String,
    /// The endpoint, which lists all of them.
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    /// A number, and what it counts, in the singular.
    pub(crate) count: Option<(String, String)>,
    /// What to know before one is mirrored.
    pub(crate) notice: Option<String>,
}

pub(crate) type ScopeLookups = BTreeMap<String, ScopeLookup>;

pub(super) fn read(root: &Section<'_>) -> (Scope, ScopeLookups) {
    let mut values = Values::new();
    let mut lookups = ScopeLookups::new();
    let Some(section) = root.section("scope") else {
        let unsure = root.has("scope") || root.is_misspelt("scope");
        return (Scope { values, unsure }, lookups);
    };
    let mut unsure = false;
    let mut lookup = None;
    for (key, value) in section.entries() {
        if key.value == LOOKUP
            && let Some(section) = section.entry(&key, &value)
        {
            lookup = Some(section);
            continue;
        }
        let items: Vec<(usize, &DeValue<'_>)> = match value.value {
            DeValue::Array(list) => list
                .iter()
                .map(|item| (item.span().start, item.get_ref()))
                .collect(),
            one => vec![(value.at, one)],
        };
        let mut list = Vec::new();
        for (at, item) in items {
            let text = scalar(item);
            if text.is_none() {
                unsure = true;
                section.problem(
                    at,
                    format_args!(
                        "`{}` is a whole number, a text, or a list of these, not {}",
                        key.value,
                        kind(item)
                    ),
                );
            }
            list.extend(text);
        }
        values.insert(key.value.to_owned(), list);
    }
    for (key, value) in lookup.iter().flat_map(Section::entries) {
        let Some(lookup) = &lookup else { break };
        if !values.contains_key(key.value) {
            let names = values.keys().map(String::as_str);
            lookup.problem(
                key.at,
                format_args!(
                    "[scope] has no `{}`; {}",
                    key.value,
                    advice(key.value, names, "there are")
                ),
            );
        } else if let Some(section) = lookup.entry(&key, &value) {
            lookups.extend(read_lookup(section, key.value).map(|it| (key.value.to_owned(), it)));
        } else {
            lookup.problem(
                value.at,
                format_args!("`{}` is a table, not {}", key.value, kind(value.value)),
            );
        }
    }
    (Scope { values, unsure }, lookups)
}

fn read_lookup(section: Section<'_>, variable: &str) -> Option<ScopeLookup> {
    let path = section.parsed("path", section.required_text("path"), |path| {
        if path.starts_with('/') && !path.contains(['{', '}', '?', '#']) {
            Ok(path.to_owned())
        } else {
            Err("write a path under the API's url without a query, such as \"/v2/things\"")
        }
    });
    let pointer = |key: &'static str| {
        let text = section.text(key);
        let pointer = section.parsed(key, text, |text| {
            Pointer::parse(text).map(|_| text.to_owned())
        });
        pointer.map(|pointer| pointer.value)
    };
    let text = |key: &'static str| section.text(key).map(|text| text.value.to_owned());
    let lookup = ScopeLookup {
        noun: text("noun").unwrap_or_else(|| variable.to_owned()),
        path: path.map(|At { value, .. }| value).unwrap_or_default(),
        id: pointer("id").unwrap_or_else(|| "/id".to_owned()),
        name: pointer("name"),
        count: pointer("count").zip(text("counts").or_else(|| Some("row".to_owned()))),
        notice: text("notice"),
    };
    section.finish();
    (!lookup.path.is_empty()).then_some(lookup)
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => decimal(number).map(|number| number.to_string()),
        _ => None,
    }
}
