//! What a sample of a resource's records looks like.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::person::is_dropped;

/// Records looked at from the first pages; of every later page it is one.
const FIRST: u64 = 25;
/// Objects in objects are looked into so deep.
const DEPTH: usize = 3;
/// Longer keys are passed over.
const LONGEST: usize = 200;
/// Fields that are remembered, whatever the API sends.
pub(crate) const FIELDS: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    fn of(raw: &str) -> Self {
        match raw.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't' | b'f') => Self::Boolean,
            Some(b'"') => Self::String,
            Some(b'[') => Self::Array,
            Some(b'{') => Self::Object,
            _ => Self::Number,
        }
    }
}

/// What a sample of records showed, and which fields are known to be in others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    pub(crate) records: u64,
    pub(crate) all: u64,
    pub(crate) first_file: String,
    pub(crate) fields: BTreeMap<String, Field>,
    /// How often an object was seen at a path.
    pub(crate) objects: BTreeMap<String, u64>,
    /// Mapped keys that no record has, though there was nothing to lose.
    pub(crate) absent: BTreeSet<String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Field {
    /// Records of the sample that have it.
    pub(crate) present: u64,
    /// The kinds of its values, and the first file of each.
    pub(crate) kinds: BTreeMap<Kind, String>,
}

impl Shape {
    /// Looks at the first records of a page. What cannot be read here is reported by the full decode.
    pub(crate) fn sample(&mut self, text: &str, file: &str) {
        if self.first_file.is_empty() {
            file.clone_into(&mut self.first_file);
        }
        let take = FIRST.saturating_sub(self.records).max(1);
        let mut parser = serde_json::Deserializer::from_str(text);
        // It stops amid the page, which the parser takes for an error.
        let _ = parser.deserialize_seq(Sample {
            shape: self,
            file,
            take,
        });
    }

    /// Adds a field that a record outside the sample has, first in this file, if the sample would have noted it. Of what type
    /// is not known, as if it were null.
    pub(crate) fn show(&mut self, path: String, file: String) {
        let depth = path.matches('/').count();
        if (1..=DEPTH).contains(&depth)
            && !self.fields.contains_key(&path)
            && self.fields.len() < FIELDS
        {
            let field = Field {
                present: 0,
                kinds: [(Kind::Null, file)].into(),
            };
            self.fields.insert(path, field);
        }
    }
}

struct Sample<'s> {
    shape: &'s mut Shape,
    file: &'s str,
    take: u64,
}

impl<'de> Visitor<'de> for Sample<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut taken = 0;
        while taken < self.take
            && let Some(record) = list.next_element::<&RawValue>()?
        {
            if is_dropped(record.get()) {
                continue;
            }
            taken += 1;
            self.shape.see(record, &mut String::new(), 0, self.file);
            self.shape.records += 1;
        }
        Ok(())
    }
}

impl Shape {
    /// Notes a value and what is in it. Only its keys are copied.
    fn see(&mut self, value: &RawValue, path: &mut String, depth: usize, file: &str) {
        let kind = Kind::of(value.get());
        if depth > 0 {
            self.note(kind, path, file);
        }
        if kind != Kind::Object || depth >= DEPTH {
            return;
        }
        if depth == 0 || self.fields.contains_key(path.as_str()) {
            *self.objects.entry(path.clone()).or_default() += 1;
        }
        let fields = serde_json::from_str::<BTreeMap<String, &RawValue>>(value.get());
        for (key, value) in fields.unwrap_or_default() {
            // No name of a field, and nothing that PostgreSQL could keep.
            if key.len() > LONGEST || key.contains('\0') {
                continue;
            }
            let length = path.len();
            path.push('/');
            path.push_str(&key.replace('~', "~0").replace('/', "~1"));
            self.see(value, path, depth + 1, file);
            path.truncate(length);
        }
    }

    fn note(&mut self, kind: Kind, path: &str, file: &str) {
        if let Some(field) = self.fields.get_mut(path) {
            field.present += 1;
            field.kinds.entry(kind).or_insert_with(|| file.to_owned());
        } else if self.fields.len() < FIELDS {
            let field = Field {
                present: 1,
                kinds: [(kind, file.to_owned())].into(),
            };
            self.fields.insert(path.to_owned(), field);
        }
    }
}
