//! What comes next, day by day, as a list.

use jiff::civil::{Date, DateTime};
use maud::{Markup, html};

use super::bars::label;
use super::{Chart, NOTHING, Tone, frame, isolated, mark, message, shown};
use crate::convert::grouped;

/// Bytes of all entries; the rest is counted.
const ROOM: usize = 20_000;
/// Of which for a day.
const HEADING: usize = 64;

#[derive(Clone, Debug, Default)]
pub(crate) struct AgendaEntry {
    /// By the clock of the page.
    pub(crate) begin: DateTime,
    pub(crate) end: Option<DateTime>,
    pub(crate) label: String,
    /// What it is, such as `exam`.
    pub(crate) text: Option<String>,
    pub(crate) place: Option<String>,
    pub(crate) note: Option<String>,
    pub(crate) tone: Tone,
    /// A path of this site.
    pub(crate) link: Option<String>,
}

/// Entries in the order given, those of a day under its heading.
pub(crate) fn agenda(chart: &Chart<'_>, entries: &[AgendaEntry]) -> Markup {
    if entries.is_empty() {
        return message(chart, Tone::None, NOTHING);
    }
    let (mut room, mut last) = (ROOM, None);
    let drawn = entries
        .iter()
        .map(|entry| (entry.begin.date(), item(entry)));
    let drawn: Vec<(Date, Markup)> = drawn
        .take_while(|(day, item)| {
            let is_same = last.replace(*day) == Some(*day);
            let heading = if is_same { 0 } else { HEADING };
            let fits = room.checked_sub(item.0.len() + heading);
            room = fits.unwrap_or(0);
            fits.is_some()
        })
        .collect();
    let days = drawn.chunk_by(|(one, _), (other, _)| one == other);
    let picture = html! {
        ol.days {
            @for day in days {
                li {
                    h3 { (day_text(day[0].0)) }
                    ul { @for (_, item) in day { (item) } }
                }
            }
        }
        @if entries.len() > drawn.len() {
            p.caption { "and " (grouped((entries.len() - drawn.len()) as u64)) " more" }
        }
    };
    frame(chart, "agenda", &picture)
}

fn item(entry: &AgendaEntry) -> Markup {
    let facts = [&entry.text, &entry.place, &entry.note];
    let facts = facts.into_iter().filter_map(Option::as_ref);
    html! {
        li.(entry.tone.class()) {
            span.time { (time_text(entry)) }
            span.what {
                (mark(entry.tone)) strong { (label(&entry.label, entry.link.as_deref())) }
                @for fact in facts { " " small { (isolated(&shown(fact))) } }
            }
        }
    }
}

fn day_text(day: Date) -> String {
    day.strftime("%A, %-d %B %Y").to_string()
}

fn time_text(entry: &AgendaEntry) -> String {
    let begin = entry.begin.strftime("%H:%M");
    match entry.end {
        None => begin.to_string(),
        Some(end) if end.date() == entry.begin.date() => {
            format!("{begin}–{}", end.strftime("%H:%M"))
        }
        Some(end) => format!("{begin} – {}", end.strftime("%-d\u{a0}%b,\u{a0}%H:%M")),
    }
}
