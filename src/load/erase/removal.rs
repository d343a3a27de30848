//! Removes the rows of people from a schema, and their ids from rows that are not their own.

use std::collections::BTreeSet;

use tokio_postgres::Transaction;

use super::copies::{COPIES, Copies, blank, drop_known, exists, remove};
use super::mirror_schema::MirrorSchema;
use super::{FoundRows, derived};
use crate::convert::unsigned;
use crate::database::{Literal, Quoted};
use crate::load::error::LoadError;
use crate::load::ledger::row_changes;
use crate::load::mapping::{INGESTED_AT, Mapping};
use crate::load::merge::prune::delete_listed;
use crate::load::personal::PersonalColumns;
use crate::load::sql::note_changes::Doer;
use crate::load::sql::statements::Statements;
use crate::person::{Erased, People};

/// Why the rows are deleted.
const REASON: &str = "its person was erased";
/// Why what is left without anybody is deleted.
const EMPTIED: &str = "its people were erased";

/// Of one erasure in a schema.
pub(super) struct Removal<'r> {
    pub(super) transaction: &'r Transaction<'r>,
    pub(super) schema: &'r MirrorSchema,
    pub(super) people: &'r People,
    pub(super) run: &'r str,
    pub(super) ids: Vec<String>,
    /// Statements that drop what was noted.
    pub(super) noted: BTreeSet<String>,
    /// Tables of which rows were deleted that were left without anybody.
    pub(super) emptied: BTreeSet<String>,
    /// Rows that stay without the id: the table, and their keys.
    unnamed: Vec<(PersonalColumns, Vec<String>)>,
}

impl<'r> Removal<'r> {
    pub(super) fn new(
        transaction: &'r Transaction<'r>,
        schema: &'r MirrorSchema,
        people: &'r People,
        run: &'r str,
        ids: Vec<String>,
    ) -> Self {
        Self {
            transaction,
            schema,
            people,
            run,
            ids,
            noted: BTreeSet::new(),
            emptied: BTreeSet::new(),
            unnamed: Vec::new(),
        }
    }

    /// Removes their rows from the copies first, which are found by them, then the rows themselves, last table first.
    pub(super) async fn rows(&mut self, erased: &Erased) -> Result<Vec<FoundRows>, LoadError> {
        let (transaction, schema) = (self.transaction, self.schema);
        for copies in COPIES {
            if !exists(transaction, copies.table).await? {
                continue;
            }
            for table in &schema.columns {
                drop_known(transaction, &schema.name, table, copies, &self.ids, erased).await?;
            }
        }
        let mut found = Vec::new();
        for table in schema.columns.iter().rev() {
            let Some(mapping) = schema.mapping(table) else {
                continue;
            };
            let rows = if table.is_own {
                self.delete(table, mapping).await?
            } else {
                self.unname(table, mapping).await?
            };
            if rows > 0 {
                found.push(FoundRows {
                    schema: schema.name.clone(),
                    table: table.table.to_string(),
                    rows,
                    personal: rows,
                });
            }
        }
        let derived = derived::delete(transaction, &schema.name, self.people, &self.ids).await?;
        found.extend(derived);
        Ok(found)
    }

