//! Staged runs → the mirror. Knows nothing of HTTP.
//!
//! A run is one transaction: readers never see half of it. Each resource has a savepoint, so that one that
//! cannot be loaded does not take the others with it.

mod absent;
mod approval;
mod before;
mod books;
mod bulk;
pub(crate) mod cell;
mod counts;
mod decode;
mod drift;
mod error;
mod heal;
mod known;
mod mapping;
mod merge;
mod origin;
mod pages;
mod pending;
mod places;
mod prune;
mod rebuild;
mod replay;
mod retry;
mod rights;
mod row;
mod run;
mod scratch;
mod session;
mod source;
mod sql;
mod stage;
mod uses;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};
use tracing::info;

use crate::config::Config;
use crate::database::trust::{self, Access};
use crate::database::{
    Database, LOCK_WAIT, LockKey, WATCHED_EVERY, catalogue, commit, holder, holder_is_gone,
    lock_timeout_of,
};
use crate::failpoint::Point;
use crate::migrate;
use crate::name::Name;
use crate::staging::{Approval, Run, RunId};

pub use approval::{Held, held, held_keys};
pub use books::{
    Backlog, KeptRows, Loaded, LoadedResource, Waits, backlog, has_books, kept_rows, loaded,
    quarantined_runs, refused_runs,
};
pub use counts::{Samples, TableCounts, UnfitSample};
pub use drift::{Drift, DriftKind};
pub use error::LoadError;
pub use mapping::Mapping;
pub use origin::{ColumnOrigin, ExplainError, Explained, HeldDelete, Origin, explain};
pub use pending::{Pending, history, pending};
pub use rebuild::{Kept, Rebuilt};
pub use replay::{ReplayError, ReplayScope, with_parents};
pub use retry::{Entry, Retried, drop_entries, entries};
pub use rights::{Look, lacking, limits};
pub use scratch::Scratches;
pub use session::Session;
pub use source::{Judge, OtherSource, Side, look_ahead};
pub use uses::{check_schema, check_tables};

use run::RunLoad;

/// How to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// The schema of the mirror.
    pub schema: Name,
    /// Do everything, then roll it back.
    pub dry_run: bool,
    /// Deletes are not held by the guard.
    pub allow_prune: bool,
    /// A schema that is filled from another API or project is rebound.
    pub adopt: bool,
    /// What is looked for before anything is done.
    pub look: Look,
}

impl Options {
    /// Into this schema, with every guard.
    pub fn new(schema: Name) -> Self {
        Self {
            schema,
            dry_run: false,
            allow_prune: false,
            adopt: false,
            look: Look::ToLoad,
        }
    }
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
    /// What has changed in the shape of the records.
    pub drift: Vec<Drift>,
    /// What it changed in the source of the schema, a sentence each.
    pub warnings: Vec<String>,
    /// The schema has another source than before.
    pub is_rebound: bool,
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
        check_schema(&database.client, Access::Write, config, schema).await?;
        lock(&database, schema).await?;
        refuse_lacking(&mut database.client, config, &options).await?;
        let folder = config.migrations();
        if options.dry_run {
            let pending = migrate::pending(&database.client, schema, folder.as_deref()).await?;
            if !pending.is_empty() {
                return Err(LoadError::Unmigrated {
                    schema: schema.to_owned(),
                    pending,
                });
            }
        }
        replay::forget_dropped(&database.client, schema).await?;
        let lock_wait = database.lock_wait;
        let migrated =
            migrate::migrate(&mut database.client, schema, folder.as_deref(), lock_wait).await?;
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

    /// Corrects what is recorded of runs that were open when they were loaded and are closed now, whether anything of them
    /// is left to load or not.
    pub async fn correct_open_runs(&self, runs: &[Run]) -> Result<(), LoadError> {
        if self.options.dry_run {
            return Ok(());
        }
        let client = &self.database.client;
        let open = books::open_runs(client).await?;
        let is_closed = |run: &&Run| !run.is_open() && open.contains(run.id().as_str());
        for run in runs.iter().filter(is_closed) {
            books::Books::note_run(client, run).await?;
        }
        Ok(())
    }

    /// The resources of a run that were ever loaded.
    pub async fn loaded_from(&self, run: &Run) -> Result<BTreeSet<String>, LoadError> {
        books::loaded_from(&self.database.client, self.options.schema.as_str(), run).await
    }

    /// What the schema is filled from, to judge runs by. `runs` is all that is staged.
    pub async fn judge(&self, runs: &[Run]) -> Result<Judge<'_>, LoadError> {
        let schema = self.options.schema.as_str();
        Judge::look(&self.database.client, schema, self.config, runs).await
    }

    /// Ends the session, and with it the lock.
    pub async fn close(self) -> Result<(), LoadError> {
        Ok(self.database.close().await?)
    }
}

