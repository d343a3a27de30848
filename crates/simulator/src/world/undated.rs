//! Changes that move no date, as the real API makes them: no delta sees them. Sessions, which have none, are among them, and so
//! are evaluations: both draw from the random source of these.

use super::advance::count;
use super::enrolments::{give_up, has_open_team, restart};
use super::locations::SESSIONS_A_DAY;
use super::people::anonymise;
use super::populate::skill;
use super::row::Object;
use super::{Row, Stamp, World, names};
use crate::fields::Resource;

/// A sort of change.
#[derive(Clone, Copy)]
pub(super) enum Undated {
    Level,
    Replace,
    GiveUp,
    Anonymise,
    SitDown,
    Evaluate,
    RemoveLocation,
}

impl World {
    /// Changes a day, of each sort.
    pub(super) fn undated_rates(&self) -> Vec<(Undated, f64)> {
        let ongoing = self.table(Resource::CursusUsers).rows();
        let ongoing = ongoing.filter(|row| is_ongoing(row));
        let rows = |resource| count(self.table(resource).len());
        let (people, enrolments) = (rows(Resource::Users), rows(Resource::ProjectsUsers));
        let students = count(self.students().len());
        vec![
            (Undated::SitDown, students * SESSIONS_A_DAY),
            (Undated::Evaluate, enrolments * 0.01),
            (
                Undated::RemoveLocation,
                rows(Resource::Locations) * self.undated.removed_locations,
            ),
            (Undated::Level, count(ongoing.count()) * self.undated.levels),
            (Undated::Replace, enrolments * self.undated.replaced),
            (Undated::GiveUp, enrolments * self.undated.given_up),
            (Undated::Anonymise, people * self.undated.anonymised),
        ]
    }

    pub(super) fn change_undated(
        &mut self,
        change: Undated,
        at: Stamp,
        random: &mut fastrand::Rng,
    ) {
        match change {
            Undated::Level => self.recompute_level(random),
            Undated::SitDown => self.sit_down(at, random),
            Undated::Evaluate => {
                self.add(Resource::ScaleTeams, at, random);
                self.touch_any(Resource::ScaleTeams, at, random);
            }
            Undated::RemoveLocation => self.remove_any(Resource::Locations, random),
            Undated::Replace => {
                if let Some(id) = self.table(Resource::ProjectsUsers).any(random) {
                    self.replace_enrolment(id, at);
                }
            }
            Undated::GiveUp => {
                let works = self.table(Resource::ProjectsUsers);
                if let Some(id) = works.any_that(random, has_open_team) {
                    self.give_up_team(id);
                }
            }
            Undated::Anonymise => {
                if let Some(id) = self.table(Resource::Users).any(random) {
                    self.anonymise(id);
                }
            }
        }
    }

    /// Deletes an enrolment and makes another of the same person and project, with a higher id.
    pub(crate) fn replace_enrolment(&mut self, id: i64, at: Stamp) -> Option<i64> {
        let works = self.table_mut(Resource::ProjectsUsers);
        let mut row = works.remove(id)?;
        let id = works.next_id();
        restart(&mut row, id, at);
        works.insert(row);
        self.version += 1;
        Some(id)
    }

    /// Deletes the current team of unfinished work; no date moves. `false` where there is no such team.
    pub(crate) fn give_up_team(&mut self, id: i64) -> bool {
        let row = self.table_mut(Resource::ProjectsUsers).get_mut(id);
        let Some(row) = row.filter(|row| has_open_team(row)) else {
            return false;
        };
        give_up(row);
        self.version += 1;
        true
    }

    /// Anonymises a person: without a staff role no list of people shows them any more; the rows that nest them, and their copies
    /// of the login, stay. `false` where there is no such person.
    pub(crate) fn anonymise(&mut self, id: i64) -> bool {
        let Some(user) = self.table_mut(Resource::Users).get_mut(id) else {
            return false;
        };
        anonymise(user);
        let login = user.text("login").to_owned();
        let earned = self.table_mut(Resource::AchievementsUsers);
        for row in earned.rows.values_mut() {
            if row.key("user_id") == id {
                row.set("login", login.clone());
            }
        }
        self.version += 1;
        true
    }

    /// The server recomputes a person's experience: an ongoing level rises, and so does a skill.
    fn recompute_level(&mut self, random: &mut fastrand::Rng) {
        let table = self.table_mut(Resource::CursusUsers);
        let id = table.any_that(random, is_ongoing);
        let Some(row) = id.and_then(|id| table.get_mut(id)) else {
            return;
        };
        row.set("level", raised(row.number("level"), random));
        let mut skills: Vec<Object> = row.get("skills").unwrap_or_default();
        let count = skills.len();
        if count > 0 && random.u8(..4) > 0 {
            let skill = &mut skills[random.usize(..count)];
            let level = skill.get("level").unwrap_or_default();
            skill.set("level", raised(level, random));
        } else if let Some((id, name)) = names::SKILLS.get(count) {
            skills.push(skill(*id, name, raised(0.0, random)));
        }
        row.set("skills", skills);
    }
}

fn is_ongoing(enrolment: &Row) -> bool {
    enrolment.time("end_at").is_none()
}

/// A higher level, of two decimals.
fn raised(level: f64, random: &mut fastrand::Rng) -> f64 {
    ((level * 100.0).round() + f64::from(random.u8(1..60))) / 100.0
}
