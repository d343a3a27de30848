//! Synthetic records in the shapes of the API: a record is a pure function of its id and its version.

use fastrand::Rng;

/// Coalitions of the network.
pub(crate) const COALITIONS: u64 = 397;
/// People that other records point at.
const PEOPLE: u64 = 250_000;
const FIVE_YEARS: u64 = 5 * 365 * 86_400;
const START: i64 = 1_577_836_800;

const FIRST: [&str; 12] = [
    "Amélie", "Jean", "Taeho", "Inès", "Sofía", "João", "Łukasz", "Zoë", "Nina", "Björn", "Élodie",
    "Kenji",
];
const LAST: [&str; 12] = [
    "Martin", "Heo", "García", "Müller", "Nguyen", "O'Brien", "Lefèvre", "Novák", "Peeters",
    "Yılmaz", "Costa", "Moreau",
];
const SLUGS: [&str; 10] = [
    "libft",
    "ft_printf",
    "get_next_line",
    "born2beroot",
    "push_swap",
    "minishell",
    "cpp-module-09",
    "webserv",
    "ft_transcendence",
    "exam-rank-05",
];
const STATUSES: [&str; 7] = [
    "finished",
    "finished",
    "finished",
    "in_progress",
    "waiting_for_correction",
    "creating_group",
    "parent",
];

fn rng(kind: u64, id: u64) -> Rng {
    Rng::with_seed(kind << 48 | id)
}

fn one<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[rng.usize(..of.len())]
}

fn time(rng: &mut Rng) -> String {
    let second = START + i64::try_from(rng.u64(..FIVE_YEARS)).unwrap_or_default();
    let millisecond = second * 1000 + rng.i64(0..1000);
    let time = jiff::Timestamp::from_millisecond(millisecond).unwrap_or_default();
    format!("\"{time:.3}\"")
}

fn sometimes(rng: &mut Rng, chance: f64, value: impl FnOnce(&mut Rng) -> String) -> String {
    if rng.f64() < chance {
        value(rng)
    } else {
        "null".to_owned()
    }
}

fn updated(rng: &mut Rng, changed: bool) -> String {
    if changed {
        "\"2026-01-02T03:17:00.103Z\"".to_owned()
    } else {
        time(rng)
    }
}

fn login(id: u64) -> String {
    let rng = &mut rng(9, id);
    let (first, last) = (one(rng, &FIRST), one(rng, &LAST));
    let letters = first.chars().take(1).chain(last.chars());
    let ascii: String = letters.filter(char::is_ascii_alphabetic).take(8).collect();
    format!("{}{id:x}", ascii.to_lowercase())
}

pub(crate) fn coalition(id: u64, _: bool) -> String {
    format!(
        r##"{{"id":{id},"name":"Coalition {id}","slug":"coalition-{id}","image_url":"https://cdn.example/{id}.svg","cover_url":null,"color":"#00babc","score":{},"user_id":{id}}}"##,
        id * 97
    )
}

pub(crate) fn membership(id: u64, changed: bool) -> String {
    let rng = &mut rng(1, id);
    let score = if rng.f64() < 0.8 {
        rng.u64(..25_000)
    } else {
        0
    };
    format!(
        r#"{{"id":{id},"coalition_id":{},"user_id":{},"score":{},"rank":{},"created_at":{},"updated_at":{}}}"#,
        1 + id % COALITIONS,
        1 + (id / COALITIONS * 97 + id) % PEOPLE,
        score + u64::from(changed),
        rng.u64(1..1200),
        time(rng),
        updated(rng, changed)
    )
}

