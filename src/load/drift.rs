//! The shape of the API's records, and how it drifts: a field that is new, gone, or of another type.
//!
//! Fields and types are noticed in a sample of the records. Whether a mapped key is absent is known of every record.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use super::books::Books;
use super::error::LoadError;
use crate::name::Name;
use crate::walk::{Place, Slots};

/// Records that must lack a key before it counts as gone.
const ENOUGH: u64 = 20;
/// Records looked at from the first pages; of every later page it is one.
const FIRST: u64 = 25;
/// Objects in objects are looked into so deep.
const DEPTH: usize = 3;
/// So many fields are remembered, whatever the API sends.
const FIELDS: usize = 1000;

/// A change in the shape of a resource's records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// The resource.
    pub resource: Name,
    /// Where in the record.
    pub path: String,
    /// What happened to it.
    pub kind: DriftKind,
    /// The first page that shows it, relative to the run's directory.
    pub first_file: String,
}

/// What happened to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DriftKind {
    /// No record had it before.
    New,
    /// Every record had it, and now none has.
    Gone,
    /// Its values are of another type.
    Type,
}

impl DriftKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Gone => "gone",
            Self::Type => "type",
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            DriftKind::New => "is new in its records",
            DriftKind::Gone => "is gone from its records",
            DriftKind::Type => "has values of another type",
        };
        let Self {
            resource,
            path,
            first_file,
            ..
        } = self;
        write!(f, "{resource}: {} {what} ({first_file})", Shown(path))
    }
}

/// A path, which the API has made up, without what would command a terminal.
struct Shown<'p>(&'p str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.chars().take(100);
        shown.flat_map(char::escape_debug).try_for_each(|c| {
            use fmt::Write as _;
            f.write_char(c)
        })
    }
}

/// JSON's types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

