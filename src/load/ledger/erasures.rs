//! `pipeline.erasure`: who was erased, as the database knows it.

use tokio_postgres::error::SqlState;
use tokio_postgres::{GenericClient, Transaction};

use crate::database::{Database, LOCK_WAIT, lock_timeout_of};
use crate::load::error::LoadError;
use crate::person::{Extent, PersonHash};
use crate::staging::{ErasedAt, Run};

/// The numbers of the lock that an erasure takes alone, and that loads share, whatever their schema.
const LOCK: &str = "hashtext('cursus erasure'), 0";

/// Waits for the transactions of all loads of this database, and holds up those that begin.
pub(crate) async fn lock(database: &Database) -> Result<(), LoadError> {
    let client = &database.client;
    let set = async |wait| {
        let set = format!("SET lock_timeout = {}", lock_timeout_of(wait));
        let set = client.batch_execute(&set).await;
        set.map_err(LoadError::at("set the patience for locks"))
    };
    if let Some(wait) = database.lock_wait {
        set(wait).await?;
    }
    let take = format!("SELECT pg_advisory_lock({LOCK})");
    let taken = client.execute(&take, &[]).await;
    taken.map_err(locked)?;
    set(LOCK_WAIT).await
}

pub(crate) async fn unlock(database: &Database) -> Result<(), LoadError> {
    let release = format!("SELECT pg_advisory_unlock({LOCK})");
    let released = database.client.execute(&release, &[]).await;
    released.map_err(LoadError::at("release the lock of erasures"))?;
    Ok(())
}

fn locked(error: tokio_postgres::Error) -> LoadError {
    if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
        return LoadError::Erasing;
    }
    LoadError::at("take the lock of erasures")(error)
}

/// Refuses to read runs that would show people whom the database knows as erased: they were erased after the runs were listed, or
/// the staging half of the ledger lacks them. Until the end of the transaction nobody else is erased.
pub(crate) async fn refuse_unknown(
    transaction: &Transaction<'_>,
    run: &Run,
) -> Result<(), LoadError> {
    let share = format!("SELECT pg_advisory_xact_lock_shared({LOCK})");
    let shared = transaction.execute(&share, &[]).await;
    shared.map_err(locked)?;
    let erased = read(transaction).await?;
    let is_hidden = |(person, erased): &(PersonHash, ErasedAt)| run.hides(person, erased.extent);
    if erased.iter().all(is_hidden) {
        return Ok(());
    }
    Err(LoadError::Erased)
}

/// All who were erased.
pub(crate) async fn read(
    client: &impl GenericClient,
) -> Result<Vec<(PersonHash, ErasedAt)>, LoadError> {
    let statement = "SELECT person, staging_id, erasure, floor(extract(epoch FROM erased_at) * 1000)::bigint, \
                     dropped FROM pipeline.erasure";
    let rows = client.query(statement, &[]).await;
    let rows = rows.map_err(LoadError::at("read pipeline.erasure"))?;
    let person = |row: &tokio_postgres::Row| {
        let person = PersonHash::parse(row.get(1), row.get(0))?;
        let at = jiff::Timestamp::from_millisecond(row.get(3)).ok()?;
        let extent = if row.get(4) {
            Extent::Records
        } else {
            Extent::Values
        };
        let erased = ErasedAt {
            erasure: row.get(2),
            at,
            extent,
        };
        Some((person, erased))
    };
    Ok(rows.iter().filter_map(person).collect())
}

/// Records more of them, and who is erased farther than before.
pub(crate) async fn record(
    transaction: &Transaction<'_>,
    people: &[(PersonHash, ErasedAt)],
) -> Result<(), LoadError> {
    for (person, erased) in people {
        let recorded = transaction
            .execute(
                "INSERT INTO pipeline.erasure AS e (person, staging_id, erasure, erased_at, dropped) \
                 VALUES ($1, $2, $3, to_timestamp($4::float8 / 1000), $5) ON CONFLICT (person, staging_id) DO UPDATE \
                 SET erasure = excluded.erasure, erased_at = excluded.erased_at, dropped = true \
                 WHERE excluded.dropped AND NOT e.dropped",
                &[
                    &person.digits(),
                    &person.key,
                    &erased.erasure,
                    &millis(erased.at),
                    &(erased.extent == Extent::Records),
                ],
            )
            .await;
        recorded.map_err(LoadError::at("write pipeline.erasure"))?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of this age fit")]
fn millis(at: jiff::Timestamp) -> f64 {
    at.as_millisecond() as f64
}
