//! Where the load ledger copies values of mirrored rows, and how people leave the copies.

use std::collections::BTreeSet;

use tokio_postgres::Transaction;

use super::mirror_schema::MirrorSchema;
use crate::database::{Literal, Quoted};
use crate::load::error::LoadError;
use crate::load::mapping::Mapping;
use crate::load::personal::PersonalColumns;
use crate::person::{Erased, Extent};

/// A table of the load ledger that copies values of mirrored rows.
pub(super) struct Copies {
    pub(super) table: &'static str,
    /// JSON objects of column → value; none of a table that names rows by their keys alone: nothing of it is personal, and a
    /// person sees it.
    pub(super) values: &'static [&'static str],
    /// Its lines are numbered without gaps, and readers follow them: none is removed.
    pub(super) is_log: bool,
}

/// Where the load ledger holds values or keys of rows. A new table of that kind is added here: each needs the columns
/// `schema_name`, `table_name` and `key`. One that the database does not have is passed over.
pub(super) const COPIES: &[Copies] = &[
    Copies {
        table: "pipeline.change",
        values: &["before", "after"],
        is_log: true,
    },
    Copies {
        table: "pipeline.history",
        values: &["row"],
        is_log: false,
    },
    Copies {
        table: "pipeline.quarantine",
        values: &[],
        is_log: false,
    },
    Copies {
        table: "pipeline.prune_candidate",
        values: &[],
        is_log: false,
    },
];

impl Copies {
    /// What has columns by name.
    fn objects(&self) -> impl Iterator<Item = &'static str> {
        self.values.iter().copied().chain(["key"])
    }
}

