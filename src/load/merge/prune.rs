//! Prunes: lists delete candidates, checks them against the prune limit, deletes or holds them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use tokio_postgres::Transaction;
use tokio_postgres::types::ToSql;
use tracing::warn;

use crate::config::PruneConfig;
use crate::convert::{millis, unsigned};
use crate::load::counts::{Samples, TableCounts};
use crate::load::decode::types::KeylessRows;
use crate::load::error::LoadError;
use crate::load::ledger::loads::LoadLedger;
use crate::load::ledger::pre_load_state::PreLoadState;
use crate::load::ledger::row_changes;
use crate::load::merge::resource::{MergedResource, MergedTable};
use crate::load::merge::table::{Pruning, Table};
use crate::load::sql::delete_reason::{DeleteReason, DeleteScope};
use crate::load::sql::note_changes::Doer;
use crate::load::sql::statements::Statements;
use crate::name::Name;

impl MergedTable {
    /// Why rows may be delete candidates.
    fn reasons(
        &self,
        is_proof: bool,
        covered: Option<&str>,
        incomplete_tables: &BTreeSet<Name>,
    ) -> Vec<DeleteReason> {
        let mut reasons = Vec::new();
        if self.was_empty {
            return reasons;
        }
        if self.counts.out_of_scope > 0 {
            reasons.push(DeleteReason::OutOfScope);
        }
        let table = &self.mapping.table;
        // Of a SELECT that lacks rows of another table it is not known what it would give.
        if self.mapping.selects_from(incomplete_tables) {
            return reasons;
        }
        let is_none_absent = (self.compared.as_ref()).is_some_and(|seen| seen.absent.is_empty());
        match self.keyless_rows {
            KeylessRows::Any => {}
            KeylessRows::None | KeylessRows::OfKnownOwners if is_proof => {
                reasons.extend((!is_none_absent).then_some(DeleteReason::Absent));
            }
            KeylessRows::None if covered.is_some() => reasons.push(DeleteReason::AbsentFromRead),
            _ => reasons.extend(table.owner.as_ref().map(|_| DeleteReason::Orphaned)),
        }
        reasons
    }
}

/// Whether [`prune`] has anything to do.
pub(crate) fn is_prune_due(merged: &MergedResource, state: &PreLoadState) -> bool {
    merged.tables.iter().any(|table| {
        let is_proof = table.mapping.is_proven_by(&merged.manifest);
        let covered = table.mapping.covered_by(&merged.manifest);
        (is_proof && state.with_held_deletes.contains(&table.mapping.table.name))
            || !table
                .reasons(is_proof, covered.as_deref(), &state.incomplete_tables)
                .is_empty()
    })
}

/// Prunes the tables of a resource, last table first, within the prune limit. `inserted`: rows that
/// this load has inserted apart from the merge.
pub(crate) async fn prune(
    transaction: &Transaction<'_>,
    ledger: LoadLedger<'_>,
    prune_limit: Option<PruneConfig>,
    merged: &mut MergedResource,
    state: &PreLoadState,
    inserted: &BTreeMap<Name, u64>,
) -> Result<(), LoadError> {
    let manifest = &merged.manifest;
    for merged in merged.tables.iter_mut().rev() {
        let mapping = &merged.mapping;
        let is_proof = mapping.is_proven_by(manifest);
        let has_keyless_rows = merged.keyless_rows != KeylessRows::None;
        let table = Table::new(transaction, ledger, mapping);
        if is_proof && state.with_held_deletes.contains(&mapping.table.name) {
            let keyless_in = has_keyless_rows.then(|| ledger.run.id().as_str());
            let protected = table.statements.is_protected(keyless_in);
            // With a record without a readable key it shows what the API has, not what it lacks.
            match (&merged.compared, merged.keyless_rows, protected) {
                (_, KeylessRows::None | KeylessRows::OfKnownOwners, Some(protected)) => {
                    (ledger.drop_candidates_unless(transaction, mapping, None, &protected)).await?;
                }
                (_, KeylessRows::None, None) => {
                    ledger.drop_candidates(transaction, mapping).await?;
                }
                (Some(seen), ..) => {
                    let absent = &seen.absent;
                    (ledger.drop_shown_candidates(transaction, mapping, absent)).await?;
                }
                (None, ..) => {
                    let staged = table.statements.staged();
                    (ledger.drop_seen_candidates(transaction, mapping, &staged)).await?;
                }
            }
        }
        let name = &mapping.table.name;
        let covered = mapping.covered_by(manifest);
        let pruning = Pruning {
            reasons: &merged.reasons(is_proof, covered.as_deref(), &state.incomplete_tables),
            is_proof,
            compared: merged.compared.as_ref(),
            covered: covered.as_deref(),
            has_keyless_rows,
            incomplete_tables: &state.incomplete_tables,
            prune_limit,
            inserted: merged.counts.inserted + inserted.get(name).copied().unwrap_or(0),
        };
        table.delete(&pruning, &mut merged.counts).await?;
    }
    Ok(())
}

