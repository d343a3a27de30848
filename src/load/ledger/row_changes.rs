//! `pipeline.change`: what a load has changed in followed tables, written in the transaction that changed them. The history of rows is
//! written of the same notes, by [`row_history`].

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tokio_postgres::Transaction;
use tokio_postgres::types::ToSql;

use crate::config::SqlFile;
use crate::convert::signed;
use crate::load::decode::record_locator::RecordLocator;
use crate::load::error::LoadError;
use crate::load::ledger::row_history;
use crate::load::mapping::Mapping;
use crate::load::sql::note_changes::Doer;
use crate::load::sql::statements::Statements;
use crate::name::Name;
use crate::staging::Run;

/// The channel of the one notification of a load that has written changes; the payload is the run.
pub(crate) const CHANNEL: &str = "cursus";
/// The table, as [`super::schemas::ledger_tables`] names it.
pub(crate) const TABLE: &str = "pipeline.change";

/// What was known of the followed tables before the load.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    empty: BTreeSet<Name>,
    /// What is followed is for a load to say: an erasure is of every schema, also of those of other configurations.
    pub(crate) is_erasure: bool,
}

/// The tables of which something is noted, each once, in the order of the load.
fn followed(mappings: &[Mapping]) -> Vec<&Mapping> {
    let is_followed =
        |mapping: &&Mapping| mapping.followed.is_some() && !mapping.table.is_update_only();
    mappings.iter().filter(is_followed).collect()
}

fn failed(doing: &str) -> impl FnOnce(tokio_postgres::Error) -> LoadError + use<> {
    LoadError::at(format!("write what changed: {doing}"))
}

impl Feed {
    /// Looks at the followed tables before anything of them is changed.
    pub(crate) async fn begin(
        transaction: &Transaction<'_>,
        schema: &str,
        mappings: &[Mapping],
    ) -> Result<Self, LoadError> {
        let followed = followed(mappings);
        let empty = ask(transaction, schema, &followed, Statements::is_empty).await?;
        let names = followed.iter().map(|mapping| mapping.table.name.clone());
        let empty = names.zip(empty).filter(|(_, is_empty)| *is_empty);
        Ok(Self {
            empty: empty.map(|(name, _)| name).collect(),
            is_erasure: false,
        })
    }

    /// Writes what has come of the noted rows into the history of rows.
    pub(crate) async fn write_history(
        &self,
        transaction: &Transaction<'_>,
        schema: &str,
        mappings: &[Mapping],
        run: &Run,
    ) -> Result<(), LoadError> {
        let (noted, empty) = look(transaction, schema, &followed(mappings)).await?;
        let filled = self.empty.difference(&empty).cloned().collect();
        row_history::write(transaction, schema, mappings, (&noted, &filled), run).await
    }

