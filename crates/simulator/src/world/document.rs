//! Rows of reference data (cursus, campuses, projects, achievements, coalitions): JSON objects, with what the API can filter by but does not show.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::object::Object;
use super::{Stamp, World};
use crate::query::{Cell, Row, Scope};

#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) id: i64,
    pub(crate) created_at: Stamp,
    pub(crate) updated_at: Stamp,
    pub(crate) position: i64,
    pub(crate) row: Object,
}

#[derive(Deserialize)]
struct Id {
    id: i64,
}

impl Document {
    pub(crate) fn name(&self) -> String {
        self.row.get("name").unwrap_or_default()
    }

    pub(crate) fn slug(&self) -> Option<String> {
        self.row.get("slug")
    }

    pub(crate) fn parent_id(&self) -> Option<i64> {
        self.row.get::<Id>("parent").map(|parent| parent.id)
    }

    /// Marks a change: `updated_at` moves, in the row as well if it shows it.
    pub(crate) fn touch(&mut self, at: Stamp) {
        self.updated_at = self.updated_at.max(at);
        if self.row.raw("updated_at").is_some() {
            self.row.set("updated_at", &self.updated_at);
        }
    }

    fn nested_id(&self, key: &str) -> Option<i64> {
        self.row.get::<Id>(key).map(|nested| nested.id)
    }
}

impl Row for Document {
    fn id(&self) -> i64 {
        self.id
    }

    fn cell<'a>(&'a self, field: &str, _: &'a World) -> Cell<'a> {
        match field {
            "id" => return Cell::Int(self.id),
            "created_at" => return Cell::Time(self.created_at),
            "updated_at" => return Cell::Time(self.updated_at),
            "position" => return Cell::Int(self.position),
            _ => {}
        }
        let Some(raw) = self.row.raw(field) else {
            return match field.strip_suffix("_id") {
                Some(nested) => Cell::int(self.nested_id(nested)),
                // Hidden rows are not shown to an application without a role.
                None if field == "visible" => Cell::Bool(true),
                None => Cell::Null,
            };
        };
        match serde_json::from_str(raw) {
            Ok(Value::Bool(flag)) => Cell::Bool(flag),
            Ok(Value::Number(number)) => number.as_i64().map_or_else(
                || number.as_f64().map_or(Cell::Null, Cell::Number),
                Cell::Int,
            ),
            Ok(Value::String(text)) => Cell::Text(Cow::Owned(text)),
            _ => Cell::Null,
        }
    }

    fn inside(&self, scope: Scope, world: &World) -> bool {
        match scope {
            Scope::All => true,
            Scope::Cursus(id) => {
                let cursus = self.row.get::<Vec<Id>>("cursus").unwrap_or_default();
                cursus.iter().any(|cursus| cursus.id == id)
            }
            Scope::Campus(id) => {
                let names = self.row.get::<Vec<String>>("campus").unwrap_or_default();
                let campus = world.campus.get(id).map(Self::name);
                campus.is_some_and(|campus| names.contains(&campus))
            }
            _ => false,
        }
    }

    fn write(&self, _: &World, out: &mut Vec<u8>) {
        self.row.write(out);
    }
}
