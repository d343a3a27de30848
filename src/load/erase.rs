//! Erases people from the tables of a mirror, and from what the load ledger keeps of their rows.
//!
//! Statements only; which columns are personal is known from `personal`.

mod copies;
mod derived;
mod mirror_schema;
mod removal;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tokio_postgres::{Client, Transaction};

use crate::config::Config;
use crate::convert::unsigned;
use crate::database::{Literal, Quoted, commit};
use crate::failpoint::Point;
use crate::load::error::LoadError;
use crate::load::ledger::erasures;
use crate::load::ledger::exports::{self, Export};
use crate::load::ledger::row_changes::{self, Feed};
use crate::load::mapping::{INGESTED_AT, Mapping};
use crate::load::mappings::mappings;
use crate::load::personal::{PersonalColumns, drop_problems, personal_columns};
use crate::load::replay::scratch::is_passing;
use crate::load::schema_loader::SchemaLoader;
use crate::load::sql::note_changes::Doer;
use crate::load::sql::statements::Statements;
use crate::load::transaction::begin;
use crate::person::{Anonymised, Erased, Extent, People, PersonHash};
use crate::staging::{ErasedAt, RemovedRecord};
use copies::{erase_copies, places};
use mirror_schema::MirrorSchema;
use removal::Removal;

/// What was found of people in a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FoundRows {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) rows: u64,
    /// Rows with personal values.
    pub(crate) personal: u64,
}

/// The ids in a table that are `erased`, with how far.
async fn ids_of(
    client: &Transaction<'_>,
    schema: &str,
    columns: &PersonalColumns,
    erased: &Erased,
) -> Result<BTreeMap<String, Extent>, LoadError> {
    let id = Quoted(&columns.id);
    let statement = format!(
        "SELECT DISTINCT t.{id}::text FROM {} AS t WHERE t.{id} IS NOT NULL",
        columns.target(schema)
    );
    let rows = client.query(&statement, &[]).await;
    let rows = rows.map_err(LoadError::at(format!("read {}", columns.table)))?;
    let extent = |id: String| erased.extent(&id).map(|extent| (id, extent));
    Ok(rows.iter().filter_map(|row| extent(row.get(0))).collect())
}

/// Sets the personal values of the erased to null in a schema, wherever they are copied to, and writes down what that changes in
/// followed tables, as a load does: who reads the changes learns of it. The caller commits.
async fn erase(
    transaction: &Transaction<'_>,
    schema: &MirrorSchema,
    config: &Config,
    run: &str,
    erased: &Erased,
) -> Result<Vec<FoundRows>, LoadError> {
    let people: &People = &config.people;
    let (name, columns) = (schema.name.as_str(), &schema.columns);
    let mut found = Vec::new();
    // Rows that are in a copy may have left their table: a person who is known from any table counts.
    let mut ids = BTreeMap::new();
    for table in columns {
        ids.extend(ids_of(transaction, name, table, erased).await?);
    }
    if erased.removes() {
        // Derived rows can outlive those that they were made of.
        let known = derived::ids(transaction, name, people).await?.into_iter();
        ids.extend(known.filter_map(|id| erased.extent(&id).map(|extent| (id, extent))));
    }
    let of = |extent| -> Vec<String> {
        let ids = ids.iter().filter(|(_, far)| **far == extent);
        ids.map(|(id, _)| id.clone()).collect()
    };
    let (ids, dropped) = (of(Extent::Values), of(Extent::Records));
    let mut feed = Feed::begin(transaction, name, &schema.mappings).await?;
    feed.is_erasure = true;
    let mut noted = BTreeSet::new();
    for table in columns.iter().filter(|table| !table.personal.is_empty()) {
        if let Some(mapping) = schema.followed(table) {
            let statements = Statements::new(mapping, name);
            let doer = Doer {
                run,
                resource: None,
                has_places: false,
            };
            let note = statements.note_where(&has_values_of(table, &ids), doer);
            row_changes::note(transaction, &statements, note, None).await?;
            noted.insert(statements.drop_noted());
        }
        let rows = erase_rows_of(transaction, name, table, &ids).await?;
        if rows > 0 {
            found.push(FoundRows {
                schema: name.to_owned(),
                table: table.table.to_string(),
                rows,
                personal: rows,
            });
        }
    }
    let mut removal = Removal::new(transaction, schema, people, run, dropped);
    if erased.removes() {
        found.extend(removal.rows(erased).await?);
        noted.append(&mut removal.noted);
        // What counts them would count them until the next load.
        let mut removed: BTreeSet<String> = found.iter().map(|rows| rows.table.clone()).collect();
        removed.append(&mut removal.emptied);
        derived::derive(transaction, schema, config, run, &removed).await?;
        noted.extend(schema.drop_noted());
    }
    feed.finish(transaction, name, &schema.mappings, run)
        .await?;
    // The next schema is erased in the same transaction.
    for drop in &noted {
        let dropped = transaction.batch_execute(drop).await;
        dropped.map_err(LoadError::at("drop what was noted"))?;
    }
    // Last, because what was just written has the values from before.
    removal.blank_changes().await?;
    erase_copies(transaction, schema, &ids, erased).await?;
    Ok(found)
}