    /// Writes what has come of the noted rows, and notifies listeners. The load lock is held, so the numbers are in the order of
    /// commits.
    pub(crate) async fn finish(
        &self,
        transaction: &Transaction<'_>,
        schema: &str,
        mappings: &[Mapping],
        run: &str,
    ) -> Result<(), LoadError> {
        let mut followed = followed(mappings);
        followed.retain(|mapping| {
            let followed = mapping.followed.as_ref();
            followed.is_some_and(|followed| followed.changes.is_some())
        });
        if followed.is_empty() && self.is_erasure {
            return Ok(());
        }
        if followed.is_empty() {
            // A table that is followed later gets a marker.
            let stop = "UPDATE pipeline.change_feed SET tables = '{}' WHERE schema_name = $1 AND tables <> '{}'";
            let stopped = transaction.execute(stop, &[&schema]).await;
            stopped.map_err(failed("stop to follow tables"))?;
            return Ok(());
        }
        let row = transaction
            .query_one(
                "INSERT INTO pipeline.change_feed AS f (schema_name) VALUES ($1) \
                 ON CONFLICT (schema_name) DO UPDATE SET last_seq = f.last_seq RETURNING last_seq, tables",
                &[&schema],
            )
            .await
            .map_err(failed("read its number"))?;
        let (before, known): (i64, Value) = (row.get(0), row.get(1));
        let (noted, empty) = look(transaction, schema, &followed).await?;
        let mut last = before;
        let mut tables = BTreeMap::new();
        if self.is_erasure {
            tables = serde_json::from_value(known.clone()).unwrap_or_default();
        }
        let mut changed = Vec::new();
        for mapping in followed {
            let name = &mapping.table.name;
            let (is_noted, is_empty) = (noted.contains(name), empty.contains(name));
            let statements = Statements::new(mapping, schema);
            let columns = statements.names_in_changes();
            let was_empty = self.empty.contains(name);
            let is_new = known.get(name.as_str()) != Some(&json!(columns));
            if is_new && self.is_erasure {
                continue;
            }
            if (was_empty || is_new) && !is_empty {
                last += 1;
                transaction
                    .execute(
                        "INSERT INTO pipeline.change (schema_name, seq, run_id, table_name, op, changed) \
                         VALUES ($1, $2, $3, $4, 's', $5)",
                        &[&schema, &last, &run, &name.as_str(), &columns],
                    )
                    .await
                    .map_err(failed("note from where on a table is followed"))?;
            } else if is_noted && !was_empty {
                last += write(transaction, &statements, false, last).await?;
                changed.push(mapping);
            }
            tables.insert(name.to_string(), json!(columns));
        }
        for mapping in changed.into_iter().rev() {
            let statements = Statements::new(mapping, schema);
            last += write(transaction, &statements, true, last).await?;
        }
        let tables = json!(tables);
        if last == before && tables == known {
            return Ok(());
        }
        transaction
            .execute(
                "UPDATE pipeline.change_feed SET last_seq = $2, tables = $3 WHERE schema_name = $1",
                &[&schema, &last, &tables],
            )
            .await
            .map_err(failed("write its number"))?;
        if last > before {
            let notify = "SELECT pg_notify($1, $2)";
            let notified = transaction.execute(notify, &[&CHANNEL, &run]).await;
            notified.map_err(failed("notify listeners"))?;
        }
        Ok(())
    }
}

async fn write(
    transaction: &Transaction<'_>,
    statements: &Statements<'_>,
    deleted: bool,
    last: i64,
) -> Result<i64, LoadError> {
    let statement = statements.write_changes(deleted, last);
    let written = transaction.execute(&statement, &[]).await;
    let written = written.map_err(failed(&format!("rows of {}", statements.target)))?;
    Ok(signed(written))
}

/// The tables of which something is noted, and those without rows.
async fn look(
    transaction: &Transaction<'_>,
    schema: &str,
    followed: &[&Mapping],
) -> Result<(BTreeSet<Name>, BTreeSet<Name>), LoadError> {
    let noted = ask(transaction, schema, followed, Statements::is_noted).await?;
    let empty = ask(transaction, schema, followed, Statements::is_empty).await?;
    let those = |are: Vec<bool>| {
        let names = followed.iter().map(|mapping| mapping.table.name.clone());
        let names = names.zip(are).filter(|(_, is_it)| *is_it);
        names.map(|(name, _)| name).collect()
    };
    Ok((those(noted), those(empty)))
}

