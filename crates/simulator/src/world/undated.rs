//! Changes that move no date, as the real API makes them: no delta sees them. Sessions, which have none, are among them, and so
//! are evaluations: both draw from the random source of these.

use super::advance::count;
use super::enrolment::Enrolment;
use super::joins::{CursusUser, Skill};
use super::locations::SESSIONS_A_DAY;
use super::{Rows as _, Stamp, World, names};
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
        let ongoing = self.cursus_users.rows().filter(|row| row.end_at.is_none());
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
                if let Some(id) = self.projects_users.any(random) {
                    self.replace_enrolment(id, at);
                }
            }
            Undated::GiveUp => {
                let id = self
                    .projects_users
                    .any_that(random, Enrolment::has_open_team);
                if let Some(id) = id {
                    self.give_up_team(id);
                }
            }
            Undated::Anonymise => {
                if let Some(id) = self.users.any(random) {
                    self.anonymise(id);
                }
            }
        }
    }

    /// Deletes an enrolment and makes another of the same person and project, with a higher id.
    pub(crate) fn replace_enrolment(&mut self, id: i64, at: Stamp) -> Option<i64> {
        let old = self.projects_users.get(id)?.clone();
        self.projects_users.remove_row(id);
        let id = self.projects_users.next_id();
        self.projects_users.insert(old.replaced(id, at));
        self.version += 1;
        Some(id)
    }

    /// Deletes the current team of unfinished work; no date moves. `false` where there is no such team.
    pub(crate) fn give_up_team(&mut self, id: i64) -> bool {
        let row = self.projects_users.get_mut(id);
        let Some(row) = row.filter(|row| row.has_open_team()) else {
            return false;
        };
        row.give_up();
        self.version += 1;
        true
    }

    /// Anonymises a person: without a staff role no list of people shows them any more; the rows that nest them, and their copies
    /// of the login, stay. `false` where there is no such person.
    pub(crate) fn anonymise(&mut self, id: i64) -> bool {
        let Some(user) = self.users.get_mut(id) else {
            return false;
        };
        user.anonymise();
        let login = user.login().to_owned();
        for row in self.achievements_users.rows.values_mut() {
            if row.user_id == id {
                row.login.clone_from(&login);
            }
        }
        self.version += 1;
        true
    }

    /// The server counts somebody's experience anew: an ongoing level rises, and so does a skill.
    fn recompute_level(&mut self, random: &mut fastrand::Rng) {
        let is_ongoing = |row: &CursusUser| row.end_at.is_none();
        let id = self.cursus_users.any_that(random, is_ongoing);
        let Some(row) = id.and_then(|id| self.cursus_users.get_mut(id)) else {
            return;
        };
        row.level = raised(row.level, random);
        let count = row.skills.len();
        if count > 0 && random.u8(..4) > 0 {
            let skill = &mut row.skills[random.usize(..count)];
            skill.level = raised(skill.level, random);
        } else if let Some((id, name)) = names::SKILLS.get(count) {
            row.skills.push(Skill {
                id: *id,
                name: (*name).into(),
                level: raised(0.0, random),
            });
        }
    }
}

/// A higher level, of two decimals.
fn raised(level: f64, random: &mut fastrand::Rng) -> f64 {
    ((level * 100.0).round() + f64::from(random.u8(1..60))) / 100.0
}
