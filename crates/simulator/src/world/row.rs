//! Rows: JSON objects that keep the order of their keys, with what the API can filter by but does not show.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Cell, Stamp, World};

/// Keys and values, in order. What was parsed keeps the spelling of its values, so that a given row is served as it was.
#[derive(Clone, Debug, Default)]
pub(crate) struct Object(pub(super) Vec<(Cow<'static, str>, Cell)>);

/// An object with these keys, in this order.
macro_rules! object {
    ($($key:literal: $value:expr),* $(,)?) => {
        $crate::world::row::Object(vec![$(($key.into(), $crate::world::Cell::from($value))),*])
    };
}
pub(super) use object;

impl Object {
    pub(crate) fn parse(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(&compact(text))
    }

    /// The object that a value of ours serializes to, with values that queries compare.
    pub(super) fn of(value: &impl Serialize) -> Self {
        let mut object: Self = serde_json::from_str(&json(value)).unwrap_or_default();
        for (key, cell) in &mut object.0 {
            if let Cell::Json(raw) = cell
                && !raw.get().starts_with(['{', '['])
                && let Ok(value) = serde_json::from_str(raw.get())
            {
                *cell = Cell::read(key, &value);
            }
        }
        object
    }

    pub(super) fn cell(&self, key: &str) -> Option<&Cell> {
        let (_, value) = self.0.iter().find(|(name, _)| name == key)?;
        Some(value)
    }

    /// The value under `key`; `None` as well where it has another type.
    pub(super) fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(&json(self.cell(key)?)).ok()
    }

    /// Replaces the value under `key`; an object without that key gains it at the end.
    pub(super) fn set(&mut self, key: &str, value: impl Into<Cell>) {
        let value = value.into();
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, slot)) => *slot = value,
            None => self.0.push((key.to_owned().into(), value)),
        }
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.0.retain(|(name, _)| name != key);
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    entries.push((key.into(), Cell::Json(value)));
                }
                Ok(Object(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// A row of any resource.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(super) shown: Object,
    pub(super) hidden: Object,
}

impl Row {
    /// A row with the fields that it shows, its id among them, and those that it does not.
    pub(super) fn new(shown: Object, hidden: Object) -> Self {
        let id = shown.get("id").unwrap_or_default();
        Self { id, shown, hidden }
    }

    /// The value of a field; a hidden value has precedence over a shown one, because it is more exact.
    pub(super) fn cell(&self, field: &str) -> Option<&Cell> {
        self.hidden.cell(field).or_else(|| self.shown.cell(field))
    }

    pub(super) fn get<T: DeserializeOwned>(&self, field: &str) -> Option<T> {
        self.hidden.get(field).or_else(|| self.shown.get(field))
    }

    pub(super) fn int(&self, field: &str) -> Option<i64> {
        match self.cell(field) {
            Some(Cell::Int(value)) => Some(*value),
            _ => None,
        }
    }

    /// The id under a field that every row of its resource has.
    pub(super) fn key(&self, field: &str) -> i64 {
        self.int(field).unwrap_or_default()
    }

    pub(super) fn number(&self, field: &str) -> f64 {
        match self.cell(field) {
            Some(Cell::Number(value)) => *value,
            _ => 0.0,
        }
    }

    pub(super) fn time(&self, field: &str) -> Option<Stamp> {
        match self.cell(field) {
            Some(Cell::Time(value)) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn text(&self, field: &str) -> &str {
        match self.cell(field) {
            Some(Cell::Text(value)) => value,
            _ => "",
        }
    }

    pub(super) fn flag(&self, field: &str) -> bool {
        matches!(self.cell(field), Some(Cell::Bool(true)))
    }

    /// Sets a field where it is, or shows one that is new.
    pub(super) fn set(&mut self, field: &str, value: impl Into<Cell>) {
        if self.hidden.cell(field).is_some() {
            self.hidden.set(field, value);
        } else {
            self.shown.set(field, value);
        }
    }

    /// Marks a change: `updated_at` moves, and is shown if it was.
    pub(super) fn touch(&mut self, at: Stamp) {
        let at = self.time("updated_at").map_or(at, |known| known.max(at));
        for fields in [&mut self.hidden, &mut self.shown] {
            if fields.cell("updated_at").is_some() {
                fields.set("updated_at", at);
            }
        }
    }

    /// Appends the JSON of the row.
    pub(super) fn write(&self, world: &World, out: &mut Vec<u8>) {
        let mut open = b'{';
        for (key, cell) in &self.shown.0 {
            out.push(open);
            write_json(key, out);
            out.push(b':');
            match cell {
                Cell::Made(make) => write_json(&make(self, world), out),
                other => write_json(other, out),
            }
            open = b',';
        }
        if open == b'{' {
            out.push(open);
        }
        out.push(b'}');
    }
}

/// The JSON text of a value of ours, whose keys are all strings.
pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// Appends the JSON text of a value of ours.
pub(crate) fn write_json(value: &impl Serialize, out: &mut Vec<u8>) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

/// The same JSON without white space between its tokens: the API sends none.
fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        if quoted {
            out.push(c);
            quoted = escaped || c != '"';
            escaped = c == '\\' && !escaped;
        } else if !matches!(c, ' ' | '\t' | '\n' | '\r') {
            out.push(c);
            quoted = c == '"';
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_row_keeps_key_order_number_spelling_and_escapes() {
        let text = "{ \"z\": 4.0,\n \"a\" : [ 1e2, \"q\\\" \\\\\" , \"\\u00e9 x\" ], \"m\":{} }";
        let row = Object::parse(text).unwrap();
        assert_eq!(
            json(&row),
            r#"{"z":4.0,"a":[1e2,"q\" \\","\u00e9 x"],"m":{}}"#
        );
    }

    #[test]
    fn setting_a_key_keeps_its_place() {
        let mut row = Object::parse(r#"{"b":1,"a":2}"#).unwrap();
        row.set("b", "x");
        row.set("c", None::<i64>);
        assert_eq!(json(&row), r#"{"b":"x","a":2,"c":null}"#);
    }
}
