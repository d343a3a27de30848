//! `[[resource]]`: one endpoint, how it is asked, and how far its deltas reach.

use std::collections::BTreeSet;
use std::time::Duration;

use toml::de::DeValue;

use super::reader::{At, Section, kind};
use crate::name::{Name, nearest};
use crate::pointer::Pointer;
use crate::template::{Template, Values};

/// An endpoint that is extracted.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its name on the command line and in the staging directory.
    pub name: Name,
    /// Path with placeholders.
    pub path: Template,
    /// Parameters of a full read.
    pub query: Vec<QueryParameter>,
    /// Parameters of a delta read, without the range.
    pub delta_query: Vec<QueryParameter>,
    /// What deltas range over; without one every read is full.
    pub cursor: Option<Cursor>,
    /// A full read at least so often.
    pub full_every: Option<Duration>,
    /// A read younger than this makes another one unnecessary.
    pub min_age: Duration,
    /// Rows asked for a page, if not the API's `page_size`.
    pub page_size: Option<u32>,
    /// For one request, if not the API's.
    pub timeout: Option<Duration>,
    /// The order to ask for; `None` where the API documents none.
    pub sort: Option<String>,
    /// Where in a record its id is.
    pub id: Pointer,
    /// One request (or a batch) for each id of another resource.
    pub for_each: Option<ForEach>,
    /// Resources that are loaded before.
    pub after: Vec<Name>,
    pub(super) at: usize,
}

/// A query parameter with its template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryParameter {
    /// Such as `filter[kind]`.
    pub name: String,
    /// Its value.
    pub value: Template,
}

/// How deltas are asked for.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// The timestamp that moves with every change, such as `updated_at`.
    pub field: String,
    /// How far a window reaches behind the cursor.
    pub lookback: Duration,
}

/// Fan-out over the ids of another resource.
#[derive(Clone, Debug)]
pub struct ForEach {
    /// Whose ids.
    pub ids_of: Name,
    /// The placeholder that stands for them.
    pub placeholder: String,
    /// Ids in one request: 1, or more where the placeholder is in the query.
    pub batch: usize,
}

/// Reads all blocks.
pub(super) fn read(blocks: Vec<Section<'_>>, scope: &Values) -> Vec<Resource> {
    let names: BTreeSet<String> = blocks
        .iter()
        .filter_map(|block| block.text("name"))
        .map(|name| name.value.to_owned())
        .collect();
    let mut resources: Vec<Resource> = Vec::new();
    for block in blocks {
        if let Some(resource) = read_one(block, scope, &names, &resources) {
            resources.push(resource);
        }
    }
    resources
}

fn read_one(
    mut block: Section<'_>,
    scope: &Values,
    names: &BTreeSet<String>,
    before: &[Resource],
) -> Option<Resource> {
    let name = block.required_text("name");
    let name = block.parsed("name", name, Name::parse);
    if let Some(name) = &name {
        block.rename(format!("[[resource]] {}", name.value));
        if before.iter().any(|other| other.name == name.value) {
            block.problem(name.at, "there is another resource of this name");
        }
    }
    let for_each = block
        .section("for_each")
        .and_then(|section| read_for_each(section, names));
    let path = block.required_text("path");
    let path = block.parsed("path", path, |path| {
        if path.starts_with('/') {
            Template::parse(path).map_err(|error| error.to_string())
        } else {
            Err("a path starts with `/`, such as /v2/users".to_owned())
        }
    });
    if let Some(path) = &path {
        check_placeholders(&block, &path.value, path.at, scope, for_each.as_ref());
    }
    let query = read_query(&block, "query", scope, for_each.as_ref()).unwrap_or_default();
    let delta_query = read_query(&block, "delta_query", scope, for_each.as_ref());
    let cursor = block.section("cursor").and_then(read_cursor);
    let full_every = block.duration("full_every");
    if cursor.is_none() && (delta_query.is_some() || full_every.is_some()) {
        block.problem(
            block.at(),
            "`delta_query` and `full_every` only mean something with a `cursor`; every read is full without one",
        );
    }
    let sort = match block.text("sort") {
        None => Some("-id".to_owned()),
        Some(text) if text.value.is_empty() => None,
        Some(text) => Some(text.value.to_owned()),
    };
    let id = block.text("id").unwrap_or(At {
        value: "/id",
        at: block.at(),
    });
    let id = block.parsed("id", Some(id), Pointer::parse);
    let after = names_in(&block, "after", names, "resource");
    let resource = Resource {
        delta_query: delta_query.unwrap_or_else(|| query.clone()),
        query,
        cursor,
        full_every,
        min_age: block.duration("min_age").unwrap_or_default(),
        page_size: block
            .integer("page_size", 1..=100)
            .and_then(|size| u32::try_from(size).ok()),
        timeout: block.duration("timeout"),
        sort,
        after,
        at: block.at(),
        name: name.map(|name| name.value).unwrap_or_else(unnamed),
        path: path.map(|path| path.value).unwrap_or_else(root_path),
        id: id.map_or_else(|| Pointer::key("id"), |id| id.value),
        for_each,
    };
    if let Some(for_each) = &resource.for_each {
        check_fan_out(&block, &resource, for_each);
    }
    block.finish();
    Some(resource)
}