/// Takes delete candidates off the list that other rows refer to; returns how many. Rows that refer to each other are deleted
/// together. They are recorded as kept by this run of this resource, if there is one.
pub(crate) async fn keep_referenced_rows(
    transaction: &Transaction<'_>,
    statements: &Statements<'_>,
    notes: Option<(&str, &Name)>,
) -> Result<u64, tokio_postgres::Error> {
    let mut spared = 0;
    let statements = statements.keep_referenced(notes);
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

/// What became of listed rows.
pub(crate) struct Deletion {
    pub(crate) referred: u64,
    /// Listed rows that nothing refers to.
    pub(crate) deletable: u64,
    pub(crate) deleted: u64,
}

/// Deletes the rows that a statement lists, without those that other rows refer to.
pub(crate) async fn delete_listed(
    transaction: &Transaction<'_>,
    statements: &Statements<'_>,
    collect: &str,
    parameters: &[&(dyn ToSql + Sync)],
    doer: Doer<'_>,
) -> Result<Deletion, tokio_postgres::Error> {
    let listed = list(transaction, statements, collect, parameters).await?;
    let referred = keep_referenced_rows(transaction, statements, None).await?;
    let deletable = listed - referred.min(listed);
    if statements.is_followed() {
        let note = format!(
            "{}; {}",
            statements.create_noted(),
            statements.note_listed(doer).1
        );
        transaction.batch_execute(&note).await?;
    }
    let delete = statements.delete_listed();
    transaction.execute(&delete, &[]).await?;
    let left = statements.count_undeleted();
    let left = transaction.query_one(&left, &[]).await?;
    let deleted = deletable - unsigned(left.get(0)).min(deletable);
    Ok(Deletion {
        referred,
        deletable,
        deleted,
    })
}

/// Begins a list of deletes with the rows of a statement; returns how many. The list of another schema, whose table may have another
/// key, is dropped first.
pub(crate) async fn list(
    transaction: &Transaction<'_>,
    statements: &Statements<'_>,
    collect: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<u64, tokio_postgres::Error> {
    let drop = statements.drop_delete_list();
    let create = statements.create_delete_list();
    let begin = format!("{drop}; {create}");
    transaction.batch_execute(&begin).await?;
    transaction.execute(collect, parameters).await
}

impl Table<'_> {
    /// Whose doing a change is: that of a record, or of a delete.
    pub(super) fn doer(&self, has_places: bool) -> Doer<'_> {
        Doer {
            run: self.ledger.run.id().as_str(),
            resource: Some(self.ledger.resource.as_str()),
            has_places,
        }
    }

    /// Whether changes are written down. A dry run rolls them back.
    pub(super) fn is_followed(&self) -> bool {
        self.mapping.followed.is_some() && !self.ledger.has_samples
    }

    /// Deletes rows, all of them or none.
    pub(crate) async fn delete(
        &self,
        pruning: &Pruning<'_>,
        counts: &mut TableCounts,
    ) -> Result<(), LoadError> {
        let started = Instant::now();
        let listed = self.list_deletes(pruning).await?;
        let mut referred = 0;
        if listed > 0 {
            let notes = Some((self.ledger.run.id().as_str(), self.ledger.resource));
            let spared = keep_referenced_rows(self.transaction, &self.statements, notes).await;
            referred = spared.map_err(self.failed("spare what is referred to"))?;
        }
        if referred > 0 {
            counts.referred += referred;
            warn!(
                table = %self.mapping.table.name,
                "rows that are absent from the API, kept because rows of other tables refer to them: {referred}"
            );
        }
        let deletable = listed - referred.min(listed);
        if deletable > 0 && self.is_too_many(listed, deletable, pruning, counts).await? {
            counts.refused += self
                .ledger
                .keep_candidates(
                    self.transaction,
                    self.mapping,
                    &self.statements.delete_keys(),
                    // That a reference left is so in every run from then on.
                    pruning.reasons != [DeleteReason::Outside],
                )
                .await?;
        } else if deletable > 0 {
            let mut samples = Samples::default();
            if self.is_followed() {
                let note = self.statements.note_listed(self.doer(false));
                row_changes::note(self.transaction, &self.statements, note, None).await?;
            }
            let (delete, doing) = (self.statements.delete_listed(), "delete rows");
            let deleted = self.change(&delete, doing, &mut samples.deleted).await?;
            if deleted != deletable || self.mapping.is_intercepted() {
                let left = self.query_count(&self.statements.count_undeleted()).await?;
                self.mapping.check_arrived(
                    deletable,
                    deletable - left.min(deletable),
                    "deleted",
                )?;
            }
            counts.deleted += deleted;
            if self.ledger.has_samples {
                counts.sample(samples);
            }
        }
        counts.duration_ms += millis(started.elapsed());
        Ok(())
    }

    /// Lists the keys of what is deletable; returns how many.
    async fn list_deletes(&self, pruning: &Pruning<'_>) -> Result<u64, LoadError> {
        let ground = DeleteScope {
            keyless_in: pruning
                .has_keyless_rows
                .then(|| self.ledger.run.id().as_str()),
            covered: pruning.covered,
            incomplete_tables: pruning.incomplete_tables,
        };
        let mut deletable = 0;
        let mut is_listed = false;
        for reason in pruning.reasons {
            let known = (pruning.compared)
                .filter(|_| *reason == DeleteReason::Absent)
                .map(|compared| compared.absent.as_slice());
            let statement = match known {
                Some(_) => Some(self.statements.collect_absent()),
                None => self.statements.collect_deletes(*reason, ground),
            };
            let Some(statement) = statement else {
                continue;
            };
            if !std::mem::replace(&mut is_listed, true) {
                self.transaction
                    .batch_execute(&self.statements.create_delete_list())
                    .await
                    .map_err(self.failed("list deletes"))?;
            }
            let parameters: &[&(dyn ToSql + Sync)] = match &known {
                Some(keys) => &[keys],
                None => &[],
            };
            deletable += self
                .transaction
                .execute(&statement, parameters)
                .await
                .map_err(self.failed("find deletes"))?;
        }
        Ok(deletable)
    }

    /// Whether the deletes exceed the prune limit, with those that this load has made already. The limit is a share of the
    /// rows that the table had before this load. A full read that lacks all of them, `listed` of them, exceeds it.
    async fn is_too_many(
        &self,
        listed: u64,
        deletable: u64,
        pruning: &Pruning<'_>,
        counts: &TableCounts,
    ) -> Result<bool, LoadError> {
        let Some(prune_limit) = pruning.prune_limit else {
            return Ok(false);
        };
        let all = deletable + counts.deleted;
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
        if all <= prune_limit.min_rows {
            return Ok(false);
        }
        Ok(all > allowed(prune_limit, had(None).await?))
    }

    async fn count_up_to(&self, enough: Option<u64>) -> Result<u64, LoadError> {
        self.query_count(&self.statements.count_target(enough))
            .await
    }
}

/// How many of the rows of a table may be deleted at once.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction of a row count; a row more or less does not matter"
)]
pub(crate) fn allowed(prune_limit: PruneConfig, rows: u64) -> u64 {
    prune_limit
        .min_rows
        .max((rows as f64 * prune_limit.max_fraction) as u64)
}
