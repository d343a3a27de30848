//! Runs the derived statements of changed tables.

use std::collections::BTreeSet;

use tokio_postgres::Transaction;
use tracing::info;

use crate::config::Derive;
use crate::failpoint::Point;
use crate::load::error::LoadError;
use crate::load::ledger::derives;
use crate::load::ledger::row_changes::run_noted;
use crate::load::run_loader::RunLoader;
use crate::load::transaction::{savepoint, settle};
use crate::name::Name;

impl RunLoader<'_> {
    /// Also those that have failed before.
    pub(super) async fn derive(
        &mut self,
        transaction: &mut Transaction<'_>,
    ) -> Result<(), LoadError> {
        let tables = self.merged.values().flat_map(|resource| &resource.tables);
        let merged = tables.map(|table| &table.mapping.table.name);
        let touched: BTreeSet<&Name> = merged.chain(&self.changed_apart).collect();
        let had_failed = derives::failed_derives(transaction, self.schema).await?;
        let is_due = |derive: &&Derive| {
            derive.after.is_empty()
                || derive.after.iter().any(|table| touched.contains(table))
                || had_failed.contains(derive.name.as_str())
        };
        for derive in self.config.derives.iter().filter(is_due) {
            let savepoint = savepoint(transaction, "derive").await?;
            let (schema, run) = (self.schema, self.run.id().as_str());
            let mappings = if self.is_dry { &[] } else { self.mappings };
            let derived = run_noted(&savepoint, schema, mappings, run, &derive.sql).await;
            Point::LoadDerive.reach();
            let derived = settle(savepoint, derived).await?;
            if derived.is_err() || had_failed.contains(derive.name.as_str()) {
                let name = &derive.name;
                derives::record_derive(transaction, schema, run, name, derived.is_ok()).await?;
            }
            match derived {
                Ok(_) if had_failed.contains(derive.name.as_str()) => {
                    info!(derive = %derive.name, "the derived statement that failed before has succeeded");
                }
                Ok(_) => {}
                Err(error) => {
                    let failed = &mut self.loaded.derives_failed;
                    failed.push((derive.name.clone(), error));
                }
            }
        }
        Ok(())
    }
}
