//! The load of one run, phase by phase, in one transaction.

mod admit_run;
mod derive;
mod record_load;
mod repairs;

use std::collections::{BTreeMap, BTreeSet};

use tokio::task::JoinHandle;
use tokio_postgres::Transaction;
use tracing::warn;

use crate::config::{Config, PruneConfig};
use crate::failpoint::Point;
use crate::load::check::admission::Admission;
use crate::load::counts::TableCounts;
use crate::load::error::LoadError;
use crate::load::ledger::drift;
use crate::load::ledger::drift::Drift;
use crate::load::ledger::loads::LoadLedger;
use crate::load::ledger::pre_load_state::PreLoadState;
use crate::load::ledger::row_changes::Feed;
use crate::load::mapping::Mapping;
use crate::load::mappings::dependents;
use crate::load::merge::compare::TableHints;
use crate::load::merge::out_of_scope;
use crate::load::merge::prune;
use crate::load::merge::resource;
use crate::load::merge::resource::MergedResource;
use crate::load::merge::staged_tables;
use crate::load::merge::staged_tables::Reading;
use crate::load::options::Options;
use crate::load::transaction::set_up;
use crate::load::transaction::{savepoint, settle};
use crate::name::Name;
use crate::staging::Run;

#[derive(Debug, Default)]
pub(crate) struct LoadedRun {
    /// Counts of the tables of loaded resources.
    pub(crate) tables: Vec<TableCounts>,
    pub(crate) failed: Vec<(Name, LoadError)>,
    pub(crate) derives_failed: Vec<(Name, LoadError)>,
    pub(crate) drift: Vec<Drift>,
    /// What it changed in the source of the schema, a sentence each.
    pub(crate) warnings: Vec<String>,
    /// The schema has another source than before.
    pub(crate) is_rebound: bool,
}

pub(crate) struct RunLoader<'l> {
    config: &'l Config,
    schema: &'l str,
    mappings: &'l [Mapping],
    run: &'l Run,
    resources: &'l [Name],
    /// All that is staged.
    runs: &'l [Run],
    prune_limit: Option<PruneConfig>,
    /// As in the options.
    group: Option<&'l BTreeSet<Name>>,
    is_dry: bool,
    pub(crate) may_adopt: bool,
    admission: Admission,
    /// Resources that are no complete full reads, where nothing else may take the place of what is loaded; with `false` those whose
    /// rows refer to theirs.
    unproven: BTreeMap<Name, bool>,
    merged: BTreeMap<Name, MergedResource>,
    /// Resources that failed or are held, and those that depend on them.
    unloaded: BTreeSet<Name>,
    state: PreLoadState,
    /// Tables with new rows.
    grown: BTreeSet<Name>,
    /// Tables that were changed apart from the merge: by orphans that were loaded, by deletes that followed from others, by an approval, or by
    /// trying quarantine again.
    changed_apart: BTreeSet<Name>,
    feed: Feed,
    loaded: LoadedRun,
}

/// The next resource, which is read while the server is busy with the one before.
struct Next {
    resource: Name,
    reading: JoinHandle<Result<Reading, LoadError>>,
}

impl<'l> RunLoader<'l> {
    pub(crate) fn new(
        config: &'l Config,
        options: &'l Options,
        mappings: &'l [Mapping],
        run: &'l Run,
        resources: &'l [Name],
        runs: &'l [Run],
    ) -> Self {
        Self {
            config,
            schema: options.schema.as_str(),
            mappings,
            run,
            resources,
            runs,
            prune_limit: (!options.allow_prune).then_some(config.prune),
            group: options.group.as_ref(),
            is_dry: options.dry_run,
            may_adopt: options.adopt,
            admission: Admission::default(),
            unproven: BTreeMap::new(),
            merged: BTreeMap::new(),
            unloaded: BTreeSet::new(),
            state: PreLoadState::default(),
            grown: BTreeSet::new(),
            changed_apart: BTreeSet::new(),
            feed: Feed::default(),
            loaded: LoadedRun::default(),
        }
    }

    /// Deletes nothing because of what these resources, which are held, lack.
    pub(crate) fn without(mut self, held_back: &BTreeSet<Name>) -> Self {
        self.unloaded.clone_from(held_back);
        self
    }

