//! Single changes of the world: a row that comes, moves or goes. Each is told when; none decides how often.

use std::collections::HashSet;

use serde_json::Value;
use serde_json::value::RawValue;

use super::joins::{CampusUser, Earned, Membership};
use super::object::json;
use super::people::{Maker, Role, User, seat};
use super::populate::level;
use super::projects::{SESSIONS_A_PROJECT, session};
use super::stamp::DAY;
use super::{CURSUS, Stamp, World};
use crate::fields::{self, Kind, Resource};
use crate::query::{Query, Row, Scope};
use crate::{OddDates, SimulateError};

impl World {
    /// Inserts, updates and deletes rows of one resource at once, as another client of the real API would.
    pub(crate) fn churn(
        &mut self,
        resource: Resource,
        (inserted, updated, deleted): (u32, u32, u32),
        now: Stamp,
    ) {
        self.steps += 1;
        let mut random = self.random(1_000_000 + self.steps);
        self.now = self.now.max(now);
        for _ in 0..deleted {
            self.remove_any(resource, &mut random);
        }
        for _ in 0..updated {
            self.touch_any(resource, self.now, &mut random);
        }
        for _ in 0..inserted {
            self.add(resource, self.now, &mut random);
        }
        self.reindex();
    }

    /// Gives rows dates that no range holds.
    pub(crate) fn plant(&mut self, odd: &OddDates) -> Result<(), SimulateError> {
        let OddDates {
            resource: name,
            field,
            rows,
        } = odd;
        let Some(resource) = Resource::named(name) else {
            return Err(SimulateError::UnknownResource { name: name.clone() });
        };
        if fields::kind(field) != Kind::Time {
            let (resource, field) = (name.clone(), field.clone());
            return Err(SimulateError::NotADate { resource, field });
        }
        let dates = [
            Value::Null,
            "1969-07-20T20:17:40.000Z".into(),
            "2099-12-31T23:59:59.999Z".into(),
        ];
        let ids = self.table(resource).pick(&Query::of(Scope::All), self);
        for (id, date) in ids.iter().zip(dates.iter().cycle()).take(*rows) {
            self.set_field(resource, *id, field, Some(date.clone()));
        }
        Ok(())
    }

    /// A row more.
    pub(super) fn add(&mut self, resource: Resource, at: Stamp, random: &mut fastrand::Rng) {
        match resource {
            Resource::Users => self.join_student(at, random),
            Resource::CursusUsers => {
                if let Some(user) = self.users.any(random) {
                    self.enter_cursus(user, Role::Elsewhere, random);
                    let last = self.cursus_users.last;
                    if let Some(row) = self.cursus_users.get_mut(last) {
                        (row.created_at, row.updated_at, row.begin_at) = (at, at, at);
                    }
                }
            }
            Resource::CampusUsers => self.add_campus_user(at, random),
            Resource::ProjectsUsers => {
                let Some(user) = self.any_student(random) else {
                    return;
                };
                if let Some(row) = self.enrolment(user, vec![CURSUS], (at, at), random) {
                    self.projects_users.insert(row);
                }
            }
            Resource::AchievementsUsers => self.earn(at, random),
            Resource::CoalitionsUsers => self.add_membership(at, random),
            Resource::Locations => self.sit_down(at, random),
            Resource::ScaleTeams => {
                if let Some(work) = self.projects_users.any(random) {
                    self.evaluate(work, Some(at), random);
                }
            }
            reference => {
                let table = self.documents_mut(reference);
                let Some(copied) = table.any(random) else {
                    return;
                };
                let id = table.next_id();
                let Some(mut row) = table.get(copied).cloned() else {
                    return;
                };
                row.id = id;
                row.row.set("id", &id);
                if row.slug().is_some() {
                    row.row.set("slug", &format!("added-{id}"));
                }
                if row.row.raw("created_at").is_some() {
                    row.row.set("created_at", &at);
                }
                // The copy has no sessions of its own yet: session ids are unique.
                if row.row.raw("project_sessions").is_some() {
                    row.row.set("project_sessions", &[(); 0]);
                }
                row.created_at = at;
                row.touch(at);
                table.insert(row);
            }
        }
    }

