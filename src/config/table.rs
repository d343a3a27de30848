//! `[[table]]` and `[[derive]]`: where records go.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::DeValue;

use super::names::{Arity, Names, Scope, Slice, check_placeholders};
use super::pack::Pack;
use super::quarantine_limit::{QuarantineLimit, read_limit};
use super::read_keys::{Seen, read_name};
use super::reader::{At, Section, kind};
use super::record::{Records, Source, Where, read_columns, read_where};
use super::resource::Resource;
use crate::embedded_files;
use crate::name::Name;
use crate::pack_files::PACKS;
use crate::pointer::Pointer;

/// A table of the mirror and how its rows are made.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name in the mirror's schema.
    pub name: Name,
    /// The resource whose records feed it.
    pub from: Name,
    /// Other resources whose records hold records of this table. These update its rows, or delete them by `where`, but
    /// insert none, and prove no absence.
    pub(crate) also_from: Vec<Feed>,
    /// A nested array whose elements are the records (exploded), instead of the record itself.
    pub(crate) rows: Option<Pointer>,
    /// A query over staged tables and the mirror that gives the rows, instead of records.
    pub(crate) select: Option<SqlFile>,
    /// A record that fails it has no row; it takes an existing one away.
    pub(crate) conditions: Vec<Where>,
    /// Sources of columns that are not simply the record's key of the same name.
    pub(crate) columns: BTreeMap<Name, Source>,
    pub(crate) key: Vec<Name>,
    /// Tables that are merged before.
    pub(crate) after: Vec<Name>,
    /// The parent whose records define these rows: rows absent from a parent that was read go.
    pub(crate) owner: Option<Reference>,
    /// Rows whose reference is not in that table are out of scope.
    pub(crate) within: Vec<Reference>,
    /// Soft references: dangling ones are counted.
    pub(crate) references: Vec<Reference>,
    /// How many rows may wait in quarantine.
    pub(crate) quarantine: QuarantineLimit,
    /// The pack that it is of; none: `pipeline.toml`.
    pub(crate) pack: Option<String>,
    pub(super) at: usize,
}

/// A resource that feeds a table beside its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Feed {
    pub(crate) from: Name,
    /// Where its records hold one of the table, or an array of them.
    pub(crate) rows: Pointer,
}

impl Table {
    /// All resources that feed the table of a block, its own first.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Name> {
        std::iter::once(&self.from).chain(self.also_from.iter().map(|feed| &feed.from))
    }

    #[must_use]
    pub(crate) fn fed_by(&self, feed: &Feed) -> Self {
        Self {
            from: feed.from.clone(),
            rows: Some(feed.rows.clone()),
            ..self.clone()
        }
    }

    /// Whether it is as [`Self::fed_by`] makes it: its rows are updated and deleted, and none is inserted.
    pub(crate) fn is_update_only(&self) -> bool {
        self.also_from.iter().any(|feed| feed.from == self.from)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) column: Name,
    pub(crate) table: Name,
    pub(crate) target: Name,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SqlFile {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// `[[derive]]`: a statement at the end of a load.
#[derive(Clone, Debug)]
pub(crate) struct Derive {
    pub(crate) name: Name,
    pub(crate) sql: SqlFile,
    /// It runs when one of these was loaded; empty means always.
    pub(crate) after: Vec<Name>,
}

/// What a table block may refer to.
struct Context<'a> {
    tables: &'a Names,
    resource_names: &'a Names,
    resources: &'a [Resource],
    sources: BTreeMap<&'a str, &'a str>,
    scope: &'a Scope,
    limit: QuarantineLimit,
    config: Option<&'a Path>,
}

pub(super) fn read(
    blocks: Vec<Section<'_>>,
    names: &Names,
    resource_names: &Names,
    resources: &[Resource],
    scope: &Scope,
    limit: QuarantineLimit,
    config: Option<&Path>,
) -> Vec<Table> {
    let context = Context {
        tables: names,
        resource_names,
        resources,
        sources: blocks
            .iter()
            .filter_map(|block| Some((block.text("name")?.value, block.text("from")?.value)))
            .collect(),
        scope,
        limit,
        config,
    };
    let mut seen = Seen::new();
    let mut tables = Vec::new();
    for mut block in blocks {
        let name = read_name(&mut block, "table", &mut seen);
        let table = read_one(&block, name, &context);
        block.finish();
        tables.extend(table);
    }
    tables
}

