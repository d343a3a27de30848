//! Admits a run into its schema, or refuses it, as `check::admission` decides; rebinds the schema and records its source.

use tokio_postgres::Transaction;
use tracing::info;

use crate::clock;
use crate::convert::unsigned;
use crate::load::check::admission::{Admission, Rebinding, head_candidates};
use crate::load::check::source::Judge;
use crate::load::error::LoadError;
use crate::load::ledger::schemas;
use crate::load::mappings::dependents;
use crate::load::run_loader::RunLoader;
use crate::load::sql::statements::Statements;
use crate::name::Name;
use crate::staging::{Adoption, Manifest};

impl RunLoader<'_> {
    /// Refuses a run of another source, before anything is written.
    pub(crate) async fn admit(&mut self, transaction: &Transaction<'_>) -> Result<(), LoadError> {
        let judge = Judge::look(transaction, self.schema, self.config, self.runs).await?;
        let admission = Admission::of(&judge, self.run, self.may_adopt)?;
        if let Some(rebinding) = &admission.rebinding {
            self.rebind(transaction, rebinding).await?;
            self.loaded.is_rebound = true;
        }
        let unproven = admission.unproven(self.run, self.resources)?;
        let with_dependents = dependents(self.config, self.mappings, unproven.clone());
        self.unloaded.extend(with_dependents.iter().cloned());
        self.unproven = (with_dependents.into_iter())
            .map(|name| (name.clone(), unproven.contains(&name)))
            .collect();
        self.admission = admission;
        Ok(())
    }

    /// Why a resource is not loaded of which what is loaded before it is missing.
    pub(crate) fn why_unloaded(&self, name: &Name) -> LoadError {
        match self.unproven.get(name) {
            Some(true) => LoadError::Unproven {
                held: self.admission.replaces(),
            },
            Some(false) => LoadError::UnprovenParent,
            None => LoadError::Skipped,
        }
    }

    /// Says what the next full reads may delete. Of another staging directory nothing that is loaded is known any more.
    async fn rebind(
        &mut self,
        transaction: &Transaction<'_>,
        rebinding: &Rebinding,
    ) -> Result<(), LoadError> {
        let Rebinding { held, holds, from } = rebinding;
        let schema = self.schema;
        if let Some(from) = from {
            info!(schema, run = %self.run.id(), "rebound from {held} to {holds}");
            if !self.may_adopt {
                // It was said when it was approved.
                return Ok(());
            }
            if let (false, Ok(schema)) = (self.is_dry, Name::parse(schema)) {
                let adoption = Adoption {
                    schema,
                    from: from.clone(),
                    adopted_at: clock::now(),
                };
                adoption.record(self.run)?;
            }
        } else {
            schemas::forget(transaction, schema).await?;
        }
        let mut rows = Vec::new();
        for mapping in self.mappings {
            let table = &mapping.table.name;
            let count = Statements::new(mapping, schema).count_target(None);
            let row = transaction.query_one(&count, &[]).await;
            let row = row.map_err(LoadError::at(format!("count {table}")))?;
            let count = unsigned(row.get(0));
            if count > 0 {
                rows.push(format!("{table} {count}"));
            }
        }
        let rows = if rows.is_empty() {
            "there are none".to_owned()
        } else {
            format!("at most these: {}", rows.join(", "))
        };
        self.loaded.warnings.push(format!(
            "the schema {schema} is rebound from {held} to {holds}; the next complete full reads delete the rows that it does not show, {rows}; \
             deletes above the prune limit are held"
        ));
        Ok(())
    }

    /// Notes what the schema is filled from now, and says what has changed in that.
    pub(crate) async fn bind(&mut self, transaction: &Transaction<'_>) -> Result<(), LoadError> {
        let (schema, run) = (self.schema, self.run);
        let admission = &self.admission;
        head_candidates(transaction, schema, run, &admission.headings).await?;
        let loaded: Vec<(&Name, &Manifest)> = (self.merged.iter())
            .map(|(name, merged)| (name, &merged.manifest))
            .collect();
        let replaced = admission.bind(transaction, schema, run, &loaded).await?;
        if !replaced.is_empty() {
            let names: Vec<&str> = replaced.iter().map(Name::as_str).collect();
            self.loaded.warnings.push(format!(
                "the schema {schema} was filled from another {}, of the same API and scope; complete full reads of the run {} take the \
                 place of what it held: {}",
                admission.replaces(),
                run.id(),
                names.join(", ")
            ));
        }
        let warning = self.scope_change();
        self.loaded.warnings.extend(warning);
        Ok(())
    }

    /// What a changed scope has deleted and would delete; said once, and whenever there is more.
    fn scope_change(&self) -> Option<String> {
        let headings = &self.admission.headings;
        let of_merged = self.merged.values().flat_map(|merged| &merged.tables);
        let counts = of_merged
            .map(|table| &table.counts)
            .chain(&self.loaded.tables);
        let (mut deleted, mut held) = (Vec::new(), Vec::new());
        for counts in counts {
            let mut mappings = self.mappings.iter();
            let is_of = mappings.any(|mapping| {
                mapping.table.name == counts.name
                    && headings.contains_key(mapping.table.from.as_str())
            });
            for (listed, rows) in [(&mut deleted, counts.deleted), (&mut held, counts.refused)] {
                if is_of && rows > 0 {
                    listed.push(format!("{} {}", counts.name, rows));
                }
            }
        }
        let is_more = !deleted.is_empty() || !held.is_empty();
        let heading = self
            .admission
            .change
            .as_ref()
            .or(headings.values().next().filter(|_| is_more))?;
        let listed = |rows: Vec<String>| match rows.as_slice() {
            [] => "none".to_owned(),
            rows => rows.join(", "),
        };
        Some(format!(
            "{heading} with the run {}: rows deleted: {}; deletes held by the prune limit: {}",
            self.run.id(),
            listed(deleted),
            listed(held)
        ))
    }
}
