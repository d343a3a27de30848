//! A JSON object that keeps the order of its keys and the spelling of its values, so that a given row is served as it was.

use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Keys and unparsed values, in order.
#[derive(Clone, Debug)]
pub(crate) struct Object(Vec<(String, Box<RawValue>)>);

impl Object {
    /// The object that `row` serializes to.
    pub(crate) fn of(row: &impl Serialize) -> Self {
        serde_json::from_str(&json(row)).unwrap_or_else(|_| Self(Vec::new()))
    }

    pub(crate) fn parse(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(&compact(text))
    }

    /// The unparsed text under `key`.
    pub(crate) fn raw(&self, key: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(name, _)| name == key)?;
        Some(value.get())
    }

    /// The value under `key`; `None` as well where it has another type.
    pub(crate) fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(self.raw(key)?).ok()
    }

    /// Replaces the value under `key`; an object without that key gains it at the end.
    pub(crate) fn set(&mut self, key: &str, value: &impl Serialize) {
        let Ok(value) = RawValue::from_string(json(value)) else {
            return;
        };
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, slot)) => *slot = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.0.retain(|(name, _)| name != key);
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        write_json(self, out);
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
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
                while let Some(entry) = map.next_entry::<String, Box<RawValue>>()? {
                    entries.push(entry);
                }
                Ok(Object(entries))
            }
        }
        deserializer.deserialize_map(Entries)
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
        row.set("b", &"x");
        row.set("c", &None::<i64>);
        assert_eq!(json(&row), r#"{"b":"x","a":2,"c":null}"#);
    }
}
