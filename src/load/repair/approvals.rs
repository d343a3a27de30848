//! Held deletes that a person has approved.
//!
//! An approval is a file of the run that asked for the deletes, written first. It holds the hash of the rows' keys,
//! so every load of the run computes the same set, finds it approved and deletes it; any other set is held.

use tokio_postgres::Transaction;
use tokio_postgres::types::ToSql;

use crate::load::counts::TableCounts;
use crate::load::error::LoadError;
use crate::load::ledger::held_deletes::held;
use crate::load::mapping::Mapping;
use crate::load::merge::prune;
use crate::load::sql::note_changes::Doer;
use crate::load::sql::statements::Statements;
use crate::name::Name;
use crate::staging::Run;

pub(crate) struct AppliedApproval {
    pub(crate) run_id: String,
    /// Of the table: what was deleted, and what stays since others refer to it.
    pub(crate) counts: TableCounts,
}

/// Deletes every held set that was approved when this run, or one before it, was the newest; last table first. A row
/// that another refers to by now stays, and is held on: the reference would break.
pub(crate) async fn apply_approvals(
    transaction: &Transaction<'_>,
    schema: &str,
    mirror: &Name,
    mappings: &[Mapping],
    runs: &[Run],
    as_of: u64,
) -> Result<Vec<AppliedApproval>, LoadError> {
    let mut applied = Vec::new();
    let all = held(transaction, schema).await?;
    let own = |mapping: &&Mapping| !mapping.table.is_update_only();
    for mapping in mappings.iter().filter(own).rev() {
        let name = &mapping.table.name;
        for held in all.iter().filter(|held| held.table == name.as_str()) {
            let Some(run) = runs.iter().find(|run| run.id().as_str() == held.run_id) else {
                continue;
            };
            let approvals = run.approvals()?;
            if !(approvals.iter()).any(|approval| held.is_covered(approval, schema, mirror, as_of))
            {
                continue;
            }
            let statements = Statements::new(mapping, schema);
            let parameters: [&(dyn ToSql + Sync); 4] =
                [&schema, &name.as_str(), &held.run_id, &held.resource];
            let (collect, settle) = (statements.collect_held(), statements.settle_held());
            let failed = || LoadError::at(format!("delete what was approved of {name}"));
            let doer = Doer {
                run: &held.run_id,
                resource: Some(&held.resource),
                has_places: false,
            };
            let done =
                prune::delete_listed(transaction, &statements, &collect, &parameters, doer).await;
            let done = done.map_err(failed())?;
            let settled = transaction.execute(&settle, &parameters).await;
            settled.map_err(failed())?;
            mapping.check_arrived(done.deletable, done.deleted, "deleted")?;
            let mut counts = TableCounts::new(name.clone());
            (counts.referred, counts.deleted) = (done.referred, done.deleted);
            applied.push(AppliedApproval {
                run_id: held.run_id.clone(),
                counts,
            });
        }
    }
    Ok(applied)
}
