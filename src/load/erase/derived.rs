//! Tables that derived statements fill, and that are in no `[[table]]`: a row is the own of the person whom it names. Nothing of it is
//! personal but that it is there, so that it stays until records are removed. Those without people, such as sums, are derived again.

use std::collections::BTreeSet;

use tokio_postgres::Transaction;
use tracing::warn;

use super::FoundRows;
use super::copies::exists;
use super::mirror_schema::MirrorSchema;
use crate::config::{Config, Derive};
use crate::convert::unsigned;
use crate::database::Quoted;
use crate::error_chain::chain;
use crate::load::error::LoadError;
use crate::load::ledger::derives;
use crate::load::ledger::row_changes::run_noted;
use crate::load::transaction::set_up;
use crate::person::{DerivedTable, People};

impl DerivedTable {
    /// The table in a schema, and which of its rows are of these people, the only parameter; expressions.
    fn theirs(&self, schema: &str) -> (String, String) {
        (
            format!("{}.{} AS t", Quoted(schema), Quoted(self.table.as_str())),
            format!("t.{}::text = ANY ($1)", Quoted(&self.id)),
        )
    }
}

/// Those that a schema has.
async fn tables<'p>(
    transaction: &Transaction<'_>,
    schema: &str,
    people: &'p People,
) -> Result<Vec<&'p DerivedTable>, LoadError> {
    let mut tables = Vec::new();
    for derived in &people.derived {
        let name = format!("{}.{}", Quoted(schema), Quoted(derived.table.as_str()));
        if exists(transaction, &name).await? {
            tables.push(derived);
        }
    }
    Ok(tables)
}

/// The ids of all people who are in them.
pub(super) async fn ids(
    transaction: &Transaction<'_>,
    schema: &str,
    people: &People,
) -> Result<Vec<String>, LoadError> {
    let mut ids = Vec::new();
    for table in tables(transaction, schema, people).await? {
        let (from, _) = table.theirs(schema);
        let id = Quoted(&table.id);
        let select = format!("SELECT DISTINCT t.{id}::text FROM {from} WHERE t.{id} IS NOT NULL");
        let rows = transaction.query(&select, &[]).await;
        let rows = rows.map_err(LoadError::at(format!("read {}", table.table)))?;
        ids.extend(rows.iter().map(|row| row.get::<_, String>(0)));
    }
    Ok(ids)
}

/// Of each of them, how many rows of these people a statement counts; it is given the table and which rows are theirs.
async fn count(
    transaction: &Transaction<'_>,
    schema: &str,
    people: &People,
    ids: &[String],
    (doing, statement): (&str, impl Fn(&str, &str) -> String),
) -> Result<Vec<FoundRows>, LoadError> {
    let mut all = Vec::new();
    for table in tables(transaction, schema, people).await? {
        let (from, theirs) = table.theirs(schema);
        let count = statement(&from, &theirs);
        let row = transaction.query_one(&count, &[&ids]).await;
        let row = row.map_err(LoadError::at(format!("{doing} {}", table.table)))?;
        let rows = unsigned(row.get(0));
        all.extend((rows > 0).then(|| FoundRows {
            schema: schema.to_owned(),
            table: table.table.to_string(),
            rows,
            personal: 0,
        }));
    }
    Ok(all)
}

/// How many rows of these people there are.
pub(super) async fn find(
    transaction: &Transaction<'_>,
    schema: &str,
    people: &People,
    ids: &[String],
) -> Result<Vec<FoundRows>, LoadError> {
    let find = |from: &str, theirs: &str| format!("SELECT count(*) FROM {from} WHERE {theirs}");
    count(transaction, schema, people, ids, ("read", find)).await
}

/// Statements that give the rows of a person as JSON, with the tables.
pub(super) async fn questions<'p>(
    transaction: &Transaction<'_>,
    schema: &str,
    people: &'p People,
) -> Result<Vec<(&'p str, String)>, LoadError> {
    let tables = tables(transaction, schema, people).await?.into_iter();
    let question = |table: &'p DerivedTable| {
        let (from, theirs) = table.theirs(schema);
        let select = format!("SELECT to_jsonb(t) FROM {from} WHERE {theirs} ORDER BY 1");
        (table.table.as_str(), select)
    };
    Ok(tables.map(question).collect())
}

/// Deletes the rows of these people.
pub(super) async fn delete(
    transaction: &Transaction<'_>,
    schema: &str,
    people: &People,
    ids: &[String],
) -> Result<Vec<FoundRows>, LoadError> {
    let delete = |from: &str, theirs: &str| {
        format!(
            "WITH deleted AS (DELETE FROM {from} WHERE {theirs} RETURNING 1) SELECT count(*) FROM deleted"
        )
    };
    count(
        transaction,
        schema,
        people,
        ids,
        ("erase people from", delete),
    )
    .await
}

/// Runs the statements that derive from tables of which rows were removed, in the schema of this configuration: another schema may be
/// filled by other statements. One that fails stops no erasure: the next load runs it again. So it is with one that writes to a table
/// whose history is kept: an erasure dates no version.
pub(super) async fn derive(
    transaction: &Transaction<'_>,
    schema: &MirrorSchema,
    config: &Config,
    run: &str,
    removed: &BTreeSet<String>,
) -> Result<(), LoadError> {
    let name = schema.name.as_str();
    if name != config.database.schema.as_str() {
        return Ok(());
    }
    let is_due = |derive: &&Derive| {
        let mut after = derive.after.iter();
        // Without `after` it runs after every load, whatever has changed.
        (derive.after.is_empty() && !removed.is_empty())
            || after.any(|table| removed.contains(table.as_str()))
    };
    let batch = async |statement: &str| {
        let ran = transaction.batch_execute(statement).await;
        ran.map_err(LoadError::at("derive again what counts people"))
    };
    for derive in config.derives.iter().filter(is_due) {
        batch("SAVEPOINT derived").await?;
        let derived = async {
            set_up(transaction, config, name).await?;
            run_noted(transaction, name, &schema.mappings, run, &derive.sql).await
        };
        let why = match derived.await {
            Ok(false) => {
                batch("RELEASE SAVEPOINT derived").await?;
                continue;
            }
            Ok(true) => "it changes rows whose history is kept".to_owned(),
            Err(error) if error.is_connection_lost() => return Err(error),
            Err(error) => chain(&error),
        };
        batch("ROLLBACK TO SAVEPOINT derived; RELEASE SAVEPOINT derived").await?;
        warn!(derive = %derive.name, "{why}; the next load runs it again");
        derives::record_derive(transaction, name, run, &derive.name, false).await?;
    }
    Ok(())
}
