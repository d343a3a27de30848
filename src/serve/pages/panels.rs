//! Pages of panels: the people and projects of the mirror, in pictures.

use maud::{Markup, html};

use crate::serve::charts::{
    self, AgendaEntry, Bar, Chart, Column, Figure, HeatCell, Seat, TableCell, Tone,
};
use crate::serve::panels::{self, Header, Kind, Outcome, Page, Panel, Rows, Width};

/// The panels, and what their days and times mean.
pub(crate) fn main(page: &Page) -> Markup {
    html! {
        h1 { (page.title) }
        p.facts { (zone(page)) }
        @if let Some(fault) = &page.zone.fault {
            p.facts { bdi { (fault) } }
        }
        @if page.has_calendar() {
            p.facts { a href="/calendar.ics" { "calendar.ics" } " has these and all other coming dates for a calendar program." }
        }
        div.panels {
            @for (number, panel) in page.panels.iter().enumerate().filter(|(_, panel)| !panel.is_zone()) {
                div.panel.full[is_full(panel)] { (draw(panel, number)) }
            }
        }
    }
}

fn zone(page: &Page) -> Markup {
    html! {
        "Days and times are those of " bdi { (charts::shown(&page.zone.name)) }
        @if let Some(of) = &page.zone.of { " (" bdi { (charts::shown(of)) } ")" }
        @if let Some(at) = page.read_at() {
            ". Nothing here is older than " time datetime=(at) { (at.strftime("%H:%M")) "Z" } "."
        }
    }
}

fn is_full(panel: &Panel) -> bool {
    (panel.header.as_ref()).is_some_and(|header| header.width == Width::Full)
}

fn draw(panel: &Panel, number: usize) -> Markup {
    let id = format!("panel-{number}");
    let name = panel.file.rsplit('/').next().unwrap_or_default();
    let chart = |header: Option<&Header>| {
        let title = header.map_or(name, |header| &header.title);
        let unit = header.map_or("", |header| &header.unit);
        let caption = header.map_or("", |header| &header.caption);
        (title.to_owned(), unit.to_owned(), caption.to_owned())
    };
    let (title, unit, mut caption) = chart(panel.header.as_ref());
    if let Outcome::Rows(rows) = &panel.outcome
        && rows.has_more
    {
        let more = format!("There are more rows than the first {}.", rows.rows.len());
        caption.push_str(if caption.is_empty() { "" } else { " " });
        caption.push_str(&more);
    }
    let chart = Chart {
        id: &id,
        title: &title,
        unit: &unit,
        caption: &caption,
    };
    let (header, rows) = match (&panel.header, &panel.outcome) {
        (Some(header), Outcome::Rows(rows)) => (header, rows),
        (_, Outcome::Error(sentence)) => return charts::message(&chart, Tone::Warning, sentence),
        (None, Outcome::Rows(_)) => return html! {},
    };
    if rows.rows.is_empty() {
        return charts::message(&chart, Tone::None, &header.empty);
    }
    match header.kind {
        Kind::Bars => charts::bars(&chart, &bars(rows)),
        Kind::Calendar => charts::agenda(&chart, &agenda(rows)),
        Kind::Heat => charts::heat(&chart, &heat(rows)),
        Kind::Map => charts::map(&chart, &seats(rows)),
        Kind::Columns => charts::columns(&chart, &columns(rows), &[]),
        Kind::Figures => charts::figures(&chart, &figures(rows)),
        Kind::Table => {
            let (names, cells) = table(rows);
            charts::table(&chart, &names, &cells)
        }
        Kind::Zone => html! {},
    }
}

/// The columns of a query that have a meaning.
struct Named<'r> {
    rows: &'r Rows,
    row: &'r [Option<String>],
}

impl Named<'_> {
    fn all(rows: &Rows) -> impl Iterator<Item = Named<'_>> {
        rows.rows.iter().map(|row| Named { rows, row })
    }

    fn text(&self, name: &str) -> Option<String> {
        self.row.get(self.rows.position(name)?)?.clone()
    }

    fn label(&self) -> String {
        self.text("label").unwrap_or_default()
    }

    fn number(&self) -> f64 {
        number(self.text("value").as_deref())
    }

    fn tone(&self) -> Tone {
        tone(self.text("tone").as_deref())
    }
}

fn tone(name: Option<&str>) -> Tone {
    name.and_then(Tone::of).unwrap_or_default()
}

/// What is no number in the database is none here.
fn number(text: Option<&str>) -> f64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

fn bars(rows: &Rows) -> Vec<Bar> {
    let bars = Named::all(rows).map(|row| Bar {
        label: row.label(),
        value: row.number(),
        text: row.text("text"),
        note: row.text("note"),
        tone: row.tone(),
        colour: row.text("colour"),
        link: row.text("link"),
    });
    bars.collect()
}

fn columns(rows: &Rows) -> Vec<Column> {
    let columns = Named::all(rows).map(|row| Column {
        label: row.label(),
        value: row.number(),
        text: row.text("text"),
        tone: row.tone(),
    });
    columns.collect()
}

fn figures(rows: &Rows) -> Vec<Figure> {
    let figures = Named::all(rows).map(|row| Figure {
        label: row.label(),
        value: row.number(),
        text: row.text("text"),
        note: row.text("note"),
        tone: row.tone(),
        link: row.text("link"),
    });
    figures.collect()
}

fn agenda(rows: &Rows) -> Vec<AgendaEntry> {
    let entries = panels::entries(rows).into_iter().map(|entry| AgendaEntry {
        begin: entry.begin.local,
        end: entry.end.map(|end| end.local),
        label: entry.label,
        text: entry.text,
        place: entry.place,
        note: entry.note,
        tone: tone(entry.tone.as_deref()),
        link: entry.link,
    });
    entries.collect()
}

fn heat(rows: &Rows) -> Vec<HeatCell> {
    let cells = Named::all(rows).map(|row| HeatCell {
        row: row.text("row").unwrap_or_default(),
        column: row.text("column").unwrap_or_default(),
        value: row.number(),
    });
    cells.collect()
}

fn seats(rows: &Rows) -> Vec<Seat> {
    let seats = Named::all(rows).map(|row| Seat {
        zone: row.text("zone").unwrap_or_default(),
        row: row.text("row").unwrap_or_default(),
        place: row.text("seat").unwrap_or_default(),
        label: row.label(),
        text: row.text("text"),
        note: row.text("note"),
        tone: row.tone(),
    });
    seats.collect()
}

/// The columns that are shown. A `link` is of the first of them, a `tone` of the last.
fn table(rows: &Rows) -> (Vec<String>, Vec<Vec<TableCell>>) {
    let (_, unseen) = Kind::Table.columns();
    let shown = rows.columns.iter().enumerate();
    let shown: Vec<_> = shown
        .filter(|(_, column)| !unseen.contains(&column.name.as_str()))
        .collect();
    let last = shown.len().saturating_sub(1);
    let names = shown.iter().map(|(_, column)| column.name.clone());
    let cells = Named::all(rows).map(|row| {
        let cells = shown.iter().enumerate().map(|(place, (at, column))| {
            let text = row.row.get(*at).cloned().flatten();
            match text {
                None => TableCell::Empty,
                Some(text) if place == last && row.tone() != Tone::Plain => {
                    TableCell::State(text, row.tone())
                }
                Some(text) if column.is_number => TableCell::Number(number(Some(&text))),
                Some(text) => TableCell::Text {
                    text,
                    link: row.text("link").filter(|_| place == 0),
                },
            }
        });
        cells.collect()
    });
    (names.collect(), cells.collect())
}
