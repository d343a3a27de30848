//! Staged tables → the mirror: what is new is inserted, what differs is updated, the rest is not touched.
//! Then, when every resource of the run is in, what is gone is deleted behind the guard.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::Value;
use tokio_postgres::Transaction;

use crate::config::PruneConfig;
use crate::name::Name;
use crate::staging::{Manifest, StagedResource};
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
            .map_err(LoadError::at(format!(
                "make a temporary table like {}",
                mapping.table.name
            )))?;
    }
    let fed: Vec<&Mapping> = mappings
        .iter()
        .filter(|mapping| mapping.table.select.is_none())
        .collect();
    let started = Instant::now();
    let mut unfit: BTreeMap<Name, u64> = BTreeMap::new();
    let decoded = stage::fill(
        transaction,
        staged,
        None,
        &fed,
        books.schema,
        scope,
        async |rows| {
            for (table, _) in &rows {
                *unfit.entry(fed[*table].table.name.clone()).or_default() += 1;
            }
            let rows = rows.into_iter().map(|(table, unfit)| (fed[table], unfit));
            books.quarantine(transaction, rows).await
        },
    )
    .await?;
    let seen: BTreeMap<Name, TableSeen> = fed
        .iter()
        .zip(&decoded.tables)
        .map(|(mapping, seen)| (mapping.table.name.clone(), *seen))
        .collect();
    drop(fed);
    let some_keyless = seen.values().any(|seen| seen.keyless > 0);
    // The COPY of all tables runs as one stream: its time is shared out evenly.
    let tables_count = u64::try_from(seen.len().max(1)).unwrap_or(1);
    let copy_ms = millis(started) / tables_count;
    let mut tables: Vec<MergedTable> = Vec::new();
    let mut with_older_versions: Vec<Name> = Vec::new();
    for mapping in mappings {
        let started = Instant::now();
        let name = mapping.table.name.clone();
        let table = Table::new(transaction, books, &mapping);
        let seen = seen.get(&name).copied();
        let parent_repeats = mapping
            .table
            .owner
            .as_ref()
            .is_some_and(|owner| with_older_versions.contains(&owner.table));
        let (mut counts, repeated) = table
            .merge(&manifest, &decoded, seen, parent_repeats)
            .await?;
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
            keyless: seen.map_or(some_keyless, |seen| seen.keyless > 0),
            mapping,
        });
    }
    Ok(Merged { manifest, tables })
}

struct Table<'a> {
    transaction: &'a Transaction<'a>,
    books: Books<'a>,
    statements: Statements<'a>,
    mapping: &'a Mapping,
}

impl Table<'_> {
    /// Merges the staged rows; also tells whether keys had more than one version.
    async fn merge(
        &self,
        manifest: &Manifest,
        decoded: &Decoded,
        seen: Option<TableSeen>,
        parent_repeats: bool,
    ) -> Result<(TableCounts, bool), LoadError> {
        let mut counts = TableCounts::new(self.mapping.table.name.clone());
        if let Some(select) = &self.mapping.table.select {
            self.run(
                &self.statements.insert_selected(&select.text),
                &format!("run {}", select.name),
            )
            .await?;
            counts.unresolved = self
                .run(&self.statements.delete_keyless(), "drop rows without a key")
                .await?;
        }
        self.run(&self.statements.analyze(), "analyze the staged rows")
            .await?;
        if parent_repeats
            && self.mapping.table.select.is_none()
            && let Some(statement) = self.statements.drop_rows_of_older_parents()
        {
            self.run(&statement, "drop rows of older parents").await?;
        }
        let mut repeated = false;
        if seen.is_none_or(|seen| seen.may_repeat) {
            repeated = self
                .run(&self.statements.dedupe(), "keep the newest of each key")
                .await?
                > 0;
        }
        for statement in self.statements.mark_outside(self.books.schema) {
            self.run(&statement, "find rows out of scope").await?;
        }
        self.books
            .settle_quarantine(
                self.transaction,
                self.mapping,
                &self.statements.temporary("staged"),
                manifest,
            )
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
        self.run(
            &self.statements.create_diff(is_empty),
            "find what is new or changed",
        )
        .await?;
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
        let decoded = if self.mapping.table.select.is_some() {
            &unknown
        } else {
            decoded
        };
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
                let orphan = books::orphan(
                    decoded,
                    exploded,
                    row.get(0),
                    row.get::<_, Value>(1),
                    &reason,
                );
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
    let is_proof = merged.manifest.is_proof();
    for MergedTable {
        mapping,
        counts,
        keyless,
    } in merged.tables.iter_mut().rev()
    {
        let reasons: &[Gone] = match (is_proof, *keyless) {
            // Some record could not be told by its key: what seems absent may be it.
            (_, true) => &[Gone::OutOfScope],
            (true, false) => &[Gone::OutOfScope, Gone::Absent],
            (false, false) => &[Gone::OutOfScope, Gone::Orphaned],
        };
        let table = Table::new(transaction, books, mapping);
        table.delete(reasons, guard, counts, is_proof).await?;
    }
    Ok(())
}

