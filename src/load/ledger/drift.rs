//! The shape of the API's records, and how it drifts: a new field, a missing field, a field of another type.
//!
//! Fields and types are noticed in a sample of the records. Whether a mapped key is absent is known of every record; before
//! any other field is said to be in none, all records are looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Row, Transaction};

use crate::database::utc;
use crate::load::decode::field_search;
use crate::load::decode::shape::{FIELDS, Kind, Shape};
use crate::load::decode::types::MIN_RECORDS_WITHOUT_KEY;
use crate::load::error::LoadError;
use crate::load::ledger::loads::LoadLedger;
use crate::name::Name;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Drift {
    pub(crate) resource: Name,
    pub(crate) path: String,
    /// What happened to it.
    pub(crate) kind: DriftKind,
    /// The first page that shows it, relative to the run's directory.
    pub(crate) first_file: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DriftKind {
    /// No record that was looked at had it before.
    New,
    /// No record has it: every one had it before, or it is mapped.
    Absent,
    /// Its values are of another type.
    Type,
}

impl DriftKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Absent => "gone",
            Self::Type => "type",
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            DriftKind::New => "is new in its records",
            DriftKind::Absent => "is in none of its records",
            DriftKind::Type => "has values of another type",
        };
        let Self {
            resource,
            path,
            first_file,
            ..
        } = self;
        write!(f, "{resource}: {} {what} ({first_file})", EscapedPath(path))
    }
}

/// A path, which the API has made up, without what would command a terminal.
struct EscapedPath<'p>(&'p str);

impl fmt::Display for EscapedPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.chars().take(100);
        shown.flat_map(char::escape_debug).try_for_each(|c| {
            use fmt::Write as _;
            f.write_char(c)
        })
    }
}

/// What earlier loads have seen, by path.
type KnownShape = BTreeMap<String, KnownField>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KnownField {
    kinds: BTreeSet<Kind>,
    /// Whether no record lacked it.
    always: bool,
    /// Records without it since it was last seen.
    absent: u64,
    /// An object whose keys are data, maybe people's names: they are neither stored nor reported.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    open: bool,
}

/// With this many keys that some record lacks, the keys of an object are data. A first page is sampled that far.
const MANY: usize = 25;

/// The objects whose keys are data, as far as was not known.
fn opened(known: &KnownShape, shape: &Shape) -> BTreeSet<String> {
    let mut sparse: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, field) in known {
        if !field.always {
            sparse.entry(parent(path)).or_default().insert(path);
        }
    }
    for (path, field) in &shape.fields {
        let objects = shape.objects.get(parent(path)).copied().unwrap_or(0);
        if field.present < objects {
            sparse.entry(parent(path)).or_default().insert(path);
        }
    }
    // The record itself has fields.
    sparse.remove("");
    let opened = sparse.into_iter().filter(|(path, keys)| {
        keys.len() >= MANY && known.get(*path).is_none_or(|known| !known.open)
    });
    opened.map(|(path, _)| path.to_owned()).collect()
}

fn is_within(path: &str, objects: &BTreeSet<String>) -> bool {
    let ends = path.match_indices('/').skip(1);
    ends.into_iter()
        .any(|(end, _)| objects.contains(&path[..end]))
}

fn parent(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..at])
}

/// Compares a sample with what is known, and adds it.
fn learn(known: &mut KnownShape, shape: &Shape, resource: &Name) -> Vec<Drift> {
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
    let opened = opened(known, shape);
    let was_open = known.iter().filter(|(_, known)| known.open);
    let open: BTreeSet<String> = was_open
        .map(|(path, _)| path.clone())
        .chain(opened.iter().cloned())
        .collect();
    known.retain(|path, _| !is_within(path, &open));
    for path in opened.iter().filter(|path| before.contains_key(*path)) {
        let file = shape
            .fields
            .get(path)
            .and_then(|field| field.kinds.get(&Kind::Object));
        drift(
            &format!("{path}/*"),
            DriftKind::New,
            file.map_or("", String::as_str),
        );
    }
    for (path, field) in &shape.fields {
        if is_within(path, &open) {
            continue;
        }
        let objects = shape.objects.get(parent(path)).copied().unwrap_or(0);
        let is_always = field.present > 0 && field.present >= objects;
        let kinds = field.kinds.keys().copied();
        let first_file = field.kinds.values().next().map_or("", String::as_str);
        match before.get(path) {
            None if known.len() >= FIELDS => {}
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
                    open: open.contains(path),
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
                    known.open = open.contains(path);
                }
            }
        }
    }
    let mut absent: Vec<String> = Vec::new();
    for (path, field) in known.iter_mut() {
        if shape.fields.contains_key(path) || shape.fields.len() >= FIELDS || !field.always {
            continue;
        }
        let objects = shape.objects.get(parent(path)).copied().unwrap_or(0);
        field.absent += objects;
        if objects > 0 && field.absent >= MIN_RECORDS_WITHOUT_KEY {
            drift(path, DriftKind::Absent, &shape.first_file);
            absent.push(path.clone());
        }
    }
    for path in absent {
        let inside = format!("{path}/");
        known.retain(|other, _| *other != path && !other.starts_with(&inside));
    }
    drifts
}

