//! Makes the join rows around the reference data and the people, given or made up.

use super::enrolments::mark;
use super::given::Given;
use super::names::{self, HOST};
use super::people::{Role, between, births, nested_user};
use super::row::{Object, object};
use super::stamp::DAY;
use super::{CURSUS, Cell, Made, PISCINE, Row, Stamp, World};
use super::{agenda, blocs, enrolments, evaluations, locations, milestones, reference};
use crate::fields::Resource;
use crate::{Scale, SimulateError};

pub(super) fn fill(
    world: &mut World,
    scale: &Scale,
    given: &mut Given,
    people: &[(i64, Role)],
) -> Result<(), SimulateError> {
    let mut random = world.random(7);
    if !given.fill(world, Resource::CursusUsers)? {
        for (user, role) in people {
            world.enter_cursus(*user, *role, &mut random);
        }
    }
    let mut random = world.random(8);
    if !given.fill(world, Resource::CampusUsers)? {
        for (user, _) in people {
            world.enter_campuses(*user, &mut random);
        }
    }
    world.reindex();
    if !given.fill(world, Resource::ProjectsUsers)? {
        enrolments(world, scale.enrolments);
    }
    if !given.fill(world, Resource::CoalitionsUsers)? {
        memberships(world, scale.memberships);
    }
    if !given.fill(world, Resource::AchievementsUsers)? {
        earned(world, scale.earned);
    }
    if !given.fill(world, Resource::Locations)? {
        locations::fill(world);
    }
    evaluations::fill(world);
    blocs::fill(world, given);
    agenda::fill(world, given);
    milestones::fill(world, given);
    Ok(())
}

/// A row of `cursus_users`, without what it nests.
pub(super) fn cursus_user(mut shown: Object, user_id: i64) -> Row {
    let cursus: Made = |row, world| {
        let cursus = world.table(Resource::Cursus).get(row.key("cursus_id"));
        cursus.map(|cursus| &cursus.shown).into()
    };
    shown.set("user", nested_user as Made);
    shown.set("cursus", cursus);
    Row::new(shown, object! { "user_id": user_id })
}

pub(super) fn earned_url(id: i64) -> String {
    format!("{HOST}/v2/achievements_users/{id}")
}

impl World {
    /// Puts a person into the cursus of their role.
    pub(super) fn enter_cursus(&mut self, user: i64, role: Role, random: &mut fastrand::Rng) {
        let Some(born) = self.born(user) else {
            return;
        };
        let others = self.table(Resource::Cursus).ids();
        let others = others.filter(|id| *id != CURSUS && *id != PISCINE);
        let elsewhere = random.choice(others.collect::<Vec<_>>());
        for cursus_id in role.cursus(elsewhere.unwrap_or(PISCINE)) {
            let piscine = cursus_id == PISCINE;
            let begin_at = if piscine {
                born
            } else {
                between(random, born, self.now)
            };
            let has_ended = piscine || role == Role::Alumni;
            let grade = match random.u8(..12) {
                0 => None,
                _ if piscine => Some("Pisciner"),
                1..4 => Some("Member"),
                4..7 => Some("Cadet"),
                _ => Some("Learner"),
            };
            let shown = object! {
                "id": self.table_mut(Resource::CursusUsers).next_id(),
                "begin_at": begin_at,
                "end_at": has_ended.then(|| begin_at.plus_micros(26 * DAY)),
                "grade": grade,
                "level": level(random),
                "skills": skills(random),
                "cursus_id": cursus_id,
                "has_coalition": random.u8(..5) > 0,
                "blackholed_at": (!has_ended && random.bool())
                    .then(|| self.now.plus_micros(random.i64(-300..300) * DAY)),
                "created_at": begin_at,
                "updated_at": between(random, begin_at, self.now),
            };
            let row = cursus_user(shown, user);
            self.table_mut(Resource::CursusUsers).insert(row);
        }
    }

