//! Where a row of the mirror comes from: the newest loaded record with its key, read again from its staged page.

mod search;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::config::{Config, Source};
use crate::database::{Quoted, utc};
use crate::key::Key;
use crate::migrate;
use crate::printable;
use crate::staging::Run;

use super::cell::CellType;
use super::error::LoadError;
use super::mapping::{INGESTED_AT, Mapping};
use super::retry::{Entry, entries};
use search::Search;

/// All that is known of one row.
#[derive(Debug, Serialize)]
pub struct Explained {
    /// The table.
    pub table: String,
    /// Its key: column name to value.
    pub key: Value,
    /// The row as it is in the mirror; none if it is not there.
    pub row: Option<Box<RawValue>>,
    /// The resource that gave the row, or that feeds the table.
    pub resource: String,
    /// The record that it comes from, or that keeps it out.
    pub origin: Option<Origin>,
    /// Each column, in the table's order.
    pub columns: Vec<ColumnOrigin>,
    /// What waits in quarantine with its key.
    pub quarantine: Vec<Entry>,
    /// Runs whose delete of it the guard has held back.
    pub held_deletes: Vec<HeldDelete>,
    /// What else there is to say, a sentence each.
    pub notes: Vec<String>,
}

/// A delete of the row that waits for approval; named as `prune ls` names it.
#[derive(Clone, Debug, Serialize)]
pub struct HeldDelete {
    /// The run that missed the row.
    pub run_id: String,
    /// The resource.
    pub resource: String,
    /// The table.
    pub table: String,
    /// Why it would go.
    pub reason: String,
    /// Since when.
    pub since: String,
    /// The table whose rows refer to it, for which it is kept; none: the prune limit holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referred_by: Option<String>,
}

/// A staged record.
#[derive(Clone, Debug, Serialize)]
pub struct Origin {
    /// The run that brought it.
    pub run_id: String,
    /// Its resource.
    pub resource: String,
    /// The page's file, relative to the run's directory.
    pub file: String,
    /// The record's place in the page, from 0.
    pub index: u64,
    /// The row's place in the nested array, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub element: Option<u64>,
    /// Path and query that were asked for.
    pub request: String,
    /// When the answer was received.
    pub fetched_at: Timestamp,
    /// A condition that the record fails: it has no row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_of_scope: Option<String>,
    /// The record, or the element of its nested array.
    pub record: Box<RawValue>,
    #[serde(skip)]
    values: Vec<Option<Box<RawValue>>>,
}

impl Origin {
    /// Whether both say the same of the row.
    fn is_same(&self, other: &Self) -> bool {
        let values = |origin: &Self| -> Vec<Option<String>> {
            let values = origin.values.iter();
            values
                .map(|value| Some(value.as_ref()?.get().to_owned()))
                .collect()
        };
        values(self) == values(other)
    }
}

impl Explained {
    /// Notes the record that the row comes from, or that keeps it out.
    fn found(&mut self, origin: Origin, mapping: &Mapping) {
        if mapping.table.is_update_only() && self.row.is_none() && origin.out_of_scope.is_none() {
            self.notes.push(format!(
                "records of {} update rows of {} and make none",
                origin.resource, self.table
            ));
        }
        self.resource.clone_from(&origin.resource);
        self.origin = Some(origin);
    }
}

/// Where a column comes from.
#[derive(Clone, Debug, Serialize)]
pub struct ColumnOrigin {
    /// The column.
    pub name: String,
    /// A pointer into the record, a constant, or who else fills it.
    pub from: String,
    /// What the record holds there.
    pub in_record: Option<Box<RawValue>>,
    /// What the row holds.
    pub in_mirror: Option<Box<RawValue>>,
}

/// Why there is nothing to explain.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The key does not fit the table.
    #[error("{0}")]
    Key(String),
    /// The tables are not there yet.
    #[error(
        "the schema {0} has not all of its tables yet, so there is no row to explain: `cursus load` makes them and fills them from \
         staging, `cursus migrate` makes them only (both take --into for a schema that is not the configured one)"
    )]
    Unmigrated(String),
    /// The database or the staged files cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Explains the row of `table` with this key; `runs` is all that is staged.
