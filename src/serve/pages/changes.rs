//! `/changes`: what loads have changed, row by row, with values from before and after. It shows personal values.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::value::RawValue;

use super::{run_link, take_fitting, time};
use crate::change_feed::{Change, ChangePage};
use crate::convert::counted;
use crate::printable;
use crate::serve::change_query::{Asked, OPS, path_of_row};
use crate::serve::charts;

/// Changes of a page.
pub(crate) const MOST: usize = 50;
/// Bytes of the changes of a page, at least one of them.
pub(super) const LONGEST: usize = 34_000;
/// Columns of a change; the rest is counted.
pub(super) const MOST_COLUMNS: usize = 24;
/// Bytes of the address of a row.
const LONGEST_PATH: usize = 2_000;
/// How the run of a change is called where a person was erased.
const ERASURE: &str = "erasure-";

pub(super) type Row = BTreeMap<String, Box<RawValue>>;

/// The main part of the page.
pub(crate) fn main(page: &ChangePage, asked: &Asked) -> Markup {
    if page.extent.last == 0 {
        return html! {
            h1 { "Changes" }
            p class="empty" {
                "No change is written down yet: name tables and columns in " code { "[changes]" } " of " code { "pipeline.toml" }
                ", and load."
            }
            @if !page.kept.is_empty() { p { a href="/history" { "How rows were" } } }
        };
    }
    let cards = page.changes.iter().map(|change| {
        let is_kept = page.kept.contains_key(&change.table);
        card(change, is_kept, asked)
    });
    let (shown, is_cut) = take_fitting(cards, LONGEST);
    let last = page.changes[..shown.len()].last().map(|last| last.seq);
    let next = if is_cut { last } else { page.next };
    html! {
        h1 { "Changes" }
        (form(page, asked))
        @if asked.faults.is_empty() {
            (list(&shown, page, asked))
            (pager(asked, "/changes", "Parts of the changes", next))
        } @else {
            (faults(asked))
        }
    }
}

fn form(page: &ChangePage, asked: &Asked) -> Markup {
    let table = asked.text("table");
    // What nobody would see in a field is not written into it.
    let field = |filter: &str| printable::line(asked.text(filter)).into_owned();
    let is_listed = page.extent.tables.contains_key(table);
    html! {
        form class="filters" method="get" action="/changes" {
            label {
                "Table "
                select name="table" {
                    option value="" { "all" }
                    @for name in page.extent.tables.keys() {
                        option value=(printable::line(name)) selected[name == table] { (charts::shown(name)) }
                    }
                    @if !table.is_empty() && !is_listed {
                        option value=(field("table")) selected { (charts::shown(table)) }
                    }
                }
            }
            label { "Key " input name="key" value=(field("key")) placeholder="12345" autocomplete="off"; }
            label {
                "What "
                select name="op" {
                    option value="" { "all" }
                    @for (op, word) in OPS {
                        option value=(op) selected[op == asked.text("op")] { (word) }
                    }
                }
            }
            label { "Run " input name="run" value=(field("run")) autocomplete="off"; }
            label { "Since " input name="since" value=(field("since")) placeholder="24h" autocomplete="off"; }
            button type="submit" { "Show" }
            @if asked.is_filtered() { a href="/changes" { "All changes" } }
            @if !page.kept.is_empty() { a href=(asked.path_of_row("/history")) { "How rows were" } }
        }
    }
}

fn list(shown: &[Markup], page: &ChangePage, asked: &Asked) -> Markup {
    html! {
        @if shown.is_empty() {
            p class="empty" {
                @if page.next.is_some() { "None of the changes that were looked at is one of these." }
                @else { "There is no such change." }
            }
        } @else {
            ol class="changes" { @for change in shown { li class="card" { (change) } } }
        }
        @if page.extent.dropped > 0 && !asked.is_filtered() {
            p class="hint" { "Changes up to number " (page.extent.dropped) " are not kept any more." }
        }
    }
}

/// A notice of the parts of the address that cannot be read.
pub(super) fn faults(asked: &Asked) -> Markup {
    html! {
        div class="notice bad" role="status" { ul { @for fault in &asked.faults { li { bdi { (charts::shown(fault)) } } } } }
    }
}

