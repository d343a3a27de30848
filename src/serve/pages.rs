//! The pages, each made of documents; none of them reads anything.

pub(crate) mod changes;
pub(crate) mod decisions;
pub(crate) mod history;
pub(crate) mod panels;
pub(crate) mod problem;
pub(crate) mod runs;
pub(crate) mod status;

use jiff::Timestamp;
use maud::{Markup, html};

use super::address::encoded;
use super::charts::{self, TableCell, Tone};
use super::snapshot::Shown;
use crate::convert::span;
use crate::printable;

/// Characters of a sentence; the rest is in the log and in JSON.
const LONGEST: usize = 2_000;

/// Since when a document cannot be read, if so, how old what is shown is, and that something newer comes.
pub(crate) fn freshness<T>(shown: &Shown<T>, now: Timestamp) -> Markup {
    html! {
        @if shown.is_awaited && shown.document.is_some() && shown.outage.is_none() {
            p class="facts" role="status" {
                "Read " (span(now.duration_since(shown.at))) " ago. A new reading is under way and appears here by itself."
            }
        }
        @if let Some(outage) = &shown.outage {
            div class="notice bad" role="status" {
                p {
                    strong { "The mirror cannot be read since " (time(outage.since)) }
                    " (" (span(now.duration_since(outage.since))) "): " bdi { (text(&outage.sentence)) }
                }
                p {
                    @if shown.is_partial {
                        "What staging knows is up to date; what only the database knows is missing, or has its age beside it. "
                    } @else if shown.document.is_some() {
                        "Shown is what was known " (span(now.duration_since(shown.at))) " ago. "
                    }
                    "It is tried again by itself."
                }
            }
        }
    }
}

/// When what is shown was read.
pub(crate) fn as_of<T>(shown: &Shown<T>, now: Timestamp) -> Markup {
    html! {
        p class="as-of" { "As of " (time(shown.at)) ", " (span(now.duration_since(shown.at))) " ago" }
    }
}

/// A time in UTC, to the second.
pub(crate) fn time(at: Timestamp) -> Markup {
    html! { time datetime=(format!("{at:.0}")) { (time_text(at)) "Z" } }
}

pub(crate) fn time_text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A sentence that may hold what others have written: one line, cut, nothing in it turns its direction around.
pub(crate) fn text(text: &str) -> String {
    let safe = printable::without_credentials(text);
    let mut line: String = safe.chars().take(LONGEST).collect();
    if safe.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    printable::line(&line).into_owned()
}

/// The path of a run's page.
pub(crate) fn run_path(id: &str) -> String {
    format!("/runs/{}", encoded(id))
}

fn run_link(id: &str) -> Markup {
    html! { a href=(run_path(id)) { bdi { (charts::shown(id)) } } }
}

fn run_cell(id: &str) -> TableCell {
    TableCell::Text {
        text: id.to_owned(),
        link: Some(run_path(id)),
    }
}

/// The first entries that fit into `room` bytes, at least one, and whether there are more.
fn take_fitting(entries: impl Iterator<Item = Markup>, room: usize) -> (Vec<Markup>, bool) {
    let mut shown = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        bytes += entry.0.len();
        if bytes > room && !shown.is_empty() {
            return (shown, true);
        }
        shown.push(entry);
    }
    (shown, false)
}

/// How good the outcome of a command is.
fn outcome_tone(outcome: &str) -> Tone {
    match outcome {
        "complete" => Tone::Ok,
        "running" => Tone::Plain,
        "failed" => Tone::Failed,
        _ => Tone::Warning,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_run_is_one_segment_whatever_its_name() {
        assert_eq!(run_path("20261130T041500Z-1"), "/runs/20261130T041500Z-1");
        assert_eq!(run_path("../a b\"<"), "/runs/%2E%2E%2Fa%20b%22%3C");
    }

    #[test]
    fn a_list_ends_where_there_is_no_room_for_more() {
        const ROOM: usize = 100;
        let fits = |bytes: usize, count| {
            let entries = std::iter::repeat_n(html! { ("x".repeat(bytes)) }, count);
            let (shown, has_more) = take_fitting(entries, ROOM);
            (shown.len(), has_more)
        };
        assert_eq!(fits(1, 0), (0, false));
        assert_eq!(fits(ROOM / 2, 2), (2, false));
        assert_eq!(fits(ROOM / 2, 3), (2, true));
        assert_eq!(fits(2 * ROOM, 1), (1, false), "one is always shown");
    }

    #[test]
    fn a_sentence_is_one_line_and_has_an_end() {
        let long = "x".repeat(10_000);
        assert_eq!(text(&long).chars().count(), LONGEST + 1);
        let odd = text("a\u{202e}b\nc");
        assert!(!odd.contains(['\u{202e}', '\n']), "{odd}");
    }
}
