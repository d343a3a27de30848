//! The query of a panel: one `SELECT`, bounded in time, rows and length of texts. What it fails with is a sentence for the panel's place.

use serde::Serialize;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::{Header, Kind, Outcome};
use crate::database::{DatabaseError, Quoted, describe};
use crate::exit::Failure;
use crate::printable;

/// Characters of a text; the rest is not read.
const LONGEST: usize = 300;
const BEGIN: &str = "SAVEPOINT panel; SET LOCAL statement_timeout = '5s'";
/// Takes the limit back as well.
const END: &str = "ROLLBACK TO SAVEPOINT panel; RELEASE SAVEPOINT panel";

/// What a query gave, as texts.
#[derive(Clone, Debug, Default, Serialize)]
#[expect(clippy::struct_field_names, reason = "the keys of a document")]
pub(crate) struct Rows {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<Option<String>>>,
    /// Whether there are more, which were not read.
    pub(crate) has_more: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) is_number: bool,
    /// An instant.
    #[serde(skip)]
    pub(crate) is_time: bool,
}

impl Rows {
    /// Where a column is.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// A value of the first row.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        self.rows.first()?.get(self.position(name)?)?.as_deref()
    }
}

/// Runs the query of a file; its transaction stays as it was.
///
/// # Errors
///
/// The connection was lost.
pub(super) async fn run(
    client: &Client,
    file: &str,
    header: &Header,
    query: &str,
) -> Result<Outcome, Failure> {
    let lost = |error: Error| Failure::from(DatabaseError::from(error));
    client.batch_execute(BEGIN).await.map_err(lost)?;
    let outcome = match rows(client, header, query).await {
        Ok(rows) => Outcome::Rows(rows),
        Err(fault) => Outcome::Error(fault.sentence(file).map_err(lost)?),
    };
    client.batch_execute(END).await.map_err(lost)?;
    Ok(outcome)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No record was looked at: the server's message holds names of the query alone.
    Analysis,
    Execution,
}

enum Fault {
    Sentence(String),
    Server(Error, Phase),
}

impl Fault {
    /// For the panel's place, on one line. The error is of a connection that was lost.
    fn sentence(self, file: &str) -> Result<String, Error> {
        let sentence = match self {
            Self::Sentence(fault) => format!("{file} cannot be used: {fault}"),
            Self::Server(error, _) if error.as_db_error().is_none() => return Err(error),
            Self::Server(error, phase) => sentence(file, &error, phase),
        };
        Ok(printable::line(&sentence).into_owned())
    }
}

/// What is wrong with a query, as far as it shows before it runs: a sentence. Its transaction stays as it was.
///
/// # Errors
///
/// The connection was lost.
pub(super) async fn fault(
    client: &Client,
    file: &str,
    kind: Kind,
    query: &str,
) -> Result<Option<String>, Failure> {
    let lost = |error: Error| Failure::from(DatabaseError::from(error));
    client.batch_execute(BEGIN).await.map_err(lost)?;
    let sentence = match analyse(client, kind, without_end(query)).await {
        Ok(_) => None,
        Err(fault) => Some(fault.sentence(file).map_err(lost)?),
    };
    client.batch_execute(END).await.map_err(lost)?;
    Ok(sentence)
}

/// The columns of a query, which the panel can use.
async fn analyse(client: &Client, kind: Kind, query: &str) -> Result<Vec<Column>, Fault> {
    let analysed = format!("SELECT * FROM (\n{query}\n) AS panel");
    let prepared = client.prepare(&analysed).await;
    let prepared = prepared.map_err(|error| Fault::Server(error, Phase::Analysis))?;
    if !prepared.params().is_empty() {
        let fault = "its query has parameters, and nothing gives them values";
        return Err(Fault::Sentence(fault.to_owned()));
    }
    let columns = prepared.columns().iter().map(|column| Column {
        name: column.name().to_owned(),
        is_number: is_number(column.type_()),
        is_time: *column.type_() == Type::TIMESTAMPTZ,
    });
    let columns: Vec<Column> = columns.collect();
    check(kind, &columns).map_err(Fault::Sentence)?;
    Ok(columns)
}

