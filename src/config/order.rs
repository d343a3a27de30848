//! Dependency order of resources and tables; cycles are told with their members.

use std::collections::BTreeMap;

use super::reader::Problems;
use super::resource::Resource;
use super::table::Table;
use crate::name::Name;

/// Each table after those that it names; `None` where they form a cycle.
pub(super) fn tables(tables: Vec<Table>, problems: &Problems<'_>) -> Option<Vec<Table>> {
    for table in &tables {
        if let Some(owner) = &table.owner
            && tables
                .iter()
                .any(|other| other.name == owner.table && other.from != table.from)
        {
            problems.add(
                table.at,
                &format!("[[table]] {}", table.name),
                format_args!("its owner `{}` is fed by another resource", owner.table),
            );
        }
    }
    sort(
        tables,
        |table| &table.name,
        |table| {
            table
                .after
                .iter()
                .chain(table.owner.iter().map(|owner| &owner.table))
                .chain(table.within.iter().map(|within| &within.table))
                .cloned()
                .collect()
        },
        |table, names| {
            problems.add(
                table.at,
                &format!("[[table]] {}", table.name),
                format_args!("these tables wait for each other: {names}"),
            );
        },
    )
}

/// Each resource after those whose ids it needs, that it names, or whose tables its own tables need.
pub(super) fn resources(
    resources: Vec<Resource>,
    tables: &[Table],
    problems: &Problems<'_>,
) -> Option<Vec<Resource>> {
    let source: BTreeMap<&Name, &Name> = tables
        .iter()
        .map(|table| (&table.name, &table.from))
        .collect();
    let needs = |resource: &Resource| {
        let of_tables = tables
            .iter()
            .filter(|table| table.from == resource.name)
            .flat_map(|table| {
                table
                    .after
                    .iter()
                    .chain(table.within.iter().map(|within| &within.table))
            })
            .filter_map(|table| source.get(table).map(|name| (*name).clone()));
        resource
            .after
            .iter()
            .cloned()
            .chain(resource.for_each.iter().map(|each| each.ids_of.clone()))
            .chain(of_tables)
            .filter(|name| *name != resource.name)
            .collect()
    };
    sort(
        resources,
        |resource| &resource.name,
        needs,
        |resource, names| {
            problems.add(
                resource.at,
                &format!("[[resource]] {}", resource.name),
                format_args!("these resources wait for each other: {names}"),
            );
        },
    )
}

/// Stable topological order: among those that are ready, the one written first goes first.
fn sort<T>(
    mut waiting: Vec<T>,
    name: impl Fn(&T) -> &Name,
    needs: impl Fn(&T) -> Vec<Name>,
    cycle: impl Fn(&T, String),
) -> Option<Vec<T>> {
    let mut sorted: Vec<T> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|item| {
            needs(item)
                .iter()
                .all(|need| need == name(item) || !waiting.iter().any(|other| name(other) == need))
        });
        let Some(ready) = ready else {
            let names: Vec<&str> = waiting.iter().map(|item| name(item).as_str()).collect();
            cycle(&waiting[0], names.join(", "));
            return None;
        };
        sorted.push(waiting.remove(ready));
    }
    Some(sorted)
}
