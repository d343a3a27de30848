//! What the campus page shows. Each panel is a file of `sql/pages/campus/`: a header that says how it is drawn, and one `SELECT`.
//! Knows no table; draws nothing.

mod header;
mod query;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::database::DatabaseError;
use crate::embedded_files::{self, SqlText};
use crate::exit::Failure;
use crate::printable;

pub(crate) use header::{Header, Kind, Width};
pub(crate) use query::Rows;

/// Where the files are, in the binary and beside the configuration.
const FOLDER: &str = "sql/pages/campus";
/// No query begins later in a reading.
const LONGEST: Duration = Duration::from_secs(20);
/// What failed is tried again no sooner: a query that is too slow does not run all the time.
const ERROR_KEPT: Duration = Duration::from_secs(30);
/// Values look the same whatever the settings of server and role; compiling a query takes longer than most of them.
const SET_UP: &str = "SELECT pg_catalog.set_config(name, value, true) FROM (VALUES ('DateStyle', 'ISO, YMD'), \
    ('IntervalStyle', 'postgres'), ('extra_float_digits', '1'), ('jit', 'off'), ('TimeZone', 'UTC')) AS settings (name, value)";
const IS_ZONE: &str =
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_timezone_names WHERE name = $1::pg_catalog.text)";
const SET_ZONE: &str = "SELECT pg_catalog.set_config('TimeZone', $1::pg_catalog.text, true)";
const UTC: &str = "UTC";

/// The document of `/api/campus.json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Campus {
    pub(crate) zone: Zone,
    /// In the order of the names of their files.
    pub(crate) panels: Vec<Panel>,
}

/// Which zone the days of the panels are of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Zone {
    /// Such as `Europe/Paris`.
    pub(crate) name: String,
    /// Whose zone it is, such as a campus; none: nobody's.
    pub(crate) of: Option<String>,
    /// Why it is not the one that the file names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<String>,
}

impl Zone {
    fn utc(fault: Option<String>) -> Self {
        Self {
            name: UTC.to_owned(),
            of: None,
            fault,
        }
    }
}

/// A file of the folder, and what its query gave.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Panel {
    /// Of the file, such as `sql/pages/campus/20-levels.sql`.
    pub(crate) file: String,
    /// None: the file cannot be used.
    #[serde(flatten)]
    pub(crate) header: Option<Header>,
    pub(crate) read_at: Timestamp,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
    #[serde(skip)]
    text: String,
}

/// What a panel has to show.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// A sentence without a value of a record.
    Error(String),
    #[serde(untagged)]
    Rows(Rows),
}

/// Reads the panels in a read-only transaction, whose search path has the mirror's tables. A panel that was read less than its `every`
/// ago is taken from `earlier`.
///
/// # Errors
///
/// The connection was lost. Whatever is wrong with one panel is in its place.
pub(crate) async fn read(
    client: &Client,
    config: Option<&Path>,
    earlier: Option<&Campus>,
) -> Result<Campus, Failure> {
    let (now, begun) = (crate::clock::now(), Instant::now());
    client
        .query_typed(SET_UP, &[])
        .await
        .map_err(DatabaseError::from)?;
    let mut zone = Zone::utc(None);
    let mut panels = Vec::new();
    for SqlText { file, text } in embedded_files::sql_folder(FOLDER, config) {
        let parsed = text.and_then(|text| {
            let (header, query) = header::parse(&text)?;
            Ok(((header, query.to_owned()), text))
        });
        let ((header, query), text) = match parsed {
            Ok(parsed) => parsed,
            Err(fault) => {
                panels.push(Panel {
                    outcome: Outcome::Error(unusable(&file, &fault)),
                    file,
                    header: None,
                    read_at: now,
                    text: String::new(),
                });
                continue;
            }
        };
        let is_late = begun.elapsed() > LONGEST;
        let every = if is_late { Duration::MAX } else { header.every };
        let kept = earlier
            .filter(|earlier| earlier.zone == zone || header.kind == Kind::Zone)
            .and_then(|earlier| earlier.kept(&file, &text, every, now));
        let panel = match kept {
            Some(panel) => panel,
            None => Panel {
                outcome: if is_late {
                    Outcome::Error(late(&file))
                } else {
                    query::run(client, &file, &header, &query).await?
                },
                file,
                header: Some(header),
                read_at: now,
                text,
            },
        };
        if panel.is_zone() {
            zone = set_zone(client, &panel).await?;
        }
        panels.push(panel);
    }
    Ok(Campus { zone, panels })
}

fn late(file: &str) -> String {
    let limit = LONGEST.as_secs();
    let sentence = format!(
        "the query of {file} was not run: those before it took {limit} s; make them faster, or their `every` longer"
    );
    printable::line(&sentence).into_owned()
}

fn unusable(file: &str, fault: &str) -> String {
    printable::line(&format!("{file} cannot be used: {fault}")).into_owned()
}

impl Campus {
    /// A panel that is still young enough, of the same file.
    fn kept(&self, file: &str, text: &str, every: Duration, now: Timestamp) -> Option<Panel> {
        let panel = self.panels.iter().find(|panel| panel.file == file)?;
        let age = now.duration_since(panel.read_at);
        let every = match panel.outcome {
            Outcome::Rows(_) => every,
            Outcome::Error(_) => every.min(ERROR_KEPT),
        };
        let is_young = !age.is_negative() && age.unsigned_abs() < every;
        (is_young && panel.text == text).then(|| panel.clone())
    }

    /// Since when all of it is known.
    pub(crate) fn read_at(&self) -> Option<Timestamp> {
        self.panels.iter().map(|panel| panel.read_at).min()
    }
}

impl Panel {
    pub(crate) fn is_zone(&self) -> bool {
        (self.header.as_ref()).is_some_and(|header| header.kind == Kind::Zone)
    }
}

/// Has the queries that follow count days in the zone that a panel names.
async fn set_zone(client: &Client, panel: &Panel) -> Result<Zone, Failure> {
    let rows = match &panel.outcome {
        Outcome::Rows(rows) => rows,
        Outcome::Error(sentence) => return Ok(Zone::utc(Some(sentence.clone()))),
    };
    let Some(name) = rows.first("value") else {
        return Ok(Zone::utc(None));
    };
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&name, Type::TEXT)];
    let is_zone = client.query_typed(IS_ZONE, &parameters).await;
    let is_zone = is_zone.map_err(DatabaseError::from)?;
    if !is_zone.first().is_some_and(|row| row.get(0)) {
        let fault = format!(
            "{} names a time zone that the database does not know",
            panel.file
        );
        return Ok(Zone::utc(Some(fault)));
    }
    let set = client.query_typed(SET_ZONE, &parameters).await;
    set.map_err(DatabaseError::from)?;
    Ok(Zone {
        name: name.to_owned(),
        of: rows.first("label").map(str::to_owned),
        fault: None,
    })
}
