//! `/campus`: the people and projects of the mirror, in pictures.

use maud::{Markup, html};

use crate::serve::campus::{Campus, Header, Kind, Outcome, Panel, Rows, Width};
use crate::serve::charts::{self, Bar, Chart, Column, Figure, TableCell, Tone};

/// The panels, and what their days and times mean.
pub(crate) fn panels(campus: &Campus) -> Markup {
    html! {
        p.facts { (zone(campus)) }
        @if let Some(fault) = &campus.zone.fault {
            p.facts { bdi { (fault) } }
        }
        div.panels {
            @for (number, panel) in campus.panels.iter().enumerate().filter(|(_, panel)| !panel.is_zone()) {
                div.panel.full[is_full(panel)] { (draw(panel, number)) }
            }
        }
    }
}

fn zone(campus: &Campus) -> Markup {
    html! {
        "Days and times are those of " bdi { (charts::shown(&campus.zone.name)) }
        @if let Some(of) = &campus.zone.of { " (" bdi { (charts::shown(of)) } ")" }
        @if let Some(at) = campus.read_at() {
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
    let (title, unit, caption) = chart(panel.header.as_ref());
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
        let tone = self.text("tone");
        tone.and_then(|tone| Tone::of(&tone)).unwrap_or_default()
    }
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
