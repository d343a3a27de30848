//! What changes tables apart from a merge: approved deletes, and retries of quarantine.

use std::collections::BTreeSet;

use tokio_postgres::Transaction;
use tracing::{info, warn};

use crate::database::catalogue::ForeignKey;
use crate::error_chain::chain;
use crate::failpoint::Point;
use crate::load::counts::TableCounts;
use crate::load::error::LoadError;
use crate::load::ledger::pre_load_state::PreLoadState;
use crate::load::ledger::quarantine::Entry;
use crate::load::ledger::{dangling, derives, quarantine};
use crate::load::mapping::Mapping;
use crate::load::repair::approvals;
use crate::load::repair::approvals::AppliedApproval;
use crate::load::repair::retry_quarantined::{Retried, Retry};
use crate::load::run_loader::LoadedRun;
use crate::load::run_loader::RunLoader;
use crate::load::transaction::{savepoint, set_up, settle};
use crate::name::Name;

impl RunLoader<'_> {
    pub(crate) async fn approved(
        mut self,
        transaction: &mut Transaction<'_>,
        as_of: u64,
    ) -> Result<LoadedRun, LoadError> {
        set_up(transaction, self.config, self.schema).await?;
        self.begin_changes(transaction).await?;
        self.state =
            PreLoadState::read(transaction, self.schema, self.run.id(), self.mappings).await?;
        self.apply_approvals(transaction, as_of, true).await?;
        self.derive(transaction).await?;
        self.count_kept(transaction).await?;
        let (mappings, touched) = (self.mappings.iter(), self.touched());
        dangling::record_dangling(transaction, self.schema, mappings, &touched).await?;
        self.write_changes(transaction).await?;
        Ok(self.loaded)
    }

    /// Runs the derived statements again that have failed, if there are any; the caller commits.
    pub(crate) async fn derived(
        mut self,
        transaction: &mut Transaction<'_>,
    ) -> Result<Vec<(Name, LoadError)>, LoadError> {
        if (derives::failed_derives(transaction, self.schema).await?).is_empty() {
            return Ok(Vec::new());
        }
        set_up(transaction, self.config, self.schema).await?;
        self.begin_changes(transaction).await?;
        self.derive(transaction).await?;
        self.write_changes(transaction).await?;
        Ok(self.loaded.derives_failed)
    }

    /// Loads the chosen entries of quarantine again; the caller commits.
    pub(crate) async fn retried(
        mut self,
        transaction: &mut Transaction<'_>,
        entries: &[Entry],
        chosen: &BTreeSet<i64>,
    ) -> Result<Retried, LoadError> {
        set_up(transaction, self.config, self.schema).await?;
        self.begin_changes(transaction).await?;
        self.state =
            PreLoadState::read(transaction, self.schema, self.run.id(), self.mappings).await?;
        let mut retried = Retried::default();
        for mapping in self.mappings {
            let (name, resource) = (&mapping.table.name, mapping.table.from.as_str());
            let is_meant = |entry: &&Entry| {
                chosen.contains(&entry.id)
                    && (entry.table == name.as_str() && entry.resource == resource)
                    && !entry.file.is_empty()
            };
            let entries: Vec<&Entry> = entries.iter().filter(is_meant).collect();
            if !entries.is_empty() {
                let (counts, failed) = self.retry(transaction, mapping, &entries).await?;
                self.counts_of(name).add(&counts);
                retried
                    .failed
                    .extend(failed.map(|error| (name.clone(), error)));
            }
            self.retry_orphans(transaction, mapping).await?;
        }
        self.derive(transaction).await?;
        self.count_kept(transaction).await?;
        let (mappings, touched) = (self.mappings.iter(), self.touched());
        dangling::record_dangling(transaction, self.schema, mappings, &touched).await?;
        self.write_changes(transaction).await?;
        retried.tables = self.loaded.tables;
        retried.derives_failed = self.loaded.derives_failed;
        Ok(retried)
    }

    /// Loads entries of a table again, oldest run first: what a newer one holds comes on top. A run that fails does not stop the
    /// others; returns the last error.
    async fn retry(
        &mut self,
        transaction: &mut Transaction<'_>,
        mapping: &Mapping,
        entries: &[&Entry],
    ) -> Result<(TableCounts, Option<LoadError>), LoadError> {
        let name = &mapping.table.name;
        let mut counts = TableCounts::new(name.clone());
        let mut failed = None;
        for run in self.runs {
            let of_run = entries
                .iter()
                .filter(|entry| entry.run_id == run.id().as_str());
            let of_run: Vec<&Entry> = of_run.copied().collect();
            if of_run.is_empty() {
                continue;
            }
            let retry = Retry {
                config: self.config,
                schema: self.schema,
                prune_limit: self.prune_limit,
                incomplete_tables: &self.state.incomplete_tables,
                mapping,
                run,
                loading: self.run,
                deleted: self.deleted_of(name) + counts.deleted,
            };
            let savepoint = savepoint(transaction, "retry").await?;
            let retried = retry.entries(&savepoint, &of_run).await;
            match settle(savepoint, retried).await? {
                Ok(of_run) => counts.add(&of_run),
                Err(error) => failed = Some(error),
            }
        }
        if counts.inserted > 0 {
            self.grown.insert(name.clone());
        }
        if counts.changed() > 0 {
            self.changed_apart.insert(name.clone());
        }
        Ok((counts, failed))
    }

    /// Retries the orphans of a table if new parents were inserted. A retry that fails does not stop the load.
    pub(crate) async fn retry_orphans(
        &mut self,
        transaction: &mut Transaction<'_>,
        mapping: &Mapping,
    ) -> Result<(), LoadError> {
        let name = &mapping.table.name;
        let mut parents = mapping.shape.references.iter();
        let due = (name.clone(), mapping.table.from.clone());
        let is_due = self.state.due.contains(&due);
        let has_grown =
            |foreign: &ForeignKey| self.grown.contains(foreign.referenced_table.as_str());
        if !self.state.orphaned.contains(name) || !(is_due || parents.any(has_grown)) {
            return Ok(());
        }
        let orphans = quarantine::orphans(transaction, self.schema, mapping).await?;
        let entries: Vec<&Entry> = orphans.iter().collect();
        let (mut counts, failed) = self.retry(transaction, mapping, &entries).await?;
        Point::LoadRetryOrphans.reach();
        if failed.is_some() || is_due {
            quarantine::record_due(transaction, self.schema, mapping, failed.is_some()).await?;
        }
        self.state.due.remove(&due);
        if let Some(error) = failed {
            warn!(table = %name, "the orphans stay in quarantine, and the next load retries them: {}", chain(&error));
        }
        let is_staged = |entry: &Entry| {
            let mut runs = self.runs.iter();
            runs.any(|run| run.id().as_str() == entry.run_id)
        };
        for run in (orphans.iter().filter(|entry| !is_staged(entry)))
            .map(|entry| &entry.run_id)
            .collect::<BTreeSet<_>>()
        {
            warn!(table = %name, "orphans of the run {run} stay in quarantine: it is not in staging any more");
        }
        if counts.changed() + counts.refused + counts.referred > 0 {
            // Those that stay were counted by the load that found them.
            counts.quarantined = 0;
            counts.staged =
                counts.inserted + counts.updated + counts.unchanged + counts.out_of_scope;
            let loaded = counts.inserted + counts.updated;
            info!(table = %name, "orphans loaded, since their parents have arrived: {loaded}");
            self.loaded.tables.push(counts);
        }
        Ok(())
    }

    /// Retries the orphans whose parents are in the same table.
    pub(crate) async fn retry_self_references(
        &mut self,
        transaction: &mut Transaction<'_>,
    ) -> Result<(), LoadError> {
        for mapping in self.mappings {
            if mapping.references().any(ForeignKey::is_of_itself) {
                self.retry_orphans(transaction, mapping).await?;
            }
        }
        Ok(())
    }

    /// Makes the held deletes that were approved.
    pub(crate) async fn approve(
        &mut self,
        transaction: &mut Transaction<'_>,
    ) -> Result<(), LoadError> {
        let merged = self.merged.values().flat_map(|resource| &resource.tables);
        let mut counts = merged.map(|table| &table.counts).chain(&self.loaded.tables);
        if self.state.with_held_deletes.is_empty() && !counts.any(|counts| counts.refused > 0) {
            return Ok(());
        }
        let savepoint = savepoint(transaction, "approve").await?;
        let mut inner = savepoint;
        let applied = self
            .apply_approvals(&mut inner, self.approved_until(), false)
            .await;
        Point::LoadApprove.reach();
        if let Err(error) = settle(inner, applied).await? {
            warn!(
                "approved deletes failed and are still held: {}",
                chain(&error)
            );
        }
        Ok(())
    }

    /// The run up to which approvals count. In the schema of a group that is the last one before the next with pages of it: in the mirror they were
    /// approved when other resources were that far.
    fn approved_until(&self) -> u64 {
        let seq = self.run.record().seq;
        let Some(group) = self.group else {
            return seq;
        };
        let mut until = seq;
        for run in self.runs.iter().filter(|run| run.record().seq > seq) {
            if (group.iter()).any(|name| !matches!(run.manifest(name), Ok(None))) {
                break;
            }
            until = run.record().seq;
        }
        until
    }

    /// Makes the approved deletes, and those that follow from them. A set of which no row was deleted is reported only
    /// `is_asked`.
    async fn apply_approvals(
        &mut self,
        transaction: &mut Transaction<'_>,
        as_of: u64,
        is_asked: bool,
    ) -> Result<(), LoadError> {
        let mirror = &self.config.database.schema;
        let (schema, mappings) = (self.schema, self.mappings);
        let mut applied =
            approvals::apply_approvals(transaction, schema, mirror, mappings, self.runs, as_of)
                .await?;
        applied.retain(|applied| is_asked || applied.counts.deleted > 0);
        if applied.is_empty() {
            return Ok(());
        }
        for AppliedApproval { run_id, counts } in applied {
            info!(table = %counts.name, run = run_id, "approved deletes made: {}", counts.deleted);
            self.changed_apart.insert(counts.name.clone());
            let is_of_this = run_id == self.run.id().as_str();
            let known = self.counts_of(&counts.name);
            known.add(&counts);
            if is_of_this {
                known.refused = known.refused.saturating_sub(counts.deleted);
            }
        }
        self.prune_out_of_scope(transaction, false).await
    }
}
