//! `/runs` and `/runs/ID`: the history of commands, and one run. No value of a record is on them.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::{outcome_tone, run_cell, text, time, time_text};
use crate::convert::{counted, span};
use crate::load::LedgerLoad;
use crate::serve::charts::Tone;
use crate::serve::charts::{self, Chart, TableCell};
use crate::staging::{ResourceState, ResourceSummary};
use crate::status::runs::{Detail, Entry, KnownRuns};

/// Entries of a page.
const MOST: usize = 50;

/// Commands on the page of a run, the newest: `watch` resumes one as often as it is stopped.
const MOST_COMMANDS: usize = 10;

/// What of the history is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// From 1.
    page: usize,
    /// A day in UTC, as `2026-11-30`.
    day: Option<String>,
}

impl Selection {
    /// Of the query of an address; what is not understood is left out.
    pub(crate) fn of(query: &str) -> Self {
        let mut selection = Self { page: 1, day: None };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "page" => selection.page = value.parse().unwrap_or(1).max(1),
                "day" if value.parse::<jiff::civil::Date>().is_ok() => {
                    selection.day = Some(value.to_owned());
                }
                _ => {}
            }
        }
        selection
    }

    fn path(&self, page: usize) -> String {
        match &self.day {
            Some(day) => format!("/runs?day={day}&page={page}"),
            None => format!("/runs?page={page}"),
        }
    }
}

/// The main part of the list.
pub(crate) fn list(runs: &KnownRuns, selection: &Selection) -> Markup {
    let mut entries = runs.history(usize::MAX).runs;
    if let Some(day) = &selection.day {
        entries.retain(|entry| entry.started_at.strftime("%Y-%m-%d").to_string() == *day);
    }
    let pages = entries.len().div_ceil(MOST).max(1);
    let page = selection.page.min(pages);
    let shown = entries.iter().skip((page - 1) * MOST).take(MOST);
    let rows: Vec<_> = shown.map(row).collect();
    let chart = Chart {
        unit: "newest first",
        caption: "A command that was killed has no line of its own: its run does. Times are UTC.",
        ..Chart::new("runs", "Commands that read, loaded or changed something")
    };
    html! {
        h1 { "Runs" @if let Some(day) = &selection.day { " of " (day) } }
        @if selection.day.is_some() {
            p { a href="/runs" { "All runs" } }
        }
        @if entries.is_empty() {
            p class="empty" {
                @if selection.day.is_some() { "Nothing was done on this day." }
                @else { "Nothing was done here yet. " code { "cursus run" } " makes the first run." }
            }
        } @else {
            div class="panels" { div class="panel full" {
                (charts::table(&chart, &NAMES.map(str::to_owned), &rows))
            } }
            @if pages > 1 {
                nav class="pager" aria-label="Parts of the history" {
                    @if page > 1 { a rel="prev" href=(selection.path(page - 1)) { "Newer" } }
                    span { "Part " (page) " of " (pages) }
                    @if page < pages { a rel="next" href=(selection.path(page + 1)) { "Older" } }
                }
            }
        }
    }
}

const NAMES: [&str; 10] = [
    "Started", "Command", "Run", "Outcome", "Exit", "Took", "Requests", "Staged", "Changed",
    "Error",
];

fn row(entry: &Entry) -> Vec<TableCell> {
    let took = entry
        .finished_at
        .map(|end| span(end.duration_since(entry.started_at)));
    vec![
        TableCell::text(time_text(entry.started_at)),
        TableCell::of(entry.command.as_deref(), TableCell::text),
        TableCell::of(entry.run_id.as_deref(), run_cell),
        TableCell::State(entry.outcome.clone(), outcome_tone(&entry.outcome)),
        TableCell::of(entry.exit_code.map(u64::from), TableCell::count),
        TableCell::of(took, TableCell::text),
        TableCell::count(entry.requests),
        TableCell::count(entry.rows_staged),
        TableCell::of(entry.rows_changed, TableCell::count),
        TableCell::of(entry.error.as_deref(), TableCell::text),
    ]
}