fn read_one(block: &Section<'_>, name: Option<Name>, context: &Context<'_>) -> Option<Table> {
    let from = block.required_text("from");
    let from_name = from
        .as_ref()
        .and_then(|from| context.resource_names.find(block, "from", from));
    let resource = context
        .resources
        .iter()
        .find(|resource| Some(&resource.name) == from_name.as_ref());
    let rows = block.text("rows");
    let rows = block.parsed("rows", rows, |text| match text {
        "" => Err("it points at an array inside the record, such as \"/sessions\"".to_owned()),
        text => {
            let list = Pointer::parse(text).map_err(|error| error.to_string())?;
            match list.split_at_each() {
                Some((outer, inner))
                    if [&outer, &inner].iter().any(|part| part.tokens().is_empty())
                        || inner.split_at_each().is_some() =>
                {
                    Err("`*` stands once, between two lists, such as \"/teams/*/users\"".to_owned())
                }
                _ => Ok(list),
            }
        }
    });
    let select = read_sql(block, "select", context.config);
    if block.has("select") {
        for key in ["rows", "where"] {
            if block.has(key) {
                block.problem(
                    block.at(),
                    format_args!(
                        "a table has `{key}` or `select`, not both: the SELECT gives the rows"
                    ),
                );
            }
        }
    }
    let conditions = block
        .section("where")
        .map(|section| read_where(&section))
        .unwrap_or_default();
    let records = Records {
        has_parent: block.has("rows") || block.is_misspelt("rows"),
        is_select: block.has("select") && !block.has("rows"),
        scope: context.scope,
        slice: slice_of(resource),
    };
    let columns = block
        .section("columns")
        .map(|section| read_columns(&section, &records))
        .unwrap_or_default();
    let also_from = read_also_from(block, from_name.as_ref(), &columns, context);
    let key = read_key(block);
    let after = context.tables.list(block, "after", name.as_ref());
    let owner = read_references(block, "owner", name.as_ref(), context.tables);
    if let [_, second, ..] = owner.as_slice() {
        block.problem(second.at, "`owner` is one column");
    }
    let owner = owner.into_iter().next();
    if let (Some(owner), Some(from)) = (&owner, &from)
        && let Some(source) = context.sources.get(owner.value.table.as_str())
        && *source != from.value
    {
        block.problem(
            owner.at,
            format_args!(
                "`owner` is a table from the same resource, but {} is from `{source}`, not `{}`",
                owner.value.table, from.value
            ),
        );
    }
    let within = read_references(block, "within", name.as_ref(), context.tables);
    let references = read_references(block, "references", None, context.tables);
    let quarantine = block
        .section("quarantine")
        .map_or(context.limit, |section| read_limit(section, context.limit));
    Some(Table {
        name: name?,
        from: from_name?,
        also_from,
        rows: rows.map(|rows| rows.value),
        select,
        conditions,
        columns,
        key,
        after,
        owner: owner.map(|owner| owner.value),
        within: within.into_iter().map(|within| within.value).collect(),
        references: references
            .into_iter()
            .map(|reference| reference.value)
            .collect(),
        quarantine,
        pack: block.pack().map(|pack| pack.name.clone()),
        at: block.at(),
    })
}

fn read_also_from(
    block: &Section<'_>,
    own: Option<&Name>,
    columns: &BTreeMap<Name, Source>,
    context: &Context<'_>,
) -> Vec<Feed> {
    let Some(section) = block.section("also_from") else {
        return Vec::new();
    };
    for key in ["rows", "select", "owner"] {
        if block.has(key) {
            block.problem(
                section.at(),
                format_args!(
                    "a table has `{key}` or `also_from`, not both: what other resources hold must be whole records of it"
                ),
            );
        }
    }
    let mut feeds = Vec::new();
    for (name, value) in section.entries() {
        let fault = |error: &dyn std::fmt::Display| {
            section.problem(value.at, format_args!("`{}`: {error}", name.value));
        };
        let pointer = match value.value {
            DeValue::String(text) if !text.is_empty() => match Pointer::parse(text) {
                Ok(pointer) => pointer,
                Err(error) => {
                    fault(&error);
                    continue;
                }
            },
            other => {
                fault(&format_args!(
                    "this is a pointer to a record of the table inside that resource's record, such as \"/user\", not {}",
                    match other {
                        DeValue::String(_) => "an empty text",
                        other => kind(other),
                    }
                ));
                continue;
            }
        };
        let name = At {
            value: name.value,
            at: name.at,
        };
        let Some(from) = context.resource_names.find(&section, "also_from", &name) else {
            continue;
        };
        if own == Some(&from) {
            fault(&"this is the table's own resource");
            continue;
        }
        // Its records have no placeholder of the other's slices.
        let resource = context.resources.iter().find(|other| other.name == from);
        for source in columns.values() {
            if let Source::Constant(template) = source {
                let template = At {
                    value: template.clone(),
                    at: value.at,
                };
                let slice = slice_of(resource);
                check_placeholders(&section, &template, context.scope, slice, Arity::One);
            }
        }
        feeds.push(Feed {
            from,
            rows: pointer,
        });
    }
    feeds
}

