//! What is gone from a table: listed, held against the guard, and deleted, when every resource of the run is in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use tokio_postgres::Transaction;
use tokio_postgres::types::ToSql;
use tracing::warn;

use crate::config::PruneConfig;
use crate::name::Name;
use crate::number::{millis, unsigned};

use super::before::Before;
use super::books::Books;
use super::counts::{Samples, TableCounts};
use super::decode::MissingKeys;
use super::error::LoadError;
use super::known::Compared;
use super::mapping::Mapping;
use super::merge::{Merged, MergedTable, Table};
use super::sql::{Gone, Ground, Statements};

impl MergedTable {
    /// Why rows may be gone from it.
    fn reasons(
        &self,
        is_proof: bool,
        covered: Option<&str>,
        incomplete_tables: &BTreeSet<Name>,
    ) -> Vec<Gone> {
        let mut reasons = Vec::new();
        if self.was_empty {
            return reasons;
        }
        if self.counts.out_of_scope > 0 {
            reasons.push(Gone::OutOfScope);
        }
        let table = &self.mapping.table;
        // Of a SELECT that lacks rows of another table it is not known what it would give.
        if self.mapping.selects_from(incomplete_tables) {
            return reasons;
        }
        let is_none_absent = (self.compared.as_ref()).is_some_and(|seen| seen.absent.is_empty());
        match self.missing_keys {
            MissingKeys::Any => {}
            MissingKeys::None | MissingKeys::OfKnownOwners if is_proof => {
                reasons.extend((!is_none_absent).then_some(Gone::Absent));
            }
            MissingKeys::None if covered.is_some() => reasons.push(Gone::AbsentFromRead),
            _ => reasons.extend(table.owner.as_ref().map(|_| Gone::Orphaned)),
        }
        reasons
    }
}

/// What decides which rows of a table are deleted.
#[derive(Clone, Copy)]
pub(super) struct Pruning<'p> {
    pub(super) reasons: &'p [Gone],
    /// A complete full read proves it. By itself such a proof empties no table: an empty answer is the likelier reason.
    pub(super) is_proof: bool,
    /// If the rows were compared: what was seen of them.
    pub(super) compared: Option<&'p Compared>,
    /// Which rows `t` complete named reads cover; an expression.
    pub(super) covered: Option<&'p str>,
    /// Some rows that were read have no readable key.
    pub(super) has_missing_keys: bool,
    /// Tables of which rows may be missing.
    pub(super) incomplete_tables: &'p BTreeSet<Name>,
    /// The prune limit; none: any number of rows may go.
    pub(super) guard: Option<PruneConfig>,
    /// Rows that this load has inserted.
    pub(super) inserted: u64,
}

/// Whether [`prune`] has anything to do.
pub(super) fn is_prune_due(merged: &Merged, before: &Before) -> bool {
    merged.tables.iter().any(|table| {
        let is_proof = table.mapping.is_proven_by(&merged.manifest);
        let covered = table.mapping.covered_by(&merged.manifest);
        (is_proof && before.refused.contains(&table.mapping.table.name))
            || !table
                .reasons(is_proof, covered.as_deref(), &before.incomplete_tables)
                .is_empty()
    })
}

