//! Pictures as inline SVG and HTML: pure functions from data to markup. Every number is in the page as text as well, for who reads
//! without seeing, and no tone is a colour alone. Knows no page and no table.

mod agenda;
mod bars;
mod columns;
mod figures;
mod heat;
mod map;
mod scale;
mod squares;
mod text;

#[cfg(test)]
mod tests;

use maud::{Markup, html};

pub(crate) use agenda::{AgendaEntry, agenda};
pub(crate) use bars::{Bar, bars};
pub(crate) use columns::{Column, Line, columns};
pub(crate) use figures::{Figure, TableCell, figures, table};
pub(crate) use heat::{HeatCell, heat};
pub(crate) use map::{Seat, map};
pub(crate) use squares::{Square, squares};
pub(crate) use text::{figure_text, link, shown};

/// What a picture is about. All texts are shown as they are; none is markup.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chart<'t> {
    /// Unique in the page: lower-case letters, digits and `-`.
    pub(crate) id: &'t str,
    pub(crate) title: &'t str,
    /// What the numbers count, such as `students`; may be empty.
    pub(crate) unit: &'t str,
    /// A sentence below the picture; may be empty.
    pub(crate) caption: &'t str,
}

impl<'t> Chart<'t> {
    pub(crate) fn new(id: &'t str, title: &'t str) -> Self {
        Self {
            id,
            title,
            unit: "",
            caption: "",
        }
    }
}

/// How something stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Ok,
    Warning,
    Failed,
    /// There is nothing to judge, such as a day without a run.
    None,
}

impl Tone {
    /// The tone of this name, as [`Self::name`] gives it.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let all = [
            Self::Plain,
            Self::Ok,
            Self::Warning,
            Self::Failed,
            Self::None,
        ];
        all.into_iter().find(|tone| tone.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        self.class().trim_start_matches("tone-")
    }

    fn class(self) -> &'static str {
        match self {
            Self::Plain => "tone-plain",
            Self::Ok => "tone-ok",
            Self::Warning => "tone-warning",
            Self::Failed => "tone-failed",
            Self::None => "tone-none",
        }
    }

    /// What tells it apart without its colour.
    fn mark(self) -> Option<&'static str> {
        match self {
            Self::Plain | Self::Ok | Self::None => None,
            Self::Warning => Some("!"),
            Self::Failed => Some("×"),
        }
    }
}

/// A text whose direction leaves that of what follows alone. ASCII has none of its own.
fn isolated(text: &str) -> Markup {
    html! {
        @if text.is_ascii() { (text) } @else { bdi { (text) } }
    }
}

/// The mark of a tone, and its name for a screen reader.
fn mark(tone: Tone) -> Markup {
    html! {
        @if let Some(mark) = tone.mark() {
            span.mark aria-hidden="true" { (mark) }
            span.unseen { (tone.name()) ", " }
        }
    }
}

/// Title and unit above a picture, its caption below.
fn frame(chart: &Chart<'_>, class: &str, picture: &Markup) -> Markup {
    html! {
        figure id=(chart.id) class={ "chart " (class) } aria-labelledby=(title_id(chart)) {
            figcaption {
                h2 id=(title_id(chart)) { (isolated(&shown(chart.title))) }
                @if !chart.unit.is_empty() {
                    span.unit { (isolated(&shown(chart.unit))) }
                }
            }
            (picture)
            @if !chart.caption.is_empty() {
                p.caption { (isolated(&text::clipped(chart.caption, SENTENCE))) }
            }
        }
    }
}

fn title_id(chart: &Chart<'_>) -> String {
    format!("{}-title", chart.id)
}

/// In place of a picture: a sentence that says what is missing.
pub(crate) fn message(chart: &Chart<'_>, tone: Tone, sentence: &str) -> Markup {
    let picture = html! {
        p class={ "message " (tone.class()) } { (mark(tone)) (isolated(&text::clipped(sentence, SENTENCE))) }
    };
    frame(chart, "empty", &picture)
}

/// Characters of a sentence.
const SENTENCE: usize = 600;
const NOTHING: &str = "there is nothing to show yet";
