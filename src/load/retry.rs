//! Records in quarantine, read again from their staged pages with today's mapping and schema.
//!
//! All of the resource is decoded, since a later page of the same run may hold a newer version of the record, and only
//! the keys in question are merged. A newer run that has shown a key, or the record that it was nested in, has settled
//! its entry, so what is in the table under a known key is older; a row whose key could not be read then never
//! overwrites one.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tokio_postgres::{GenericClient, Row, Transaction};

use crate::config::{Config, PruneConfig};
use crate::database::utc;
use crate::name::Name;
use crate::number::unsigned;
use crate::staging::{Run, StagingError};

use super::books::{Books, has_books};
use super::counts::TableCounts;
use super::decode::{Unfit, position};
use super::error::LoadError;
use super::mapping::Mapping;
use super::merge::Table;
use super::places::Places;
use super::prune::Pruning;
use super::sql::Gone;
use super::stage;

/// A record that waits, and where it is staged.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Its number.
    pub id: i64,
    /// The run that brought it.
    pub run_id: String,
    /// The resource.
    pub resource: String,
    /// The table.
    pub table: String,
    /// The page, relative to the run's directory; empty: rows of a SELECT have none.
    pub file: String,
    /// Its place in the page.
    pub record: u64,
    /// Its place in the nested list.
    pub element: Option<u64>,
    /// The column at fault.
    pub column: Option<String>,
    /// Where the value lies in the record.
    pub pointer: Option<String>,
    /// The kind of fault.
    pub code: String,
    /// Why, without the value.
    pub reason: String,
    /// Since when.
    pub since: String,
    /// How often it was tried.
    pub attempts: i64,
    #[serde(skip)]
    has_key: bool,
}

impl Entry {
    fn of(row: &Row) -> Self {
        Self {
            id: row.get(0),
            run_id: row.get(1),
            resource: row.get(2),
            table: row.get(3),
            file: row.get(4),
            record: unsigned(row.get(5)),
            element: row.get::<_, Option<i64>>(6).map(unsigned),
            column: row.get(7),
            pointer: row.get(8),
            code: row.get(9),
            reason: row.get(10),
            since: row.get(11),
            attempts: row.get(12),
            has_key: row.get(13),
        }
    }
}

/// What waits in a schema, by table and then in the order of writing.
pub async fn entries(client: &impl GenericClient, schema: &str) -> Result<Vec<Entry>, LoadError> {
    let doing = "read pipeline.quarantine";
    if !has_books(client).await.map_err(LoadError::at(doing))? {
        return Ok(Vec::new());
    }
    let rows = client
        .query(
            &format!(
                "SELECT id, run_id, resource, table_name, file, record_index, element_index, column_name, pointer, code, \
                 reason, {}, attempts, key IS NOT NULL FROM pipeline.quarantine WHERE schema_name = $1 \
                 ORDER BY table_name, id",
                utc("created_at")
            ),
            &[&schema],
        )
        .await
        .map_err(LoadError::at(doing))?;
    Ok(rows.iter().map(Entry::of).collect())
}

/// Takes entries out of quarantine; gives how many.
pub async fn drop_entries(
    client: &impl GenericClient,
    schema: &str,
    ids: &[i64],
) -> Result<u64, LoadError> {
    client
        .execute(
            "DELETE FROM pipeline.quarantine WHERE schema_name = $1 AND id = ANY ($2)",
            &[&schema, &ids],
        )
        .await
        .map_err(LoadError::at("take entries out of pipeline.quarantine"))
}

/// What is needed to try again.
pub(super) struct Retry<'r> {
    pub(super) config: &'r Config,
    pub(super) schema: &'r str,
    pub(super) guard: Option<PruneConfig>,
    /// Tables of which rows may be missing.
    pub(super) incomplete_tables: &'r BTreeSet<Name>,
    pub(super) mapping: &'r Mapping,
    pub(super) run: &'r Run,
}

