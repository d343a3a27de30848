//! Staged runs → the mirror. Knows nothing of HTTP.
//!
//! A run is one transaction: readers never see half of it. Each resource has a savepoint, so that one that
//! cannot be loaded does not take the others with it.

mod books;
mod bulk;
mod cell;
mod counts;
mod decode;
mod error;
mod heal;
mod known;
mod mapping;
mod merge;
mod pending;
mod row;
mod sql;
mod stage;

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};
use tracing::{info, warn};

use crate::config::{Config, Derive};
use crate::database::{Database, Quoted, catalogue};
use crate::migrate;
use crate::name::Name;
use crate::report::chain;
use crate::staging::{Run, RunId};
use crate::template::Values;

pub use books::{Loaded, LoadedResource, loaded};
pub use counts::TableCounts;
pub use error::LoadError;
pub use mapping::Mapping;
pub use pending::{Pending, pending};

use books::Books;
use merge::Merged;

/// How to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// The schema of the mirror.
    pub schema: Name,
    /// Do everything, then roll it back.
    pub dry_run: bool,
    /// Deletes are not held by the guard.
    pub allow_prune: bool,
}

/// What became of the resources of one run.
#[derive(Debug)]
pub struct LoadedRun {
    /// The run.
    pub run_id: RunId,
    /// Counts of the tables of loaded resources.
    pub tables: Vec<TableCounts>,
    /// Resources that were not loaded, and why.
    pub failed: Vec<(Name, LoadError)>,
    /// Derived statements that failed.
    pub derives_failed: Vec<(Name, LoadError)>,
}

/// A schema ready to be loaded into: migrated, compared with the configuration, locked.
#[derive(Debug)]
pub struct Loader<'c> {
    config: &'c Config,
    options: Options,
    database: Database,
    mappings: Vec<Mapping>,
}

impl<'c> Loader<'c> {
    /// Migrates the schema, compares it with the configuration, and takes the load lock.
    pub async fn open(
        config: &'c Config,
        mut database: Database,
        options: Options,
    ) -> Result<Self, LoadError> {
        let schema = options.schema.as_str();
        lock(&database.client, schema).await?;
        let folder = config.migrations();
        let migrated = migrate::migrate(&mut database.client, schema, folder.as_deref()).await?;
        for applied in &migrated.applied {
            info!(schema, "applied migration {applied}");
        }
        let mappings = mappings(config, &database.client, schema).await?;
        Ok(Self {
            config,
            options,
            database,
            mappings,
        })
    }

    /// What is loaded already.
    pub async fn loaded(&self) -> Result<Loaded, LoadError> {
        books::loaded(
            &self.database.client,
            self.options.schema.as_str(),
            self.config,
        )
        .await
    }

    /// Whether any resource of a run was ever loaded.
    pub async fn was_loaded(&self, run: &Run) -> Result<bool, LoadError> {
        books::was_loaded(&self.database.client, self.options.schema.as_str(), run).await
    }

    /// Ends the session, and with it the lock.
    pub async fn close(self) -> Result<(), LoadError> {
        Ok(self.database.close().await?)
    }

    /// These resources and those that must wait with them: their rows refer to theirs.
    pub fn with_dependents(&self, failed: BTreeSet<Name>) -> BTreeSet<Name> {
        dependents(&self.mappings, failed)
    }

