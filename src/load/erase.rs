//! Erases people from the tables of a mirror, and from what the load ledger keeps of their rows.
//!
//! Statements only; which columns are personal is known from `personal`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tokio_postgres::{Client, Transaction};

use crate::convert::unsigned;
use crate::database::{Literal, Quoted, commit};
use crate::failpoint::Point;
use crate::load::error::LoadError;
use crate::load::ledger::erasures;
use crate::load::loader::Loader;
use crate::load::mapping::{INGESTED_AT, Mapping};
use crate::load::mappings::mappings;
use crate::load::personal::{PersonalColumns, personal_columns};
use crate::load::transaction::begin;
use crate::person::{Anonymised, Erased, PersonHash};
use crate::staging::ErasedAt;

/// A table of the load ledger that copies values of mirrored rows.
struct Copies {
    table: &'static str,
    /// JSON objects of column → value.
    values: &'static [&'static str],
}

/// Where the load ledger holds values of rows, besides keys. A new table of that kind is added here: each needs the columns
/// `schema_name`, `table_name` and `key`. One that the database does not have is passed over.
const COPIES: &[Copies] = &[
    Copies {
        table: "pipeline.change",
        values: &["before", "after"],
    },
    Copies {
        table: "pipeline.history",
        values: &["row"],
    },
];

/// Tables of the load ledger that name rows by their keys alone: nothing of them is personal, and a person sees them.
const KEYS: &[&str] = &["pipeline.quarantine", "pipeline.prune_candidate"];

/// What was found of people in a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FoundRows {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) rows: u64,
    /// Rows with personal values.
    pub(crate) personal: u64,
}

/// The ids in a table that are `erased`.
async fn ids_of(
    client: &Transaction<'_>,
    schema: &str,
    columns: &PersonalColumns,
    erased: &Erased,
) -> Result<BTreeSet<String>, LoadError> {
    let id = Quoted(&columns.id);
    let statement = format!(
        "SELECT DISTINCT t.{id}::text FROM {} AS t WHERE t.{id} IS NOT NULL",
        columns.target(schema)
    );
    let rows = client.query(&statement, &[]).await;
    let rows = rows.map_err(LoadError::at(format!("read {}", columns.table)))?;
    let ids = rows.iter().map(|row| row.get::<_, String>(0));
    Ok(ids.filter(|id| erased.contains(id)).collect())
}

/// Sets the personal values of the erased to null in a schema, wherever they are copied to. The caller commits.
pub(crate) async fn erase(
    transaction: &Transaction<'_>,
    schema: &str,
    columns: &[PersonalColumns],
    erased: &Erased,
) -> Result<Vec<FoundRows>, LoadError> {
    let mut found = Vec::new();
    // Rows that are in a copy may have left their table: a person who is known from any table counts.
    let mut ids = BTreeSet::new();
    for table in columns {
        ids.extend(ids_of(transaction, schema, table, erased).await?);
    }
    let ids: Vec<String> = ids.into_iter().collect();
    for table in columns.iter().filter(|table| !table.personal.is_empty()) {
        // First the copies, which are found by the table's rows as well.
        for copies in COPIES {
            erase_copies(transaction, schema, table, copies, &ids, erased).await?;
        }
        let (target, id) = (table.target(schema), Quoted(&table.id));
        let mut sets: Vec<String> = (table.personal.iter())
            .map(|column| format!("{} = NULL", Quoted(column)))
            .collect();
        if table.is_stamped {
            sets.push(format!("{} = now()", Quoted(INGESTED_AT)));
        }
        let has_some = table.has_some();
        let update = format!(
            "UPDATE {target} AS t SET {} WHERE t.{id}::text = ANY($1) AND {has_some}",
            sets.join(", ")
        );
        let doing = || LoadError::at(format!("erase people from {}", table.table));
        let rows = transaction
            .execute(&update, &[&ids])
            .await
            .map_err(doing())?;
        let left = format!(
            "SELECT count(*) FROM {target} AS t WHERE t.{id}::text = ANY($1) AND {has_some}"
        );
        let left = transaction
            .query_one(&left, &[&ids])
            .await
            .map_err(doing())?;
        let left = unsigned(left.get(0));
        if left > 0 {
            return Err(LoadError::Intercepted {
                table: table.table.to_string(),
                rows: rows + left,
                missing: left,
                doing: "erased",
                interceptors: table.interceptors.clone(),
            });
        }
        if rows > 0 {
            found.push(FoundRows {
                schema: schema.to_owned(),
                table: table.table.to_string(),
                rows,
                personal: rows,
            });
        }
    }
    Ok(found)
}

