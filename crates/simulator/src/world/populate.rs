//! Makes the join rows around the reference data and the people, given or made up.

use super::enrolment::Enrolment;
use super::given::Given;
use super::joins::{CampusUser, CursusUser, Earned, Membership, Skill};
use super::names;
use super::object::Object;
use super::people::{Role, between, births};
use super::stamp::DAY;
use super::{CURSUS, PISCINE, Stamp, World};
use super::{evaluations, locations};
use crate::fields::Resource;
use crate::query::Row;
use crate::{Scale, SimulateError};

pub(super) fn fill(
    world: &mut World,
    scale: &Scale,
    given: &mut Given,
    people: &[(i64, Role)],
) -> Result<(), SimulateError> {
    let mut random = world.random(7);
    if let Some(rows) = given.take_cursus_users(world)? {
        for row in rows {
            world.cursus_users.insert(row);
        }
    } else {
        for (user, role) in people {
            world.enter_cursus(*user, *role, &mut random);
        }
    }
    let mut random = world.random(8);
    if let Some(rows) = given.take_as::<CampusUser>(Resource::CampusUsers)? {
        for row in rows {
            world.campus_users.insert(row);
        }
    } else {
        for (user, _) in people {
            world.enter_campuses(*user, &mut random);
        }
    }
    world.reindex();
    if let Some(rows) = given.take_enrolments(world)? {
        for row in rows {
            world.projects_users.insert(row);
        }
    } else {
        enrolments(world, scale.enrolments);
    }
    if let Some(rows) = given.take_as::<Membership>(Resource::CoalitionsUsers)? {
        for row in rows {
            world.coalitions_users.insert(row);
        }
    } else {
        memberships(world, scale.memberships);
    }
    if let Some(rows) = given.take_as::<Earned>(Resource::AchievementsUsers)? {
        for row in rows {
            world.achievements_users.insert(row);
        }
    } else {
        earned(world, scale.earned);
    }
    if let Some(rows) = given.take_locations(world)? {
        for row in rows {
            world.locations.insert(row);
        }
    } else {
        locations::fill(world);
    }
    evaluations::fill(world);
    Ok(())
}

impl World {
    /// Puts a person into the cursus of their role.
    pub(super) fn enter_cursus(&mut self, user: i64, role: Role, random: &mut fastrand::Rng) {
        let Some(born) = self.born(user) else {
            return;
        };
        let others = self.cursus.rows().map(Row::id);
        let others = others.filter(|id| *id != CURSUS && *id != PISCINE);
        let elsewhere = random.choice(others.collect::<Vec<_>>());
        for cursus_id in role.cursus(elsewhere.unwrap_or(PISCINE)) {
            let piscine = cursus_id == PISCINE;
            let begin_at = if piscine {
                born
            } else {
                between(random, born, self.now)
            };
            let ended = piscine || role == Role::Alumni;
            let grade = match random.u8(..12) {
                0 => None,
                _ if piscine => Some("Pisciner"),
                1..4 => Some("Member"),
                4..7 => Some("Cadet"),
                _ => Some("Learner"),
            };
            let row = CursusUser {
                id: self.cursus_users.next_id(),
                user_id: user,
                cursus_id,
                begin_at,
                end_at: ended.then(|| begin_at.plus_micros(26 * DAY)),
                grade: grade.map(Into::into),
                level: level(random),
                skills: skills(random),
                has_coalition: random.u8(..5) > 0,
                blackholed_at: (!ended && random.bool())
                    .then(|| self.now.plus_micros(random.i64(-300..300) * DAY)),
                created_at: begin_at,
                updated_at: between(random, begin_at, self.now),
            };
            self.cursus_users.insert(row);
        }
    }

    /// Puts a person on a campus, and some on a second one.
    pub(super) fn enter_campuses(&mut self, user: i64, random: &mut fastrand::Rng) {
        let Some(born) = self.born(user) else {
            return;
        };
        let mut campuses: Vec<i64> = self.campus.rows().map(Row::id).collect();
        random.shuffle(&mut campuses);
        campuses.truncate(if random.u8(..9) == 0 { 2 } else { 1 });
        for (place, campus_id) in campuses.into_iter().enumerate() {
            let row = CampusUser {
                id: self.campus_users.next_id(),
                user_id: user,
                campus_id,
                is_primary: place == 0,
                created_at: born,
                updated_at: between(random, born, self.now),
            };
            self.campus_users.insert(row);
        }
    }

