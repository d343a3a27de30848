//! Parts of JSON text by pointer. A key that comes twice is found twice: what is to be erased must not hide behind a copy.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::EACH;
use crate::pointer;

/// What is nested deeper counts as one value.
const DEEPEST: u32 = 64;

/// The elements of an array.
pub(super) struct Elements<'t>(pub(super) Vec<&'t RawValue>);

/// The members of an object, in order.
struct Members<'t>(Vec<(Cow<'t, str>, &'t RawValue)>);

#[derive(Deserialize)]
#[serde(transparent)]
struct Key<'t>(#[serde(borrow)] Cow<'t, str>);

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Elements<'de>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    elements.push(element);
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(Visit)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

/// The children of a value with their keys or indexes; none of a scalar.
fn children(raw: &str) -> Vec<(Cow<'_, str>, &str)> {
    match raw.as_bytes().first() {
        Some(b'{') => serde_json::from_str::<Members<'_>>(raw).map_or_else(
            |_| Vec::new(),
            |members| {
                let members = members.0.into_iter();
                members.map(|(key, value)| (key, value.get())).collect()
            },
        ),
        Some(b'[') => serde_json::from_str::<Elements<'_>>(raw).map_or_else(
            |_| Vec::new(),
            |elements| {
                let elements = elements.0.into_iter().enumerate();
                elements
                    .map(|(at, value)| (Cow::Owned(at.to_string()), value.get()))
                    .collect()
            },
        ),
        _ => Vec::new(),
    }
}

fn is_array(raw: &str) -> bool {
    raw.starts_with('[')
}

fn fits(token: &str, key: &str, in_array: bool) -> bool {
    if in_array {
        token == EACH || pointer::index(token).is_some_and(|at| at.to_string() == key)
    } else {
        token == key
    }
}

/// Hands over every value at these tokens.
pub(super) fn find<'t>(raw: &'t str, tokens: &[String], each: &mut dyn FnMut(&'t str)) {
    let Some((first, rest)) = tokens.split_first() else {
        each(raw);
        return;
    };
    let in_array = is_array(raw);
    for (key, value) in children(raw) {
        if fits(first, &key, in_array) {
            find(value, rest, each);
        }
    }
}

/// Hands over every scalar in a value that is not null: keys and the shape of the value stay.
pub(super) fn leaves<'t>(raw: &'t str, each: &mut dyn FnMut(&'t str)) {
    leaves_below(raw, &[], DEEPEST, each);
}

/// The same without what is at the `kept` tokens.
pub(super) fn leaves_but<'t>(raw: &'t str, kept: &[&[String]], each: &mut dyn FnMut(&'t str)) {
    leaves_below(raw, kept, DEEPEST, each);
}

fn leaves_below<'t>(raw: &'t str, kept: &[&[String]], depth: u32, each: &mut dyn FnMut(&'t str)) {
    if kept.iter().any(|tokens| tokens.is_empty()) {
        return;
    }
    if depth == 0 || !raw.starts_with(['{', '[']) {
        if raw != "null" {
            each(raw);
        }
        return;
    }
    let in_array = is_array(raw);
    for (key, value) in children(raw) {
        leaves_below(value, &below(kept, &key, in_array), depth - 1, each);
    }
}

/// Appends those members of an object that are on the way to the `kept` tokens, each after a comma, and nothing else that is in them.
pub(super) fn reduced(raw: &str, kept: &[&[String]], text: &mut String) {
    for (key, value) in children(raw) {
        let below = below(kept, &key, false);
        if below.is_empty() {
            continue;
        }
        let key = serde_json::Value::from(key.as_ref());
        let _ = write!(text, ",{key}:");
        if below.iter().any(|tokens| tokens.is_empty()) {
            text.push_str(value);
        } else if value.starts_with('{') {
            let mut members = String::new();
            reduced(value, &below, &mut members);
            let _ = write!(text, "{{{}}}", members.trim_start_matches(','));
        } else {
            text.push_str("null");
        }
    }
}

/// What of the tokens is below a key.
fn below<'k>(tokens: &[&'k [String]], key: &str, in_array: bool) -> Vec<&'k [String]> {
    let below = tokens.iter().filter_map(|tokens| {
        let (first, rest) = tokens.split_first()?;
        fits(first, key, in_array).then_some(rest)
    });
    below.collect()
}
