//! People: who is made up, and how one is anonymised. Knows of joins only that students are those in the cursus.

use std::collections::HashSet;

use super::given::Given;
use super::names::{self, HOST};
use super::row::{Object, object};
use super::stamp::DAY;
use super::{CURSUS, Cell, PISCINE, Row, Stamp, World};
use crate::fields::Resource;
use crate::{Scale, SimulateError};

/// What a made-up person is to cursus 21.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Student,
    Alumni,
    Staff,
    External,
    Pisciner,
    Elsewhere,
}

impl Role {
    fn of(user: &Row) -> Self {
        match (user.text("kind"), user.flag("alumni?")) {
            ("student", false) => Self::Student,
            ("student", true) => Self::Alumni,
            ("admin", _) => Self::Staff,
            _ => Self::External,
        }
    }

    /// The cursus that a person of this role is in.
    pub(super) fn cursus(self, elsewhere: i64) -> Vec<i64> {
        match self {
            Self::Student | Self::Alumni => vec![PISCINE, CURSUS],
            Self::Staff | Self::External => vec![CURSUS],
            Self::Pisciner => vec![PISCINE],
            Self::Elsewhere => vec![elsewhere],
        }
    }
}

const ANONYMISED: &str = "anonymised";

/// A person whom lists show.
pub(super) fn person(shown: Object) -> Row {
    Row::new(shown, object! { "anonymised": false })
}

/// Someone whom only other rows nest: not listed if their login is that of an anonymised person.
pub(super) fn nested_person(shown: Object) -> Row {
    let mut row = person(shown);
    row.set(ANONYMISED, row.text("login").starts_with(ANONYMOUS));
    row
}

pub(super) fn is_anonymised(user: &Row) -> bool {
    user.flag(ANONYMISED)
}

pub(super) fn is_active_student(user: &Row) -> bool {
    user.text("kind") == "student" && !user.flag("alumni?") && !is_anonymised(user)
}

/// Takes away who the person was; no date moves.
pub(super) fn anonymise(user: &mut Row) {
    let login = anonymous(user.id);
    let full = format!("3b3 {login}");
    user.set(ANONYMISED, true);
    user.set("email", format!("{login}@student.example"));
    user.set("url", user_url(&login));
    user.set("first_name", "3b3");
    user.set("last_name", login.clone());
    user.set("usual_first_name", Cell::Null);
    user.set("usual_full_name", full.clone());
    user.set("displayname", full);
    user.set("image", image(&login, true));
    user.set("location", Cell::Null);
    user.set("login", login);
}

pub(super) fn user_url(login: &str) -> String {
    format!("{HOST}/v2/users/{login}")
}

/// The person of a row, as other rows nest them.
pub(super) fn nested_user(row: &Row, world: &World) -> Cell {
    world.nested_user(row.key("user_id"))
}

impl World {
    /// The login of a person, also of one whom no list shows.
    pub(super) fn login(&self, id: i64) -> String {
        match self.table(Resource::Users).get(id) {
            Some(user) => user.text("login").to_owned(),
            None => format!("x{id}"),
        }
    }
}

/// Creates the people, or takes those that were given, with the role of each in the cursus.
pub(super) fn fill(
    world: &mut World,
    scale: &Scale,
    given: &mut Given,
) -> Result<Vec<(i64, Role)>, SimulateError> {
    if given.fill(world, Resource::Users)? {
        let users = world.table(Resource::Users).rows();
        return Ok(users.map(|user| (user.id, Role::of(user))).collect());
    }
    let mut random = world.random(6);
    let mut roles = vec![Role::Student; scale.students];
    roles.extend((0..scale.others).map(|other| match other % 20 {
        0..7 => Role::Alumni,
        7..9 => Role::Staff,
        9..11 => Role::External,
        11..16 => Role::Pisciner,
        _ => Role::Elsewhere,
    }));
    random.shuffle(&mut roles);

    let from = world.now.plus_micros(-6 * 365 * DAY);
    let until = world.now.plus_micros(-40 * DAY);
    let births = births(&mut random, roles.len(), from, until);
    let widest = 200_000 / i64::try_from(roles.len().max(1)).unwrap_or(i64::MAX);
    let mut id = 10_230;
    let mut logins = HashSet::new();
    let mut students = 0;
    let mut people = Vec::new();
    for (role, born) in roles.into_iter().zip(births) {
        id += random.i64(1..=widest.clamp(1, 400));
        let mut maker = Maker {
            random: &mut random,
            logins: &mut logins,
            now: world.now,
        };
        let hurting = match role {
            Role::Student => {
                students += 1;
                (students % 2 == 0)
                    .then(|| names::HURTING.get(students / 2 - 1))
                    .flatten()
            }
            _ => None,
        };
        let user = maker.person(id, role, born, hurting.copied());
        world.table_mut(Resource::Users).insert(user);
        people.push((id, role));
    }
    Ok(people)
}

/// `count` instants between two, ascending.
pub(super) fn births(
    random: &mut fastrand::Rng,
    count: usize,
    from: Stamp,
    until: Stamp,
) -> Vec<Stamp> {
    let span = from.micros()..until.micros().max(from.micros() + 1);
    let instants = (0..count).map(|_| Stamp::from_micros(random.i64(span.clone())));
    let mut instants: Vec<Stamp> = instants.collect();
    instants.sort_unstable();
    instants
}

/// Makes up people.
pub(super) struct Maker<'a> {
    pub(super) random: &'a mut fastrand::Rng,
    pub(super) logins: &'a mut HashSet<String>,
    pub(super) now: Stamp,
}