    /// Loads those resources of a run; `runs` is all that is staged.
    pub async fn load(
        &mut self,
        run: &Run,
        resources: &[Name],
        runs: &[Run],
    ) -> Result<LoadedRun, LoadError> {
        let schema = self.options.schema.as_str();
        let mut transaction = self
            .database
            .client
            .transaction()
            .await
            .map_err(LoadError::at("begin a transaction"))?;
        // Private tables and sorts of the load; the statements in sql/ name mirror tables without a schema.
        transaction
            .batch_execute(&format!(
                "SET LOCAL search_path TO {}; SET LOCAL work_mem = '64MB'; SET LOCAL client_min_messages = warning",
                Quoted(schema)
            ))
            .await
            .map_err(LoadError::at("set up the transaction"))?;
        Books::note_run(&transaction, run).await?;
        let mut loaded = LoadedRun {
            run_id: run.id().clone(),
            tables: Vec::new(),
            failed: Vec::new(),
            derives_failed: Vec::new(),
        };
        let order: Vec<&Name> = self
            .config
            .resources
            .iter()
            .map(|resource| &resource.name)
            .filter(|name| resources.contains(name))
            .collect();
        let mut merged: BTreeMap<&Name, Merged> = BTreeMap::new();
        let mut unloaded: BTreeSet<Name> = BTreeSet::new();
        let waiting = heal::waiting(&transaction, schema).await?;
        let mut grown: BTreeSet<Name> = BTreeSet::new();
        let mut fresh: BTreeSet<Name> = BTreeSet::new();
        for resource in &self.config.resources {
            let name = &resource.name;
            let mappings: Vec<Mapping> = self
                .mappings
                .iter()
                .filter(|mapping| mapping.table.from == *name)
                .cloned()
                .collect();
            for mapping in &mappings {
                let has_new_parents = (mapping.shape.references.iter())
                    .any(|foreign| grown.contains(foreign.referenced_table.as_str()));
                if has_new_parents && waiting.contains(&mapping.table.name) {
                    loaded.tables.extend(
                        heal_table(&mut transaction, schema, &self.config.scope, mapping, runs)
                            .await?,
                    );
                }
            }
            if !resources.contains(name) {
                continue;
            }
            if unloaded.contains(name) {
                loaded.failed.push((name.clone(), LoadError::Waits));
                continue;
            }
            let books = Books {
                schema,
                run,
                resource: name,
            };
            let done = merge_resource(&mut transaction, books, self.config, mappings, &fresh).await;
            match done {
                Ok(resource) => {
                    let was_empty = resource.tables.iter().filter(|table| table.was_empty);
                    fresh.extend(was_empty.map(|table| table.mapping.table.name.clone()));
                    let tables = resource
                        .tables
                        .iter()
                        .filter(|table| table.counts.inserted > 0);
                    grown.extend(tables.map(|table| table.mapping.table.name.clone()));
                    merged.insert(name, resource);
                }
                Err(error) if error.is_connection_lost() => return Err(error),
                Err(error) => {
                    loaded.failed.push((name.clone(), error));
                    unloaded.insert(name.clone());
                    unloaded = dependents(&self.mappings, unloaded);
                }
            }
        }
        let guard = (!self.options.allow_prune).then_some(self.config.prune);
        for name in order.iter().rev() {
            let Some(resource) = merged.get_mut(*name) else {
                continue;
            };
            let books = Books {
                schema,
                run,
                resource: name,
            };
            let savepoint = savepoint(&mut transaction, "prune").await?;
            let pruned = merge::prune(&savepoint, books, guard, resource).await;
            if let Err(error) = settle(savepoint, pruned).await? {
                warn!(resource = %name, "what is gone was not deleted; the resource counts as not loaded");
                merged.remove(*name);
                loaded.failed.push(((*name).clone(), error));
            }
        }
        // What is within another table follows it, whether its own resource was read or not; first table first, since
        // a row that goes can be the reference of the next.
        for mapping in self
            .mappings
            .iter()
            .filter(|mapping| !mapping.table.within.is_empty())
        {
            let name = &mapping.table.from;
            let books = Books {
                schema,
                run,
                resource: name,
            };
            let mut unread = TableCounts::new(mapping.table.name.clone());
            let counts = merged
                .get_mut(name)
                .and_then(|resource| {
                    resource
                        .tables
                        .iter_mut()
                        .find(|table| table.mapping.table.name == mapping.table.name)
                })
                .map_or(&mut unread, |table| &mut table.counts);
            let savepoint = savepoint(&mut transaction, "leave").await?;
            let left = merge::leave(&savepoint, books, guard, mapping, counts).await;
            if let Err(error) = settle(savepoint, left).await? {
                merged.remove(name);
                loaded.failed.push((name.clone(), error));
            } else if unread.deleted > 0 || unread.refused > 0 {
                loaded.tables.push(unread);
            }
        }
        let touched: BTreeSet<&Name> = merged
            .values()
            .flat_map(|resource| {
                resource
                    .tables
                    .iter()
                    .map(|table| &table.mapping.table.name)
            })
            .collect();
        for derive in &self.config.derives {
            if !derive.after.is_empty() && !derive.after.iter().any(|table| touched.contains(table))
            {
                continue;
            }
            if let Err(error) = run_derive(&mut transaction, derive).await {
                if error.is_connection_lost() {
                    return Err(error);
                }
                loaded.derives_failed.push((derive.name.clone(), error));
            }
        }
        let changed: BTreeSet<Name> = merged
            .values()
            .flat_map(|resource| &resource.tables)
            .filter(|table| table.counts.changed() > 0)
            .map(|table| table.counts.name.clone())
            .collect();
        for name in &order {
            let Some(resource) = merged.remove(*name) else {
                continue;
            };
            let books = Books {
                schema,
                run,
                resource: name,
            };
            let hash = run.manifest_hash(name)?;
            let mut tables = Vec::new();
            for table in resource.tables {
                let dangling =
                    merge::dangling(&transaction, books, &table.mapping, &changed).await?;
                tables.push((table.counts, dangling));
            }
            books
                .note_load(&transaction, &resource.manifest, &hash, &tables)
                .await?;
            loaded
                .tables
                .extend(tables.into_iter().map(|(counts, _)| counts));
        }
        if self.options.dry_run {
            transaction
                .rollback()
                .await
                .map_err(LoadError::at("roll back"))?;
        } else {
            transaction
                .commit()
                .await
                .map_err(LoadError::at("commit"))?;
        }
        Ok(loaded)
    }
}