impl Loader<'_> {
    /// Notes in the run's directory that what the guard has held back of it may go, then deletes exactly that.
    /// Nothing is held: nothing is done, and none is given.
    pub async fn approve(
        &mut self,
        run: &Run,
        resource: Option<&Name>,
        runs: &[Run],
    ) -> Result<Option<LoadedRun>, LoadError> {
        let schema = self.options.schema.as_str();
        let as_of = books::newest(&self.database.client, schema).await?;
        let mut transaction = self
            .database
            .client
            .transaction()
            .await
            .map_err(LoadError::at("begin a transaction"))?;
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
        // What leaves with these rows is in the name of the newest run, as when a load honours the approval.
        let newest = runs.iter().find(|run| run.record().seq == as_of);
        let load = RunLoad::new(
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

impl Loader<'_> {
    /// What waits in quarantine.
    pub async fn quarantine(&self) -> Result<Vec<Entry>, LoadError> {
        entries(&self.database.client, self.options.schema.as_str()).await
    }

    /// Tries entries of quarantine again.
    pub async fn retry(
        &mut self,
        chosen: &BTreeSet<i64>,
        runs: &[Run],
    ) -> Result<Retried, LoadError> {
        let schema = self.options.schema.as_str();
        let entries = entries(&self.database.client, schema).await?;
        let Some(newest) = runs.last() else {
            return Ok(Retried::default());
        };
        let mut transaction = self
            .database
            .client
            .transaction()
            .await
            .map_err(LoadError::at("begin a transaction"))?;
        let judge = Judge::look(&transaction, schema, self.config, runs).await?;
        let is_chosen = |run: &&Run| {
            let mut entries = entries.iter().filter(|entry| chosen.contains(&entry.id));
            entries.any(|entry| entry.run_id == run.id().as_str())
        };
        for run in runs.iter().filter(is_chosen) {
            judge.refuse_other(run)?;
        }
        let load = RunLoad::new(
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

/// Refuses to begin what could not end.
async fn refuse_lacking(
    client: &mut Client,
    config: &Config,
    options: &Options,
) -> Result<(), LoadError> {
    let lacking = lacking(client, config, options.schema.as_str(), options.look).await?;
    if lacking.is_empty() {
        Ok(())
    } else {
        Err(LoadError::Lacking(lacking))
    }
}

/// These resources, and those whose rows refer to theirs or that are read once for each of their ids.
fn dependents(
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

/// Private tables and sorts of a load; the statements in sql/ name mirror tables without a schema. Nobody can make meanwhile what
/// would run with our rights.
async fn set_up(
    transaction: &Transaction<'_>,
    config: &Config,
    schema: &str,
) -> Result<(), LoadError> {
    let open = check_schema(transaction, Access::Write, config, schema).await?;
    if !open.is_empty() {
        let lock = format!("LOCK TABLE {} IN ROW EXCLUSIVE MODE", open.join(", "));
        let lock = transaction.batch_execute(&lock).await;
        lock.map_err(LoadError::at(
            "lock tables that other roles may add triggers to",
        ))?;
        check_schema(transaction, Access::Write, config, schema).await?;
    }
    let set_up = format!(
        "SET LOCAL search_path TO {}; SET LOCAL work_mem = '64MB'; SET LOCAL client_min_messages = warning",
        trust::path_of_load(schema)
    );
    (transaction.batch_execute(&set_up).await).map_err(LoadError::at("set up the transaction"))
}

/// Joins every table block with the catalogue; all disagreements at once. A table that several resources feed has a mapping
/// for each, the first for its own.
pub async fn mappings(
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
    if problems.is_empty() {
        Ok(mappings)
    } else {
        Err(LoadError::Mismatch(problems))
    }
}

/// Tables that are loaded before one that their foreign keys lead to: of the rows that come with their parents all would
/// wait for those in vain.
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

/// The lock of a load into the schema `$1`.
const LOAD_LOCK: LockKey = LockKey::Pair("hashtext('cursus load')", "hashtext($1)");

/// One load at a time into a schema; the lock goes with the session. It is waited for as long as any other lock, if nothing
/// else is asked for: a session that has just ended lets go a little later than its client, and that of a client which was
/// killed when the server looks after it.
async fn lock(database: &Database, schema: &str) -> Result<(), LoadError> {
    let client = &database.client;
    let wait = async |wait: Duration| {
        let set = format!("SET lock_timeout = {}", lock_timeout_of(wait));
        let set = client.batch_execute(&set).await;
        set.map_err(LoadError::at("set the patience for locks"))
    };
    if let Some(asked) = database.lock_wait {
        wait(asked).await?;
    }
    let take = LOAD_LOCK.take();
    let is_held = |taken: &Result<u64, tokio_postgres::Error>| {
        let error = taken.as_ref().err();
        error.and_then(tokio_postgres::Error::code) == Some(&SqlState::LOCK_NOT_AVAILABLE)
    };
    let mut taken = client.execute(&take, &[&schema]).await;
    let is_default = database.lock_wait.is_none();
    if is_held(&taken) && is_default && holder_is_gone(client, LOAD_LOCK, schema).await {
        info!(
            schema,
            "waiting for the server to notice that another cursus{} has died",
            holder(client, LOAD_LOCK, schema).await
        );
        wait(WATCHED_EVERY + LOCK_WAIT).await?;
        taken = client.execute(&take, &[&schema]).await;
    }
    match taken {
        Ok(_) => wait(LOCK_WAIT).await,
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
            Err(LoadError::Locked {
                schema: schema.to_owned(),
                holder: holder(client, LOAD_LOCK, schema).await,
            })
        }
        Err(error) => Err(LoadError::at("take the load lock")(error)),
    }
}

#[cfg(test)]
mod tests;
