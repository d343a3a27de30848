//! Staged tables → the mirror: what is new is inserted, what differs is updated, the rest is not touched.
//! Then, when every resource of the run is in, what is gone is deleted behind the guard.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;
use tokio_postgres::Transaction;

use crate::config::PruneConfig;
use crate::name::Name;
use crate::staging::{Manifest, Mode, StagedResource, State};
use crate::template::Values;

use super::books::{self, Books};
use super::counts::TableCounts;
use super::decode::{Decoded, RowState, TableSeen};
use super::error::LoadError;
use super::mapping::Mapping;
use super::sql::{Gone, Statements};
use super::stage;

/// A resource whose rows are merged, on its way to the deletes and the books.
pub(super) struct Merged {
    pub(super) manifest: Manifest,
    pub(super) tables: Vec<MergedTable>,
}

/// A table whose rows are merged.
pub(super) struct MergedTable {
    pub(super) mapping: Mapping,
    pub(super) counts: TableCounts,
    /// Some record had no readable key.
    keyless: bool,
}

/// Stages and merges a resource.
pub(super) async fn merge(
    transaction: &Transaction<'_>,
    books: Books<'_>,
    scope: &Values,
    staged: StagedResource,
    mappings: Vec<Mapping>,
) -> Result<Merged, LoadError> {
    let manifest = staged.manifest().clone();
    books.forget_quarantine(transaction).await?;
    for mapping in &mappings {
        let statements = Statements::new(mapping, books.schema);
        transaction
            .batch_execute(&statements.create_staged())
            .await
            .map_err(LoadError::at(format!("make a temporary table like {}", mapping.table.name)))?;
    }
    let fed: Vec<&Mapping> = mappings
        .iter()
        .filter(|mapping| mapping.table.select.is_none())
        .collect();
    let started = Instant::now();
    let mut unfit: BTreeMap<Name, u64> = BTreeMap::new();
    let decoded = stage::fill(transaction, staged, &fed, books.schema, scope, async |rows| {
        for (table, _) in &rows {
            *unfit.entry(fed[*table].table.name.clone()).or_default() += 1;
        }
        let rows = rows.into_iter().map(|(table, unfit)| (fed[table], unfit));
        books.quarantine(transaction, rows).await
    })
    .await?;
    let seen: BTreeMap<Name, TableSeen> = fed
        .iter()
        .zip(&decoded.tables)
        .map(|(mapping, seen)| (mapping.table.name.clone(), *seen))
        .collect();
    drop(fed);
    // The COPY of all tables runs as one stream: its time is shared out evenly.
    let tables_count = u64::try_from(seen.len().max(1)).unwrap_or(1);
    let copy_ms = millis(started) / tables_count;
    let mut tables: Vec<MergedTable> = Vec::new();
    let mut with_older_versions: Vec<Name> = Vec::new();
    for mapping in mappings {
        let started = Instant::now();
        let name = mapping.table.name.clone();
        let table = Table {
            transaction,
            books,
            statements: Statements::new(&mapping, books.schema),
            mapping: &mapping,
            manifest: &manifest,
        };
        let seen = seen.get(&name).copied();
        let parent_repeats = mapping
            .table
            .owner
            .as_ref()
            .is_some_and(|owner| with_older_versions.contains(&owner.table));
        let (mut counts, repeated) = table.merge(&decoded, seen, parent_repeats).await?;
        if repeated {
            with_older_versions.push(name.clone());
        }
        let unfit = unfit.get(&name).copied().unwrap_or(0);
        counts.quarantined += unfit;
        // Unfit rows with a key are staged by their key; those without are not.
        counts.staged += seen.map_or(0, |seen| seen.keyless);
        counts.duration_ms += millis(started) + if seen.is_some() { copy_ms } else { 0 };
        tables.push(MergedTable {
            counts,
            keyless: seen.is_some_and(|seen| seen.keyless > 0),
            mapping,
        });
    }
    Ok(Merged {
        manifest,
        tables,
    })
}

struct Table<'a> {
    transaction: &'a Transaction<'a>,
    books: Books<'a>,
    statements: Statements<'a>,
    mapping: &'a Mapping,
    manifest: &'a Manifest,
}

