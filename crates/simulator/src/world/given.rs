//! Rows that the caller gives as JSON files, to be served in place of made-up ones. Knows nothing of what is made up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::World;
use super::enrolment::Enrolment;
use super::joins::CursusUser;
use super::locations::Location;
use super::object::{Object, json};
use super::people::{Profile, User};
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

    /// The rows of a resource, read into the shape that the API documents.
    pub(super) fn take_as<T: DeserializeOwned>(
        &mut self,
        resource: Resource,
    ) -> Result<Option<Vec<T>>, SimulateError> {
        let Some((path, rows)) = self.0.remove(&resource) else {
            return Ok(None);
        };
        let typed = rows.iter().enumerate().map(|(index, row)| {
            serde_json::from_str(&json(row)).map_err(|error| SimulateError::Row {
                path: path.clone(),
                index,
                problem: problem(&error),
            })
        });
        typed.collect::<Result<_, _>>().map(Some)
    }

    /// Enrolments in cursus; a person who is only known from such a row becomes known.
    pub(super) fn take_cursus_users(
        &mut self,
        world: &mut World,
    ) -> Result<Option<Vec<CursusUser>>, SimulateError> {
        #[derive(Deserialize)]
        struct Nested {
            user: Profile,
        }
        let resource = Resource::CursusUsers;
        let mut nested = self.copy(resource);
        let people: Option<Vec<Nested>> = nested.take_as(resource)?;
        let Some(mut rows) = self.take_as::<CursusUser>(resource)? else {
            return Ok(None);
        };
        for (row, nested) in rows.iter_mut().zip(people.unwrap_or_default()) {
            row.user_id = nested.user.id;
            know(world, nested.user);
        }
        Ok(Some(rows))
    }

    /// Work on projects; a person who is only known from such a row becomes known.
    pub(super) fn take_enrolments(
        &mut self,
        world: &mut World,
    ) -> Result<Option<Vec<Enrolment>>, SimulateError> {
        #[derive(Deserialize)]
        struct Given {
            id: i64,
            occurrence: i64,
            final_mark: Option<i64>,
            status: String,
            #[serde(rename = "validated?")]
            validated: Option<bool>,
            current_team_id: Option<i64>,
            project: Object,
            cursus_ids: Vec<i64>,
            marked_at: Option<super::Stamp>,
            retriable_at: Option<super::Stamp>,
            created_at: super::Stamp,
            updated_at: super::Stamp,
            user: Profile,
            teams: Box<RawValue>,
        }
        let Some(rows) = self.take_as::<Given>(Resource::ProjectsUsers)? else {
            return Ok(None);
        };
        let rows = rows.into_iter().map(|row| {
            let user_id = row.user.id;
            know(world, row.user);
            Enrolment {
                id: row.id,
                user_id,
                project_id: row.project.get("id").unwrap_or_default(),
                occurrence: row.occurrence,
                final_mark: row.final_mark,
                status: row.status.into(),
                validated: row.validated,
                current_team_id: row.current_team_id,
                project: row.project,
                cursus_ids: row.cursus_ids,
                marked_at: row.marked_at,
                retriable_at: row.retriable_at,
                created_at: row.created_at,
                updated_at: row.updated_at,
                is_team_given_up: false,
                mate: None,
                teams: Some(row.teams),
            }
        });
        Ok(Some(rows.collect()))
    }

    /// Sessions; a person who is only known from such a row becomes known.
    pub(super) fn take_locations(
        &mut self,
        world: &mut World,
    ) -> Result<Option<Vec<Location>>, SimulateError> {
        #[derive(Deserialize)]
        struct Given {
            id: i64,
            begin_at: super::Stamp,
            end_at: Option<super::Stamp>,
            primary: bool,
            host: String,
            campus_id: i64,
            user: Profile,
        }
        let Some(rows) = self.take_as::<Given>(Resource::Locations)? else {
            return Ok(None);
        };
        let rows = rows.into_iter().map(|row| {
            let user_id = row.user.id;
            know(world, row.user);
            Location {
                id: row.id,
                user_id,
                campus_id: row.campus_id,
                host: row.host,
                primary: row.primary,
                begin_at: row.begin_at,
                until: row.end_at,
            }
        });
        Ok(Some(rows.collect()))
    }

    fn copy(&self, resource: Resource) -> Self {
        let rows = self.0.get(&resource).cloned();
        Self(rows.map(|rows| (resource, rows)).into_iter().collect())
    }
}

fn know(world: &mut World, user: Profile) {
    if world.users.get(user.id).is_none() {
        world.users.insert(User::nested(user));
    }
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
        match row.raw("id").map(str::parse::<i64>) {
            Some(Ok(_)) => Ok(row),
            _ => Err(bad("its id must be a whole number".to_owned())),
        }
    });
    rows.collect()
}

/// What is wrong with a row: which field it lacks, else where. The message of a JSON error can quote what a person wrote.
fn problem(error: &serde_json::Error) -> String {
    let column = error.column();
    let said = error.to_string();
    let lacking = said.strip_prefix("missing field `");
    match lacking.and_then(|rest| rest.split_once('`')) {
        Some((name, _)) => format!("it lacks `{name}`"),
        None => {
            format!("column {column} of it, without its spaces, is not what the API sends there")
        }
    }
}
