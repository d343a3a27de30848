//! Vertical columns over an ordered axis, with horizontal lines. Nothing in it is stretched but the columns: their place and size
//! are percentages, texts have their own size.

use maud::{Markup, html};

use super::scale::{Axis, attribute};
use super::text::{clipped, short_text};
use super::{Chart, NOTHING, Tone, figure_text, frame, isolated, mark, message, shown, title_id};

/// More are not drawn.
const MOST: usize = 500;
/// With more, columns have no hint of their own; the table has the numbers.
const MOST_HINTS: usize = 100;
/// With more, no number stands above its column.
const MOST_TEXTS: usize = 14;
/// Characters of a label below its column.
const LABEL: usize = 10;
/// Characters that fit below a narrow picture; below a wide one twice as many do.
const ROOM: usize = 36;
/// The part of its place that a column takes.
const WIDTH: f64 = 0.78;
/// Fewer columns leave places free at the right, instead of growing.
const FEWEST: usize = 8;

#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    pub(crate) label: String,
    pub(crate) value: f64,
    /// In place of the number in the table.
    pub(crate) text: Option<String>,
    pub(crate) tone: Tone,
}

/// A horizontal line, such as a limit.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) label: String,
    pub(crate) value: f64,
}

/// Columns in the order given.
pub(crate) fn columns(chart: &Chart<'_>, columns: &[Column], lines: &[Line]) -> Markup {
    if columns.is_empty() {
        return message(chart, Tone::None, NOTHING);
    }
    let drawn = &columns[..columns.len().min(MOST)];
    let values = drawn.iter().map(|column| column.value);
    let axis = Axis::of(values.chain(lines.iter().map(|line| line.value)));
    let picture = html! {
        (legend(lines))
        div.plot role="img" aria-label=(summary(chart, drawn)) {
            (scale(&axis))
            (plot(&axis, drawn, lines))
            (labels(drawn))
        }
        (as_table(chart, drawn))
        (super::bars::left_out(columns.len(), MOST))
    };
    frame(chart, "columns", &picture)
}

/// The numbers at the left, each at the height of its line.
fn scale(axis: &Axis) -> Markup {
    html! {
        svg.scale focusable="false" {
            @for tick in &axis.ticks {
                text x="100%" y=(attribute(100.0 - axis.percent(*tick))) dy="0.32em" { (short_text(*tick)) }
            }
        }
    }
}

fn plot(axis: &Axis, columns: &[Column], lines: &[Line]) -> Markup {
    let place = 100.0 / as_number(columns.len().max(FEWEST));
    let height = |value| attribute(100.0 - axis.percent(value));
    html! {
        svg.area focusable="false" {
            @for tick in &axis.ticks {
                line.grid.zero[*tick == 0.0] x1="0" x2="100%" y1=(height(*tick)) y2=(height(*tick)) {}
            }
            @for (number, column) in columns.iter().enumerate() {
                @if let Some((start, length)) = axis.bar(column.value) {
                    @let left = (as_number(number) + (1.0 - WIDTH) / 2.0) * place;
                    rect class=[class(column.tone)] x=(attribute(left)) width=(attribute(place * WIDTH))
                        y=(attribute(100.0 - start - length)) height=(attribute(length)) {
                        @if columns.len() <= MOST_HINTS {
                            title { (hint(column)) }
                        }
                    }
                    @if let Some(text) = text_above(column, columns.len()) {
                        text.number x=(attribute((as_number(number) + 0.5) * place)) dy="-0.4em"
                            y=(attribute(100.0 - start - length)) { (text) }
                    }
                }
            }
            @for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.value.is_finite()) {
                line.(line_class(number)) x1="0" x2="100%" y1=(height(line.value)) y2=(height(line.value)) {}
            }
        }
    }
}

/// Of a tone that is not the one of all columns.
fn class(tone: Tone) -> Option<&'static str> {
    (tone != Tone::Plain).then(|| tone.class())
}

