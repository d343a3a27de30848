//! Orphans: rows that wait in quarantine for a parent, and follow it when it comes.
//!
//! The record is read again from its staged page, with today's mapping. It never overwrites a row: what is in the
//! table by now is newer.

use std::collections::BTreeMap;

use tokio_postgres::Transaction;
use tracing::warn;

use crate::staging::Run;
use crate::template::Values;

use super::decode::Chosen;
use super::error::LoadError;
use super::mapping::Mapping;
use super::sql::Statements;
use super::stage;

/// Tries the orphans of a table again; gives how many rows came in.
pub(super) async fn heal(
    transaction: &Transaction<'_>,
    schema: &str,
    scope: &Values,
    mapping: &Mapping,
    runs: &[Run],
) -> Result<u64, LoadError> {
    let table = mapping.table.name.as_str();
    let doing = || format!("try the orphans of {table} again");
    let rows = transaction
        .query(
            "SELECT DISTINCT run_id, file, record_index FROM pipeline.quarantine \
             WHERE schema_name = $1 AND table_name = $2 AND code = 'orphan'",
            &[&schema, &table],
        )
        .await
        .map_err(LoadError::at(doing()))?;
    let mut places: BTreeMap<String, Chosen> = BTreeMap::new();
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
    let mut healed = 0;
    // Newest run first: the first version of a row that comes in stays.
    for run in runs.iter().rev() {
        let Some(chosen) = places.remove(run.id().as_str()) else {
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
        run_one(&statements.create_staged()).await?;
        stage::fill_chosen(transaction, staged, chosen, mapping, schema, scope).await?;
        run_one(&statements.dedupe()).await?;
        run_one(&statements.create_diff_of_orphans(schema)).await?;
        for (_, statement) in statements.take_orphans(true) {
            run_one(&statement).await?;
        }
        healed += run_one(&statements.insert(true)).await?;
        run_one(&statements.drop_temporary()).await?;
    }
    for run in places.keys() {
        warn!(
            "{table}: rows that waited for a parent cannot be read again, the run {run} is not in staging any more"
        );
    }
    transaction
        .execute(&statements.settle_orphans(), &[&schema, &table])
        .await
        .map_err(LoadError::at(doing()))?;
    Ok(healed)
}