fn dependents(mappings: &[Mapping], mut waiting: BTreeSet<Name>) -> BTreeSet<Name> {
    loop {
        let tables: BTreeSet<&str> = mappings
            .iter()
            .filter(|mapping| waiting.contains(&mapping.table.from))
            .map(|mapping| mapping.table.name.as_str())
            .collect();
        let more: Vec<Name> = mappings
            .iter()
            .filter(|mapping| !waiting.contains(&mapping.table.from))
            .filter(|mapping| mapping.needs().any(|table| tables.contains(table)))
            .map(|mapping| mapping.table.from.clone())
            .collect();
        if more.is_empty() {
            return waiting;
        }
        waiting.extend(more);
    }
}

async fn merge_resource(
    transaction: &mut Transaction<'_>,
    books: Books<'_>,
    config: &Config,
    mappings: Vec<Mapping>,
    fresh: &BTreeSet<Name>,
) -> Result<Merged, LoadError> {
    let Some(staged) = books.run.staged(books.resource)? else {
        return Err(LoadError::Staging(crate::staging::StagingError::NoRun(
            format!(
                "{} has no final pages of {}; extract it again",
                books.run.id(),
                books.resource
            ),
        )));
    };
    let savepoint = savepoint(transaction, "resource").await?;
    let merged = merge::merge(&savepoint, books, &config.scope, staged, mappings, fresh).await;
    settle(savepoint, merged).await?
}

