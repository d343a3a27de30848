//! Rows that the caller gives as JSON files, to be served in place of made-up ones. Knows nothing of what is made up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::people::{nested_person, nested_user, person};
use super::row::{Object, json};
use super::{Cell, Made, Row, Stamp, World, enrolments, locations, populate};
use crate::SimulateError;
use crate::fields::Resource;

pub(super) struct Given(BTreeMap<Resource, (PathBuf, Vec<Object>)>);

impl Given {
    pub(super) fn read(files: &BTreeMap<String, PathBuf>) -> Result<Self, SimulateError> {
        let mut given = BTreeMap::new();
        for (name, path) in files {
            let Some(resource) = Resource::named(name) else {
                return Err(SimulateError::UnknownResource { name: name.clone() });
            };
            given.insert(resource, (path.clone(), read(path)?));
        }
        Ok(Self(given))
    }

    /// The rows of a resource as they are.
    pub(super) fn take(&mut self, resource: Resource) -> Option<Vec<Object>> {
        let (_, rows) = self.0.remove(&resource)?;
        Some(rows)
    }

    /// Puts the rows of a resource into the world, in the shape that the API documents; `false` where none are given. A person
    /// whom only such a row shows becomes known.
    pub(super) fn fill(
        &mut self,
        world: &mut World,
        resource: Resource,
    ) -> Result<bool, SimulateError> {
        match resource {
            Resource::Users => self.fill_as(world, resource, |row: &Profile| {
                (person(Object::of(row)), None)
            }),
            Resource::CursusUsers => self.fill_as(world, resource, |row: &CursusUser| {
                let row_of = populate::cursus_user(Object::of(row), row.user.id);
                (row_of, Some(&row.user))
            }),
            Resource::ProjectsUsers => self.fill_as(world, resource, |row: &ProjectsUser| {
                let mut shown = Object::of(row);
                shown.set("marked", row.final_mark.is_some());
                shown.set("user", nested_user as Made);
                shown.set("teams", Cell::Json(row.teams.clone()));
                let hidden = enrolments::hidden(row.user.id, &row.project, None);
                (Row::new(shown, hidden), Some(&row.user))
            }),
            Resource::Locations => self.fill_as(world, resource, |row: &Location| {
                let row_of = locations::location(Object::of(row), row.user.id, row.end_at);
                (row_of, Some(&row.user))
            }),
            Resource::AchievementsUsers => self.fill_as(world, resource, |row: &Earned| {
                let mut shown = Object::of(row);
                shown.set("url", populate::earned_url(row.id));
                (Row::new(shown, Object::default()), None)
            }),
            Resource::CampusUsers => self.fill_as(world, resource, |row: &CampusUser| {
                (Row::new(Object::of(row), Object::default()), None)
            }),
            _ => self.fill_as(world, resource, |row: &Membership| {
                (Row::new(Object::of(row), Object::default()), None)
            }),
        }
    }

    /// Puts the rows of a resource into the world as they are; `false` where none are given.
    pub(super) fn fill_as_is(&mut self, world: &mut World, resource: Resource) -> bool {
        let Some(rows) = self.take(resource) else {
            return false;
        };
        let at = |row: &Object, pointer: &str| {
            let value: Option<Value> = serde_json::from_str(&json(row)).ok();
            value.and_then(|value| value.pointer(pointer).and_then(Value::as_i64))
        };
        for row in rows {
            let mut hidden = Object::default();
            for (field, pointer) in [("user_id", "/user/id"), ("campus_id", "/campus/id")] {
                if let Some(id) = at(&row, pointer) {
                    hidden.set(field, id);
                }
            }
            let row = Row::new(Object::of(&row), hidden);
            world.table_mut(resource).insert(row);
        }
        true
    }

    fn fill_as<T: DeserializeOwned>(
        &mut self,
        world: &mut World,
        resource: Resource,
        row_of: impl Fn(&T) -> (Row, Option<&Profile>),
    ) -> Result<bool, SimulateError> {
        let Some((path, rows)) = self.0.remove(&resource) else {
            return Ok(false);
        };
        for (index, row) in rows.iter().enumerate() {
            let typed = serde_json::from_str(&json(row)).map_err(|error| SimulateError::Row {
                path: path.clone(),
                index,
                problem: problem(&error),
            })?;
            let (row, user) = row_of(&typed);
            if let Some(user) = user
                && world.table(Resource::Users).get(user.id).is_none()
            {
                let user = nested_person(Object::of(user));
                world.table_mut(Resource::Users).insert(user);
            }
            world.table_mut(resource).insert(row);
        }
        Ok(true)
    }
}