/// Deletes rows of a table whose reference left its table (`within`).
pub(super) async fn leave(
    transaction: &Transaction<'_>,
    books: Books<'_>,
    guard: Option<PruneConfig>,
    mapping: &Mapping,
    counts: &mut TableCounts,
) -> Result<(), LoadError> {
    let table = Table::new(transaction, books, mapping);
    table.delete(&[Gone::Outside], guard, counts, false).await
}

impl<'a> Table<'a> {
    fn new(transaction: &'a Transaction<'a>, books: Books<'a>, mapping: &'a Mapping) -> Self {
        Self {
            transaction,
            books,
            statements: Statements::new(mapping, books.schema),
            mapping,
        }
    }

    /// Deletes rows for these reasons, all of them or none.
    async fn delete(
        &self,
        reasons: &[Gone],
        guard: Option<PruneConfig>,
        counts: &mut TableCounts,
        settles_candidates: bool,
    ) -> Result<(), LoadError> {
        let started = Instant::now();
        self.transaction
            .batch_execute(&self.statements.create_gone())
            .await
            .map_err(self.failed("list what is gone"))?;
        let mut gone = 0;
        for statement in reasons
            .iter()
            .filter_map(|reason| self.statements.collect_gone(*reason, self.books.schema))
        {
            gone += self.run(&statement, "find what is gone").await?;
        }
        // What went in this load already counts too.
        let all = gone + counts.deleted;
        let refused = gone > 0
            && match guard {
                Some(guard) if all > guard.min_rows => {
                    all > allowed(guard, self.count().await? + counts.deleted)
                }
                _ => false,
            };
        if settles_candidates {
            self.books
                .drop_candidates(self.transaction, self.mapping)
                .await?;
        }
        if refused {
            counts.refused += gone;
            self.books
                .keep_candidates(self.transaction, self.mapping, &self.statements.gone_keys())
                .await?;
        } else if gone > 0 {
            counts.deleted += self
                .run(&self.statements.delete_gone(), "delete what is gone")
                .await?;
        }
        counts.duration_ms += millis(started);
        Ok(())
    }

    async fn count(&self) -> Result<u64, LoadError> {
        let row = self
            .transaction
            .query_one(&self.statements.count_target(), &[])
            .await
            .map_err(self.failed("count the table"))?;
        Ok(unsigned(row.get(0)))
    }
}

/// References of a table that lead nowhere, by column. Counted anew when a table at either end has `changed`;
/// else as in the load before.
pub(super) async fn dangling(
    transaction: &Transaction<'_>,
    books: Books<'_>,
    mapping: &Mapping,
    changed: &BTreeSet<Name>,
) -> Result<Value, LoadError> {
    let table = &mapping.table;
    let is_changed = changed.contains(&table.name)
        || table
            .references
            .iter()
            .any(|reference| changed.contains(&reference.table));
    if !is_changed && let Some(known) = books.last_dangling(transaction, &table.name).await? {
        return Ok(known);
    }
    let mut counts = serde_json::Map::new();
    for (column, statement) in Statements::new(mapping, books.schema).count_dangling(books.schema) {
        let row = transaction
            .query_one(&statement, &[])
            .await
            .map_err(LoadError::at(format!("count references of {}", table.name)))?;
        counts.insert(column.to_owned(), unsigned(row.get(0)).into());
    }
    Ok(counts.into())
}

/// How many rows may go from a table of so many.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction of a row count; a row more or less does not matter"
)]
fn allowed(guard: PruneConfig, rows: u64) -> u64 {
    guard
        .min_rows
        .max((rows as f64 * guard.max_fraction) as u64)
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn millis(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}
