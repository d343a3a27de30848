//! `[[resource]]`: one endpoint, how it is asked, and how far its deltas reach.

mod read;

use std::collections::BTreeSet;
use std::time::Duration;

use toml::de::DeValue;

use super::names::{Arity, Names, Scope, Slice, check_placeholders};
use super::reader::{At, Section, decimal, kind};
use crate::name::Name;
use crate::pointer::Pointer;
use crate::template::Template;

/// The key of the directories in which named reads are staged.
pub(crate) const READ: &str = "read";

/// An endpoint that is extracted, as one of its reads asks for it: the resource's own, or a named one.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its name on the command line and in the staging directory.
    pub name: Name,
    /// The named read that this is; none: the resource's own delta and full read.
    pub read: Option<NamedRead>,
    /// Its named reads.
    pub reads: Vec<Resource>,
    /// Path with placeholders.
    pub path: Template,
    /// Parameters of a full read.
    pub query: Vec<QueryParameter>,
    /// Parameters of a delta read, without the range.
    pub delta_query: Vec<QueryParameter>,
    /// What deltas range over; without one every read is full.
    pub cursor: Option<Cursor>,
    /// A full read at least so often.
    pub full_every: Option<FullEvery>,
    /// A read younger than this makes another one unnecessary.
    pub min_age: Duration,
    /// Rows asked for a page, if not the API's `page_size`.
    pub page_size: Option<u32>,
    /// For one request, if not the API's.
    pub timeout: Option<Duration>,
    /// The order to ask for; `None` where the API documents none.
    pub sort: Option<String>,
    /// How pages follow one another.
    pub paging: Paging,
    /// Where in a record its id is.
    pub id: Pointer,
    /// One request (or a batch) for each id of another resource.
    pub for_each: Option<ForEach>,
    /// Resources that are loaded before.
    pub after: Vec<Name>,
    pub(super) at: usize,
}

/// What makes a named read.
#[derive(Clone, Debug)]
pub struct NamedRead {
    /// Its name, by which it is staged: `read=ongoing`.
    pub name: Name,
    /// How old the last one is before it is read again.
    pub every: Duration,
    /// Rows that pass its filters and are absent from a complete full read of it are gone.
    pub proves_absence: bool,
}

/// How old the last full read may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullEvery {
    /// So old.
    Fixed(Duration),
    /// As the share of the budget for refreshing allows, between a day and 30.
    Auto,
}

impl Resource {
    /// Whether it has a delta and full read of its own: one without a cursor can consist of named reads alone.
    pub fn has_own_read(&self) -> bool {
        self.cursor.is_some() || self.reads.is_empty()
    }

    /// Its reads: its own, if it has one, then the named ones.
    pub fn all_reads(&self) -> impl Iterator<Item = &Self> {
        let own = self.has_own_read().then_some(self);
        own.into_iter().chain(&self.reads)
    }

    /// The name of the named read that this is.
    pub fn read_name(&self) -> Option<&Name> {
        self.read.as_ref().map(|read| &read.name)
    }

    /// Resource and read for people: `cursus_users`, `cursus_users (ongoing)`.
    pub fn label(&self) -> String {
        match self.read_name() {
            Some(read) => format!("{} ({read})", self.name),
            None => self.name.to_string(),
        }
    }

