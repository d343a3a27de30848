//! Schemas of our own: a comment marks each of them, and one that holds something else is neither written to nor dropped.

use tokio_postgres::{Client, Transaction};

use crate::database::{Database, Quoted};
use crate::failpoint::Point;
use crate::load::error::LoadError;
use crate::load::ledger::backlog::has_ledger;
use crate::load::ledger::schemas::forget;
use crate::load::lock::{lock, try_lock};
use crate::load::replay::error::ReplayError;
use crate::migrate;
use crate::name::Name;

/// The comment of the schema that `replay --rebuild` works in.
pub(crate) const REBUILD: &str = "Made by `cursus replay --rebuild`; nobody needs it afterwards.";
/// The comment of the schema that `history rebuild` works in.
pub(crate) const HISTORY: &str = "Made by `cursus history rebuild`; nobody needs it afterwards.";
/// Begin of the comment of a schema that a job of a replay in groups works in; the fingerprint of the pages and rules follows.
pub(crate) const GROUP: &str =
    "Made by `cursus replay --group`; nobody needs it after `cursus replay --finish`. History: ";
/// The comment of a schema whose rows a rebuild has applied to the mirror, until it is dropped.
const APPLIED: &str = "Made by `cursus replay`, and applied to the mirror; nobody needs it.";
/// The comment of a schema that `diff` loads a run into.
const DIFF: &str = "Made by `cursus diff`; nobody needs it afterwards.";
/// The step that looks for the load ledger.
const LOOK: &str = "look for the load ledger";

/// Whether a schema is dropped again by the command that has made it.
pub(crate) async fn is_passing(client: &Client, schema: &str) -> Result<bool, LoadError> {
    has_mark(client, schema, &[REBUILD, DIFF, HISTORY, GROUP, APPLIED]).await
}

/// Whether it is one of those whose command is after the history of its rows.
pub(crate) async fn is_for_history(client: &Client, schema: &str) -> Result<bool, LoadError> {
    has_mark(client, schema, &[HISTORY]).await
}

async fn has_mark(client: &Client, schema: &str, marks: &[&str]) -> Result<bool, LoadError> {
    let row = client
        .query_one(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace, unnest($2::text[]) AS mark \
             WHERE nspname = $1 AND starts_with(obj_description(oid, 'pg_namespace'), mark))",
            &[&schema, &marks],
        )
        .await
        .map_err(LoadError::at("look at the schema"))?;
    Ok(row.get(0))
}

pub(crate) enum SchemaContents {
    Empty,
    /// It is not empty; its comment.
    NotEmpty(Option<String>),
}

pub(crate) async fn inspect_schema(
    client: &Client,
    schema: &str,
) -> Result<SchemaContents, LoadError> {
    if schema == migrate::LEDGER_SCHEMA {
        return Err(migrate::MigrateError::Reserved.into());
    }
    let row = client
        .query_opt(
            "SELECT obj_description(n.oid, 'pg_namespace') FROM pg_catalog.pg_namespace AS n WHERE n.nspname = $1 \
             AND EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.refclassid = 'pg_namespace'::regclass \
             AND d.refobjid = n.oid AND d.deptype = 'n')",
            &[&schema],
        )
        .await
        .map_err(LoadError::at("look at the schema"))?;
    Ok(row.map_or(SchemaContents::Empty, |row| {
        SchemaContents::NotEmpty(row.get(0))
    }))
}

/// Makes a schema with this comment. Ledger rows of an earlier schema of that name, dropped by hand, are deleted.
pub(crate) async fn make(
    client: &mut Client,
    schema: &str,
    mark: &str,
    drop: bool,
) -> Result<(), LoadError> {
    let doing = || LoadError::at(format!("make the schema {schema}"));
    let transaction = client.transaction().await.map_err(doing())?;
    forget(&transaction, schema).await?;
    let name = Quoted(schema);
    let drop = if drop {
        format!("DROP SCHEMA {name} CASCADE;")
    } else {
        String::new()
    };
    let make = format!(
        "SET LOCAL client_min_messages = warning; {drop} CREATE SCHEMA IF NOT EXISTS {name}; \
         COMMENT ON SCHEMA {name} IS '{mark}'"
    );
    transaction.batch_execute(&make).await.map_err(doing())?;
    Point::ReplayMake.reach();
    transaction.commit().await.map_err(doing())?;
    Point::ReplayMade.reach();
    Ok(())
}

/// As [`make`]. One that exists is dropped, if it has this very comment, or its rows were applied.
pub(crate) async fn remake(
    client: &mut Client,
    schema: &str,
    mark: &str,
) -> Result<(), ReplayError> {
    let drop = match inspect_schema(client, schema).await? {
        SchemaContents::Empty => false,
        SchemaContents::NotEmpty(Some(comment)) if comment == mark || is_applied(&comment) => true,
        SchemaContents::NotEmpty(_) => return Err(ReplayError::Taken(schema.to_owned())),
    };
    Ok(make(client, schema, mark, drop).await?)
}

/// Whether a comment says that the rows of its schema were applied to the mirror.
pub(super) fn is_applied(comment: &str) -> bool {
    comment == APPLIED
}

