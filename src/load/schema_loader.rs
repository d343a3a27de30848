//! A schema that is open for loading, and what can be done with it.

use std::collections::BTreeSet;

use tokio_postgres::Client;
use tracing::info;

use crate::config::Config;
use crate::convert::counted;
use crate::database::trust::Access;
use crate::database::{Database, commit};
use crate::failpoint::Point;
use crate::load::check::rights::{Look, refuse_lacking};
use crate::load::check::source::Judge;
use crate::load::check::trust::check_schema;
use crate::load::error::LoadError;
use crate::load::ledger::change_months::turn_months;
use crate::load::ledger::held_deletes::held;
use crate::load::ledger::loads::{self, LoadLedger, Loaded};
use crate::load::ledger::quarantine::{Entry, entries};
use crate::load::ledger::schemas;
use crate::load::lock::lock;
use crate::load::mapping::Mapping;
use crate::load::mappings::mappings;
use crate::load::options::Options;
use crate::load::repair::retry_quarantined::Retried;
use crate::load::replay::scratch::{is_for_history, is_passing};
use crate::load::run_loader::{LoadedRun, RunLoader};
use crate::load::transaction::begin;
use crate::migrate::{self, Migrated};
use crate::name::Name;
use crate::staging::{Approval, Run};

/// A schema ready to be loaded into: migrated, compared with the configuration, locked.
#[derive(Debug)]
pub(crate) struct SchemaLoader<'c> {
    pub(super) config: &'c Config,
    pub(super) options: Options,
    pub(super) database: Database,
    pub(super) mappings: Vec<Mapping>,
    /// What migrations have made, in a line.
    pub(crate) prepared: Option<String>,
}

impl<'c> SchemaLoader<'c> {
    /// Migrates the schema, compares it with the configuration, and takes the load lock.
    pub(crate) async fn open(
        config: &'c Config,
        mut database: Database,
        options: Options,
    ) -> Result<Self, LoadError> {
        let schema = options.schema.as_str();
        check_schema(&database.client, Access::Write, config, schema).await?;
        reserve(&mut database, config, &options).await?;
        let folder = config.migrations();
        if options.dry_run {
            let pending = migrate::pending(&database.client, schema, &folder).await?;
            if !pending.is_empty() {
                return Err(LoadError::Unmigrated {
                    schema: schema.to_owned(),
                    pending,
                });
            }
        }
        schemas::forget_dropped(&database.client, schema).await?;
        let lock_wait = database.lock_wait;
        let migrated = migrate::migrate(&mut database.client, schema, &folder, lock_wait).await?;
        let prepared = prepared(&database.client, config, schema, &migrated).await?;
        if let Some(sentence) = prepared.as_ref().filter(|_| options.look != Look::ToRun) {
            info!("{sentence}");
        }
        let mut mappings = mappings(config, &database.client, schema).await?;
        if is_passing(&database.client, schema).await? {
            let is_for_history = is_for_history(&database.client, schema).await?;
            for mapping in &mut mappings {
                // Where a reference leads is counted when all rows are in their place.
                mapping.table.references.clear();
                if is_for_history {
                    mapping.without_changes();
                } else {
                    mapping.followed = None;
                }
            }
        } else if !options.dry_run && !config.changes.tables.is_empty() {
            turn_months(&mut database.client, schema, config.changes.keep).await?;
        }
        Ok(Self {
            config,
            options,
            database,
            mappings,
            prepared,
        })
    }

    /// The newest load of each resource.
    pub(crate) async fn loaded(&self) -> Result<Loaded, LoadError> {
        loads::loaded(
            &self.database.client,
            self.options.schema.as_str(),
            self.config,
        )
        .await
    }

    /// Corrects what is recorded of runs that were open when they were loaded and are closed now, whether anything of them
    /// is left to load or not.
    pub(crate) async fn correct_open_runs(&self, runs: &[Run]) -> Result<(), LoadError> {
        if self.options.dry_run {
            return Ok(());
        }
        let client = &self.database.client;
        let open = loads::open_runs(client).await?;
        let is_closed = |run: &&Run| !run.is_open() && open.contains(run.id().as_str());
        for run in runs.iter().filter(is_closed) {
            LoadLedger::record_run(client, run).await?;
        }
        Ok(())
    }

    /// The resources of a run that were ever loaded.
    pub(crate) async fn loaded_from(&self, run: &Run) -> Result<BTreeSet<String>, LoadError> {
        loads::loaded_from(&self.database.client, self.options.schema.as_str(), run).await
    }

    /// What the schema is filled from, to judge runs by. `runs` is all that is staged.
    pub(crate) async fn judge<'j>(&'j self, runs: &'j [Run]) -> Result<Judge<'j>, LoadError> {
        let schema = self.options.schema.as_str();
        Judge::look(&self.database.client, schema, self.config, runs).await
    }