    /// Puts a person on a campus, and some on a second one.
    pub(super) fn enter_campuses(&mut self, user: i64, random: &mut fastrand::Rng) {
        let Some(born) = self.born(user) else {
            return;
        };
        let mut campuses: Vec<i64> = self.table(Resource::Campus).ids().collect();
        random.shuffle(&mut campuses);
        campuses.truncate(if random.u8(..9) == 0 { 2 } else { 1 });
        for (place, campus_id) in campuses.into_iter().enumerate() {
            let updated_at = between(random, born, self.now);
            self.add_campus_user((user, campus_id), place == 0, (born, updated_at));
        }
    }

    fn born(&self, user: i64) -> Option<Stamp> {
        self.table(Resource::Users).get(user)?.time("created_at")
    }

    pub(super) fn add_campus_user(
        &mut self,
        (user_id, campus_id): (i64, i64),
        is_primary: bool,
        (created_at, updated_at): (Stamp, Stamp),
    ) {
        let table = self.table_mut(Resource::CampusUsers);
        let shown = object! {
            "id": table.next_id(),
            "user_id": user_id,
            "campus_id": campus_id,
            "is_primary": is_primary,
            "created_at": created_at,
            "updated_at": updated_at,
        };
        table.insert(Row::new(shown, Object::default()));
    }

    /// Adds a new piece of work of a person on a project, as it stands some time after its start.
    pub(super) fn enrol(
        &mut self,
        user: i64,
        cursus_ids: Vec<i64>,
        (created_at, until): (Stamp, Stamp),
        random: &mut fastrand::Rng,
    ) {
        let project = if cursus_ids.contains(&CURSUS) {
            let projects = self.table(Resource::Projects);
            let project = projects.any(random).and_then(|id| projects.get(id));
            let Some(project) = project else {
                return;
            };
            object! {
                "id": project.id,
                "name": reference::name(project),
                "slug": project.get::<String>("slug"),
                "parent_id": reference::parent_id(project),
            }
        } else {
            // Work of the piscine belongs to projects that cursus 21 does not list.
            let id = random.i64(1_255..1_275);
            object! {
                "id": 600_000 + id,
                "name": format!("C {:02}", id % 20),
                "slug": format!("c-piscine-c-{:02}", id % 20),
                "parent_id": Cell::Null,
            }
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
        let id = self.table_mut(Resource::ProjectsUsers).next_id();
        let occurrence = i64::from(random.u8(..6) == 0) * random.i64(1..4);
        let updated_at = between(random, created_at, until);
        let mate = (random.u8(..6) == 0)
            .then(|| self.table(Resource::Users).any(random))
            .flatten();
        let hidden = enrolments::hidden(user, &project, mate.filter(|mate| *mate != user));
        let shown = object! {
            "id": id,
            "occurrence": occurrence,
            "final_mark": Cell::Null,
            "status": status,
            "validated?": Cell::Null,
            "current_team_id": (status != "parent").then(|| enrolments::team_id(id, occurrence)),
            "project": project,
            "cursus_ids": cursus_ids,
            "marked_at": Cell::Null,
            "marked": false,
            "retriable_at": Cell::Null,
            "created_at": created_at,
            "updated_at": updated_at,
            "user": nested_user as Made,
            "teams": enrolments::teams as Made,
        };
        let mut row = Row::new(shown, hidden);
        if status == "finished" || status == "failed" {
            mark(&mut row, updated_at, random);
        }
        self.table_mut(Resource::ProjectsUsers).insert(row);
    }

    pub(super) fn add_membership(
        &mut self,
        id: i64,
        (coalition_id, user_id): (i64, i64),
        (score, rank): (i64, Option<i64>),
        (created_at, updated_at): (Stamp, Stamp),
    ) {
        let shown = object! {
            "id": id,
            "coalition_id": coalition_id,
            "user_id": user_id,
            "score": score,
            "rank": rank,
            "created_at": created_at,
            "updated_at": updated_at,
        };
        let table = self.table_mut(Resource::CoalitionsUsers);
        table.insert(Row::new(shown, Object::default()));
    }

    pub(super) fn add_earned(
        &mut self,
        id: i64,
        (achievement_id, user_id): (i64, i64),
        nbr_of_success: Option<i64>,
        (created_at, updated_at): (Stamp, Stamp),
    ) {
        let shown = object! {
            "id": id,
            "achievement_id": achievement_id,
            "user_id": user_id,
            "login": self.login(user_id),
            "nbr_of_success": nbr_of_success,
            "url": earned_url(id),
            "created_at": created_at,
            "updated_at": updated_at,
        };
        let table = self.table_mut(Resource::AchievementsUsers);
        table.insert(Row::new(shown, Object::default()));
    }
}

fn enrolments(world: &mut World, count: usize) {
    let mut random = world.random(9);
    let students = world.students();
    let all = world.table(Resource::CursusUsers).rows();
    let others = all
        .filter(|row| row.key("cursus_id") == CURSUS)
        .map(|row| row.key("user_id"))
        .filter(|id| !students.contains(id));
    let others: Vec<i64> = others.collect();
    world.table_mut(Resource::ProjectsUsers).last = 3_900_000;
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
        world.enrol(user, cursus_ids, (created_at, until), &mut random);
        world.table_mut(Resource::ProjectsUsers).last += random.i64(0..9);
    }
}

