//! Every load of a schema, run by run, for people who look. It changes nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::GenericClient;

use crate::convert::unsigned;
use crate::load::error::LoadError;

/// A table that was loaded from a resource of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LedgerLoad {
    pub(crate) table: String,
    pub(crate) resource: String,
    pub(crate) loaded_at: Timestamp,
    pub(crate) staged: u64,
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) deleted: u64,
    pub(crate) quarantined: u64,
    pub(crate) duration_ms: u64,
}

impl LedgerLoad {
    pub(crate) fn changed(&self) -> u64 {
        self.inserted + self.updated + self.deleted
    }
}

/// All loads of a schema by run, in the order in which they were made.
pub(crate) async fn ledger_loads(
    client: &impl GenericClient,
    schema: &str,
) -> Result<BTreeMap<String, Vec<LedgerLoad>>, LoadError> {
    let rows = client
        .query(
            "SELECT run_id, table_name, resource, (extract(epoch FROM loaded_at) * 1000)::bigint, staged, inserted, updated, \
             deleted, quarantined, coalesce(duration_ms, 0) FROM pipeline.load WHERE schema_name = $1 ORDER BY id",
            &[&schema],
        )
        .await
        .map_err(LoadError::at("read pipeline.load"))?;
    let mut loads: BTreeMap<String, Vec<LedgerLoad>> = BTreeMap::new();
    for row in rows {
        let count = |index: usize| unsigned(row.get(index));
        loads.entry(row.get(0)).or_default().push(LedgerLoad {
            table: row.get(1),
            resource: row.get(2),
            loaded_at: Timestamp::from_millisecond(row.get(3)).unwrap_or_default(),
            staged: count(4),
            inserted: count(5),
            updated: count(6),
            deleted: count(7),
            quarantined: count(8),
            duration_ms: count(9),
        });
    }
    Ok(loads)
}
