//! Orphans: rows in quarantine whose parent is missing; they are loaded again when it arrives.
//!
//! The record is read again from its staged page, with today's mapping. A newer read of its key, or of the record that
//! it is nested in, has settled its entry: what is still in quarantine is newer than what the table has.

use std::collections::BTreeMap;

use tokio_postgres::Transaction;
use tracing::warn;

use crate::convert::unsigned;
use crate::load::decode::types::RecordSelection;
use crate::load::error::LoadError;
use crate::load::mapping::Mapping;
use crate::load::merge::staged_tables;
use crate::load::sql::statements::Statements;
use crate::staging::Run;
use crate::template::Values;

/// Orphans that were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RetriedOrphans {
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
}

/// Loads the orphans of a table again.
pub(crate) async fn retry_orphans(
    transaction: &Transaction<'_>,
    schema: &str,
    scope: &Values,
    mapping: &Mapping,
    runs: &[Run],
) -> Result<RetriedOrphans, LoadError> {
    let (table, resource) = (mapping.table.name.as_str(), mapping.table.from.as_str());
    let doing = || format!("try the orphans of {table} again");
    let rows = transaction
        .query(
            "SELECT DISTINCT run_id, file, record_index FROM pipeline.quarantine \
             WHERE schema_name = $1 AND table_name = $2 AND resource = $3 AND code = 'orphan'",
            &[&schema, &table, &resource],
        )
        .await
        .map_err(LoadError::at(doing()))?;
    let mut places: BTreeMap<String, RecordSelection> = BTreeMap::new();
    for row in &rows {
        let index = u64::try_from(row.get::<_, i64>(2)).unwrap_or(u64::MAX);
        places
            .entry(row.get(0))
            .or_default()
            .entry(row.get(1))
            .or_default()
            .insert(index);
    }
    let statements = Statements::new(mapping, schema);
    let mut retried = RetriedOrphans::default();
    // Oldest run first: what a newer one holds comes on top.
    for run in runs {
        let run_id = run.id().as_str();
        let Some(chosen) = places.remove(run_id) else {
            continue;
        };
        let Some(staged) = run.staged(&mapping.table.from)? else {
            continue;
        };
        let run_one = async |statement: &str| {
            transaction
                .execute(statement, &[])
                .await
                .map_err(LoadError::at(doing()))
        };
        run_one(&statements.drop_temporary()).await?;
        run_one(&statements.create_staged()).await?;
        let scope = run.scope(scope);
        staged_tables::fill_chosen(transaction, staged, chosen, mapping, schema, &scope).await?;
        run_one(&statements.dedupe()).await?;
        if mapping.table.is_update_only() {
            run_one(&statements.drop_unknown()).await?;
        }
        // Those that still have no parent stay in quarantine.
        for violation in statements.violations(false) {
            while run_one(&violation.statement).await? > 0 && violation.is_of_itself {}
        }
        let rows = run_one(&statements.create_diff_of_orphans(run_id)).await?;
        let mut changed = run_one(&statements.insert(true)).await?;
        retried.inserted += changed;
        if let Some(update) = statements.update(true) {
            let updated = run_one(&update).await?;
            retried.updated += updated;
            changed += updated;
        }
        // Else they would be neither in quarantine nor in the table.
        let done = if mapping.is_intercepted() {
            let count = statements.count_held(true);
            let held = transaction.query_one(&count, &[]).await;
            unsigned(held.map_err(LoadError::at(doing()))?.get(0))
        } else {
            changed
        };
        mapping.check_arrived(rows, done, "inserted or updated as they were read")?;
        transaction
            .execute(
                &statements.settle_orphans(),
                &[&schema, &table, &run_id, &resource],
            )
            .await
            .map_err(LoadError::at(doing()))?;
        run_one(&statements.drop_temporary()).await?;
    }
    for run in places.keys() {
        warn!(
            "{table}: orphans of the run {run} stay in quarantine: it is not in staging any more"
        );
    }
    Ok(retried)
}

/// Records whether the next load, of any resource, retries the orphans of a table.
pub(crate) async fn record_due(
    transaction: &Transaction<'_>,
    schema: &str,
    mapping: &Mapping,
    is_due: bool,
) -> Result<(), LoadError> {
    let (table, resource) = (mapping.table.name.as_str(), mapping.table.from.as_str());
    transaction
        .execute(
            "UPDATE pipeline.quarantine SET due = $3 WHERE schema_name = $1 AND table_name = $2 AND resource = $4 \
             AND code = 'orphan' AND due <> $3",
            &[&schema, &table, &is_due, &resource],
        )
        .await
        .map_err(LoadError::at("note in pipeline.quarantine what is to be tried again"))?;
    Ok(())
}
