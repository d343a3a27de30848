//! `pipeline.history`: how rows of followed tables were, written in the transaction that changed them. Times are the server's, of the
//! run that is loaded; what one run does has one time, so that tables fit together.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use tokio_postgres::Transaction;

use crate::load::error::LoadError;
use crate::load::mapping::Mapping;
use crate::load::sql::row_versions::Rows;
use crate::load::sql::statements::Statements;
use crate::name::Name;
use crate::staging::{Run, StagingError};

/// How far the server's clock may be ahead of ours. No later time is dated before an earlier one: a wrong date would hold for ever.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// When a load says that something is so.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    /// As the database reads it.
    pub(crate) at: String,
    pub(crate) run: String,
}

fn failed(doing: &str) -> impl FnOnce(tokio_postgres::Error) -> LoadError + use<> {
    LoadError::at(format!("write the history of rows: {doing}"))
}

/// The tables whose history is kept, each once, in the order of the load.
pub(crate) fn kept(mappings: &[Mapping]) -> impl Iterator<Item = &Mapping> {
    mappings.iter().filter(|mapping| {
        let followed = mapping.followed.as_ref();
        followed.is_some_and(|followed| followed.history.is_some())
            && !mapping.table.is_update_only()
    })
}

/// When the last page of a run was answered, by the server's clock; of answers without a date by ours. A run without pages shows nothing
/// that is newer than its start.
pub(crate) fn read_at(run: &Run) -> Result<Timestamp, StagingError> {
    let mut newest = None;
    for resource in run.resources()? {
        // What cannot be read is not loaded either, and the load says so.
        let Ok(Some(staged)) = run.staged(&resource) else {
            continue;
        };
        for page in staged.pages() {
            let page = page?;
            let ours = page.fetched_at;
            let date = (page.server_date).filter(|date| date.duration_since(ours) <= AHEAD);
            newest = newest.max(Some(date.unwrap_or(ours)));
        }
    }
    Ok(newest.unwrap_or(run.record().started_at))
}

/// Writes what a load has done to the tables: what was noted, or all of a table of which nothing was known, or that was `empty` before and
/// is not now (`filled`).
pub(crate) async fn write(
    transaction: &Transaction<'_>,
    schema: &str,
    mappings: &[Mapping],
    (noted, filled): (&BTreeSet<Name>, &BTreeSet<Name>),
    run: &Run,
) -> Result<(), LoadError> {
    let spans = open_spans(transaction, schema).await?;
    let kept: Vec<&Mapping> = kept(mappings).collect();
    let is_kept = |table: &str| {
        kept.iter()
            .any(|mapping| mapping.table.name.as_str() == table)
    };
    let stopped: Vec<&String> = spans.keys().filter(|table| !is_kept(table)).collect();
    let mut changed = Vec::new();
    for mapping in kept {
        let name = &mapping.table.name;
        let columns = Statements::new(mapping, schema)
            .names_in_history()
            .join(" ");
        let is_new = spans.get(name.as_str()) != Some(&columns);
        if is_new || filled.contains(name) {
            changed.push((mapping, Rows::All, is_new));
        } else if noted.contains(name) {
            changed.push((mapping, Rows::Noted, false));
        }
    }
    if stopped.is_empty() && changed.is_empty() {
        return Ok(());
    }
    let moment = moment(transaction, schema, run).await?;
    for table in stopped {
        end_span(transaction, schema, table, &moment).await?;
    }
    for (mapping, rows, is_new) in changed {
        let table = mapping.table.name.as_str();
        if is_new {
            end_span(transaction, schema, table, &moment).await?;
            begin_span(transaction, schema, mapping, &moment).await?;
        }
        write_table(transaction, schema, mapping, rows, &moment).await?;
    }
    Ok(())
}

/// Never before what is written already: the server's clock may have been set back.
pub(crate) async fn moment(
    transaction: &Transaction<'_>,
    schema: &str,
    run: &Run,
) -> Result<Moment, LoadError> {
    let at = read_at(run)?.to_string();
    let row = transaction
        .query_one(
            "SELECT (greatest($2::text::timestamptz, max(changed_at)) AT TIME ZONE 'UTC')::text || 'Z' \
             FROM pipeline.history_span WHERE schema_name = $1",
            &[&schema, &at],
        )
        .await
        .map_err(failed("read its time"))?;
    Ok(Moment {
        at: row.get(0),
        run: run.id().to_string(),
    })
}

/// Brings the history of a table to what the table is.
pub(crate) async fn write_table(
    transaction: &Transaction<'_>,
    schema: &str,
    mapping: &Mapping,
    rows: Rows,
    moment: &Moment,
) -> Result<(), LoadError> {
    let statements = Statements::new(mapping, schema);
    let table = mapping.table.name.as_str();
    let doing = || failed(&format!("rows of {table}"));
    let mut collect = statements.create_present(rows);
    if rows == Rows::All {
        collect = format!("{collect}; {}", statements.add_absent());
    }
    (transaction.batch_execute(&collect).await).map_err(doing())?;
    let mut written = 0;
    for statement in statements.write_history(&moment.at, &moment.run) {
        written += (transaction.execute(&statement, &[]).await).map_err(doing())?;
    }
    if written > 0 {
        transaction
            .execute(
                "UPDATE pipeline.history_span SET changed_at = $3::text::timestamptz \
                 WHERE schema_name = $1 AND table_name = $2 AND valid_to IS NULL",
                &[&schema, &table, &moment.at],
            )
            .await
            .map_err(doing())?;
    }
    Ok(())
}

/// The tables whose history is kept so far, with their columns.
async fn open_spans(
    transaction: &Transaction<'_>,
    schema: &str,
) -> Result<BTreeMap<String, String>, LoadError> {
    let rows = transaction
        .query(
            "SELECT table_name, array_to_string(columns, ' ') FROM pipeline.history_span \
             WHERE schema_name = $1 AND valid_to IS NULL",
            &[&schema],
        )
        .await
        .map_err(failed("read what is kept"))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

async fn begin_span(
    transaction: &Transaction<'_>,
    schema: &str,
    mapping: &Mapping,
    moment: &Moment,
) -> Result<(), LoadError> {
    let statements = Statements::new(mapping, schema);
    transaction
        .execute(
            "INSERT INTO pipeline.history_span (schema_name, table_name, columns, valid_from, from_run, changed_at) \
             VALUES ($1, $2, $3, $4::text::timestamptz, $5, $4::text::timestamptz)",
            &[
                &schema,
                &mapping.table.name.as_str(),
                &statements.names_in_history(),
                &moment.at,
                &moment.run,
            ],
        )
        .await
        .map_err(failed("note from where on it is kept"))?;
    Ok(())
}

/// From then on it is not known how the rows were.
async fn end_span(
    transaction: &Transaction<'_>,
    schema: &str,
    table: &str,
    moment: &Moment,
) -> Result<(), LoadError> {
    let of = "schema_name = $1 AND table_name = $2 AND valid_to IS NULL";
    for statement in [
        format!(
            "DELETE FROM pipeline.history_span WHERE {of} AND valid_from >= $3::text::timestamptz AND $4::text IS NOT NULL"
        ),
        format!(
            "UPDATE pipeline.history_span SET valid_to = $3::text::timestamptz, to_run = $4, \
             changed_at = $3::text::timestamptz WHERE {of}"
        ),
    ] {
        transaction
            .execute(&statement, &[&schema, &table, &moment.at, &moment.run])
            .await
            .map_err(failed("note until when it is kept"))?;
    }
    Ok(())
}