    /// Loads the run; the caller commits.
    pub(crate) async fn load(
        mut self,
        transaction: &mut Transaction<'_>,
    ) -> Result<LoadedRun, LoadError> {
        set_up(transaction, self.config, self.schema).await?;
        self.begin_changes(transaction).await?;
        self.admit(transaction).await?;
        self.merge(transaction).await?;
        self.prune(transaction).await?;
        self.prune_out_of_scope(transaction, true).await?;
        self.retry_self_references(transaction).await?;
        self.approve(transaction).await?;
        self.derive(transaction).await?;
        self.bind(transaction).await?;
        self.record(transaction).await?;
        self.write_changes(transaction).await?;
        // Last, since a load of the same run into another schema waits for the lock of this row from then on.
        LoadLedger::record_run(transaction, self.run).await?;
        Ok(self.loaded)
    }

    fn ledger<'b>(&self, resource: &'b Name) -> LoadLedger<'b>
    where
        'l: 'b,
    {
        LoadLedger {
            schema: self.schema,
            run: self.run,
            resource,
            has_samples: self.is_dry,
        }
    }

    /// What is to be loaded, in the order of the configuration.
    fn order(&self) -> Vec<&'l Name> {
        let names = self.config.resources.iter().map(|resource| &resource.name);
        names.filter(|name| self.resources.contains(name)).collect()
    }

    fn mappings_of(&self, resource: &Name) -> Vec<Mapping> {
        let seq = self.run.record().seq;
        let of = |mapping: &&Mapping| mapping.table.from == *resource;
        let mappings = self.mappings.iter().filter(of).cloned();
        let judged = mappings.map(|mapping| Mapping {
            yields: self.state.is_overtaken(&mapping, seq),
            ..mapping
        });
        judged.collect()
    }

    async fn merge(&mut self, transaction: &mut Transaction<'_>) -> Result<(), LoadError> {
        self.state =
            PreLoadState::read(transaction, self.schema, self.run.id(), self.mappings).await?;
        let order = self.order();
        let mut place = 0;
        let mut next = None;
        for resource in &self.config.resources {
            let name = &resource.name;
            let mappings = self.mappings_of(name);
            for mapping in &mappings {
                self.retry_orphans(transaction, mapping).await?;
            }
            if !self.resources.contains(name) {
                continue;
            }
            place += 1;
            let reading = match next.take() {
                Some(Next { resource, reading }) if resource == *name => reading,
                _ => self.read_ahead(name, &mappings),
            };
            if self.unloaded.contains(name) {
                let error = self.why_unloaded(name);
                self.loaded.failed.push((name.clone(), error));
                continue;
            }
            if let Some(name) = order.get(place) {
                next = Some(Next {
                    resource: (*name).clone(),
                    reading: self.read_ahead(name, &self.mappings_of(name)),
                });
            }
            self.merge_resource(transaction, name, mappings, reading)
                .await?;
        }
        Ok(())
    }

    fn read_ahead(
        &self,
        resource: &Name,
        mappings: &[Mapping],
    ) -> JoinHandle<Result<Reading, LoadError>> {
        let is_among = |names: &BTreeSet<Name>| {
            mappings
                .iter()
                .any(|mapping| names.contains(&mapping.table.name))
        };
        let hints = TableHints {
            is_empty: is_among(&self.state.empty),
            is_awaited: is_among(&self.state.quarantined)
                || is_among(&self.state.with_held_deletes),
            is_shared: mappings.iter().any(|mapping| {
                let mut sources = mapping.table.sources();
                sources.any(|source| source != resource && self.resources.contains(source))
            }),
        };
        let scope = self.run.scope(&self.config.scope);
        staged_tables::read_ahead(self.run, resource, mappings, &scope, hints)
    }

    async fn merge_resource(
        &mut self,
        transaction: &mut Transaction<'_>,
        name: &Name,
        mappings: Vec<Mapping>,
        reading: JoinHandle<Result<Reading, LoadError>>,
    ) -> Result<(), LoadError> {
        let ledger = self.ledger(name);
        let merged = match reading.await.map_err(|_| LoadError::Thread)? {
            Ok(reading) => {
                let savepoint = savepoint(transaction, "resource").await?;
                let scope = self.run.scope(&self.config.scope);
                let merged = resource::merge(
                    &savepoint,
                    ledger,
                    &scope,
                    reading,
                    mappings,
                    &self.merged,
                    &self.state,
                    &self.changed_apart,
                )
                .await;
                settle(savepoint, merged).await?
            }
            Err(error) => Err(error),
        };
        match merged {
            Ok(merged) => {
                let drifts = drift::record(transaction, ledger, &merged.shape).await?;
                self.loaded.drift.extend(drifts);
                for table in &merged.tables {
                    let name = &table.mapping.table.name;
                    if table.counts.inserted > 0 {
                        self.grown.insert(name.clone());
                    }
                    if merged.manifest.is_complete_full() && !table.mapping.hides_rows() {
                        self.state.incomplete_tables.remove(name);
                    }
                }
                self.merged.insert(name.clone(), merged);
            }
            Err(error) => {
                if let LoadError::Renamed { keys, file } = &error {
                    let drifts = drift::missing_keys(name, keys, file);
                    drift::write(transaction, ledger, &drifts).await?;
                    self.loaded.drift.extend(drifts);
                }
                self.fail(name, error);
            }
        }
        Ok(())
    }

    /// Prunes. A resource that fails deletes nothing, and neither do those that depend on it: all is rolled back, and done again
    /// without them.
    async fn prune(&mut self, transaction: &mut Transaction<'_>) -> Result<(), LoadError> {
        loop {
            let tables = self.merged.values().flat_map(|resource| &resource.tables);
            let before: Vec<TableCounts> = tables.map(|table| table.counts.clone()).collect();
            let savepoint = savepoint(transaction, "prune").await?;
            let mut failed = None;
            let pruned = self.prune_each(&savepoint, &mut failed).await;
            let Err(error) = settle(savepoint, pruned).await? else {
                return Ok(());
            };
            let Some(name) = failed else {
                return Err(error);
            };
            let tables = self.merged.values_mut();
            let tables = tables.flat_map(|resource| &mut resource.tables);
            for (table, counts) in tables.zip(before) {
                table.counts = counts;
            }
            warn!(resource = %name, "nothing was pruned; the resource counts as not loaded");
            self.fail(&name, error);
        }
    }

    /// Prunes last resource first: rows are deleted before those that they refer to. `failed` is the resource that did not work.
    async fn prune_each(
        &mut self,
        transaction: &Transaction<'_>,
        failed: &mut Option<Name>,
    ) -> Result<(), LoadError> {
        let inserted = self.inserted();
        for name in self.order().into_iter().rev() {
            let ledger = self.ledger(name);
            let beside = self.beside(name);
            let Some(resource) = self.merged.get_mut(name) else {
                continue;
            };
            if !prune::is_prune_due(resource, &self.state) {
                continue;
            }
            *failed = Some(name.clone());
            let (prune_limit, state) = (self.prune_limit, &self.state);
            // The prune limit counts what all resources of the run do to a table.
            let mut inserted = inserted.clone();
            for (table, counts) in resource.tables.iter_mut().zip(&beside) {
                table.counts.deleted += counts.deleted;
                *inserted.entry(counts.name.clone()).or_default() += counts.inserted;
            }
            prune::prune(transaction, ledger, prune_limit, resource, state, &inserted).await?;
            for (table, counts) in resource.tables.iter_mut().zip(&beside) {
                table.counts.deleted -= counts.deleted;
            }
            Point::LoadPrune.reach();
        }
        Ok(())
    }

    /// Orphans that this load has inserted, by table.
    fn inserted(&self) -> BTreeMap<Name, u64> {
        let mut inserted = BTreeMap::new();
        for counts in &self.loaded.tables {
            *inserted.entry(counts.name.clone()).or_default() += counts.inserted;
        }
        inserted
    }

    /// How many rows of a table were deleted in this load. Each step that deletes counts them all against the prune limit.
    pub(crate) fn deleted_of(&self, name: &Name) -> u64 {
        let merged = self.merged.values().flat_map(|resource| &resource.tables);
        let counts = merged.map(|table| &table.counts).chain(&self.loaded.tables);
        let of_table = counts.filter(|counts| counts.name == *name);
        of_table.map(|counts| counts.deleted).sum()
    }

    /// For each table of a resource: what other resources of the run, and retries, have done to it.
    fn beside(&self, resource: &Name) -> Vec<TableCounts> {
        let of_table = |name: &Name| {
            let mut sum = TableCounts::new(name.clone());
            let others = self.merged.iter().filter(|(other, _)| *other != resource);
            for table in others.flat_map(|(_, merged)| &merged.tables) {
                if table.counts.name == *name {
                    sum.add(&table.counts);
                }
            }
            let retried = self
                .loaded
                .tables
                .iter()
                .filter(|counts| counts.name == *name);
            sum.deleted += retried.map(|counts| counts.deleted).sum::<u64>();
            sum
        };
        let merged = self.merged.get(resource).into_iter();
        let tables = merged.flat_map(|merged| &merged.tables);
        tables.map(|table| of_table(&table.counts.name)).collect()
    }

    /// A resource counts as not loaded, although its rows may be merged, and so do those that depend on it.
    fn fail(&mut self, name: &Name, error: LoadError) {
        self.loaded.failed.push((name.clone(), error));
        self.unloaded.insert(name.clone());
        self.unloaded = dependents(
            self.config,
            self.mappings,
            std::mem::take(&mut self.unloaded),
        );
        for name in &self.unloaded {
            let Some(merged) = self.merged.remove(name) else {
                continue;
            };
            let tables = merged.tables.into_iter().map(|table| table.counts.name);
            self.changed_apart.extend(tables);
            if !self.loaded.failed.iter().any(|(failed, _)| failed == name) {
                self.loaded.failed.push((name.clone(), LoadError::Skipped));
            }
        }
    }

    /// Tables of which rows may be missing: what is within them is not known to have left.
    fn incomplete_tables(&self) -> BTreeSet<Name> {
        let mappings = self.mappings.iter();
        let unloaded = mappings.filter(|mapping| {
            self.unloaded.contains(&mapping.table.from) && !mapping.table.is_update_only()
        });
        let unloaded = unloaded.map(|mapping| mapping.table.name.clone());
        self.state
            .incomplete_tables
            .iter()
            .cloned()
            .chain(unloaded)
            .collect()
    }

    /// Deletes rows whose reference left the table that they are within, whether their own resource was read or not; first table
    /// first, since a deleted row can be the reference of the next.
    async fn prune_out_of_scope(
        &mut self,
        transaction: &mut Transaction<'_>,
        is_first: bool,
    ) -> Result<(), LoadError> {
        let is_within = |mapping: &&Mapping| {
            !mapping.table.within.is_empty() && !mapping.table.is_update_only()
        };
        for mapping in self.mappings.iter().filter(is_within) {
            let name = &mapping.table.from;
            let ledger = self.ledger(name);
            let merged = self.merged.get(name).and_then(|merged| {
                let mut tables = merged.tables.iter();
                tables.find(|table| table.mapping.table.name == mapping.table.name)
            });
            let is_merged = merged.is_some();
            let inserted = merged.map_or(0, |table| table.counts.inserted)
                + self.inserted().get(&mapping.table.name).unwrap_or(&0);
            let incomplete_tables = self.incomplete_tables();
            let already = self.deleted_of(&mapping.table.name);
            let mut counts = TableCounts::new(mapping.table.name.clone());
            // After an approval the prune limit counts what is deleted with the rows, not all that the load deletes.
            counts.deleted = if is_first { already } else { 0 };
            let so_far = counts.deleted;
            let savepoint = savepoint(transaction, "prune").await?;
            let left = out_of_scope::prune_out_of_scope(
                &savepoint,
                ledger,
                self.prune_limit,
                mapping,
                (&self.state, &incomplete_tables),
                inserted,
                &mut counts,
            )
            .await;
            Point::LoadPruneOutOfScope.reach();
            if let Err(error) = settle(savepoint, left).await? {
                self.fail(name, error);
                continue;
            }
            counts.deleted -= so_far;
            if counts.deleted > 0 {
                self.changed_apart.insert(mapping.table.name.clone());
            }
            if is_merged || counts.deleted > 0 || counts.refused > 0 {
                self.counts_of(&mapping.table.name).add(&counts);
            }
        }
        Ok(())
    }

    /// The counts that are reported of a table.
    fn counts_of(&mut self, name: &Name) -> &mut TableCounts {
        let merged = self
            .merged
            .values_mut()
            .flat_map(|resource| &mut resource.tables)
            .filter(|table| !table.mapping.table.is_update_only());
        if let Some(table) = { merged }.find(|table| table.counts.name == *name) {
            return &mut table.counts;
        }
        let tables = &mut self.loaded.tables;
        let at = tables.iter().position(|counts| counts.name == *name);
        let at = at.unwrap_or_else(|| {
            tables.push(TableCounts::new(name.clone()));
            tables.len() - 1
        });
        &mut tables[at]
    }
}
