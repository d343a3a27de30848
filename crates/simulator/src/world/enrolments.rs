//! What people do on projects: their marks, and the teams that a row nests.

use serde_json::value::RawValue;

use super::names::HOST;
use super::people::user_url;
use super::row::{Object, object};
use super::stamp::DAY;
use super::{Cell, Made, Row, Stamp, World};

/// What a row of `projects_users` does not show: whose work it is, and someone else in the team.
pub(super) fn hidden(user_id: i64, project: &Object, mate: Option<i64>) -> Object {
    object! {
        "user_id": user_id,
        "project_id": project.get::<i64>("id").unwrap_or_default(),
        "mate": mate,
        // The current team was abandoned, and no longer exists.
        "is_team_given_up": false,
    }
}

pub(super) fn team_id(enrolment: i64, attempt: i64) -> i64 {
    enrolment * 8 + attempt
}

/// The teams of a row that was made up follow from its other fields.
pub(super) fn teams(row: &Row, world: &World) -> Cell {
    let status = row.text("status");
    let locked = status != "creating_group" && status != "searching_a_group";
    let (occurrence, project_id) = (row.key("occurrence"), row.key("project_id"));
    let (created_at, user_id) = (row.time("created_at"), row.key("user_id"));
    let own = |field| row.cell(field).cloned().unwrap_or(Cell::Null);
    let member = |user_id: i64, leader| {
        let login = world.login(user_id);
        object! {
            "id": user_id,
            "login": login.clone(),
            "url": user_url(&login),
            "leader": leader,
            "occurrence": occurrence,
            "validated": true,
            "projects_user_id": if leader { row.id } else { row.id + 1 },
        }
    };
    let team = |attempt: i64| {
        let last = attempt == occurrence;
        let if_last = |field, else_: Cell| if last { own(field) } else { else_ };
        let id = team_id(row.id, attempt);
        let begun = created_at.map(|at| at.plus_micros(attempt * DAY));
        let users = [(Some(user_id), true), (row.int("mate"), false)];
        let users = users
            .into_iter()
            .filter_map(|(user, leader)| Some(member(user?, leader)));
        object! {
            "id": id,
            "name": format!("{}'s group-{attempt}", world.login(user_id)),
            "url": format!("{HOST}/v2/teams/{id}"),
            "final_mark": if_last("final_mark", 0_i64.into()),
            "project_id": project_id,
            "created_at": begun,
            "updated_at": if_last("updated_at", begun.into()),
            "status": if_last("status", "finished".into()),
            "terminating_at": Cell::Null,
            "users": users.collect::<Vec<_>>(),
            "locked?": locked || !last,
            "validated?": if_last("validated?", false.into()),
            "closed?": !last || row.int("final_mark").is_some(),
            "repo_url": (row.id % 3 != 0)
                .then(|| format!("git@vogsphere.example:vogsphere/intra-uuid-{id:012x}")),
            "repo_uuid": format!("intra-uuid-{id:012x}-{}", row.id),
            "locked_at": begun.filter(|_| locked || !last),
            "closed_at": if_last("marked_at", begun.map(|at| at.plus_micros(DAY / 2)).into()),
            "project_session_id": project_id * 3 + 1,
            "project_gitlab_path": (row.id % 2 == 0)
                .then(|| format!("pedago_world/42-cursus/{project_id}")),
        }
    };
    let attempts = match status {
        "parent" => 0,
        _ => occurrence + i64::from(!row.flag("is_team_given_up")),
    };
    (0..attempts).map(team).collect::<Vec<_>>().into()
}

/// Gives the work a mark.
pub(super) fn mark(row: &mut Row, at: Stamp, random: &mut fastrand::Rng) {
    let mark = match random.u8(..10) {
        0 => 0,
        1..3 => random.i64(20..80),
        3..8 => 100,
        _ => random.i64(101..126),
    };
    if row.flag("is_team_given_up") {
        row.set("is_team_given_up", false);
        row.set("current_team_id", team_id(row.id, row.key("occurrence")));
    }
    row.set("final_mark", mark);
    row.set("validated?", mark >= 80);
    row.set("status", if mark >= 80 { "finished" } else { "failed" });
    row.set("marked_at", at);
    row.set("marked", true);
    row.set("retriable_at", (mark < 80).then(|| at.plus_micros(2 * DAY)));
    row.touch(at);
}

/// Restarts the person's work on the project.
pub(super) fn restart(row: &mut Row, id: i64, at: Stamp) {
    row.id = id;
    row.set("id", id);
    for field in ["final_mark", "validated?", "marked_at", "retriable_at"] {
        row.set(field, Cell::Null);
    }
    row.set("occurrence", 0_i64);
    row.set("status", "in_progress");
    row.set("current_team_id", team_id(id, 0));
    row.set("marked", false);
    row.set("created_at", at);
    row.set("updated_at", at);
    row.set("is_team_given_up", false);
    row.set("teams", teams as Made);
}

pub(super) fn has_open_team(row: &Row) -> bool {
    row.int("final_mark").is_none() && row.int("current_team_id").is_some()
}

/// The current team is deleted; no date moves.
pub(super) fn give_up(row: &mut Row) {
    row.set("is_team_given_up", true);
    row.set("current_team_id", Cell::Null);
    row.set("status", "searching_a_group");
    if let Some(mut given) = row.get::<Vec<Box<RawValue>>>("teams") {
        given.pop();
        row.set("teams", given);
    }
}