/// Says of a schema, in the transaction that applies its rows, that nothing in it counts any more.
pub(super) async fn mark_applied(
    transaction: &Transaction<'_>,
    schema: &str,
) -> Result<(), LoadError> {
    let mark = format!("COMMENT ON SCHEMA {} IS '{APPLIED}'", Quoted(schema));
    let marked = transaction.batch_execute(&mark).await;
    marked.map_err(LoadError::at(format!("mark the schema {schema}")))
}

/// The scratch schemas of this mirror whose rows were applied to it; with `all_groups` also those of groups whose rows were not.
pub(super) async fn scratches_to_drop(
    client: &Client,
    mirror: &Name,
    all_groups: bool,
) -> Result<Vec<String>, LoadError> {
    let rows = client
        .query(
            "SELECT nspname::text FROM pg_catalog.pg_namespace, obj_description(oid, 'pg_namespace') AS mark \
             WHERE nspname ~ ('^' || $1 || '_rebuild(_[0-9]+)?$') AND (mark = $2 OR ($4 AND starts_with(mark, $3))) ORDER BY oid",
            &[&mirror.as_str(), &APPLIED, &GROUP, &all_groups],
        )
        .await
        .map_err(LoadError::at("look for the schemas of rebuilds"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Drops a scratch schema, unless a job has locked it. In a transaction of its own: a server has locks for the tables of one more
/// easily than of all.
pub(super) async fn drop_unless_locked(
    database: &mut Database,
    schema: &str,
) -> Result<(), LoadError> {
    if try_lock(database, schema).await? {
        remove(&mut database.client, schema).await?;
        Point::RebuildDropped.reach();
    }
    Ok(())
}

/// The schemas of one comparison. The holder of the lock of the name that they begin with has them all.
#[derive(Debug)]
pub(crate) struct Scratches {
    base: String,
    made: Vec<Name>,
    /// The runs in the ledger before the comparison.
    runs_before: Vec<String>,
}

impl Scratches {
    /// For the mirror in this schema.
    pub(crate) fn new(mirror: &Name) -> Self {
        Self {
            base: format!("{mirror}_diff"),
            made: Vec::new(),
            runs_before: Vec::new(),
        }
    }

    /// Makes an empty schema. What a comparison that was killed has left is dropped first.
    pub(crate) async fn make(&mut self, database: &mut Database) -> Result<Name, ReplayError> {
        if self.made.is_empty() {
            lock(database, &self.base).await?;
            self.drop_left(&mut database.client).await?;
            self.runs_before = runs(&database.client).await?;
        }
        let name = self.name(self.made.len() + 1);
        let name = Name::parse(&name).map_err(|_| ReplayError::Long(name))?;
        remake(&mut database.client, name.as_str(), DIFF).await?;
        self.made.push(name.clone());
        Ok(name)
    }

    /// Of the first and the second side.
    fn name(&self, number: usize) -> String {
        format!("{}_{number}", self.base)
    }

    async fn drop_left(&self, client: &mut Client) -> Result<(), LoadError> {
        let left = client
            .query(
                "SELECT nspname::text FROM pg_catalog.pg_namespace \
                 WHERE nspname = ANY ($1::text[]) AND obj_description(oid, 'pg_namespace') = $2",
                &[&[self.name(1), self.name(2)].as_slice(), &DIFF],
            )
            .await
            .map_err(LoadError::at("look for schemas that a comparison has left"))?;
        for row in left {
            remove(client, row.get(0)).await?;
        }
        Ok(())
    }

    /// Drops the schemas that were made, and their ledger rows.
    pub(crate) async fn drop_all(&self, database: &mut Database) -> Result<(), LoadError> {
        let client = &mut database.client;
        for schema in &self.made {
            remove(client, schema.as_str()).await?;
        }
        if self.made.is_empty() || !has_ledger(client).await.map_err(LoadError::at(LOOK))? {
            return Ok(());
        }
        client
            .execute(
                "DELETE FROM pipeline.run AS r WHERE run_id <> ALL ($1) \
                 AND NOT EXISTS (SELECT FROM pipeline.load AS l WHERE l.run_id = r.run_id)",
                &[&self.runs_before],
            )
            .await
            .map_err(LoadError::at("forget the runs of the comparison"))?;
        Ok(())
    }
}

async fn remove(client: &mut Client, schema: &str) -> Result<(), LoadError> {
    let failed = || LoadError::at(format!("drop the schema {schema}"));
    let transaction = client.transaction().await.map_err(failed())?;
    remove_in(&transaction, schema).await?;
    transaction.commit().await.map_err(failed())
}

/// Drops a schema of ours, and its ledger rows.
pub(super) async fn remove_in(
    transaction: &Transaction<'_>,
    schema: &str,
) -> Result<(), LoadError> {
    forget(transaction, schema).await?;
    let drop = format!(
        "SET LOCAL client_min_messages = warning; DROP SCHEMA {} CASCADE",
        Quoted(schema)
    );
    let dropped = transaction.batch_execute(&drop).await;
    dropped.map_err(LoadError::at(format!("drop the schema {schema}")))
}

/// The runs in the ledger.
async fn runs(client: &Client) -> Result<Vec<String>, LoadError> {
    if !has_ledger(client).await.map_err(LoadError::at(LOOK))? {
        return Ok(Vec::new());
    }
    let runs = client.query("SELECT run_id FROM pipeline.run", &[]).await;
    let runs = runs.map_err(LoadError::at("read pipeline.run"))?;
    Ok(runs.iter().map(|row| row.get(0)).collect())
}
