//! Makes the reference data: cursus, campuses, projects with their sessions, achievements, coalitions, with the dirt of the real ones.

use super::given::Given;
use super::names::{self, HOST};
use super::people::between;
use super::row::{Object, object};
use super::stamp::DAY;
use super::{CURSUS, PISCINE, Row, Stamp, World, projects};
use crate::Scale;
use crate::fields::Resource;

pub(super) fn fill(world: &mut World, scale: &Scale, given: &mut Given) {
    type Make = fn(&World, usize) -> Vec<Object>;
    for (resource, make, count) in [
        (Resource::Cursus, cursus as Make, scale.cursus),
        (Resource::Campus, campuses, scale.campuses),
        (Resource::Projects, projects::projects, scale.projects),
        (Resource::Achievements, achievements, scale.achievements),
        (Resource::Coalitions, coalitions, scale.coalitions),
    ] {
        let rows = given.take(resource);
        let rows = rows.unwrap_or_else(|| make(world, count));
        keep(world, resource, rows);
    }
}

pub(super) fn name(row: &Row) -> String {
    row.get("name").unwrap_or_default()
}

pub(super) fn parent_id(row: &Row) -> Option<i64> {
    row.get::<serde_json::Value>("parent")?["id"].as_i64()
}

/// Stores rows, whose order is that of the API; what they do not show (times, positions) is made up.
fn keep(world: &mut World, resource: Resource, rows: Vec<Object>) {
    let mut random = world.random(100 + rows.len() as u64);
    let begin = world.now.plus_micros(-8 * 365 * DAY).micros();
    let ids = rows.iter().filter_map(|row| row.get::<i64>("id"));
    let last = ids.max().unwrap_or(0).max(1);
    let step = (world.now.micros() - begin - 30 * DAY) / (last + 1);
    for (position, row) in (0_i64..).zip(rows) {
        let id: i64 = row.get("id").unwrap_or_default();
        let created_at = row.get("created_at");
        let created_at = created_at.unwrap_or_else(|| Stamp::from_micros(begin + step * id));
        let updated_at = row.get("updated_at");
        let updated_at = updated_at.unwrap_or_else(|| between(&mut random, created_at, world.now));
        let hidden = object! {
            "created_at": created_at,
            "updated_at": updated_at,
            "position": position,
        };
        world.table_mut(resource).insert(Row::new(row, hidden));
    }
}

/// `count` ascending ids with gaps, the wanted ones among them.
pub(super) fn ids(random: &mut fastrand::Rng, count: usize, wanted: &[i64]) -> Vec<i64> {
    let mut ids: Vec<i64> = wanted.iter().copied().take(count).collect();
    let mut id = 0;
    while ids.len() < count {
        id += random.i64(1..4);
        if !wanted.contains(&id) {
            ids.push(id);
        }
    }
    ids.sort_unstable();
    ids
}

fn cursus(world: &World, count: usize) -> Vec<Object> {
    let mut random = world.random(1);
    let begin = world.now.plus_micros(-9 * 365 * DAY);
    let kinds = [
        "main",
        "piscine",
        "external",
        "professional_training",
        "piscine_community",
        "test",
        "main_deprecated",
        "piscine_deprecated",
    ];
    let ids = ids(&mut random, count, &[CURSUS, PISCINE]);
    let rows = ids.into_iter().rev().map(|id| {
        let (name, slug, kind) = match id {
            CURSUS => ("42cursus".to_owned(), "42cursus".to_owned(), "main"),
            PISCINE => ("C Piscine".to_owned(), "c-piscine".to_owned(), "piscine"),
            _ => {
                let kind = random.choice(kinds).unwrap_or("main");
                (format!("Course N°{id}"), format!("course-n-{id}"), kind)
            }
        };
        object! {
            "id": id,
            "created_at": begin.plus_micros(id * 11 * DAY + id * 1_234_567),
            "name": name,
            "slug": slug,
            "kind": kind,
        }
    });
    rows.collect()
}

const LANGUAGES: [(i64, &str, &str); 4] = [
    (1, "Français", "fr"),
    (2, "English", "en"),
    (11, "Spanish", "es"),
    (17, "Brazilian Portuguese", "pt_br"),
];

fn language(place: usize) -> Object {
    let (id, name, identifier) = LANGUAGES[place % LANGUAGES.len()];
    object! { "id": id, "name": name, "identifier": identifier }
}

fn campus(random: &mut fastrand::Rng, id: i64, place: usize, now: Stamp) -> Object {
    let (city, country, time_zone) = names::CITIES[place % names::CITIES.len()];
    let quarter = match place / names::CITIES.len() {
        0 => String::new(),
        1 => "New ".to_owned(),
        2 => "Upper ".to_owned(),
        more => format!("{more}. "),
    };
    let host = format!("campus-{id}.example");
    let created_at = now.plus_micros(-random.i64(400..2_500) * DAY);
    object! {
        "id": id,
        "name": format!("{quarter}{city}"),
        "time_zone": time_zone,
        "language": language(place),
        "users_count": random.i64(2..12_000),
        "vogsphere_id": (place % 9 != 5).then_some(id - 1),
        "country": country,
        "address": format!("{} Rue de l'École, \"Bât. B\"", random.u8(1..200)),
        "zip": format!("0{:04}", random.u16(..10_000)),
        "city": city,
        "website": format!("https://{host}/"),
        "facebook": "",
        "twitter": if place.is_multiple_of(3) {
            format!("https://social.example/{id}")
        } else {
            String::new()
        },
        "active": true,
        "public": true,
        "email_extension": (place % 7 != 3).then(|| host.clone()),
        "default_hidden_phone": random.bool(),
        "endpoint": (place % 8 != 6).then(|| object! {
            "id": id + 4,
            "url": format!("https://endpoint.{host}:4000"),
            "description": format!("Endpoint {city}"),
            "created_at": created_at,
            "updated_at": between(random, created_at, now),
        }),
    }
}