impl Retry<'_> {
    /// Tries entries of one run and table again.
    pub(super) async fn entries(
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
        let doing = || format!("try what waits for {name} again");
        let books = Books {
            schema: self.schema,
            run: self.run,
            resource: &mapping.table.from,
            has_samples: false,
        };
        let table = Table::new(transaction, books, mapping);
        let newest = transaction
            .query_one("SELECT coalesce(max(id), 0) FROM pipeline.quarantine", &[])
            .await
            .map_err(LoadError::at(doing()))?;
        let newest: i64 = newest.get(0);
        let manifest = staged.manifest().clone();
        let places: BTreeSet<(&str, u64, Option<u64>)> = entries
            .iter()
            .map(|entry| (entry.file.as_str(), entry.record, entry.element))
            .collect();
        // Of others nothing is asked: with the tables of today they may not fit, although they are in.
        let is_wanted = |unfit: &Unfit| {
            let place = |element| (unfit.file.as_str(), unfit.record, element);
            places.contains(&place(unfit.element)) || places.contains(&place(None))
        };
        stage::create_staged(transaction, mapping, self.schema).await?;
        let decoded = stage::fill_all(
            transaction,
            staged,
            mapping,
            self.schema,
            &self.run.scope(&self.config.scope),
            async |mut unfit| {
                unfit.retain(is_wanted);
                let unfit = unfit.into_iter().map(|unfit| (mapping, unfit));
                books.quarantine(transaction, unfit).await
            },
        )
        .await?;
        let wanted = Wanted::of(entries, &decoded.places, mapping.table.rows.is_some())?;
        transaction
            .execute(
                &table.statements.keep_wanted(),
                &[&wanted.rows, &wanted.records],
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
                reasons: &[Gone::OutOfScope],
                is_proof: false,
                compared: None,
                covered: None,
                has_missing_keys: false,
                incomplete_tables: self.incomplete_tables,
                guard: self.guard,
                inserted: counts.inserted,
            };
            table.delete(&pruning, &mut counts).await?;
        }
        counts.quarantined = self.settle(transaction, entries, newest).await?;
        table
            .run(&table.statements.drop_temporary(), "clean up")
            .await?;
        Ok(counts)
    }

    /// What was put into quarantine now is told by the entries that were there; those of them that it does not tell
    /// are settled. Gives how many wait on.
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
                    AND n.element_index IS NOT DISTINCT FROM q.element_index AND n.id > $4 AND q.id <= $4";
        let waiting = transaction
            .query(
                &format!(
                    "UPDATE pipeline.quarantine AS q SET attempts = q.attempts + 1, key = n.key, parent = n.parent, code = n.code, \
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
        let settled: Vec<i64> = ids.into_iter().filter(|id| !waiting.contains(id)).collect();
        drop_entries(transaction, self.schema, &settled).await?;
        Ok(waiting.len() as u64)
    }
}

/// Which staged rows are meant.
struct Wanted {
    /// By their places.
    rows: Vec<i64>,
    /// By the numbers of their records, of which every element is meant.
    records: Vec<i64>,
    /// Places of those whose key was not known.
    unknown: Vec<i64>,
}

impl Wanted {
    fn of(entries: &[&Entry], places: &Places, exploded: bool) -> Result<Self, StagingError> {
        let files = entries.iter().map(|entry| entry.file.as_str()).collect();
        let firsts = places.firsts_of(&files)?;
        let mut wanted = Self {
            rows: Vec::new(),
            records: Vec::new(),
            unknown: Vec::new(),
        };
        for entry in entries {
            let Some(first) = firsts.get(&entry.file) else {
                continue;
            };
            let record = first + entry.record;
            if exploded && entry.element.is_none() {
                wanted
                    .records
                    .push(i64::try_from(record).unwrap_or(i64::MAX));
                continue;
            }
            let place = position(record, entry.element.unwrap_or(0));
            wanted.rows.push(place);
            if !entry.has_key {
                wanted.unknown.push(place);
            }
        }
        Ok(wanted)
    }
}

/// Entries by run, resource and table.
pub(super) fn grouped<'e>(
    entries: &'e [Entry],
    chosen: &BTreeSet<i64>,
) -> BTreeMap<(&'e str, &'e str, &'e str), Vec<&'e Entry>> {
    let mut groups: BTreeMap<_, Vec<&Entry>> = BTreeMap::new();
    let is_chosen = |entry: &&Entry| chosen.contains(&entry.id) && !entry.file.is_empty();
    for entry in entries.iter().filter(is_chosen) {
        groups
            .entry((
                entry.run_id.as_str(),
                entry.resource.as_str(),
                entry.table.as_str(),
            ))
            .or_default()
            .push(entry);
    }
    groups
}

/// What became of entries that were tried again.
#[derive(Debug, Default)]
pub struct Retried {
    /// What it did to the tables.
    pub tables: Vec<TableCounts>,
    /// Tables of which some entries could not be tried, and why.
    pub failed: Vec<(Name, LoadError)>,
    /// Derived statements that failed.
    pub derives_failed: Vec<(Name, LoadError)>,
}
