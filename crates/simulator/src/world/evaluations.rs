//! Evaluations of teams (`scale_teams`): who corrects whom, with which mark. Only staff may see them.

use serde::Serialize;
use serde_json::{Value, json};

use super::names::HOST;
use super::object::write_json;
use super::people::between;
use super::stamp::DAY;
use super::{Stamp, World};
use crate::query::{Cell, Flag, Row, Scope};

/// An evaluation.
#[derive(Clone, Debug)]
pub(crate) struct Evaluation {
    pub(crate) id: i64,
    pub(crate) project_id: i64,
    pub(crate) team_id: i64,
    /// Whose work it is.
    pub(crate) corrected: i64,
    pub(crate) corrector: i64,
    pub(crate) final_mark: Option<i64>,
    pub(crate) begin_at: Stamp,
    /// Absent until the mark is given.
    pub(crate) filled_at: Option<Stamp>,
    pub(crate) created_at: Stamp,
    pub(crate) updated_at: Stamp,
}

const COMMENT: &str = "Clean work, \"well\" explained.\nA leak in the last test.";

impl Evaluation {
    const fn scale_id(&self) -> i64 {
        self.project_id * 4
    }

    fn person(world: &World, id: i64) -> Value {
        let login = world.login(id);
        json!({ "id": id, "login": login, "url": world.user_url(&login) })
    }

    /// The real API shows some correctors in other ways.
    fn corrector(&self, world: &World) -> Value {
        match self.id % 16 {
            3 => "invisible".into(),
            7 => json!({}),
            11 => {
                json!({ "id": 1, "login": "supervisor", "url": format!("{HOST}/v2/users/supervisor") })
            }
            _ => Self::person(world, self.corrector),
        }
    }

    fn correcteds(&self, world: &World) -> Value {
        if self.id % 16 == 5 {
            return "invisible".into();
        }
        json!([Self::person(world, self.corrected)])
    }
}

impl Row for Evaluation {
    fn id(&self) -> i64 {
        self.id
    }

    fn cell<'a>(&'a self, field: &str, _: &'a World) -> Cell<'a> {
        match field {
            "id" => Cell::Int(self.id),
            "user_id" => Cell::Int(self.corrector),
            "scale_id" => Cell::Int(self.scale_id()),
            "team_id" => Cell::Int(self.team_id),
            "final_mark" => Cell::int(self.final_mark),
            "begin_at" => Cell::Time(self.begin_at),
            "filled_at" => Cell::time(self.filled_at),
            "created_at" => Cell::Time(self.created_at),
            "updated_at" => Cell::Time(self.updated_at),
            _ => Cell::Null,
        }
    }

    fn several<'a>(&'a self, field: &str, world: &'a World) -> Option<&'a [i64]> {
        let place = world.place(self.corrected);
        match field {
            "campus_id" => Some(place.map_or(&[], |place| &place.campuses)),
            "cursus_id" => Some(place.map_or(&[], |place| &place.cursus)),
            _ => None,
        }
    }

    fn flag(field: &str) -> Option<Flag> {
        match field {
            "future" => Some(Flag::Future("begin_at")),
            "filled" => Some(Flag::Given("filled_at")),
            _ => None,
        }
    }

    fn inside(&self, scope: Scope, _: &World) -> bool {
        match scope {
            Scope::All => true,
            Scope::Project(id) => self.project_id == id,
            Scope::User(id) => self.corrector == id || self.corrected == id,
            _ => false,
        }
    }

    fn write(&self, world: &World, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Shown {
            id: i64,
            scale_id: i64,
            comment: Option<&'static str>,
            created_at: Stamp,
            updated_at: Stamp,
            feedback: Option<&'static str>,
            final_mark: Option<i64>,
            flag: Value,
            begin_at: Stamp,
            correcteds: Value,
            corrector: Value,
            truant: Value,
            filled_at: Option<Stamp>,
            questions_with_answers: [i64; 0],
            scale: Value,
            team: Value,
            feedbacks: [i64; 0],
        }
        let remark = self.filled_at.map(|_| COMMENT);
        let shown = Shown {
            id: self.id,
            scale_id: self.scale_id(),
            comment: remark,
            created_at: self.created_at,
            updated_at: self.updated_at,
            feedback: remark.filter(|_| self.id % 3 > 0),
            final_mark: self.final_mark,
            flag: json!({ "id": 1, "name": "Ok", "positive": true, "icon": "check-4" }),
            begin_at: self.begin_at,
            correcteds: self.correcteds(world),
            corrector: self.corrector(world),
            truant: json!({}),
            filled_at: self.filled_at,
            questions_with_answers: [],
            scale: json!({ "id": self.scale_id(), "is_primary": true, "correction_number": 3 }),
            team: json!({ "id": self.team_id, "project_id": self.project_id }),
            feedbacks: [],
        };
        write_json(&shown, out);
    }
}

/// An evaluation of a fourth of the works that have a mark or wait for one.
pub(super) fn fill(world: &mut World) {
    let mut random = world.random(13);
    let waits = |status: &str| status == "waiting_for_correction";
    let works = world.projects_users.rows();
    let works = works.filter(|row| row.marked_at.is_some() || waits(&row.status));
    let works = works.filter(|_| random.u8(..4) == 0);
    let works: Vec<_> = works.map(|row| (row.id, row.marked_at)).collect();
    world.scale_teams.last = 7_000_000;
    for (work, marked_at) in works {
        world.evaluate(work, marked_at, &mut random);
    }
}

impl World {
    /// Adds the evaluation of a work: at its mark, or one to come.
    pub(super) fn evaluate(
        &mut self,
        work: i64,
        marked_at: Option<Stamp>,
        random: &mut fastrand::Rng,
    ) {
        let Some(corrector) = self.users.any(random) else {
            return;
        };
        let Some(work) = self.projects_users.get(work) else {
            return;
        };
        let (corrected, project_id) = (work.user_id, work.project_id);
        let (team_id, final_mark) = (work.team_id(work.occurrence), work.final_mark);
        let begun = work.created_at;
        let begin_at = marked_at.unwrap_or_else(|| self.now.plus_micros(random.i64(..2 * DAY)));
        let created_at = between(random, begun, begin_at.min(self.now));
        let row = Evaluation {
            id: self.scale_teams.next_id(),
            project_id,
            team_id,
            corrected,
            corrector,
            final_mark: final_mark.filter(|_| marked_at.is_some()),
            begin_at,
            filled_at: marked_at,
            created_at,
            updated_at: marked_at.unwrap_or(created_at),
        };
        self.scale_teams.insert(row);
    }
}
