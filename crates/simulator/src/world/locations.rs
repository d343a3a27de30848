//! Who sat where and when: sessions on the machines of a campus. They show no `updated_at`, and some never end.

use super::people::{births, nested_user, seat};
use super::row::{Object, object};
use super::stamp::DAY;
use super::{Cell, Made, Row, Stamp, World};
use crate::fields::Resource;

/// Sessions of an active student in a day.
pub(super) const SESSIONS_A_DAY: f64 = 1.5;

/// Days of sessions at the start.
const DAYS: i64 = 8;

/// A row whose session ends then, also if that is still to come; never without an end.
pub(super) fn location(mut shown: Object, user_id: i64, until: Option<Stamp>) -> Row {
    let end_at: Made = |row, world| row.time("until").filter(|end| *end <= world.now).into();
    shown.set("end_at", end_at);
    shown.set("user", nested_user as Made);
    Row::new(shown, object! { "user_id": user_id, "until": until })
}

/// The sessions of the last days.
pub(super) fn fill(world: &mut World) {
    let mut random = world.random(12);
    let from = world.now.plus_micros(-DAYS * DAY);
    let students = world.students().len();
    let count = students * 3 / 2 * usize::try_from(DAYS).unwrap_or(0);
    world.table_mut(Resource::Locations).last = 20_000_000;
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
        let Some(campus_id) = home.or_else(|| self.table(Resource::Campus).any(random)) else {
            return;
        };
        let is_endless = random.f64() < self.undated.endless_locations;
        let lasts = random.i64(DAY / 144..DAY / 2);
        let (host, primary) = (seat(random), random.u8(..20) > 0);
        let table = self.table_mut(Resource::Locations);
        let shown = object! {
            "end_at": Cell::Null,
            "id": table.next_id(),
            "begin_at": begin_at,
            "primary": primary,
            "host": host,
            "campus_id": campus_id,
        };
        let until = (!is_endless).then(|| begin_at.plus_micros(lasts));
        table.insert(location(shown, user_id, until));
    }
}