/// Whether a row `t` has a personal value of one of these people; an expression.
fn has_values_of(table: &PersonalColumns, ids: &[String]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| Literal(id).to_string()).collect();
    format!(
        "t.{}::text = ANY (ARRAY[{}]::text[]) AND {}",
        Quoted(&table.id),
        ids.join(", "),
        table.has_some()
    )
}

/// Sets the personal values of these people to null in a table; the number of rows that had some.
async fn erase_rows_of(
    transaction: &Transaction<'_>,
    schema: &str,
    table: &PersonalColumns,
    ids: &[String],
) -> Result<u64, LoadError> {
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
    let rows = transaction.execute(&update, &[&ids]).await;
    let rows = rows.map_err(doing())?;
    let left =
        format!("SELECT count(*) FROM {target} AS t WHERE t.{id}::text = ANY($1) AND {has_some}");
    let left = transaction.query_one(&left, &[&ids]).await;
    let left = unsigned(left.map_err(doing())?.get(0));
    if left > 0 {
        return Err(LoadError::Intercepted {
            table: table.table.to_string(),
            rows: rows + left,
            missing: left,
            doing: "erased",
            interceptors: table.interceptors.clone(),
        });
    }
    Ok(rows)
}

/// Takes out of quarantine what was rejected of records that are removed: it will never be loaded.
async fn forget_rejected(
    transaction: &Transaction<'_>,
    schema: &str,
    removed: &[RemovedRecord],
) -> Result<(), LoadError> {
    if removed.is_empty() {
        return Ok(());
    }
    let records = serde_json::to_value(removed).unwrap_or_default();
    let delete = "DELETE FROM pipeline.quarantine AS q USING jsonb_to_recordset($2) AS r (run text, file text, record bigint) \
        WHERE q.schema_name = $1 AND q.run_id = r.run AND q.file = r.file AND q.record_index = r.record";
    let deleted = transaction.execute(delete, &[&schema, &records]).await;
    deleted.map_err(LoadError::at("settle pipeline.quarantine"))?;
    Ok(())
}