fn memberships(world: &mut World, count: usize) {
    let mut random = world.random(10);
    let students = world.students();
    let coalitions: Vec<i64> = world.table(Resource::Coalitions).ids().collect();
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
        let id = world.table_mut(Resource::CoalitionsUsers).next_id() + random.i64(0..2);
        let coalition_id = coalitions[random.usize(..coalitions.len())];
        let score = if random.u8(..3) == 0 {
            random.i64(-60..9_000)
        } else {
            0
        };
        let rank = (random.u8(..40) > 0).then(|| random.i64(1..900));
        let updated_at = between(&mut random, created_at, world.now);
        let times = (created_at, updated_at);
        world.add_membership(id, (coalition_id, user_id), (score, rank), times);
    }
}

fn earned(world: &mut World, count: usize) {
    let mut random = world.random(11);
    let people: Vec<i64> = world.table(Resource::Users).ids().collect();
    let from = world.now.plus_micros(-5 * 365 * DAY);
    for created_at in births(&mut random, count, from, world.now) {
        let user_id = match random.choice(&people) {
            Some(id) if random.u8(..10) > 0 => *id,
            _ => random.i64(1..250_717),
        };
        let Some(achievement_id) = world.table(Resource::Achievements).any(&mut random) else {
            return;
        };
        let id = world.table_mut(Resource::AchievementsUsers).next_id() + random.i64(0..3);
        let nbr_of_success = random.bool().then(|| random.i64(1..50));
        let updated_at = between(&mut random, created_at, world.now);
        let times = (created_at, updated_at);
        world.add_earned(id, (achievement_id, user_id), nbr_of_success, times);
    }
}

/// Two decimals; integers keep a fraction.
pub(super) fn level(random: &mut fastrand::Rng) -> f64 {
    let hundredths = if random.u8(..5) == 0 {
        random.u16(..12) * 100
    } else {
        random.u16(..2_100)
    };
    f64::from(hundredths) / 100.0
}

fn skills(random: &mut fastrand::Rng) -> Vec<Object> {
    let wanted = random.usize(..4);
    let skills = names::SKILLS.iter().take(wanted);
    skills
        .map(|(id, name)| skill(*id, name, level(random)))
        .collect()
}

pub(super) fn skill(id: i64, name: &'static str, level: f64) -> Object {
    object! { "id": id, "name": name, "level": level }
}
