//! The keys that resources and named reads share: name, path, query, cursor, `for_each`.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::de::DeValue;

use super::names::{Arity, Names, Scope, Slice, check_placeholders};
use super::reader::{At, Section, decimal, kind};
use super::resource::{Cursor, ForEach, QueryParameter, READ, ScopeLists};
use crate::name::Name;
use crate::template::Template;

/// Reads the name of a block, which later messages of the block contain.
/// Names that blocks have, each with the pack whose file the block is in.
pub(super) type Seen = BTreeMap<Name, Option<String>>;

pub(super) fn read_name(block: &mut Section<'_>, noun: &str, seen: &mut Seen) -> Option<Name> {
    let name = block.required_text("name");
    let name = block.parsed("name", name, Name::parse)?;
    block.rename(format!("[[{noun}]] {}", name.value));
    let pack = block.pack().map(|pack| pack.name.clone());
    match seen.get(&name.value) {
        Some(owner) if *owner == pack => block.problem(
            name.at,
            format_args!("there is another {noun} of this name"),
        ),
        Some(owner) => {
            let owner = match owner {
                Some(owner) => format!("the pack `{owner}`"),
                None => "pipeline.toml".to_owned(),
            };
            let message = format!("{owner} has a {noun} of this name; choose another one");
            block.problem(name.at, message);
        }
        None => drop(seen.insert(name.value.clone(), pack)),
    }
    Some(name.value)
}

pub(super) fn read_path(block: &Section<'_>, scope: &Scope, slice: Slice<'_>) -> Option<Template> {
    let path = block.required_text("path");
    let path = block.parsed("path", path, |path| {
        if !path.starts_with('/') {
            return Err("a path starts with `/`, such as \"/v2/users\"".to_owned());
        }
        if path.contains('?') {
            return Err("what follows the `?` belongs into `query`".to_owned());
        }
        if path.contains(|c: char| c == '#' || c.is_whitespace() || c.is_control()) {
            return Err("a path has no `#` and no white space".to_owned());
        }
        Template::parse(path).map_err(|error| error.to_string())
    })?;
    // Ids in a path are taken one at a time, which `check_fan_out` reports in better words.
    let one = match slice {
        Slice::Each(each) => Some(ForEach {
            batch: 1,
            ..each.clone()
        }),
        Slice::None | Slice::Unsure => None,
    };
    check_placeholders(
        block,
        &path,
        scope,
        one.as_ref().map_or(slice, Slice::Each),
        Arity::One,
    );
    Some(path.value)
}

pub(super) fn read_cursor(section: Section<'_>, is_named: bool) -> Option<Cursor> {
    let field = section
        .required_text("field")
        .map(|text| text.value.to_owned());
    let lookback = section
        .duration("lookback")
        .unwrap_or(Duration::from_mins(10));
    let first = section.timeout("first");
    if first.is_some() && !is_named {
        let message = "`first` is for the cursor of a named read: a full read of the resource deletes what it lacks, so it reads all";
        section.problem(section.at(), message);
    }
    section.finish();
    Some(Cursor {
        field: field?,
        lookback,
        first,
    })
}

pub(super) fn read_query(
    block: &Section<'_>,
    key: &'static str,
    scope: &Scope,
    slice: Slice<'_>,
) -> Option<Vec<QueryParameter>> {
    let section = block.section(key)?;
    let mut parameters = Vec::new();
    for (name, value) in section.entries() {
        let text = match value.value {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => decimal(number).unwrap_or_default().to_string(),
            DeValue::Boolean(flag) => flag.to_string(),
            other => {
                section.problem(
                    value.at,
                    format_args!(
                        "`{}` is a text, a whole number, true or false, not {}",
                        name.value,
                        kind(other)
                    ),
                );
                continue;
            }
        };
        if let Some(advice) = set_by_cursus(name.value) {
            section.problem(
                name.at,
                format_args!("`{}` is set by cursus; {advice}", name.value),
            );
            continue;
        }
        match Template::parse(&text) {
            Ok(template) => {
                let template = At {
                    value: template,
                    at: value.at,
                };
                check_placeholders(&section, &template, scope, slice, Arity::Any);
                parameters.push(QueryParameter {
                    name: name.value.to_owned(),
                    value: template.value,
                });
            }
            Err(error) => section.problem(value.at, format_args!("`{}`: {error}", name.value)),
        }
    }
    Some(parameters)
}

fn set_by_cursus(parameter: &str) -> Option<&'static str> {
    match parameter.split('[').next().unwrap_or_default() {
        "page" | "per_page" => Some("use `page_size` of the resource"),
        "sort" => Some("use `sort` of the resource"),
        _ => None,
    }
}

