//! Records in quarantine, read again from their staged pages with today's mapping and schema: orphans whose parents have come, and
//! what `quarantine retry` names.
//!
//! Only the keys in question are merged. All of the resource is decoded, since a later page of the same run may hold a newer version
//! of the record; of orphans the newest one is known. A newer run that has shown a key, or the record that it was nested in, has
//! settled its entry, so what the table has under a known key is older; a row whose key could not be read then never overwrites one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokio_postgres::Transaction;

use crate::config::{Config, PruneConfig};
use crate::load::counts::TableCounts;
use crate::load::decode::record_locator::RecordLocator;
use crate::load::decode::types::{RecordSelection, RejectedRecord, position};
use crate::load::error::LoadError;
use crate::load::ledger::loads::LoadLedger;
use crate::load::ledger::quarantine::{Entry, ORPHAN, drop_entries};
use crate::load::mapping::Mapping;
use crate::load::merge::staged_tables;
use crate::load::merge::table::Pruning;
use crate::load::merge::table::Table;
use crate::load::sql::delete_reason::DeleteReason;
use crate::name::Name;
use crate::staging::{Run, StagingError};

pub(crate) struct Retry<'r> {
    pub(crate) config: &'r Config,
    pub(crate) schema: &'r str,
    pub(crate) prune_limit: Option<PruneConfig>,
    pub(crate) incomplete_tables: &'r BTreeSet<Name>,
    pub(crate) mapping: &'r Mapping,
    pub(crate) run: &'r Run,
    /// The run of this load: what the prune limit holds is held in its name, as it is reported.
    pub(crate) loading: &'r Run,
    /// Rows of the table that this load has deleted already.
    pub(crate) deleted: u64,
}

impl Retry<'_> {
    /// Loads entries of one run and table again; `quarantined` of the counts are those that stay.
    pub(crate) async fn entries(
        &self,
        transaction: &Transaction<'_>,
        entries: &[&Entry],
    ) -> Result<TableCounts, LoadError> {
        let mapping = self.mapping;
        let name = &mapping.table.name;
        let staged = match self.run.staged(&mapping.table.from)? {
            Some(staged) if mapping.table.select.is_none() => staged,
            _ => return Ok(TableCounts::new(name.clone())),
        };
        let doing = || format!("load quarantined records of {name} again");
        let ledger = LoadLedger {
            schema: self.schema,
            run: self.run,
            resource: &mapping.table.from,
            has_samples: false,
        };
        let table = Table::new(transaction, ledger, mapping);
        let newest = transaction
            .query_one("SELECT coalesce(max(id), 0) FROM pipeline.quarantine", &[])
            .await
            .map_err(LoadError::at(doing()))?;
        let newest: i64 = newest.get(0);
        let manifest = staged.manifest().clone();
        let mut by_record: BTreeMap<(&str, u64), Vec<&Entry>> = BTreeMap::new();
        for entry in entries {
            let of_record = by_record.entry((entry.file.as_str(), entry.record));
            of_record.or_default().push(entry);
        }
        // Of others nothing is asked: by the tables of today they may be rejected, although they are loaded.
        let is_wanted = |rejected: &RejectedRecord| {
            let key = rejected.key.as_deref();
            let key: Option<Value> = key.and_then(|key| serde_json::from_str(key).ok());
            let place = (rejected.file.as_str(), rejected.record);
            let mut of_record = by_record.get(&place).into_iter().flatten();
            of_record.any(|entry| match (element_key(entry, mapping), &key) {
                (Some(wanted), Some(key)) => wanted == key,
                _ => entry.element.is_none() || entry.element == rejected.element,
            })
        };
        // This load may have merged the table already.
        table
            .run(&table.statements.drop_temporary(), "clean up")
            .await?;
        staged_tables::create_staged(transaction, mapping, self.schema).await?;
        let decoded = staged_tables::fill_again(
            transaction,
            staged,
            orphans(entries),
            &[mapping],
            self.schema,
            &self.run.scope(&self.config.scope),
            async |_, mut rejected| {
                rejected.retain(is_wanted);
                let rejected = rejected.into_iter().map(|rejected| (mapping, rejected));
                ledger.quarantine(transaction, rejected).await
            },
        )
        .await?;
        let wanted = RetryTargets::of(entries, &decoded.places, mapping)?;
        transaction
            .execute(
                &table.statements.keep_wanted(),
                &[&wanted.rows, &wanted.records, &wanted.keys],
            )
            .await
            .map_err(LoadError::at(doing()))?;
        transaction
            .execute(&table.statements.drop_known(), &[&wanted.unknown])
            .await
            .map_err(LoadError::at(doing()))?;
        let merged = table.merge_again(&manifest, &decoded, self.incomplete_tables);
        let mut counts = merged.await?;
        if counts.out_of_scope > 0 {
            let pruning = Pruning {
                reasons: &[DeleteReason::OutOfScope],
                is_proof: false,
                compared: None,
                covered: None,
                has_keyless_rows: false,
                incomplete_tables: self.incomplete_tables,
                prune_limit: self.prune_limit,
                inserted: counts.inserted,
            };
            let ledger = LoadLedger {
                run: self.loading,
                ..ledger
            };
            let table = Table::new(transaction, ledger, mapping);
            counts.deleted += self.deleted;
            table.delete(&pruning, &mut counts).await?;
            counts.deleted -= self.deleted;
        }
        counts.quarantined = self.settle(transaction, entries, newest).await?;
        table
            .run(&table.statements.drop_temporary(), "clean up")
            .await?;
        Ok(counts)
    }

    /// Entries that were rejected again are updated, the others are deleted; returns how many stay.
    async fn settle(
        &self,
        transaction: &Transaction<'_>,
        entries: &[&Entry],
        newest: i64,
    ) -> Result<u64, LoadError> {
        let table = self.mapping.table.name.as_str();
        let run = self.run.id().as_str();
        let ids: Vec<i64> = entries.iter().map(|entry| entry.id).collect();
        let failed = || LoadError::at("settle pipeline.quarantine");
        let same = "q.schema_name = $1 AND q.run_id = $2 AND q.table_name = $3 AND n.schema_name = $1 AND n.run_id = $2 \
                    AND n.table_name = $3 AND n.file = q.file AND n.record_index = q.record_index \
                    AND CASE WHEN n.element_index IS NULL OR q.element_index IS NULL OR n.key IS NULL OR q.key IS NULL \
                    THEN n.element_index IS NOT DISTINCT FROM q.element_index ELSE n.key = q.key END AND n.id > $4 AND q.id <= $4";
        // The planner expects one new entry, and would compare each with each.
        transaction
            .batch_execute("SET LOCAL enable_nestloop = off")
            .await
            .map_err(failed())?;
        let waiting = transaction
            .query(
                &format!(
                    "UPDATE pipeline.quarantine AS q SET attempts = q.attempts + 1, element_index = n.element_index, key = n.key, parent = n.parent, code = CASE q.code WHEN 'orphan' THEN q.code ELSE n.code END, \
                     column_name = n.column_name, pointer = n.pointer, reason = n.reason \
                     FROM pipeline.quarantine AS n WHERE {same} AND q.id = ANY ($5) RETURNING q.id"
                ),
                &[&self.schema, &run, &table, &newest, &ids],
            )
            .await
            .map_err(failed())?;
        let waiting: BTreeSet<i64> = waiting.iter().map(|row| row.get(0)).collect();
        transaction
            .execute(
                &format!(
                    "DELETE FROM pipeline.quarantine AS n USING pipeline.quarantine AS q WHERE {same}"
                ),
                &[&self.schema, &run, &table, &newest],
            )
            .await
            .map_err(failed())?;
        transaction
            .batch_execute("SET LOCAL enable_nestloop TO DEFAULT")
            .await
            .map_err(failed())?;
        let settled: Vec<i64> = ids.into_iter().filter(|id| !waiting.contains(id)).collect();
        drop_entries(transaction, self.schema, &settled).await?;
        Ok(waiting.len() as u64)
    }
}

