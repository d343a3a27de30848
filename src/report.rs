//! What a run did, for people and for programs.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

pub use crate::convert::grouped;
pub(crate) use crate::convert::{counted, span, span_of, took};
use crate::forecast;
use crate::load::{Drift, TableCounts};
use crate::printable;
use crate::staging::{Mode, Outcome, ResourceState, ResourceSummary, RunRecord};
pub use crate::table::{Column, Table};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReportState {
    #[default]
    Open,
    Complete,
    /// Some resource is not.
    Partial,
    /// It was stopped, and can be resumed.
    Stopped,
    Failed,
    /// Another process holds the lock.
    Skipped,
}

impl From<Outcome> for ReportState {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Complete => Self::Complete,
            Outcome::Partial => Self::Partial,
            Outcome::Stopped => Self::Stopped,
            Outcome::Failed => Self::Failed,
        }
    }
}

impl fmt::Display for ReportState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The JSON document of `extract` and `run`.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct RunReport {
    /// The run; none if it did not begin.
    pub(crate) run_id: Option<String>,
    /// Full if every resource was read in full.
    pub(crate) mode: Option<Mode>,
    pub(crate) state: ReportState,
    pub(crate) hits: u64,
    pub(crate) rejected_429: u64,
    pub(crate) duration_ms: u64,
    pub(crate) resources: Vec<ResourceSummary>,
    pub(crate) tables: Vec<TableCounts>,
    /// How far the forecast was off; `None` if the run was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) forecast: Option<forecast::Accuracy>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) drift: Vec<Drift>,
    pub(crate) rate: Map<String, Value>,
    /// What will go wrong, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<String>,
}

impl RunReport {
    pub(crate) fn add_run(&mut self, record: &RunRecord, rejected_429: u64) {
        self.run_id = Some(record.run_id.to_string());
        self.mode = record.mode;
        self.state = record.outcome.map(Into::into).unwrap_or_default();
        self.hits = record.hits;
        self.rejected_429 = rejected_429;
        self.resources.clone_from(&record.resources);
        self.rate.clone_from(&record.rate);
        // Why a run was stopped is reported once, not for each of its unread resources.
        let incomplete = (record.resources.iter()).filter(|resource| {
            resource.is_incomplete() && resource.state != ResourceState::Stopped
        });
        self.errors.extend(incomplete.map(|resource| {
            format!(
                "{} is {}: {}",
                resource.name,
                resource.state,
                resource.notes.join("; ")
            )
        }));
    }

