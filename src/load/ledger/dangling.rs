//! Dangling references: counted, not rejected.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use crate::convert::unsigned;
use crate::load::error::LoadError;
use crate::load::mapping::Mapping;
use crate::load::sql::statements::Statements;
use crate::name::Name;

/// Tables whose rows are not what they were.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched {
    /// Rows came or went, or refer to other rows than before.
    pub(crate) changed: BTreeSet<Name>,
    /// Rows came or went: only then a reference to the table can lead elsewhere.
    pub(crate) moved: BTreeSet<Name>,
}

impl Touched {
    /// Of tables of which no more is known.
    pub(crate) fn all_of(tables: BTreeSet<Name>) -> Self {
        Self {
            changed: tables.clone(),
            moved: tables,
        }
    }

    /// Whether references of the table may lead elsewhere than when they were counted last.
    pub(crate) fn concerns(&self, mapping: &Mapping) -> bool {
        let mut references = mapping.table.references.iter();
        self.changed.contains(&mapping.table.name) && !mapping.table.references.is_empty()
            || references.any(|reference| self.moved.contains(&reference.table))
    }
}

/// How many references of a table are dangling, by column.
pub(crate) async fn count_dangling(
    transaction: &Transaction<'_>,
    schema: &str,
    mapping: &Mapping,
) -> Result<Value, LoadError> {
    let mut counts = serde_json::Map::new();
    for (column, statement) in Statements::new(mapping, schema).count_dangling() {
        let row = transaction
            .query_one(&statement, &[])
            .await
            .map_err(LoadError::at(format!(
                "count references of {}",
                mapping.table.name
            )))?;
        counts.insert(column.to_owned(), unsigned(row.get(0)).into());
    }
    Ok(counts.into())
}

/// What the last load of a table counted.
pub(crate) async fn last_dangling(
    transaction: &Transaction<'_>,
    schema: &str,
    mapping: &Mapping,
) -> Result<Option<Value>, LoadError> {
    if mapping.table.references.is_empty() {
        return Ok(None);
    }
    let row = transaction
        .query_typed_opt(
            // The newest by the index, also where the server has no statistics.
            "SELECT dangling FROM pipeline.load WHERE schema_name = $1 AND resource = $2 AND table_name = $3 \
             AND seq = (SELECT max(seq) FROM pipeline.load WHERE schema_name = $1 AND resource = $2) \
             ORDER BY id DESC LIMIT 1",
            &[
                (&schema, Type::TEXT),
                (&mapping.table.from.as_str(), Type::TEXT),
                (&mapping.table.name.as_str(), Type::TEXT),
            ],
        )
        .await
        .map_err(LoadError::at("read pipeline.load"))?;
    Ok(row.map(|row| row.get(0)))
}

/// Counts again for the tables concerned, and puts that into their last line of `pipeline.load`.
pub(crate) async fn record_dangling<'m>(
    transaction: &Transaction<'_>,
    schema: &str,
    mappings: impl Iterator<Item = &'m Mapping>,
    touched: &Touched,
) -> Result<(), LoadError> {
    for mapping in mappings.filter(|mapping| touched.concerns(mapping)) {
        let dangling = count_dangling(transaction, schema, mapping).await?;
        let (resource, table) = (mapping.table.from.as_str(), mapping.table.name.as_str());
        transaction
            .execute(
                "UPDATE pipeline.load SET dangling = $4 WHERE dangling IS DISTINCT FROM $4 AND id = (SELECT id \
                 FROM pipeline.load WHERE schema_name = $1 AND resource = $2 AND table_name = $3 \
                 ORDER BY seq DESC, id DESC LIMIT 1)",
                &[&schema, &resource, &table, &dangling],
            )
            .await
            .map_err(LoadError::at("record dangling references in pipeline.load"))?;
    }
    Ok(())
}