/// Tries the orphans of a table again. One that fails does not stop the load: they wait on.
async fn heal_table(
    transaction: &mut Transaction<'_>,
    schema: &str,
    scope: &Values,
    mapping: &Mapping,
    runs: &[Run],
) -> Result<Option<TableCounts>, LoadError> {
    let savepoint = savepoint(transaction, "heal").await?;
    let healed = heal::heal(&savepoint, schema, scope, mapping, runs).await;
    match settle(savepoint, healed).await? {
        Ok(0) => Ok(None),
        Ok(healed) => {
            let mut counts = TableCounts::new(mapping.table.name.clone());
            info!(table = %counts.name, "{healed} rows that waited for a parent came in");
            counts.staged = healed;
            counts.inserted = healed;
            Ok(Some(counts))
        }
        Err(error) => {
            warn!(table = %mapping.table.name, "rows that wait for a parent wait on: {}", chain(&error));
            Ok(None)
        }
    }
}

/// Keeps what was done since the savepoint, or takes it back. The outer error is that of a lost connection.
async fn settle<T>(
    savepoint: Transaction<'_>,
    done: Result<T, LoadError>,
) -> Result<Result<T, LoadError>, LoadError> {
    match done {
        Ok(done) => {
            savepoint
                .commit()
                .await
                .map_err(LoadError::at("release a savepoint"))?;
            Ok(Ok(done))
        }
        Err(error) if error.is_connection_lost() => Err(error),
        Err(error) => {
            savepoint
                .rollback()
                .await
                .map_err(LoadError::at("roll back to a savepoint"))?;
            Ok(Err(error))
        }
    }
}

async fn run_derive(transaction: &mut Transaction<'_>, derive: &Derive) -> Result<(), LoadError> {
    let savepoint = savepoint(transaction, "derive").await?;
    let derived = savepoint
        .batch_execute(&derive.sql.text)
        .await
        .map_err(LoadError::at(format!("run {}", derive.sql.name)));
    settle(savepoint, derived).await?
}

async fn savepoint<'t>(
    transaction: &'t mut Transaction<'_>,
    name: &str,
) -> Result<Transaction<'t>, LoadError> {
    transaction
        .savepoint(name)
        .await
        .map_err(LoadError::at("set a savepoint"))
}

/// Joins every table block with the catalogue; all disagreements at once.
pub async fn mappings(
    config: &Config,
    client: &Client,
    schema: &str,
) -> Result<Vec<Mapping>, LoadError> {
    let mut mappings = Vec::new();
    let mut problems = Vec::new();
    for table in &config.tables {
        let shape = catalogue::table(client, schema, table.name.as_str())
            .await
            .map_err(LoadError::at("read the catalogue"))?;
        match Mapping::resolve(config, table, shape) {
            Ok(mapping) => mappings.push(mapping),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() {
        Ok(mappings)
    } else {
        Err(LoadError::Mismatch(problems))
    }
}

/// One load at a time into a schema; the lock goes with the session. It is waited for as long as any other lock: a
/// session that has just ended lets go a little later than its client.
async fn lock(client: &Client, schema: &str) -> Result<(), LoadError> {
    let taken = client
        .execute(
            "SELECT pg_advisory_lock(hashtext('cursus load'), hashtext($1))",
            &[&schema],
        )
        .await;
    match taken {
        Ok(_) => return Ok(()),
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {}
        Err(error) => return Err(LoadError::at("take the load lock")(error)),
    }
    let holder = client
        .query_opt(
            "SELECT a.pid, a.application_name, a.backend_start::text FROM pg_locks AS l JOIN pg_stat_activity AS a \
             USING (pid) WHERE l.locktype = 'advisory' AND l.granted AND l.classid = hashtext('cursus load')::oid \
             AND l.objid = hashtext($1)::oid LIMIT 1",
            &[&schema],
        )
        .await
        .ok()
        .flatten()
        .map(|row| {
            format!(
                " (`{}` since {}, server process {})",
                row.get::<_, String>(1),
                row.get::<_, String>(2),
                row.get::<_, i32>(0)
            )
        });
    Err(LoadError::Locked {
        schema: schema.to_owned(),
        holder: holder.unwrap_or_default(),
    })
}
