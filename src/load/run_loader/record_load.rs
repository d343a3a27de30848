//! Records a load in the load ledger, when its tables are as they will be.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio_postgres::Transaction;

use crate::failpoint::Point;
use crate::load::error::LoadError;
use crate::load::ledger::dangling::Touched;
use crate::load::ledger::loads;
use crate::load::ledger::row_changes::Feed;
use crate::load::ledger::{dangling, erasures, held_deletes};
use crate::load::mapping::Mapping;
use crate::load::run_loader::RunLoader;

impl RunLoader<'_> {
    /// Comes before anything is read or changed: refuses runs that would bring back people who were erased.
    pub(crate) async fn begin_changes(
        &mut self,
        transaction: &Transaction<'_>,
    ) -> Result<(), LoadError> {
        erasures::refuse_unknown(transaction, self.run).await?;
        self.feed = Feed::begin(transaction, self.schema, self.mappings).await?;
        Ok(())
    }

    pub(crate) async fn write_changes(
        &self,
        transaction: &Transaction<'_>,
    ) -> Result<(), LoadError> {
        if self.is_dry {
            return Ok(());
        }
        let run = self.run.id().as_str();
        let (feed, mappings) = (&self.feed, self.mappings);
        feed.write_history(transaction, self.schema, mappings, self.run)
            .await?;
        feed.finish(transaction, self.schema, mappings, run).await
    }

    /// Records the counts and the dangling references of each table.
    pub(crate) async fn record(&mut self, transaction: &Transaction<'_>) -> Result<(), LoadError> {
        self.count_kept(transaction).await?;
        let touched = self.touched();
        let mut counted = BTreeSet::new();
        let note = loads::prepare_record(transaction).await?;
        for name in self.order() {
            let Some(resource) = self.merged.remove(name) else {
                continue;
            };
            let ledger = self.ledger(name);
            let hash = self.run.manifest_hash(name)?;
            let mut tables = Vec::new();
            for table in resource.tables {
                let dangling = self.dangling(transaction, &table.mapping, &touched).await?;
                counted.insert((name, table.counts.name.clone()));
                tables.push((table.counts, dangling));
            }
            ledger
                .record_load(transaction, &note, &resource.manifest, &hash, &tables)
                .await?;
            Point::LoadRecord.reach();
            let counts = tables.into_iter().map(|(counts, _)| counts);
            self.loaded.tables.extend(counts);
        }
        let others = self.mappings.iter();
        let others = others.filter(|mapping| {
            let (resource, table) = (&mapping.table.from, &mapping.table.name);
            !counted.contains(&(resource, table.clone()))
        });
        dangling::record_dangling(transaction, self.schema, others, &touched).await
    }

    /// Counts what is kept, if there is something.
    pub(crate) async fn count_kept(
        &mut self,
        transaction: &Transaction<'_>,
    ) -> Result<(), LoadError> {
        let merged = self.merged.values_mut();
        let merged = merged.flat_map(|resource| &mut resource.tables);
        let counts = merged.map(|table| &mut table.counts);
        let mut counts: Vec<_> = counts.chain(&mut self.loaded.tables).collect();
        if self.state.with_held_deletes.is_empty()
            && counts.iter().all(|counts| counts.referred == 0)
        {
            return Ok(());
        }
        let kept = held_deletes::count_kept(transaction, self.schema, self.mappings).await?;
        for counts in &mut counts {
            counts.kept = kept.get(&counts.name).copied().unwrap_or(0);
        }
        Ok(())
    }

    /// Dangling references of a table: as in the load before, if they must be the same.
    async fn dangling(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        touched: &Touched,
    ) -> Result<Value, LoadError> {
        let schema = self.schema;
        if !touched.concerns(mapping)
            && let Some(known) = dangling::last_dangling(transaction, schema, mapping).await?
        {
            return Ok(known);
        }
        dangling::count_dangling(transaction, schema, mapping).await
    }

    pub(crate) fn touched(&self) -> Touched {
        let mut touched = Touched::all_of(self.changed_apart.clone());
        for table in self.merged.values().flat_map(|resource| &resource.tables) {
            let (name, counts) = (&table.counts.name, &table.counts);
            if counts.inserted + counts.deleted > 0 {
                touched.moved.insert(name.clone());
                touched.changed.insert(name.clone());
            } else if counts.references_changed && counts.updated > 0 {
                touched.changed.insert(name.clone());
            }
        }
        touched
    }
}