    /// Ends the session, and with it the lock.
    pub(crate) async fn close(self) -> Result<(), LoadError> {
        Ok(self.database.close().await?)
    }
}

impl SchemaLoader<'_> {
    /// Records the approval of the run's held deletes in its directory, then makes exactly those deletes. `None` if none
    /// are held.
    pub(crate) async fn approve(
        &mut self,
        run: &Run,
        resource: Option<&Name>,
        runs: &[Run],
    ) -> Result<Option<LoadedRun>, LoadError> {
        let schema = self.options.schema.as_str();
        let as_of = loads::newest(&self.database.client, schema).await?;
        let mut transaction = begin(&mut self.database).await?;
        let held = held(&transaction, schema).await?;
        let chosen: Vec<Approval> = held
            .iter()
            .filter(|held| held.run_id == run.id().as_str())
            .filter(|held| resource.is_none_or(|resource| held.resource == resource.as_str()))
            .filter_map(|held| held.approve(&self.options.schema, as_of))
            .collect();
        if chosen.is_empty() {
            return Ok(None);
        }
        // Another project's run may have the same name.
        let judge = Judge::look(&transaction, schema, self.config, runs).await?;
        judge.refuse_other(run)?;
        run.approve(chosen)?;
        // Deletes that follow are recorded for the newest run, as when a load applies the approval.
        let newest = runs.iter().find(|run| run.record().seq == as_of);
        let load = RunLoader::new(
            self.config,
            &self.options,
            &self.mappings,
            newest.unwrap_or(run),
            &[],
            runs,
        );
        let approved = load.approved(&mut transaction, as_of).await?;
        let done = commit(transaction, Point::ApproveCommit, Point::ApproveCommitted);
        done.await.map_err(LoadError::at_commit)?;
        Ok(Some(approved))
    }
}

impl SchemaLoader<'_> {
    pub(crate) async fn quarantine(&self) -> Result<Vec<Entry>, LoadError> {
        entries(&self.database.client, self.options.schema.as_str()).await
    }

    pub(crate) async fn retry(
        &mut self,
        chosen: &BTreeSet<i64>,
        runs: &[Run],
    ) -> Result<Retried, LoadError> {
        let schema = self.options.schema.as_str();
        let entries = entries(&self.database.client, schema).await?;
        // Of the loaded ones: what is dated by a run that comes later would hide what the runs between show.
        let as_of = loads::newest(&self.database.client, schema).await?;
        let newest = runs.iter().find(|run| run.record().seq == as_of);
        let Some(newest) = newest.or(runs.last()) else {
            return Ok(Retried::default());
        };
        let mut transaction = begin(&mut self.database).await?;
        let judge = Judge::look(&transaction, schema, self.config, runs).await?;
        let is_chosen = |run: &&Run| {
            let mut entries = entries.iter().filter(|entry| chosen.contains(&entry.id));
            entries.any(|entry| entry.run_id == run.id().as_str())
        };
        for run in runs.iter().filter(is_chosen) {
            judge.refuse_other(run)?;
        }
        let load = RunLoader::new(
            self.config,
            &self.options,
            &self.mappings,
            newest,
            &[],
            runs,
        );
        let retried = load.retried(&mut transaction, &entries, chosen).await?;
        let done = commit(transaction, Point::RetryCommit, Point::RetryCommitted);
        done.await.map_err(LoadError::at_commit)?;
        Ok(retried)
    }
}

/// Takes the lock of the schema, and refuses to begin what could not end.
pub(crate) async fn reserve(
    database: &mut Database,
    config: &Config,
    options: &Options,
) -> Result<(), LoadError> {
    let schema = options.schema.as_str();
    lock(database, schema).await?;
    refuse_lacking(&mut database.client, config, schema, options.look).await
}

/// What migrations have made, in a line, with what is left to do; none if none was pending.
pub(crate) async fn prepared(
    client: &Client,
    config: &Config,
    schema: &str,
    migrated: &Migrated,
) -> Result<Option<String>, LoadError> {
    let place = if config.database.schema.as_str() == schema {
        String::new()
    } else {
        format!(" in {schema}")
    };
    let tables = counted(config.tables.len() as u64, "table");
    if !migrated.applied.is_empty() {
        let unfilled = loads::unfilled_tables(client, schema, config).await?;
        let unfilled: Vec<&str> = unfilled.into_iter().map(Name::as_str).collect();
        let left = if unfilled.is_empty() {
            String::new()
        } else {
            format!(
                "; `cursus replay --rebuild` fills {} from what is staged, without a request; else the next `run` reads the resource of each in full",
                unfilled.join(", ")
            )
        };
        return Ok(Some(format!("database prepared: {tables}{place}{left}")));
    }
    let views = counted(migrated.views.len() as u64, "view");
    let is_renewed = !migrated.views.is_empty();
    Ok(is_renewed.then(|| format!("database prepared: {views} renewed{place}")))
}
