//! All tables of a load: joined with the catalogue, and which of them depend on which.

use std::collections::BTreeSet;

use tokio_postgres::Client;

use crate::config::Config;
use crate::database::catalogue;
use crate::load::error::LoadError;
use crate::load::mapping::{Followed, Mapping};
use crate::load::personal::personal_columns;
use crate::name::Name;

/// Joins every table block with the catalogue; all disagreements at once. A table that several resources feed has a mapping
/// for each, the first for its own.
pub(crate) async fn mappings(
    config: &Config,
    client: &Client,
    schema: &str,
) -> Result<Vec<Mapping>, LoadError> {
    let mut mappings = Vec::new();
    let mut problems = Vec::new();
    let names: Vec<&str> = (config.tables.iter())
        .map(|table| table.name.as_str())
        .collect();
    let shapes = catalogue::tables(client, schema, &names)
        .await
        .map_err(LoadError::at("read the catalogue"))?;
    let encoding = client
        .query_typed_one("SELECT current_setting('server_encoding')", &[])
        .await
        .map_err(LoadError::at("read the catalogue"))?;
    let encoding: &str = encoding.get(0);
    if encoding != "UTF8" {
        problems.push(format!(
            "the database has the encoding {encoding}, which cannot hold every text of the API; make one with `createdb \
             --encoding UTF8 --template template0`"
        ));
    }
    let checks = catalogue::checks(client, schema, &names)
        .await
        .map_err(LoadError::at("read the catalogue"))?;
    for (table, shape) in config.tables.iter().zip(shapes) {
        let is_of = |check: &&catalogue::Check| check.table == table.name.as_str();
        let checks = checks.iter().filter(is_of).cloned().collect();
        match Mapping::resolve(config, table, shape, checks) {
            Ok(mapping) => {
                let feeds = table.also_from.iter().map(|feed| mapping.fed_by(feed));
                let feeds: Vec<Mapping> = feeds.collect();
                mappings.push(mapping);
                mappings.extend(feeds);
            }
            Err(found) => problems.extend(found),
        }
    }
    problems.extend(too_early(config, &mappings));
    problems.extend(without_ids(config, &mappings));
    if problems.is_empty() {
        Ok(mappings)
    } else {
        Err(LoadError::Mismatch(problems))
    }
}

/// Personal columns that are followed without the id of their person: whose a copy is would be unknown as soon as the row is deleted.
/// Where the configuration does not say who people are, `forget` refuses.
fn without_ids(config: &Config, mappings: &[Mapping]) -> Vec<String> {
    let people = personal_columns(mappings, &config.people).unwrap_or_default();
    let mut problems = Vec::new();
    for one in &people {
        let mapping = mappings
            .iter()
            .find(|mapping| mapping.table.name == one.table);
        let Some(mapping) = mapping.filter(|it| it.key_names().all(|key| key != one.id)) else {
            continue;
        };
        for (section, columns) in mapping.followed.iter().flat_map(Followed::sections) {
            let personal = columns.iter().find(|name| one.personal.contains(name));
            if let Some(personal) = personal.filter(|_| !columns.contains(&one.id)) {
                problems.push(format!(
                    "table {}: {section} follows `{personal}`, which is personal, and not `{}`, the id of its person, so that nobody could \
                     be erased from it; add `{}` to the list",
                    one.table, one.id, one.id
                ));
            }
        }
    }
    problems
}

/// Tables that are loaded before one that their foreign keys lead to: their rows would all be
/// orphans.
fn too_early(config: &Config, mappings: &[Mapping]) -> Vec<String> {
    let tables: Vec<&Mapping> = (config.resources.iter())
        .flat_map(|resource| mappings.iter().filter(|it| it.table.from == resource.name))
        .collect();
    let leads_to = |from: &Mapping, to: &Mapping| {
        let mut keys = from.references();
        keys.any(|foreign| {
            !foreign.is_of_itself() && to.table.name.as_str() == foreign.referenced_table
        })
    };
    let mut problems = Vec::new();
    for (at, early) in tables.iter().enumerate() {
        // Of two that refer to each other one has to be the first. What another resource updates is there already.
        let parents = (tables[at + 1..].iter()).filter(|parent| !parent.table.is_update_only());
        for parent in parents.filter(|parent| leads_to(early, parent) && !leads_to(parent, early)) {
            problems.push(format!(
                "table {0}: a foreign key of it leads to {1}, which is loaded after it; add \"{1}\" to its `after`",
                early.table.name, parent.table.name
            ));
        }
    }
    problems
}

/// These resources, and those whose rows refer to theirs or that are read once for each of their ids.
pub(crate) fn dependents(
    config: &Config,
    mappings: &[Mapping],
    mut waiting: BTreeSet<Name>,
) -> BTreeSet<Name> {
    loop {
        let tables: BTreeSet<&str> = mappings
            .iter()
            .filter(|mapping| waiting.contains(&mapping.table.from))
            .filter(|mapping| !mapping.table.is_update_only())
            .map(|mapping| mapping.table.name.as_str())
            .collect();
        let referring = mappings
            .iter()
            .filter(|mapping| mapping.needs().any(|table| tables.contains(table)))
            .map(|mapping| &mapping.table.from);
        let fanned_out = config.resources.iter().filter_map(|resource| {
            let ids_of = &resource.for_each.as_ref()?.ids_of;
            waiting.contains(ids_of).then_some(&resource.name)
        });
        let more: Vec<Name> = referring
            .chain(fanned_out)
            .filter(|name| !waiting.contains(*name))
            .cloned()
            .collect();
        if more.is_empty() {
            return waiting;
        }
        waiting.extend(more);
    }
}
