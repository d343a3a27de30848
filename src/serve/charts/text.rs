//! Texts and numbers of a picture, short and inert.

use crate::convert::grouped;
use crate::printable;

/// Characters of a label; the rest is cut.
const LONGEST: usize = 120;
/// Numbers from here on are written with an exponent.
const LARGEST: f64 = 1e15;
/// Where a number would be and none is.
pub(crate) const NO_VALUE: &str = "–";

/// A text that others wrote, on one line, cut to 120 characters: nothing in it turns its direction around.
pub(crate) fn shown(text: &str) -> String {
    clipped(text, LONGEST)
}

/// The same, cut to `longest` characters.
pub(super) fn clipped(text: &str, longest: usize) -> String {
    let text = text.trim();
    let is_cut = text.chars().nth(longest).is_some();
    let head: String = if is_cut {
        let kept = text.chars().take(longest.saturating_sub(1));
        kept.chain(['…']).collect()
    } else {
        text.to_owned()
    };
    let line = printable::line(&head);
    let is_blank = |c: char| {
        c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
    };
    if line.chars().all(is_blank) {
        "(no name)".to_owned()
    } else {
        line.into_owned()
    }
}

/// A number as people read it: `1,234`, `-3.5`, `1.2e18`; `–` where it is no number.
pub(crate) fn figure_text(value: f64) -> String {
    if value.is_nan() {
        return NO_VALUE.to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "∞" } else { "-∞" }.to_owned();
    }
    if value.abs() >= LARGEST {
        return format!("{value:.1e}");
    }
    let digits = if value.fract() == 0.0 || value.abs() >= 1_000.0 {
        0
    } else if value.abs() >= 0.01 {
        2
    } else {
        4
    };
    let text = format!("{:.digits$}", value.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let whole = whole.parse().map_or_else(|_| whole.to_owned(), grouped);
    let fraction = fraction.trim_end_matches('0');
    let number = if fraction.is_empty() {
        whole
    } else {
        format!("{whole}.{fraction}")
    };
    if value < 0.0 && number != "0" {
        format!("-{number}")
    } else {
        number
    }
}

/// A number in at most seven characters, for an axis: `250`, `1.5k`, `20M`.
pub(super) fn short_text(value: f64) -> String {
    let size = value.abs();
    for (unit, letter) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if size >= unit && (10_000.0..LARGEST).contains(&size) {
            return format!("{}{letter}", figure_text(rounded(value / unit)));
        }
    }
    figure_text(value)
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// `#rrggbb`, if a text that others wrote is such a colour, perhaps with blanks around it and without the `#`.
pub(super) fn colour(text: &str) -> Option<String> {
    let text = text.trim();
    let digits = text.strip_prefix('#').unwrap_or(text);
    let is_colour = digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_colour.then(|| format!("#{}", digits.to_ascii_lowercase()))
}

/// An address in this site: a path, which no browser takes for another host or for a script.
pub(crate) fn link(text: &str) -> Option<&str> {
    let is_path = text.starts_with('/') && !text[1..].starts_with(['/', '\\']);
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    (is_path && text.bytes().all(is_plain)).then_some(text)
}