    /// A row that changes.
    pub(super) fn touch_any(&mut self, resource: Resource, at: Stamp, random: &mut fastrand::Rng) {
        match resource {
            Resource::Users => {
                if let Some(id) = self.users.any(random) {
                    self.touch_user(id, at, random);
                }
            }
            Resource::CursusUsers => {
                let id = self.cursus_users.any(random);
                if let Some(row) = id.and_then(|id| self.cursus_users.get_mut(id)) {
                    row.level = level(random);
                    row.updated_at = row.updated_at.max(at);
                }
            }
            Resource::CampusUsers => self.change_campus(at, random),
            Resource::ProjectsUsers => {
                if let Some(id) = self.projects_users.any(random) {
                    self.mark(id, at, random);
                }
            }
            Resource::AchievementsUsers => {
                let id = self.achievements_users.any(random);
                if let Some(row) = id.and_then(|id| self.achievements_users.get_mut(id)) {
                    row.nbr_of_success = Some(row.nbr_of_success.unwrap_or(0) + 1);
                    row.updated_at = row.updated_at.max(at);
                }
            }
            Resource::CoalitionsUsers => {
                let id = self.coalitions_users.any(random);
                if let Some(row) = id.and_then(|id| self.coalitions_users.get_mut(id)) {
                    row.score += random.i64(-20..200);
                    row.rank = Some(random.i64(1..900));
                    row.updated_at = row.updated_at.max(at);
                }
            }
            Resource::Locations => {
                let id = self.locations.any(random);
                if let Some(row) = id.and_then(|id| self.locations.get_mut(id)) {
                    row.until = row.until.map(|end| end.min(at));
                }
            }
            Resource::ScaleTeams => {
                let id = self.scale_teams.any(random);
                if let Some(row) = id.and_then(|id| self.scale_teams.get_mut(id)) {
                    row.final_mark = Some(random.i64(0..126));
                    row.filled_at = row.filled_at.or(Some(at));
                    row.updated_at = row.updated_at.max(at);
                }
            }
            Resource::Projects => self.change_project(at, random),
            Resource::Coalitions => {
                let id = self.coalitions.any(random);
                if let Some(row) = id.and_then(|id| self.coalitions.get_mut(id)) {
                    let score: i64 = row.row.get("score").unwrap_or(0);
                    row.row.set("score", &(score + random.i64(1..500)));
                    row.touch(at);
                }
            }
            Resource::Achievements => {
                let id = self.achievements.any(random);
                if let Some(row) = id.and_then(|id| self.achievements.get_mut(id)) {
                    row.row.set("nbr_of_success", &random.i64(1..500));
                    row.touch(at);
                }
            }
            Resource::Campus => {
                let id = self.campus.any(random);
                if let Some(row) = id.and_then(|id| self.campus.get_mut(id)) {
                    let count: i64 = row.row.get("users_count").unwrap_or(0);
                    row.row.set("users_count", &(count + random.i64(1..9)));
                    row.touch(at);
                }
            }
            Resource::Cursus => {
                let id = self.cursus.any(random);
                if let Some(row) = id.and_then(|id| self.cursus.get_mut(id)) {
                    let name = row.name();
                    row.row.set("name", &format!("{name}."));
                    row.touch(at);
                }
            }
        }
    }

