//! Pages of panels. Each panel is a file of `sql/pages/` or of a pack's `pages/`: a header that says how it is drawn, and one `SELECT`.
//! Knows no table; draws nothing.

mod calendar;
mod files;
mod header;
mod query;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::config::{Config, Pack};
use crate::database::DatabaseError;
use crate::exit::Failure;
use crate::printable;

#[cfg(test)]
pub(crate) use calendar::Time;
pub(crate) use calendar::{Entry, entries};
pub(crate) use files::{Found, PageFiles, PanelFile};
pub(crate) use header::{Header, Kind, Width};
pub(crate) use query::Rows;

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

/// Tables and views of a schema.
const RELATIONS: &str = "SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_class AS c \
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
    WHERE n.nspname = $1::pg_catalog.text AND c.relkind = ANY ('{r,p,v,m,f}'::\"char\"[])";

/// The document of `/api/PAGE.json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Page {
    pub(crate) title: String,
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

/// A file of a page, and what its query gave.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Panel {
    /// The file, such as `sql/pages/x/20-y.sql`.
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

impl PageFiles {
    /// Whether a panel is a calendar.
    pub(crate) fn has_calendar(&self) -> bool {
        let texts = self
            .files
            .iter()
            .filter_map(|panel| panel.text.as_ref().ok());
        let mut headers = texts.filter_map(|text| header::parse(text).ok());
        headers.any(|(header, _)| header.kind == Kind::Calendar)
    }
}

/// The names of tables and views in the mirror.
///
/// # Errors
///
/// The connection was lost.
pub(crate) async fn relations(
    client: &Client,
    schema: &str,
) -> Result<BTreeSet<String>, DatabaseError> {
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&schema, Type::TEXT)];
    let rows = client.query_typed(RELATIONS, &parameters).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The pages of a configuration whose mirror has these tables and views; none: it is not known which, and all that can be.
pub(crate) fn find(config: &Config, relations: Option<&BTreeSet<String>>) -> Found {
    Found::of(config, |pack| {
        relations.is_none_or(|relations| is_made(config, relations, pack))
    })
}

/// Whether the mirror has all that a pack, and those that it needs, define.
fn is_made(config: &Config, relations: &BTreeSet<String>, pack: &Pack) -> bool {
    let is_its = |of: &Option<String>| {
        (of.as_ref()).is_some_and(|of| *of == pack.name || pack.needs.contains(of))
    };
    let tables = config.tables.iter().filter(|table| is_its(&table.pack));
    let views = config.views.iter().filter(|view| is_its(&view.pack));
    let mut names = tables
        .map(|table| &table.name)
        .chain(views.map(|view| &view.name));
    names.all(|name| relations.contains(name.as_str()))
}

/// What is wrong with the files of a page that are not the program's own, as far as the server can tell without running their queries:
/// sentences.
///
/// # Errors
///
/// The connection was lost.
pub(crate) async fn faults(client: &Client, page: &PageFiles) -> Result<Vec<String>, Failure> {
    let mut faults = Vec::new();
    for PanelFile { file, text, .. } in page.files.iter().filter(|panel| panel.is_own) {
        let parsed = (text.as_ref().map_err(Clone::clone)).and_then(|text| header::parse(text));
        match parsed {
            Ok((header, query)) => {
                faults.extend(query::fault(client, file, header.kind, query).await?);
            }
            Err(fault) => faults.push(unusable(file, &fault)),
        }
    }
    Ok(faults)
}

/// Reads the panels of a page in a read-only transaction, whose search path has the mirror's tables. A panel that was read less than its
/// `every` ago is taken from `earlier`.
///
/// # Errors
///
/// The connection was lost. Whatever is wrong with one panel is in its place.
pub(crate) async fn read(
    client: &Client,
    page: PageFiles,
    earlier: Option<&Page>,
) -> Result<Page, Failure> {
    let (now, begun) = (crate::clock::now(), Instant::now());
    client
        .query_typed(SET_UP, &[])
        .await
        .map_err(DatabaseError::from)?;
    let mut zone = Zone::utc(None);
    let mut panels = Vec::new();
    let title = page.title();
    for PanelFile { file, text, .. } in page.files {
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
    Ok(Page {
        title,
        zone,
        panels,
    })
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

impl Page {
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

    /// Whether a panel is a calendar.
    pub(crate) fn has_calendar(&self) -> bool {
        let mut headers = self.panels.iter().filter_map(|panel| panel.header.as_ref());
        headers.any(|header| header.kind == Kind::Calendar)
    }

    /// What its calendars show.
    ///
    /// # Errors
    ///
    /// Why one of them shows nothing: a sentence.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, String> {
        let mut all = Vec::new();
        for panel in &self.panels {
            // A file that cannot be used may be a calendar.
            let is_other = (panel.header.as_ref()).is_some_and(|it| it.kind != Kind::Calendar);
            match &panel.outcome {
                _ if is_other => {}
                Outcome::Rows(rows) => all.extend(entries(rows)),
                Outcome::Error(sentence) => return Err(sentence.clone()),
            }
        }
        Ok(all)
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