/// The main part of the page of a run.
pub(crate) fn detail(detail: &Detail, now: Timestamp) -> Markup {
    let earlier = detail.commands.len().saturating_sub(MOST_COMMANDS);
    html! {
        p class="back" { a href="/runs" { "All runs" } }
        h1 { "Run " bdi { (charts::shown(&detail.run_id)) } }
        @if earlier > 0 {
            p class="hint" { (counted(earlier as u64, "earlier command")) " left out" }
        }
        @for entry in &detail.commands[earlier..] {
            (command(entry, now))
        }
        div class="panels" {
            @if !detail.resources.is_empty() {
                div class="panel full" { (resources(&detail.resources)) }
            }
            @match detail.tables.as_deref() {
                None => p class="empty" { "What was loaded of it is not known without the database." },
                Some([]) => p class="empty" { "Nothing of it was loaded." },
                Some(loads) => div class="panel full" { (tables(loads)) },
            }
        }
        p class="hint" { "The same in a terminal: " code { "cursus runs " (charts::shown(&detail.run_id)) } }
    }
}

fn command(entry: &Entry, now: Timestamp) -> Markup {
    html! {
        p class="lead" {
            bdi { (charts::shown(entry.command.as_deref().unwrap_or("Its command is not recorded"))) }
            ": " strong { bdi { (charts::shown(&entry.outcome)) } }
            @if let Some(code) = entry.exit_code { ", exit code " (code) }
        }
        p class="facts" {
            (time(entry.started_at))
            @match entry.finished_at {
                Some(end) => { " to " (time(end)) ", " (span(end.duration_since(entry.started_at))) },
                None => { ", begun " (span(now.duration_since(entry.started_at))) " ago" },
            }
            " · " (counted(entry.requests, "request"))
            " · " (counted(entry.rows_staged, "row")) " staged"
            @if let Some(rows) = entry.rows_changed { " · " (counted(rows, "row")) " changed" }
        }
        @if let Some(error) = &entry.error {
            p class="why" { bdi { (text(error)) } }
        }
    }
}

fn resources(resources: &[ResourceSummary]) -> Markup {
    let rows = resources.iter().map(|resource| {
        let tone = match resource.state {
            ResourceState::Complete => Tone::Ok,
            _ => Tone::Warning,
        };
        vec![
            TableCell::text(resource.name.to_string()),
            TableCell::text((resource.mode).map_or_else(String::new, |mode| mode.to_string())),
            TableCell::State(resource.state.to_string(), tone),
            TableCell::count(resource.hits),
            TableCell::count(resource.rows),
        ]
    });
    let names = ["Resource", "Mode", "State", "Requests", "Rows"];
    let chart = Chart::new("resources", "Resources");
    charts::table(&chart, &names.map(str::to_owned), &rows.collect::<Vec<_>>())
}

fn tables(loads: &[LedgerLoad]) -> Markup {
    let rows = loads.iter().map(|load| {
        let took = SignedDuration::from_millis(i64::try_from(load.duration_ms).unwrap_or(0));
        vec![
            TableCell::text(load.table.as_str()),
            TableCell::text(load.resource.as_str()),
            TableCell::text(time_text(load.loaded_at)),
            TableCell::count(load.staged),
            TableCell::count(load.inserted),
            TableCell::count(load.updated),
            TableCell::count(load.deleted),
            TableCell::count(load.quarantined),
            TableCell::text(span(took)),
        ]
    });
    let names = [
        "Table",
        "Resource",
        "Loaded (UTC)",
        "Staged",
        "Inserted",
        "Updated",
        "Deleted",
        "Quarantined",
        "Took",
    ];
    let chart = Chart::new("tables", "Tables");
    charts::table(&chart, &names.map(str::to_owned), &rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_address_selects_is_a_page_and_a_day() {
        let of = |page, day: Option<&str>| Selection {
            page,
            day: day.map(str::to_owned),
        };
        for (query, expected) in [
            ("", of(1, None)),
            ("page=3", of(3, None)),
            ("page=0&day=2026-11-30", of(1, Some("2026-11-30"))),
            ("day=<script>&page=-1", of(1, None)),
            ("page=99999999999999999999", of(1, None)),
        ] {
            assert_eq!(Selection::of(query), expected, "{query}");
        }
    }
}