    /// A row that vanishes outright. A person goes with the rows that nest them; cursus 21 stays.
    pub(super) fn remove_any(&mut self, resource: Resource, random: &mut fastrand::Rng) {
        let id = self.table(resource).any_row(random);
        let id = id.filter(|id| resource != Resource::Cursus || *id != CURSUS);
        let Some(id) = id else {
            return;
        };
        self.table_mut(resource).remove_row(id);
        match resource {
            Resource::Users => {
                self.cursus_users.rows.retain(|_, row| row.user_id != id);
                self.campus_users.rows.retain(|_, row| row.user_id != id);
                self.projects_users.rows.retain(|_, row| row.user_id != id);
                self.locations.rows.retain(|_, row| row.user_id != id);
            }
            Resource::Coalitions => {
                let members = &mut self.coalitions_users.rows;
                members.retain(|_, row| row.coalition_id != id);
            }
            Resource::Achievements => {
                let earned = &mut self.achievements_users.rows;
                earned.retain(|_, row| row.achievement_id != id);
            }
            Resource::Cursus => self.cursus_users.rows.retain(|_, row| row.cursus_id != id),
            _ => {}
        }
    }

    /// A student more, with what every student has.
    pub(super) fn join_student(&mut self, at: Stamp, random: &mut fastrand::Rng) {
        let id = self.users.next_id();
        let mut logins: HashSet<String> = (self.users.rows())
            .map(|user| user.login().to_owned())
            .collect();
        let mut maker = Maker {
            random: &mut *random,
            logins: &mut logins,
            now: at,
        };
        let profile = maker.profile(id, Role::Student, at, None);
        self.users.insert(User::new(profile));
        let now = std::mem::replace(&mut self.now, at);
        self.enter_cursus(id, Role::Student, random);
        self.enter_campuses(id, random);
        self.now = now;
        for _ in 0..random.u8(1..4) {
            if let Some(row) = self.enrolment(id, vec![CURSUS], (at, at), random) {
                self.projects_users.insert(row);
            }
        }
        self.reindex();
    }

    /// Someone sits down, spends, or is evaluated.
    pub(super) fn touch_user(&mut self, id: i64, at: Stamp, random: &mut fastrand::Rng) {
        let user = self.users.get_mut(id);
        let Some(user) = user.filter(|user| !user.is_anonymised()) else {
            return;
        };
        let what = random.u8(..4);
        let (seat, amount) = (seat(random), random.i64(-40..90));
        user.change(at, |profile| match what {
            0 | 1 => profile.location = profile.location.is_none().then_some(seat),
            2 => profile.wallet += amount | 1,
            _ => profile.correction_point += amount % 3 * 2 + 1,
        });
    }

    /// A student leaves with honours: out of every list of active students.
    pub(super) fn graduate(&mut self, at: Stamp, random: &mut fastrand::Rng) {
        let Some(id) = self.any_student(random) else {
            return;
        };
        if let Some(user) = self.users.get_mut(id) {
            user.change(at, |profile| {
                profile.alumni = true;
                profile.alumnized_at = Some(at);
                profile.location = None;
            });
        }
    }

    /// A mark is given, or given anew; the person's level moves with it.
    pub(super) fn mark(&mut self, id: i64, at: Stamp, random: &mut fastrand::Rng) {
        let Some(row) = self.projects_users.get_mut(id) else {
            return;
        };
        if row.created_at > at {
            return;
        }
        row.mark(at, random);
        let (user, validated) = (row.user_id, row.validated == Some(true));
        let mut rows = self.cursus_users.rows.values_mut();
        if let Some(row) = rows.find(|row| row.user_id == user && row.cursus_id == CURSUS) {
            row.level = level(random);
            let is_dated = self.undated.levels == 0.0 || row.end_at.is_some();
            // A validated project puts off the black hole, and that is an edit of the row.
            let put_off = row.blackholed_at.filter(|_| !is_dated && validated);
            if let Some(blackhole) = put_off {
                row.blackholed_at = Some(blackhole.plus_micros(7 * DAY));
            }
            if is_dated || put_off.is_some() {
                row.updated_at = row.updated_at.max(at);
            }
        }
    }