/// Compares the sample of a loaded resource with the ledger, and records the difference.
pub(crate) async fn record(
    transaction: &Transaction<'_>,
    ledger: LoadLedger<'_>,
    shape: &Shape,
) -> Result<Vec<Drift>, LoadError> {
    if shape.records == 0 {
        return Ok(Vec::new());
    }
    let resource = ledger.resource.as_str();
    let row = transaction
        .query_typed_opt(
            "SELECT fields FROM pipeline.shape WHERE schema_name = $1 AND resource = $2",
            &[(&ledger.schema, Type::TEXT), (&resource, Type::TEXT)],
        )
        .await
        .map_err(LoadError::at("read pipeline.shape"))?;
    let before: KnownShape = row
        .and_then(|row| serde_json::from_value(row.get(0)).ok())
        .unwrap_or_default();
    let mut known = before.clone();
    let mut drifts = learn(&mut known, shape, ledger.resource);
    let is_absent = |drift: &&Drift| drift.kind == DriftKind::Absent;
    let lacking: Vec<&Drift> = drifts.iter().filter(is_absent).collect();
    if shape.records < shape.all && !lacking.is_empty() {
        let paths = lacking.iter().map(|drift| drift.path.clone()).collect();
        let mut shape = shape.clone();
        for (path, file) in field_search::shown(ledger.run, ledger.resource, paths).await? {
            shape.show(path, file);
        }
        known.clone_from(&before);
        drifts = learn(&mut known, &shape, ledger.resource);
    }
    for drift in missing_keys(ledger.resource, &shape.absent, &shape.first_file) {
        if !drifts.contains(&drift) {
            drifts.push(drift);
        }
    }
    if known != before {
        let fields = serde_json::to_value(&known).unwrap_or_default();
        transaction
            .execute(
                "INSERT INTO pipeline.shape (schema_name, resource, fields, run_id) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (schema_name, resource) DO UPDATE SET fields = excluded.fields, run_id = excluded.run_id",
                &[&ledger.schema, &resource, &fields, &ledger.run.id().as_str()],
            )
            .await
            .map_err(LoadError::at("write pipeline.shape"))?;
    }
    write(transaction, ledger, &drifts).await?;
    Ok(drifts)
}

/// A recorded drift.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DriftEntry {
    pub(crate) resource: String,
    /// Where in the record.
    pub(crate) path: String,
    /// `new`, `gone` or `type`.
    pub(crate) kind: String,
    /// The run that showed it first.
    pub(crate) run_id: String,
    pub(crate) since: String,
}

/// The drifts of a schema, newest first.
pub(crate) async fn drifts(
    client: &impl GenericClient,
    schema: &str,
) -> Result<Vec<DriftEntry>, LoadError> {
    let select = format!(
        "SELECT resource, path, kind, run_id, {} FROM pipeline.drift WHERE schema_name = $1 ORDER BY id DESC",
        utc("created_at")
    );
    let rows = client.query(&select, &[&schema]).await;
    let rows = rows.map_err(LoadError::at("read pipeline.drift"))?;
    let drift = |row: &Row| DriftEntry {
        resource: row.get(0),
        path: row.get(1),
        kind: row.get(2),
        run_id: row.get(3),
        since: row.get(4),
    };
    Ok(rows.iter().map(drift).collect())
}

/// Mapped keys that no record has.
pub(crate) fn missing_keys<'k>(
    resource: &Name,
    keys: impl IntoIterator<Item = &'k String>,
    first_file: &str,
) -> Vec<Drift> {
    let missing = |path: &String| Drift {
        resource: resource.clone(),
        path: path.clone(),
        kind: DriftKind::Absent,
        first_file: first_file.to_owned(),
    };
    keys.into_iter().map(missing).collect()
}

