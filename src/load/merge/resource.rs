//! Staged tables → the mirror: what is new is inserted, what differs is updated, the rest is not touched.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use tokio_postgres::Transaction;

use crate::convert::millis;
use crate::failpoint::Point;
use crate::load::counts::TableCounts;
use crate::load::decode::record_locator::RecordLocator;
use crate::load::decode::shape::Shape;
use crate::load::decode::types::TableComparison;
use crate::load::decode::types::{DecodedTable, KeylessRows, RejectedRecord};
use crate::load::error::LoadError;
use crate::load::ledger::loads::LoadLedger;
use crate::load::ledger::pre_load_state::PreLoadState;
use crate::load::mapping::Mapping;
use crate::load::merge::staged_tables;
use crate::load::merge::staged_tables::Reading;
use crate::load::merge::table::{Situation, Table};
use crate::load::progress;
use crate::name::Name;
use crate::staging::Manifest;
use crate::template::Values;

pub(crate) struct MergedResource {
    pub(crate) shape: Shape,
    pub(crate) manifest: Manifest,
    pub(crate) tables: Vec<MergedTable>,
    /// Where the records are, if others are compared with them.
    places: Option<RecordLocator>,
}

pub(crate) struct MergedTable {
    pub(crate) mapping: Mapping,
    pub(crate) counts: TableCounts,
    /// It was empty before, so nothing is pruned.
    pub(crate) was_empty: bool,
    /// Rows that may be among those without a readable key.
    pub(crate) keyless_rows: KeylessRows,
    /// If its rows were compared: what was seen of them.
    pub(crate) compared: Option<TableComparison>,
}

