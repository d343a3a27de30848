//! What is gone from a table: listed, held against the guard, and deleted, when every resource of the run is in.

use std::time::Instant;

use tokio_postgres::Transaction;
use tokio_postgres::types::ToSql;
use tracing::warn;

use crate::config::PruneConfig;
use crate::number::{millis, unsigned};

use super::before::Before;
use super::books::Books;
use super::counts::{Samples, TableCounts};
use super::error::LoadError;
use super::known::Compared;
use super::mapping::Mapping;
use super::merge::{Merged, MergedTable, Table};
use super::sql::{Gone, Statements};

impl MergedTable {
    /// Why rows may be gone from it.
    fn reasons(&self, is_proof: bool) -> Vec<Gone> {
        let mut reasons = Vec::new();
        if self.was_empty {
            return reasons;
        }
        if self.counts.out_of_scope > 0 {
            reasons.push(Gone::OutOfScope);
        }
        let is_none_absent = (self.compared.as_ref()).is_some_and(|seen| seen.absent.is_empty());
        match (is_proof, self.keyless) {
            // Some record could not be told by its key: what seems absent may be it.
            (_, true) => {}
            (true, false) if is_none_absent => {}
            (true, false) => reasons.push(Gone::Absent),
            (false, false) if self.mapping.table.owner.is_none() => {}
            (false, false) => reasons.push(Gone::Orphaned),
        }
        reasons
    }
}

/// Whether [`prune`] has anything to do.
pub(super) fn is_prune_due(merged: &Merged, before: &Before) -> bool {
    let is_proof = merged.manifest.is_proof();
    merged.tables.iter().any(|table| {
        (is_proof && before.refused.contains(&table.mapping.table.name))
            || !table.reasons(is_proof).is_empty()
    })
}

/// Deletes what is gone from the tables of a resource, last table first; refuses what the guard does not allow.
pub(super) async fn prune(
    transaction: &Transaction<'_>,
    books: Books<'_>,
    guard: Option<PruneConfig>,
    merged: &mut Merged,
    before: &Before,
) -> Result<(), LoadError> {
    let is_proof = merged.manifest.is_proof();
    for merged in merged.tables.iter_mut().rev() {
        let mapping = &merged.mapping;
        if is_proof && before.refused.contains(&mapping.table.name) {
            // With a record that cannot be told by its key it knows what is there, not what is gone.
            match &merged.compared {
                _ if !merged.keyless => books.drop_candidates(transaction, mapping).await?,
                Some(seen) => {
                    let absent = &seen.absent;
                    (books.drop_shown_candidates(transaction, mapping, absent)).await?;
                }
                None => {
                    let staged = Statements::new(mapping, books.schema).staged();
                    (books.drop_seen_candidates(transaction, mapping, &staged)).await?;
                }
            }
        }
        let reasons = merged.reasons(is_proof);
        let compared = merged.compared.as_ref();
        Table::new(transaction, books, mapping)
            .delete(&reasons, is_proof, compared, guard, &mut merged.counts)
            .await?;
    }
    Ok(())
}

/// Deletes rows of a table whose reference left its table (`within`).
pub(super) async fn leave(
    transaction: &Transaction<'_>,
    books: Books<'_>,
    guard: Option<PruneConfig>,
    mapping: &Mapping,
    before: &Before,
    counts: &mut TableCounts,
) -> Result<(), LoadError> {
    let table = Table::new(transaction, books, mapping);
    let reasons = [Gone::Outside];
    table.delete(&reasons, false, None, guard, counts).await?;
    if before.refused.contains(&mapping.table.name) {
        let (reason, outside) = (Gone::Outside.reason(), table.statements.is_outside());
        books
            .drop_candidates_unless(transaction, mapping, reason, &outside)
            .await?;
    }
    Ok(())
}

