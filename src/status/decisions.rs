//! What waits for a person: held deletes, rows that are kept, quarantined rows, drifts. Ids and reasons, no value of a record. Prints
//! nothing.

use serde::Serialize;
use tokio_postgres::Client;

use crate::database::DatabaseError;
use crate::exit::Failure;
use crate::load::{
    self, DriftEntry, HeldDeletes, QuarantineGroup, drifts, held, kept_rows, quarantine_groups,
};

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

/// A part of each list.
#[derive(Serialize)]
pub(crate) struct Part<'d> {
    held: &'d [HeldDeletes],
    kept: &'d [HeldDeletes],
    quarantine: &'d [QuarantineGroup],
    drift: &'d [DriftEntry],
}

impl Decisions {
    /// At most `most` entries of each list after those that are skipped, and whether there are more.
    pub(crate) fn part(&self, skip: usize, most: usize) -> (Part<'_>, bool) {
        fn cut<T>(all: &[T], skip: usize, most: usize) -> &[T] {
            let rest = all.get(skip..).unwrap_or_default();
            rest.get(..most).unwrap_or(rest)
        }
        let part = Part {
            held: cut(&self.held, skip, most),
            kept: cut(&self.kept, skip, most),
            quarantine: cut(&self.quarantine, skip, most),
            drift: cut(&self.drift, skip, most),
        };
        let lists = [
            self.held.len(),
            self.kept.len(),
            self.quarantine.len(),
            self.drift.len(),
        ];
        let has_more = lists
            .into_iter()
            .any(|count| count > skip.saturating_add(most));
        (part, has_more)
    }
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
        quarantine: quarantine_groups(client, schema).await?,
        drift: drifts(client, schema).await?,
    })
}
