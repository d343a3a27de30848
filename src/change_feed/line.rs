//! A change as a line for people.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::value::RawValue;

use super::change::Change;

/// One line, with values of the row.
pub(crate) fn line(change: &Change) -> String {
    let (seq, at, table) = (change.seq, change.seen_at, &change.table);
    let at = at.strftime("%Y-%m-%dT%H:%M:%SZ");
    let fields = |json: Option<&Box<RawValue>>| {
        json.map_or_else(String::new, |json| Fields(json).to_string())
    };
    let key = fields(change.key.as_ref());
    match change.op.as_str() {
        "c" => format!(
            "{seq} {at} {table} {key} + {}",
            fields(change.after.as_ref())
        ),
        "d" => format!(
            "{seq} {at} {table} {key} - {}",
            fields(change.before.as_ref())
        ),
        "s" => format!(
            "{seq} {at} {table} followed from here: {}",
            change.changed.join(", ")
        ),
        _ => format!("{seq} {at} {table} {key} {}", differences(change)),
    }
}

/// `wallet 5 → 7, location null → "c1r2"`.
fn differences(change: &Change) -> String {
    let read = |json: Option<&Box<RawValue>>| -> BTreeMap<String, Box<RawValue>> {
        json.and_then(|json| serde_json::from_str(json.get()).ok())
            .unwrap_or_default()
    };
    let (before, after) = (read(change.before.as_ref()), read(change.after.as_ref()));
    let value = |side: &BTreeMap<String, Box<RawValue>>, column: &String| {
        side.get(column)
            .map_or_else(|| "?".to_owned(), ToString::to_string)
    };
    let each = |column: &String| {
        let (before, after) = (value(&before, column), value(&after, column));
        format!("{column} {before} → {after}")
    };
    change
        .changed
        .iter()
        .map(each)
        .collect::<Vec<_>>()
        .join(", ")
}

/// `id=5, part=2`, or the JSON of what is no object.
struct Fields<'j>(&'j RawValue);

impl fmt::Display for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(self.0.get()).unwrap_or_default();
        for (at, (name, value)) in fields.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value}")?;
        }
        Ok(())
    }
}
