//! What of the changes an address asks for. Reads nothing.

use serde_json::Value;

use super::address::encoded;
use crate::change_feed::{Wanted, WantedKey};
use crate::cli::since;
use crate::key_arg::Key;
use crate::printable;

/// What is asked for, as it was written and as it is read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// In the order of [`FILTERS`]; empty: not asked for.
    texts: [String; FILTERS.len()],
    pub(crate) wanted: Wanted,
    /// Why a part of it cannot be read, in sentences.
    pub(crate) faults: Vec<String>,
}

/// The fields of the form, which are the names in an address.
pub(crate) const FILTERS: [&str; 5] = ["table", "key", "op", "run", "since"];
const BEFORE: &str = "before";
/// What a change can be, and what people call it.
pub(crate) const OPS: [(&str, &str); 4] = [
    ("c", "added"),
    ("u", "changed"),
    ("d", "deleted"),
    ("s", "followed from here"),
];

impl Asked {
    /// Of the names and values of an address; a name that is none of ours is left out.
    pub(crate) fn of(pairs: &[(String, String)]) -> Self {
        let mut asked = Self::default();
        for (name, value) in pairs {
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            if let Some(at) = FILTERS.iter().position(|filter| filter == name) {
                value.clone_into(&mut asked.texts[at]);
            }
            if let Err(fault) = asked.wanted.take(name, value) {
                let fault = printable::line(&format!("{name}: {fault}")).into_owned();
                asked.faults.push(fault);
            }
        }
        asked
    }

    pub(crate) fn text(&self, filter: &str) -> &str {
        let at = FILTERS.iter().position(|it| *it == filter);
        at.map_or("", |at| &self.texts[at])
    }

    /// Whether anything but the place in the list is asked for.
    pub(crate) fn is_filtered(&self) -> bool {
        self.texts.iter().any(|text| !text.is_empty())
    }

    /// Whether the row of this key, in JSON, is asked for.
    pub(crate) fn is_of_row(&self, key: &str) -> bool {
        let Some(WantedKey::Json(wanted)) = &self.wanted.key else {
            return false;
        };
        serde_json::from_str(key).is_ok_and(|key: Value| key == *wanted)
    }

    /// The address of another page about the same row.
    pub(crate) fn path_of_row(&self, to: &str) -> String {
        path_of_row(to, self.text("table"), self.text("key"))
    }

    /// The address of the same before the change of a number; without one of its begin.
    pub(crate) fn path(&self, to: &str, before: Option<u64>) -> String {
        let texts = FILTERS.iter().zip(&self.texts);
        let mut parts: Vec<String> = texts
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| format!("{name}={}", encoded(text)))
            .collect();
        parts.extend(before.map(|before| format!("{BEFORE}={before}")));
        if parts.is_empty() {
            return to.to_owned();
        }
        format!("{to}?{}", parts.join("&"))
    }
}

/// The address of all changes of a row (`/changes`), or of how it was (`/history`).
pub(crate) fn path_of_row(to: &str, table: &str, key: &str) -> String {
    format!("{to}?table={}&key={}", encoded(table), encoded(key))
}

impl Wanted {
    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "table" => self.table = Some(value.to_owned()),
            "run" => self.run = Some(value.to_owned()),
            "key" => self.key = Some(key(value)?),
            "since" => self.since = Some(since(value)?),
            "op" if OPS.iter().any(|(op, _)| *op == value) => self.op = Some(value.to_owned()),
            "op" => return Err("write c, u, d or s".to_owned()),
            BEFORE => {
                let before = value.parse();
                self.before = Some(before.map_err(|_| "write the number of a change".to_owned())?);
            }
            _ => {}
        }
        Ok(())
    }
}

fn key(text: &str) -> Result<WantedKey, String> {
    if !text.starts_with('{') {
        return Key::parse(text).map(WantedKey::Typed);
    }
    match serde_json::from_str(text) {
        Ok(key @ Value::Object(_)) => Ok(WantedKey::Json(key)),
        _ => Err("a key in JSON is an object, such as {\"id\":12345}".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&str, &str)]) -> Asked {
        let pairs = pairs.iter();
        let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Asked::of(&pairs.collect::<Vec<_>>())
    }

    #[test]
    fn an_address_asks_and_is_written_again() {
        let some = asked(&[
            ("table", "users"),
            ("key", "{\"id\":5}"),
            ("op", ""),
            ("x", "y"),
        ]);
        assert_eq!(some.faults, [""; 0]);
        assert!(some.wanted.op.is_none() && some.is_filtered());
        let path = some.path("/changes", Some(7));
        assert_eq!(path, "/changes?table=users&key=%7B%22id%22%3A5%7D&before=7");
        let row = "/history?table=users&key=%7B%22id%22%3A5%7D";
        assert_eq!(some.path_of_row("/history"), row);
        assert_eq!(asked(&[("before", "7")]).path("/changes", None), "/changes");
    }

    #[test]
    fn what_cannot_be_read_is_said_all_at_once() {
        let wrong = [
            ("key", "a=1,2"),
            ("key", "{1}"),
            ("op", "x"),
            ("since", "?"),
            ("before", "-1"),
        ];
        assert_eq!(asked(&wrong).faults.len(), wrong.len());
    }
}
