//! The simulated world: every row that the API could show, and who belongs where. Knows nothing of HTTP or of real time.

mod advance;
mod agenda;
mod blocs;
mod cell;
mod enrolments;
mod evaluations;
mod given;
mod locations;
mod milestones;
mod names;
mod patch;
mod people;
mod populate;
mod projects;
mod reference;
mod row;
mod single_changes;
mod stamp;
mod table;
mod undated;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use serde_json::Value;
use serde_json::value::RawValue;

pub(crate) use self::cell::Cell;
use self::cell::Made;
pub(crate) use self::row::{Row, json};
pub(crate) use self::stamp::Stamp;
pub(crate) use self::table::Table;
use super::fields::{self, Flag, Resource};
use super::query::{Query, Scope};
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
    tables: [Table; Resource::ALL.len()],
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
            tables: Default::default(),
            places: HashMap::new(),
        };
        reference::fill(&mut world, &recipe.scale, &mut given);
        let people = people::fill(&mut world, &recipe.scale, &mut given)?;
        populate::fill(&mut world, &recipe.scale, &mut given, &people)?;
        world.reindex();
        Ok(world)
    }

    /// Moves with every change, so that a list that was picked before is known to be stale.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The rows of a resource.
    pub(crate) fn table(&self, resource: Resource) -> &Table {
        &self.tables[resource as usize]
    }

    fn table_mut(&mut self, resource: Resource) -> &mut Table {
        &mut self.tables[resource as usize]
    }

    /// What a query sees in a field of a row: the value that was set, else what follows from others, else its own.
    pub(crate) fn cell<'a>(
        &'a self,
        resource: Resource,
        row: &'a Row,
        field: &str,
    ) -> Cow<'a, Cell> {
        let patch = self.table(resource).patch(row.id);
        if let Some(cell) = patch.and_then(|patch| patch.cell(field)) {
            return Cow::Owned(cell);
        }
        let of = |field: &str| match &*self.cell(resource, row, field) {
            Cell::Time(at) => (true, Some(*at > self.now)),
            Cell::Null => (false, None),
            _ => (true, None),
        };
        Cow::Owned(Cell::Bool(match fields::flag(resource, field) {
            None => return self.own_cell(resource, row, field),
            Some(Flag::Given(field)) => of(field).0,
            Some(Flag::Absent(field)) => !of(field).0,
            Some(Flag::Past(field)) => of(field).1 == Some(false),
            Some(Flag::Future(field)) => of(field).1 == Some(true),
            Some(Flag::NotPast(field)) => of(field).1 != Some(false),
        }))
    }

    fn own_cell<'a>(&self, resource: Resource, row: &'a Row, field: &str) -> Cow<'a, Cell> {
        let home = |user| self.place(user).and_then(|place| place.primary);
        let nested = |key: &str, field: &str| {
            let nested: Option<Value> = row.get(key);
            nested.map_or(Cell::Null, |nested| Cell::read(field, &nested[field]))
        };
        let field = match (resource, field) {
            (Resource::CoalitionsUsers, "this_year_score") => "score",
            (Resource::CoalitionsUsers, "this_year_score_updated_at") => "updated_at",
            _ => field,
        };
        Cow::Owned(match (resource, field) {
            (_, "id") => Cell::Int(row.id),
            (Resource::Users, "primary_campus_id") => home(row.id).into(),
            (Resource::Users, "image") => nested("image", "link"),
            (Resource::CursusUsers, "campus_id") => home(row.key("user_id")).into(),
            (Resource::ProjectsUsers | Resource::Titles | Resource::TitlesUsers, "shuffle") => {
                let mut hasher = DefaultHasher::new();
                (
                    row.id,
                    row.time("updated_at")
                        .map(Stamp::micros)
                        .unwrap_or_default(),
                )
                    .hash(&mut hasher);
                Cell::Int(hasher.finish().cast_signed())
            }
            (Resource::CoalitionsUsers, "this_year_score_updated") => {
                Cell::Bool(row.time("updated_at") > row.time("created_at"))
            }
            _ => match row.cell(field) {
                Some(Cell::Made(make)) => make(row, self),
                Some(Cell::Json(raw)) => {
                    let value = serde_json::from_str(raw.get()).unwrap_or_default();
                    Cell::read(field, &value)
                }
                Some(cell) => return Cow::Borrowed(cell),
                // Hidden rows are not shown to an application without a role.
                None if field == "visible" => Cell::Bool(true),
                None => field
                    .strip_suffix("_id")
                    .map_or(Cell::Null, |key| nested(key, "id")),
            },
        })
    }

    /// The ids in a field of which a row has several: where the person is, whom it is about.
    pub(crate) fn several(&self, resource: Resource, row: &Row, field: &str) -> Option<&[i64]> {
        let user = match resource {
            Resource::ProjectsUsers | Resource::QuestsUsers => "user_id",
            Resource::ScaleTeams => "corrected",
            _ => return None,
        };
        let place = || self.place(row.key(user));
        match field {
            "cursus" | "cursus_id" => Some(place().map_or(&[], |place| &place.cursus)),
            "campus" | "campus_id" => Some(place().map_or(&[], |place| &place.campuses)),
            _ => None,
        }
    }

    /// Whether a path that lists this part of a resource lists the row.
    pub(crate) fn lists(&self, resource: Resource, row: &Row, scope: Scope) -> bool {
        let is_seen = self.staff
            || match resource {
                Resource::Users => !people::is_anonymised(row),
                Resource::Exams => agenda::is_visible(row),
                _ => true,
            };
        let (parent, id) = match scope {
            Scope::All => return is_seen,
            Scope::Of(parent, id) => (parent, id),
            Scope::Both((one, id), (other, other_id)) => {
                return self.lists(resource, row, Scope::Of(one, id))
                    && self.lists(resource, row, Scope::Of(other, other_id));
            }
        };
        let has = |field| row.int(field) == Some(id);
        match (resource, parent) {
            (Resource::Users, parent) => {
                let holds = |place: &Places| match parent {
                    Resource::Cursus => place.cursus.contains(&id),
                    Resource::Campus => place.campuses.contains(&id),
                    _ => place.coalitions.contains(&id),
                };
                is_seen && self.place(row.id).is_some_and(holds)
            }
            (Resource::Projects, _) => {
                let cursus: Vec<Value> = row.get("cursus").unwrap_or_default();
                cursus.iter().any(|cursus| cursus["id"] == id)
            }
            (Resource::Achievements, _) => {
                let names: Vec<String> = row.get("campus").unwrap_or_default();
                let campus = self.table(parent).get(id);
                campus.is_some_and(|campus| names.contains(&reference::name(campus)))
            }
            (Resource::Events | Resource::Exams, _) => is_seen && agenda::is_of(row, parent, id),
            (Resource::Coalitions, Resource::Blocs) => {
                let bloc = self.table(parent).get(id);
                bloc.is_some_and(|bloc| blocs::coalition_ids(bloc).contains(&row.id))
            }
            (Resource::ScaleTeams, Resource::Users) => has("user_id") || has("corrected"),
            (_, Resource::Events) => has("event_id"),
            (_, Resource::Blocs) => has("bloc_id"),
            (_, Resource::Titles) => has("title_id"),
            (_, Resource::Cursus) => has("cursus_id"),
            (_, Resource::Campus) => has("campus_id"),
            (_, Resource::Projects) => has("project_id"),
            (_, Resource::Achievements) => has("achievement_id"),
            (_, Resource::Coalitions) => has("coalition_id"),
            _ => has("user_id"),
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

    /// A person as other rows nest them, with the values that were set.
    fn nested_user(&self, id: i64) -> Cell {
        let mut text = Vec::new();
        self.table(Resource::Users).write(id, self, &mut text);
        let text = String::from_utf8(text).unwrap_or_default();
        RawValue::from_string(text).map_or(Cell::Null, Cell::Json)
    }

    /// One user as `/v2/users/:id` shows it: the list row, then its campuses and cursus.
    pub(crate) fn write_profile(&self, id: i64, out: &mut Vec<u8>) {
        if !self.table(Resource::Users).write(id, self, out) {
            return;
        }
        out.pop();
        let query = Query::of(Scope::Of(Resource::Users, id));
        for resource in [Resource::CursusUsers, Resource::CampusUsers] {
            out.extend_from_slice(format!(",\"{resource}\":").as_bytes());
            let ids = query.pick(resource, self);
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
            Resource::Projects => Scope::Of(Resource::Cursus, CURSUS),
            _ => Scope::All,
        };
        let ids = Query::of(scope).pick(resource, self);
        let mut text = Vec::new();
        self.write_all(resource, &ids, &mut text);
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The id behind a path segment: an id, a slug or a login.
    pub(crate) fn find(&self, resource: Resource, key: &str) -> Option<i64> {
        let table = self.table(resource);
        let is_shown = |row: &&Row| self.lists(resource, row, Scope::All);
        if let Ok(id) = key.parse::<i64>() {
            return table.get(id).filter(is_shown).map(|row| row.id);
        }
        let name = match resource {
            Resource::Users => "login",
            _ => "slug",
        };
        let mut rows = table.rows().filter(is_shown);
        let found = rows.find(|row| row.get::<String>(name).as_deref() == Some(key));
        found.map(|row| row.id)
    }

    /// The random source of one part of the world, so that a change in one part does not change the others.
    fn random(&self, part: u64) -> fastrand::Rng {
        let mixed = self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ part.wrapping_mul(0xD1B5);
        fastrand::Rng::with_seed(mixed)
    }

    fn place(&self, user: i64) -> Option<&Places> {
        self.places.get(&user)
    }

    /// An active student of the cursus.
    fn is_student(&self, user: &Row) -> bool {
        let in_cursus = |place: &Places| place.cursus.contains(&CURSUS);
        people::is_active_student(user) && self.place(user.id).is_some_and(in_cursus)
    }

    fn any_student(&self, random: &mut fastrand::Rng) -> Option<i64> {
        let users = self.table(Resource::Users);
        users.any_that(random, |user| self.is_student(user))
    }

    /// By ascending id.
    fn students(&self) -> Vec<i64> {
        let users = self.table(Resource::Users).rows();
        let students = users.filter(|user| self.is_student(user));
        students.map(|user| user.id).collect()
    }

    /// Must be called after every change.
    fn reindex(&mut self) {
        let people = self.table(Resource::Users).ids();
        let mut places: HashMap<i64, Places> = people.map(|id| (id, Places::default())).collect();
        for row in self.table(Resource::CursusUsers).rows() {
            let place = places.entry(row.key("user_id")).or_default();
            place.cursus.push(row.key("cursus_id"));
        }
        for row in self.table(Resource::CampusUsers).rows() {
            let place = places.entry(row.key("user_id")).or_default();
            let campus = row.key("campus_id");
            place.campuses.push(campus);
            if row.flag("is_primary") {
                place.primary = Some(campus);
            }
        }
        // Memberships reach far beyond the people who are known.
        for row in self.table(Resource::CoalitionsUsers).rows() {
            if let Some(place) = places.get_mut(&row.key("user_id")) {
                place.coalitions.push(row.key("coalition_id"));
            }
        }
        self.places = places;
        self.version += 1;
    }
}