/// Deletes what is gone from the tables of a resource, last table first, within the prune limit. `inserted` tells of rows that
/// this load has inserted apart from the merge.
pub(super) async fn prune(
    transaction: &Transaction<'_>,
    books: Books<'_>,
    guard: Option<PruneConfig>,
    merged: &mut Merged,
    before: &Before,
    inserted: &BTreeMap<Name, u64>,
) -> Result<(), LoadError> {
    let manifest = &merged.manifest;
    for merged in merged.tables.iter_mut().rev() {
        let mapping = &merged.mapping;
        let is_proof = mapping.is_proven_by(manifest);
        let has_missing_keys = merged.missing_keys != MissingKeys::None;
        let table = Table::new(transaction, books, mapping);
        if is_proof && before.refused.contains(&mapping.table.name) {
            let missing_keys_in = has_missing_keys.then(|| books.run.id().as_str());
            let protected = table.statements.is_protected(missing_keys_in);
            // With a record that cannot be told by its key it knows what is there, not what is gone.
            match (&merged.compared, merged.missing_keys, protected) {
                (_, MissingKeys::None | MissingKeys::OfKnownOwners, Some(protected)) => {
                    (books.drop_candidates_unless(transaction, mapping, None, &protected)).await?;
                }
                (_, MissingKeys::None, None) => books.drop_candidates(transaction, mapping).await?,
                (Some(seen), ..) => {
                    let absent = &seen.absent;
                    (books.drop_shown_candidates(transaction, mapping, absent)).await?;
                }
                (None, ..) => {
                    let staged = table.statements.staged();
                    (books.drop_seen_candidates(transaction, mapping, &staged)).await?;
                }
            }
        }
        let name = &mapping.table.name;
        let covered = mapping.covered_by(manifest);
        let pruning = Pruning {
            reasons: &merged.reasons(is_proof, covered.as_deref(), &before.incomplete_tables),
            is_proof,
            compared: merged.compared.as_ref(),
            covered: covered.as_deref(),
            has_missing_keys,
            incomplete_tables: &before.incomplete_tables,
            guard,
            inserted: merged.counts.inserted + inserted.get(name).copied().unwrap_or(0),
        };
        table.delete(&pruning, &mut merged.counts).await?;
    }
    Ok(())
}

/// Deletes rows of a table whose reference left its table (`within`), unless that is one of the `incomplete_tables`. `inserted`
/// rows are of this load.
pub(super) async fn leave(
    transaction: &Transaction<'_>,
    books: Books<'_>,
    guard: Option<PruneConfig>,
    mapping: &Mapping,
    (before, incomplete_tables): (&Before, &BTreeSet<Name>),
    inserted: u64,
    counts: &mut TableCounts,
) -> Result<(), LoadError> {
    let table = Table::new(transaction, books, mapping);
    let pruning = Pruning {
        reasons: &[Gone::Outside],
        is_proof: false,
        compared: None,
        covered: None,
        has_missing_keys: false,
        incomplete_tables,
        guard,
        inserted,
    };
    table.delete(&pruning, counts).await?;
    let mut within = mapping.table.within.iter();
    if before.refused.contains(&mapping.table.name)
        && !within.any(|within| incomplete_tables.contains(&within.table))
        && let Some(outside) = table.statements.is_outside(incomplete_tables)
    {
        let reason = Some(Gone::Outside.reason());
        books
            .drop_candidates_unless(transaction, mapping, reason, &outside)
            .await?;
    }
    Ok(())
}

/// Takes those off the list of what is gone that others refer to, and would go with them; gives how many. Rows that refer to
/// each other go together. They are noted as kept by this run of this resource, if there is one.
pub(super) async fn spare(
    transaction: &Transaction<'_>,
    statements: &Statements<'_>,
    notes: Option<(&str, &Name)>,
) -> Result<u64, tokio_postgres::Error> {
    let mut spared = 0;
    let statements = statements.spare_referenced(notes);
    loop {
        let before = spared;
        for statement in &statements {
            let row = transaction.query_one(statement, &[]).await?;
            spared += unsigned(row.get(0));
        }
        if spared == before {
            return Ok(spared);
        }
    }
}