    pub(crate) fn add_load(&mut self, load: LoadReport) {
        sum_tables(&mut self.tables, &load.tables);
        self.errors.extend(load.errors);
        self.warnings.extend(load.warnings);
        let drift = load.drift.iter().map(|drift| format!("drift: {drift}"));
        self.warnings.extend(drift);
        self.drift = load.drift;
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct LoadReport {
    /// Nothing of it was kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) dry_run: bool,
    pub(crate) runs: Vec<String>,
    /// Runs that were asked for and are loaded already.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) skipped: Vec<String>,
    /// Counts of all runs together, one a table.
    pub(crate) tables: Vec<TableCounts>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) drift: Vec<Drift>,
    /// What has changed in the source of the schema, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<String>,
}

pub(crate) fn sum_tables(sums: &mut Vec<TableCounts>, tables: &[TableCounts]) {
    for table in tables {
        match sums.iter_mut().find(|sum| sum.name == table.name) {
            Some(sum) => sum.add(table),
            None => sums.push(table.clone()),
        }
    }
}

pub(crate) fn resources_table(resources: &[ResourceSummary]) -> Table {
    Table::new(
        [
            Column::fixed("resource"),
            Column::fixed("mode"),
            Column::fixed("state"),
            Column::number("pages").rank(1),
            Column::number("requests").rank(2),
            Column::number("rows"),
            Column::number("MB").rank(3),
        ],
        resources.iter().flat_map(|resource| {
            let own = vec![
                resource.name.to_string(),
                resource
                    .mode
                    .map(|mode| mode.to_string())
                    .unwrap_or_default(),
                resource.state.to_string(),
                grouped(resource.pages),
                grouped(resource.hits),
                grouped(resource.rows),
                megabytes(resource.bytes),
            ];
            let asked = resource.reads.iter().filter(|read| read.pages > 0);
            let named = asked.map(|read| {
                vec![
                    format!("  of it: {}", read.name),
                    read.mode.to_string(),
                    read.state.to_string(),
                    grouped(read.pages),
                    grouped(read.hits),
                    grouped(read.rows),
                    String::new(),
                ]
            });
            std::iter::once(own).chain(named).collect::<Vec<_>>()
        }),
    )
}

/// Name, rank and number.
type Count = (&'static str, u8, fn(&TableCounts) -> u64);

/// What a load did. The column of kept rows is left out where it is empty.
pub(crate) fn tables_table(tables: &[TableCounts]) -> Table {
    let mut counts: Vec<Count> = vec![
        ("staged", 4, |table| table.staged),
        ("inserted", 0, |table| table.inserted),
        ("updated", 0, |table| table.updated),
        ("unchanged", 3, |table| table.unchanged),
        ("deleted", 0, |table| table.deleted),
        ("kept", 0, |table| table.kept),
        ("out of scope", 2, |table| table.out_of_scope),
        ("quarantined", 1, |table| table.quarantined),
        ("ms", 5, |table| table.duration_ms),
    ];
    let are_some_kept = tables.iter().any(|table| table.kept > 0);
    counts.retain(|(name, ..)| *name != "kept" || are_some_kept);
    let numbers = (counts.iter()).map(|(name, rank, _)| Column::number(name).rank(*rank));
    let columns = [Column::fixed("table")].into_iter().chain(numbers);
    let rows = tables.iter().map(|table| {
        let counts = counts.iter().map(|(.., of)| grouped(of(table)));
        [table.name.to_string()].into_iter().chain(counts).collect()
    });
    Table::new(columns, rows)
}

/// A few keys of the rows that a dry run would change or hold, a line for each table and kind of change, and a few rejected
/// records, a line each.
pub(crate) fn sample_lines(tables: &[TableCounts]) -> Vec<String> {
    let mut lines = Vec::new();
    for table in tables {
        let Some(samples) = &table.samples else {
            continue;
        };
        for (what, keys, count) in [
            ("inserts", &samples.inserted, table.inserted),
            ("updates", &samples.updated, table.updated),
            ("deletes", &samples.deleted, table.deleted),
            ("holds", &samples.held, table.refused),
        ] {
            if !keys.is_empty() {
                let shown: Vec<String> = keys.iter().map(ToString::to_string).collect();
                let more = if count > keys.len() as u64 {
                    ", …"
                } else {
                    ""
                };
                let line = format!("{} {what} {}{more}", table.name, shown.join(", "));
                lines.push(printable::line(&line).into_owned());
            }
        }
        for rejected in &samples.rejected {
            let place = place(&rejected.file, rejected.record, rejected.element);
            let column = rejected.column.as_deref().unwrap_or("the whole row");
            let line = format!(
                "{} rejects {place}, {column}: {}",
                table.name, rejected.reason
            );
            lines.push(printable::line(&line).into_owned());
        }
    }
    lines
}

/// Where a record is staged: `users/page-00001.json.gz [12]`, and the place in the nested list. Rows of a SELECT have no file.
pub(crate) fn place(file: &str, record: u64, element: Option<u64>) -> String {
    if file.is_empty() {
        return "made by a SELECT".to_owned();
    }
    let element = element.map_or_else(String::new, |element| format!(" [{element}]"));
    format!("{file} [{record}]{element}")
}

fn megabytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let megabytes = bytes as f64 / 1e6;
    format!("{megabytes:.1}")
}