/// Which copies of rows of a table are of these people, `c` by name: by the id in them, or by the key of a row of theirs.
fn is_copy_of(schema: &str, table: &PersonalColumns, copies: &Copies) -> String {
    let id = Literal(&table.id);
    let mut is_theirs: Vec<String> = (copies.objects())
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

/// Which copies of rows of any other table may be of these people: nobody knows their columns any more, so any value that is the id
/// of one of them counts.
fn may_be_copy(schema: &str, tables: &str, copies: &Copies) -> String {
    let has_one: Vec<String> = (copies.objects())
        .map(|column| {
            let column = Quoted(column);
            format!(
                "EXISTS (SELECT FROM jsonb_each_text(CASE jsonb_typeof(c.{column}) WHEN 'object' THEN c.{column} END) AS v \
                 WHERE v.value = ANY($1))"
            )
        })
        .collect();
    format!(
        "c.schema_name = {} AND NOT c.table_name = ANY ({tables}) AND ({})",
        Literal(schema),
        has_one.join(" OR ")
    )
}

/// The tables of the configuration; an array.
fn known_tables(mappings: &[Mapping]) -> String {
    let names = mappings.iter().map(|mapping| mapping.table.name.as_str());
    let names: Vec<String> = names.map(|name| Literal(name).to_string()).collect();
    format!("ARRAY[{}]::text[]", names.join(", "))
}

/// Blanks all copies of rows of the erased: `ids` are those that the schema's tables hold.
pub(super) async fn erase_copies(
    transaction: &Transaction<'_>,
    schema: &MirrorSchema,
    ids: &[String],
    erased: &Erased,
) -> Result<(), LoadError> {
    let (name, columns) = (schema.name.as_str(), &schema.columns);
    let known = known_tables(&schema.mappings);
    for copies in COPIES.iter().filter(|copies| !copies.values.is_empty()) {
        if !exists(transaction, copies.table).await? {
            continue;
        }
        for table in columns.iter().filter(|table| !table.personal.is_empty()) {
            erase_known(transaction, name, table, copies, ids, erased).await?;
        }
        erase_unknown(transaction, name, &known, copies, erased).await?;
    }
    Ok(())
}

/// Blanks what is personal in copies of rows of a table: also columns that it does not have any more.
async fn erase_known(
    transaction: &Transaction<'_>,
    schema: &str,
    table: &PersonalColumns,
    copies: &Copies,
    ids: &[String],
    erased: &Erased,
) -> Result<(), LoadError> {
    let is_meant = |id: &str| erased.contains(id);
    let ids = with_departed(transaction, schema, table, copies, ids, &is_meant);
    let kept: Vec<&str> = table.kept().collect();
    let is_theirs = is_copy_of(schema, table, copies);
    blank(transaction, copies, &is_theirs, &kept, ids.await?).await
}

/// Removes copies of own rows of people, of which the table still has those that are there, and blanks what is numbered, but for the key.
/// Of other rows the id becomes null as well.
pub(super) async fn drop_known(
    transaction: &Transaction<'_>,
    schema: &str,
    table: &PersonalColumns,
    copies: &Copies,
    ids: &[String],
    erased: &Erased,
) -> Result<(), LoadError> {
    let is_meant = |id: &str| erased.extent(id) == Some(Extent::Records);
    let ids = with_departed(transaction, schema, table, copies, ids, &is_meant).await?;
    let is_theirs = is_copy_of(schema, table, copies);
    if !table.is_own {
        let kept = table.kept_without_id();
        // Other versions of the row, or the other side of a change, may name somebody else.
        for column in copies.values {
            let one = Copies {
                table: copies.table,
                values: std::slice::from_ref(column),
                is_log: copies.is_log,
            };
            let names_one = format!(
                "{is_theirs} AND (c.{column}->>{id} = ANY($1) OR NOT c.{column} ? {id})",
                column = Quoted(column),
                id = Literal(&table.id)
            );
            blank(transaction, &one, &names_one, &kept, ids.clone()).await?;
        }
        return Ok(());
    }
    remove(transaction, copies, &is_theirs, ids).await
}

/// Removes the copies that are meant, or blanks them, if they are numbered.
pub(super) async fn remove(
    transaction: &Transaction<'_>,
    copies: &Copies,
    are_meant: &str,
    ids: BTreeSet<String>,
) -> Result<(), LoadError> {
    if copies.is_log {
        return blank(transaction, copies, are_meant, &[], ids).await;
    }
    let ids: Vec<String> = ids.into_iter().collect();
    let delete = format!("DELETE FROM {} AS c WHERE {are_meant}", copies.table);
    let deleted = transaction.execute(&delete, &[&ids]).await;
    deleted.map_err(LoadError::at(format!("erase people from {}", copies.table)))?;
    Ok(())
}

/// These people, and those who are meant and whose rows are in no table any more.
async fn with_departed(
    transaction: &Transaction<'_>,
    schema: &str,
    table: &PersonalColumns,
    copies: &Copies,
    ids: &[String],
    is_meant: &(dyn Fn(&str) -> bool + Sync),
) -> Result<BTreeSet<String>, LoadError> {
    let mut ids: BTreeSet<String> = ids.iter().cloned().collect();
    for column in copies.objects() {
        let statement = format!(
            "SELECT DISTINCT c.{}->>{} FROM {} AS c WHERE c.schema_name = {} AND c.table_name = {}",
            Quoted(column),
            Literal(&table.id),
            copies.table,
            Literal(schema),
            Literal(table.table.as_str())
        );
        ids.extend(ids_in(transaction, &statement, copies, is_meant).await?);
    }
    Ok(ids)
}

/// Blanks copies of rows of tables that the configuration does not have any more.
async fn erase_unknown(
    transaction: &Transaction<'_>,
    schema: &str,
    known: &str,
    copies: &Copies,
    erased: &Erased,
) -> Result<(), LoadError> {
    let mut ids = BTreeSet::new();
    for column in copies.objects() {
        let column = Quoted(column);
        let statement = format!(
            "SELECT DISTINCT v.value FROM {} AS c CROSS JOIN LATERAL \
             jsonb_each_text(CASE jsonb_typeof(c.{column}) WHEN 'object' THEN c.{column} END) AS v \
             WHERE c.schema_name = {} AND NOT c.table_name = ANY ({known})",
            copies.table,
            Literal(schema),
        );
        let is_meant = |id: &str| erased.contains(id);
        ids.extend(ids_in(transaction, &statement, copies, &is_meant).await?);
    }
    let may_be = may_be_copy(schema, known, copies);
    blank(transaction, copies, &may_be, &[], ids).await
}

/// The ids among the texts of a query that are meant.
async fn ids_in(
    transaction: &Transaction<'_>,
    statement: &str,
    copies: &Copies,
    is_meant: &(dyn Fn(&str) -> bool + Sync),
) -> Result<Vec<String>, LoadError> {
    let rows = transaction.query(statement, &[]).await;
    let rows = rows.map_err(LoadError::at(format!(
        "look for people in {}",
        copies.table
    )))?;
    let found = rows
        .iter()
        .filter_map(|row| row.get::<_, Option<String>>(0));
    Ok(found.filter(|id| is_meant(id)).collect())
}

/// Sets every value to null but those of the key and of the `kept` columns, in the copies that are meant.
pub(super) async fn blank(
    transaction: &Transaction<'_>,
    copies: &Copies,
    are_meant: &str,
    kept: &[&str],
    ids: BTreeSet<String>,
) -> Result<(), LoadError> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = ids.into_iter().collect();
    for column in copies.values {
        let column = Quoted(column);
        let update = format!(
            "UPDATE {} AS c SET {column} = (SELECT jsonb_object_agg(v.key, CASE WHEN v.key = ANY ($2) OR c.key ? v.key THEN v.value \
             ELSE 'null' END) FROM jsonb_each(c.{column}) AS v) WHERE c.{column} <> '{{}}' AND jsonb_typeof(c.{column}) = 'object' \
             AND {are_meant}",
            copies.table
        );
        let blanked = transaction.execute(&update, &[&ids, &kept]).await;
        blanked.map_err(LoadError::at(format!("erase people from {}", copies.table)))?;
    }
    Ok(())
}

/// Which copies are of a person, and of which table of the ledger they are: those of each table with people, and those of tables
/// that the configuration does not have any more. Expressions over `c`, with the ids as the only parameter.
pub(super) async fn places(
    transaction: &Transaction<'_>,
    schema: &MirrorSchema,
) -> Result<Vec<(&'static Copies, String)>, LoadError> {
    let mut places = Vec::new();
    let known = known_tables(&schema.mappings);
    for copies in COPIES {
        if !exists(transaction, copies.table).await? {
            continue;
        }
        let of_table = |table| (copies, is_copy_of(&schema.name, table, copies));
        places.extend(schema.columns.iter().map(of_table));
        places.push((copies, may_be_copy(&schema.name, &known, copies)));
    }
    Ok(places)
}

pub(super) async fn exists(transaction: &Transaction<'_>, table: &str) -> Result<bool, LoadError> {
    let row = transaction
        .query_one("SELECT to_regclass($1) IS NOT NULL", &[&table])
        .await;
    Ok(row.map_err(LoadError::at("read the catalogue"))?.get(0))
}
