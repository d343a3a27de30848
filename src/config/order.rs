//! Dependency order of resources and tables. Every cycle is reported, with its members and their reasons.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::files::Files;
use super::resource::Resource;
use super::table::Table;
use crate::name::Name;

/// A prerequisite, and the key that names it.
type Need = (Name, String);

/// Each table after those that it names; `None` where some form a cycle.
pub(super) fn tables(tables: Vec<Table>, files: &Files<'_>) -> Option<Vec<Table>> {
    sort(
        tables,
        |table| &table.name,
        |table| {
            let named = |names: &mut dyn Iterator<Item = &Name>, key: &str| -> Vec<Need> {
                names
                    .map(|name| (name.clone(), format!("`{key}`")))
                    .collect()
            };
            let mut needs = named(&mut table.after.iter(), "after");
            needs.extend(named(
                &mut table.owner.iter().map(|owner| &owner.table),
                "owner",
            ));
            needs.extend(named(
                &mut table.within.iter().map(|within| &within.table),
                "within",
            ));
            needs
        },
        |table, cycle| {
            let place = format!("[[table]] {}", table.name);
            files.of(table.pack.as_deref()).add(
                table.at,
                &place,
                format_args!("tables wait for each other: {cycle}"),
            );
        },
    )
}

/// Each resource after those whose ids it needs, that it names, or whose tables its own tables need.
pub(super) fn resources(
    resources: Vec<Resource>,
    tables: &[Table],
    files: &Files<'_>,
) -> Option<Vec<Resource>> {
    let source: BTreeMap<&Name, &Name> = tables
        .iter()
        .map(|table| (&table.name, &table.from))
        .collect();
    let needs = |resource: &Resource| {
        let mut needs: Vec<Need> = resource
            .after
            .iter()
            .map(|name| (name.clone(), "`after`".to_owned()))
            .collect();
        needs.extend(
            resource
                .for_each
                .iter()
                .map(|each| (each.ids_of.clone(), "`for_each`".to_owned())),
        );
        for table in tables.iter().filter(|table| table.from == resource.name) {
            for other in table
                .after
                .iter()
                .chain(table.within.iter().map(|within| &within.table))
            {
                if let Some(from) = source.get(other) {
                    needs.push((
                        (*from).clone(),
                        format!("its table {} for {other}", table.name),
                    ));
                }
            }
        }
        // What it updates is inserted before.
        let also = |table: &&Table| {
            table
                .also_from
                .iter()
                .any(|feed| feed.from == resource.name)
        };
        needs.extend(tables.iter().filter(also).map(|table| {
            let why = format!("`also_from` of the table {}", table.name);
            (table.from.clone(), why)
        }));
        needs.retain(|(name, _)| *name != resource.name);
        needs
    };
    sort(
        resources,
        |resource| &resource.name,
        needs,
        |resource, cycle| {
            let place = format!("[[resource]] {}", resource.name);
            files.of(resource.pack.as_deref()).add(
                resource.at,
                &place,
                format_args!("resources wait for each other: {cycle}"),
            );
        },
    )
}

/// Stable topological order: of those that are ready, the one written first comes first.
fn sort<T>(
    mut waiting: Vec<T>,
    name: impl Fn(&T) -> &Name,
    needs: impl Fn(&T) -> Vec<Need>,
    report: impl Fn(&T, &dyn Display),
) -> Option<Vec<T>> {
    let mut sorted: Vec<T> = Vec::with_capacity(waiting.len());
    let mut has_cycle = false;
    while !waiting.is_empty() {
        // What is not here is no reason to wait: it is sorted already, or a fault of its own.
        let blocking = |item: &T| {
            needs(item).into_iter().find_map(|(need, why)| {
                let at = waiting.iter().position(|other| *name(other) == need)?;
                Some((at, why))
            })
        };
        if let Some(ready) = waiting.iter().position(|item| blocking(item).is_none()) {
            sorted.push(waiting.remove(ready));
            continue;
        }
        // None is ready, so following prerequisites from the first one ends in a cycle.
        has_cycle = true;
        let mut path: Vec<(usize, String)> = Vec::new();
        let mut at = 0;
        while let Some((next, why)) = blocking(&waiting[at])
            && !path.iter().any(|(seen, _)| *seen == at)
        {
            path.push((at, why));
            at = next;
        }
        let mut cycle: Vec<(usize, String)> = path
            .into_iter()
            .skip_while(|(seen, _)| *seen != at)
            .collect();
        // Reported from the member that is written first.
        let first = cycle.iter().map(|(at, _)| *at).min();
        let turn = cycle
            .iter()
            .position(|(at, _)| Some(*at) == first)
            .unwrap_or(0);
        cycle.rotate_left(turn);
        let steps: Vec<String> = cycle
            .iter()
            .zip(cycle.iter().cycle().skip(1))
            .map(|((at, why), (next, _))| {
                format!(
                    "{} for {} ({why})",
                    name(&waiting[*at]),
                    name(&waiting[*next])
                )
            })
            .collect();
        if let Some(first) = first {
            report(&waiting[first], &steps.join(", "));
        }
        // Without its members the others can be looked at.
        let members: Vec<usize> = cycle.into_iter().map(|(at, _)| at).collect();
        let mut index = 0;
        waiting.retain(|_| {
            index += 1;
            !members.contains(&(index - 1))
        });
    }
    (!has_cycle).then_some(sorted)
}
