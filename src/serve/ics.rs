//! A calendar as RFC 5545 has it. What others wrote is text in it, whatever it is.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::Timestamp;

use super::address::encoded;
use super::panels::Entry;
use crate::printable;

/// Octets of a line, without its end.
const LONGEST: usize = 75;

/// A calendar of entries that were known at a time.
pub(super) fn calendar(name: &str, entries: &[Entry], known_at: Timestamp) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| fold(&mut text, &format!("{key}:{value}"));
    line("BEGIN", "VCALENDAR");
    line("VERSION", "2.0");
    line(
        "PRODID",
        concat!("-//cursus//", env!("CARGO_PKG_VERSION"), "//EN"),
    );
    line("CALSCALE", "GREGORIAN");
    line("X-WR-CALNAME", &escaped(name));
    let mut uids = BTreeSet::new();
    for entry in entries {
        // Without an id it is named by what it is, and of two of one name one would be lost in a calendar program.
        let begin = utc(entry.begin.at);
        let id = match entry.id.as_str() {
            "" => format!("{begin} {}", entry.label),
            id => id.to_owned(),
        };
        if !uids.insert(id.clone()) {
            continue;
        }
        line("BEGIN", "VEVENT");
        line("UID", &format!("{}@cursus", encoded(&id)));
        line("DTSTAMP", &utc(known_at));
        line("DTSTART", &begin);
        // An end in the same second is none.
        if let Some(end) = entry.end.map(|end| utc(end.at)).filter(|end| *end != begin) {
            line("DTEND", &end);
        }
        line("SUMMARY", &escaped(&entry.label));
        let texts = [
            ("LOCATION", &entry.place),
            ("CATEGORIES", &entry.text),
            ("DESCRIPTION", &entry.note),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                line(key, &escaped(value));
            }
        }
        line("END", "VEVENT");
    }
    line("END", "VCALENDAR");
    text
}

fn utc(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// A text as a value: what would end it or command anything is written out.
fn escaped(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let mut escaped = String::with_capacity(line.len());
        for c in printable::line(line).chars() {
            if matches!(c, '\\' | ';' | ',') {
                escaped.push('\\');
            }
            escaped.push(c);
        }
        escaped
    });
    lines.collect::<Vec<_>>().join("\\n")
}

/// A line of content in pieces of at most [`LONGEST`] octets, none of which cuts a character.
fn fold(text: &mut String, line: &str) {
    let mut room = LONGEST;
    for c in line.chars() {
        if c.len_utf8() > room {
            text.push_str("\r\n ");
            room = LONGEST - 1;
        }
        let _ = write!(text, "{c}");
        room -= c.len_utf8();
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::super::panels::Time;
    use super::*;

    fn entry(id: &str, text: &str) -> Entry {
        let time = |hour| Time {
            at: format!("2026-12-01T{hour}:00:00Z").parse().unwrap(),
            local: date(2026, 12, 1).at(0, 0, 0, 0),
        };
        Entry {
            id: id.to_owned(),
            label: text.to_owned(),
            begin: time(10),
            end: Some(time(12)),
            place: Some(text.to_owned()),
            text: None,
            note: Some(text.to_owned()),
            tone: None,
            link: None,
        }
    }

    fn at() -> Timestamp {
        "2026-11-30T08:00:00.5Z".parse().unwrap()
    }

    /// The lines of content, unfolded, each with its key and its value without escapes.
    fn read(text: &str) -> Vec<(String, String)> {
        assert!(text.ends_with("\r\n"));
        for line in text.split("\r\n") {
            assert!(line.len() <= LONGEST, "{line}");
            assert!(!line.contains(['\r', '\n']), "{line:?}");
        }
        let unfolded = text.replace("\r\n ", "");
        let lines = unfolded.split_terminator("\r\n").map(|line| {
            let (key, value) = line.split_once(':').unwrap();
            let mut plain = String::new();
            let mut characters = value.chars();
            while let Some(c) = characters.next() {
                match c {
                    '\\' => match characters.next().unwrap() {
                        'n' => plain.push('\n'),
                        c => plain.push(c),
                    },
                    c => plain.push(c),
                }
            }
            (key.to_owned(), plain)
        });
        lines.collect()
    }

    #[test]
    fn an_entry_is_an_event_in_utc() {
        let lines = read(&calendar(
            "Campus; a, b",
            &[entry("exam-7", "Exam, Rank 02")],
            at(),
        ));
        let value = |key: &str| {
            let line = lines.iter().find(|(of, _)| of == key);
            line.unwrap_or_else(|| panic!("{key}: {lines:?}")).1.clone()
        };
        assert_eq!(value("X-WR-CALNAME"), "Campus; a, b");
        assert_eq!(value("UID"), "exam-7@cursus");
        assert_eq!(value("DTSTAMP"), "20261130T080000Z");
        assert_eq!(value("DTSTART"), "20261201T100000Z");
        assert_eq!(value("DTEND"), "20261201T120000Z");
        assert_eq!(value("SUMMARY"), "Exam, Rank 02");
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_a_value(text in "\\PC{0,200}|[\\\\;,:\\r\\n A-Z]{0,200}", id in "\\PC{0,40}") {
            let lines = read(&calendar(&text, &[entry(&id, &text), entry(&format!("{id}2"), &text), entry(&format!("{id}2"), &text)], at()));
            let keys: Vec<&str> = lines.iter().map(|(key, _)| key.as_str()).collect();
            let event = ["BEGIN", "UID", "DTSTAMP", "DTSTART", "DTEND", "SUMMARY", "LOCATION", "DESCRIPTION", "END"];
            let mut expected = vec!["BEGIN", "VERSION", "PRODID", "CALSCALE", "X-WR-CALNAME"];
            expected.extend(event);
            expected.extend(event);
            expected.push("END");
            prop_assert_eq!(keys, expected);
            let lines_of = |text: &str| text.lines().map(|line| printable::line(line).into_owned()).collect::<Vec<_>>().join("\n");
            let summary = lines.iter().find(|(key, _)| key == "SUMMARY").unwrap();
            prop_assert_eq!(&summary.1, &lines_of(&text));
        }
    }
}