pub async fn explain(
    config: &Config,
    client: &Client,
    schema: &str,
    runs: &[Run],
    table: &str,
    key: &Key,
) -> Result<Explained, ExplainError> {
    let mappings = match super::mappings(config, client, schema).await {
        // A table that a migration is about to make needs no other one.
        Err(LoadError::Mismatch(_)) if is_unmigrated(config, client, schema).await? => {
            return Err(ExplainError::Unmigrated(schema.to_owned()));
        }
        mappings => mappings?,
    };
    let find = |name: &str| {
        let is_it = |mapping: &&Mapping| mapping.table.name.as_str() == name;
        mappings.iter().find(is_it)
    };
    let mapping = find(table)
        .ok_or_else(|| ExplainError::Key(format!("pipeline.toml has no table {table}")))?;
    let wanted = Wanted::of(mapping, key)?;
    let row = wanted.row(client, schema).await?;
    let mut explained = Explained {
        table: table.to_owned(),
        key: wanted.json(),
        row,
        resource: mapping.table.from.to_string(),
        origin: None,
        columns: Vec::new(),
        quarantine: wanted.quarantine(client, schema).await?,
        held_deletes: wanted.held_deletes(client, schema).await?,
        notes: Vec::new(),
    };
    // The rows of a SELECT have no record of their own, but that of their owner.
    let owner = match (&mapping.table.select, &mapping.table.owner) {
        (None, _) => Some(wanted),
        (Some(select), Some(owner)) => {
            explained.notes.push(format!(
                "its rows are made by {} of all records of {}",
                select.name, mapping.table.from
            ));
            let place = mapping
                .key_names()
                .position(|name| owner.column.as_str() == name);
            let parent = find(owner.table.as_str())
                .filter(|parent| parent.key_names().eq([owner.target.as_str()]));
            match (place, parent) {
                (Some(place), Some(parent)) => {
                    explained.notes.push(format!(
                        "shown is the record of its owner, {} {}",
                        owner.table, wanted.typed[place]
                    ));
                    let key = Key::parse(&wanted.typed[place]).map_err(ExplainError::Key)?;
                    Some(Wanted::of(parent, &key)?)
                }
                _ => None,
            }
        }
        (Some(select), None) => {
            explained.notes.push(format!(
                "its rows are made by {} of all records of {}, so no single record is its origin",
                select.name, mapping.table.from
            ));
            None
        }
    };
    if let Some(wanted) = &owner {
        let owner = wanted.mapping.table.owner.as_ref();
        let owner = owner.and_then(|owner| find(owner.table.as_str()));
        let name = &wanted.mapping.table.name;
        let of_table = mappings.iter().filter(|one| one.table.name == *name);
        let feeds: Vec<Wanted<'_>> = of_table.map(|mapping| wanted.by(mapping)).collect();
        let searches = feeds.iter();
        let searches: Vec<Search<'_>> = searches
            .map(|wanted| Search::new(wanted, owner, &config.scope))
            .collect();
        search::through(&searches, client, schema, runs, &mut explained).await?;
    }
    let is_own = mapping.table.select.is_none();
    explained.columns = columns(mapping, &explained, is_own);
    Ok(explained)
}

async fn is_unmigrated(config: &Config, client: &Client, schema: &str) -> Result<bool, LoadError> {
    let folder = config.migrations();
    let pending = migrate::pending(client, schema, folder.as_deref()).await?;
    Ok(!pending.is_empty())
}

fn columns(mapping: &Mapping, explained: &Explained, is_own: bool) -> Vec<ColumnOrigin> {
    let origin = explained.origin.as_ref().filter(|_| is_own);
    let row = explained.row.as_ref();
    let row: BTreeMap<String, Box<RawValue>> = row
        .and_then(|row| serde_json::from_str(row.get()).ok())
        .unwrap_or_default();
    let of = |column: &crate::database::catalogue::Column| {
        let name = column.name.as_str();
        let at = mapping.columns.iter().position(|one| one.name == name);
        let from = match (at, &mapping.table.select) {
            (Some(_), Some(select)) => select.name.clone(),
            (Some(at), None) => from(&mapping.columns[at].source),
            (None, _) if name == INGESTED_AT => "the load that last changed the row".to_owned(),
            (None, _) if column.generated => "the database".to_owned(),
            (None, _) => "not the record: a [[derive]] or a default".to_owned(),
        };
        ColumnOrigin {
            name: name.to_owned(),
            from,
            in_record: at.and_then(|at| origin?.values.get(at)?.clone()),
            in_mirror: row.get(name).cloned(),
        }
    };
    mapping.shape.columns.iter().map(of).collect()
}

/// JSON as somebody else wrote it, on one line: a value would round its numbers, and end at some depth.
fn raw(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(printable::json(text)).ok()
}

fn from(source: &Source) -> String {
    match source {
        Source::Record(pointer) if pointer.tokens().is_empty() => "the record".to_owned(),
        Source::Record(pointer) => pointer.to_string(),
        Source::Parent(pointer) => format!("..{pointer}"),
        Source::Constant(template) => template.to_string(),
        Source::Elsewhere => "elsewhere".to_owned(),
    }
}

/// A key that is looked for.
struct Wanted<'m> {
    mapping: &'m Mapping,
    /// As typed, in the order of the key's columns.
    typed: Vec<String>,
    /// As JSON text.
    raw: Vec<String>,
    /// As PostgreSQL takes it: the same value has the same bytes.
    encoded: Vec<Vec<u8>>,
}

