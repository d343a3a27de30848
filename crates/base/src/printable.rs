//! Texts that others wrote (people in the API, a server, a file), escaped for a terminal and for a log line.

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

/// How a database URL looks, in messages: the only one that they show.
pub const EXAMPLE_URL: &str = "postgres://USER:PASSWORD@HOST:5432/DATABASE";
/// What stands for what is not repeated.
const URL: &str = "[a URL]";
const HIDDEN: &str = "password=[hidden]";

/// Whether a text can hold credentials: a URL with an `@` or of a database, or `password=`.
pub fn may_hold_credentials(text: &str) -> bool {
    let has_url = text.split_once("://").is_some_and(|(before, behind)| {
        behind.contains('@') || behind.contains("%40") || is_of_database(before)
    });
    has_url || password(text).is_some()
}

/// Whether the scheme of a database URL ends here.
fn is_of_database(before: &str) -> bool {
    let before = before.to_ascii_lowercase();
    ["postgres", "postgresql"]
        .iter()
        .any(|scheme| before.ends_with(scheme))
}

/// The same text without what can hold credentials, for messages: a URL with an `@` up to the end of its last host, wherever its
/// password ends, and the value after `password=`. Lines stay.
pub fn without_credentials(text: &str) -> Cow<'_, str> {
    if !may_hold_credentials(text) {
        return Cow::Borrowed(text);
    }
    let lines: Vec<String> = text.split('\n').map(line_without_credentials).collect();
    Cow::Owned(lines.join("\n"))
}

fn line_without_credentials(line: &str) -> String {
    // The example of our own is no secret.
    let mut parts = line.splitn(2, EXAMPLE_URL);
    let first = without_url(parts.next().unwrap_or_default());
    let mut shown = without_password(&first);
    if let Some(rest) = parts.next() {
        shown.push_str(EXAMPLE_URL);
        shown.push_str(&line_without_credentials(rest));
    }
    shown
}

fn without_url(line: &str) -> Cow<'_, str> {
    let Some(at) = line.find("://") else {
        return Cow::Borrowed(line);
    };
    let last = match line[at..].rfind('@') {
        Some(last) => at + last,
        None if is_of_database(&line[..at]) => at,
        None => return Cow::Borrowed(line),
    };
    let is_of_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let start = line[..at].trim_end_matches(is_of_scheme).len();
    let is_end = |c: char| c.is_whitespace() || matches!(c, '`' | '"' | '\'' | ')' | ']' | ';');
    let end = line[last..]
        .find(is_end)
        .map_or(line.len(), |end| last + end);
    // What ended the sentence stays.
    let end = last + line[last..end].trim_end_matches([':', ',', '.']).len();
    Cow::Owned(format!("{}{URL}{}", &line[..start], &line[end..]))
}

fn without_password(line: &str) -> String {
    let Some((start, value)) = password(line) else {
        return line.to_owned();
    };
    let behind = &line[value..];
    let end = match behind.chars().next() {
        Some('\'') => quoted_end(behind),
        _ => {
            let is_end = |c: char| c.is_whitespace() || matches!(c, '&' | '`' | '"');
            behind.find(is_end).unwrap_or(behind.len())
        }
    };
    format!(
        "{}{HIDDEN}{}",
        &line[..start],
        without_password(&behind[end..])
    )
}

/// Where a value between quotes ends: at the end of the text, if they are not closed.
fn quoted_end(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '\'' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Where `password`, blanks and `=` begin, and where the value does, if there is one that is not hidden yet.
fn password(text: &str) -> Option<(usize, usize)> {
    let lower = text.to_ascii_lowercase();
    lower.match_indices("password").find_map(|(start, word)| {
        let behind = &text[start + word.len()..];
        let value = behind.trim_start().strip_prefix('=')?.trim_start();
        let is_value = !value.is_empty() && !value.starts_with(&HIDDEN["password=".len()..]);
        is_value.then(|| (start, text.len() - value.len()))
    })
}

/// Sentences of cursus, each on a line of its own whatever is in it. Nothing else in an error keeps its line ends.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Messages(String);

impl Messages {
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
        let list = Messages::of(&["a\n  error: b".to_owned(), "c".to_owned()]);
        assert_eq!(list.to_string(), "a\\n  error: b\n  c");
        assert!(matches!(line("plain é"), Cow::Borrowed("plain é")));
    }

    #[test]
    fn what_may_hold_a_password_is_not_repeated() {
        for (text, expected) in [
            (
                "--into postgres://me:pa ss@wo/rd@host/db: a name is lower case",
                "--into [a URL]: a name is lower case",
            ),
            ("no run `x://u:p@h`, is there", "no run `[a URL]`, is there"),
            ("no run postgres://u:p: no", "no run [a URL]: no"),
            (
                "host=h password = 'a \\' b' user=me",
                "host=h password=[hidden] user=me",
            ),
            (
                "host=h PASSWORD=a user=me password=b",
                "host=h password=[hidden] user=me password=[hidden]",
            ),
            (
                "see https://example.org/docs",
                "see https://example.org/docs",
            ),
            (
                "password and secret: see .env",
                "password and secret: see .env",
            ),
        ] {
            assert_eq!(without_credentials(text), expected);
        }
        let example = format!("write {EXAMPLE_URL}, or embedded");
        assert_eq!(without_credentials(&example), example);
    }

    proptest::proptest! {
        #[test]
        fn no_password_of_a_url_is_left(before in "[a-z :]{0,9}", password in "[!-~ ]{1,20}") {
            let hidden = format!("\u{fe}{password}\u{fe}");
            for text in [
                format!("{before} postgres://me:{hidden}@host/db: no"),
                format!("{before} password='{}' x", hidden.replace('\\', r"\\").replace('\'', r"\'")),
            ] {
                let shown = without_credentials(&text);
                proptest::prop_assert!(!shown.contains('\u{fe}'), "{}", shown);
                proptest::prop_assert_eq!(without_credentials(&shown), shown.clone());
            }
        }

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
