//! What a replay is of: from which run on, and of which resources. Reads no run.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::config::{Config, Table};
use crate::hash::hex;
use crate::load::replay::statement_names::words;
use crate::name::Name;

/// What a replay is of.
#[derive(Clone, Debug)]
pub(crate) struct ReplayScope {
    /// The run from which on; none: all.
    pub(crate) from: Option<String>,
    pub(crate) resources: BTreeSet<Name>,
}

/// Those resources, all that their rows refer to, and all that feed their tables beside them.
pub(crate) fn with_parents(
    config: &Config,
    chosen: impl IntoIterator<Item = Name>,
) -> BTreeSet<Name> {
    let mut resources: BTreeSet<Name> = chosen.into_iter().collect();
    loop {
        let is_chosen = |table: &&Table| table.sources().any(|name| resources.contains(name));
        let tables = || config.tables.iter().filter(is_chosen);
        let beside = tables().flat_map(Table::sources).cloned();
        let parents = tables().flat_map(|table| {
            let within = table.within.iter().map(|within| &within.table);
            let owner = table.owner.iter().map(|owner| &owner.table);
            table.after.iter().chain(within).chain(owner)
        });
        let sources = parents.filter_map(|parent| {
            let table = config.tables.iter().find(|table| table.name == *parent)?;
            Some(table.from.clone())
        });
        let more: Vec<Name> = (sources.chain(beside))
            .filter(|name| !resources.contains(name))
            .collect();
        if more.is_empty() {
            return resources;
        }
        resources.extend(more);
    }
}

impl ReplayScope {
    /// Those resources and all that their rows refer to: a schema of its own has nothing else.
    pub(crate) fn new(
        config: &Config,
        from: Option<String>,
        chosen: impl IntoIterator<Item = Name>,
    ) -> Self {
        let resources = with_parents(config, chosen);
        Self { from, resources }
    }

    /// As [`Self::new`], and all whose rows follow theirs (`within`, `select`): in the mirror they would be left as they
    /// were before.
    pub(crate) fn of_mirror(
        config: &Config,
        from: Option<String>,
        chosen: impl IntoIterator<Item = Name>,
    ) -> Self {
        let mut resources = with_parents(config, chosen);
        loop {
            let is_chosen = |name: &Name| {
                let mut tables = config.tables.iter();
                tables.any(|table| table.name == *name && resources.contains(&table.from))
            };
            let follows = |table: &&Table| {
                let is_selected = table.select.is_some()
                    && (table.after.is_empty() || table.after.iter().any(is_chosen));
                is_selected || table.within.iter().any(|within| is_chosen(&within.table))
            };
            let more: Vec<Name> = (config.tables.iter())
                .filter(|table| !resources.contains(&table.from))
                .filter(follows)
                .map(|table| table.from.clone())
                .collect();
            if more.is_empty() {
                return Self { from, resources };
            }
            resources = with_parents(config, resources.into_iter().chain(more));
        }
    }

    /// Of all that decides what rows a run gives.
    pub(super) fn fingerprint(&self, config: &Config, allow_prune: bool) -> String {
        let mut hash = Sha256::new();
        let mut add = |text: String| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        };
        add(env!("CARGO_PKG_VERSION").to_owned());
        add(format!(
            "{:?} {:?} {allow_prune}",
            self.from, self.resources
        ));
        add(format!("{:?} {:?}", config.scope, config.prune));
        for table in &config.tables {
            add(format!(
                "{:?} {:?} {:?}",
                table.name, table.from, table.rows
            ));
            add(format!("{:?} {:?}", table.select, table.conditions));
            add(format!("{:?}", table.also_from));
            add(format!(
                "{:?} {:?} {:?}",
                table.columns, table.key, table.after
            ));
            add(format!("{:?} {:?}", table.owner, table.within));
        }
        for resource in &config.resources {
            let cursor = resource.cursor.as_ref().map(|cursor| &cursor.field);
            add(format!("{:?} {cursor:?}", resource.name));
        }
        for derive in &config.derives {
            add(format!(
                "{:?} {:?} {:?}",
                derive.name, derive.sql, derive.after
            ));
        }
        // A statement reads what the views that it names are today.
        let selects = config
            .tables
            .iter()
            .filter_map(|table| table.select.as_ref());
        let derives = config.derives.iter().map(|derive| &derive.sql);
        let mut texts: Vec<String> = (selects.chain(derives))
            .map(|sql| sql.text.to_lowercase())
            .collect();
        // Each comes after those that it reads.
        for view in config.views.iter().rev() {
            let names_view = |text: &String| words(text).any(|word| word == view.name.as_str());
            if texts.iter().any(names_view) {
                add(format!("{:?} {:?}", view.name, view.sql));
                texts.push(view.sql.to_lowercase());
            }
        }
        hex(&hash.finalize())
    }
}