/// Asks the same of each table; an expression.
async fn ask<'m>(
    transaction: &Transaction<'_>,
    schema: &'m str,
    mappings: &[&'m Mapping],
    question: fn(&Statements<'m>) -> String,
) -> Result<Vec<bool>, LoadError> {
    if mappings.is_empty() {
        return Ok(Vec::new());
    }
    let questions: Vec<String> = (mappings.iter())
        .map(|mapping| question(&Statements::new(mapping, schema)))
        .collect();
    let statement = format!("SELECT ARRAY[{}]", questions.join(", "));
    let row = transaction.query_typed_one(&statement, &[]).await;
    Ok(row.map_err(failed("look at the tables"))?.get(0))
}

/// Notes rows before a statement changes them: `note` is of [`Statements`], with its step. With places, the pages are noted too.
pub(crate) async fn note(
    transaction: &Transaction<'_>,
    statements: &Statements<'_>,
    (step, note): (u64, String),
    places: Option<&RecordLocator>,
) -> Result<(), LoadError> {
    let doing = || failed(&format!("note rows of {}", statements.target));
    let create = statements.create_noted();
    let note = format!("{create}; {note}");
    (transaction.batch_execute(&note).await).map_err(doing())?;
    let Some(places) = places else {
        return Ok(());
    };
    let firsts = places.firsts();
    let ask = statements.noted_pages(step);
    let rows = transaction.query(&ask, &[&firsts]).await;
    let rows = rows.map_err(doing())?;
    if rows.is_empty() {
        return Ok(());
    }
    let mut pages: Vec<i32> = Vec::new();
    let (mut files, mut first_records) = (Vec::new(), Vec::new());
    for row in rows {
        // Of width_bucket, from 1 on.
        let page: i32 = row.get(0);
        let at = usize::try_from(page - 1).unwrap_or_default();
        pages.push(page);
        files.push(places.file(at)?);
        first_records.push(firsts.get(at).copied().unwrap_or_default());
    }
    let write = statements.note_files(step);
    let parameters: [&(dyn ToSql + Sync); 4] = [&firsts, &pages, &files, &first_records];
    (transaction.execute(&write, &parameters).await).map_err(doing())?;
    Ok(())
}

/// Runs a statement that may change any table, and notes what it has done to followed ones. A table is copied only if the statement
/// writes to it: then it runs again, after the copy was made. Returns whether it writes to a table whose history is kept.
pub(crate) async fn run_noted(
    transaction: &Transaction<'_>,
    schema: &str,
    mappings: &[Mapping],
    run: &str,
    sql: &SqlFile,
) -> Result<bool, LoadError> {
    let run_it = async || {
        let ran = transaction.batch_execute(&sql.text).await;
        ran.map_err(LoadError::at(format!("run {}", sql.name)))
    };
    let followed = followed(mappings);
    if followed.is_empty() {
        return run_it().await.map(|()| false);
    }
    let batch = async |statement: &str| {
        let ran = transaction.batch_execute(statement).await;
        ran.map_err(failed(&format!("what {} does", sql.name)))
    };
    let before = writes(transaction, schema, &followed).await?;
    batch("SAVEPOINT noted").await?;
    run_it().await?;
    let after = writes(transaction, schema, &followed).await?;
    let is_touched = |name: &str| !before.contains_key(name) || before.get(name) != after.get(name);
    let mut followed = followed;
    followed.retain(|mapping| is_touched(mapping.table.name.as_str()));
    let is_in_history = row_history::kept(mappings).any(|kept| {
        let mut touched = followed.iter();
        touched.any(|mapping| mapping.table.name == kept.table.name)
    });
    let touched: Vec<Statements<'_>> = (followed.iter())
        .map(|mapping| Statements::new(mapping, schema))
        .collect();
    if touched.is_empty() {
        return batch("RELEASE SAVEPOINT noted").await.map(|()| false);
    }
    batch("ROLLBACK TO SAVEPOINT noted; RELEASE SAVEPOINT noted").await?;
    for statements in &touched {
        batch(&statements.create_snapshot()).await?;
    }
    run_it().await?;
    let doer = Doer {
        run,
        resource: None,
        has_places: false,
    };
    for statements in &touched {
        let (create, note) = (statements.create_noted(), statements.note_snapshot(doer));
        batch(&format!("{create}; {note}")).await?;
    }
    Ok(is_in_history)
}

/// How often this transaction has written to each table, its partitions included, as far as the server counts it. What was rolled
/// back counts too.
async fn writes(
    transaction: &Transaction<'_>,
    schema: &str,
    followed: &[&Mapping],
) -> Result<BTreeMap<String, String>, LoadError> {
    let names: Vec<&str> = followed
        .iter()
        .map(|mapping| mapping.table.name.as_str())
        .collect();
    // A TRUNCATE sets the counts back, and gives the table another file.
    let rows = transaction
        .query(
            "WITH RECURSIVE part AS (SELECT c.oid, c.relname::text AS name FROM pg_catalog.pg_class AS c \
             JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = ANY ($2) \
             UNION SELECT i.inhrelid, p.name FROM part AS p JOIN pg_catalog.pg_inherits AS i ON i.inhparent = p.oid) \
             SELECT name, string_agg(concat_ws(' ', oid, pg_relation_filenode(oid), pg_stat_get_xact_tuples_inserted(oid), \
             pg_stat_get_xact_tuples_updated(oid), pg_stat_get_xact_tuples_deleted(oid)), ',' ORDER BY oid) FROM part \
             WHERE current_setting('track_counts')::boolean GROUP BY name",
            &[&schema, &names],
        )
        .await
        .map_err(failed("look for writes of a derived statement"))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