    pub(super) fn earn(&mut self, at: Stamp, random: &mut fastrand::Rng) {
        let user = self.users.any(random);
        let achievement = self.achievements.any(random);
        let (Some(user_id), Some(achievement_id)) = (user, achievement) else {
            return;
        };
        let row = Earned {
            id: self.achievements_users.next_id(),
            achievement_id,
            user_id,
            login: self.login(user_id),
            nbr_of_success: None,
            created_at: at,
            updated_at: at,
        };
        self.achievements_users.insert(row);
    }

    fn add_membership(&mut self, at: Stamp, random: &mut fastrand::Rng) {
        let Some(coalition_id) = self.coalitions.any(random) else {
            return;
        };
        let row = Membership {
            id: self.coalitions_users.next_id(),
            coalition_id,
            user_id: random.i64(1..250_717),
            score: 0,
            rank: Some(random.i64(1..900)),
            created_at: at,
            updated_at: at,
        };
        self.coalitions_users.insert(row);
    }

    fn add_campus_user(&mut self, at: Stamp, random: &mut fastrand::Rng) {
        let user = self.users.any(random);
        let campus = self.campus.any(random);
        let (Some(user_id), Some(campus_id)) = (user, campus) else {
            return;
        };
        if self.on_campus(user_id, campus_id) {
            return;
        }
        let row = CampusUser {
            id: self.campus_users.next_id(),
            user_id,
            campus_id,
            is_primary: false,
            created_at: at,
            updated_at: at,
        };
        self.campus_users.insert(row);
    }

    /// Someone moves: the old campus is no longer the primary one, another is.
    pub(super) fn change_campus(&mut self, at: Stamp, random: &mut fastrand::Rng) {
        let primary = self.campus_users.any(random);
        let primary = primary.and_then(|id| self.campus_users.get(id));
        let Some((user_id, from)) = primary.map(|row| (row.user_id, row.campus_id)) else {
            return;
        };
        let others = self.campus.rows().map(Row::id).filter(|id| *id != from);
        let Some(campus_id) = random.choice(others.collect::<Vec<_>>()) else {
            return;
        };
        let mut known = false;
        for row in self.campus_users.rows.values_mut() {
            if row.user_id != user_id {
                continue;
            }
            let primary = row.campus_id == campus_id;
            known |= primary;
            if row.is_primary != primary {
                row.is_primary = primary;
                row.updated_at = row.updated_at.max(at);
            }
        }
        if !known {
            let row = CampusUser {
                id: self.campus_users.next_id(),
                user_id,
                campus_id,
                is_primary: true,
                created_at: at,
                updated_at: at,
            };
            self.campus_users.insert(row);
        }
    }

    /// A project loses a session and a campus, and gains a session.
    pub(super) fn change_project(&mut self, at: Stamp, random: &mut fastrand::Rng) {
        let campus = self.campus.any(random);
        let Some(id) = self.projects.any(random) else {
            return;
        };
        let used = self.projects.rows().flat_map(|row| {
            let sessions = row.row.get::<Vec<Session>>("project_sessions");
            sessions.into_iter().flatten().map(|session| session.id)
        });
        let last = used
            .max()
            .unwrap_or(0)
            .max(self.projects.last * SESSIONS_A_PROJECT);
        let Some(project) = self.projects.get_mut(id) else {
            return;
        };
        let sessions = project.row.get::<Vec<Box<RawValue>>>("project_sessions");
        let mut sessions = sessions.unwrap_or_default();
        if !sessions.is_empty() {
            sessions.remove(random.usize(..sessions.len()));
        }
        let added = session(random, last + 1, id, campus, (at, at));
        sessions.extend(RawValue::from_string(json(&added)));
        project.row.set("project_sessions", &sessions);
        let links = project.row.get::<Vec<Box<RawValue>>>("campus");
        if let Some(mut links) = links.filter(|links| !links.is_empty()) {
            links.remove(random.usize(..links.len()));
            project.row.set("campus", &links);
        }
        project.touch(at);
    }
}

#[derive(serde::Deserialize)]
struct Session {
    id: i64,
}