/// What stands above a column: its number where there is room, and what tells its tone without its colour.
fn text_above(column: &Column, columns: usize) -> Option<String> {
    let number = (columns <= MOST_TEXTS && column.value != 0.0).then(|| short_text(column.value));
    let mark = column.tone.mark().filter(|_| columns <= MOST_HINTS);
    match (mark, number) {
        (Some(mark), Some(number)) => Some(format!("{mark} {number}")),
        (Some(mark), None) => Some(mark.to_owned()),
        (None, number) => number,
    }
}

/// Labels below the columns, as many as fit; those that need a wide picture have a class.
fn labels(columns: &[Column]) -> Markup {
    let longest = columns.iter().map(|column| column.label.chars().count());
    let longest = longest.max().unwrap_or_default().min(LABEL);
    let room = |characters: usize| (characters / (longest + 2)).max(1);
    let places = columns.len().max(FEWEST);
    let wide = every(places, room(2 * ROOM));
    let narrow = every(places, room(ROOM)).next_multiple_of(wide);
    html! {
        svg.labels focusable="false" {
            @for (number, column) in columns.iter().enumerate().filter(|(number, _)| number.is_multiple_of(wide)) {
                text class=[(!number.is_multiple_of(narrow)).then_some("wide")] y="1em"
                    x=(attribute((as_number(number) + 0.5) * 100.0 / as_number(places))) {
                    (clipped(&column.label, LABEL))
                }
            }
        }
    }
}

/// How many columns there are from one label to the next: a number that people count in.
pub(super) fn every(columns: usize, labels: usize) -> usize {
    let least = columns.div_ceil(labels);
    let steps = [1, 2, 5, 7, 10, 14, 20, 28, 50, 100, 200];
    let step = steps.into_iter().find(|step| *step >= least);
    step.unwrap_or(columns)
}

fn legend(lines: &[Line]) -> Markup {
    html! {
        @if !lines.is_empty() {
            ul.legend {
                @for (number, line) in lines.iter().enumerate() {
                    li {
                        svg.sample focusable="false" aria-hidden="true" {
                            line.(line_class(number)) x1="0" x2="100%" y1="50%" y2="50%" {}
                        }
                        (isolated(&shown(&line.label))) " " (figure_text(line.value))
                    }
                }
            }
        }
    }
}

/// Lines differ by how they are dashed.
fn line_class(number: usize) -> &'static str {
    ["limit limit-1", "limit limit-2", "limit limit-3"][number % 3]
}

fn as_table(chart: &Chart<'_>, columns: &[Column]) -> Markup {
    html! {
        // By its id, a refresh keeps it open.
        details id={ (chart.id) "-table" } {
            summary { "as a table" span.unseen { ": " (shown(chart.title)) } }
            div.scroll tabindex="0" role="group" aria-labelledby=(title_id(chart)) {
                table {
                    tbody {
                        @for column in columns {
                            tr { th scope="row" { (isolated(&shown(&column.label))) } td { (mark(column.tone)) (text(column)) } }
                        }
                    }
                }
            }
        }
    }
}

fn text(column: &Column) -> String {
    column
        .text
        .as_deref()
        .map_or_else(|| figure_text(column.value), shown)
}

fn hint(column: &Column) -> String {
    format!("{}: {}", shown(&column.label), text(column))
}

/// The picture in words, for a screen reader.
fn summary(chart: &Chart<'_>, columns: &[Column]) -> String {
    let numbers = columns.iter().filter(|column| !column.value.is_nan());
    let highest = numbers.max_by(|one, other| one.value.total_cmp(&other.value));
    let highest = highest.map_or_else(
        || "no number".to_owned(),
        |column| format!("the highest is {}", hint(column)),
    );
    format!(
        "{}: {}, {highest}",
        shown(chart.title),
        crate::convert::counted(columns.len() as u64, "column")
    )
}

#[expect(clippy::cast_precision_loss, reason = "at most 500")]
pub(super) fn as_number(count: usize) -> f64 {
    count as f64
}