/// The lists of `for_each = { scope, as, path }`: one for each value of a list in `[scope]`. None as well if that is empty.
pub(super) fn read_scope_lists(section: Section<'_>, scope: &Scope) -> Option<ScopeLists> {
    let list = section.required_text("scope");
    let values = list.as_ref().and_then(|list| scope.values.get(list.value));
    if let Some(list) = &list
        && values.is_none()
        && !scope.unsure
    {
        section.problem(
            list.at,
            format_args!(
                "`scope` names `{}`, which [scope] does not have",
                list.value
            ),
        );
    }
    // Each list is staged in a folder that is called by its value, and is found again by it.
    if let (Some(list), Some(values @ [_, _, ..])) = (&list, values.map(Vec::as_slice)) {
        let is_id = |value: &String| !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        for (at, value) in values.iter().enumerate() {
            if !is_id(value) || values[..at].contains(value) {
                let message = format_args!(
                    "`scope`: {value} of `{}` is no number, or is there twice; write each id once",
                    list.value
                );
                section.problem(list.at, message);
            }
        }
    }
    let placeholder = section.required_text("as");
    let placeholder = section.parsed("as", placeholder, Name::parse);
    if let Some(placeholder) = &placeholder
        && (scope.values.contains_key(placeholder.value.as_str())
            || placeholder.value.as_str() == READ)
    {
        let message = format_args!("`as` = \"{}\": this name is taken", placeholder.value);
        section.problem(placeholder.at, message);
    }
    let one = placeholder.as_ref().map(|placeholder| ForEach {
        ids_of: placeholder.value.clone(),
        placeholder: placeholder.value.as_str().to_owned(),
        batch: 1,
    });
    let path = read_path(
        &section,
        scope,
        one.as_ref().map_or(Slice::Unsure, Slice::Each),
    );
    if let (Some(path), Some(one)) = (&path, &one)
        && !path.placeholders().any(|name| name == one.placeholder)
    {
        section.problem(
            section.at(),
            format_args!("`path` must have `{{{}}}`", one.placeholder),
        );
    }
    section.finish();
    Some(ScopeLists {
        placeholder: one?.placeholder,
        values: values.filter(|values| !values.is_empty())?.clone(),
        path: path?,
    })
}

/// What to fan out over, and the name in `[scope]` with which it need not; `own` are ids that it cannot run over.
pub(super) fn read_for_each(
    section: Section<'_>,
    own: Option<&Name>,
    scope: &Scope,
    names: &Names,
) -> Option<(ForEach, Option<String>)> {
    let ids_of = section
        .required_text("ids_of")
        .and_then(|name| Some((name.at, names.find(&section, "ids_of", &name)?)));
    if let Some((at, ids_of)) = &ids_of
        && own == Some(ids_of)
    {
        section.problem(
            *at,
            "a resource cannot run over its own ids; a named read can",
        );
    }
    let unless = section.text("unless");
    if let Some(unless) = &unless
        && !scope.values.contains_key(unless.value)
        && !scope.unsure
    {
        section.problem(
            unless.at,
            format_args!(
                "`unless` names `{}`, which [scope] does not have",
                unless.value
            ),
        );
    }
    let placeholder = section.required_text("as");
    let placeholder = section.parsed("as", placeholder, Name::parse);
    let placeholder = placeholder.filter(|placeholder| {
        let is_taken = scope.values.contains_key(placeholder.value.as_str());
        if is_taken {
            section.problem(
                placeholder.at,
                format_args!(
                    "`as` = \"{}\": [scope] has this name already",
                    placeholder.value
                ),
            );
        }
        let is_a_read = placeholder.value.as_str() == READ;
        if is_a_read {
            let message = "`as` = \"read\": the directories of named reads have this name";
            section.problem(placeholder.at, message);
        }
        !is_taken && !is_a_read
    });
    let batch = section.integer("batch", 1..=100).unwrap_or(1);
    section.finish();
    let for_each = ForEach {
        ids_of: ids_of?.1,
        placeholder: placeholder?.value.as_str().to_owned(),
        batch: usize::try_from(batch).unwrap_or(1),
    };
    Some((for_each, unless.map(|unless| unless.value.to_owned())))
}

pub(super) fn check_fan_out(
    block: &Section<'_>,
    path: Option<&Template>,
    queries: [&Vec<QueryParameter>; 2],
    for_each: &ForEach,
    scope: &Scope,
) {
    let Some(path) = path else { return };
    let placeholder = for_each.placeholder.as_str();
    let in_path = path.placeholders().any(|name| name == placeholder);
    let is_one_query = queries[0] == queries[1];
    let queries = queries.map(|query| {
        query
            .iter()
            .flat_map(|parameter| parameter.value.placeholders())
            .collect::<Vec<_>>()
    });
    let in_every_query = queries.iter().all(|names| names.contains(&placeholder));
    // A placeholder that nothing defines is this one misspelt, and was reported.
    let is_misspelt = queries
        .iter()
        .flatten()
        .copied()
        .chain(path.placeholders())
        .any(|name| name != placeholder && !scope.values.contains_key(name));
    if !in_path && !in_every_query && !is_misspelt {
        let query = if is_one_query {
            "the query"
        } else {
            "every query"
        };
        block.problem(
            block.at(),
            format_args!(
                "`for_each` gives `{{{placeholder}}}`, which must stand in the path or in {query}"
            ),
        );
    }
    if in_path && for_each.batch > 1 {
        block.problem(
            block.at(),
            "`batch` only fits where the ids are in a query; a path takes one",
        );
    }
}