/// What the slices of a resource define.
fn slice_of(resource: Option<&Resource>) -> Slice<'_> {
    resource.map_or(Slice::Unsure, |resource| {
        resource.for_each.as_ref().map_or(Slice::None, Slice::Each)
    })
}

fn read_key(block: &Section<'_>) -> Vec<Name> {
    let columns = block.texts("key");
    if columns.is_empty() && block.has_list("key") {
        block.problem(
            block.at(),
            "`key` names no column; without it the primary key is used",
        );
    }
    let mut key = Vec::new();
    for column in columns {
        let Some(At { value, at }) = block.parsed("key", Some(column), Name::parse) else {
            continue;
        };
        if key.contains(&value) {
            block.problem(at, format_args!("`key` names the column `{value}` twice"));
        }
        key.push(value);
    }
    key
}

fn read_references(
    block: &Section<'_>,
    key: &'static str,
    own: Option<&Name>,
    tables: &Names,
) -> Vec<At<Reference>> {
    let Some(section) = block.section(key) else {
        return Vec::new();
    };
    let mut references = Vec::new();
    for (column, value) in section.entries() {
        let DeValue::String(text) = value.value else {
            section.problem(
                value.at,
                format_args!(
                    "`{}` is written \"table.column\", not as {}",
                    column.value,
                    kind(value.value)
                ),
            );
            continue;
        };
        let fault = |error: &dyn std::fmt::Display| {
            section.problem(
                value.at,
                format_args!("`{}` = \"{text}\": {error}", column.value),
            );
        };
        let Some((table, target)) = text.split_once('.') else {
            fault(&"this is written \"table.column\"");
            continue;
        };
        let table = At {
            value: table,
            at: value.at,
        };
        let (column, target) = match (Name::parse(column.value), Name::parse(target)) {
            (Ok(column), Ok(target)) => (column, target),
            (Err(error), _) | (_, Err(error)) => {
                fault(&error);
                continue;
            }
        };
        let Some(table) = tables.find(&section, column.as_str(), &table) else {
            continue;
        };
        if own == Some(&table) {
            fault(&"this is the table itself");
            continue;
        }
        references.push(At {
            value: Reference {
                column,
                table,
                target,
            },
            at: value.at,
        });
    }
    references
}

fn read_sql(block: &Section<'_>, key: &'static str, config: Option<&Path>) -> Option<SqlFile> {
    let name = block.text(key)?;
    let found = match block.pack() {
        Some(pack) => sql_of(pack, name.value),
        None => embedded_files::sql(name.value, config).map(|text| (name.value.to_owned(), text)),
    };
    match found {
        Ok((name, text)) => Some(SqlFile { name, text }),
        Err(message) => {
            block.problem(name.at, format_args!("`{key}`: {message}"));
            None
        }
    }
}

/// The text of a file in a pack, and its name in messages.
fn sql_of(pack: &Pack, file: &str) -> Result<(String, String), String> {
    let text = file
        .strip_prefix("sql/")
        .and_then(|_| pack.files.text(file));
    let text = text.ok_or_else(|| {
        format!(
            "the pack has no file `{file}`; it is looked for in {}",
            pack.files.place("sql")
        )
    })??;
    Ok((format!("{PACKS}/{}/{file}", pack.name), text.to_owned()))
}

pub(super) fn read_derives(
    blocks: Vec<Section<'_>>,
    tables: &Names,
    config: Option<&Path>,
) -> Vec<Derive> {
    let mut seen = Seen::new();
    let mut derives = Vec::new();
    for mut block in blocks {
        let name = read_name(&mut block, "derive", &mut seen);
        block.required_text("sql");
        let sql = read_sql(&block, "sql", config);
        let after = tables.list(&block, "after", None);
        block.finish();
        if let (Some(name), Some(sql)) = (name, sql) {
            derives.push(Derive { name, sql, after });
        }
    }
    derives
}
