//! Numbers at a glance, and tables.

use maud::{Markup, html};

use super::bars::{label, left_out};
use super::{Chart, NOTHING, Tone, figure_text, frame, isolated, mark, message, shown, title_id};

/// More rows are not shown.
const MOST: usize = 200;

/// A number with its name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figure {
    pub(crate) label: String,
    pub(crate) value: f64,
    /// In place of the number.
    pub(crate) text: Option<String>,
    /// Below the name, such as `of 1,200`.
    pub(crate) note: Option<String>,
    pub(crate) tone: Tone,
    pub(crate) link: Option<String>,
}

/// Large numbers side by side.
pub(crate) fn figures(chart: &Chart<'_>, figures: &[Figure]) -> Markup {
    if figures.is_empty() {
        return message(chart, Tone::None, NOTHING);
    }
    let picture = html! {
        dl {
            @for figure in figures.iter().take(MOST) {
                div.(figure.tone.class()) {
                    dt { (label(&figure.label, figure.link.as_deref())) }
                    dd.number {
                        (mark(figure.tone))
                        (isolated(&figure.text.as_deref().map_or_else(|| figure_text(figure.value), shown)))
                    }
                    @if let Some(note) = figure.note.as_deref().filter(|note| !note.is_empty()) {
                        dd.note { (isolated(&shown(note))) }
                    }
                }
            }
        }
        (left_out(figures.len(), MOST))
    };
    frame(chart, "figures", &picture)
}

#[derive(Clone, Debug)]
pub(crate) enum TableCell {
    Text {
        text: String,
        /// A path of this site.
        link: Option<String>,
    },
    Number(f64),
    /// A word with its tone.
    State(String, Tone),
    Empty,
}

impl TableCell {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text {
            text: text.into(),
            link: None,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "shown as text")]
    pub(crate) fn count(count: u64) -> Self {
        Self::Number(count as f64)
    }

    /// The cell of a value; an empty one if there is none.
    pub(crate) fn of<T>(value: Option<T>, cell: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Empty, cell)
    }
}

/// A table with the names of its columns. A row that is too short has empty cells.
pub(crate) fn table(chart: &Chart<'_>, names: &[String], rows: &[Vec<TableCell>]) -> Markup {
    if rows.is_empty() {
        return message(chart, Tone::None, NOTHING);
    }
    let is_number =
        |at: usize| (rows.iter()).any(|row| matches!(row.get(at), Some(TableCell::Number(_))));
    let numbers: Vec<bool> = (0..names.len()).map(is_number).collect();
    let picture = html! {
        div.scroll tabindex="0" role="group" aria-labelledby=(title_id(chart)) {
            table {
                thead {
                    tr {
                        @for (name, is_number) in names.iter().zip(&numbers) {
                            th class=[is_number.then_some("number")] scope="col" { (isolated(&shown(name))) }
                        }
                    }
                }
                tbody {
                    @for row in rows.iter().take(MOST) {
                        tr {
                            @for (at, is_number) in numbers.iter().enumerate() {
                                td class=[is_number.then_some("number")] { (cell(row.get(at).unwrap_or(&TableCell::Empty))) }
                            }
                        }
                    }
                }
            }
        }
        (left_out(rows.len(), MOST))
    };
    frame(chart, "table", &picture)
}

fn cell(cell: &TableCell) -> Markup {
    html! {
        @match cell {
            TableCell::Text { text, link } => (label(text, link.as_deref())),
            TableCell::Number(value) => (figure_text(*value)),
            TableCell::State(text, tone) => span.(tone.class()) { (mark(*tone)) (isolated(&shown(text))) },
            TableCell::Empty => span.none { "–" },
        }
    }
}
