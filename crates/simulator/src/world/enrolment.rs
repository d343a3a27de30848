//! What people do on projects: the row that joins both, and the teams that it nests.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;
use serde_json::value::RawValue;

use super::names::HOST;
use super::object::{Object, json, write_json};
use super::stamp::DAY;
use super::{Stamp, World};
use crate::query::{Cell, Flag, Row, Scope};

/// A person's work on a project.
#[derive(Clone, Debug)]
pub(crate) struct Enrolment {
    pub(crate) id: i64,
    pub(crate) user_id: i64,
    pub(crate) project_id: i64,
    pub(crate) occurrence: i64,
    pub(crate) final_mark: Option<i64>,
    pub(crate) status: Cow<'static, str>,
    pub(crate) validated: Option<bool>,
    pub(crate) current_team_id: Option<i64>,
    pub(crate) project: Object,
    pub(crate) cursus_ids: Vec<i64>,
    pub(crate) marked_at: Option<Stamp>,
    pub(crate) retriable_at: Option<Stamp>,
    pub(crate) created_at: Stamp,
    pub(crate) updated_at: Stamp,
    /// The current team was given up, and is gone.
    pub(crate) is_team_given_up: bool,
    /// Someone else in the team.
    pub(crate) mate: Option<i64>,
    /// The teams of a row that was given; those of a made-up row follow from its other fields.
    pub(crate) teams: Option<Box<RawValue>>,
}

impl Enrolment {
    fn shuffled(&self) -> i64 {
        let mut hasher = DefaultHasher::new();
        (self.id, self.updated_at).hash(&mut hasher);
        hasher.finish().cast_signed()
    }

    fn teams(&self, world: &World) -> Vec<Team<'_>> {
        let locked = self.status != "creating_group" && self.status != "searching_a_group";
        let closed = self.final_mark.is_some();
        let member = |user_id: i64, leader| {
            let login = world.login(user_id);
            Member {
                id: user_id,
                url: world.user_url(&login),
                login,
                leader,
                occurrence: self.occurrence,
                validated: true,
                projects_user_id: if leader { self.id } else { self.id + 1 },
            }
        };
        let team = |attempt: i64| {
            let last = attempt == self.occurrence;
            let id = self.team_id(attempt);
            let begun = self.created_at.plus_micros(attempt * DAY);
            let users = [(Some(self.user_id), true), (self.mate, false)];
            let users = users
                .into_iter()
                .filter_map(|(user, leader)| Some(member(user?, leader)));
            Team {
                id,
                name: format!("{}'s group-{attempt}", world.login(self.user_id)),
                url: format!("{HOST}/v2/teams/{id}"),
                final_mark: if last { self.final_mark } else { Some(0) },
                project_id: self.project_id,
                created_at: begun,
                updated_at: if last { self.updated_at } else { begun },
                status: if last { &self.status } else { "finished" },
                terminating_at: None,
                users: users.collect(),
                locked: locked || !last,
                validated: if last { self.validated } else { Some(false) },
                closed: closed || !last,
                repo_url: (self.id % 3 != 0)
                    .then(|| format!("git@vogsphere.example:vogsphere/intra-uuid-{id:012x}")),
                repo_uuid: format!("intra-uuid-{id:012x}-{}", self.id),
                locked_at: (locked || !last).then_some(begun),
                closed_at: if last {
                    self.marked_at
                } else {
                    Some(begun.plus_micros(DAY / 2))
                },
                project_session_id: self.project_id * 3 + 1,
                project_gitlab_path: (self.id % 2 == 0)
                    .then(|| format!("pedago_world/42-cursus/{}", self.project_id)),
            }
        };
        if self.status == "parent" {
            return Vec::new();
        }
        let attempts = self.occurrence + i64::from(!self.is_team_given_up);
        (0..attempts).map(team).collect()
    }

    /// The same person's work on the same project, begun anew.
    pub(super) fn replaced(self, id: i64, at: Stamp) -> Self {
        let mut row = Self {
            id,
            occurrence: 0,
            final_mark: None,
            status: "in_progress".into(),
            validated: None,
            marked_at: None,
            retriable_at: None,
            created_at: at,
            updated_at: at,
            is_team_given_up: false,
            teams: None,
            ..self
        };
        row.current_team_id = Some(row.team_id(0));
        row
    }

    pub(super) fn has_open_team(&self) -> bool {
        self.final_mark.is_none() && self.current_team_id.is_some()
    }

    /// The current team goes; no date moves.
    pub(super) fn give_up(&mut self) {
        self.is_team_given_up = true;
        self.current_team_id = None;
        self.status = "searching_a_group".into();
        let given = self.teams.as_deref().map(RawValue::get);
        let given = given.and_then(|text| serde_json::from_str::<Vec<Box<RawValue>>>(text).ok());
        if let Some(mut teams) = given {
            teams.pop();
            self.teams = RawValue::from_string(json(&teams)).ok();
        }
    }

    /// The id of the team of one attempt.
    pub(crate) fn team_id(&self, attempt: i64) -> i64 {
        self.id * 8 + attempt
    }
}

