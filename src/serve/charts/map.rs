//! Places as a plan: zones, in them rows of seats, who is there and what is free. Each zone is a table.

use std::collections::HashMap;

use maud::{Markup, html};

use super::heat::names;
use super::text::clipped;
use super::{Chart, NOTHING, Tone, frame, isolated, mark, message, shown, title_id};
use crate::convert::{counted, grouped};

/// More places are not drawn.
const MOST: usize = 1500;
/// Rows and columns of a zone, at most, and places that are not there for each that is; a zone that has more is drawn one place after
/// the other.
const MOST_LINES: usize = 40;
const MOST_MISSING: usize = 3;
/// Places of a line of such a zone.
const IN_LINE: usize = 20;
/// Characters of a name, and of a label of a row or a seat.
const NAME: usize = 24;
const LABEL: usize = 6;
/// Bytes of all zones; the rest is not drawn.
const ROOM: usize = 46_000;
/// Bytes of names with their hints; what is taken beyond them is drawn without one.
const ROOM_OF_NAMES: usize = 13_000;
/// More hints are not written.
const MOST_HINTS: usize = 200;
/// In place of a name.
const TAKEN: &str = "taken";

/// A place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seat {
    /// The part of the plan.
    pub(crate) zone: String,
    pub(crate) row: String,
    /// Within its row.
    pub(crate) place: String,
    /// Its whole name, such as `c1r2s3`.
    pub(crate) label: String,
    /// Who is there; none: it is free.
    pub(crate) text: Option<String>,
    /// More of who is there, such as `since 10:15`.
    pub(crate) note: Option<String>,
    pub(crate) tone: Tone,
}

/// Zones and rows in the order in which they first appear, seats by the numbers in their names.
pub(crate) fn map(chart: &Chart<'_>, seats: &[Seat]) -> Markup {
    if seats.is_empty() {
        return message(chart, Tone::None, NOTHING);
    }
    let seats = distinct(seats);
    let mut names_left = Names {
        room: ROOM_OF_NAMES,
        has_hints: taken(seats.iter().copied()) <= MOST_HINTS,
        left_out: 0,
    };
    let read = &seats[..seats.len().min(MOST)];
    let (mut room, mut drawn, mut zones) = (ROOM, 0, Vec::new());
    for (number, name) in names(read.iter().map(|seat| seat.zone.as_str()))
        .into_iter()
        .enumerate()
    {
        let of_zone = read.iter().copied().filter(|seat| seat.zone == name);
        let of_zone: Vec<&Seat> = of_zone.collect();
        let zone = zone(chart, number, name, &of_zone, &mut names_left);
        let Some(left) = room.checked_sub(zone.0.len()) else {
            break;
        };
        room = left;
        drawn += of_zone.len();
        zones.push(zone);
    }
    let picture = html! {
        ul.legend {
            li { span.t aria-hidden="true" {} "taken" }
            li { span.f aria-hidden="true" {} "free" }
        }
        div.zones { @for zone in zones { (zone) } }
        @if names_left.left_out > 0 {
            p.caption { "the names at " (counted(names_left.left_out, "place")) " are left out" }
        }
        @if seats.len() > drawn {
            p.caption { "and " (grouped((seats.len() - drawn) as u64)) " more places" }
        }
    };
    frame(chart, "map", &picture)
}

/// Each place once, where it first appears; of several that are the same place, one that is taken.
fn distinct(seats: &[Seat]) -> Vec<&Seat> {
    let mut known = HashMap::new();
    let mut places: Vec<&Seat> = Vec::new();
    for seat in seats {
        let key = (&seat.zone, &seat.row, &seat.place);
        let at = *known.entry(key).or_insert(places.len());
        match places.get_mut(at) {
            None => places.push(seat),
            Some(place) if place.text.is_none() => *place = seat,
            Some(_) => {}
        }
    }
    places
}

fn taken<'s>(seats: impl Iterator<Item = &'s Seat>) -> usize {
    seats.filter(|seat| seat.text.is_some()).count()
}

