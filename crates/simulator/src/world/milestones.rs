//! What people reach beside projects: the quests of the curriculum, and titles before or after a login.

use super::given::Given;
use super::people::{births, nested_user};
use super::row::{Object, object};
use super::stamp::DAY;
use super::{CURSUS, Cell, Made, Row, Stamp, World};
use crate::fields::Resource;

const QUESTS: [(i64, &str); 8] = [
    (37, "Common Core"),
    (44, "Common Core Rank 00"),
    (45, "Common Core Rank 01"),
    (46, "Common Core Rank 02"),
    (47, "Common Core Rank 03"),
    (48, "Common Core Rank 04"),
    (49, "Common Core Rank 05"),
    (50, "Common Core Rank 06"),
];

/// Titles that nobody need have.
const TITLES: i64 = 120;

fn quest(row: &Row, world: &World) -> Cell {
    let id = row.key("quest_id");
    let position = QUESTS.iter().position(|(quest, _)| *quest == id);
    let begin = world.now.plus_micros(-6 * 365 * DAY);
    let begin = Stamp::from_micros(begin.micros() - begin.micros() % DAY);
    let quest = position.map(|position| {
        let name = QUESTS[position].1;
        let slug = name.to_lowercase().replace(' ', "-");
        object! {
            "id": id,
            "name": name,
            "slug": slug.clone(),
            "kind": "main",
            "internal_name": slug,
            "description": "Reach it; it's \"worth\" it.",
            "cursus_id": CURSUS,
            "campus_id": Cell::Null,
            "created_at": begin,
            "updated_at": begin,
            "grade_id": Cell::Null,
            "position": i64::try_from(position).unwrap_or(0),
        }
    });
    quest.into()
}

pub(super) fn fill(world: &mut World, given: &mut Given) {
    let mut random = world.random(16);
    let students = world.students();
    let from = world.now.plus_micros(-900 * DAY);
    if !given.fill_as_is(world, Resource::QuestsUsers) {
        world.table_mut(Resource::QuestsUsers).last = 300_000;
        for created_at in births(&mut random, students.len() * 3, from, world.now) {
            world.begin_quest(created_at, &mut random);
        }
    }
    if !given.fill_as_is(world, Resource::Titles) {
        for number in 0..TITLES {
            let table = world.table_mut(Resource::Titles);
            let shown = object! {
                "id": table.next_id(),
                "name": if number % 3 == 0 {
                    format!("%login, master N°{number}")
                } else {
                    format!("The \"{number}th\" %login")
                },
            };
            table.insert(Row::new(shown, Object::default()));
        }
    }
    if !given.fill_as_is(world, Resource::TitlesUsers) {
        for at in births(&mut random, students.len(), from, world.now) {
            world.give_title(at, &mut random);
        }
    }
}

impl World {
    /// A student begins a quest; some have reached it at once.
    pub(super) fn begin_quest(&mut self, at: Stamp, random: &mut fastrand::Rng) {
        let Some(user_id) = self.any_student(random) else {
            return;
        };
        let (quest_id, _) = QUESTS[random.usize(..QUESTS.len())];
        let validated_at = (random.u8(..3) > 0).then_some(at);
        let table = self.table_mut(Resource::QuestsUsers);
        let shown = object! {
            "id": table.next_id(),
            "end_at": (random.u8(..4) == 0).then(|| at.plus_micros(400 * DAY)),
            "quest_id": quest_id,
            "validated_at": validated_at,
            "prct": (random.u8(..4) == 0).then(|| random.i64(0..100)),
            "advancement": Cell::Null,
            "created_at": at,
            "updated_at": at,
            "user": nested_user as Made,
            "quest": quest as Made,
        };
        table.insert(Row::new(shown, object! { "user_id": user_id }));
    }

    /// Somebody receives a title.
    pub(super) fn give_title(&mut self, at: Stamp, random: &mut fastrand::Rng) {
        let user = self.table(Resource::Users).any(random);
        let title = self.table(Resource::Titles).any(random);
        let (Some(user_id), Some(title_id)) = (user, title) else {
            return;
        };
        let table = self.table_mut(Resource::TitlesUsers);
        let shown = object! {
            "id": table.next_id(),
            "user_id": user_id,
            "title_id": title_id,
            "selected": random.bool(),
            "created_at": at,
            "updated_at": at,
        };
        table.insert(Row::new(shown, Object::default()));
    }
}