impl Table<'_> {
    /// Merges the staged rows; also tells whether keys had more than one version.
    async fn merge(
        &self,
        decoded: &Decoded,
        seen: Option<TableSeen>,
        parent_repeats: bool,
    ) -> Result<(TableCounts, bool), LoadError> {
        let mut counts = TableCounts::new(self.mapping.table.name.clone());
        if let Some(select) = &self.mapping.table.select {
            self.run(&self.statements.insert_selected(&select.text), &format!("run {}", select.name))
                .await?;
            counts.unresolved = self.run(&self.statements.delete_keyless(), "drop rows without a key").await?;
        }
        self.run(&self.statements.analyze(), "analyze the staged rows").await?;
        let mut repeated = false;
        if seen.is_none_or(|seen| seen.may_repeat) {
            if parent_repeats
                && let Some(statement) = self.statements.drop_rows_of_older_parents()
            {
                self.run(&statement, "drop rows of older parents").await?;
            }
            repeated = self.run(&self.statements.dedupe(), "keep the newest of each key").await? > 0;
        }
        for statement in self.statements.mark_outside(self.books.schema) {
            self.run(&statement, "find rows out of scope").await?;
        }
        self.books
            .settle_quarantine(self.transaction, self.mapping, &self.statements.temporary("staged"), self.manifest)
            .await?;
        let states = self
            .transaction
            .query(&self.statements.count_states(), &[])
            .await
            .map_err(self.failed("count the staged rows"))?;
        let mut in_scope = 0;
        for row in &states {
            let count = unsigned(row.get(1));
            counts.staged += count;
            match row.get::<_, i16>(0) {
                state if state == RowState::InScope as i16 => in_scope = count,
                state if state == RowState::OutOfScope as i16 => counts.out_of_scope = count,
                _ => {}
            }
        }
        let is_empty: bool = self
            .transaction
            .query_one(&self.statements.is_empty(), &[])
            .await
            .map_err(self.failed("look at the table"))?
            .get(0);
        self.run(&self.statements.create_diff(is_empty), "find what is new or changed").await?;
        let orphans = self.take_orphans(decoded).await?;
        counts.quarantined += orphans;
        if !is_empty && let Some(update) = self.statements.update() {
            counts.updated = self.run(&update, "update").await?;
        }
        counts.inserted = self.run(&self.statements.insert(), "insert").await?;
        counts.unchanged = in_scope.saturating_sub(counts.inserted + counts.updated + orphans);
        Ok((counts, repeated))
    }

    async fn take_orphans(&self, decoded: &Decoded) -> Result<u64, LoadError> {
        let unknown = Decoded::default();
        let decoded = if self.mapping.table.select.is_some() { &unknown } else { decoded };
        let exploded = self.mapping.table.rows.is_some();
        let mut count = 0;
        for (reason, statement) in self.statements.take_orphans() {
            let rows = self
                .transaction
                .query(&statement, &[])
                .await
                .map_err(self.failed("look for missing parents"))?;
            count += rows.len() as u64;
            let orphans = rows.iter().map(|row| {
                let orphan = books::orphan(decoded, exploded, row.get(0), row.get::<_, Value>(1), &reason);
                (self.mapping, orphan)
            });
            self.books.quarantine(self.transaction, orphans).await?;
        }
        Ok(count)
    }

    async fn run(&self, statement: &str, doing: &str) -> Result<u64, LoadError> {
        self.transaction
            .execute(statement, &[])
            .await
            .map_err(self.failed(doing))
    }

    fn failed(&self, doing: &str) -> impl FnOnce(tokio_postgres::Error) -> LoadError {
        LoadError::at(format!("load {}: {doing}", self.mapping.table.name))
    }
}

/// Deletes what is gone from the tables of a resource, last table first; refuses what the guard does not allow.
pub(super) async fn prune(
    transaction: &Transaction<'_>,
    books: Books<'_>,
    guard: Option<PruneConfig>,
    merged: &mut Merged,
) -> Result<(), LoadError> {
    let manifest = &merged.manifest;
    let is_proof = manifest.mode == Mode::Full && manifest.state == State::Complete;
    for MergedTable { mapping, counts, keyless } in merged.tables.iter_mut().rev() {
        let started = Instant::now();
        let table = Table {
            transaction,
            books,
            statements: Statements::new(mapping, books.schema),
            mapping,
            manifest,
        };
        let statements = &table.statements;
        let mut collect = statements.collect_gone(Gone::OutOfScope, books.schema);
        if is_proof && !*keyless {
            collect.extend(statements.collect_gone(Gone::Absent, books.schema));
        } else if !*keyless {
            collect.extend(statements.collect_gone(Gone::Orphaned, books.schema));
        }
        table.run(&statements.create_gone(), "list what is gone").await?;
        let mut gone = 0;
        for statement in collect {
            gone += table.run(&statement, "find what is gone").await?;
        }
        let mut refused = false;
        if gone > 0 {
            refused = match guard {
                Some(guard) if gone > guard.min_rows => gone > allowed(guard, table.count().await?),
                _ => false,
            };
            if refused {
                counts.refused = gone;
            } else {
                counts.deleted = table.run(&statements.delete_gone(), "delete what is gone").await?;
            }
        }
        if refused || is_proof {
            let keys = refused.then(|| statements.gone_keys());
            books.keep_candidates(transaction, mapping, keys.as_deref()).await?;
        }
        counts.duration_ms += millis(started);
    }
    Ok(())
}

impl Table<'_> {
    async fn count(&self) -> Result<u64, LoadError> {
        let row = self
            .transaction
            .query_one(&self.statements.count_target(), &[])
            .await
            .map_err(self.failed("count the table"))?;
        Ok(unsigned(row.get(0)))
    }
}

/// How many rows may go from a table of so many.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction of a row count; a row more or less does not matter"
)]
fn allowed(guard: PruneConfig, rows: u64) -> u64 {
    guard.min_rows.max((rows as f64 * guard.max_fraction) as u64)
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn millis(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}
