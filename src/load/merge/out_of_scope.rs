//! Deletes of rows whose reference left the scope of its table (`within`).

use std::collections::BTreeSet;

use tokio_postgres::Transaction;

use crate::config::PruneConfig;
use crate::load::counts::TableCounts;
use crate::load::error::LoadError;
use crate::load::ledger::loads::LoadLedger;
use crate::load::ledger::pre_load_state::PreLoadState;
use crate::load::mapping::Mapping;
use crate::load::merge::table::Pruning;
use crate::load::merge::table::Table;
use crate::load::sql::delete_reason::DeleteReason;
use crate::name::Name;

/// Deletes rows of a table whose reference left its table (`within`), unless that is one of the `incomplete_tables`. `inserted`
/// rows are of this load.
pub(crate) async fn prune_out_of_scope(
    transaction: &Transaction<'_>,
    ledger: LoadLedger<'_>,
    prune_limit: Option<PruneConfig>,
    mapping: &Mapping,
    (state, incomplete_tables): (&PreLoadState, &BTreeSet<Name>),
    inserted: u64,
    counts: &mut TableCounts,
) -> Result<(), LoadError> {
    let table = Table::new(transaction, ledger, mapping);
    let pruning = Pruning {
        reasons: &[DeleteReason::Outside],
        is_proof: false,
        compared: None,
        covered: None,
        has_keyless_rows: false,
        incomplete_tables,
        prune_limit,
        inserted,
    };
    table.delete(&pruning, counts).await?;
    let mut within = mapping.table.within.iter();
    if state.with_held_deletes.contains(&mapping.table.name)
        && !within.any(|within| incomplete_tables.contains(&within.table))
        && let Some(outside) = table.statements.is_outside(incomplete_tables)
    {
        let reason = Some(DeleteReason::Outside.reason());
        ledger
            .drop_candidates_unless(transaction, mapping, reason, &outside)
            .await?;
    }
    Ok(())
}
