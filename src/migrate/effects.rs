//! The relations that pending migrations create and change, by their text, so that missing rights are reported before one runs.
//! Effects of a `DO` block or a function are not seen; the server refuses those when they run.

use std::collections::BTreeSet;

/// The bare names of relations that a migration names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// Those that must not be there yet.
    pub(crate) makes: BTreeSet<String>,
    /// Those that only their owner may change.
    pub(crate) changes: BTreeSet<String>,
    /// It changes the schema itself, which only its owner may.
    pub(crate) changes_schema: bool,
}

impl Effects {
    /// Of migrations that run one after the other.
    pub(crate) fn of<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        let mut effects = Self::default();
        let mut dropped = BTreeSet::new();
        for text in texts {
            let words = words(text);
            for at in 0..words.len() {
                effects.see(&words[at..], &mut dropped);
            }
        }
        effects.makes.retain(|name| !dropped.contains(name));
        effects
    }

    fn see(&mut self, words: &[String], dropped: &mut BTreeSet<String>) {
        let mut rest = words.iter().map(String::as_str).peekable();
        let skip = |names: &[&str], rest: &mut std::iter::Peekable<_>| {
            let mut is_found = false;
            while rest.next_if(|word| names.contains(word)).is_some() {
                is_found = true;
            }
            is_found
        };
        let verb = rest.next();
        let replaces = skip(&["or", "replace"], &mut rest);
        skip(&["unique", "unlogged", "materialized", "on"], &mut rest);
        let Some(kind) = rest.next() else {
            return;
        };
        skip(&["if", "not", "exists", "concurrently", "only"], &mut rest);
        let Some(name) = rest.next() else {
            return;
        };
        let is_relation = matches!(kind, "table" | "view" | "sequence" | "index");
        match verb {
            Some("create") if is_relation => {
                if kind == "index" {
                    skip(&["on", "only"], &mut rest);
                    self.changes.extend(rest.next().map(|of| bare(of, 0)));
                }
                let named = if replaces {
                    &mut self.changes
                } else {
                    &mut self.makes
                };
                named.insert(bare(name, 0));
            }
            Some("create") if kind == "trigger" => {
                let of = rest.skip_while(|word| *word != "on").nth(1);
                self.changes.extend(of.map(|of| bare(of, 0)));
            }
            Some("alter" | "comment") if is_relation => drop(self.changes.insert(bare(name, 0))),
            Some("drop") if is_relation => {
                dropped.insert(bare(name, 0));
                self.changes.insert(bare(name, 0));
            }
            Some("alter" | "comment") if kind == "schema" => self.changes_schema = true,
            Some("comment") if kind == "column" => drop(self.changes.insert(bare(name, 1))),
            _ => {}
        }
    }
}

/// The part of a dotted name at `from_end`, counted from its end.
fn bare(name: &str, from_end: usize) -> String {
    name.rsplit('.')
        .nth(from_end)
        .unwrap_or_default()
        .to_owned()
}

/// The words of a text in lower case, without comments and strings; quoted names are words too, as they are.
fn words(text: &str) -> Vec<String> {
    let is_of_word =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$' | 128..);
    let mut words = Vec::new();
    let mut word = String::new();
    let mut rest = text;
    loop {
        let end = rest.bytes().position(|byte| !is_of_word(byte));
        let (part, further) = rest.split_at(end.unwrap_or(rest.len()));
        word.push_str(&part.to_lowercase());
        rest = further;
        let skipped = match rest.as_bytes() {
            [] => break,
            [b'-', b'-', ..] => rest.find('\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] => rest.find("*/").map_or(rest.len(), |at| at + 2),
            [b'\'', ..] => rest[1..].find('\'').map_or(rest.len(), |at| at + 2),
            [b'"', ..] => {
                let end = rest[1..].find('"').map_or(rest.len(), |at| at + 2);
                word.push_str(rest[..end].trim_matches('"'));
                rest = &rest[end..];
                continue;
            }
            [_, ..] => 1,
        };
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        rest = &rest[skipped..];
    }
    words.push(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_a_migration_makes_and_changes_is_read_from_its_text() {
        let text = "-- CREATE TABLE no (id int)\nCREATE TABLE users (id int); CREATE UNIQUE INDEX users_id ON ONLY users (id);\n\
            CREATE INDEX CONCURRENTLY IF NOT EXISTS more ON s.\"Odd\" (id); COMMENT ON TABLE pipeline.load IS 'CREATE TABLE no2 (x)';\
            COMMENT ON COLUMN pipeline.run.seq IS 'a''; CREATE TABLE no3 ();'; ALTER TABLE IF EXISTS ONLY things ADD a int;\
            CREATE OR REPLACE VIEW shown AS SELECT 1; DROP VIEW IF EXISTS fresh; CREATE VIEW fresh AS SELECT 1;\
            CREATE TRIGGER t BEFORE INSERT OR UPDATE ON parts FOR EACH ROW EXECUTE FUNCTION f();";
        let effects = Effects::of([text]);
        assert_eq!(effects.makes, set(&["users", "users_id", "more"]));
        let changes = set(&[
            "users", "Odd", "load", "run", "things", "fresh", "parts", "shown",
        ]);
        assert_eq!(effects.changes, changes);
        assert!(!effects.changes_schema);
        assert!(Effects::of(["COMMENT ON SCHEMA mine IS 'x'"]).changes_schema);
    }
}