/// Stages and merges a resource; `merged` are those before it in this run. Orphans were inserted into
/// the `filled` tables meanwhile.
#[expect(clippy::too_many_arguments, reason = "each is another thing")]
pub(crate) async fn merge(
    transaction: &Transaction<'_>,
    ledger: LoadLedger<'_>,
    scope: &Values,
    reading: Reading,
    mappings: Vec<Mapping>,
    merged: &BTreeMap<Name, MergedResource>,
    state: &PreLoadState,
    filled: &BTreeSet<Name>,
) -> Result<MergedResource, LoadError> {
    progress::begin(&reading.staged);
    let manifest = reading.staged.manifest().clone();
    if state.again.contains(ledger.resource) {
        ledger.forget_quarantine(transaction).await?;
    }
    for mapping in mappings
        .iter()
        .filter(|mapping| mapping.table.select.is_some())
    {
        staged_tables::create_staged(transaction, mapping, ledger.schema).await?;
    }
    let fed = staged_tables::fed(&mappings);
    let started = Instant::now();
    let mut quarantined: BTreeMap<Name, u64> = BTreeMap::new();
    let quarantine = async |table: usize, rows: Vec<RejectedRecord>| {
        let mapping = fed[table];
        *quarantined.entry(mapping.table.name.clone()).or_default() += rows.len() as u64;
        let count = quarantined.get(&mapping.table.name).copied().unwrap_or(0);
        let rows = rows.into_iter().map(|quarantined| (mapping, quarantined));
        ledger.quarantine(transaction, rows).await?;
        // How many are read is not known yet, but of no number may more be quarantined.
        if count > mapping.table.quarantine.max_rows {
            return Err(ledger.over_limit(transaction, mapping, count, None).await);
        }
        Ok(())
    };
    let mut decoded =
        staged_tables::fill(transaction, reading, &fed, ledger.schema, scope, quarantine).await?;
    let seen = std::mem::take(&mut decoded.tables);
    let mut seen: BTreeMap<Name, DecodedTable> = fed
        .iter()
        .map(|mapping| mapping.table.name.clone())
        .zip(seen)
        .collect();
    drop(fed);
    let keyless: BTreeSet<Name> = (seen.iter())
        .filter(|(_, seen)| seen.keyless > 0)
        .map(|(name, _)| name.clone())
        .collect();
    // The COPY of all tables runs as one stream: its time is shared out evenly.
    let tables_count = u64::try_from(seen.len().max(1)).unwrap_or(1);
    let copy_ms = millis(started.elapsed()) / tables_count;
    let mut tables: Vec<MergedTable> = Vec::new();
    let mut with_older_versions: Vec<Name> = Vec::new();
    let mut with_rows_outside: Vec<Name> = Vec::new();
    for mapping in mappings {
        let started = Instant::now();
        let name = mapping.table.name.clone();
        let table = Table::new(transaction, ledger, &mapping);
        let mut seen = seen.remove(&name);
        let situation = Situation {
            was_empty: state.empty.contains(&name)
                && !filled.contains(&name)
                && !mapping.table.is_update_only(),
            beside: if mapping.table.is_update_only() {
                beside(&name, merged)
            } else {
                Vec::new()
            },
            parent_repeats: (mapping.table.owner.as_ref())
                .is_some_and(|owner| with_older_versions.contains(&owner.table)),
            parent_leaves: (mapping.table.owner.as_ref())
                .is_some_and(|owner| with_rows_outside.contains(&owner.table)),
            limit: Some(&mapping.table.quarantine),
            state,
        };
        let (mut counts, repeated, rejected) = table
            .merge(&manifest, &decoded, seen.as_ref(), &situation)
            .await?;
        let keyless_rows = match &seen {
            Some(seen) => seen.keyless_rows,
            None => rejected.max(keyless_of_select(&mapping, &keyless)),
        };
        Point::LoadMerge.reach();
        if repeated {
            with_older_versions.push(name.clone());
        }
        if counts.out_of_scope > 0 {
            with_rows_outside.push(name.clone());
        }
        let mut quarantined = quarantined.get(&name).copied().unwrap_or(0);
        if quarantined > 0 && mapping.table.is_update_only() {
            let unknown = ledger.forget_unknown(transaction, &mapping).await?;
            quarantined -= unknown.min(quarantined);
        }
        if quarantined > 0 && repeated {
            let staged = table.statements.staged();
            let forgotten = ledger.forget_repeated(transaction, &mapping, &staged);
            let forgotten = forgotten.await?;
            quarantined -= forgotten.min(quarantined);
        }
        counts.quarantined += quarantined;
        // RejectedRecord rows with a key are staged by their key; those without are not.
        counts.staged += seen.as_ref().map_or(0, |seen| seen.keyless);
        if counts.quarantined > mapping.table.quarantine.of(counts.staged) {
            let (quarantined, read) = (counts.quarantined, Some(counts.staged));
            return Err(ledger
                .over_limit(transaction, &mapping, quarantined, read)
                .await);
        }
        counts.duration_ms += millis(started.elapsed()) + if seen.is_some() { copy_ms } else { 0 };
        tables.push(MergedTable {
            counts,
            was_empty: situation.was_empty,
            keyless_rows,
            compared: seen.as_mut().and_then(|seen| seen.compared.take()),
            mapping,
        });
    }
    let is_shared = tables.iter().any(|table| table.mapping.is_shared());
    Ok(MergedResource {
        shape: decoded.shape,
        manifest,
        places: is_shared.then_some(decoded.places),
        tables,
    })
}

/// What the resources before this one have staged of the same table.
fn beside<'m>(
    table: &Name,
    merged: &'m BTreeMap<Name, MergedResource>,
) -> Vec<(&'m Mapping, &'m RecordLocator)> {
    let mut beside = Vec::new();
    for other in merged.values() {
        let mut mappings = other.tables.iter().map(|table| &table.mapping);
        let mapping = mappings.find(|mapping| mapping.table.name == *table);
        beside.extend(mapping.zip(other.places.as_ref()));
    }
    beside
}

/// What rows without a readable key in these tables mean for one that is made of them.
fn keyless_of_select(mapping: &Mapping, keyless: &BTreeSet<Name>) -> KeylessRows {
    let owner = mapping.table.owner.as_ref().map(|owner| &owner.table);
    let of = |name: &Name| match owner {
        Some(owner) if owner == name => KeylessRows::OfUnknownOwner,
        _ => KeylessRows::Any,
    };
    keyless.iter().map(of).max().unwrap_or_default()
}