    /// Whether it has a cursor but no order, so that its lists are read in windows of time.
    pub fn is_read_in_windows(&self) -> bool {
        self.sort.is_none() && self.cursor.is_some()
    }
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

/// How the pages of a list follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// Each from the last id of the one before, by `range[id]`: rows that come and go move nothing.
    Ids,
    /// By `page[number]`.
    Numbers,
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

impl ForEach {
    /// Whether the ids are those of the resource itself: a read that asks for its known records once more.
    pub fn is_of(&self, resource: &Resource) -> bool {
        self.ids_of == resource.name
    }
}

/// Reads all blocks.
pub(super) fn read(blocks: Vec<Section<'_>>, names: &Names, scope: &Scope) -> Vec<Resource> {
    let mut seen: BTreeSet<Name> = BTreeSet::new();
    let mut resources = Vec::new();
    for mut block in blocks {
        let name = read_name(&mut block, "resource", &mut seen);
        let resource = read_one(&block, name, scope, names);
        block.finish();
        resources.extend(resource);
    }
    resources
}

/// The name of a block, which its messages tell from then on.
pub(super) fn read_name(
    block: &mut Section<'_>,
    noun: &str,
    seen: &mut BTreeSet<Name>,
) -> Option<Name> {
    let name = block.required_text("name");
    let name = block.parsed("name", name, Name::parse)?;
    block.rename(format!("[[{noun}]] {}", name.value));
    if !seen.insert(name.value.clone()) {
        block.problem(
            name.at,
            format_args!("there is another {noun} of this name"),
        );
    }
    Some(name.value)
}

fn read_one(
    block: &Section<'_>,
    name: Option<Name>,
    scope: &Scope,
    names: &Names,
) -> Option<Resource> {
    let for_each = block
        .section("for_each")
        .and_then(|section| read_for_each(section, name.as_ref(), scope, names));
    let slice = match &for_each {
        Some((each, _)) => Slice::Each(each),
        None if block.has("for_each") || block.is_misspelt("for_each") => Slice::Unsure,
        None => Slice::None,
    };
    let path = read_path(block, scope, slice);
    let query = read_query(block, "query", scope, slice);
    let delta_query = read_query(block, "delta_query", scope, slice);
    let cursor = block.section("cursor").and_then(read_cursor);
    let full_every = read_full_every(block);
    if !block.has("cursor") && !block.is_misspelt("cursor") {
        for key in ["delta_query", "full_every"] {
            if block.has(key) {
                block.problem(
                    block.at(),
                    format_args!("`{key}` only means something with a `cursor`: without one every read is full"),
                );
            }
        }
    }
    let sort = match block.text("sort") {
        None => Some("-id".to_owned()),
        Some(text) if text.value.is_empty() => None,
        Some(text) => Some(text.value.to_owned()),
    };
    let id = block.text("id");
    let id = match id {
        Some(id) => block
            .parsed("id", Some(id), Pointer::parse)
            .map(|id| id.value),
        None => Some(Pointer::key("id")),
    };
    let paging = read_paging(block, sort.as_deref(), id.as_ref(), query.as_deref());
    let after = names.list(block, "after", name.as_ref());
    let min_age = block.duration("min_age").unwrap_or_default();
    let page_size = block
        .integer("page_size", 1..=100)
        .and_then(|size| u32::try_from(size).ok());
    let timeout = block.timeout("timeout");
    let query = query.unwrap_or_default();
    let delta_query = delta_query.unwrap_or_else(|| query.clone());
    if let Some(cursor) = &cursor {
        let range = format!("range[{}]", cursor.field);
        if delta_query.iter().any(|parameter| parameter.name == range) {
            block.problem(
                block.at(),
                format_args!("`{range}` is set by a delta itself; keep it out of `delta_query` (default: `query`)"),
            );
        }
    }
    if let Some((_, unless)) = &for_each
        && cursor.is_some()
        && unless.is_none()
    {
        block.problem(
            block.at(),
            "a resource with `for_each` has no `cursor`: it is read for the ids that the other resource showed",
        );
    }
    if let Some((for_each, _)) = &for_each {
        check_fan_out(
            block,
            path.as_ref(),
            [&query, &delta_query],
            for_each,
            scope,
        );
    }
    let blocks = block.blocks("read");
    // With its scope, it is one list.
    let is_one_list = (for_each.as_ref())
        .and_then(|(_, unless)| scope.values.get(unless.as_deref()?))
        .is_some_and(|values| !values.is_empty());
    let is_fanned_out = for_each.is_some() && !is_one_list;
    let resource = Resource {
        delta_query,
        query,
        cursor: cursor.filter(|_| !is_fanned_out),
        full_every: full_every.filter(|_| !is_fanned_out),
        min_age,
        page_size,
        timeout,
        sort,
        paging,
        after,
        at: block.at(),
        name: name?,
        path: path?,
        id: id?,
        for_each: for_each.filter(|_| is_fanned_out).map(|(each, _)| each),
        read: None,
        reads: Vec::new(),
    };
    let reads = read::read(blocks, &resource, scope, names);
    Some(Resource { reads, ..resource })
}

fn read_full_every(block: &Section<'_>) -> Option<FullEvery> {
    if block.is_text("full_every", "auto") {
        return Some(FullEvery::Auto);
    }
    block.duration("full_every").map(FullEvery::Fixed)
}

/// By ids where the API can: ordered by falling ids, which are in the field `id`.
fn read_paging(
    block: &Section<'_>,
    sort: Option<&str>,
    id: Option<&Pointer>,
    query: Option<&[QueryParameter]>,
) -> Paging {
    let ranges = query.unwrap_or_default();
    let can = sort == Some("-id")
        && id == Some(&Pointer::key("id"))
        && !ranges.iter().any(|parameter| parameter.name == "range[id]");
    let Some(text) = block.text("paging") else {
        return if can { Paging::Ids } else { Paging::Numbers };
    };
    match text.value {
        "numbers" => return Paging::Numbers,
        "ids" if can => return Paging::Ids,
        "ids" => block.problem(
            text.at,
            "`paging` = \"ids\" needs `sort` = \"-id\", `id` = \"/id\" and no `range[id]` in `query`",
        ),
        _ => block.problem(text.at, "`paging` is \"ids\" or \"numbers\""),
    }
    Paging::Numbers
}

fn read_path(block: &Section<'_>, scope: &Scope, slice: Slice<'_>) -> Option<Template> {
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
    // Ids in a path are taken one at a time, which `check_fan_out` tells in better words.
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

/// What to fan out over, and the name in `[scope]` with which it need not; `own` are ids that it cannot run over.
fn read_for_each(
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

fn check_fan_out(
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
    // A placeholder that nothing defines is this one misspelt, and told already.
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

fn read_cursor(section: Section<'_>) -> Option<Cursor> {
    let field = section
        .required_text("field")
        .map(|text| text.value.to_owned());
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
