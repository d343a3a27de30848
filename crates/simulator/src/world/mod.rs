//! The simulated world: every row that the API could show, and who belongs where. Knows nothing of HTTP or of real time.

mod advance;
mod changes;
mod document;
mod enrolment;
mod evaluations;
mod given;
mod joins;
mod locations;
mod names;
mod object;
mod patch;
mod people;
mod populate;
mod projects;
mod reference;
mod stamp;
mod table;
mod undated;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use serde_json::Value;
use serde_json::value::RawValue;

use self::document::Document;
use self::enrolment::Enrolment;
use self::evaluations::Evaluation;
use self::joins::{CampusUser, CursusUser, Earned, Membership};
use self::locations::Location;
pub(crate) use self::object::json;
pub(crate) use self::patch::Patch;
use self::people::User;
pub(crate) use self::stamp::Stamp;
pub(crate) use self::table::{Rows, Table};
use super::fields::Resource;
use super::query::{Query, Row, Scope};
use super::{Scale, SimulateError, Undated};

/// The cursus whose students, projects and enrolments the scale counts.
pub(crate) const CURSUS: i64 = 21;

/// The cursus that comes before it: people of it only must be filtered out.
const PISCINE: i64 = 9;

/// All rows, as they are now.
pub(crate) struct World {
    seed: u64,
    undated: Undated,
    staff: bool,
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
    locations: Table<Location>,
    scale_teams: Table<Evaluation>,
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
    pub(crate) undated: Undated,
    /// The client may see what only staff may.
    pub(crate) staff: bool,
    pub(crate) now: Stamp,
}

impl World {
    /// Builds a world; reads the given rows, and makes up the rest around them.
    pub(crate) fn build(recipe: &Recipe<'_>) -> Result<Self, SimulateError> {
        let mut given = given::Given::read(recipe.rows)?;
        let mut world = Self {
            seed: recipe.seed,
            undated: recipe.undated,
            staff: recipe.staff,
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
            locations: Table::default(),
            scale_teams: Table::default(),
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

    /// The simulated time of the last change.
    pub(crate) fn now(&self) -> Stamp {
        self.now
    }

    /// The rows of a resource.
    pub(crate) fn table(&self, resource: Resource) -> &dyn Rows {
        match resource {
            Resource::Users => &self.users,
            Resource::CursusUsers => &self.cursus_users,
            Resource::CampusUsers => &self.campus_users,
            Resource::ProjectsUsers => &self.projects_users,
            Resource::AchievementsUsers => &self.achievements_users,
            Resource::CoalitionsUsers => &self.coalitions_users,
            Resource::Locations => &self.locations,
            Resource::ScaleTeams => &self.scale_teams,
            reference => self.documents(reference),
        }
    }

    fn table_mut(&mut self, resource: Resource) -> &mut dyn Rows {
        match resource {
            Resource::Users => &mut self.users,
            Resource::CursusUsers => &mut self.cursus_users,
            Resource::CampusUsers => &mut self.campus_users,
            Resource::ProjectsUsers => &mut self.projects_users,
            Resource::AchievementsUsers => &mut self.achievements_users,
            Resource::CoalitionsUsers => &mut self.coalitions_users,
            Resource::Locations => &mut self.locations,
            Resource::ScaleTeams => &mut self.scale_teams,
            reference => self.documents_mut(reference),
        }
    }

    /// Sets a field of a row, or takes it away, and moves no date; `false` where there is no such row.
    pub(crate) fn set_field(
        &mut self,
        resource: Resource,
        id: i64,
        field: &str,
        value: Option<Value>,
    ) -> bool {
        self.version += 1;
        self.table_mut(resource).set(id, field, value)
    }

    /// A person as other rows nest them.
    fn nested_user(&self, id: i64) -> Option<Cow<'_, RawValue>> {
        let text = self.users.get(id)?.text();
        Some(match self.users.patch(id) {
            Some(patch) => Cow::Owned(patch.apply_raw(text)),
            None => Cow::Borrowed(text),
        })
    }

    /// One user as `/v2/users/:id` shows it: the list row, then its campuses and cursus.
    pub(crate) fn write_profile(&self, id: i64, out: &mut Vec<u8>) {
        if !self.users.write(id, self, out) {
            return;
        }
        out.pop();
        let query = Query::of(Scope::User(id));
        for resource in [Resource::CursusUsers, Resource::CampusUsers] {
            out.extend_from_slice(format!(",\"{resource}\":").as_bytes());
            let ids = self.table(resource).pick(&query, self);
            self.write_all(resource, &ids, out);
        }
        out.push(b'}');
    }

    /// Appends rows as an array.
    pub(crate) fn write_all(&self, resource: Resource, ids: &[i64], out: &mut Vec<u8>) {
        let table = self.table(resource);
        out.push(b'[');
        for (place, id) in ids.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            table.write(*id, self, out);
        }
        out.push(b']');
    }

    /// Every row of a resource by ascending id, as the API would show it. Projects are those of cursus 21.
    pub(crate) fn rows(&self, resource: Resource) -> Vec<Value> {
        let scope = match resource {
            Resource::Projects => Scope::Cursus(CURSUS),
            _ => Scope::All,
        };
        let ids = self.table(resource).pick(&Query::of(scope), self);
        let mut text = Vec::new();
        self.write_all(resource, &ids, &mut text);
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The id behind a path segment: an id, a slug or a login.
    pub(crate) fn find(&self, resource: Resource, key: &str) -> Option<i64> {
        let is_shown = |user: &&User| user.inside(Scope::All, self);
        if let Ok(id) = key.parse::<i64>() {
            return match resource {
                Resource::Users => self.users.get(id).filter(is_shown).map(Row::id),
                other => self.table(other).contains(id).then_some(id),
            };
        }
        match resource {
            Resource::Users => {
                let mut users = self.users.rows().filter(is_shown);
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
        self.users.any_that(random, |user| {
            user.is_active_student() && self.in_cursus(user.id(), CURSUS)
        })
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