/// Stands in for a name that was refused, so that the rest of the block is checked too.
fn unnamed() -> Name {
    Name::parse("unnamed").unwrap_or_else(|_| unreachable!("a valid name"))
}

fn root_path() -> Template {
    Template::parse("/").unwrap_or_else(|_| unreachable!("a valid template"))
}

fn read_for_each(section: Section<'_>, names: &BTreeSet<String>) -> Option<ForEach> {
    let ids_of = section.required_text("ids_of");
    let ids_of = ids_of.filter(|name| known(&section, name, "ids_of", names, "resource"));
    let ids_of = section.parsed("ids_of", ids_of, Name::parse);
    let placeholder = section.required_text("as");
    let placeholder = section.parsed("as", placeholder, Name::parse);
    let batch = section.integer("batch", 1..=100).unwrap_or(1);
    section.finish();
    Some(ForEach {
        ids_of: ids_of?.value,
        placeholder: placeholder?.value.as_str().to_owned(),
        batch: usize::try_from(batch).unwrap_or(1),
    })
}

fn check_fan_out(block: &Section<'_>, resource: &Resource, for_each: &ForEach) {
    let placeholder = for_each.placeholder.as_str();
    let in_path = resource.path.placeholders().any(|name| name == placeholder);
    let in_query = resource
        .query
        .iter()
        .any(|parameter| parameter.value.placeholders().any(|name| name == placeholder));
    if !in_path && !in_query {
        block.problem(
            block.at(),
            format_args!("`for_each` gives `{{{placeholder}}}`, but neither path nor query uses it"),
        );
    }
    if in_path && for_each.batch > 1 {
        block.problem(
            block.at(),
            "`batch` only fits where the ids are in a query; a path takes one",
        );
    }
    if for_each.ids_of == resource.name {
        block.problem(block.at(), "`for_each` runs over the resource's own ids");
    }
}

fn read_cursor(section: Section<'_>) -> Option<Cursor> {
    let field = section.required_text("field").map(|text| text.value.to_owned());
    let lookback = section
        .duration("lookback")
        .unwrap_or(Duration::from_mins(10));
    section.finish();
    Some(Cursor {
        field: field?,
        lookback,
    })
}

fn read_query(
    block: &Section<'_>,
    key: &'static str,
    scope: &Values,
    for_each: Option<&ForEach>,
) -> Option<Vec<QueryParameter>> {
    let section = block.section(key)?;
    let mut parameters = Vec::new();
    for (name, value) in section.entries() {
        let text = match value.value {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Boolean(flag) => flag.to_string(),
            other => {
                section.problem(
                    value.at,
                    format_args!("`{}` is a text, not {}", name.value, kind(other)),
                );
                continue;
            }
        };
        if name.value.starts_with("page") || name.value == "sort" {
            section.problem(
                name.at,
                format_args!(
                    "`{}` is set by cursus; use `page_size` or `sort` of the resource",
                    name.value
                ),
            );
            continue;
        }
        match Template::parse(&text) {
            Ok(template) => {
                check_placeholders(&section, &template, value.at, scope, for_each);
                parameters.push(QueryParameter {
                    name: name.value.to_owned(),
                    value: template,
                });
            }
            Err(error) => section.problem(value.at, format_args!("`{}`: {error}", name.value)),
        }
    }
    Some(parameters)
}

pub(super) fn check_placeholders(
    section: &Section<'_>,
    template: &Template,
    at: usize,
    scope: &Values,
    for_each: Option<&ForEach>,
) {
    for name in template.placeholders() {
        if scope.contains_key(name)
            || for_each.is_some_and(|for_each| for_each.placeholder == name)
        {
            continue;
        }
        let advice = nearest(name, scope.keys().map(String::as_str)).map_or_else(
            || "define it in [scope]".to_owned(),
            |near| format!("did you mean `{{{near}}}`?"),
        );
        section.problem(at, format_args!("nothing is called `{{{name}}}`; {advice}"));
    }
}

/// Names in a list that must be among `names`.
pub(super) fn names_in(
    section: &Section<'_>,
    key: &'static str,
    names: &BTreeSet<String>,
    noun: &str,
) -> Vec<Name> {
    section
        .texts(key)
        .into_iter()
        .filter(|name| known(section, name, key, names, noun))
        .filter_map(|name| Name::parse(name.value).ok())
        .collect()
}

/// Whether a name is among `names`; reports it otherwise.
pub(super) fn known(
    section: &Section<'_>,
    name: &At<&str>,
    key: &str,
    names: &BTreeSet<String>,
    noun: &str,
) -> bool {
    let known = names.contains(name.value);
    if !known {
        let advice = nearest(name.value, names.iter().map(String::as_str))
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        section.problem(
            name.at,
            format_args!("`{key}` names the {noun} `{}`, which is not here{advice}", name.value),
        );
    }
    known
}