pub(crate) fn person(id: u64, changed: bool) -> String {
    let login = login(id);
    let rng = &mut rng(2, id);
    let (first, last) = (one(rng, &FIRST), one(rng, &LAST));
    let image = if rng.f64() < 0.08 {
        r#"{"link":null,"versions":{"large":null,"medium":null,"small":null,"micro":null}}"#
            .to_owned()
    } else {
        let base = format!("https://cdn.example.test/users/{:032x}", rng.u128(..));
        let of = |size: &str| format!("{base}/{size}_{login}.jpg");
        format!(
            r#"{{"link":"{base}/{login}.jpg","versions":{{"large":"{}","medium":"{}","small":"{}","micro":"{}"}}}}"#,
            of("large"),
            of("medium"),
            of("small"),
            of("micro")
        )
    };
    let location = if changed {
        format!("\"c1r9s{}\"", id % 9)
    } else {
        sometimes(rng, 0.1, |rng| {
            format!("\"c{}r{}s{}\"", rng.u8(1..5), rng.u8(1..14), rng.u8(1..10))
        })
    };
    format!(
        r#"{{"id":{id},"email":"{login}@student.42city{}.test","login":"{login}","first_name":"{first}","last_name":"{last}","usual_full_name":"{first} {last}","usual_first_name":{},"url":"https://api.example.test/v2/users/{login}","phone":"hidden","displayname":"{first} {last}","kind":"student","image":{image},"staff?":{},"correction_point":{},"pool_month":"{}","pool_year":"{}","location":{location},"wallet":{},"anonymize_date":{},"data_erasure_date":{},"created_at":{},"updated_at":{},"alumnized_at":null,"alumni?":false,"active?":{}}}"#,
        id % 10,
        sometimes(rng, 0.1, |_| format!("\"{first}\"")),
        rng.f64() < 0.01,
        rng.i8(-2..30),
        one(rng, &["july", "august", "september"]),
        rng.u16(2014..2026),
        rng.u16(..900) + u16::from(changed),
        time(rng),
        time(rng),
        time(rng),
        updated(rng, changed),
        rng.bool(),
    )
}

pub(crate) fn registration(id: u64, changed: bool) -> String {
    let rng = &mut rng(3, id);
    let (person, project) = (rng.u64(1..=PEOPLE), rng.u64(1..=1200));
    let login = login(person);
    let (first, last) = (one(rng, &FIRST), one(rng, &LAST));
    let slug = one(rng, &SLUGS);
    let status = if changed {
        "finished"
    } else {
        one(rng, &STATUSES)
    };
    let done = status == "finished";
    let mark = if changed {
        "101".to_owned()
    } else {
        sometimes(rng, f64::from(u8::from(done)), |rng| {
            one(rng, &["0", "50", "80", "100", "125"]).to_owned()
        })
    };
    let teams: Vec<String> = (0..=u64::from(rng.f64() < 0.2))
        .map(|place| {
            let team = id * 4 + place;
            format!(
                r#"{{"id":{team},"name":"{login}'s group-{place}","url":"https://api.example.test/v2/teams/{team}","final_mark":{mark},"project_id":{project},"created_at":{},"updated_at":{},"status":"{status}","terminating_at":null,"users":[{{"id":{person},"login":"{login}","url":"https://api.example.test/v2/users/{login}","leader":true,"occurrence":{place},"validated":true,"projects_user_id":{id}}}],"locked?":true,"validated?":{done},"closed?":{done},"repo_url":"git@vogsphere.example.test:vogsphere/intra-uuid-{:032x}-{team}-{login}","repo_uuid":"intra-uuid-{:032x}-{team}-{login}","locked_at":{},"closed_at":null,"project_session_id":{},"project_gitlab_path":"pedago_world/42-cursus/inner-circle/{slug}"}}"#,
                time(rng),
                time(rng),
                rng.u128(..),
                rng.u128(..),
                time(rng),
                3000 + project,
            )
        })
        .collect();
    let when_done = |rng: &mut Rng| sometimes(rng, f64::from(u8::from(done)), time);
    format!(
        r#"{{"id":{id},"occurrence":{},"final_mark":{mark},"status":"{status}","validated?":{},"current_team_id":{},"project":{{"id":{project},"name":"{slug}","slug":"42cursus-{slug}","parent_id":null}},"cursus_ids":{},"marked_at":{},"marked":{done},"retriable_at":{},"created_at":{},"updated_at":{},"user":{{"id":{person},"email":"{login}@student.example.test","login":"{login}","first_name":"{first}","last_name":"{last}","url":"https://api.example.test/v2/users/{login}","displayname":"{first} {last}","kind":"student","staff?":false,"active?":true,"alumni?":false}},"teams":[{}]}}"#,
        rng.u8(..4),
        if done { "true" } else { "null" },
        id * 4,
        if rng.f64() < 0.95 { "[21]" } else { "[21,9]" },
        when_done(rng),
        when_done(rng),
        time(rng),
        updated(rng, changed),
        teams.join(",")
    )
}
