//! What changes tables apart from a merge: deletes that were approved, and records of quarantine that are tried again.

use std::collections::BTreeSet;

use tokio_postgres::Transaction;
use tracing::{info, warn};

use crate::chain::chain;
use crate::failpoint::Point;
use crate::name::Name;

use super::super::LoadedRun;
use super::super::approval::{self, Honoured};
use super::super::before::Before;
use super::super::books;
use super::super::error::LoadError;
use super::super::retry::{self, Entry, Retried, Retry};
use super::{RunLoad, savepoint, set_up, settle};

impl RunLoad<'_> {
    /// Does what was approved when this run, or one with a number up to `as_of`, was the newest; whoever calls commits.
    pub(in super::super) async fn approved(
        mut self,
        transaction: &mut Transaction<'_>,
        as_of: u64,
    ) -> Result<LoadedRun, LoadError> {
        set_up(transaction, self.config, self.schema).await?;
        self.before = Before::look(transaction, self.schema, self.run.id(), self.mappings).await?;
        self.honour(transaction, as_of, true).await?;
        self.derive(transaction).await?;
        self.count_kept(transaction).await?;
        let (mappings, touched) = (self.mappings.iter(), self.touched());
        books::note_dangling(transaction, self.schema, mappings, &touched).await?;
        Ok(self.loaded)
    }

    /// Runs the derived statements again that have failed, if there are any; whoever calls commits.
    pub(in super::super) async fn derived(
        mut self,
        transaction: &mut Transaction<'_>,
    ) -> Result<Vec<(Name, LoadError)>, LoadError> {
        if (books::failed_derives(transaction, self.schema).await?).is_empty() {
            return Ok(Vec::new());
        }
        set_up(transaction, self.config, self.schema).await?;
        self.derive(transaction).await?;
        Ok(self.loaded.derives_failed)
    }

    /// Tries entries of quarantine again; whoever calls commits.
    pub(in super::super) async fn retried(
        mut self,
        transaction: &mut Transaction<'_>,
        entries: &[Entry],
        chosen: &BTreeSet<i64>,
    ) -> Result<Retried, LoadError> {
        set_up(transaction, self.config, self.schema).await?;
        self.before = Before::look(transaction, self.schema, self.run.id(), self.mappings).await?;
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
                    guard: self.guard,
                    incomplete_tables: &self.before.incomplete_tables,
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
            self.heal(transaction, mapping).await?;
        }
        self.derive(transaction).await?;
        self.count_kept(transaction).await?;
        let (mappings, touched) = (self.mappings.iter(), self.touched());
        books::note_dangling(transaction, self.schema, mappings, &touched).await?;
        retried.tables = self.loaded.tables;
        retried.derives_failed = self.loaded.derives_failed;
        Ok(retried)
    }

    /// Makes the deletes that are held and were approved, if there are any.
    pub(super) async fn approve(
        &mut self,
        transaction: &mut Transaction<'_>,
    ) -> Result<(), LoadError> {
        let merged = self.merged.values().flat_map(|resource| &resource.tables);
        let mut counts = merged.map(|table| &table.counts).chain(&self.loaded.tables);
        if self.before.refused.is_empty() && !counts.any(|counts| counts.refused > 0) {
            return Ok(());
        }
        let savepoint = savepoint(transaction, "approve").await?;
        let mut inner = savepoint;
        let honoured = self.honour(&mut inner, self.run.record().seq, false).await;
        Point::LoadApprove.reach();
        if let Err(error) = settle(inner, honoured).await? {
            warn!("deletes that were approved are held on: {}", chain(&error));
        }
        Ok(())
    }

    /// Deletes what was approved, and what leaves with it. A set of which every row stays is told only to who has asked.
    async fn honour(
        &mut self,
        transaction: &mut Transaction<'_>,
        as_of: u64,
        is_asked: bool,
    ) -> Result<(), LoadError> {
        let mirror = &self.config.database.schema;
        let (schema, mappings) = (self.schema, self.mappings);
        let mut honoured =
            approval::honour(transaction, schema, mirror, mappings, self.runs, as_of).await?;
        honoured.retain(|honoured| is_asked || honoured.counts.deleted > 0);
        if honoured.is_empty() {
            return Ok(());
        }
        for Honoured { run_id, counts } in honoured {
            info!(table = %counts.name, run = run_id, "{} rows went, as approved", counts.deleted);
            self.changed_apart.insert(counts.name.clone());
            let is_of_this = run_id == self.run.id().as_str();
            let known = self.counts_of(&counts.name);
            known.add(&counts);
            if is_of_this {
                known.refused = known.refused.saturating_sub(counts.deleted);
            }
        }
        self.leave(transaction, false).await
    }
}
