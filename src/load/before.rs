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
    /// Tables with deletes that are held back, and with rows that are kept.
    pub(super) refused: BTreeSet<Name>,
    /// Tables of which rows may be missing, though others go by what they have: no complete full read was ever loaded, or
    /// row-level security hides some.
    pub(super) incomplete_tables: BTreeSet<Name>,
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
        let (mut empty, mut incomplete_tables) = (Vec::new(), Vec::new());
        for mapping in mappings {
            let statements = Statements::new(mapping, schema);
            empty.push(statements.is_empty());
            incomplete_tables.push(if mapping.hides_rows() {
                "true".to_owned()
            } else {
                statements.is_never_whole()
            });
        }
        if !empty.is_empty() {
            let (empty, incomplete_tables) = (empty.join(", "), incomplete_tables.join(", "));
            let row = transaction
                .query_typed_one(
                    &format!("SELECT ARRAY[{empty}], ARRAY[{incomplete_tables}]"),
                    &[],
                )
                .await
                .map_err(LoadError::at("look at the tables"))?;
            let are = |is: Vec<bool>| -> BTreeSet<Name> {
                let names = mappings.iter().map(|mapping| mapping.table.name.clone());
                let are = names.zip(is).filter(|(_, is)| *is);
                are.map(|(name, _)| name).collect()
            };
            before.empty = are(row.get(0));
            before.incomplete_tables = are(row.get(1));
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