    fn born(&self, user: i64) -> Option<Stamp> {
        let user = self.users.get(user)?;
        Some(user.profile().created_at)
    }

    /// A new piece of work of a person on a project, as it stands some time after its start.
    pub(super) fn enrolment(
        &mut self,
        user: i64,
        cursus_ids: Vec<i64>,
        (created_at, until): (Stamp, Stamp),
        random: &mut fastrand::Rng,
    ) -> Option<Enrolment> {
        let project = if cursus_ids.contains(&CURSUS) {
            brief(self, self.projects.any(random)?)?
        } else {
            piscine_project(random.i64(1_255..1_275))
        };
        let status = match random.u8(..100) {
            0..15 => "in_progress",
            15..19 => "searching_a_group",
            19..23 => "creating_group",
            23..28 => "waiting_for_correction",
            28..30 => "parent",
            30..34 => "failed",
            _ => "finished",
        };
        let mut row = Enrolment {
            id: self.projects_users.next_id(),
            user_id: user,
            project_id: project.get("id").unwrap_or_default(),
            occurrence: i64::from(random.u8(..6) == 0) * random.i64(1..4),
            final_mark: None,
            status: status.into(),
            validated: None,
            current_team_id: None,
            project,
            cursus_ids,
            marked_at: None,
            retriable_at: None,
            created_at,
            updated_at: between(random, created_at, until),
            is_team_given_up: false,
            mate: (random.u8(..6) == 0)
                .then(|| self.users.any(random))
                .flatten(),
            teams: None,
        };
        row.mate = row.mate.filter(|mate| *mate != user);
        if status != "parent" {
            row.current_team_id = Some(row.team_id(row.occurrence));
        }
        if status == "finished" || status == "failed" {
            let at = row.updated_at;
            row.mark(at, random);
        }
        Some(row)
    }
}

impl Enrolment {
    /// Gives the work a mark.
    pub(super) fn mark(&mut self, at: Stamp, random: &mut fastrand::Rng) {
        let mark = match random.u8(..10) {
            0 => 0,
            1..3 => random.i64(20..80),
            3..8 => 100,
            _ => random.i64(101..126),
        };
        if self.is_team_given_up {
            self.is_team_given_up = false;
            self.current_team_id = Some(self.team_id(self.occurrence));
        }
        self.final_mark = Some(mark);
        self.validated = Some(mark >= 80);
        self.status = if mark >= 80 { "finished" } else { "failed" }.into();
        self.marked_at = Some(at);
        self.retriable_at = (mark < 80).then(|| at.plus_micros(2 * DAY));
        self.updated_at = self.updated_at.max(at);
    }
}

/// The short form of a project that enrolments nest.
fn brief(world: &World, project: i64) -> Option<Object> {
    #[derive(serde::Serialize)]
    struct Brief {
        id: i64,
        name: String,
        slug: Option<String>,
        parent_id: Option<i64>,
    }
    let project = world.projects.get(project)?;
    Some(Object::of(&Brief {
        id: project.id,
        name: project.name(),
        slug: project.slug(),
        parent_id: project.parent_id(),
    }))
}

/// Work of the piscine belongs to projects that cursus 21 does not list.
fn piscine_project(id: i64) -> Object {
    #[derive(serde::Serialize)]
    struct Brief {
        id: i64,
        name: String,
        slug: String,
        parent_id: Option<i64>,
    }
    Object::of(&Brief {
        id: 600_000 + id,
        name: format!("C {:02}", id % 20),
        slug: format!("c-piscine-c-{:02}", id % 20),
        parent_id: None,
    })
}

