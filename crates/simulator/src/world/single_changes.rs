//! Single changes of the world: a row that is added, moved or deleted. The caller decides when.

use std::collections::HashSet;

use serde_json::Value;
use serde_json::value::RawValue;

use super::enrolments::mark;
use super::people::{Maker, Role, is_anonymised, seat};
use super::populate::level;
use super::projects::{SESSIONS_A_PROJECT, session};
use super::reference::name;
use super::stamp::DAY;
use super::{CURSUS, Cell, Row, Stamp, World, json};
use crate::fields::{self, Kind, Resource};
use crate::query::{Query, Scope};
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
        let ids = Query::of(Scope::All).pick(resource, self);
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
                if let Some(user) = self.table(Resource::Users).any(random) {
                    self.enter_cursus(user, Role::Elsewhere, random);
                    let table = self.table_mut(resource);
                    if let Some(row) = table.get_mut(table.last) {
                        for field in ["created_at", "updated_at", "begin_at"] {
                            row.set(field, at);
                        }
                    }
                }
            }
            Resource::CampusUsers => {
                let user = self.table(Resource::Users).any(random);
                let campus = self.table(Resource::Campus).any(random);
                if let (Some(user), Some(campus)) = (user, campus)
                    && !(self.place(user)).is_some_and(|place| place.campuses.contains(&campus))
                {
                    self.add_campus_user((user, campus), false, (at, at));
                }
            }
            Resource::ProjectsUsers => {
                if let Some(user) = self.any_student(random) {
                    self.enrol(user, vec![CURSUS], (at, at), random);
                }
            }
            Resource::AchievementsUsers => {
                let user = self.table(Resource::Users).any(random);
                let achievement = self.table(Resource::Achievements).any(random);
                if let (Some(user), Some(achievement)) = (user, achievement) {
                    let id = self.table_mut(resource).next_id();
                    self.add_earned(id, (achievement, user), None, (at, at));
                }
            }
            Resource::CoalitionsUsers => {
                if let Some(coalition) = self.table(Resource::Coalitions).any(random) {
                    let id = self.table_mut(resource).next_id();
                    let user = random.i64(1..250_717);
                    let rank = Some(random.i64(1..900));
                    self.add_membership(id, (coalition, user), (0, rank), (at, at));
                }
            }
            Resource::Locations => self.sit_down(at, random),
            Resource::ScaleTeams => {
                if let Some(work) = self.table(Resource::ProjectsUsers).any(random) {
                    self.evaluate(work, Some(at), random);
                }
            }
            Resource::Events => self.announce_event(at, random),
            Resource::EventsUsers => self.subscribe(random),
            Resource::Exams => self.announce_exam(at, random),
            Resource::BlocDeadlines => self.set_deadline(at, random),
            Resource::QuestsUsers => self.begin_quest(at, random),
            Resource::TitlesUsers => self.give_title(at, random),
            reference => {
                let table = self.table_mut(reference);
                let Some(copied) = table.any(random) else {
                    return;
                };
                let id = table.next_id();
                let Some(mut row) = table.get(copied).cloned() else {
                    return;
                };
                row.id = id;
                row.set("id", id);
                if row.get::<String>("slug").is_some() {
                    row.set("slug", format!("added-{id}"));
                }
                if row.shown.cell("created_at").is_some() {
                    row.shown.set("created_at", at);
                }
                // The copy has no sessions of its own yet: session ids are unique.
                if row.cell("project_sessions").is_some() {
                    row.set("project_sessions", Vec::<i64>::new());
                }
                row.hidden.set("created_at", at);
                row.touch(at);
                table.insert(row);
            }
        }
    }

    /// A row that changes.
    pub(super) fn touch_any(&mut self, resource: Resource, at: Stamp, random: &mut fastrand::Rng) {
        match resource {
            Resource::CampusUsers => return self.change_campus(at, random),
            Resource::Projects => return self.change_project(at, random),
            _ => {}
        }
        let Some(row) = self.table_mut(resource).any_mut(random) else {
            return;
        };
        let more = |row: &Row, field: &str, more: i64| row.get(field).unwrap_or(0) + more;
        match resource {
            Resource::Users => {
                let id = row.id;
                return self.touch_user(id, at, random);
            }
            Resource::ProjectsUsers => {
                let id = row.id;
                return self.mark(id, at, random);
            }
            Resource::CursusUsers => row.set("level", level(random)),
            Resource::AchievementsUsers => {
                row.set("nbr_of_success", more(row, "nbr_of_success", 1));
            }
            Resource::CoalitionsUsers => {
                row.set("score", more(row, "score", random.i64(-20..200)));
                row.set("rank", random.i64(1..900));
            }
            Resource::Locations => {
                let end = row.time("until").map(|end| end.min(at));
                row.set("until", end);
            }
            Resource::ScaleTeams => {
                row.set("final_mark", random.i64(0..126));
                row.set("filled_at", row.time("filled_at").unwrap_or(at));
            }
            Resource::Coalitions => row.set("score", more(row, "score", random.i64(1..500))),
            Resource::Events | Resource::Exams => {
                row.set("max_people", random.i64(10..200));
            }
            // Nothing of a subscription changes.
            Resource::EventsUsers => return,
            Resource::Blocs => row.set("squad_size", random.i64(20..200)),
            Resource::BlocDeadlines => {
                let end = row.time("end_at").map(|end| end.plus_micros(DAY));
                row.set("end_at", end);
            }
            Resource::QuestsUsers => {
                row.set("validated_at", row.time("validated_at").unwrap_or(at));
            }
            Resource::TitlesUsers => row.set("selected", !row.flag("selected")),
            Resource::Achievements => row.set("nbr_of_success", random.i64(1..500)),
            Resource::Campus => {
                row.set("users_count", more(row, "users_count", random.i64(1..9)));
            }
            _ => row.set("name", format!("{}.", name(row))),
        }
        row.touch(at);
    }

    /// Deletes a row. A person is deleted with the rows that nest them; cursus 21 is kept.
    pub(super) fn remove_any(&mut self, resource: Resource, random: &mut fastrand::Rng) {
        let id = self.table(resource).any(random);
        let id = id.filter(|id| resource != Resource::Cursus || *id != CURSUS);
        let Some(id) = id else {
            return;
        };
        self.remove(resource, id);
    }

    /// Deletes a row with those that nest it.
    pub(super) fn remove(&mut self, resource: Resource, id: i64) {
        let Some(row) = self.table_mut(resource).remove(id) else {
            return;
        };
        if resource == Resource::EventsUsers {
            self.count_subscriber(row.key("event_id"), -1);
        }
        let (field, children): (_, &[Resource]) = match resource {
            Resource::Users => (
                "user_id",
                &[
                    Resource::CursusUsers,
                    Resource::CampusUsers,
                    Resource::ProjectsUsers,
                    Resource::Locations,
                    Resource::QuestsUsers,
                    Resource::TitlesUsers,
                ],
            ),
            Resource::Coalitions => ("coalition_id", &[Resource::CoalitionsUsers]),
            Resource::Achievements => ("achievement_id", &[Resource::AchievementsUsers]),
            Resource::Cursus => ("cursus_id", &[Resource::CursusUsers]),
            Resource::Events => ("event_id", &[Resource::EventsUsers]),
            Resource::Titles => ("title_id", &[Resource::TitlesUsers]),
            Resource::Blocs => ("bloc_id", &[Resource::BlocDeadlines]),
            _ => return,
        };
        for child in children {
            let rows = &mut self.table_mut(*child).rows;
            rows.retain(|_, row| row.key(field) != id);
        }
    }

    /// A student more, with what every student has.
    pub(super) fn join_student(&mut self, at: Stamp, random: &mut fastrand::Rng) {
        let users = self.table_mut(Resource::Users);
        let id = users.next_id();
        let logins = users.rows().map(|user| user.text("login").to_owned());
        let mut logins: HashSet<String> = logins.collect();
        let mut maker = Maker {
            random: &mut *random,
            logins: &mut logins,
            now: at,
        };
        let user = maker.person(id, Role::Student, at, None);
        self.table_mut(Resource::Users).insert(user);
        let now = std::mem::replace(&mut self.now, at);
        self.enter_cursus(id, Role::Student, random);
        self.enter_campuses(id, random);
        self.now = now;
        for _ in 0..random.u8(1..4) {
            self.enrol(id, vec![CURSUS], (at, at), random);
        }
        self.reindex();
    }

    /// Someone sits down, spends, or is evaluated.
    pub(super) fn touch_user(&mut self, id: i64, at: Stamp, random: &mut fastrand::Rng) {
        let user = self.table_mut(Resource::Users).get_mut(id);
        let Some(user) = user.filter(|user| !is_anonymised(user)) else {
            return;
        };
        let what = random.u8(..4);
        let (seat, amount) = (seat(random), random.i64(-40..90));
        match what {
            0 | 1 => user.set("location", user.text("location").is_empty().then_some(seat)),
            2 => user.set("wallet", user.key("wallet") + (amount | 1)),
            _ => user.set(
                "correction_point",
                user.key("correction_point") + amount % 3 * 2 + 1,
            ),
        }
        user.touch(at);
    }

    /// A student becomes an alumnus: out of every list of active students.
    pub(super) fn graduate(&mut self, at: Stamp, random: &mut fastrand::Rng) {
        let id = self.any_student(random);
        if let Some(user) = id.and_then(|id| self.table_mut(Resource::Users).get_mut(id)) {
            user.set("alumni?", true);
            user.set("alumnized_at", at);
            user.set("location", Cell::Null);
            user.touch(at);
        }
    }

    /// A mark is given or changed; the person's level moves with it.
    pub(super) fn mark(&mut self, id: i64, at: Stamp, random: &mut fastrand::Rng) {
        let row = self.table_mut(Resource::ProjectsUsers).get_mut(id);
        let Some(row) = row.filter(|row| row.time("created_at") <= Some(at)) else {
            return;
        };
        mark(row, at, random);
        let (user, validated) = (row.key("user_id"), row.flag("validated?"));
        let moves_levels = self.undated.levels != 0.0;
        let mut rows = self.table_mut(Resource::CursusUsers).rows.values_mut();
        let of_user = |row: &&mut Row| row.key("user_id") == user && row.key("cursus_id") == CURSUS;
        if let Some(row) = rows.find(of_user) {
            row.set("level", level(random));
            let is_dated = !moves_levels || row.time("end_at").is_some();
            // A validated project puts off the black hole, and that is an edit of the row.
            let blackhole = row.time("blackholed_at");
            let put_off = blackhole.filter(|_| !is_dated && validated);
            if let Some(blackhole) = put_off {
                row.set("blackholed_at", blackhole.plus_micros(7 * DAY));
            }
            if is_dated || put_off.is_some() {
                row.touch(at);
            }
        }
    }

    /// Someone moves: the old campus is no longer the primary one, another is.
    pub(super) fn change_campus(&mut self, at: Stamp, random: &mut fastrand::Rng) {
        let members = self.table(Resource::CampusUsers);
        let primary = members.any(random).and_then(|id| members.get(id));
        let Some((user, from)) = primary.map(|row| (row.key("user_id"), row.key("campus_id")))
        else {
            return;
        };
        let others = self.table(Resource::Campus).ids().filter(|id| *id != from);
        let Some(campus) = random.choice(others.collect::<Vec<_>>()) else {
            return;
        };
        let mut known = false;
        for row in self.table_mut(Resource::CampusUsers).rows.values_mut() {
            if row.key("user_id") != user {
                continue;
            }
            let primary = row.key("campus_id") == campus;
            known |= primary;
            if row.flag("is_primary") != primary {
                row.set("is_primary", primary);
                row.touch(at);
            }
        }
        if !known {
            self.add_campus_user((user, campus), true, (at, at));
        }
    }

    /// A project loses a session and a campus, and gains a session.
    pub(super) fn change_project(&mut self, at: Stamp, random: &mut fastrand::Rng) {
        let campus = self.table(Resource::Campus).any(random);
        let projects = self.table_mut(Resource::Projects);
        let Some(id) = projects.any(random) else {
            return;
        };
        let used = projects.rows().flat_map(|row| {
            let sessions = row.get::<Vec<Value>>("project_sessions");
            let sessions = sessions.into_iter().flatten();
            sessions.filter_map(|session| session["id"].as_i64())
        });
        let last = used.max().unwrap_or(0);
        let last = last.max(projects.last * SESSIONS_A_PROJECT);
        let Some(project) = projects.get_mut(id) else {
            return;
        };
        let list = |project: &Row, field| project.get::<Vec<Box<RawValue>>>(field);
        let mut sessions = list(project, "project_sessions").unwrap_or_default();
        if !sessions.is_empty() {
            sessions.remove(random.usize(..sessions.len()));
        }
        let added = session(random, last + 1, id, campus, (at, at));
        sessions.extend(RawValue::from_string(json(&added)));
        project.set("project_sessions", sessions);
        if let Some(mut links) = list(project, "campus").filter(|links| !links.is_empty()) {
            links.remove(random.usize(..links.len()));
            project.set("campus", links);
        }
        project.touch(at);
    }
}
