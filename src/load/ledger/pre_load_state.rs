//! What a schema and its ledger hold before a run is loaded, read at once: most loads find nothing to settle.

use std::collections::BTreeSet;

use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use crate::convert::unsigned;
use crate::load::error::LoadError;
use crate::load::mapping::Mapping;
use crate::load::sql::statements::Statements;
use crate::name::Name;
use crate::staging::RunId;

#[derive(Debug, Default)]
pub(crate) struct PreLoadState {
    pub(crate) empty: BTreeSet<Name>,
    /// Tables with records in quarantine, from other runs.
    pub(crate) quarantined: BTreeSet<Name>,
    /// Resources with records in quarantine from this run.
    pub(crate) again: BTreeSet<Name>,
    /// Tables with orphans.
    pub(crate) orphaned: BTreeSet<Name>,
    /// Those of which a parent may be there already, with the resources that brought the rows: an earlier load could not try
    /// them.
    pub(crate) due: BTreeSet<(Name, Name)>,
    /// Tables with held deletes or kept rows.
    pub(crate) with_held_deletes: BTreeSet<Name>,
    /// Tables of which rows may be missing, though others go by what they have: no complete full read was ever loaded, or
    /// row-level security hides some.
    pub(crate) incomplete_tables: BTreeSet<Name>,
    /// Of tables that several resources feed: up to which run each of these is loaded, by number.
    pub(crate) fed: Vec<(String, String, u64)>,
}

const LEDGER: &str = "
    SELECT DISTINCT CASE WHEN run_id = $2 THEN 'again' ELSE 'quarantined' END,
        CASE WHEN run_id = $2 THEN resource ELSE table_name END, NULL
    FROM pipeline.quarantine WHERE schema_name = $1
    UNION ALL SELECT DISTINCT 'orphaned', table_name, NULL FROM pipeline.quarantine
    WHERE schema_name = $1 AND code = 'orphan' AND file <> ''
    UNION ALL SELECT DISTINCT 'due', table_name, resource FROM pipeline.quarantine WHERE schema_name = $1 AND due
    UNION ALL SELECT DISTINCT 'held', table_name, NULL FROM pipeline.prune_candidate
    WHERE schema_name = $1 AND approved_at IS NULL";

impl PreLoadState {
    /// Reads the state of every table, and the ledger.
    pub(crate) async fn read(
        transaction: &Transaction<'_>,
        schema: &str,
        run: &RunId,
        mappings: &[Mapping],
    ) -> Result<Self, LoadError> {
        let mut state = Self::default();
        let (mut empty, mut incomplete_tables) = (Vec::new(), Vec::new());
        for mapping in mappings {
            let statements = Statements::new(mapping, schema);
            empty.push(statements.is_empty());
            incomplete_tables.push(if mapping.hides_rows() {
                "true".to_owned()
            } else if mapping.table.is_update_only() {
                "false".to_owned()
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
            state.empty = are(row.get(0));
            state.incomplete_tables = are(row.get(1));
        }
        let run = run.as_str();
        let rows = transaction
            .query_typed(LEDGER, &[(&schema, Type::TEXT), (&run, Type::TEXT)])
            .await
            .map_err(LoadError::at("read the load ledger"))?;
        for row in rows {
            let names = match row.get(0) {
                "again" => &mut state.again,
                "quarantined" => &mut state.quarantined,
                "orphaned" => &mut state.orphaned,
                "due" => {
                    let names = Name::parse(row.get(1)).ok();
                    state.due.extend(names.zip(Name::parse(row.get(2)).ok()));
                    continue;
                }
                _ => &mut state.with_held_deletes,
            };
            names.extend(Name::parse(row.get(1)).ok());
        }
        state.fed = fed(transaction, schema, mappings).await?;
        Ok(state)
    }

    /// Whether another resource that feeds the table, if there is one, is loaded already up to this run, or beyond.
    pub(crate) fn is_overtaken(&self, mapping: &Mapping, seq: u64) -> bool {
        let table = &mapping.table;
        // Of one run the table's own resource is loaded first: what the others have brought of it is known to be newer.
        let first = if table.is_update_only() { seq + 1 } else { seq };
        (self.fed.iter()).any(|(name, resource, loaded)| {
            name == table.name.as_str() && resource != table.from.as_str() && *loaded >= first
        })
    }
}

async fn fed(
    transaction: &Transaction<'_>,
    schema: &str,
    mappings: &[Mapping],
) -> Result<Vec<(String, String, u64)>, LoadError> {
    let shared = mappings.iter().filter(|mapping| mapping.is_shared());
    let shared: Vec<&str> = shared.map(|mapping| mapping.table.name.as_str()).collect();
    if shared.is_empty() {
        return Ok(Vec::new());
    }
    let rows = transaction
        .query_typed(
            "SELECT table_name, resource, max(seq) FROM pipeline.load WHERE schema_name = $1 AND table_name = ANY ($2) \
             GROUP BY 1, 2",
            &[(&schema, Type::TEXT), (&shared, Type::TEXT_ARRAY)],
        )
        .await
        .map_err(LoadError::at("read pipeline.load"))?;
    let fed = rows.iter();
    Ok(fed
        .map(|row| (row.get(0), row.get(1), unsigned(row.get(2))))
        .collect())
}
