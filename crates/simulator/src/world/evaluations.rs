//! Evaluations of teams (`scale_teams`): who corrects whom, with which mark. Only staff may see them.

use super::enrolments::team_id;
use super::people::{between, user_url};
use super::row::{Object, object};
use super::stamp::DAY;
use super::{Cell, Made, Row, Stamp, World};
use crate::fields::Resource;

const COMMENT: &str = "Clean work, \"well\" explained.\nA leak in the last test.";

fn person(world: &World, id: i64) -> Object {
    let login = world.login(id);
    object! { "id": id, "login": login.clone(), "url": user_url(&login) }
}

/// The real API shows some correctors in other ways.
fn corrector(row: &Row, world: &World) -> Cell {
    match row.id % 16 {
        3 => "invisible".into(),
        7 => Object::default().into(),
        11 => object! { "id": 1_i64, "login": "supervisor", "url": user_url("supervisor") }.into(),
        _ => person(world, row.key("user_id")).into(),
    }
}

fn correcteds(row: &Row, world: &World) -> Cell {
    match row.id % 16 {
        5 => "invisible".into(),
        _ => vec![person(world, row.key("corrected"))].into(),
    }
}

fn remark(row: &Row, _: &World) -> Cell {
    row.time("filled_at").map(|_| COMMENT).into()
}

fn feedback(row: &Row, world: &World) -> Cell {
    match row.id % 3 {
        0 => Cell::Null,
        _ => remark(row, world),
    }
}

/// An evaluation of a fourth of the works that have a mark or wait for one.
pub(super) fn fill(world: &mut World) {
    let mut random = world.random(13);
    let is_waiting = |status: &str| status == "waiting_for_correction";
    let works = world.table(Resource::ProjectsUsers).rows();
    let works = works
        .filter(|row| row.time("marked_at").is_some() || is_waiting(row.text("status")))
        .filter(|_| random.u8(..4) == 0);
    let works: Vec<_> = works.map(|row| (row.id, row.time("marked_at"))).collect();
    world.table_mut(Resource::ScaleTeams).last = 7_000_000;
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
        let Some(corrector_id) = self.table(Resource::Users).any(random) else {
            return;
        };
        let Some(work) = self.table(Resource::ProjectsUsers).get(work) else {
            return;
        };
        let (corrected, project_id) = (work.key("user_id"), work.key("project_id"));
        let team_id = team_id(work.id, work.key("occurrence"));
        let final_mark = work.int("final_mark").filter(|_| marked_at.is_some());
        let begun = work.time("created_at").unwrap_or(self.now);
        let begin_at = marked_at.unwrap_or_else(|| self.now.plus_micros(random.i64(..2 * DAY)));
        let created_at = between(random, begun, begin_at.min(self.now));
        let scale_id = project_id * 4;
        let table = self.table_mut(Resource::ScaleTeams);
        let shown = object! {
            "id": table.next_id(),
            "scale_id": scale_id,
            "comment": remark as Made,
            "created_at": created_at,
            "updated_at": marked_at.unwrap_or(created_at),
            "feedback": feedback as Made,
            "final_mark": final_mark,
            "flag": object! { "icon": "check-4", "id": 1_i64, "name": "Ok", "positive": true },
            "begin_at": begin_at,
            "correcteds": correcteds as Made,
            "corrector": corrector as Made,
            "truant": Object::default(),
            "filled_at": marked_at,
            "questions_with_answers": Vec::<i64>::new(),
            "scale": object! { "correction_number": 3_i64, "id": scale_id, "is_primary": true },
            "team": object! { "id": team_id, "project_id": project_id },
            "feedbacks": Vec::<i64>::new(),
        };
        let hidden = object! {
            "user_id": corrector_id,
            "corrected": corrected,
            "project_id": project_id,
            "team_id": team_id,
        };
        table.insert(Row::new(shown, hidden));
    }
}
