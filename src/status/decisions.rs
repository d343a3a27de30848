//! What waits for a person: held deletes, rows that are kept, quarantined rows, drifts. Ids and reasons, no value of a record. Prints
//! nothing.

use serde::Serialize;
use tokio_postgres::Client;

use crate::database::DatabaseError;
use crate::exit::Failure;
use crate::load::{
    self, DriftEntry, HeldDeletes, QuarantineGroup, drifts, held, kept_rows, quarantine_groups,
};

/// Groups and drifts at most: a page is read by people.
const MOST: i64 = 100;

/// The document of `/api/decisions.json`.
#[derive(Default, Serialize)]
pub(crate) struct Decisions {
    /// Deletes that the prune limit holds.
    pub(crate) held: Vec<HeldDeletes>,
    /// Rows that the API no longer has, kept because others refer to them.
    pub(crate) kept: Vec<HeldDeletes>,
    /// Quarantined rows, by table, column and reason, most rows first.
    pub(crate) quarantine: Vec<QuarantineGroup>,
    /// Changes in the shape of records, newest first.
    pub(crate) drift: Vec<DriftEntry>,
}

/// Reads them of a schema; nothing where nothing was ever loaded.
pub(crate) async fn of(client: &Client, schema: &str) -> Result<Decisions, Failure> {
    let has_ledger = load::has_ledger(client).await;
    if !has_ledger.map_err(DatabaseError::from)? {
        return Ok(Decisions::default());
    }
    Ok(Decisions {
        held: held(client, schema).await?,
        kept: kept_rows(client, schema).await?,
        quarantine: quarantine_groups(client, schema, MOST).await?,
        drift: drifts(client, schema, MOST).await?,
    })
}