/// The records of the entries, if all of them are orphans.
fn orphans(entries: &[&Entry]) -> Option<RecordSelection> {
    let mut selection = RecordSelection::new();
    for entry in entries {
        if entry.code != ORPHAN {
            return None;
        }
        let records = selection.entry(entry.file.clone()).or_default();
        records.insert(entry.record);
    }
    Some(selection)
}

/// The key of an element of a list, as it is today's: elements before it may have been removed since, with a person.
fn element_key<'e>(entry: &'e Entry, mapping: &Mapping) -> Option<&'e Value> {
    entry.element?;
    let key = entry.key.as_ref()?;
    let names = key.as_object()?;
    let is_todays = names.len() == mapping.key_names().count()
        && mapping.key_names().all(|name| names.contains_key(name));
    is_todays.then_some(key)
}

struct RetryTargets {
    /// Elements by their keys.
    keys: Vec<Value>,
    /// By their places.
    rows: Vec<i64>,
    /// By the numbers of their records, of which every element is meant.
    records: Vec<i64>,
    /// Positions of those whose key was not known.
    unknown: Vec<i64>,
}

impl RetryTargets {
    fn of(
        entries: &[&Entry],
        places: &RecordLocator,
        mapping: &Mapping,
    ) -> Result<Self, StagingError> {
        let files = entries.iter().map(|entry| entry.file.as_str()).collect();
        let firsts = places.firsts_of(&files)?;
        let mut wanted = Self {
            keys: Vec::new(),
            rows: Vec::new(),
            records: Vec::new(),
            unknown: Vec::new(),
        };
        for entry in entries {
            let Some(first) = firsts.get(&entry.file) else {
                continue;
            };
            let record = first + entry.record;
            if let Some(key) = element_key(entry, mapping) {
                wanted.keys.push(key.clone());
                continue;
            }
            if mapping.table.rows.is_some() && entry.element.is_none() {
                wanted
                    .records
                    .push(i64::try_from(record).unwrap_or(i64::MAX));
                continue;
            }
            let place = position(record, entry.element.unwrap_or(0));
            wanted.rows.push(place);
            if entry.key.is_none() {
                wanted.unknown.push(place);
            }
        }
        Ok(wanted)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Retried {
    pub(crate) tables: Vec<TableCounts>,
    /// Tables of which some entries could not be tried, and why.
    pub(crate) failed: Vec<(Name, LoadError)>,
    pub(crate) derives_failed: Vec<(Name, LoadError)>,
}