impl Maker<'_> {
    pub(super) fn person(
        &mut self,
        id: i64,
        role: Role,
        born: Stamp,
        hurting: Option<(&str, &str)>,
    ) -> Row {
        let random = &mut *self.random;
        let pick = |random: &mut fastrand::Rng, list: &'static [&'static str]| {
            random.choice(list).copied().unwrap_or_default()
        };
        let (plain_first, plain_last) = (pick(random, names::FIRST), pick(random, names::LAST));
        let long = hurting.is_none() && random.u8(..40) == 0;
        let (first, last) = hurting.unwrap_or((plain_first, plain_last));
        let first = if long {
            "Wolfeschlegelstein".repeat(14)
        } else {
            first.to_owned()
        };
        let is_anonymous = hurting.is_none() && random.u8(..35) == 0;
        let login = if is_anonymous {
            anonymous(id)
        } else {
            self.unused_login(plain_first, plain_last)
        };
        let random = &mut *self.random;
        let (first, last) = if is_anonymous {
            ("3b3".to_owned(), login.clone())
        } else {
            (first, last.to_owned())
        };
        let full = format!("{first} {last}");
        let shown = self.now;
        let alumnized = (role == Role::Alumni).then(|| between(random, born, shown));
        let pooled = born.timestamp().strftime("%Y %m").to_string();
        let (year, month) = pooled.split_once(' ').unwrap_or_default();
        let month = month.parse::<usize>().unwrap_or(1) - 1;
        let pool = role != Role::Staff && role != Role::External;
        let anonymize = erasure_date(random, self.now);
        let erased = random.u8(..50) == 0;
        let usual_first_name = (random.u8(..4) > 0).then(|| first.clone());
        let image = image(&login, is_anonymous || random.u8(..20) == 0);
        let correction_point = match random.u8(..12) {
            0 => random.i64(-6_500..0),
            1 => 0,
            _ => random.i64(1..60),
        };
        let location = (random.u8(..25) == 0).then(|| seat(random));
        let wallet = match random.u8(..16) {
            0 => random.i64(1_000_000_000..6_000_000_000),
            1 => random.i64(-19_100..0),
            _ => random.i64(0..4_000),
        };
        let updated_at = alumnized.unwrap_or_else(|| between(random, born, shown));
        person(object! {
            "id": id,
            "email": format!("{login}@student.example"),
            "login": login.clone(),
            "first_name": first,
            "last_name": last,
            "usual_full_name": full.clone(),
            "usual_first_name": usual_first_name,
            "url": user_url(&login),
            "phone": "hidden",
            "displayname": full,
            "kind": match role {
                Role::Staff => "admin",
                Role::External => "external",
                _ => "student",
            },
            "image": image,
            "staff?": role == Role::Staff,
            "correction_point": correction_point,
            "pool_month": pool.then(|| names::MONTHS[month.min(11)]),
            "pool_year": pool.then(|| year.to_owned()),
            "location": location,
            "wallet": wallet,
            "anonymize_date": (!erased).then(|| anonymize.clone()),
            "data_erasure_date": (!erased).then_some(anonymize),
            "created_at": born,
            "updated_at": updated_at,
            "alumnized_at": alumnized,
            "alumni?": role == Role::Alumni,
            "active?": random.bool(),
        })
    }

    fn unused_login(&mut self, first: &str, last: &str) -> String {
        let letters = |text: &str| -> String {
            let letters = text.chars().filter(char::is_ascii_alphabetic);
            letters.map(|c| c.to_ascii_lowercase()).collect()
        };
        let mut stem = letters(first);
        stem.truncate(1);
        stem.push_str(&letters(last));
        stem.truncate(8);
        let mut login = stem.clone();
        let mut more = 1;
        while !self.logins.insert(login.clone()) {
            more += 1;
            login = format!("{stem}{more}");
        }
        login
    }
}

/// An instant between two.
pub(super) fn between(random: &mut fastrand::Rng, from: Stamp, until: Stamp) -> Stamp {
    let (low, high) = (from.micros(), until.micros());
    Stamp::from_micros(if low < high {
        random.i64(low..high)
    } else {
        low
    })
}

const ANONYMOUS: &str = "3b3-";

/// The login of an anonymised person.
fn anonymous(id: i64) -> String {
    format!("{ANONYMOUS}{id:08x}")
}

/// A workplace in a cluster.
pub(super) fn seat(random: &mut fastrand::Rng) -> String {
    let (cluster, row, seat) = (random.u8(1..5), random.u8(1..14), random.u8(1..9));
    format!("c{cluster}r{row}s{seat}")
}

/// A local midnight some years ahead, with its offset.
fn erasure_date(random: &mut fastrand::Rng, now: Stamp) -> String {
    let day = now.plus_micros(random.i64(200..1_400) * DAY);
    let offset = ["+08:00", "+02:00", "+01:00", "+00:00", "-03:00", "+05:30"];
    let offset = random.choice(offset).unwrap_or("+00:00");
    format!(
        "{}T00:00:00.000{offset}",
        day.timestamp().strftime("%Y-%m-%d")
    )
}

fn image(login: &str, absent: bool) -> Object {
    let link = |size: &str| {
        let file = format!("https://cdn.intra.example/users/{size}{login}.jpg");
        (!absent).then_some(file)
    };
    object! {
        "link": link(""),
        "versions": object! {
            "large": link("large_"),
            "medium": link("medium_"),
            "small": link("small_"),
            "micro": link("micro_"),
        },
    }
}