    fn doer(&self) -> Doer<'r> {
        Doer {
            run: self.run,
            resource: None,
            has_places: false,
        }
    }

    async fn delete(
        &mut self,
        table: &PersonalColumns,
        mapping: &Mapping,
    ) -> Result<u64, LoadError> {
        let statements = Statements::new(mapping, &self.schema.name);
        let theirs = format!("t.{}::text = ANY ($1)", Quoted(&table.id));
        let mut left = Vec::new();
        let parent = parent(self.schema, self.people, mapping);
        if let Some((column, ..)) = parent {
            let ask = format!(
                "SELECT DISTINCT t.{}::text FROM {} AS t WHERE {theirs} AND t.{0} IS NOT NULL",
                Quoted(column),
                statements.target
            );
            let rows = self.transaction.query(&ask, &[&self.ids]).await;
            let rows = rows.map_err(failed(mapping))?;
            left.extend(rows.iter().map(|row| row.get::<_, String>(0)));
        }
        let rows = self
            .delete_where(mapping, &statements, REASON, &theirs, &self.ids)
            .await?;
        self.noted.insert(statements.drop_noted());
        if let Some((column, target, parent)) = parent
            && !left.is_empty()
        {
            self.delete_emptied((column, target), mapping, parent, &left)
                .await?;
        }
        Ok(rows)
    }

    /// Deletes those rows of the parent that are left without any row of the child.
    async fn delete_emptied(
        &mut self,
        (column, target): (&str, &str),
        child: &Mapping,
        parent: &Mapping,
        left: &Vec<String>,
    ) -> Result<(), LoadError> {
        let statements = Statements::new(parent, &self.schema.name);
        let target = Quoted(target);
        let are_emptied = format!(
            "t.{target}::text = ANY ($1) AND NOT EXISTS (SELECT FROM {} AS c WHERE c.{} = t.{target}) AND {}",
            Statements::new(child, &self.schema.name).target,
            Quoted(column),
            is_awaited_by_none(&self.schema.name, child, &target)
        );
        let key = parent.key_object("t");
        let ask = format!(
            "SELECT ({key})::text FROM {} AS t WHERE {are_emptied}",
            statements.target
        );
        let rows = self.transaction.query(&ask, &[left]).await;
        let rows = rows.map_err(failed(parent))?;
        let keys: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
        let deleted = self.delete_where(parent, &statements, EMPTIED, &are_emptied, left);
        if deleted.await? > 0 {
            self.emptied.insert(parent.table.name.to_string());
        }
        self.noted.insert(statements.drop_noted());
        let are_deleted = format!(
            "{} AND c.key::text = ANY ($1) AND NOT EXISTS (SELECT FROM {} AS t WHERE {key} = c.key)",
            self.copies_of(parent.table.name.as_str()),
            statements.target
        );
        for copies in COPIES {
            if exists(self.transaction, copies.table).await? {
                remove(self.transaction, copies, &are_deleted, keys.clone()).await?;
            }
        }
        Ok(())
    }

    async fn delete_where(
        &self,
        mapping: &Mapping,
        statements: &Statements<'_>,
        reason: &str,
        condition: &str,
        values: &Vec<String>,
    ) -> Result<u64, LoadError> {
        let collect = statements.collect_where(reason, condition);
        let doer = self.doer();
        let done = delete_listed(self.transaction, statements, &collect, &[values], doer).await;
        let done = done.map_err(failed(mapping))?;
        if done.referred > 0 && reason == REASON {
            return Err(LoadError::Mismatch(vec![format!(
                "rows of other tables refer to rows of {} that are a person's own",
                mapping.table.name
            )]));
        }
        mapping.check_arrived(done.deletable, done.deleted, "erased")?;
        Ok(done.deleted)
    }

    /// Sets their ids and personal values to null in rows that are not their own.
    async fn unname(
        &mut self,
        table: &PersonalColumns,
        mapping: &Mapping,
    ) -> Result<u64, LoadError> {
        let statements = Statements::new(mapping, &self.schema.name);
        let id = Quoted(&table.id);
        if statements.is_followed() {
            let ids: Vec<String> = self.ids.iter().map(|id| Literal(id).to_string()).collect();
            let theirs = format!("t.{id}::text = ANY (ARRAY[{}]::text[])", ids.join(", "));
            let note = statements.note_where(&theirs, self.doer());
            row_changes::note(self.transaction, &statements, note, None).await?;
            self.noted.insert(statements.drop_noted());
        }
        let erased = table.personal.iter().chain([&table.id]);
        let mut sets: Vec<String> = erased
            .map(|column| format!("{} = NULL", Quoted(column)))
            .collect();
        if table.is_stamped {
            sets.push(format!("{} = now()", Quoted(INGESTED_AT)));
        }
        let theirs = format!("t.{id}::text = ANY ($1)");
        let update = format!(
            "UPDATE {} AS t SET {} WHERE {theirs} RETURNING ({})::text",
            statements.target,
            sets.join(", "),
            table.key_object()
        );
        let rows = self.transaction.query(&update, &[&self.ids]).await;
        let rows = rows.map_err(failed(mapping))?;
        let left = format!(
            "SELECT count(*) FROM {} AS t WHERE {theirs}",
            statements.target
        );
        let left = self.transaction.query_one(&left, &[&self.ids]).await;
        let left = unsigned(left.map_err(failed(mapping))?.get(0));
        let count = rows.len() as u64;
        mapping.check_arrived(count + left, count, "erased")?;
        let keys = rows.iter().map(|row| row.get(0)).collect();
        self.unnamed.push((table.clone(), keys));
        Ok(count)
    }

    /// Blanks what was just written of them into the changes: the values from before.
    pub(super) async fn blank_changes(&self) -> Result<(), LoadError> {
        let run = format!("c.run_id = {}", Literal(self.run));
        for copies in COPIES.iter().filter(|copies| copies.is_log) {
            if !exists(self.transaction, copies.table).await? {
                continue;
            }
            let deletes = format!(
                "c.schema_name = {} AND {run} AND c.op = 'd' AND $1::text[] IS NOT NULL",
                Literal(&self.schema.name)
            );
            self.blank(copies, &deletes, &[], &self.ids).await?;
            for (table, keys) in &self.unnamed {
                let theirs = format!(
                    "{} AND {run} AND c.key::text = ANY ($1)",
                    self.copies_of(table.table.as_str())
                );
                self.blank(copies, &theirs, &table.kept_without_id(), keys)
                    .await?;
            }
        }
        Ok(())
    }

    async fn blank(
        &self,
        copies: &Copies,
        are_meant: &str,
        kept: &[&str],
        values: &[String],
    ) -> Result<(), LoadError> {
        let values = values.iter().cloned().collect();
        blank(self.transaction, copies, are_meant, kept, values).await
    }

    fn copies_of(&self, table: &str) -> String {
        format!(
            "c.schema_name = {} AND c.table_name = {}",
            Literal(&self.schema.name),
            Literal(table)
        )
    }
}

