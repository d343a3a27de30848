//! Makes the reference data: cursus, campuses, projects with their sessions, achievements, coalitions, with the dirt of the real ones.

use serde::Serialize;
use serde_json::value::RawValue;

use super::document::Document;
use super::given::Given;
use super::names;
use super::object::{Object, json};
use super::people::between;
use super::stamp::DAY;
use super::{CURSUS, PISCINE, Stamp, World};
use crate::Scale;
use crate::fields::Resource;

pub(super) fn fill(world: &mut World, scale: &Scale, given: &mut Given) {
    let rows = given.take(Resource::Cursus);
    let rows = rows.unwrap_or_else(|| cursus(world, scale.cursus));
    keep(world, Resource::Cursus, rows);
    let rows = given.take(Resource::Campus);
    let rows = rows.unwrap_or_else(|| campuses(world, scale.campuses));
    keep(world, Resource::Campus, rows);
    let rows = given.take(Resource::Projects);
    let rows = rows.unwrap_or_else(|| super::projects::projects(world, scale.projects));
    keep(world, Resource::Projects, rows);
    let rows = given.take(Resource::Achievements);
    let rows = rows.unwrap_or_else(|| achievements(world, scale.achievements));
    keep(world, Resource::Achievements, rows);
    let rows = given.take(Resource::Coalitions);
    let rows = rows.unwrap_or_else(|| coalitions(world, scale.coalitions));
    keep(world, Resource::Coalitions, rows);
}

/// Stores rows, whose order is that of the API; what they do not show (times, positions) is made up.
fn keep(world: &mut World, resource: Resource, rows: Vec<Object>) {
    let mut random = world.random(100 + rows.len() as u64);
    let begin = world.now.plus_micros(-8 * 365 * DAY).micros();
    let ids = rows.iter().filter_map(|row| row.get::<i64>("id"));
    let last = ids.max().unwrap_or(0).max(1);
    let step = (world.now.micros() - begin - 30 * DAY) / (last + 1);
    for (position, row) in (0..).zip(rows) {
        let id = row.get("id").unwrap_or_default();
        let created_at = row.get("created_at");
        let created_at = created_at.unwrap_or_else(|| Stamp::from_micros(begin + step * id));
        let updated_at = row.get("updated_at");
        let updated_at = updated_at.unwrap_or_else(|| between(&mut random, created_at, world.now));
        world.documents_mut(resource).insert(Document {
            id,
            created_at,
            updated_at,
            position,
            row,
        });
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
    #[derive(Serialize)]
    struct Cursus {
        id: i64,
        created_at: Stamp,
        name: String,
        slug: String,
        kind: &'static str,
    }
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
        Object::of(&Cursus {
            id,
            created_at: begin.plus_micros(id * 11 * DAY + id * 1_234_567),
            name,
            slug,
            kind,
        })
    });
    rows.collect()
}

#[derive(Clone, Serialize)]
struct Language {
    id: i64,
    name: &'static str,
    identifier: &'static str,
}

#[derive(Serialize)]
struct Endpoint {
    id: i64,
    url: String,
    description: String,
    created_at: Stamp,
    updated_at: Stamp,
}

#[derive(Serialize)]
struct Campus {
    id: i64,
    name: String,
    time_zone: &'static str,
    language: Language,
    users_count: i64,
    vogsphere_id: Option<i64>,
    country: &'static str,
    address: String,
    zip: String,
    city: &'static str,
    website: String,
    facebook: String,
    twitter: String,
    active: bool,
    public: bool,
    email_extension: Option<String>,
    default_hidden_phone: bool,
    endpoint: Option<Endpoint>,
}

const LANGUAGES: [Language; 4] = [
    Language {
        id: 1,
        name: "Français",
        identifier: "fr",
    },
    Language {
        id: 2,
        name: "English",
        identifier: "en",
    },
    Language {
        id: 11,
        name: "Spanish",
        identifier: "es",
    },
    Language {
        id: 17,
        name: "Brazilian Portuguese",
        identifier: "pt_br",
    },
];

fn campus(random: &mut fastrand::Rng, id: i64, place: usize, now: Stamp) -> Campus {
    let (city, country, time_zone) = names::CITIES[place % names::CITIES.len()];
    let quarter = match place / names::CITIES.len() {
        0 => String::new(),
        1 => "New ".to_owned(),
        2 => "Upper ".to_owned(),
        more => format!("{more}. "),
    };
    let host = format!("campus-{id}.example");
    let created_at = now.plus_micros(-random.i64(400..2_500) * DAY);
    Campus {
        id,
        name: format!("{quarter}{city}"),
        time_zone,
        language: LANGUAGES[place % LANGUAGES.len()].clone(),
        users_count: random.i64(2..12_000),
        vogsphere_id: (place % 9 != 5).then_some(id - 1),
        country,
        address: format!("{} Rue de l'École, \"Bât. B\"", random.u8(1..200)),
        zip: format!("0{:04}", random.u16(..10_000)),
        city,
        website: format!("https://{host}/"),
        facebook: String::new(),
        twitter: if place.is_multiple_of(3) {
            format!("https://social.example/{id}")
        } else {
            String::new()
        },
        active: true,
        public: true,
        email_extension: (place % 7 != 3).then(|| host.clone()),
        default_hidden_phone: random.bool(),
        endpoint: (place % 8 != 6).then(|| Endpoint {
            id: id + 4,
            url: format!("https://endpoint.{host}:4000"),
            description: format!("Endpoint {city}"),
            created_at,
            updated_at: between(random, created_at, now),
        }),
    }
}