/// Records drifts, each once a run.
pub(crate) async fn write(
    transaction: &Transaction<'_>,
    ledger: LoadLedger<'_>,
    drifts: &[Drift],
) -> Result<(), LoadError> {
    for drift in drifts {
        transaction
            .execute(
                "INSERT INTO pipeline.drift (schema_name, run_id, resource, path, kind, first_file) \
                 SELECT $1, $2, $3, $4, $5, $6 WHERE NOT EXISTS (SELECT FROM pipeline.drift WHERE \
                 (schema_name, run_id, resource, path, kind) = ($1, $2, $3, $4, $5))",
                &[
                    &ledger.schema,
                    &ledger.run.id().as_str(),
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

    fn learnt(known: &mut KnownShape, record: &str, times: usize) -> Vec<(String, DriftKind)> {
        let shape = shape(&[&vec![record; times].join(",")]);
        let name = Name::parse("things").unwrap();
        learn(known, &shape, &name)
            .into_iter()
            .map(|drift| (drift.path, drift.kind))
            .collect()
    }

    #[test]
    fn new_missing_and_retyped_fields_are_reported_once() {
        let mut known = KnownShape::new();
        let first = r#"{"id": 1, "a": null, "b": {"c": 1}, "d": null, "e~/": 1}"#;
        assert_eq!(learnt(&mut known, first, 3), []);
        let other = r#"{"id": "1", "a": 5, "b": {"c": 1, "x": 1}, "d": {"y": 1}, "new": {"z": 1}, "e~/": 1}"#;
        let reported = [
            ("/b/x".to_owned(), DriftKind::New),
            ("/id".to_owned(), DriftKind::Type),
            ("/new".to_owned(), DriftKind::New),
        ];
        assert_eq!(learnt(&mut known, other, 1), reported);
        assert_eq!(learnt(&mut known, other, 25), []);
        // Too few records without it prove nothing yet.
        let less = r#"{"id": 1, "a": 5, "b": null, "d": null, "new": null}"#;
        assert_eq!(learnt(&mut known, less, 15), []);
        assert_eq!(
            learnt(&mut known, less, 15),
            [("/e~0~1".to_owned(), DriftKind::Absent)]
        );
        assert_eq!(learnt(&mut known, less, 25), []);
    }

    #[test]
    fn keys_that_are_data_are_reported_as_one_and_not_kept() {
        let mut known = KnownShape::new();
        let mut reported = Vec::new();
        for run in 0..9 {
            let votes =
                |at| format!("{{\"id\": 1, \"votes\": {{\"login{run}_{at}\": {{\"n\": 1}}}}}}");
            let records: Vec<String> = (0..if run == 0 { 10 } else { 40 }).map(votes).collect();
            let shape = shape(&[&records.join(",")]);
            let drifts = learn(&mut known, &shape, &Name::parse("things").unwrap());
            reported.extend(drifts.into_iter().map(|drift| (drift.path, drift.kind)));
        }
        assert_eq!(reported, [("/votes/*".to_owned(), DriftKind::New)]);
        assert_eq!(known.keys().collect::<Vec<_>>(), ["/id", "/votes"]);
        // Whatever it holds later is no news; the rest is.
        let other = r#"{"id": 1, "votes": {"somebody": 1}, "new": 1}"#;
        let new = [("/new".to_owned(), DriftKind::New)];
        assert_eq!(learnt(&mut known, other, 1), new);
    }

    #[test]
    fn what_is_kept_has_bounds() {
        let mut known = KnownShape::new();
        for run in 0..9 {
            let keys: Vec<String> = (0..400).map(|at| format!("\"k{run}_{at}\": 1")).collect();
            learnt(&mut known, &format!("{{{}}}", keys.join(",")), 1);
        }
        assert_eq!(known.len(), FIELDS);
    }

    #[test]
    fn junk_is_looked_at_within_bounds() {
        let junk: Vec<String> = (0..10_000).map(|at| format!("\"k{at}\": {at}")).collect();
        let deep = "[".repeat(100) + &"]".repeat(100);
        let shape = shape(&[&format!("{{{}}}", junk.join(",")), &deep, "1, {", "\u{0}"]);
        assert_eq!(shape.fields.len(), FIELDS);
    }
}