fn campuses(world: &World, count: usize) -> Vec<Object> {
    let mut random = world.random(2);
    let ids = ids(&mut random, count, &[1]);
    let rows = ids.into_iter().enumerate().rev();
    rows.map(|(place, id)| campus(&mut random, id, place, world.now))
        .collect()
}

/// The copies of campuses as other rows nest them, and some that no list shows any more.
pub(super) fn nested_campuses(world: &World, random: &mut fastrand::Rng) -> Vec<Object> {
    let begin = world.now.plus_micros(-9 * 365 * DAY);
    let campuses = world.table(Resource::Campus);
    let mut rows: Vec<Object> = campuses.rows().map(|row| row.shown.clone()).collect();
    for (hidden, id) in (0..rows.len().div_ceil(12)).zip(campuses.last + 3..) {
        rows.push(campus(random, id, hidden + 60, world.now));
    }
    for row in &mut rows {
        row.remove("endpoint");
        if let Some(mut language) = row.get::<Object>("language") {
            language.set("created_at", begin);
            language.set("updated_at", begin.plus_micros(2_000 * DAY + 123_000));
            row.set("language", language);
        }
    }
    rows
}

fn achievements(world: &World, count: usize) -> Vec<Object> {
    let mut random = world.random(4);
    let ids = ids(&mut random, count, &[1]);
    let briefs: Vec<Object> = ids.iter().map(|id| achievement(&mut random, *id)).collect();
    let parents: Vec<Option<usize>> = (0..count)
        .map(|place| (place > 3 && random.u8(..9) == 0).then(|| random.usize(..place)))
        .collect();
    let mut children = vec![Vec::new(); count];
    for (child, parent) in parents.iter().enumerate() {
        if let Some(parent) = parent {
            children[*parent].extend(briefs[child].cell("name"));
        }
    }
    let mut places: Vec<String> = world.table(Resource::Campus).rows().map(name).collect();
    let unlisted = [
        "Montrouge-Ouest",
        "Hack School - Old ",
        "42Network",
        "CoderDojoSV",
    ];
    places.extend(unlisted.map(str::to_owned));
    let rows = briefs.iter().zip(&parents).zip(children);
    let rows = rows.map(|((brief, parent), achievements)| {
        let mut campus = places.clone();
        random.shuffle(&mut campus);
        let wanted = if random.u8(..100) == 0 {
            0
        } else {
            random.usize(1..=places.len())
        };
        campus.truncate(wanted);
        if random.u8(..200) == 0 {
            campus.extend(campus.first().cloned());
        }
        let mut row = brief.clone();
        row.set("achievements", achievements);
        row.set("campus", campus);
        row.set("parent", parent.map(|parent| &briefs[parent]));
        let title = (random.u8(..12) == 0).then(|| {
            let id = brief.get::<i64>("id").unwrap_or_default() % 300 + 1;
            object! { "id": id, "name": "Grand master %login" }
        });
        row.set("title", title);
        row
    });
    rows.collect()
}

/// What an achievement shows of its parent.
fn achievement(random: &mut fastrand::Rng, id: i64) -> Object {
    let word = random.choice(names::ACHIEVEMENT_WORDS).copied();
    let image = format!("/uploads/achievement/image/{id}/SOC{:03}.svg", id % 1000);
    object! {
        "id": id,
        "name": word.unwrap_or_default(),
        "description": format!("Did it {} times, \"just\" like that.", id % 17),
        "tier": random.choice(["none", "easy", "medium", "hard", "challenge"]),
        "kind": random.choice(["project", "social", "scolarity", "pedagogy"]),
        "visible": true,
        "image": (random.u8(..30) > 0).then_some(image),
        "nbr_of_success": random.bool().then(|| random.i64(1..100)),
        "users_url": format!("{HOST}/v2/achievements/{id}/users"),
    }
}

fn coalitions(world: &World, count: usize) -> Vec<Object> {
    let mut random = world.random(5);
    let ids = ids(&mut random, count, &[1]);
    let rows = ids.into_iter().enumerate().rev().map(|(place, id)| {
        let words = names::COALITION_WORDS;
        let name = words[place % words.len()];
        let slug = name.to_lowercase().replace(' ', "-");
        // Two coalitions share a slug.
        let slug = match place {
            4 | 14 => slug,
            _ => format!("{slug}-{id}"),
        };
        let hue = random.u32(..0x0100_0000);
        let color = match place % 20 {
            3 => format!("\t#{hue:06x}"),
            9 => format!(" #{hue:06x}"),
            15 => format!("{hue:06X}"),
            _ => format!("#{hue:06x}"),
        };
        let file = format!("https://cdn.intra.example/coalition/{id}/{slug}");
        object! {
            "id": id,
            "name": name,
            "slug": slug,
            "image_url": format!("{file}.svg"),
            "cover_url": (place % 10 != 7).then(|| format!("{file}.png")),
            "color": color,
            "score": random.i64(0..4_954_125),
            "user_id": random.i64(10_231..250_000),
        }
    });
    rows.collect()
}