/// The table whose rows have rows of this one, by a column of this one and one of that, if its rows are of the same records, which are
/// people's own, and name nobody themselves.
fn parent<'m>(
    schema: &'m MirrorSchema,
    people: &People,
    mapping: &'m Mapping,
) -> Option<(&'m str, &'m str, &'m Mapping)> {
    let owner = mapping.table.owner.as_ref()?;
    if !people.owns_records_of(&mapping.table.from) {
        return None;
    }
    let mut mappings = schema.mappings.iter();
    let parent = mappings.find(|parent| {
        parent.table.name == owner.table
            && parent.table.from == mapping.table.from
            && !parent.table.is_update_only()
    })?;
    let mut named = schema.columns.iter();
    if named.any(|columns| columns.table == owner.table) {
        return None;
    }
    Some((owner.column.as_str(), owner.target.as_str(), parent))
}

/// Whether no row of the child that belongs to the row `t` waits in quarantine; an expression.
fn is_awaited_by_none(schema: &str, child: &Mapping, target: &Quoted<'_>) -> String {
    format!(
        "NOT EXISTS (SELECT FROM pipeline.quarantine AS q WHERE q.schema_name = {} AND q.table_name = {} AND q.parent = to_jsonb(t.{target}))",
        Literal(schema),
        Literal(child.table.name.as_str())
    )
}

/// How many rows would be left without anybody, by table.
pub(super) async fn find_emptied(
    transaction: &Transaction<'_>,
    schema: &MirrorSchema,
    people: &People,
    ids: &[String],
) -> Result<Vec<(String, u64)>, LoadError> {
    let mut found = Vec::new();
    for table in schema.columns.iter().filter(|table| table.is_own) {
        let Some((mapping, (column, target, parent))) = schema
            .mapping(table)
            .and_then(|mapping| Some((mapping, parent(schema, people, mapping)?)))
        else {
            continue;
        };
        let children = format!(
            "FROM {} AS c WHERE c.{} = t.{} AND c.{}::text",
            Statements::new(mapping, &schema.name).target,
            Quoted(column),
            Quoted(target),
            Quoted(&table.id),
        );
        let count = format!(
            "SELECT count(*) FROM {} AS t WHERE EXISTS (SELECT {children} = ANY ($1)) AND NOT EXISTS (SELECT {children} <> ALL ($1)) AND {}",
            Statements::new(parent, &schema.name).target,
            is_awaited_by_none(&schema.name, mapping, &Quoted(target))
        );
        let row = transaction.query_one(&count, &[&ids]).await;
        let rows = row.map_err(LoadError::at(format!("read {}", parent.table.name)))?;
        found.push((parent.table.name.to_string(), unsigned(rows.get(0))));
    }
    Ok(found)
}

fn failed(mapping: &Mapping) -> impl FnOnce(tokio_postgres::Error) -> LoadError + use<> {
    LoadError::at(format!("erase people from {}", mapping.table.name))
}