async fn rows(client: &Client, header: &Header, query: &str) -> Result<Rows, Fault> {
    let query = without_end(query);
    let columns = analyse(client, header.kind, query).await?;
    let most = header.kind.most_rows();
    let texts = columns.iter().map(|column| {
        let name = Quoted(&column.name);
        format!("pg_catalog.left(panel.{name}::pg_catalog.text, {LONGEST})")
    });
    let texts = texts.collect::<Vec<_>>().join(", ");
    let read = format!(
        "SELECT {texts} FROM (\n{query}\n) AS panel LIMIT {}",
        most + 1
    );
    let found = client.query_typed(&read, &[]).await;
    let found = found.map_err(|error| Fault::Server(error, Phase::Execution))?;
    let rows = found.iter().take(most).map(|row| {
        let texts =
            (0..columns.len()).map(|at| row.try_get::<_, Option<String>>(at).ok().flatten());
        texts.collect()
    });
    Ok(Rows {
        rows: rows.collect(),
        columns,
        has_more: found.len() > most,
    })
}

/// The query without its `;` and the comments after it, as a subquery is written.
fn without_end(query: &str) -> &str {
    let is_comment = |line: &str| line.trim().is_empty() || line.trim_start().starts_with("--");
    match query.rsplit_once(';') {
        Some((before, after)) if after.lines().all(is_comment) => before,
        _ => query,
    }
}

fn is_number(of: &Type) -> bool {
    matches!(
        *of,
        Type::INT2 | Type::INT4 | Type::INT8 | Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC
    )
}

/// Whether the columns are those that the picture is made of.
pub(super) fn check(kind: Kind, columns: &[Column]) -> Result<(), String> {
    let (needed, allowed) = kind.columns();
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    if let Some(twice) = (names.iter().enumerate()).find(|(at, name)| names[..*at].contains(name)) {
        return Err(format!("its query gives two columns `{}`", twice.1));
    }
    if let Some(missing) = needed.iter().find(|needed| !names.contains(*needed)) {
        return Err(format!("its query gives no column `{missing}`"));
    }
    if kind == Kind::Table {
        let has_shown = names.iter().any(|name| !allowed.contains(name));
        return has_shown
            .then_some(())
            .ok_or_else(|| "its query gives no column to show".to_owned());
    }
    let is_known = |name: &&&str| needed.contains(*name) || allowed.contains(*name);
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        let known = [needed, allowed].concat().join(", ");
        return Err(format!(
            "its query gives a column `{unknown}`; those of this chart are {known}"
        ));
    }
    let find = |name: &str| columns.iter().find(|column| column.name == name);
    if kind != Kind::Zone && find("value").is_some_and(|column| !column.is_number) {
        return Err("its column `value` is no number; cast it, such as `::bigint`".to_owned());
    }
    for name in ["begin_at", "end_at"] {
        if find(name).is_some_and(|column| !column.is_time) {
            return Err(format!(
                "its column `{name}` is no time; cast it, such as `::timestamptz`"
            ));
        }
    }
    Ok(())
}

fn sentence(file: &str, error: &Error, phase: Phase) -> String {
    let what = match error.as_db_error() {
        Some(server) if phase == Phase::Analysis => server.message().to_owned(),
        _ => describe(error),
    };
    match error.code() {
        Some(&SqlState::QUERY_CANCELED) => format!(
            "the query of {file} was stopped after 5 s; make it faster, such as by an index"
        ),
        Some(&SqlState::UNDEFINED_TABLE) => format!(
            "the query of {file} was refused: {what}; `cursus run` makes and fills the mirror's tables, for any other correct the file"
        ),
        Some(&SqlState::SYNTAX_ERROR) if what.contains(';') => format!(
            "the query of {file} was refused: {what}; a file holds one SELECT, and nothing after it"
        ),
        _ if phase == Phase::Analysis => {
            format!("the query of {file} was refused: {what}; correct the file")
        }
        _ => format!("the query of {file} failed: {what}; correct the file"),
    }
}
