//! Where a row comes from: the record, its page, its run.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_postgres::GenericClient;
use tokio_postgres::types::{ToSql, Type};

use crate::database::{Quoted, utc};
use crate::key_arg::Key;
use crate::load::cell::CellType;
use crate::load::error::LoadError;
use crate::load::ledger::quarantine::Entry;
use crate::load::mapping::Mapping;
use crate::printable;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ExplainError {
    #[error("{0}")]
    Key(String),
    #[error(
        "the schema {0} has not all of its tables yet, so there is no row to explain: `cursus load` makes them and fills them from \
         staging, `cursus migrate` makes them only (both take --into for a schema that is not the configured one)"
    )]
    Unmigrated(String),
    #[error("no history of {table} is kept: name it in [history] of pipeline.toml, and load")]
    NoHistory { table: String },
    #[error("how rows of {table} were at {at} is not known; known is {known}")]
    UnknownThen {
        table: String,
        at: Timestamp,
        /// From when to when.
        known: String,
    },
    #[error(transparent)]
    Load(#[from] LoadError),
}

#[derive(Debug, Serialize)]
pub(crate) struct Explained {
    pub(crate) table: String,
    /// Its key: column name to value.
    pub(crate) key: Value,
    /// The row as it is in the mirror; none if it is not there.
    pub(crate) row: Option<Box<RawValue>>,
    /// The resource that gave the row, or that feeds the table.
    pub(crate) resource: String,
    /// The record that it comes from, or that keeps it out.
    pub(crate) origin: Option<Origin>,
    /// Each column, in the table's order.
    pub(crate) columns: Vec<ColumnOrigin>,
    /// The quarantined records with its key.
    pub(crate) quarantine: Vec<Entry>,
    /// Runs whose delete of it the prune limit holds.
    pub(crate) held_deletes: Vec<HeldDelete>,
    pub(crate) notes: Vec<String>,
}

/// A held delete of the row; named as `prune ls` names it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HeldDelete {
    /// The run that missed the row.
    pub(crate) run_id: String,
    pub(crate) resource: String,
    pub(crate) table: String,
    pub(crate) reason: String,
    pub(crate) since: String,
    /// The table whose rows refer to it, for which it is kept; none: the prune limit holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) referred_by: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Origin {
    pub(crate) run_id: String,
    pub(crate) resource: String,
    /// The page's file, relative to the run's directory.
    pub(crate) file: String,
    /// The record's place in the page, from 0.
    pub(crate) index: u64,
    /// The row's place in the nested array, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) element: Option<u64>,
    /// Path and query that were asked for.
    pub(crate) request: String,
    /// When the answer was received.
    pub(crate) fetched_at: Timestamp,
    /// A condition that the record fails: it has no row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) out_of_scope: Option<String>,
    /// The record, or the element of its nested array.
    pub(crate) record: Box<RawValue>,
    #[serde(skip)]
    pub(super) values: Vec<Option<Box<RawValue>>>,
}

impl Explained {
    /// Records the record that the row comes from, or that keeps it out.
    pub(super) fn found(&mut self, origin: Origin, mapping: &Mapping) {
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
pub(crate) struct ColumnOrigin {
    pub(crate) name: String,
    /// A pointer into the record, a constant, or who else fills it.
    pub(crate) from: String,
    pub(crate) in_record: Option<Box<RawValue>>,
    pub(crate) in_mirror: Option<Box<RawValue>>,
}

/// JSON as the API wrote it, on one line: a value would round its numbers, and end at some depth.
pub(super) fn raw(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(printable::json(text)).ok()
}

pub(super) struct RowQuery<'m> {
    pub(super) mapping: &'m Mapping,
    /// As typed, in the order of the key's columns.
    pub(super) typed: Vec<String>,
    /// As JSON text.
    pub(super) raw: Vec<String>,
    /// As [`Mapping::only_key`] has it: the same value has the same bytes.
    pub(super) encoded: Vec<u8>,
}

impl<'m> RowQuery<'m> {
    pub(super) fn of(mapping: &'m Mapping, key: &Key) -> Result<Self, ExplainError> {
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
            let encoded = column.cell.encode(Some(&raw), &mut wanted.encoded);
            encoded.map_err(|error| misfit(&error.0))?;
            wanted.raw.push(raw);
        }
        Ok(wanted)
    }

    /// As the load ledger writes it.
    pub(super) fn json(&self) -> Value {
        let mapping = self.mapping;
        let value = |(at, raw): (&usize, &String)| mapping.columns[*at].cell.key_json(raw);
        let values = mapping.key.iter().zip(&self.raw).map(value);
        let names = mapping.key_names().map(str::to_owned);
        let entries: serde_json::Map<_, _> = names.zip(values).collect();
        entries.into()
    }

    /// Its place among the key's columns, if the key says whose row it is: the rows of several owners do not compete.
    pub(super) fn owner_place(&self) -> Option<usize> {
        let owner = self.mapping.table.owner.as_ref()?;
        let mut names = self.mapping.key_names();
        names.position(|name| name == owner.column.as_str())
    }

    pub(super) async fn row(
        &self,
        client: &impl GenericClient,
        schema: &str,
    ) -> Result<Option<Box<RawValue>>, LoadError> {
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

    pub(super) async fn held_deletes(
        &self,
        client: &impl GenericClient,
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
