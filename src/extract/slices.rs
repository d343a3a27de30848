//! Slices of a resource: one for most, one for each id (or batch of ids) of a fanned-out one.

use roaring::RoaringTreemap;

use crate::config::{Config, QueryParameter, Resource};
use crate::template::Values;

/// A part of a resource that is paged by itself.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    /// Its directory, such as `user_id=1..99`; none for the only slice.
    pub(super) name: Option<String>,
    /// The filled path.
    pub(super) path: String,
    /// The filled parameters, without paging.
    pub(super) query: Vec<(String, String)>,
}

/// The slices of a resource; `ids` are those of the resource that it fans out over.
pub(super) fn slices(
    config: &Config,
    resource: &Resource,
    query: &[QueryParameter],
    ids: &RoaringTreemap,
) -> Vec<Slice> {
    let Some(for_each) = &resource.for_each else {
        return vec![slice(resource, query, None, &config.scope)];
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
            let mut values = config.scope.clone();
            values.insert(
                for_each.placeholder.clone(),
                batch.iter().map(ToString::to_string).collect(),
            );
            slice(resource, query, Some(name), &values)
        })
        .collect()
}

fn slice(
    resource: &Resource,
    query: &[QueryParameter],
    name: Option<String>,
    values: &Values,
) -> Slice {
    Slice {
        name,
        path: resource
            .path
            .fill(values)
            .unwrap_or_else(|| resource.path.to_string()),
        query: query
            .iter()
            .filter_map(|parameter| Some((parameter.name.clone(), parameter.value.fill(values)?)))
            .collect(),
    }
}