impl Row for Enrolment {
    fn id(&self) -> i64 {
        self.id
    }

    fn cell<'a>(&'a self, field: &str, _: &'a World) -> Cell<'a> {
        match field {
            "id" => Cell::Int(self.id),
            "project_id" => Cell::Int(self.project_id),
            "user_id" => Cell::Int(self.user_id),
            "created_at" => Cell::Time(self.created_at),
            "updated_at" => Cell::Time(self.updated_at),
            "occurrence" => Cell::Int(self.occurrence),
            "final_mark" => Cell::int(self.final_mark),
            "retriable_at" => Cell::time(self.retriable_at),
            "marked_at" => Cell::time(self.marked_at),
            "status" => Cell::Text(Cow::Borrowed(&self.status)),
            "shuffle" => Cell::Int(self.shuffled()),
            _ => Cell::Null,
        }
    }

    fn several<'a>(&'a self, field: &str, world: &'a World) -> Option<&'a [i64]> {
        // "Users in the given cursus" (or campus): about the person, not about the row.
        match (field, world.place(self.user_id)) {
            ("cursus", Some(place)) => Some(&place.cursus),
            ("campus", Some(place)) => Some(&place.campuses),
            ("cursus" | "campus", None) => Some(&[]),
            _ => None,
        }
    }

    fn flag(field: &str) -> Option<Flag> {
        match field {
            "retriable" => Some(Flag::Past("retriable_at")),
            "marked" => Some(Flag::Given("final_mark")),
            _ => None,
        }
    }

    fn inside(&self, scope: Scope, _: &World) -> bool {
        match scope {
            Scope::All => true,
            Scope::Project(id) => self.project_id == id,
            Scope::User(id) => self.user_id == id,
            _ => false,
        }
    }

    fn write(&self, world: &World, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Shown<'a> {
            id: i64,
            occurrence: i64,
            final_mark: Option<i64>,
            status: &'a str,
            #[serde(rename = "validated?")]
            validated: Option<bool>,
            current_team_id: Option<i64>,
            project: &'a Object,
            cursus_ids: &'a [i64],
            marked_at: Option<Stamp>,
            marked: bool,
            retriable_at: Option<Stamp>,
            created_at: Stamp,
            updated_at: Stamp,
            user: Option<Cow<'a, RawValue>>,
            teams: Teams<'a>,
        }
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Teams<'a> {
            Given(&'a RawValue),
            Made(Vec<Team<'a>>),
        }
        let shown = Shown {
            id: self.id,
            occurrence: self.occurrence,
            final_mark: self.final_mark,
            status: &self.status,
            validated: self.validated,
            current_team_id: self.current_team_id,
            project: &self.project,
            cursus_ids: &self.cursus_ids,
            marked_at: self.marked_at,
            marked: self.final_mark.is_some(),
            retriable_at: self.retriable_at,
            created_at: self.created_at,
            updated_at: self.updated_at,
            user: world.nested_user(self.user_id),
            teams: match &self.teams {
                Some(given) => Teams::Given(given),
                None => Teams::Made(self.teams(world)),
            },
        };
        write_json(&shown, out);
    }
}

#[derive(Serialize)]
struct Team<'a> {
    id: i64,
    name: String,
    url: String,
    final_mark: Option<i64>,
    project_id: i64,
    created_at: Stamp,
    updated_at: Stamp,
    status: &'a str,
    terminating_at: Option<Stamp>,
    users: Vec<Member>,
    #[serde(rename = "locked?")]
    locked: bool,
    #[serde(rename = "validated?")]
    validated: Option<bool>,
    #[serde(rename = "closed?")]
    closed: bool,
    repo_url: Option<String>,
    repo_uuid: String,
    locked_at: Option<Stamp>,
    closed_at: Option<Stamp>,
    project_session_id: i64,
    project_gitlab_path: Option<String>,
}

#[derive(Serialize)]
struct Member {
    id: i64,
    login: String,
    url: String,
    leader: bool,
    occurrence: i64,
    validated: bool,
    projects_user_id: i64,
}