/// Which copies of rows of a table are of these people, `c` by name: by the id in them, or by the key of a row of theirs.
fn is_copy_of(schema: &str, table: &PersonalColumns, copies: &Copies) -> String {
    let id = Literal(&table.id);
    let held = copies.values.iter().chain(&["key"]);
    let mut is_theirs: Vec<String> = held
        .map(|column| format!("c.{}->>{id} = ANY($1)", Quoted(column)))
        .collect();
    is_theirs.push(format!(
        "c.key IN (SELECT {} FROM {} AS t WHERE t.{}::text = ANY($1))",
        table.key_object(),
        table.target(schema),
        Quoted(&table.id)
    ));
    format!(
        "c.schema_name = {} AND c.table_name = {} AND ({})",
        Literal(schema),
        Literal(table.table.as_str()),
        is_theirs.join(" OR ")
    )
}

async fn erase_copies(
    transaction: &Transaction<'_>,
    schema: &str,
    table: &PersonalColumns,
    copies: &Copies,
    ids: &[String],
    erased: &Erased,
) -> Result<(), LoadError> {
    let doing = || LoadError::at(format!("erase people from {}", copies.table));
    if !exists(transaction, copies.table).await? {
        return Ok(());
    }
    // People whose rows are in no table any more.
    let mut ids: BTreeSet<String> = ids.iter().cloned().collect();
    let held = copies.values.iter().chain(&["key"]);
    for column in held {
        let statement = format!(
            "SELECT DISTINCT c.{}->>{} FROM {} AS c WHERE c.schema_name = $1 AND c.table_name = $2",
            Quoted(column),
            Literal(&table.id),
            copies.table
        );
        let rows = transaction
            .query(&statement, &[&schema, &table.table.as_str()])
            .await
            .map_err(doing())?;
        let found = rows
            .iter()
            .filter_map(|row| row.get::<_, Option<String>>(0));
        ids.extend(found.filter(|id| erased.contains(id)));
    }
    let ids: Vec<String> = ids.into_iter().collect();
    let blank: Vec<String> = (table.personal.iter())
        .map(|column| format!("{}, NULL", Literal(column)))
        .collect();
    for column in copies.values {
        // Only keys that are there: what was not followed stays unknown.
        let column = Quoted(column);
        let update = format!(
            "UPDATE {} AS c SET {column} = c.{column} || (SELECT coalesce(jsonb_object_agg(b.key, b.value), '{{}}') \
             FROM jsonb_each(jsonb_build_object({})) AS b WHERE c.{column} ? b.key) \
             WHERE c.{column} IS NOT NULL AND {}",
            copies.table,
            blank.join(", "),
            is_copy_of(schema, table, copies)
        );
        transaction
            .execute(&update, &[&ids])
            .await
            .map_err(doing())?;
    }
    Ok(())
}

async fn exists(transaction: &Transaction<'_>, table: &str) -> Result<bool, LoadError> {
    let row = transaction
        .query_one("SELECT to_regclass($1) IS NOT NULL", &[&table])
        .await;
    Ok(row.map_err(LoadError::at("read the catalogue"))?.get(0))
}

