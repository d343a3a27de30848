//! The partitions of `pipeline.change`: a month (UTC) each, made ahead, and dropped when all of it is old enough.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};
use tracing::{debug, info, warn};

use crate::convert::{counted, signed};
use crate::database::Quoted;
use crate::error_chain::chain;
use crate::load::error::LoadError;

/// `change_202611`, and when it ends.
const MONTHS: &str = "
    SELECT c.relname::text, (m + interval '1 month')::text || '+00'
    FROM (SELECT relname, to_timestamp(substr(relname, 8), 'YYYYMM') AT TIME ZONE 'UTC' AS m FROM pg_catalog.pg_class AS p
        JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = p.oid WHERE i.inhparent = 'pipeline.change'::regclass) AS c
    WHERE (m + interval '1 month') AT TIME ZONE 'UTC' < now() - make_interval(secs => $1) ORDER BY m";

/// Makes the partitions of this month and the next, and drops what is older than `keep`. A reader is not waited for: what it
/// holds is dropped by a later load.
pub(crate) async fn turn_months(
    client: &mut Client,
    schema: &str,
    keep: Duration,
) -> Result<(), LoadError> {
    let failed = || LoadError::at("make partitions of pipeline.change");
    let transaction = client.transaction().await.map_err(failed())?;
    make(&transaction).await.map_err(failed())?;
    transaction.commit().await.map_err(failed())?;
    let failed = || LoadError::at("drop partitions of pipeline.change");
    let old = client.query(MONTHS, &[&keep.as_secs_f64()]).await;
    for row in old.map_err(failed())? {
        let transaction = client.transaction().await.map_err(failed())?;
        match drop_month(&transaction, schema, row.get(0), row.get(1)).await {
            Ok(()) => transaction.commit().await.map_err(failed())?,
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                debug!("old changes stay until a later load: somebody reads them");
            }
            Err(error) if error.as_db_error().is_some() => {
                warn!(
                    "changes older than `keep` of [changes] could not be dropped: {}",
                    chain(&error)
                );
            }
            Err(error) => return Err(failed()(error)),
        }
    }
    Ok(())
}

/// Attaching a partition keeps no reader and no writer out, as creating it in place would.
async fn make(transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
    let missing = "
        SELECT 'change_' || to_char(m, 'YYYYMM'), m::text || '+00', (m + interval '1 month')::text || '+00'
        FROM (SELECT date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month' AS m FROM generate_series(0, 1) AS n) AS months
        WHERE to_regclass('pipeline.change_' || to_char(m, 'YYYYMM')) IS NULL";
    if transaction.query_typed(missing, &[]).await?.is_empty() {
        return Ok(());
    }
    // Another project of the database may be about to do the same.
    let lock = "LOCK TABLE pipeline.change IN SHARE UPDATE EXCLUSIVE MODE";
    transaction.batch_execute(lock).await?;
    for row in transaction.query_typed(missing, &[]).await? {
        let (name, from, to): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
        let name = Quoted(name);
        let make = format!(
            "CREATE TABLE pipeline.{name} (LIKE pipeline.change INCLUDING ALL); \
             ALTER TABLE pipeline.change ATTACH PARTITION pipeline.{name} FOR VALUES FROM ('{from}') TO ('{to}'); \
             COMMENT ON TABLE pipeline.{name} IS 'Changes seen from {from} to {to}.'"
        );
        transaction.batch_execute(&make).await?;
    }
    Ok(())
}

/// Drops the changes of a schema in a month; the month too, if no other schema has any in it.
async fn drop_month(
    transaction: &Transaction<'_>,
    schema: &str,
    month: &str,
    until: &str,
) -> Result<(), tokio_postgres::Error> {
    let month = format!("pipeline.{}", Quoted(month));
    let row = transaction
        .query_one(
            &format!(
                "SELECT (SELECT max(seq) FROM {month} WHERE schema_name = $1), \
                 EXISTS (SELECT FROM {month} WHERE schema_name <> $1)"
            ),
            &[&schema],
        )
        .await?;
    let (newest, is_shared): (Option<i64>, bool) = (row.get(0), row.get(1));
    let mut dropped = 0;
    if let Some(newest) = newest {
        let delete = format!("DELETE FROM {month} WHERE schema_name = $1");
        if is_shared {
            dropped = transaction.execute(&delete, &[&schema]).await?;
        } else {
            let count = format!("SELECT count(*) FROM {month}");
            let count: i64 = transaction.query_one(&count, &[]).await?.get(0);
            dropped = u64::try_from(count).unwrap_or_default();
        }
        transaction
            .execute(
                "UPDATE pipeline.change_feed SET dropped_seq = greatest(dropped_seq, $2), \
                 dropped_until = greatest(dropped_until, $3::text::timestamptz) WHERE schema_name = $1",
                &[&schema, &newest, &until],
            )
            .await?;
    }
    if !is_shared {
        let drop = format!(
            "LOCK TABLE pipeline.change IN ACCESS EXCLUSIVE MODE NOWAIT; DROP TABLE {month}"
        );
        transaction.batch_execute(&drop).await?;
    }
    if dropped > 0 {
        info!(
            "{} older than `keep` of [changes] dropped",
            counted(signed(dropped).unsigned_abs(), "change")
        );
    }
    Ok(())
}
