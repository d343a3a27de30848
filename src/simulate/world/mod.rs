//! The simulated world: every row that the API could show, and who belongs where. Knows nothing of HTTP or of real time.

mod advance;
mod changes;
mod document;
mod enrolment;
mod given;
mod joins;
mod names;
mod object;
mod people;
mod populate;
mod projects;
mod reference;
mod stamp;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use serde_json::Value;

use self::document::Document;
use self::enrolment::Enrolment;
use self::joins::{CampusUser, CursusUser, Earned, Membership};
pub(crate) use self::object::json;
use self::people::User;
pub(crate) use self::stamp::Stamp;
use super::fields::Resource;
use super::query::{Query, Row, Scope};
use super::{Scale, SimulateError};

/// The cursus whose students, projects and enrolments the scale counts.
pub(crate) const CURSUS: i64 = 21;

/// The cursus that comes before it: people of it only must be filtered out.
const PISCINE: i64 = 9;

/// All rows, as they are now.
pub(crate) struct World {
    seed: u64,
    steps: u64,
    now: Stamp,
    version: u64,
    cursus: Table<Document>,
    campus: Table<Document>,
    projects: Table<Document>,
    achievements: Table<Document>,
    coalitions: Table<Document>,
    users: Table<User>,
    cursus_users: Table<CursusUser>,
    campus_users: Table<CampusUser>,
    projects_users: Table<Enrolment>,
    achievements_users: Table<Earned>,
    coalitions_users: Table<Membership>,
    places: HashMap<i64, Places>,
}

/// Where a person belongs, derived from the join rows.
#[derive(Clone, Debug, Default)]
struct Places {
    cursus: Vec<i64>,
    campuses: Vec<i64>,
    primary: Option<i64>,
    coalitions: Vec<i64>,
}

/// What a world is made from.
pub(crate) struct Recipe<'a> {
    pub(crate) seed: u64,
    pub(crate) scale: Scale,
    pub(crate) rows: &'a BTreeMap<String, PathBuf>,
    pub(crate) now: Stamp,
}

impl World {
    /// Builds a world; reads the given rows, and makes up the rest around them.
    pub(crate) fn build(recipe: &Recipe<'_>) -> Result<Self, SimulateError> {
        let mut given = given::Given::read(recipe.rows)?;
        let mut world = Self {
            seed: recipe.seed,
            steps: 0,
            now: recipe.now,
            version: 0,
            cursus: Table::default(),
            campus: Table::default(),
            projects: Table::default(),
            achievements: Table::default(),
            coalitions: Table::default(),
            users: Table::default(),
            cursus_users: Table::default(),
            campus_users: Table::default(),
            projects_users: Table::default(),
            achievements_users: Table::default(),
            coalitions_users: Table::default(),
            places: HashMap::new(),
        };
        reference::fill(&mut world, &recipe.scale, &mut given);
        let people = people::fill(&mut world, &recipe.scale, &mut given)?;
        populate::fill(&mut world, &recipe.scale, &mut given, &people)?;
        world.reindex();
        Ok(world)
    }

    /// Moves with every change, so that what was picked before can be told stale.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The ids that a query picks, in its order.
    pub(crate) fn pick(&self, resource: Resource, query: &Query) -> Vec<i64> {
        match resource {
            Resource::Users => query.pick(self.users.rows(), self),
            Resource::CursusUsers => query.pick(self.cursus_users.rows(), self),
            Resource::CampusUsers => query.pick(self.campus_users.rows(), self),
            Resource::ProjectsUsers => query.pick(self.projects_users.rows(), self),
            Resource::AchievementsUsers => query.pick(self.achievements_users.rows(), self),
            Resource::CoalitionsUsers => query.pick(self.coalitions_users.rows(), self),
            reference => query.pick(self.documents(reference).rows(), self),
        }
    }

    /// Appends the JSON of one row; `false` where there is no such row.
    pub(crate) fn write(&self, resource: Resource, id: i64, out: &mut Vec<u8>) -> bool {
        match resource {
            Resource::Users => self.users.write(id, self, out),
            Resource::CursusUsers => self.cursus_users.write(id, self, out),
            Resource::CampusUsers => self.campus_users.write(id, self, out),
            Resource::ProjectsUsers => self.projects_users.write(id, self, out),
            Resource::AchievementsUsers => self.achievements_users.write(id, self, out),
            Resource::CoalitionsUsers => self.coalitions_users.write(id, self, out),
            reference => self.documents(reference).write(id, self, out),
        }
    }

    /// One user as `/v2/users/:id` shows it: the list row, then its campuses and cursus.
    pub(crate) fn write_profile(&self, id: i64, out: &mut Vec<u8>) {
        if !self.users.write(id, self, out) {
            return;
        }
        out.pop();
        out.extend_from_slice(b",\"cursus_users\":");
        let of_user = self.cursus_users.rows().filter(|row| row.user_id == id);
        write_all(of_user, self, out);
        out.extend_from_slice(b",\"campus_users\":");
        let of_user = self.campus_users.rows().filter(|row| row.user_id == id);
        write_all(of_user, self, out);
        out.push(b'}');
    }

