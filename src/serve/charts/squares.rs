//! A row of squares, one for a day: its tone as colour and as a mark.

use maud::{Markup, html};

use super::text::link;
use super::{Chart, NOTHING, Tone, frame, message, shown};
use crate::convert::grouped;

/// More are not drawn.
const MOST: usize = 100;

#[derive(Clone, Debug, Default)]
pub(crate) struct Square {
    /// Below the square, short: `30`, `1 Dec`.
    pub(crate) label: String,
    /// What it stands for, in full: `30 November: 96 runs, 1 failed`.
    pub(crate) text: String,
    pub(crate) tone: Tone,
    /// How many things it stands for; it is shown from 2 on.
    pub(crate) count: u64,
    /// A path of this site.
    pub(crate) link: Option<String>,
}

/// Squares in the order given. Several things of a day are one square with the worst tone and their count.
pub(crate) fn squares(chart: &Chart<'_>, squares: &[Square]) -> Markup {
    if squares.is_empty() {
        return message(chart, Tone::None, NOTHING);
    }
    let picture = html! {
        ol.row {
            @for square in squares.iter().take(MOST) {
                li.(square.tone.class()) {
                    @match square.link.as_deref().and_then(link) {
                        Some(to) => a href=(to) title=(shown(&square.text)) { (face(square)) },
                        None => span.cell title=(shown(&square.text)) { (face(square)) },
                    }
                    span.day aria-hidden="true" {
                        (shown(&square.label))
                        @if square.count > 1 { small { "×" (grouped(square.count)) } }
                    }
                }
            }
        }
        (super::bars::left_out(squares.len(), MOST))
    };
    frame(chart, "squares", &picture)
}

fn face(square: &Square) -> Markup {
    html! {
        svg viewBox="0 0 24 24" focusable="false" aria-hidden="true" {
            rect x="1" y="1" width="22" height="22" rx="4" {}
            @match square.tone {
                Tone::Failed => path d="M7 7 17 17M17 7 7 17" {},
                Tone::Warning => path d="M12 5v9M12 18v1" {},
                Tone::Ok => path d="M6.5 12.5 10.5 16.5 17.5 8.5" {},
                Tone::Plain | Tone::None => "",
            }
        }
        span.unseen { (shown(&square.text)) " (" (square.tone.name()) ")" }
    }
}
