//! Filling an empty table: its indexes and keys are taken off, and built again over all the rows at once.
//!
//! Only what comes back exactly as it was is taken off: nothing depends on it, and nothing is said of it that its
//! definition does not say. It happens under a lock that nobody waits for; where there is none to have, all stays on.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio_postgres::Transaction;
use tracing::debug;

use crate::database::Quoted;
use crate::failpoint::Point;
use crate::load::error::LoadError;
use crate::load::mapping::Mapping;
use crate::load::merge::table::Table;
use crate::name::Name;

/// With fewer rows, to rebuild an index takes longer than to keep it.
const WORTHWHILE: u64 = 2000;

/// Only a plain table that we may alter.
const TABLE: &str = "
    SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind = 'r' AND NOT c.relispartition
        AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent))";

// What an index or a key carries beside its definition: its tablespace, its options, marks, comments, statistics targets,
// extensions and all that depends on it.
const INDEXES: &str = "
    SELECT x.relname::text, k.conname::text, pg_catalog.pg_get_indexdef(x.oid), pg_catalog.pg_get_constraintdef(k.oid)
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
    LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = x.oid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')
    WHERE i.indrelid = $1 AND i.indisvalid AND i.indisready AND NOT i.indisclustered AND NOT i.indisreplident
        AND (k.oid IS NULL OR (k.contype IN ('p', 'u') AND k.conname = x.relname))
        AND x.reltablespace = 0 AND x.reloptions IS NULL
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = x.oid AND coalesce(a.attstattarget, -1) <> -1)
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_description d
            WHERE (d.classoid, d.objoid) IN (('pg_class'::regclass, x.oid), ('pg_constraint'::regclass, k.oid)))
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
            WHERE (d.refclassid, d.refobjid) IN (('pg_class'::regclass, x.oid), ('pg_constraint'::regclass, k.oid))
                AND (d.classid, d.objid) <> ('pg_class'::regclass, x.oid))
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = x.oid AND d.deptype IN ('e', 'x'))
    ORDER BY i.indisprimary DESC, x.oid";

// A key out of the table comes with triggers, which somebody may have switched off.
const KEYS: &str = "
    SELECT k.conname::text, pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint k
    WHERE k.conrelid = $1 AND k.contype = 'f' AND k.convalidated AND k.conrelid <> k.confrelid
        AND k.confrelid::bigint = ANY ($2)
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgconstraint = k.oid AND t.tgenabled <> 'O')
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_description d
            WHERE (d.classoid, d.objoid) = ('pg_constraint'::regclass, k.oid))
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
            WHERE (d.refclassid, d.refobjid) = ('pg_constraint'::regclass, k.oid) AND d.deptype <> 'i')
    ORDER BY k.oid";

const PARENTS: &str = "
    SELECT c.oid::bigint FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = ANY ($2)";

impl Table<'_> {
    /// Inserts the `rows` that are in scope into the empty table.
    pub(super) async fn fill(
        &self,
        rows: u64,
        fresh: &BTreeSet<Name>,
        sample: &mut Vec<Value>,
    ) -> Result<u64, LoadError> {
        let insert = self.statements.insert_all();
        if rows >= WORTHWHILE
            && !self.ledger.has_samples
            && let Some(rows) = self.fill_without_indexes(fresh, &insert).await?
        {
            return Ok(rows);
        }
        self.change(&insert, "insert", sample).await
    }

    /// Runs `insert` while the indexes of the empty table are off; returns the number of rows, or none if they could not be taken
    /// off: then nothing has happened. A key to one of the `fresh` tables, which were empty before this transaction, comes
    /// off too: no reader waits for those.
    async fn fill_without_indexes(
        &self,
        fresh: &BTreeSet<Name>,
        insert: &str,
    ) -> Result<Option<u64>, LoadError> {
        let failed = || self.failed("fill the empty table");
        let run = async |statement: &str| {
            let ran = self.transaction.batch_execute(statement).await;
            ran.map_err(failed())
        };
        run("SAVEPOINT bulk").await?;
        let schema = self.ledger.schema;
        match try_fill(self.transaction, schema, self.mapping, fresh, insert).await {
            Ok(rows) => {
                run("RELEASE SAVEPOINT bulk").await?;
                Ok(rows)
            }
            Err(error) if error.as_db_error().is_none() => Err(failed()(error)),
            Err(error) => {
                debug!(
                    table = %self.mapping.table.name, code = ?error.code(),
                    "its indexes stay on while it is filled"
                );
                run("ROLLBACK TO SAVEPOINT bulk; RELEASE SAVEPOINT bulk").await?;
                Ok(None)
            }
        }
    }
}

/// Something that is taken off, and put on again.
struct DetachedPart {
    off: String,
    on: String,
}

async fn try_fill(
    transaction: &Transaction<'_>,
    schema: &str,
    mapping: &Mapping,
    fresh: &BTreeSet<Name>,
    insert: &str,
) -> Result<Option<u64>, tokio_postgres::Error> {
    let name = mapping.table.name.as_str();
    let Some(table) = transaction.query_opt(TABLE, &[&schema, &name]).await? else {
        return Ok(None);
    };
    let table: u32 = table.get(0);
    let target = format!("{}.{}", Quoted(schema), Quoted(name));
    let lock = format!("LOCK TABLE {target} IN ACCESS EXCLUSIVE MODE NOWAIT");
    transaction.batch_execute(&lock).await?;
    let parts = parts(transaction, schema, &target, table, fresh).await?;
    // Keys between tables come off first, and on last: they need the indexes.
    let off: Vec<&str> = parts.iter().rev().map(|part| part.off.as_str()).collect();
    transaction.batch_execute(&off.join("; ")).await?;
    let rows = transaction.execute(insert, &[]).await?;
    Point::LoadBulk.reach();
    for part in &parts {
        transaction.batch_execute(&part.on).await?;
    }
    Ok(Some(rows))
}

async fn parts(
    transaction: &Transaction<'_>,
    schema: &str,
    target: &str,
    table: u32,
    fresh: &BTreeSet<Name>,
) -> Result<Vec<DetachedPart>, tokio_postgres::Error> {
    let constraint = |name: &str, definition: &str| DetachedPart {
        off: format!("ALTER TABLE {target} DROP CONSTRAINT {}", Quoted(name)),
        on: format!(
            "ALTER TABLE {target} ADD CONSTRAINT {} {definition}",
            Quoted(name)
        ),
    };
    let mut parts = Vec::new();
    for row in transaction.query(INDEXES, &[&table]).await? {
        parts.push(match row.get::<_, Option<&str>>(1) {
            Some(name) => constraint(name, row.get(3)),
            None => DetachedPart {
                off: format!("DROP INDEX {}.{}", Quoted(schema), Quoted(row.get(0))),
                on: row.get(2),
            },
        });
    }
    let fresh: Vec<&str> = fresh.iter().map(Name::as_str).collect();
    let parents: Vec<i64> = transaction
        .query(PARENTS, &[&schema, &fresh])
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
    for row in transaction.query(KEYS, &[&table, &parents]).await? {
        parts.push(constraint(row.get(0), row.get(1)));
    }
    Ok(parts)
}