    /// Every row of a resource by ascending id, as the API would show it. Projects are those of cursus 21.
    pub(crate) fn rows(&self, resource: Resource) -> Vec<Value> {
        let mut text = Vec::new();
        match resource {
            Resource::Projects => {
                let scope = Scope::Cursus(CURSUS);
                let listed = self.projects.rows().filter(|row| row.inside(scope, self));
                write_all(listed, self, &mut text);
            }
            Resource::Users => write_all(self.users.rows(), self, &mut text),
            Resource::CursusUsers => write_all(self.cursus_users.rows(), self, &mut text),
            Resource::CampusUsers => write_all(self.campus_users.rows(), self, &mut text),
            Resource::ProjectsUsers => write_all(self.projects_users.rows(), self, &mut text),
            Resource::AchievementsUsers => {
                write_all(self.achievements_users.rows(), self, &mut text);
            }
            Resource::CoalitionsUsers => write_all(self.coalitions_users.rows(), self, &mut text),
            reference => write_all(self.documents(reference).rows(), self, &mut text),
        }
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The id behind a path segment: an id, a slug or a login.
    pub(crate) fn find(&self, resource: Resource, key: &str) -> Option<i64> {
        if let Ok(id) = key.parse::<i64>() {
            let known = match resource {
                Resource::Users => self.users.get(id).is_some(),
                reference => self.documents(reference).get(id).is_some(),
            };
            return known.then_some(id);
        }
        match resource {
            Resource::Users => {
                let mut users = self.users.rows();
                users.find(|user| user.login() == key).map(Row::id)
            }
            reference => {
                let mut rows = self.documents(reference).rows();
                rows.find(|row| row.slug().as_deref() == Some(key))
                    .map(Row::id)
            }
        }
    }

    fn documents(&self, resource: Resource) -> &Table<Document> {
        match resource {
            Resource::Cursus => &self.cursus,
            Resource::Campus => &self.campus,
            Resource::Projects => &self.projects,
            Resource::Achievements => &self.achievements,
            _ => &self.coalitions,
        }
    }

    fn documents_mut(&mut self, resource: Resource) -> &mut Table<Document> {
        match resource {
            Resource::Cursus => &mut self.cursus,
            Resource::Campus => &mut self.campus,
            Resource::Projects => &mut self.projects,
            Resource::Achievements => &mut self.achievements,
            _ => &mut self.coalitions,
        }
    }

    /// The random source of one part of the world, so that a change in one part leaves the others as they are.
    fn random(&self, part: u64) -> fastrand::Rng {
        let mixed = self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ part.wrapping_mul(0xD1B5);
        fastrand::Rng::with_seed(mixed)
    }

    fn place(&self, user: i64) -> Option<&Places> {
        self.places.get(&user)
    }

    fn in_cursus(&self, user: i64, cursus: i64) -> bool {
        self.place(user)
            .is_some_and(|place| place.cursus.contains(&cursus))
    }

    fn on_campus(&self, user: i64, campus: i64) -> bool {
        self.place(user)
            .is_some_and(|place| place.campuses.contains(&campus))
    }

    /// An active student of the cursus.
    fn any_student(&self, random: &mut fastrand::Rng) -> Option<i64> {
        // Mostly a few tries find one, without a look at everybody.
        for _ in 0..32 {
            let id = self.users.any(random)?;
            let student = self.users.get(id).is_some_and(User::is_active_student);
            if student && self.in_cursus(id, CURSUS) {
                return Some(id);
            }
        }
        random.choice(self.students())
    }

    /// Active students of the cursus, by ascending id.
    fn students(&self) -> Vec<i64> {
        let students = self.users.rows().filter(|user| user.is_active_student());
        let ids = students.map(Row::id);
        ids.filter(|id| self.in_cursus(*id, CURSUS)).collect()
    }

    /// To be called after every change of a join row that says who belongs where, and after every other change too.
    fn reindex(&mut self) {
        let people = self.users.rows().map(|user| (user.id(), Places::default()));
        let mut places: HashMap<i64, Places> = people.collect();
        for row in self.cursus_users.rows() {
            let place = places.entry(row.user_id).or_default();
            place.cursus.push(row.cursus_id);
        }
        for row in self.campus_users.rows() {
            let place = places.entry(row.user_id).or_default();
            place.campuses.push(row.campus_id);
            if row.is_primary {
                place.primary = Some(row.campus_id);
            }
        }
        // Memberships reach far beyond the people who are known.
        for row in self.coalitions_users.rows() {
            if let Some(place) = places.get_mut(&row.user_id) {
                place.coalitions.push(row.coalition_id);
            }
        }
        self.places = places;
        self.version += 1;
    }
}

fn write_all<'a, R: Row + 'a>(rows: impl Iterator<Item = &'a R>, world: &World, out: &mut Vec<u8>) {
    out.push(b'[');
    for (place, row) in rows.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        row.write(world, out);
    }
    out.push(b']');
}

/// Rows by id. Ids are never used twice.
struct Table<R> {
    rows: BTreeMap<i64, R>,
    last: i64,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            last: 0,
        }
    }
}

impl<R: Row> Table<R> {
    fn rows(&self) -> impl DoubleEndedIterator<Item = &R> {
        self.rows.values()
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn get(&self, id: i64) -> Option<&R> {
        self.rows.get(&id)
    }

    fn get_mut(&mut self, id: i64) -> Option<&mut R> {
        self.rows.get_mut(&id)
    }

    fn insert(&mut self, row: R) {
        self.last = self.last.max(row.id());
        self.rows.insert(row.id(), row);
    }

    fn remove(&mut self, id: i64) -> Option<R> {
        self.rows.remove(&id)
    }

    /// An id above every id ever used here.
    fn next_id(&mut self) -> i64 {
        self.last += 1;
        self.last
    }

    /// The id of a row near a random place.
    fn any(&self, random: &mut fastrand::Rng) -> Option<i64> {
        let first = *self.rows.first_key_value()?.0;
        let last = *self.rows.last_key_value()?.0;
        let from = random.i64(first..=last);
        let (id, _) = self.rows.range(from..).next()?;
        Some(*id)
    }

    fn write(&self, id: i64, world: &World, out: &mut Vec<u8>) -> bool {
        let row = self.get(id);
        if let Some(row) = row {
            row.write(world, out);
        }
        row.is_some()
    }
}
