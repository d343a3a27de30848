//! Values that a test or an option has set on a row: shown, filtered, ranged and sorted by in place of the row's own. No date moves.

use serde_json::Value;

use super::Cell;
use super::row::{Object, json};

/// The fields of one row that were set, each with its value, or none where the row lacks the field.
#[derive(Clone, Debug, Default)]
pub(super) struct Patch(Vec<(String, Option<Value>)>);

impl Patch {
    /// Sets a field: a key of the row, or a JSON pointer such as `/user/login`.
    pub(super) fn set(&mut self, field: &str, value: Option<Value>) {
        self.0.retain(|(known, _)| known != field);
        self.0.push((field.to_owned(), value));
    }

    /// Whether the field has another value than the row's own.
    pub(super) fn sets(&self, field: &str) -> bool {
        self.0.iter().any(|(known, _)| known == field)
    }

    /// What a query sees in the field; `None` where the row's own value stands.
    pub(super) fn cell(&self, field: &str) -> Option<Cell> {
        let (_, value) = self.0.iter().find(|(known, _)| known == field)?;
        let value = value.as_ref();
        Some(value.map_or(Cell::Null, |value| Cell::read(field, value)))
    }

    /// The JSON of a row with these fields.
    pub(super) fn apply(&self, text: &str) -> String {
        let Ok(mut row) = Object::parse(text) else {
            return text.to_owned();
        };
        for (field, value) in &self.0 {
            put(&mut row, field, value.as_ref());
        }
        json(&row)
    }
}

fn put(row: &mut Object, field: &str, value: Option<&Value>) {
    let (key, rest) = match field.strip_prefix('/') {
        None => (field, ""),
        Some(path) => path.find('/').map_or((path, ""), |at| path.split_at(at)),
    };
    if rest.is_empty() {
        match value {
            Some(value) => row.set(key, Cell::json(value)),
            None => row.remove(key),
        }
        return;
    }
    let Some(mut nested) = row.get::<Value>(key) else {
        return;
    };
    let (holder, last) = rest.rsplit_once('/').unwrap_or(("", rest));
    match (nested.pointer_mut(holder), value) {
        (Some(Value::Object(fields)), Some(value)) => {
            fields.insert(last.to_owned(), value.clone());
        }
        (Some(Value::Object(fields)), None) => {
            fields.remove(last);
        }
        (Some(Value::Array(elements)), value) => {
            let Some(at) = last.parse().ok().filter(|at| *at < elements.len()) else {
                return;
            };
            match value {
                Some(value) => elements[at] = value.clone(),
                None => {
                    elements.remove(at);
                }
            }
        }
        _ => return,
    }
    row.set(key, Cell::json(&nested));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_sets_keys_and_nested_values_and_keeps_the_rest() {
        let mut patch = Patch::default();
        patch.set("b", Some(json!(null)));
        patch.set("/c/d/1", Some(json!("x")));
        patch.set("/c/e", None);
        patch.set("a", None);
        let row = r#"{"b":4.0,"a":1,"c":{"d":[1,2],"e":3},"f":1e2}"#;
        assert_eq!(patch.apply(row), r#"{"b":null,"c":{"d":[1,"x"]},"f":1e2}"#);
    }
}
