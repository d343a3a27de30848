//! How much changes in a stretch of simulated time, and when in it. What a change does is decided elsewhere.

use std::time::Duration;

use super::agenda::Agenda;
use super::undated::Undated;
use super::{Stamp, World};
use crate::fields::Resource;

#[derive(Clone, Copy)]
enum Change {
    TouchStudent,
    TouchAnyone,
    Graduate,
    Join,
    Mark,
    Touch(Resource),
    Add(Resource),
    Delete(Resource),
    Undated(Undated),
    Agenda(Agenda),
}

impl World {
    /// Advances the time from one instant to another. The same seed and the same steps give the same world.
    pub(crate) fn advance(&mut self, from: Stamp, by: Duration, deletions_per_day: f64) {
        self.steps += 1;
        let mut random = self.random(1_000_000 + self.steps);
        let until = from.plus(by);
        let days = by.as_secs_f64() / 86_400.0;
        let mut plan = Vec::new();
        for (change, per_day) in self.rates(deletions_per_day) {
            for _ in 0..whole_number(per_day * days, &mut random) {
                let at = random.i64(from.micros()..until.micros().max(from.micros() + 1));
                plan.push((Stamp::from_micros(at), change));
            }
        }
        // Drawn from a source of their own, so that the other changes are the same whatever is switched off.
        let mut undated_random = self.random(2_000_000 + self.steps);
        for (change, per_day) in self.undated_rates() {
            for _ in 0..whole_number(per_day * days, &mut undated_random) {
                let at = undated_random.i64(from.micros()..until.micros().max(from.micros() + 1));
                plan.push((Stamp::from_micros(at), Change::Undated(change)));
            }
        }
        let mut agenda_random = self.random(3_000_000 + self.steps);
        for (change, per_day) in self.agenda_rates() {
            for _ in 0..whole_number(per_day * days, &mut agenda_random) {
                let at = agenda_random.i64(from.micros()..until.micros().max(from.micros() + 1));
                plan.push((Stamp::from_micros(at), Change::Agenda(change)));
            }
        }
        plan.sort_by_key(|(at, _)| *at);
        let students = self.students();
        for (at, change) in plan {
            match change {
                Change::TouchStudent => {
                    if let Some(id) = random.choice(&students) {
                        self.touch_user(*id, at, &mut random);
                    }
                }
                Change::TouchAnyone => self.touch_any(Resource::Users, at, &mut random),
                Change::Graduate => self.graduate(at, &mut random),
                Change::Join => self.join_student(at, &mut random),
                Change::Mark => self.touch_any(Resource::ProjectsUsers, at, &mut random),
                Change::Touch(resource) => self.touch_any(resource, at, &mut random),
                Change::Add(resource) => self.add(resource, at, &mut random),
                Change::Delete(resource) => self.remove_any(resource, &mut random),
                Change::Undated(change) => self.change_undated(change, at, &mut undated_random),
                Change::Agenda(change) => self.change_agenda(change, at, &mut agenda_random),
            }
        }
        self.now = until;
        self.reindex();
    }

    /// Changes a day, of each sort.
    fn rates(&self, deletions: f64) -> Vec<(Change, f64)> {
        let students = count(self.students().len());
        let rows = |resource| count(self.table(resource).len());
        let mut rates = vec![
            (Change::TouchStudent, students * 0.4),
            (Change::TouchAnyone, rows(Resource::Users) * 0.05),
            (Change::Graduate, 2.0 + students * 0.001),
            (Change::Join, 1.5 + students * 0.001),
            (Change::Mark, rows(Resource::ProjectsUsers) * 0.03),
            (Change::Touch(Resource::Projects), 1.2),
            (Change::Touch(Resource::CampusUsers), 0.3),
            (Change::Touch(Resource::Achievements), 1.0),
        ];
        for (resource, touched, added) in [
            (Resource::Coalitions, 0.2, 0.0),
            (Resource::CoalitionsUsers, 0.003, 0.000_5),
            (Resource::AchievementsUsers, 0.01, 0.01),
            (Resource::ProjectsUsers, 0.0, 0.01),
        ] {
            rates.push((Change::Touch(resource), rows(resource) * touched));
            rates.push((Change::Add(resource), rows(resource) * added));
        }
        let deleted = [Resource::CoalitionsUsers, Resource::ProjectsUsers];
        rates.extend(deleted.map(|resource| (Change::Delete(resource), deletions / 2.0)));
        rates
    }
}

#[expect(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
pub(super) fn count(rows: usize) -> f64 {
    rows as f64
}

/// A random integer with the wanted average, over many short steps too.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is small and not negative"
)]
fn whole_number(wanted: f64, random: &mut fastrand::Rng) -> u64 {
    let certain = wanted.max(0.0).floor();
    certain as u64 + u64::from(random.f64() < wanted - certain)
}
