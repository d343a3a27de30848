//! Blocs: which coalitions compete with each other, at which campus and in which cursus, and until when.

use super::given::Given;
use super::row::{Object, object};
use super::stamp::DAY;
use super::{CURSUS, Cell, Made, PISCINE, Row, Stamp, World};
use crate::fields::Resource;

const COALITIONS: usize = 4;

pub(super) fn coalition_ids(bloc: &Row) -> Vec<i64> {
    match bloc.cell("coalition_ids") {
        Some(Cell::Json(ids)) => serde_json::from_str(ids.get()).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn coalitions(row: &Row, world: &World) -> Cell {
    let table = world.table(Resource::Coalitions);
    let rows = coalition_ids(row)
        .into_iter()
        .filter_map(|id| table.get(id));
    rows.map(|coalition| &coalition.shown)
        .collect::<Vec<_>>()
        .into()
}

/// Gives every coalition its bloc: of the piscine for one in four, and of a campus that no list shows for one in twenty.
pub(super) fn fill(world: &mut World, given: &mut Given) {
    let mut random = world.random(15);
    let ids: Vec<i64> = world.table(Resource::Coalitions).ids().collect();
    let campuses: Vec<i64> = world.table(Resource::Campus).ids().collect();
    if !given.fill_as_is(world, Resource::Blocs) && !campuses.is_empty() {
        for (place, coalition_ids) in ids.chunks(COALITIONS).enumerate() {
            let created_at = world.now.plus_micros(-random.i64(400..2_000) * DAY);
            let campus_id = match place % 20 {
                13 => 900 + i64::try_from(place).unwrap_or(0),
                _ => campuses[place % campuses.len()],
            };
            let shown = object! {
                "id": world.table_mut(Resource::Blocs).next_id() + random.i64(0..3),
                "campus_id": campus_id,
                "cursus_id": if place % 4 == 3 { PISCINE } else { CURSUS },
                "squad_size": (place % 9 != 4).then(|| random.i64(20..200)),
                "created_at": created_at,
                "updated_at": created_at,
                "coalitions": coalitions as Made,
            };
            let hidden = object! { "coalition_ids": coalition_ids.to_vec() };
            world
                .table_mut(Resource::Blocs)
                .insert(Row::new(shown, hidden));
        }
    }
    if !given.fill_as_is(world, Resource::BlocDeadlines) {
        let blocs: Vec<i64> = world.table(Resource::Blocs).ids().collect();
        for bloc in blocs {
            for year in 0..random.i64(0..3) {
                let at = world.now.plus_micros(-year * 365 * DAY);
                world.set_deadline_of(bloc, at, &mut random);
            }
        }
    }
}

impl World {
    /// A season of any bloc begins.
    pub(super) fn set_deadline(&mut self, at: Stamp, random: &mut fastrand::Rng) {
        if let Some(bloc) = self.table(Resource::Blocs).any(random) {
            self.set_deadline_of(bloc, at, random);
        }
    }

    fn set_deadline_of(&mut self, bloc_id: i64, at: Stamp, random: &mut fastrand::Rng) {
        let winners = self.table(Resource::Blocs).get(bloc_id).map(coalition_ids);
        let end_at = at.plus_micros(random.i64(-30..300) * DAY);
        let winner = random.choice(winners.unwrap_or_default());
        let winner = winner.filter(|_| end_at <= self.now);
        let table = self.table_mut(Resource::BlocDeadlines);
        let shown = object! {
            "id": table.next_id(),
            "bloc_id": bloc_id,
            "coalition_id": winner,
            "begin_at": end_at.plus_micros(-330 * DAY),
            "end_at": end_at,
            "created_at": at,
            "updated_at": at,
        };
        table.insert(Row::new(shown, Object::default()));
    }
}
