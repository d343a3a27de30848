//! What a sample of a resource's records looks like.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// Records looked at from the first pages; of every later page it is one.
const FIRST: u64 = 25;
/// Objects in objects are looked into so deep.
const DEPTH: usize = 3;
/// Longer keys are passed over.
const LONGEST: usize = 200;
/// So many fields are remembered, whatever the API sends.
pub(crate) const FIELDS: usize = 1000;

/// JSON's types.
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
        let mut path = String::new();
        for _ in 0..self.take {
            path.clear();
            let look = ValueVisitor {
                shape: &mut *self.shape,
                file: self.file,
                path: &mut path,
                depth: 0,
            };
            if list.next_element_seed(look)?.is_none() {
                break;
            }
            self.shape.records += 1;
        }
        Ok(())
    }
}

/// Looks at one value.
struct ValueVisitor<'s> {
    shape: &'s mut Shape,
    file: &'s str,
    path: &'s mut String,
    depth: usize,
}

impl ValueVisitor<'_> {
    fn note(self, kind: Kind) {
        if self.depth == 0 {
            return;
        }
        let fields = &mut self.shape.fields;
        if let Some(field) = fields.get_mut(self.path.as_str()) {
            field.present += 1;
            let first = || self.file.to_owned();
            field.kinds.entry(kind).or_insert_with(first);
        } else if fields.len() < FIELDS {
            let field = Field {
                present: 1,
                kinds: [(kind, self.file.to_owned())].into(),
            };
            fields.insert(self.path.clone(), field);
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueVisitor<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self {
            shape,
            file,
            path,
            depth,
        } = self;
        let look = ValueVisitor {
            shape: &mut *shape,
            file,
            path: &mut *path,
            depth,
        };
        look.note(Kind::Object);
        if depth >= DEPTH {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        if depth == 0 || shape.fields.contains_key(path.as_str()) {
            *shape.objects.entry(path.clone()).or_default() += 1;
        }
        let length = path.len();
        while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            // No name of a field, and nothing that PostgreSQL could keep.
            if key.len() > LONGEST || key.contains('\0') {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            path.push('/');
            path.push_str(&key.replace('~', "~0").replace('/', "~1"));
            map.next_value_seed(ValueVisitor {
                shape: &mut *shape,
                file,
                path: &mut *path,
                depth: depth + 1,
            })?;
            path.truncate(length);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        self.note(Kind::Array);
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.note(Kind::Boolean);
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.note(Kind::Number);
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.note(Kind::Number);
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.note(Kind::Number);
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.note(Kind::String);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.note(Kind::Null);
        Ok(())
    }
}
