//! What changes tables apart from a merge: deletes that were approved, and records of quarantine that are tried again.

use std::collections::BTreeSet;

use tokio_postgres::Transaction;
use tracing::{info, warn};

use crate::error_chain::chain;
use crate::failpoint::Point;
use crate::load::error::LoadError;
use crate::load::ledger::pre_load_state::PreLoadState;
use crate::load::ledger::quarantine::Entry;
use crate::load::ledger::{dangling, derives};
use crate::load::repair::approvals;
use crate::load::repair::approvals::AppliedApproval;
use crate::load::repair::retry;
use crate::load::repair::retry::{Retried, Retry};
use crate::load::run_loader::LoadedRun;
use crate::load::run_loader::RunLoader;
use crate::load::transaction::{savepoint, set_up, settle};
use crate::name::Name;

impl RunLoader<'_> {
    /// Applies what was approved when this run, or one with a number up to `as_of`, was the newest; the caller commits.
    pub(crate) async fn approved(
        mut self,
        transaction: &mut Transaction<'_>,
        as_of: u64,
    ) -> Result<LoadedRun, LoadError> {
        set_up(transaction, self.config, self.schema).await?;
        self.state =
            PreLoadState::read(transaction, self.schema, self.run.id(), self.mappings).await?;
        self.apply_approvals(transaction, as_of, true).await?;
        self.derive(transaction).await?;
        self.count_kept(transaction).await?;
        let (mappings, touched) = (self.mappings.iter(), self.touched());
        dangling::record_dangling(transaction, self.schema, mappings, &touched).await?;
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
        self.derive(transaction).await?;
        Ok(self.loaded.derives_failed)
    }

    /// Tries entries of quarantine again; the caller commits.
    pub(crate) async fn retried(
        mut self,
        transaction: &mut Transaction<'_>,
        entries: &[Entry],
        chosen: &BTreeSet<i64>,
    ) -> Result<Retried, LoadError> {
        set_up(transaction, self.config, self.schema).await?;
        self.state =
            PreLoadState::read(transaction, self.schema, self.run.id(), self.mappings).await?;
        let groups = retry::grouped(entries, chosen);
        let mut retried = Retried::default();
        for mapping in self.mappings {
            let name = &mapping.table.name;
            // Oldest run first: what a newer one holds comes on top.
            for run in self.runs {
                let group = (
                    run.id().as_str(),
                    mapping.table.from.as_str(),
                    name.as_str(),
                );
                let Some(entries) = groups.get(&group) else {
                    continue;
                };
                let again = Retry {
                    config: self.config,
                    schema: self.schema,
                    prune_limit: self.prune_limit,
                    incomplete_tables: &self.state.incomplete_tables,
                    mapping,
                    run,
                };
                let savepoint = savepoint(transaction, "retry").await?;
                let done = again.entries(&savepoint, entries).await;
                match settle(savepoint, done).await? {
                    Ok(counts) => {
                        if counts.inserted > 0 {
                            self.grown.insert(name.clone());
                        }
                        self.changed_apart.insert(name.clone());
                        self.counts_of(name).add(&counts);
                    }
                    Err(error) => retried.failed.push((name.clone(), error)),
                }
            }
            self.retry_orphans(transaction, mapping).await?;
        }
        self.derive(transaction).await?;
        self.count_kept(transaction).await?;
        let (mappings, touched) = (self.mappings.iter(), self.touched());
        dangling::record_dangling(transaction, self.schema, mappings, &touched).await?;
        retried.tables = self.loaded.tables;
        retried.derives_failed = self.loaded.derives_failed;
        Ok(retried)
    }

    /// Makes the held deletes that were approved.
    pub(crate) async fn approve(
        &mut self,
        transaction: &mut Transaction<'_>,
    ) -> Result<(), LoadError> {
        let merged = self.merged.values().flat_map(|resource| &resource.tables);
        let mut counts = merged.map(|table| &table.counts).chain(&self.loaded.tables);
        if self.state.refused.is_empty() && !counts.any(|counts| counts.refused > 0) {
            return Ok(());
        }
        let savepoint = savepoint(transaction, "approve").await?;
        let mut inner = savepoint;
        let applied = self
            .apply_approvals(&mut inner, self.run.record().seq, false)
            .await;
        Point::LoadApprove.reach();
        if let Err(error) = settle(inner, applied).await? {
            warn!("deletes that were approved are held on: {}", chain(&error));
        }
        Ok(())
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
            info!(table = %counts.name, run = run_id, "{} rows went, as approved", counts.deleted);
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