/// The schemas of the database that loads have filled, and that are there.
pub(crate) async fn schemas(client: &Client) -> Result<Vec<String>, LoadError> {
    let statement = "SELECT s.schema_name FROM pipeline.source AS s JOIN pg_namespace AS n ON n.nspname = s.schema_name ORDER BY 1";
    let rows = client.query_typed(statement, &[]).await;
    let rows = rows.map_err(LoadError::at("read pipeline.source"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// What a schema holds of people, by id. Nothing is changed.
async fn find(
    transaction: &Transaction<'_>,
    schema: &MirrorSchema,
    people: &People,
    (ids, extent): (&[String], Extent),
) -> Result<Vec<FoundRows>, LoadError> {
    let mut found: BTreeMap<String, FoundRows> = BTreeMap::new();
    let mut add = |table: &str, rows: u64, personal: u64| {
        let entry = found.entry(table.to_owned()).or_insert_with(|| FoundRows {
            schema: schema.name.clone(),
            table: table.to_owned(),
            rows: 0,
            personal: 0,
        });
        entry.rows += rows;
        entry.personal += personal;
    };
    for table in &schema.columns {
        let statement = format!(
            "SELECT count(*), count(*) FILTER (WHERE {}) FROM {} AS t WHERE t.{}::text = ANY($1)",
            table.has_some(),
            table.target(&schema.name),
            Quoted(&table.id)
        );
        let row = transaction.query_one(&statement, &[&ids]).await;
        let row = row.map_err(LoadError::at(format!("read {}", table.table)))?;
        let (rows, personal) = (unsigned(row.get(0)), unsigned(row.get(1)));
        add(table.table.as_str(), rows, personal);
    }
    if extent == Extent::Records {
        for (table, rows) in removal::find_emptied(transaction, schema, people, ids).await? {
            add(&table, rows, 0);
        }
    }
    for derived in derived::find(transaction, &schema.name, people, ids).await? {
        add(&derived.table, derived.rows, derived.personal);
    }
    for (copies, are_theirs) in places(transaction, schema).await? {
        let statement = format!(
            "SELECT count(*) FROM {} AS c WHERE {are_theirs}",
            copies.table
        );
        let row = transaction.query_one(&statement, &[&ids]).await;
        let row = row.map_err(LoadError::at(format!("read {}", copies.table)))?;
        let rows = unsigned(row.get(0));
        let personal = if copies.values.is_empty() { 0 } else { rows };
        add(copies.table, rows, personal);
    }
    Ok(found.into_values().filter(|found| found.rows > 0).collect())
}

/// The rows of a person, as JSON: the table, and the row. What is left in the changes of rows that were removed is no row.
async fn rows_of(
    transaction: &Transaction<'_>,
    schema: &MirrorSchema,
    people: &People,
    id: &str,
    is_removed: bool,
) -> Result<Vec<(String, serde_json::Value)>, LoadError> {
    let mut questions = Vec::new();
    for table in &schema.columns {
        let statement = format!(
            "SELECT to_jsonb(t) FROM {} AS t WHERE t.{}::text = ANY($1) ORDER BY 1",
            table.target(&schema.name),
            Quoted(&table.id)
        );
        questions.push((table.table.as_str(), statement));
    }
    questions.extend(derived::questions(transaction, &schema.name, people).await?);
    let places = places(transaction, schema).await?.into_iter();
    for (copies, are_theirs) in places.filter(|(copies, _)| !(is_removed && copies.is_log)) {
        let statement = format!(
            "SELECT to_jsonb(c) FROM {} AS c WHERE {are_theirs} ORDER BY 1",
            copies.table
        );
        questions.push((copies.table, statement));
    }
    let (mut all, ids) = (Vec::new(), vec![id.to_owned()]);
    for (table, statement) in questions {
        let rows = transaction.query(&statement, &[&ids]).await;
        let rows = rows.map_err(LoadError::at(format!("read {table}")))?;
        all.extend(rows.iter().map(|row| (table.to_owned(), row.get(0))));
    }
    all.dedup();
    Ok(all)
}

impl SchemaLoader<'_> {
    /// Who was erased, as the database knows it.
    pub(crate) async fn erased(&self) -> Result<Vec<(PersonHash, ErasedAt)>, LoadError> {
        erasures::read(&self.database.client).await
    }

    /// Each schema that loads have filled, with its personal columns.
    async fn personal(&self) -> Result<Vec<MirrorSchema>, LoadError> {
        let own = self.options.schema.as_str();
        let mut all = vec![MirrorSchema {
            name: own.to_owned(),
            mappings: self.mappings.clone(),
            columns: self.columns_in(own, &self.mappings)?,
        }];
        let client = &self.database.client;
        for name in schemas(client).await? {
            if name == own {
                continue;
            }
            let mappings = mappings(self.config, client, &name).await;
            let mut mappings = mappings.map_err(|error| in_schema(&name, error))?;
            if is_passing(client, &name).await? {
                for mapping in &mut mappings {
                    mapping.followed = None;
                }
            }
            let columns = self.columns_in(&name, &mappings)?;
            all.push(MirrorSchema {
                name,
                mappings,
                columns,
            });
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

    /// Refuses to remove rows of people where it would leave a row that cannot be.
    pub(crate) async fn refuse_removal(&self) -> Result<(), LoadError> {
        for schema in self.personal().await? {
            let people = &self.config.people;
            let problems = drop_problems(&schema.mappings, people, &schema.columns);
            if !problems.is_empty() {
                return Err(in_schema(&schema.name, LoadError::Mismatch(problems)));
            }
        }
        Ok(())
    }

    /// Removes the rows of people, and takes it back: a row that cannot be removed refuses it before anything is recorded.
    pub(crate) async fn try_removal(&mut self, ids: &[String]) -> Result<(), LoadError> {
        let erased = ids
            .iter()
            .map(|id| (PersonHash::of("", id), Extent::Records));
        let erased: Erased = erased.collect();
        let schemas = self.personal().await?;
        let transaction = begin(&mut self.database).await?;
        for schema in &schemas {
            erase(&transaction, schema, self.config, "erasure-", &erased).await?;
        }
        let undone = transaction.rollback().await;
        undone.map_err(LoadError::at("roll back"))
    }

    /// Erases people from every schema, and records it, in one transaction, in the name of an erasure. Of the `removed` records nothing
    /// waits in quarantine any more.
    pub(crate) async fn erase_rows(
        &mut self,
        people: &[(PersonHash, ErasedAt)],
        erased: &Erased,
        erasure: &str,
        removed: &[RemovedRecord],
    ) -> Result<Vec<FoundRows>, LoadError> {
        // What loads into other schemas have read is not there yet, and what they read next is refused.
        erasures::lock(&self.database).await?;
        let schemas = self.personal().await?;
        let transaction = begin(&mut self.database).await?;
        let run = format!("erasure-{erasure}");
        let mut found = Vec::new();
        for schema in &schemas {
            found.extend(erase(&transaction, schema, self.config, &run, erased).await?);
            forget_rejected(&transaction, &schema.name, removed).await?;
        }
        erasures::record(&transaction, people).await?;
        let done = commit(
            transaction,
            Point::ErasedRowsCommit,
            Point::ErasedRowsCommitted,
        );
        done.await.map_err(LoadError::at_commit)?;
        erasures::unlock(&self.database).await?;
        Ok(found)
    }

    /// The exports that hold personal columns: a person may be in each of them.
    pub(crate) async fn exports(&self) -> Result<Vec<Export>, LoadError> {
        let schemas = self.personal().await?;
        let mut found = Vec::new();
        for export in exports::read(&self.database.client).await? {
            let schema = schemas.iter().find(|schema| schema.name == export.schema);
            if schema.is_none_or(|schema| schema.may_be_in(&export)) {
                found.push(export);
            }
        }
        Ok(found)
    }

    /// What the database holds of people, by id, and what would be left without anybody if they are removed.
    pub(crate) async fn find_people(
        &mut self,
        ids: &[String],
        extent: Extent,
    ) -> Result<Vec<FoundRows>, LoadError> {
        let schemas = self.personal().await?;
        let transaction = begin(&mut self.database).await?;
        let mut found = Vec::new();
        for schema in &schemas {
            found.extend(find(&transaction, schema, &self.config.people, (ids, extent)).await?);
        }
        Ok(found)
    }

    /// Every row of a person, with the schema and the table.
    pub(crate) async fn rows_of(
        &mut self,
        id: &str,
        is_removed: bool,
    ) -> Result<Vec<HeldRow>, LoadError> {
        let schemas = self.personal().await?;
        let transaction = begin(&mut self.database).await?;
        let mut found = Vec::new();
        for schema in &schemas {
            let rows = rows_of(&transaction, schema, &self.config.people, id, is_removed).await?;
            found.extend(rows.into_iter().map(|(table, row)| HeldRow {
                schema: schema.name.clone(),
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
