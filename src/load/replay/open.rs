//! A schema for a replay: made, marked as such, and never one that holds something else.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use tokio_postgres::Client;

use crate::config::{Config, Table};
use crate::database::Database;
use crate::hash::hex;
use crate::load::check::rights::refuse_lacking;
use crate::load::error::LoadError;
use crate::load::ledger::backlog;
use crate::load::ledger::backlog::TableBacklog;
use crate::load::ledger::loads;
use crate::load::loader::Loader;
use crate::load::lock::lock;
use crate::load::options::Options;
use crate::load::replay::error::ReplayError;
use crate::load::replay::scratch::{REBUILD, SchemaContents, inspect_schema, make, remake};
use crate::migrate;
use crate::name::Name;

/// Begin of the comment of a schema that `replay --into` has made; the history's fingerprint follows.
const MADE: &str = "Made by `cursus replay --into`. History: ";

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
    fn fingerprint(&self, config: &Config, allow_prune: bool) -> String {
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
        hex(&hash.finalize())
    }
}

impl<'c> Loader<'c> {
    /// Opens a schema for a replay: one that is empty or absent, or that the same replay has made.
    pub(crate) async fn open_replay(
        config: &'c Config,
        mut database: Database,
        options: Options,
        scope: &ReplayScope,
    ) -> Result<Self, ReplayError> {
        let schema = options.schema.as_str();
        if options.schema == config.database.schema {
            return Err(ReplayError::Live(schema.to_owned()));
        }
        lock(&database, schema).await?;
        refuse_lacking(
            &mut database.client,
            config,
            options.schema.as_str(),
            options.look,
        )
        .await?;
        let mark = format!("{MADE}{}", scope.fingerprint(config, options.allow_prune));
        match inspect_schema(&database.client, schema).await? {
            SchemaContents::Empty => make(&mut database.client, schema, &mark, false).await?,
            SchemaContents::NotEmpty(Some(comment)) if comment.starts_with(MADE) => {
                if comment != mark || lacks_migrations(&database.client, config, schema).await? {
                    return Err(ReplayError::Other(schema.to_owned()));
                }
            }
            SchemaContents::NotEmpty(_) => return Err(ReplayError::Foreign(schema.to_owned())),
        }
        Ok(Self::open(config, database, options).await?)
    }

    /// Turns from the mirror to a new scratch schema, with the mirror locked meanwhile.
    pub(crate) async fn into_scratch(self, schema: Name) -> Result<Self, ReplayError> {
        let Self {
            config,
            options,
            mut database,
            ..
        } = self;
        lock(&database, schema.as_str()).await?;
        let options = Options { schema, ..options };
        refuse_lacking(
            &mut database.client,
            config,
            options.schema.as_str(),
            options.look,
        )
        .await?;
        // One that is there is of a rebuild that was killed or refused.
        remake(&mut database.client, options.schema.as_str(), REBUILD).await?;
        Ok(Self::open(config, database, options).await?)
    }
}

impl Loader<'_> {
    /// What is quarantined and held in a schema, by table.
    pub(crate) async fn backlog_by_table(
        &self,
        schema: &str,
    ) -> Result<Vec<TableBacklog>, LoadError> {
        backlog::backlog_by_table(&self.database.client, schema).await
    }
}

/// Whether a schema that holds rows has still to be migrated: they would lack what the migration adds.
async fn lacks_migrations(
    client: &Client,
    config: &Config,
    schema: &str,
) -> Result<bool, ReplayError> {
    let folder = config.migrations();
    let missing = migrate::pending(client, schema, folder.as_deref())
        .await
        .map_err(LoadError::from)?;
    let of_schema = format!("{schema}/");
    if !missing.iter().any(|label| label.starts_with(&of_schema)) {
        return Ok(false);
    }
    let loaded = loads::loaded(client, schema, config).await?;
    Ok(!loaded.is_empty())
}