impl<'m> Wanted<'m> {
    fn of(mapping: &'m Mapping, key: &Key) -> Result<Self, ExplainError> {
        let names: Vec<&str> = mapping.key_names().collect();
        let typed = key.of(&names).ok_or_else(|| {
            let example: Vec<String> = names.iter().map(|name| format!("{name}=…")).collect();
            ExplainError::Key(format!(
                "the key of {} is {}: write {}",
                mapping.table.name,
                names.join(", "),
                example.join(",")
            ))
        })?;
        let mut wanted = Self {
            mapping,
            typed: typed.iter().map(|&text| text.to_owned()).collect(),
            raw: Vec::new(),
            encoded: Vec::new(),
        };
        for (at, text) in mapping.key.iter().zip(typed) {
            let column = &mapping.columns[*at];
            let raw = column.cell.json_of(text.to_owned());
            let misfit = |why: &str| {
                ExplainError::Key(format!("this is no value of {}: {why}", column.name))
            };
            if serde_json::from_str::<&RawValue>(&raw).is_err() {
                return Err(misfit(match column.cell {
                    CellType::Bool => "true or false is wanted",
                    CellType::Jsonb | CellType::Json => "it is not JSON",
                    CellType::TextArray | CellType::Int8Array => "it is not a JSON list",
                    _ => "it is not a number as JSON writes one",
                }));
            }
            let mut bytes = Vec::new();
            column
                .cell
                .encode(Some(&raw), &mut bytes)
                .map_err(|error| misfit(&error.0))?;
            wanted.raw.push(raw);
            wanted.encoded.push(bytes);
        }
        Ok(wanted)
    }

    /// The same key, as another mapping of the table has it.
    fn by(&self, mapping: &'m Mapping) -> Self {
        Self {
            mapping,
            typed: self.typed.clone(),
            raw: self.raw.clone(),
            encoded: self.encoded.clone(),
        }
    }

    /// As the books write it.
    fn json(&self) -> Value {
        let mapping = self.mapping;
        let value = |(at, raw): (&usize, &String)| mapping.columns[*at].cell.key_json(raw);
        let values = mapping.key.iter().zip(&self.raw).map(value);
        let names = mapping.key_names().map(str::to_owned);
        let entries: serde_json::Map<_, _> = names.zip(values).collect();
        entries.into()
    }

    /// Whether the key says whose row it is: the rows of several owners do not compete.
    fn is_of_one_owner(&self) -> bool {
        let owner = self.mapping.table.owner.as_ref();
        owner.is_some_and(|owner| {
            let mut names = self.mapping.key_names();
            names.any(|name| name == owner.column.as_str())
        })
    }

    async fn row(&self, client: &Client, schema: &str) -> Result<Option<Box<RawValue>>, LoadError> {
        let mut conditions = Vec::new();
        for (place, at) in self.mapping.key.iter().enumerate() {
            let name = &self.mapping.columns[*at].name;
            let kind = self.mapping.shape.column(name).map(|one| one.r#type.name());
            conditions.push(format!(
                "t.{} = ${}::pg_catalog.{}",
                Quoted(name),
                place + 1,
                Quoted(kind.unwrap_or("text"))
            ));
        }
        let table = self.mapping.table.name.as_str();
        let statement = format!(
            "SELECT to_json(t)::text FROM {}.{} AS t WHERE {}",
            Quoted(schema),
            Quoted(table),
            conditions.join(" AND ")
        );
        let parameters: Vec<(&(dyn ToSql + Sync), Type)> = (self.typed.iter())
            .map(|text| (text as &(dyn ToSql + Sync), Type::TEXT))
            .collect();
        let row = client
            .query_typed_opt(&statement, &parameters)
            .await
            .map_err(LoadError::at(format!("read a row of {table}")))?;
        Ok(row.and_then(|row| raw(row.get(0))))
    }

    /// What waits in quarantine with this key.
    async fn quarantine(&self, client: &Client, schema: &str) -> Result<Vec<Entry>, LoadError> {
        let mut waiting = entries(client, schema).await?;
        if waiting.is_empty() {
            return Ok(waiting);
        }
        let ids = client
            .query(
                "SELECT id FROM pipeline.quarantine WHERE schema_name = $1 AND table_name = $2 AND key = $3",
                &[&schema, &self.mapping.table.name.as_str(), &self.json()],
            )
            .await
            .map_err(LoadError::at("read pipeline.quarantine"))?;
        let ids: BTreeSet<i64> = ids.iter().map(|row| row.get(0)).collect();
        waiting.retain(|entry| ids.contains(&entry.id));
        Ok(waiting)
    }

    /// The deletes of this key that wait for approval.
    async fn held_deletes(
        &self,
        client: &Client,
        schema: &str,
    ) -> Result<Vec<HeldDelete>, LoadError> {
        let rows = client
            .query(
                &format!(
                    "SELECT run_id, resource, table_name, reason, {}, referred_by \
                     FROM pipeline.prune_candidate WHERE schema_name = $1 AND table_name = $2 AND key = $3 \
                     AND approved_at IS NULL ORDER BY created_at, run_id",
                    utc("created_at")
                ),
                &[&schema, &self.mapping.table.name.as_str(), &self.json()],
            )
            .await
            .map_err(LoadError::at("read pipeline.prune_candidate"))?;
        let held = rows.iter().map(|row| HeldDelete {
            run_id: row.get(0),
            resource: row.get(1),
            table: row.get(2),
            reason: row.get(3),
            since: row.get(4),
            referred_by: row.get(5),
        });
        Ok(held.collect())
    }
}