/// Takes those off the list of what is gone that others refer to, and would go with them; gives how many. Rows that refer to
/// each other go together.
pub(super) async fn spare(
    transaction: &Transaction<'_>,
    statements: &Statements<'_>,
) -> Result<u64, tokio_postgres::Error> {
    let mut spared = 0;
    let Some(statement) = statements.spare_referenced() else {
        return Ok(spared);
    };
    loop {
        match transaction.execute(&statement, &[]).await? {
            0 => return Ok(spared),
            more => spared += more,
        }
    }
}

impl Table<'_> {
    /// Deletes rows for these reasons, all of them or none. A proof of absence does not empty a table by itself: an
    /// empty answer is the likelier reason.
    pub(super) async fn delete(
        &self,
        reasons: &[Gone],
        is_proof: bool,
        compared: Option<&Compared>,
        guard: Option<PruneConfig>,
        counts: &mut TableCounts,
    ) -> Result<(), LoadError> {
        let started = Instant::now();
        let listed = self.list_gone(reasons, compared).await?;
        let mut referred = 0;
        if listed > 0 {
            let spared = spare(self.transaction, &self.statements).await;
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
        let is_refused = gone > 0
            && match guard {
                Some(guard) => (self.is_too_many(gone, is_proof, compared, guard, counts)).await?,
                None => false,
            };
        if is_refused {
            counts.refused += self
                .books
                .keep_candidates(
                    self.transaction,
                    self.mapping,
                    &self.statements.gone_keys(),
                    // That a reference left is so in every run from then on.
                    reasons != [Gone::Outside],
                )
                .await?;
        } else if gone > 0 {
            let mut samples = Samples::default();
            let (delete, doing) = (self.statements.delete_gone(), "delete what is gone");
            counts.deleted += self.change(&delete, doing, &mut samples.deleted).await?;
            if self.books.has_samples {
                counts.sample(samples);
            }
        }
        counts.duration_ms += millis(started.elapsed());
        Ok(())
    }

    /// Lists the keys of what is gone for these reasons; gives how many.
    async fn list_gone(
        &self,
        reasons: &[Gone],
        compared: Option<&Compared>,
    ) -> Result<u64, LoadError> {
        let mut gone = 0;
        let mut is_listed = false;
        for reason in reasons {
            let known = compared
                .filter(|_| *reason == Gone::Absent)
                .map(|compared| compared.absent.as_slice());
            let statement = match known {
                Some(_) => Some(self.statements.collect_absent()),
                None => self.statements.collect_gone(*reason),
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

    /// Whether so many are more than the guard lets go; what went in this load already counts too.
    async fn is_too_many(
        &self,
        gone: u64,
        is_proof: bool,
        compared: Option<&Compared>,
        guard: PruneConfig,
        counts: &TableCounts,
    ) -> Result<bool, LoadError> {
        let all = gone + counts.deleted;
        if is_proof && all > 1 && self.is_all(gone, compared, counts).await? {
            return Ok(true);
        }
        if all <= guard.min_rows {
            return Ok(false);
        }
        let rows = match compared {
            Some(compared) => compared.rows + counts.inserted,
            None => self.count().await? + counts.deleted,
        };
        Ok(all > allowed(guard, rows))
    }

    /// Whether the table has no other rows than so many.
    async fn is_all(
        &self,
        gone: u64,
        compared: Option<&Compared>,
        counts: &TableCounts,
    ) -> Result<bool, LoadError> {
        let rows = match compared {
            Some(compared) => compared.rows + counts.inserted,
            None => self.count_up_to(Some(gone + 1)).await?,
        };
        Ok(rows <= gone)
    }

    async fn count(&self) -> Result<u64, LoadError> {
        self.count_up_to(None).await
    }

    async fn count_up_to(&self, enough: Option<u64>) -> Result<u64, LoadError> {
        let row = self
            .transaction
            .query_one(&self.statements.count_target(enough), &[])
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
pub(super) fn allowed(guard: PruneConfig, rows: u64) -> u64 {
    guard
        .min_rows
        .max((rows as f64 * guard.max_fraction) as u64)
}