fn campuses(world: &World, count: usize) -> Vec<Object> {
    let mut random = world.random(2);
    let ids = ids(&mut random, count, &[1]);
    let rows = ids.into_iter().enumerate().rev();
    rows.map(|(place, id)| Object::of(&campus(&mut random, id, place, world.now)))
        .collect()
}

/// The copies of campuses as other rows nest them, and some that no list shows any more.
pub(super) fn nested_campuses(world: &World, random: &mut fastrand::Rng) -> Vec<Box<RawValue>> {
    let begin = world.now.plus_micros(-9 * 365 * DAY);
    let mut rows: Vec<Object> = world.campus.rows().map(|row| row.row.clone()).collect();
    for hidden in 0..rows.len().div_ceil(12) {
        let id = world.campus.last + 3 + i64::try_from(hidden).unwrap_or(0);
        rows.push(Object::of(&campus(random, id, hidden + 60, world.now)));
    }
    let copies = rows.iter_mut().filter_map(|row| {
        row.remove("endpoint");
        if let Some(mut language) = row.get::<Object>("language") {
            language.set("created_at", &begin);
            language.set("updated_at", &begin.plus_micros(2_000 * DAY + 123_000));
            row.set("language", &language);
        }
        RawValue::from_string(json(row)).ok()
    });
    copies.collect()
}

/// What an achievement shows of its parent.
#[derive(Clone, Serialize)]
struct Brief {
    id: i64,
    name: String,
    description: String,
    tier: &'static str,
    kind: &'static str,
    visible: bool,
    image: Option<String>,
    nbr_of_success: Option<i64>,
    users_url: String,
}

fn achievements(world: &World, count: usize) -> Vec<Object> {
    #[derive(Serialize)]
    struct Title {
        id: i64,
        name: &'static str,
    }
    #[derive(Serialize)]
    struct Achievement<'a> {
        #[serde(flatten)]
        brief: &'a Brief,
        achievements: Vec<&'a str>,
        campus: Vec<String>,
        parent: Option<&'a Brief>,
        title: Option<Title>,
    }
    let mut random = world.random(4);
    let ids = ids(&mut random, count, &[1]);
    let briefs: Vec<Brief> = ids.iter().map(|id| achievement(&mut random, *id)).collect();
    let parents: Vec<Option<usize>> = (0..count)
        .map(|place| (place > 3 && random.u8(..9) == 0).then(|| random.usize(..place)))
        .collect();
    let mut children = vec![Vec::new(); count];
    for (child, parent) in parents.iter().enumerate() {
        if let Some(parent) = parent {
            children[*parent].push(briefs[child].name.as_str());
        }
    }
    let mut places: Vec<String> = world.campus.rows().map(Document::name).collect();
    let gone = [
        "Montrouge-Ouest",
        "Hack School - Old ",
        "42Network",
        "CoderDojoSV",
    ];
    places.extend(gone.map(str::to_owned));
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
        Object::of(&Achievement {
            brief,
            achievements,
            campus,
            parent: parent.map(|parent| &briefs[parent]),
            title: (random.u8(..12) == 0).then(|| Title {
                id: brief.id % 300 + 1,
                name: "Grand master %login",
            }),
        })
    });
    rows.collect()
}

fn achievement(random: &mut fastrand::Rng, id: i64) -> Brief {
    let word = random.choice(names::ACHIEVEMENT_WORDS).copied();
    let image = format!("/uploads/achievement/image/{id}/SOC{:03}.svg", id % 1000);
    Brief {
        id,
        name: word.unwrap_or_default().to_owned(),
        description: format!("Did it {} times, \"just\" like that.", id % 17),
        tier: random
            .choice(["none", "easy", "medium", "hard", "challenge"])
            .unwrap_or("none"),
        kind: random
            .choice(["project", "social", "scolarity", "pedagogy"])
            .unwrap_or("social"),
        visible: true,
        image: (random.u8(..30) > 0).then_some(image),
        nbr_of_success: random.bool().then(|| random.i64(1..100)),
        users_url: format!("{}/v2/achievements/{id}/users", names::HOST),
    }
}

fn coalitions(world: &World, count: usize) -> Vec<Object> {
    #[derive(Serialize)]
    struct Coalition {
        id: i64,
        name: &'static str,
        slug: String,
        image_url: String,
        cover_url: Option<String>,
        color: String,
        score: i64,
        user_id: i64,
    }
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
        Object::of(&Coalition {
            id,
            name,
            image_url: format!("{file}.svg"),
            cover_url: (place % 10 != 7).then(|| format!("{file}.png")),
            slug,
            color,
            score: random.i64(0..4_954_125),
            user_id: random.i64(10_231..250_000),
        })
    });
    rows.collect()
}
