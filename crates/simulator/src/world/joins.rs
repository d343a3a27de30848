//! Rows that join people with cursus, campuses, achievements and coalitions: their fields and their JSON.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::object::{Object, write_json};
use super::{Stamp, World};
use crate::query::{Cell, Flag, Row, Scope};

/// A person's enrolment in a cursus.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct CursusUser {
    pub(crate) id: i64,
    #[serde(skip)]
    pub(crate) user_id: i64,
    pub(crate) cursus_id: i64,
    pub(crate) begin_at: Stamp,
    pub(crate) end_at: Option<Stamp>,
    pub(crate) grade: Option<Cow<'static, str>>,
    pub(crate) level: f64,
    pub(crate) skills: Vec<Skill>,
    pub(crate) has_coalition: bool,
    pub(crate) blackholed_at: Option<Stamp>,
    pub(crate) created_at: Stamp,
    pub(crate) updated_at: Stamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Skill {
    pub(crate) id: i64,
    pub(crate) name: Cow<'static, str>,
    pub(crate) level: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CampusUser {
    pub(crate) id: i64,
    pub(crate) user_id: i64,
    pub(crate) campus_id: i64,
    pub(crate) is_primary: bool,
    pub(crate) created_at: Stamp,
    pub(crate) updated_at: Stamp,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Earned {
    pub(crate) id: i64,
    pub(crate) achievement_id: i64,
    pub(crate) user_id: i64,
    pub(crate) login: String,
    pub(crate) nbr_of_success: Option<i64>,
    pub(crate) created_at: Stamp,
    pub(crate) updated_at: Stamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Membership {
    pub(crate) id: i64,
    pub(crate) coalition_id: i64,
    pub(crate) user_id: i64,
    pub(crate) score: i64,
    pub(crate) rank: Option<i64>,
    pub(crate) created_at: Stamp,
    pub(crate) updated_at: Stamp,
}

impl Row for CursusUser {
    fn id(&self) -> i64 {
        self.id
    }

    fn cell<'a>(&'a self, field: &str, world: &'a World) -> Cell<'a> {
        match field {
            "id" => Cell::Int(self.id),
            "cursus_id" => Cell::Int(self.cursus_id),
            "user_id" => Cell::Int(self.user_id),
            "created_at" => Cell::Time(self.created_at),
            "updated_at" => Cell::Time(self.updated_at),
            "begin_at" => Cell::Time(self.begin_at),
            "end_at" => Cell::time(self.end_at),
            "blackholed_at" => Cell::time(self.blackholed_at),
            "has_coalition" => Cell::Bool(self.has_coalition),
            "level" => Cell::Number(self.level),
            "campus_id" => Cell::int(world.place(self.user_id).and_then(|place| place.primary)),
            _ => Cell::Null,
        }
    }

    fn flag(field: &str) -> Option<Flag> {
        match field {
            "end" => Some(Flag::Given("end_at")),
            "active" => Some(Flag::NotPast("end_at")),
            "future" => Some(Flag::Future("begin_at")),
            "blackholed" => Some(Flag::Past("blackholed_at")),
            _ => None,
        }
    }

    fn inside(&self, scope: Scope, _: &World) -> bool {
        match scope {
            Scope::All => true,
            Scope::Cursus(id) => self.cursus_id == id,
            Scope::User(id) => self.user_id == id,
            _ => false,
        }
    }

    fn write(&self, world: &World, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Shown<'a> {
            id: i64,
            begin_at: Stamp,
            end_at: Option<Stamp>,
            grade: Option<&'a str>,
            level: f64,
            skills: &'a [Skill],
            cursus_id: i64,
            has_coalition: bool,
            blackholed_at: Option<Stamp>,
            created_at: Stamp,
            updated_at: Stamp,
            user: Option<Cow<'a, RawValue>>,
            cursus: Option<&'a Object>,
        }
        let shown = Shown {
            id: self.id,
            begin_at: self.begin_at,
            end_at: self.end_at,
            grade: self.grade.as_deref(),
            level: self.level,
            skills: &self.skills,
            cursus_id: self.cursus_id,
            has_coalition: self.has_coalition,
            blackholed_at: self.blackholed_at,
            created_at: self.created_at,
            updated_at: self.updated_at,
            user: world.nested_user(self.user_id),
            cursus: world.cursus.get(self.cursus_id).map(|cursus| &cursus.row),
        };
        write_json(&shown, out);
    }
}

impl Row for CampusUser {
    fn id(&self) -> i64 {
        self.id
    }

    fn cell<'a>(&'a self, field: &str, _: &'a World) -> Cell<'a> {
        match field {
            "id" => Cell::Int(self.id),
            "user_id" => Cell::Int(self.user_id),
            "campus_id" => Cell::Int(self.campus_id),
            "is_primary" => Cell::Bool(self.is_primary),
            "created_at" => Cell::Time(self.created_at),
            "updated_at" => Cell::Time(self.updated_at),
            _ => Cell::Null,
        }
    }

    fn inside(&self, scope: Scope, _: &World) -> bool {
        scope == Scope::All || scope == Scope::User(self.user_id)
    }

    fn write(&self, _: &World, out: &mut Vec<u8>) {
        write_json(self, out);
    }
}

impl Row for Earned {
    fn id(&self) -> i64 {
        self.id
    }

    fn cell<'a>(&'a self, field: &str, _: &'a World) -> Cell<'a> {
        match field {
            "id" => Cell::Int(self.id),
            "user_id" => Cell::Int(self.user_id),
            "achievement_id" => Cell::Int(self.achievement_id),
            "nbr_of_success" => Cell::int(self.nbr_of_success),
            "created_at" => Cell::Time(self.created_at),
            "updated_at" => Cell::Time(self.updated_at),
            _ => Cell::Null,
        }
    }

    fn inside(&self, scope: Scope, _: &World) -> bool {
        match scope {
            Scope::All => true,
            Scope::Achievement(id) => self.achievement_id == id,
            Scope::User(id) => self.user_id == id,
            _ => false,
        }
    }

    fn write(&self, _: &World, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Shown<'a> {
            id: i64,
            achievement_id: i64,
            user_id: i64,
            login: &'a str,
            nbr_of_success: Option<i64>,
            url: String,
            created_at: Stamp,
            updated_at: Stamp,
        }
        let shown = Shown {
            id: self.id,
            achievement_id: self.achievement_id,
            user_id: self.user_id,
            login: &self.login,
            nbr_of_success: self.nbr_of_success,
            url: format!("{}/v2/achievements_users/{}", super::names::HOST, self.id),
            created_at: self.created_at,
            updated_at: self.updated_at,
        };
        write_json(&shown, out);
    }
}

impl Row for Membership {
    fn id(&self) -> i64 {
        self.id
    }

    fn cell<'a>(&'a self, field: &str, _: &'a World) -> Cell<'a> {
        match field {
            "id" => Cell::Int(self.id),
            "coalition_id" => Cell::Int(self.coalition_id),
            "user_id" => Cell::Int(self.user_id),
            "created_at" => Cell::Time(self.created_at),
            "updated_at" | "this_year_score_updated_at" => Cell::Time(self.updated_at),
            "this_year_score" => Cell::Int(self.score),
            "this_year_score_updated" => Cell::Bool(self.updated_at > self.created_at),
            _ => Cell::Null,
        }
    }

    fn inside(&self, scope: Scope, _: &World) -> bool {
        match scope {
            Scope::All => true,
            Scope::Coalition(id) => self.coalition_id == id,
            Scope::User(id) => self.user_id == id,
            _ => false,
        }
    }

    fn write(&self, _: &World, out: &mut Vec<u8>) {
        write_json(self, out);
    }
}