/// The schemas of the database that loads have filled, and that are there.
pub(crate) async fn schemas(client: &Client) -> Result<Vec<String>, LoadError> {
    let statement = "SELECT s.schema_name FROM pipeline.source AS s JOIN pg_namespace AS n ON n.nspname = s.schema_name ORDER BY 1";
    let rows = client.query_typed(statement, &[]).await;
    let rows = rows.map_err(LoadError::at("read pipeline.source"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// What the database holds of people, by id. Nothing is changed.
pub(crate) async fn find(
    transaction: &Transaction<'_>,
    schema: &str,
    columns: &[PersonalColumns],
    ids: &[String],
) -> Result<Vec<FoundRows>, LoadError> {
    let mut found: BTreeMap<String, FoundRows> = BTreeMap::new();
    let mut add = |table: &str, rows: u64, personal: u64| {
        let entry = found.entry(table.to_owned()).or_insert_with(|| FoundRows {
            schema: schema.to_owned(),
            table: table.to_owned(),
            rows: 0,
            personal: 0,
        });
        entry.rows += rows;
        entry.personal += personal;
    };
    for table in columns {
        let statement = format!(
            "SELECT count(*), count(*) FILTER (WHERE {}) FROM {} AS t WHERE t.{}::text = ANY($1)",
            table.has_some(),
            table.target(schema),
            Quoted(&table.id)
        );
        let row = transaction.query_one(&statement, &[&ids]).await;
        let row = row.map_err(LoadError::at(format!("read {}", table.table)))?;
        add(
            table.table.as_str(),
            unsigned(row.get(0)),
            unsigned(row.get(1)),
        );
        let keys = KEYS.iter().map(|table| Copies { table, values: &[] });
        for copies in COPIES.iter().map(|one| Copies { ..*one }).chain(keys) {
            if !exists(transaction, copies.table).await? {
                continue;
            }
            let statement = format!(
                "SELECT count(*) FROM {} AS c WHERE {}",
                copies.table,
                is_copy_of(schema, table, &copies)
            );
            let row = transaction.query_one(&statement, &[&ids]).await;
            let row = row.map_err(LoadError::at(format!("read {}", copies.table)))?;
            let rows = unsigned(row.get(0));
            add(
                copies.table,
                rows,
                if copies.values.is_empty() { 0 } else { rows },
            );
        }
    }
    Ok(found.into_values().filter(|found| found.rows > 0).collect())
}

/// The rows of a person, as JSON: the table, and the row.
pub(crate) async fn rows_of(
    transaction: &Transaction<'_>,
    schema: &str,
    columns: &[PersonalColumns],
    id: &str,
) -> Result<Vec<(String, serde_json::Value)>, LoadError> {
    let mut all = Vec::new();
    let ids = vec![id.to_owned()];
    for table in columns {
        let statement = format!(
            "SELECT to_jsonb(t) FROM {} AS t WHERE t.{}::text = ANY($1) ORDER BY 1",
            table.target(schema),
            Quoted(&table.id)
        );
        let rows = transaction.query(&statement, &[&ids]).await;
        let rows = rows.map_err(LoadError::at(format!("read {}", table.table)))?;
        all.extend(rows.iter().map(|row| (table.table.to_string(), row.get(0))));
        let keys = KEYS.iter().map(|table| Copies { table, values: &[] });
        for copies in COPIES.iter().map(|one| Copies { ..*one }).chain(keys) {
            if !exists(transaction, copies.table).await? {
                continue;
            }
            let statement = format!(
                "SELECT to_jsonb(c) FROM {} AS c WHERE {} ORDER BY 1",
                copies.table,
                is_copy_of(schema, table, &copies)
            );
            let rows = transaction.query(&statement, &[&ids]).await;
            let rows = rows.map_err(LoadError::at(format!("read {}", copies.table)))?;
            all.extend(rows.iter().map(|row| (copies.table.to_owned(), row.get(0))));
        }
    }
    all.dedup();
    Ok(all)
}

impl Loader<'_> {
    /// Who was erased, as the database knows it.
    pub(crate) async fn erased(&self) -> Result<Vec<(PersonHash, ErasedAt)>, LoadError> {
        erasures::read(&self.database.client).await
    }

    /// The personal columns of each schema that loads have filled.
    async fn personal(&self) -> Result<Vec<(String, Vec<PersonalColumns>)>, LoadError> {
        let own = self.options.schema.as_str();
        let mut all = vec![(own.to_owned(), self.columns_in(own, &self.mappings)?)];
        for schema in schemas(&self.database.client).await? {
            if schema != own {
                let mappings = mappings(self.config, &self.database.client, &schema).await;
                let mappings = mappings.map_err(|error| in_schema(&schema, error))?;
                let columns = self.columns_in(&schema, &mappings)?;
                all.push((schema, columns));
            }
        }
        Ok(all)
    }

    fn columns_in(
        &self,
        schema: &str,
        mappings: &[Mapping],
    ) -> Result<Vec<PersonalColumns>, LoadError> {
        let columns = personal_columns(mappings, &self.config.people);
        columns.map_err(|problems| in_schema(schema, LoadError::Mismatch(problems)))
    }

    /// Erases people from every schema, and records it, in one transaction.
    pub(crate) async fn erase_rows(
        &mut self,
        people: &[(PersonHash, ErasedAt)],
        erased: &Erased,
    ) -> Result<Vec<FoundRows>, LoadError> {
        let schemas = self.personal().await?;
        let transaction = begin(&mut self.database).await?;
        let mut found = Vec::new();
        for (schema, columns) in &schemas {
            found.extend(erase(&transaction, schema, columns, erased).await?);
        }
        erasures::record(&transaction, people).await?;
        let done = commit(
            transaction,
            Point::ErasedRowsCommit,
            Point::ErasedRowsCommitted,
        );
        done.await.map_err(LoadError::at_commit)?;
        Ok(found)
    }

    /// What the database holds of people, by id.
    pub(crate) async fn find_people(
        &mut self,
        ids: &[String],
    ) -> Result<Vec<FoundRows>, LoadError> {
        let schemas = self.personal().await?;
        let transaction = begin(&mut self.database).await?;
        let mut found = Vec::new();
        for (schema, columns) in &schemas {
            found.extend(find(&transaction, schema, columns, ids).await?);
        }
        Ok(found)
    }

    /// Every row of a person, with the schema and the table.
    pub(crate) async fn rows_of(&mut self, id: &str) -> Result<Vec<HeldRow>, LoadError> {
        let schemas = self.personal().await?;
        let transaction = begin(&mut self.database).await?;
        let mut found = Vec::new();
        for (schema, columns) in &schemas {
            let rows = rows_of(&transaction, schema, columns, id).await?;
            found.extend(rows.into_iter().map(|(table, row)| HeldRow {
                schema: schema.clone(),
                table,
                row,
            }));
        }
        Ok(found)
    }

    /// The ids of the people whom the API has anonymised, as this schema knows them.
    pub(crate) async fn anonymised(
        &self,
        anonymised: &Anonymised,
    ) -> Result<Vec<String>, LoadError> {
        let columns = self.columns_in(self.options.schema.as_str(), &self.mappings)?;
        let mut columns = columns.into_iter();
        let Some(table) = columns.find(|columns| columns.table == anonymised.table) else {
            return Err(LoadError::Mismatch(vec![format!(
                "[person], anonymised: {} has no column with a person's id",
                anonymised.table
            )]));
        };
        let statement = format!(
            "SELECT DISTINCT t.{}::text FROM {} AS t WHERE starts_with(t.{}::text, $1) ORDER BY 1",
            Quoted(&table.id),
            table.target(self.options.schema.as_str()),
            Quoted(&anonymised.column)
        );
        let rows = self
            .database
            .client
            .query(&statement, &[&anonymised.prefix])
            .await;
        let rows = rows.map_err(LoadError::at(format!("read {}", anonymised.table)))?;
        Ok(rows.iter().filter_map(|row| row.get(0)).collect())
    }
}

/// A row that the database holds of a person.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct HeldRow {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) row: serde_json::Value,
}

fn in_schema(schema: &str, error: LoadError) -> LoadError {
    match error {
        LoadError::Mismatch(problems) => LoadError::Mismatch(
            problems
                .into_iter()
                .map(|problem| format!("schema {schema}: {problem}"))
                .collect(),
        ),
        error => error,
    }
}
