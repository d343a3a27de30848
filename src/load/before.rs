//! What a schema and its books hold before a run is loaded, asked at once: most loads find nothing to settle.

use std::collections::BTreeSet;

use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use crate::name::Name;
use crate::staging::RunId;

use super::error::LoadError;
use super::mapping::Mapping;
use super::sql::Statements;

/// What there was before.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// Tables without rows: nobody waits to read them.
    pub(super) empty: BTreeSet<Name>,
    /// Tables with records in quarantine, from other runs.
    pub(super) quarantined: BTreeSet<Name>,
    /// Resources with records in quarantine from this run.
    pub(super) again: BTreeSet<Name>,
    /// Tables with rows that wait for a parent.
    pub(super) orphaned: BTreeSet<Name>,
    /// Those of which a parent may be there already: an earlier load could not try them.
    pub(super) due: BTreeSet<Name>,
    /// Tables with deletes that are held back.
    pub(super) refused: BTreeSet<Name>,
}

const BOOKS: &str = "
    SELECT DISTINCT CASE WHEN run_id = $2 THEN 'again' ELSE 'quarantined' END,
        CASE WHEN run_id = $2 THEN resource ELSE table_name END
    FROM pipeline.quarantine WHERE schema_name = $1
    UNION ALL SELECT DISTINCT 'orphaned', table_name FROM pipeline.quarantine
    WHERE schema_name = $1 AND code = 'orphan' AND file <> ''
    UNION ALL SELECT DISTINCT 'due', table_name FROM pipeline.quarantine WHERE schema_name = $1 AND due
    UNION ALL SELECT DISTINCT 'refused', table_name FROM pipeline.prune_candidate
    WHERE schema_name = $1 AND approved_at IS NULL";

impl Before {
    /// Looks into every table, and into the books.
    pub(super) async fn look(
        transaction: &Transaction<'_>,
        schema: &str,
        run: &RunId,
        mappings: &[Mapping],
    ) -> Result<Self, LoadError> {
        let mut before = Self::default();
        let empty: Vec<String> = mappings
            .iter()
            .map(|mapping| Statements::new(mapping, schema).is_empty())
            .collect();
        if !empty.is_empty() {
            let rows = transaction
                .query_typed(&format!("SELECT ARRAY[{}]", empty.join(", ")), &[])
                .await
                .map_err(LoadError::at("look at the tables"))?;
            let empty: Vec<bool> = rows.first().map(|row| row.get(0)).unwrap_or_default();
            let names = mappings.iter().map(|mapping| &mapping.table.name);
            let names = names.zip(empty).filter(|(_, is_empty)| *is_empty);
            before.empty = names.map(|(name, _)| name.clone()).collect();
        }
        let run = run.as_str();
        let rows = transaction
            .query_typed(BOOKS, &[(&schema, Type::TEXT), (&run, Type::TEXT)])
            .await
            .map_err(LoadError::at("look into the books"))?;
        for row in rows {
            let names = match row.get(0) {
                "again" => &mut before.again,
                "quarantined" => &mut before.quarantined,
                "orphaned" => &mut before.orphaned,
                "due" => &mut before.due,
                _ => &mut before.refused,
            };
            names.extend(Name::parse(row.get(1)).ok());
        }
        Ok(before)
    }
}
