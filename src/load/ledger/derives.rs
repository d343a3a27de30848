//! Derived statements that have failed, so that a later load runs them again.

use std::collections::BTreeSet;

use tokio_postgres::Transaction;

use crate::load::error::LoadError;
use crate::name::Name;

/// The derived statements of a schema whose last try failed.
pub(crate) async fn failed_derives(
    transaction: &Transaction<'_>,
    schema: &str,
) -> Result<BTreeSet<String>, LoadError> {
    let rows = transaction
        .query(
            "SELECT derive FROM pipeline.derive_failed WHERE schema_name = $1",
            &[&schema],
        )
        .await
        .map_err(LoadError::at("read pipeline.derive_failed"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Records that all derived statements of a schema have succeeded.
pub(crate) async fn forget_failed(
    transaction: &Transaction<'_>,
    schema: &str,
) -> Result<(), LoadError> {
    let forget = "DELETE FROM pipeline.derive_failed WHERE schema_name = $1";
    let forgotten = transaction.execute(forget, &[&schema]).await;
    forgotten
        .map(drop)
        .map_err(LoadError::at("write pipeline.derive_failed"))
}

/// Records whether a derived statement succeeded.
pub(crate) async fn record_derive(
    transaction: &Transaction<'_>,
    schema: &str,
    run: &str,
    derive: &Name,
    is_done: bool,
) -> Result<(), LoadError> {
    let failed = LoadError::at("write pipeline.derive_failed");
    let derive = derive.as_str();
    let noted = if is_done {
        let forget = "DELETE FROM pipeline.derive_failed WHERE schema_name = $1 AND derive = $2";
        transaction.execute(forget, &[&schema, &derive]).await
    } else {
        let note = "INSERT INTO pipeline.derive_failed (schema_name, derive, run_id) VALUES ($1, $2, $3) \
                    ON CONFLICT (schema_name, derive) DO NOTHING";
        transaction.execute(note, &[&schema, &derive, &run]).await
    };
    noted.map(drop).map_err(failed)
}