impl Table<'_> {
    /// Deletes rows, all of them or none.
    pub(super) async fn delete(
        &self,
        pruning: &Pruning<'_>,
        counts: &mut TableCounts,
    ) -> Result<(), LoadError> {
        let started = Instant::now();
        let listed = self.list_gone(pruning).await?;
        let mut referred = 0;
        if listed > 0 {
            let notes = Some((self.books.run.id().as_str(), self.books.resource));
            let spared = spare(self.transaction, &self.statements, notes).await;
            referred = spared.map_err(self.failed("spare what is referred to"))?;
        }
        if referred > 0 {
            counts.referred += referred;
            warn!(
                table = %self.mapping.table.name,
                "{referred} rows are gone from the API and stay, since rows of other tables refer to them"
            );
        }
        let gone = listed - referred.min(listed);
        if gone > 0 && self.is_too_many(listed, gone, pruning, counts).await? {
            counts.refused += self
                .books
                .keep_candidates(
                    self.transaction,
                    self.mapping,
                    &self.statements.gone_keys(),
                    // That a reference left is so in every run from then on.
                    pruning.reasons != [Gone::Outside],
                )
                .await?;
        } else if gone > 0 {
            let mut samples = Samples::default();
            let (delete, doing) = (self.statements.delete_gone(), "delete what is gone");
            let deleted = self.change(&delete, doing, &mut samples.deleted).await?;
            if deleted != gone || self.mapping.is_intercepted() {
                let left = self.query_count(&self.statements.count_left()).await?;
                self.mapping
                    .check_arrived(gone, gone - left.min(gone), "deleted")?;
            }
            counts.deleted += deleted;
            if self.books.has_samples {
                counts.sample(samples);
            }
        }
        counts.duration_ms += millis(started.elapsed());
        Ok(())
    }

    /// Lists the keys of what is gone; gives how many.
    async fn list_gone(&self, pruning: &Pruning<'_>) -> Result<u64, LoadError> {
        let ground = Ground {
            missing_keys_in: pruning
                .has_missing_keys
                .then(|| self.books.run.id().as_str()),
            covered: pruning.covered,
            incomplete_tables: pruning.incomplete_tables,
        };
        let mut gone = 0;
        let mut is_listed = false;
        for reason in pruning.reasons {
            let known = (pruning.compared)
                .filter(|_| *reason == Gone::Absent)
                .map(|compared| compared.absent.as_slice());
            let statement = match known {
                Some(_) => Some(self.statements.collect_absent()),
                None => self.statements.collect_gone(*reason, ground),
            };
            let Some(statement) = statement else {
                continue;
            };
            if !std::mem::replace(&mut is_listed, true) {
                self.transaction
                    .batch_execute(&self.statements.create_gone())
                    .await
                    .map_err(self.failed("list what is gone"))?;
            }
            let parameters: &[&(dyn ToSql + Sync)] = match &known {
                Some(keys) => &[keys],
                None => &[],
            };
            gone += self
                .transaction
                .execute(&statement, parameters)
                .await
                .map_err(self.failed("find what is gone"))?;
        }
        Ok(gone)
    }

    /// Whether so many deletes exceed the prune limit, with those that this load has made already. The limit is a share of the
    /// rows that the table had before this load. A full read that lacks all of them, of which so many are `listed`, exceeds it.
    async fn is_too_many(
        &self,
        listed: u64,
        gone: u64,
        pruning: &Pruning<'_>,
        counts: &TableCounts,
    ) -> Result<bool, LoadError> {
        let Some(guard) = pruning.guard else {
            return Ok(false);
        };
        let all = gone + counts.deleted;
        let had = async |enough: Option<u64>| match pruning.compared {
            // It was compared before anything was merged.
            Some(compared) => {
                let earlier = pruning.inserted - counts.inserted.min(pruning.inserted);
                Ok(compared.rows.saturating_sub(earlier))
            }
            None => {
                let enough = enough.map(|enough| enough + pruning.inserted);
                let rows = self.count_up_to(enough).await? + counts.deleted;
                Ok::<u64, LoadError>(rows.saturating_sub(pruning.inserted))
            }
        };
        let lacking = listed + counts.deleted;
        if pruning.is_proof && lacking > 1 && had(Some(lacking + 1)).await? <= lacking {
            return Ok(true);
        }
        if all <= guard.min_rows {
            return Ok(false);
        }
        Ok(all > allowed(guard, had(None).await?))
    }

    async fn count_up_to(&self, enough: Option<u64>) -> Result<u64, LoadError> {
        self.query_count(&self.statements.count_target(enough))
            .await
    }
}

/// How many rows may go from a table of so many.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction of a row count; a row more or less does not matter"
)]
pub(super) fn allowed(guard: PruneConfig, rows: u64) -> u64 {
    guard
        .min_rows
        .max((rows as f64 * guard.max_fraction) as u64)
}