/// What a sample of records showed.
#[derive(Debug, Default)]
pub(super) struct Shape {
    records: u64,
    first_file: String,
    fields: BTreeMap<String, Field>,
    /// How often an object was seen at a path.
    objects: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Field {
    present: u64,
    /// The kinds of its values, and the first file of each.
    kinds: BTreeMap<Kind, String>,
}

impl Shape {
    /// Looks at the first records of a page. What cannot be read here is told by whoever reads all of it.
    pub(super) fn sample(&mut self, text: &str, file: &str) {
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
            let look = Look {
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
struct Look<'s> {
    shape: &'s mut Shape,
    file: &'s str,
    path: &'s mut String,
    depth: usize,
}

impl Look<'_> {
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

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_> {
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
        let look = Look {
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
            path.push('/');
            path.push_str(&key.replace('~', "~0").replace('/', "~1"));
            map.next_value_seed(Look {
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

/// What earlier loads have seen, by path.
type Known = BTreeMap<String, KnownField>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KnownField {
    kinds: BTreeSet<Kind>,
    /// Whether no record lacked it.
    always: bool,
    /// Records without it since it was last seen.
    absent: u64,
}

fn parent(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..at])
}

/// Compares a sample with what is known, and adds it.
fn learn(known: &mut Known, shape: &Shape, resource: &Name) -> Vec<Drift> {
    let mut drifts = Vec::new();
    let mut drift = |path: &str, kind, file: &str| {
        drifts.push(Drift {
            resource: resource.clone(),
            path: path.to_owned(),
            kind,
            first_file: file.to_owned(),
        });
    };
    let before = known.clone();
    for (path, field) in &shape.fields {
        let objects = shape.objects.get(parent(path)).copied().unwrap_or(0);
        let is_always = field.present >= objects;
        let kinds = field.kinds.keys().copied();
        let first_file = field.kinds.values().next().map_or("", String::as_str);
        match before.get(path) {
            None => {
                // What comes with its object is no news of its own.
                let holder = before.get(parent(path));
                let was_open = parent(path).is_empty()
                    || holder.is_some_and(|holder| holder.kinds.contains(&Kind::Object));
                if !before.is_empty() && was_open {
                    drift(path, DriftKind::New, first_file);
                }
                let field = KnownField {
                    kinds: kinds.collect(),
                    always: is_always,
                    absent: 0,
                };
                known.insert(path.clone(), field);
            }
            Some(before) => {
                let was_typed = before.kinds.iter().any(|kind| *kind != Kind::Null);
                let other = (field.kinds.iter())
                    .find(|(kind, _)| **kind != Kind::Null && !before.kinds.contains(kind));
                if let Some((_, file)) = other
                    && was_typed
                {
                    drift(path, DriftKind::Type, file);
                }
                if let Some(known) = known.get_mut(path) {
                    known.kinds.extend(kinds);
                    known.always &= is_always && before.absent == 0;
                    known.absent = 0;
                }
            }
        }
    }
    let mut gone: Vec<String> = Vec::new();
    for (path, field) in known.iter_mut() {
        if shape.fields.contains_key(path) || shape.fields.len() >= FIELDS || !field.always {
            continue;
        }
        let objects = shape.objects.get(parent(path)).copied().unwrap_or(0);
        field.absent += objects;
        if objects > 0 && field.absent >= ENOUGH {
            drift(path, DriftKind::Gone, &shape.first_file);
            gone.push(path.clone());
        }
    }
    for path in gone {
        let inside = format!("{path}/");
        known.retain(|other, _| *other != path && !other.starts_with(&inside));
    }
    drifts
}

/// Compares the sample of a loaded resource with what the books know, and notes the difference.
pub(super) async fn note(
    transaction: &Transaction<'_>,
    books: Books<'_>,
    shape: &Shape,
) -> Result<Vec<Drift>, LoadError> {
    if shape.records == 0 {
        return Ok(Vec::new());
    }
    let resource = books.resource.as_str();
    let row = transaction
        .query_typed_opt(
            "SELECT fields FROM pipeline.shape WHERE schema_name = $1 AND resource = $2",
            &[(&books.schema, Type::TEXT), (&resource, Type::TEXT)],
        )
        .await
        .map_err(LoadError::at("read pipeline.shape"))?;
    let before: Known = row
        .and_then(|row| serde_json::from_value(row.get(0)).ok())
        .unwrap_or_default();
    let mut known = before.clone();
    let drifts = learn(&mut known, shape, books.resource);
    if known != before {
        let fields = serde_json::to_value(&known).unwrap_or_default();
        transaction
            .execute(
                "INSERT INTO pipeline.shape (schema_name, resource, fields, run_id) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (schema_name, resource) DO UPDATE SET fields = excluded.fields, run_id = excluded.run_id",
                &[&books.schema, &resource, &fields, &books.run.id().as_str()],
            )
            .await
            .map_err(LoadError::at("write pipeline.shape"))?;
    }
    write(transaction, books, &drifts).await?;
    Ok(drifts)
}

/// Puts drifts into the books, each once a run.
pub(super) async fn write(
    transaction: &Transaction<'_>,
    books: Books<'_>,
    drifts: &[Drift],
) -> Result<(), LoadError> {
    for drift in drifts {
        transaction
            .execute(
                "INSERT INTO pipeline.drift (schema_name, run_id, resource, path, kind, first_file) \
                 SELECT $1, $2, $3, $4, $5, $6 WHERE NOT EXISTS (SELECT FROM pipeline.drift WHERE \
                 (schema_name, run_id, resource, path, kind) = ($1, $2, $3, $4, $5))",
                &[
                    &books.schema,
                    &books.run.id().as_str(),
                    &drift.resource.as_str(),
                    &drift.path.replace('\0', "\u{fffd}"),
                    &drift.kind.as_str(),
                    &drift.first_file,
                ],
            )
            .await
            .map_err(LoadError::at("write pipeline.drift"))?;
    }
    Ok(())
}

/// Mapped keys that no record has shown so far; one that is shown costs nothing any more.
#[derive(Debug, Default)]
pub(super) struct Absent {
    unseen: Vec<Unseen>,
}

#[derive(Debug)]
struct Unseen {
    place: Place,
    /// As it is written in `pipeline.toml`.
    pointer: String,
    /// Records in which it is absent, not null or within a null.
    records: u64,
}

impl Absent {
    /// Watches a pointer.
    pub(super) fn watch(&mut self, place: Place, pointer: String) {
        self.unseen.push(Unseen {
            place,
            pointer,
            records: 0,
        });
    }

    /// Looks at a record.
    pub(super) fn see(&mut self, slots: &Slots<'_>) {
        if self.unseen.is_empty() {
            return;
        }
        self.unseen.retain_mut(|unseen| {
            unseen.records += u64::from(unseen.place.is_absent(slots));
            !unseen.place.is_there(slots)
        });
    }

    /// The pointers that were in no record, of enough records.
    pub(super) fn gone(&self) -> impl Iterator<Item = &str> {
        let gone = self.unseen.iter().filter(|one| one.records >= ENOUGH);
        gone.map(|one| one.pointer.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(records: &[&str]) -> Shape {
        let mut shape = Shape::default();
        for records in records {
            shape.sample(&format!("[{records}]"), "page");
        }
        shape
    }

    fn learnt(known: &mut Known, record: &str, times: usize) -> Vec<(String, DriftKind)> {
        let shape = shape(&[&vec![record; times].join(",")]);
        let name = Name::parse("things").unwrap();
        learn(known, &shape, &name)
            .into_iter()
            .map(|drift| (drift.path, drift.kind))
            .collect()
    }

    #[test]
    fn what_is_new_gone_or_of_another_type_is_told_once() {
        let mut known = Known::new();
        let first = r#"{"id": 1, "a": null, "b": {"c": 1}, "d": null, "e~/": 1}"#;
        assert_eq!(learnt(&mut known, first, 3), []);
        let other = r#"{"id": "1", "a": 5, "b": {"c": 1, "x": 1}, "d": {"y": 1}, "new": {"z": 1}, "e~/": 1}"#;
        let told = [
            ("/b/x".to_owned(), DriftKind::New),
            ("/id".to_owned(), DriftKind::Type),
            ("/new".to_owned(), DriftKind::New),
        ];
        assert_eq!(learnt(&mut known, other, 1), told);
        assert_eq!(learnt(&mut known, other, 25), []);
        // Too few records without it prove nothing yet.
        let less = r#"{"id": 1, "a": 5, "b": null, "d": null, "new": null}"#;
        assert_eq!(learnt(&mut known, less, 15), []);
        assert_eq!(
            learnt(&mut known, less, 15),
            [("/e~0~1".to_owned(), DriftKind::Gone)]
        );
        assert_eq!(learnt(&mut known, less, 25), []);
    }

    #[test]
    fn junk_is_looked_at_within_bounds() {
        let junk: Vec<String> = (0..10_000).map(|at| format!("\"k{at}\": {at}")).collect();
        let deep = "[".repeat(100) + &"]".repeat(100);
        let shape = shape(&[&format!("{{{}}}", junk.join(",")), &deep, "1, {", "\u{0}"]);
        assert_eq!(shape.fields.len(), FIELDS);
    }
}
