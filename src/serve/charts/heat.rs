//! A grid of shades, the more the darker: a table, whose numbers stand in its cells where there is room.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::columns::{as_number, every};
use super::text::{clipped, short_text};
use super::{Chart, NOTHING, Tone, figure_text, frame, isolated, message, title_id};

/// More rows or columns are not drawn.
const MOST: usize = 48;
/// Characters of a label.
const LABEL: usize = 10;
/// Of which the first is that of zero.
const SHADES: [&str; 8] = ["h0", "h1", "h2", "h3", "h4", "h5", "h6", "h7"];
/// Labels of columns that a narrow page has room for.
const NARROW: usize = 8;

/// A number with its place.
#[derive(Clone, Debug)]
pub(crate) struct HeatCell {
    pub(crate) row: String,
    pub(crate) column: String,
    pub(crate) value: f64,
}

/// Cells in rows and columns, both in the order in which they first appear. Of two cells of one place the latter is drawn.
pub(crate) fn heat(chart: &Chart<'_>, cells: &[HeatCell]) -> Markup {
    let rows = names(cells.iter().map(|cell| cell.row.as_str()));
    let columns = names(cells.iter().map(|cell| cell.column.as_str()));
    if cells.is_empty() {
        return message(chart, Tone::None, NOTHING);
    }
    let (drawn_rows, drawn_columns) = (rows.len().min(MOST), columns.len().min(MOST));
    let values: BTreeMap<(&str, &str), f64> = cells
        .iter()
        .map(|cell| ((cell.row.as_str(), cell.column.as_str()), cell.value))
        .collect();
    let finite = values.values().copied().filter(|value| value.is_finite());
    let highest = finite.fold(0.0_f64, f64::max);
    let step = every(drawn_columns, NARROW);
    let picture = html! {
        p.legend aria-hidden="true" {
            "0"
            span.shades { @for shade in SHADES { span.(shade) {} } }
            (short_text(highest))
        }
        table.grid aria-labelledby=(title_id(chart)) {
            thead {
                tr {
                    td {}
                    @for (number, name) in columns[..drawn_columns].iter().enumerate() {
                        th class=[(!number.is_multiple_of(step)).then_some("wide")] scope="col" {
                            span { (isolated(&clipped(name, LABEL))) }
                        }
                    }
                }
            }
            tbody {
                @for row in &rows[..drawn_rows] {
                    tr {
                        th scope="row" { (isolated(&clipped(row, LABEL))) }
                        @for column in &columns[..drawn_columns] { (cell(values.get(&(*row, *column)), highest)) }
                    }
                }
            }
        }
        @if rows.len() > drawn_rows || columns.len() > drawn_columns {
            p.caption {
                "the first " (drawn_rows) " of " (rows.len()) " rows and " (drawn_columns) " of " (columns.len()) " columns are shown"
            }
        }
    };
    frame(chart, "heat", &picture)
}

fn cell(value: Option<&f64>, highest: f64) -> Markup {
    match value {
        Some(value) if !value.is_nan() => {
            html! { td.(shade(*value, highest)) { (short_text(rounded(*value))) } }
        }
        _ => html! { td { (figure_text(f64::NAN)) } },
    }
}

/// A number that fits into a cell.
fn rounded(value: f64) -> f64 {
    if value.abs() >= 10.0 {
        value.round()
    } else {
        (value * 10.0).round() / 10.0
    }
}

/// The shade of a value between zero and the highest.
fn shade(value: f64, highest: f64) -> &'static str {
    let share = if highest > 0.0 {
        (value / highest).clamp(0.0, 1.0)
    } else {
        0.0
    };
    let steps = as_number(SHADES.len() - 1);
    let reached = |number: usize| share > as_number(number - 1) / steps;
    let number = (1..SHADES.len()).rev().find(|number| reached(*number));
    SHADES[number.unwrap_or(0)]
}

/// Each name once, in the order in which they first appear.
pub(super) fn names<'n>(all: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let mut known = BTreeSet::new();
    all.filter(|name| known.insert(*name)).collect()
}
