//! Makes projects, each with its sessions and a full copy of every campus that offers it.

use super::names::{self, HOST};
use super::people::between;
use super::reference::{ids, nested_campuses};
use super::row::{Object, object};
use super::stamp::DAY;
use super::{CURSUS, Cell, PISCINE, Row, Stamp, World};
use crate::fields::Resource;

/// The last session id of a made-up project leaves room for sessions added later.
pub(super) const SESSIONS_A_PROJECT: i64 = 64;

/// `count` projects of cursus 21, and some of other cursus, in the order of the API.
pub(super) fn projects(world: &World, count: usize) -> Vec<Object> {
    let mut random = world.random(3);
    let all = count + count.div_ceil(20);
    let ids = ids(&mut random, all, &[]);
    let links: Vec<Object> = ids.iter().map(|id| link(&mut random, *id)).collect();
    let mut outside: Vec<bool> = (0..all).map(|place| place >= count).collect();
    random.shuffle(&mut outside);
    let parents: Vec<Option<usize>> = (0..all)
        .map(|place| (place > 5 && random.u8(..4) == 0).then(|| random.usize(..place)))
        .collect();
    let mut children = vec![Vec::new(); all];
    for (child, parent) in parents.iter().enumerate() {
        if let Some(parent) = parent {
            children[*parent].push(links[child].clone());
        }
    }
    let campuses = nested_campuses(world, &mut random);
    let campus_ids: Vec<i64> = world.table(Resource::Campus).ids().collect();
    let every = world.table(Resource::Cursus);
    let others: Vec<&Row> = every.rows().filter(|row| row.id != CURSUS).collect();

    let mut rows = Vec::with_capacity(all);
    for (place, (own, id)) in links.iter().zip(ids).enumerate() {
        let created_at = world.now.plus_micros(-random.i64(60 * DAY..2_600 * DAY));
        let updated_at = between(&mut random, created_at, world.now);
        let mut offered: Vec<&Object> = campuses.iter().collect();
        random.shuffle(&mut offered);
        let most = offered.len().min(if random.u8(..8) == 0 { 60 } else { 9 });
        offered.truncate(random.usize(..=most));
        let mut cursus = Vec::new();
        if outside[place] {
            cursus.extend(every.get(PISCINE).or_else(|| others.first().copied()));
        } else {
            cursus.extend(every.get(CURSUS));
            if random.u8(..6) == 0 {
                cursus.extend(random.choice(others.iter().copied()));
            }
        }
        let git = random.bool().then(|| id + 40);
        let mut sessions = random.i64(1..6);
        if random.u8(..25) == 0 {
            sessions = 0;
        }
        let name: String = own.get("name").unwrap_or_default();
        let project = object! {
            "id": id,
            "name": name.clone(),
            "slug": own.get::<String>("slug"),
            "difficulty": (random.u8(..11) > 0).then(|| random.i64(0..42_000)),
            "parent": match parents[place] {
                Some(parent) => Some(links[parent].clone()),
                // A parent that no list shows.
                None if random.u8(..15) == 0 => Some(link(&mut random, id + 500_000)),
                None => None,
            },
            "children": children[place].clone(),
            "attachments": Vec::<i64>::new(),
            "created_at": created_at,
            "updated_at": updated_at,
            "exam": name.starts_with("Exam"),
            "git_id": git,
            "repository": git.map(|git| git.to_string()),
            "recommendation": "forbidden",
            "cursus": cursus.iter().map(|cursus| &cursus.shown).collect::<Vec<_>>(),
            "campus": offered,
            "videos": Vec::<i64>::new(),
            "project_sessions": (0..sessions)
                .map(|number| {
                    let campus = (number > 0).then(|| campus_of(&campus_ids, &mut random));
                    let session_id = id * SESSIONS_A_PROJECT + number;
                    session(&mut random, session_id, id, campus, (created_at, world.now))
                })
                .collect::<Vec<_>>(),
        };
        rows.push((random.u8(..60), id, project));
    }
    rows.sort_by_key(|(position, id, _)| (*position, -id));
    rows.into_iter().map(|(_, _, row)| row).collect()
}

fn campus_of(campuses: &[i64], random: &mut fastrand::Rng) -> i64 {
    if random.u8(..8) == 0 {
        // A campus that no list shows.
        return 900 + random.i64(0..9);
    }
    random.choice(campuses).copied().unwrap_or(1)
}

fn link(random: &mut fastrand::Rng, id: i64) -> Object {
    let word = random.choice(names::PROJECT_WORDS).copied();
    let name = format!("{} {:02}", word.unwrap_or_default(), id % 100);
    let slug = name.to_lowercase().replace([' ', '_'], "-");
    object! {
        "name": name,
        "id": id,
        "slug": format!("42cursus-{slug}-{id}"),
        "url": format!("{HOST}/v2/projects/42cursus-{slug}-{id}"),
    }
}

/// A session; one without a campus is the default of its project.
pub(super) fn session(
    random: &mut fastrand::Rng,
    id: i64,
    project_id: i64,
    campus_id: Option<i64>,
    (from, until): (Stamp, Stamp),
) -> Object {
    let created_at = between(random, from, until);
    let begin_at = (random.u8(..3) == 0).then(|| created_at.plus_micros(9 * DAY));
    let behaviours = ["user", "upload", "by_rule", "none"];
    let solo = random.bool();
    object! {
        "id": id,
        "solo": solo,
        "begin_at": begin_at,
        "end_at": begin_at.map(|begin| begin.plus_micros(random.i64(1..90) * DAY)),
        "estimate_time": (random.u8(..9) > 0).then(|| match random.i64(1..90) {
            hours @ 48.. => format!("{hours} hours"),
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        }),
        "difficulty": (random.u8(..7) > 0).then(|| random.i64(0..42_000)),
        "objectives": match random.u8(..5) {
            0 => Cell::Null,
            1 => Vec::<i64>::new().into(),
            _ => vec!["Unix logic", "\"Quotes\", commas, {braces}"].into(),
        },
        "description": match random.u8(..8) {
            0 => None,
            1 => Some(""),
            _ => Some("Write it yourself.\nThen explain it: it's \\worth\\ it."),
        },
        "duration_days": (random.u8(..4) == 0).then(|| random.i64(1..60)),
        "terminating_after": (random.u8(..6) == 0).then(|| random.i64(1..60)),
        "project_id": project_id,
        "campus_id": campus_id,
        "cursus_id": campus_id.map(|_| CURSUS),
        "created_at": created_at,
        "updated_at": between(random, created_at, until),
        "max_people": (!solo).then(|| random.i64(2..6)),
        "is_subscriptable": random.bool(),
        "scales": (0..random.i64(0..3))
            .map(|number| object! {
                "id": id * 4 + number,
                "correction_number": random.i64(1..4),
                "is_primary": number == 0,
            })
            .collect::<Vec<_>>(),
        "uploads": if random.u8(..10) == 0 {
            vec![object! { "id": id + 7, "name": "Moulinette" }]
        } else {
            Vec::new()
        },
        "team_behaviour": random.choice(behaviours),
        "commit": random.bool().then(|| format!("{:040x}", random.u128(..))),
    }
}
