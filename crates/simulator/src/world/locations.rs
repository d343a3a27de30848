//! Who sat where and when: sessions on the machines of a campus. They show no `updated_at`, and some never end.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::object::write_json;
use super::people::{births, seat};
use super::stamp::DAY;
use super::{Stamp, World};
use crate::query::{Cell, Flag, Row, Scope};

/// A session.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    pub(crate) id: i64,
    pub(crate) user_id: i64,
    pub(crate) campus_id: i64,
    pub(crate) host: String,
    pub(crate) primary: bool,
    pub(crate) begin_at: Stamp,
    /// When it ends, also if that is still to come; never if absent.
    pub(crate) until: Option<Stamp>,
}

/// Sessions of an active student in a day.
pub(super) const SESSIONS_A_DAY: f64 = 0.75;

/// Days of sessions at the start.
const DAYS: i64 = 8;

impl Location {
    fn end_at(&self, world: &World) -> Option<Stamp> {
        self.until.filter(|end| *end <= world.now)
    }
}

impl Row for Location {
    fn id(&self) -> i64 {
        self.id
    }

    fn cell<'a>(&'a self, field: &str, world: &'a World) -> Cell<'a> {
        match field {
            "id" => Cell::Int(self.id),
            "user_id" => Cell::Int(self.user_id),
            "campus_id" => Cell::Int(self.campus_id),
            "begin_at" => Cell::Time(self.begin_at),
            "end_at" => Cell::time(self.end_at(world)),
            "primary" => Cell::Bool(self.primary),
            "host" => Cell::Text(Cow::Borrowed(&self.host)),
            _ => Cell::Null,
        }
    }

    fn flag(field: &str) -> Option<Flag> {
        match field {
            "active" => Some(Flag::Absent("end_at")),
            "inactive" | "end" => Some(Flag::Given("end_at")),
            "future" => Some(Flag::Future("begin_at")),
            _ => None,
        }
    }

    fn inside(&self, scope: Scope, _: &World) -> bool {
        match scope {
            Scope::All => true,
            Scope::Campus(id) => self.campus_id == id,
            Scope::User(id) => self.user_id == id,
            _ => false,
        }
    }

    fn write(&self, world: &World, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Shown<'a> {
            end_at: Option<Stamp>,
            id: i64,
            begin_at: Stamp,
            primary: bool,
            host: &'a str,
            campus_id: i64,
            user: Option<Cow<'a, RawValue>>,
        }
        let shown = Shown {
            end_at: self.end_at(world),
            id: self.id,
            begin_at: self.begin_at,
            primary: self.primary,
            host: &self.host,
            campus_id: self.campus_id,
            user: world.nested_user(self.user_id),
        };
        write_json(&shown, out);
    }
}

/// The sessions of the last days.
pub(super) fn fill(world: &mut World) {
    let mut random = world.random(12);
    let from = world.now.plus_micros(-DAYS * DAY);
    let students = world.students().len();
    let count = students * 3 / 4 * usize::try_from(DAYS).unwrap_or(0);
    world.locations.last = 20_000_000;
    for begin_at in births(&mut random, count, from, world.now) {
        world.sit_down(begin_at, &mut random);
    }
}

impl World {
    /// A student sits down, for some time or for ever.
    pub(super) fn sit_down(&mut self, begin_at: Stamp, random: &mut fastrand::Rng) {
        let Some(user_id) = self.any_student(random) else {
            return;
        };
        let home = self.place(user_id).and_then(|place| place.primary);
        let Some(campus_id) = home.or_else(|| self.campus.any(random)) else {
            return;
        };
        let is_endless = random.f64() < self.undated.endless_locations;
        let lasts = random.i64(DAY / 144..DAY / 2);
        let row = Location {
            id: self.locations.next_id(),
            user_id,
            campus_id,
            host: seat(random),
            primary: random.u8(..20) > 0,
            begin_at,
            until: (!is_endless).then(|| begin_at.plus_micros(lasts)),
        };
        self.locations.insert(row);
    }
}