/// Links to the newest part of a list, and to the part that follows this one.
pub(super) fn pager(asked: &Asked, path: &str, label: &str, next: Option<u64>) -> Markup {
    let is_begin = asked.wanted.before.is_none();
    html! {
        @if next.is_some() || !is_begin {
            nav class="pager" aria-label=(label) {
                @if !is_begin { a href=(asked.path(path, None)) { "Newest" } }
                @if let Some(next) = next {
                    a rel="next" href=(asked.path(path, Some(next))) { "Older" }
                }
            }
        }
    }
}

/// `is_kept`: it is known how rows of that table were.
fn card(change: &Change, is_kept: bool, asked: &Asked) -> Markup {
    let word = OPS.iter().find(|(op, _)| *op == change.op);
    let word = word.map_or(change.op.as_str(), |(_, word)| word);
    let key = change.key.as_ref().map(|key| key.get());
    let path_to = |page| row_path(page, &change.table, key?);
    let path = path_to("/changes").filter(|_| !key.is_some_and(|key| asked.is_of_row(key)));
    let history = path_to("/history").filter(|_| is_kept);
    html! {
        h3 {
            bdi { (charts::shown(&change.table)) }
            @if let Some(key) = &change.key { " " code { bdi { (charts::shown(&fields(key))) } } }
            " " (word)
        }
        p class="facts" {
            "number " (change.seq) " · " (time(change.seen_at)) " · "
            @if change.run.starts_with(ERASURE) { "a person was erased" } @else { "run " (run_link(&change.run)) }
            @if let Some(path) = &path { " · " a href=(path) { "All changes of this row" } }
            @if let Some(path) = &history { " · " a href=(path) { "How this row was" } }
        }
        @if change.op == "s" {
            p { bdi { (charts::shown(&change.changed.join(", "))) } }
        } @else {
            (sides(change))
        }
    }
}

/// The address of a page about a row; none if it would be too long.
fn row_path(to: &str, table: &str, key: &str) -> Option<String> {
    Some(path_of_row(to, table, key)).filter(|path| path.len() <= LONGEST_PATH)
}

pub(super) fn row(json: Option<&RawValue>) -> Row {
    json.and_then(|json| serde_json::from_str(json.get()).ok())
        .unwrap_or_default()
}

/// `id=5, part=2`.
pub(super) fn fields(json: &RawValue) -> String {
    let fields = row(Some(json)).into_iter();
    let fields: Vec<String> = fields
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    fields.join(", ")
}

/// The columns, those that differ first.
fn sides(change: &Change) -> Markup {
    let (before, after) = (row(change.before.as_deref()), row(change.after.as_deref()));
    let is_changed = |column: &str| change.changed.iter().any(|it| it == column);
    let mut columns: Vec<&String> = before.keys().chain(after.keys()).collect();
    columns.sort_by_key(|column| (!is_changed(column), *column));
    columns.dedup();
    let left_out = columns.len().saturating_sub(MOST_COLUMNS);
    columns.truncate(MOST_COLUMNS);
    html! {
        table {
            thead { tr { th scope="col" { "Column" } th scope="col" { "Before" } th scope="col" { "After" } } }
            tbody {
                @for column in columns {
                    tr class=[is_changed(column).then_some("is-changed")] {
                        (heading(column, is_changed(column)))
                        td { (value(before.get(column).map(AsRef::as_ref))) }
                        td { (value(after.get(column).map(AsRef::as_ref))) }
                    }
                }
            }
        }
        @if left_out > 0 { p class="hint" { (counted(left_out as u64, "more column")) " in JSON" } }
    }
}

/// The name of a column, marked if its value has changed.
pub(super) fn heading(column: &str, is_changed: bool) -> Markup {
    html! {
        th scope="row" {
            bdi { (charts::shown(column)) }
            @if is_changed { " " span class="mark" { "changed" } }
        }
    }
}

pub(super) fn value(json: Option<&RawValue>) -> Markup {
    html! {
        @match json {
            Some(json) => code { bdi { (charts::shown(json.get())) } },
            None => "–",
        }
    }
}