/// How much of names is written.
struct Names {
    room: usize,
    has_hints: bool,
    left_out: u64,
}

fn zone(
    chart: &Chart<'_>,
    number: usize,
    name: &str,
    seats: &[&Seat],
    names_left: &mut Names,
) -> Markup {
    let id = format!("{}-zone-{number}", chart.id);
    let taken = taken(seats.iter().copied());
    let plan = Plan::of(seats);
    html! {
        section.zone aria-labelledby=(id) {
            h3 id=(id) { (isolated(&shown(name))) " " small { (taken) " of " (seats.len()) " taken" } }
            div.scroll tabindex="0" role="group" aria-labelledby={ (title_id(chart)) " " (id) } {
                table {
                    @if !plan.columns.is_empty() {
                        thead {
                            tr {
                                td {}
                                @for column in &plan.columns { th scope="col" { (isolated(&clipped(column, LABEL))) } }
                            }
                        }
                    }
                    tbody {
                        @for (label, cells) in &plan.rows {
                            tr {
                                @if !label.is_empty() {
                                    th scope="row" { (isolated(&clipped(label, LABEL))) }
                                } @else if !plan.columns.is_empty() {
                                    td.n {}
                                }
                                @for cell in cells { (place(*cell, names_left)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The places of a zone in lines.
struct Plan<'s> {
    /// Names of the seats; empty: lines are one place after the other.
    columns: Vec<&'s str>,
    rows: Vec<(&'s str, Vec<Option<&'s Seat>>)>,
}

impl<'s> Plan<'s> {
    fn of(seats: &[&'s Seat]) -> Self {
        let mut columns = names(seats.iter().map(|seat| seat.place.as_str()));
        columns.sort_by_key(|name| (number(name), *name));
        let labels = names(seats.iter().map(|seat| seat.row.as_str()));
        let is_full = labels.len() * columns.len() <= seats.len() * (1 + MOST_MISSING);
        if !is_full || columns.len() > MOST_LINES || labels.len() > MOST_LINES {
            let lines = seats.chunks(IN_LINE);
            let lines = lines.map(|line| ("", line.iter().copied().map(Some).collect()));
            return Self {
                columns: Vec::new(),
                rows: lines.collect(),
            };
        }
        let mut rows = Vec::new();
        for label in labels {
            let mut cells = vec![None; columns.len()];
            for seat in seats.iter().filter(|seat| seat.row == label) {
                let key = (number(&seat.place), seat.place.as_str());
                let at = columns.binary_search_by_key(&key, |name| (number(name), *name));
                if let Some(cell) = at.ok().and_then(|at| cells.get_mut(at)) {
                    *cell = Some(*seat);
                }
            }
            rows.push((label, cells));
        }
        Self { columns, rows }
    }
}

/// The number in the name of a seat.
fn number(name: &str) -> Option<u64> {
    let digits: String = name.chars().filter(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn place(seat: Option<&Seat>, names_left: &mut Names) -> Markup {
    let Some(seat) = seat else {
        return html! { td.n {} };
    };
    let Some(name) = &seat.text else {
        return html! { td { "free" } };
    };
    let hint = names_left.has_hints.then(|| {
        let note = seat.note.as_deref().filter(|note| !note.is_empty());
        let of = [Some(seat.label.as_str()), Some(name), note];
        let parts = of.into_iter().flatten();
        let parts: Vec<String> = parts.map(|text| clipped(text, NAME)).collect();
        parts.join(", ")
    });
    let class = match seat.tone {
        Tone::Plain => "t".to_owned(),
        tone => format!("t {}", tone.class()),
    };
    let cell = html! { td class=(class) title=[hint] { (mark(seat.tone)) (isolated(&clipped(name, NAME))) } };
    let short = html! { td.t { (TAKEN) } };
    let longer = cell.0.len().saturating_sub(short.0.len());
    match names_left.room.checked_sub(longer) {
        Some(room) => {
            names_left.room = room;
            cell
        }
        None => {
            names_left.left_out += 1;
            short
        }
    }
}