#[derive(Serialize, Deserialize)]
struct Profile {
    id: i64,
    email: String,
    login: String,
    first_name: String,
    last_name: String,
    usual_full_name: String,
    usual_first_name: Option<String>,
    url: String,
    phone: Option<String>,
    displayname: String,
    kind: String,
    image: Image,
    #[serde(rename = "staff?")]
    staff: bool,
    correction_point: i64,
    pool_month: Option<String>,
    pool_year: Option<String>,
    location: Option<String>,
    wallet: i64,
    anonymize_date: Option<String>,
    data_erasure_date: Option<String>,
    created_at: Stamp,
    updated_at: Stamp,
    alumnized_at: Option<Stamp>,
    #[serde(rename = "alumni?")]
    alumni: bool,
    #[serde(rename = "active?")]
    active: bool,
}

#[derive(Serialize, Deserialize)]
struct Image {
    link: Option<String>,
    versions: Versions,
}

#[derive(Serialize, Deserialize)]
struct Versions {
    large: Option<String>,
    medium: Option<String>,
    small: Option<String>,
    micro: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct CursusUser {
    #[serde(skip_serializing)]
    user: Profile,
    id: i64,
    begin_at: Stamp,
    end_at: Option<Stamp>,
    grade: Option<String>,
    level: f64,
    skills: Vec<Skill>,
    cursus_id: i64,
    has_coalition: bool,
    blackholed_at: Option<Stamp>,
    created_at: Stamp,
    updated_at: Stamp,
}

#[derive(Serialize, Deserialize)]
struct Skill {
    id: i64,
    name: String,
    level: f64,
}

#[derive(Serialize, Deserialize)]
struct CampusUser {
    id: i64,
    user_id: i64,
    campus_id: i64,
    is_primary: bool,
    created_at: Stamp,
    updated_at: Stamp,
}

#[derive(Serialize, Deserialize)]
struct ProjectsUser {
    id: i64,
    occurrence: i64,
    final_mark: Option<i64>,
    status: String,
    #[serde(rename = "validated?")]
    validated: Option<bool>,
    current_team_id: Option<i64>,
    project: Object,
    cursus_ids: Vec<i64>,
    marked_at: Option<Stamp>,
    #[serde(skip_deserializing)]
    marked: bool,
    retriable_at: Option<Stamp>,
    created_at: Stamp,
    updated_at: Stamp,
    #[serde(skip_serializing)]
    user: Profile,
    #[serde(skip_serializing)]
    teams: Box<RawValue>,
}

#[derive(Serialize, Deserialize)]
struct Earned {
    id: i64,
    achievement_id: i64,
    user_id: i64,
    login: String,
    nbr_of_success: Option<i64>,
    #[serde(skip_deserializing)]
    url: String,
    created_at: Stamp,
    updated_at: Stamp,
}

#[derive(Serialize, Deserialize)]
struct Membership {
    id: i64,
    coalition_id: i64,
    user_id: i64,
    score: i64,
    rank: Option<i64>,
    created_at: Stamp,
    updated_at: Stamp,
}

#[derive(Serialize, Deserialize)]
struct Location {
    end_at: Option<Stamp>,
    id: i64,
    begin_at: Stamp,
    primary: bool,
    host: String,
    campus_id: i64,
    #[serde(skip_serializing)]
    user: Profile,
}

fn read(path: &Path) -> Result<Vec<Object>, SimulateError> {
    let text = std::fs::read_to_string(path).map_err(|source| SimulateError::ReadRows {
        path: path.to_owned(),
        source,
    })?;
    let rows: Vec<&RawValue> =
        serde_json::from_str(&text).map_err(|error| SimulateError::NotAnArray {
            path: path.to_owned(),
            line: error.line(),
            column: error.column(),
        })?;
    let rows = rows.into_iter().enumerate().map(|(index, row)| {
        let bad = |problem| SimulateError::Row {
            path: path.to_owned(),
            index,
            problem,
        };
        let row = Object::parse(row.get()).map_err(|error| bad(problem(&error)))?;
        match row.get::<i64>("id") {
            Some(_) => Ok(row),
            None => Err(bad("its id must be a whole number".to_owned())),
        }
    });
    rows.collect()
}

/// What is wrong with a row: which field it lacks, else where. The message of a JSON error can quote what a person wrote.
fn problem(error: &serde_json::Error) -> String {
    let column = error.column();
    let message = error.to_string();
    let lacking = message.strip_prefix("missing field `");
    match lacking.and_then(|rest| rest.split_once('`')) {
        Some((name, _)) => format!("it lacks `{name}`"),
        None => {
            format!("column {column} of it, without its spaces, is not what the API sends there")
        }
    }
}
