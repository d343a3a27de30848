//! What others wrote (people in the API, a server, a file), made fit for a terminal and for a log line.

use std::borrow::Cow;
use std::fmt::Write as _;

/// One line, whatever is in it: what would command a terminal, end the line or turn its direction around is written as
/// JSON writes it (`\u001b`), so that a JSON document stays one.
pub fn line(text: &str) -> Cow<'_, str> {
    escape(text, is_hostile)
}

/// The same for a text of several lines, which stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| c != '\n' && is_hostile(c))
}

/// The same for JSON as somebody else wrote it: between its parts there may be tabs and ends of lines.
pub fn json(text: &str) -> String {
    let spaced: String = text
        .chars()
        .map(|c| {
            if matches!(c, '\n' | '\r' | '\t') {
                ' '
            } else {
                c
            }
        })
        .collect();
    line(&spaced).into_owned()
}

/// Sentences of our own, each on a line of its own whatever is in it. Nothing else in an error keeps its line ends.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct List(String);

impl List {
    /// One after the other, indented from the second on.
    pub fn of<'s>(sentences: impl IntoIterator<Item = &'s String>) -> Self {
        let lines: Vec<Cow<'_, str>> = sentences.into_iter().map(|one| line(one)).collect();
        Self(lines.join("\n  "))
    }
}

fn escape(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if !is_escaped(c) => safe.push(c),
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            // All of them lie in the plane that four digits name.
            c => {
                let _ = write!(safe, "\\u{:04x}", u32::from(c));
            }
        }
    }
    Cow::Owned(safe)
}

/// Control characters of both sets, ends of lines that only some programs know, and marks that reorder what is shown.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_command_the_terminal_nor_forge_a_line() {
        let hostile = "a\u{1b}[31mb\tc\nerror: d\u{9b}2J\u{202e}é日";
        assert_eq!(
            line(hostile),
            "a\\u001b[31mb\\tc\\nerror: d\\u009b2J\\u202eé日"
        );
        assert_eq!(lines("a\nb\r"), "a\nb\\r");
        let list = List::of(&["a\n  error: b".to_owned(), "c".to_owned()]);
        assert_eq!(list.to_string(), "a\\n  error: b\n  c");
        assert!(matches!(line("plain é"), Cow::Borrowed("plain é")));
    }

    proptest::proptest! {
        #[test]
        fn a_json_document_stays_the_same_document(text: String, key: String) {
            let document = serde_json::json!({ key: [text] });
            let shown = document.to_string();
            let read: serde_json::Value = serde_json::from_str(&line(&shown)).unwrap();
            proptest::prop_assert_eq!(&read, &document);
            let spaced = serde_json::to_string_pretty(&document).unwrap().replace("  ", "\t");
            let spaced = json(&spaced.replace('\n', "\r\n"));
            let read: serde_json::Value = serde_json::from_str(&spaced).unwrap();
            proptest::prop_assert_eq!(read.as_object().unwrap().len(), 1);
            proptest::prop_assert!(!spaced.contains(is_hostile));
        }
    }
}
