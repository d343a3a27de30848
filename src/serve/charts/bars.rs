//! Horizontal bars: a table whose middle column is drawn. Its roles are spelt out, because a narrow page lays it out as a grid.

use maud::{Markup, html};

use super::scale::{Axis, attribute};
use super::text::{colour, link};
use super::{Chart, NOTHING, Tone, figure_text, frame, isolated, mark, message, shown, title_id};

/// More are not drawn.
const MOST: usize = 200;

#[derive(Clone, Debug, Default)]
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) value: f64,
    /// In place of the number, such as `3 h`.
    pub(crate) text: Option<String>,
    /// Behind the number, such as `of 1 h`.
    pub(crate) note: Option<String>,
    pub(crate) tone: Tone,
    /// `#rrggbb`; else the colour of the tone.
    pub(crate) colour: Option<String>,
    /// A path of this site, for the label.
    pub(crate) link: Option<String>,
}

/// Horizontal bars in the order given.
pub(crate) fn bars(chart: &Chart<'_>, bars: &[Bar]) -> Markup {
    if bars.is_empty() {
        return message(chart, Tone::None, NOTHING);
    }
    let drawn = &bars[..bars.len().min(MOST)];
    let axis = Axis::of_bars(drawn.iter().map(|bar| bar.value));
    let picture = html! {
        table role="table" aria-labelledby=(title_id(chart)) {
            tbody role="rowgroup" {
                @for bar in drawn {
                    (row(&axis, bar))
                }
            }
        }
        (left_out(bars.len(), MOST))
    };
    frame(chart, "bars", &picture)
}

fn row(axis: &Axis, bar: &Bar) -> Markup {
    let value = figure_text(bar.value);
    let text = bar.text.as_deref().map_or(value, shown);
    html! {
        tr class=(bar.tone.class()) role="row" {
            th scope="row" role="rowheader" { (label(&bar.label, bar.link.as_deref())) }
            td.track aria-hidden="true" {
                @if let Some((start, length)) = axis.bar(bar.value) {
                    svg.bar focusable="false" {
                        rect x=(attribute(start)) width=(attribute(length)) height="100%" rx="2"
                            fill=[bar.colour.as_deref().and_then(colour)] {}
                    }
                }
            }
            td.value role="cell" {
                (mark(bar.tone)) (isolated(&text))
                @if let Some(note) = bar.note.as_deref().filter(|note| !note.is_empty()) {
                    " " small { (isolated(&shown(note))) }
                }
            }
        }
    }
}

/// A label, which leads somewhere if it can.
pub(super) fn label(text: &str, to: Option<&str>) -> Markup {
    html! {
        @match to.and_then(link) {
            Some(to) => a href=(to) { (isolated(&shown(text))) },
            None => (isolated(&shown(text))),
        }
    }
}

/// Says that not all is shown.
pub(super) fn left_out(count: usize, most: usize) -> Markup {
    html! {
        @if count > most {
            p.caption { "the first " (most) " of " (crate::convert::grouped(count as u64)) " are shown" }
        }
    }
}
