//! The loads of one command: each run in a transaction of its own, or, dry, all of them in one that is rolled back.

use std::collections::BTreeSet;

use tokio_postgres::{Row, Transaction};

use crate::config::Config;
use crate::convert::unsigned;
use crate::database::{Database, commit};
use crate::failpoint::Point;
use crate::load::counts::{RejectSample, SAMPLE, Samples, TableCounts};
use crate::load::error::LoadError;
use crate::load::ledger::held_deletes::held_keys;
use crate::load::mapping::Mapping;
use crate::load::mappings::dependents;
use crate::load::options::Options;
use crate::load::run_loader::LoadedRun;
use crate::load::run_loader::RunLoader;
use crate::load::schema_loader::SchemaLoader;
use crate::load::transaction::begin;
use crate::name::Name;
use crate::staging::Run;

pub(crate) struct Session<'l> {
    config: &'l Config,
    options: &'l Options,
    mappings: &'l [Mapping],
    /// The schema may be rebound, once.
    may_adopt: bool,
    on: LoadTarget<'l>,
}

/// Where the loads happen.
enum LoadTarget<'l> {
    /// A transaction each.
    Each(&'l mut Database),
    /// A savepoint each, so that a run finds what those before it have done.
    Dry(Transaction<'l>),
}

impl SchemaLoader<'_> {
    pub(crate) async fn session(&mut self) -> Result<Session<'_>, LoadError> {
        let on = if self.options.dry_run {
            LoadTarget::Dry(begin(&mut self.database).await?)
        } else {
            LoadTarget::Each(&mut self.database)
        };
        Ok(Session {
            config: self.config,
            options: &self.options,
            mappings: &self.mappings,
            may_adopt: self.options.adopt,
            on,
        })
    }
}

impl Session<'_> {
    /// These resources and those that depend on them: their rows refer to theirs.
    pub(crate) fn with_dependents(&self, failed: BTreeSet<Name>) -> BTreeSet<Name> {
        dependents(self.config, self.mappings, failed)
    }

    /// Loads those resources of a run; `runs` is all that is staged. Nothing is deleted because of what resources lack that
    /// are held back.
    pub(crate) async fn load(
        &mut self,
        run: &Run,
        resources: &[Name],
        runs: &[Run],
        held_back: &BTreeSet<Name>,
    ) -> Result<LoadedRun, LoadError> {
        let (config, mappings) = (self.config, self.mappings);
        let mut load = RunLoader::new(config, self.options, mappings, run, resources, runs);
        load.may_adopt = self.may_adopt;
        let load = load.without(held_back);
        let loaded = match &mut self.on {
            LoadTarget::Each(database) => match load_in_one(database, load).await {
                Err(error) if error.is_connection_lost() => {
                    return Err(error.with_reason(database.last_words().await));
                }
                loaded => loaded?,
            },
            LoadTarget::Dry(transaction) => {
                let savepoint = transaction.savepoint("run").await;
                let mut savepoint = savepoint.map_err(LoadError::at("set a savepoint"))?;
                let mut loaded = load.load(&mut savepoint).await?;
                let schema = self.options.schema.as_str();
                for counts in &mut loaded.tables {
                    sample_waiting(&savepoint, schema, run, counts).await?;
                }
                // As the end of a transaction would.
                let dropped = savepoint.batch_execute("DISCARD TEMP").await;
                dropped.map_err(LoadError::at("clean up"))?;
                let released = savepoint.commit().await;
                released.map_err(LoadError::at("release a savepoint"))?;
                loaded
            }
        };
        self.may_adopt &= !loaded.is_rebound;
        Ok(loaded)
    }

    /// Runs the derived statements again that have failed, when nothing else is loaded; those that fail again.
    pub(crate) async fn derive_again(
        &mut self,
        runs: &[Run],
    ) -> Result<Vec<(Name, LoadError)>, LoadError> {
        let Some(newest) = runs.last() else {
            return Ok(Vec::new());
        };
        let (config, mappings) = (self.config, self.mappings);
        let load = RunLoader::new(config, self.options, mappings, newest, &[], runs);
        match &mut self.on {
            LoadTarget::Each(database) => {
                let mut transaction = begin(database).await?;
                let failed = load.derived(&mut transaction).await?;
                let done = commit(transaction, Point::DeriveCommit, Point::DeriveCommitted);
                done.await.map_err(LoadError::at_commit)?;
                Ok(failed)
            }
            LoadTarget::Dry(transaction) => load.derived(transaction).await,
        }
    }

    /// Ends it; what was dry is rolled back.
    pub(crate) async fn end(self) -> Result<(), LoadError> {
        match self.on {
            LoadTarget::Each(_) => Ok(()),
            LoadTarget::Dry(transaction) => {
                let ended = transaction.rollback().await;
                ended.map_err(LoadError::at("roll back"))
            }
        }
    }
}

/// Adds a few of the deletes that are held and of the rejected records to the samples of a table; the ledger rows that hold
/// them are rolled back.
async fn sample_waiting(
    transaction: &Transaction<'_>,
    schema: &str,
    run: &Run,
    counts: &mut TableCounts,
) -> Result<(), LoadError> {
    let (run, table) = (run.id().as_str(), counts.name.as_str());
    let mut samples = Samples::default();
    if counts.refused > 0 {
        let held = held_keys(transaction, schema, run, Some(table)).await?;
        samples.held = held.into_iter().map(|(_, key)| key).collect();
    }
    if counts.quarantined > 0 {
        let statement = format!(
            "SELECT file, record_index, element_index, column_name, reason FROM pipeline.quarantine \
             WHERE schema_name = $1 AND run_id = $2 AND table_name = $3 ORDER BY id LIMIT {SAMPLE}"
        );
        let rows = transaction
            .query(&statement, &[&schema, &run, &table])
            .await;
        let rows = rows.map_err(LoadError::at("read pipeline.quarantine"))?;
        let sample = |row: &Row| RejectSample {
            file: row.get(0),
            record: unsigned(row.get(1)),
            element: row.get::<_, Option<i64>>(2).map(unsigned),
            column: row.get(3),
            reason: row.get(4),
        };
        samples.rejected = rows.iter().map(sample).collect();
    }
    if samples != Samples::default() {
        counts.sample(samples);
    }
    Ok(())
}

async fn load_in_one(database: &mut Database, load: RunLoader<'_>) -> Result<LoadedRun, LoadError> {
    let mut transaction = begin(database).await?;
    Point::LoadBegin.reach();
    let loaded = load.load(&mut transaction).await?;
    let done = commit(transaction, Point::LoadCommit, Point::LoadCommitted);
    done.await.map_err(LoadError::at_commit)?;
    Ok(loaded)
}
