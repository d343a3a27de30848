//! Slices of a resource: one for most, one for each id (or batch of ids) of a fanned-out one.

use std::sync::Arc;

use roaring::RoaringTreemap;

use crate::config::{Config, QueryParameter, READ, Resource, ScopeLists};
use crate::template::{Template, Values};

/// A part of a resource that is paged by itself.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    /// Its directory, such as `user_id=1..99`, `read=ongoing` or `read=swept/id=1..99`; `None` for the only slice.
    pub(super) name: Option<String>,
    pub(super) path: String,
    /// The filled parameters, without paging.
    pub(super) query: Vec<(String, String)>,
    /// The filter by which a fan-out asks for its ids, where records have them.
    pub(super) filter: Option<Filter>,
}

/// A filter by ids that every record of an answer must pass.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    /// Such as `filter[user_id]`.
    pub(super) parameter: String,
    /// Its field, such as `user_id`.
    pub(super) field: String,
    pub(super) ids: Arc<[u64]>,
}

/// The slices of a resource; `ids` are those of the resource that it fans out over.
pub(super) fn slices(
    config: &Config,
    resource: &Resource,
    query: &[QueryParameter],
    ids: &RoaringTreemap,
) -> Vec<Slice> {
    let read = (resource.read_name()).map(|read| format!("{READ}={read}"));
    let Some(for_each) = &resource.for_each else {
        return match &resource.lists {
            None => vec![slice(&resource.path, query, read, &config.scope)],
            Some(lists) => of_scope(config, lists, query, read.as_deref()),
        };
    };
    let ids: Vec<u64> = ids.iter().collect();
    ids.chunks(for_each.batch.max(1))
        .map(|batch| {
            let name = match batch {
                [one] => format!("{}={one}", for_each.placeholder),
                _ => format!(
                    "{}={}..{}",
                    for_each.placeholder,
                    batch.first().copied().unwrap_or(0),
                    batch.last().copied().unwrap_or(0)
                ),
            };
            let name = match &read {
                Some(read) => format!("{read}/{name}"),
                None => name,
            };
            let mut values = config.scope.clone();
            values.insert(
                for_each.placeholder.clone(),
                batch.iter().map(ToString::to_string).collect(),
            );
            let mut slice = slice(&resource.path, query, Some(name), &values);
            slice.filter = filter(query, &for_each.placeholder, batch);
            slice
        })
        .collect()
}

/// One for each value of a list in `[scope]`. The only one of a resource has no directory of its own.
fn of_scope(
    config: &Config,
    lists: &ScopeLists,
    query: &[QueryParameter],
    read: Option<&str>,
) -> Vec<Slice> {
    let one = |value: &String| {
        let own = (lists.values.len() > 1).then(|| format!("{}={value}", lists.placeholder));
        let parts: Vec<&str> = read.into_iter().chain(own.as_deref()).collect();
        let name = (!parts.is_empty()).then(|| parts.join("/"));
        let mut values = config.scope.clone();
        values.insert(lists.placeholder.clone(), vec![value.clone()]);
        slice(&lists.path, query, name, &values)
    };
    lists.values.iter().map(one).collect()
}

/// The named read whose slice this is, by its directory.
pub(super) fn read_of(slice: Option<&str>) -> Option<&str> {
    let (key, value) = slice?.split_once('=')?;
    let read = (key == READ).then_some(value)?;
    Some(read.split('/').next().unwrap_or(read))
}

fn slice(
    path: &Template,
    query: &[QueryParameter],
    name: Option<String>,
    values: &Values,
) -> Slice {
    Slice {
        name,
        path: path.fill(values).unwrap_or_else(|| path.to_string()),
        query: query
            .iter()
            .filter_map(|parameter| Some((parameter.name.clone(), parameter.value.fill(values)?)))
            .collect(),
        filter: None,
    }
}

fn filter(query: &[QueryParameter], placeholder: &str, ids: &[u64]) -> Option<Filter> {
    query.iter().find_map(|parameter| {
        let field = parameter.name.strip_prefix("filter[")?.strip_suffix(']')?;
        let asks = parameter
            .value
            .placeholders()
            .any(|name| name == placeholder);
        asks.then(|| Filter {
            parameter: parameter.name.clone(),
            field: field.to_owned(),
            ids: ids.into(),
        })
    })
}