fn enrolments(world: &mut World, count: usize) {
    let mut random = world.random(9);
    let students = world.students();
    let all = world
        .cursus_users
        .rows()
        .filter(|row| row.cursus_id == CURSUS);
    let others = all
        .map(|row| row.user_id)
        .filter(|id| !students.contains(id));
    let others: Vec<i64> = others.collect();
    world.projects_users.last = 3_900_000;
    let from = world.now.plus_micros(-5 * 365 * DAY);
    // Those who are in the cursus did other things too, which the lists by cursus also show.
    let elsewhere = count / 15;
    let births = births(&mut random, count + elsewhere, from, world.now);
    let mut piscine: Vec<bool> = (0..births.len()).map(|place| place >= count).collect();
    random.shuffle(&mut piscine);
    for (created_at, piscine) in births.into_iter().zip(piscine) {
        let people = if random.u8(..16) == 0 && !others.is_empty() {
            &others
        } else {
            &students
        };
        let Some(user) = random.choice(people).copied() else {
            return;
        };
        let cursus_ids = match random.u8(..10) {
            _ if piscine => vec![PISCINE],
            0 => vec![CURSUS, PISCINE],
            _ => vec![CURSUS],
        };
        let until = world.now;
        let row = world.enrolment(user, cursus_ids, (created_at, until), &mut random);
        if let Some(row) = row {
            world.projects_users.insert(row);
        }
        world.projects_users.last += random.i64(0..9);
    }
}

fn memberships(world: &mut World, count: usize) {
    let mut random = world.random(10);
    let students = world.students();
    let coalitions: Vec<i64> = world.coalitions.rows().map(Row::id).collect();
    if coalitions.is_empty() {
        return;
    }
    let from = world.now.plus_micros(-7 * 365 * DAY);
    let births = births(&mut random, count, from, world.now);
    // The students' own memberships are spread among those of people whom no list shows.
    let every = (count / students.len().max(1)).max(1);
    for (place, created_at) in births.into_iter().enumerate() {
        let student = place
            .is_multiple_of(every)
            .then(|| students.get(place / every));
        let outside = || random.i64(1..250_717);
        let user_id = student.flatten().copied().unwrap_or_else(outside);
        let row = Membership {
            id: world.coalitions_users.next_id() + random.i64(0..2),
            coalition_id: coalitions[random.usize(..coalitions.len())],
            user_id,
            score: if random.u8(..3) == 0 {
                random.i64(-60..9_000)
            } else {
                0
            },
            rank: (random.u8(..40) > 0).then(|| random.i64(1..900)),
            created_at,
            updated_at: between(&mut random, created_at, world.now),
        };
        world.coalitions_users.insert(row);
    }
}

fn earned(world: &mut World, count: usize) {
    let mut random = world.random(11);
    let people: Vec<i64> = world.users.rows().map(Row::id).collect();
    let from = world.now.plus_micros(-5 * 365 * DAY);
    for created_at in births(&mut random, count, from, world.now) {
        let user_id = match random.choice(&people) {
            Some(id) if random.u8(..10) > 0 => *id,
            _ => random.i64(1..250_717),
        };
        let Some(achievement_id) = world.achievements.any(&mut random) else {
            return;
        };
        let row = Earned {
            id: world.achievements_users.next_id() + random.i64(0..3),
            achievement_id,
            user_id,
            login: world.login(user_id),
            nbr_of_success: random.bool().then(|| random.i64(1..50)),
            created_at,
            updated_at: between(&mut random, created_at, world.now),
        };
        world.achievements_users.insert(row);
    }
}

/// Two decimals; whole numbers stay fractions.
pub(super) fn level(random: &mut fastrand::Rng) -> f64 {
    let hundredths = if random.u8(..5) == 0 {
        random.u16(..12) * 100
    } else {
        random.u16(..2_100)
    };
    f64::from(hundredths) / 100.0
}

fn skills(random: &mut fastrand::Rng) -> Vec<Skill> {
    let wanted = random.usize(..4);
    let skills = names::SKILLS.iter().take(wanted);
    skills
        .map(|(id, name)| Skill {
            id: *id,
            name: (*name).into(),
            level: level(random),
        })
        .collect()
}
