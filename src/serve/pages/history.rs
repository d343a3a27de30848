//! `/history`: how a row was, version by version, newest first. It shows personal values.

use maud::{Markup, html};

use super::changes::{LONGEST, MOST_COLUMNS, Row, faults, fields, heading, pager, row, value};
use super::{run_link, take_fitting, time};
use crate::change_feed::{Version, VersionPage};
use crate::convert::counted;
use crate::printable;
use crate::serve::change_query::Asked;
use crate::serve::charts;

/// Versions of a page.
pub(crate) const MOST: usize = 50;

/// The main part of the page.
pub(crate) fn main(page: &VersionPage, asked: &Asked) -> Markup {
    html! {
        h1 { "History of a row" }
        @if page.kept.is_empty() {
            p class="empty" {
                "It is not kept how rows were: name tables and columns in " code { "[history]" } " of " code { "pipeline.toml" }
                ", and load."
            }
        } @else {
            (form(page, asked))
            @if asked.faults.is_empty() { (versions(page, asked)) }
            @else { (faults(asked)) }
        }
    }
}

fn form(page: &VersionPage, asked: &Asked) -> Markup {
    html! {
        form class="filters" method="get" action="/history" {
            label {
                "Table "
                select name="table" {
                    @for name in page.kept.keys() {
                        option value=(printable::line(name)) selected[name == asked.text("table")] { (charts::shown(name)) }
                    }
                }
            }
            label {
                "Key "
                input name="key" value=(printable::line(asked.text("key"))) placeholder="12345" autocomplete="off";
            }
            button type="submit" { "Show" }
            a href="/changes" { "Changes" }
        }
    }
}

fn versions(page: &VersionPage, asked: &Asked) -> Markup {
    let (table, key) = (asked.text("table"), asked.text("key"));
    if table.is_empty() || key.is_empty() {
        return html! { p class="empty" { "Name a table and the key of a row." } };
    }
    if !page.kept.contains_key(table) {
        return html! { p class="empty" { "It is not kept how rows of that table were." } };
    }
    let is_kept = page.spans.first().is_some_and(|span| span.to.is_none());
    let before = page.versions.iter().chain(&page.earlier).skip(1);
    let before = before.map(Some).chain([None]);
    let cards =
        (page.versions.iter().zip(before)).map(|(version, before)| card(version, before, is_kept));
    let (shown, is_cut) = take_fitting(cards, LONGEST);
    let last = page.versions[..shown.len()].last();
    let last = last.filter(|_| is_cut || page.earlier.is_some());
    html! {
        (known(page))
        @if shown.is_empty() {
            p class="empty" {
                @if asked.wanted.before.is_some() { "There is no older version of this row." }
                @else { "No such row is known." }
            }
        } @else {
            ol class="changes" { @for version in shown { li class="card" { (version) } } }
        }
        (pager(asked, "/history", "Parts of the history", last.map(|last| last.number)))
    }
}

/// From when to when it is known how the rows of the table were.
fn known(page: &VersionPage) -> Markup {
    html! {
        p class="hint" {
            "Known is how this table was "
            @for (place, span) in page.spans.iter().enumerate() {
                @if place > 0 { ", and " }
                "from " (time(span.from)) " to " @match span.to { Some(to) => (time(to)), None => "now" }
            }
            "."
        }
    }
}

/// A version, and what differs from the one `before` it. `is_kept`: the table is kept now.
fn card(version: &Version, before: Option<&Version>, is_kept: bool) -> Markup {
    let follows = before.filter(|before| before.valid_to == Some(version.valid_from));
    let table = columns(version, follows);
    html! {
        h3 { code { bdi { (charts::shown(&fields(&version.key))) } } " from " (time(version.valid_from)) }
        p class="facts" {
            "run " (run_link(&version.from_run)) " · "
            @match (version.valid_to, &version.to_run) {
                (Some(to), run) => { "to " (time(to)) @if let Some(run) = run { ", run " (run_link(run)) } },
                (None, _) if is_kept => "it is so now",
                (None, _) => "the last that is known",
            }
            @if before.is_some() && follows.is_none() { " · for a time before it there was no such row" }
        }
        (table)
    }
}

/// The columns, those that have changed first.
fn columns(version: &Version, before: Option<&Version>) -> Markup {
    let now = row(Some(&version.row));
    let before: Option<Row> = before.map(|before| row(Some(&before.row)));
    let is_changed = |column: &String| {
        let text = |row: &Row| row.get(column).map(|value| value.get().to_owned());
        (before.as_ref()).is_some_and(|before| text(before) != text(&now))
    };
    let mut columns: Vec<(bool, &String)> = now
        .keys()
        .map(|column| (!is_changed(column), column))
        .collect();
    columns.sort();
    let left_out = columns.len().saturating_sub(MOST_COLUMNS);
    columns.truncate(MOST_COLUMNS);
    html! {
        table {
            thead { tr { th scope="col" { "Column" } th scope="col" { "Value" } } }
            tbody {
                @for (is_same, column) in columns {
                    tr class=[(!is_same).then_some("is-changed")] {
                        (heading(column, !is_same))
                        td { (value(now.get(column).map(AsRef::as_ref))) }
                    }
                }
            }
        }
        @if left_out > 0 {
            p class="hint" { (counted(left_out as u64, "more column")) " in " code { "cursus explain --at" } }
        }
    }
}
