//! People: the 25 fields of a list row, and who is made up. Knows nothing of joins except that students are told apart by them.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::given::Given;
use super::names;
use super::object::json;
use super::stamp::DAY;
use super::{CURSUS, PISCINE, Stamp, World};
use crate::fields::Resource;
use crate::query::{Cell, Row, Scope};
use crate::{Scale, SimulateError};

/// A person, and the JSON text that lists and nested copies share.
#[derive(Clone, Debug)]
pub(crate) struct User {
    profile: Profile,
    text: Box<RawValue>,
    is_anonymised: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) id: i64,
    pub(crate) email: String,
    pub(crate) login: String,
    pub(crate) first_name: String,
    pub(crate) last_name: String,
    pub(crate) usual_full_name: String,
    pub(crate) usual_first_name: Option<String>,
    pub(crate) url: String,
    pub(crate) phone: Option<String>,
    pub(crate) displayname: String,
    pub(crate) kind: String,
    pub(crate) image: Image,
    #[serde(rename = "staff?")]
    pub(crate) staff: bool,
    pub(crate) correction_point: i64,
    pub(crate) pool_month: Option<String>,
    pub(crate) pool_year: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) wallet: i64,
    pub(crate) anonymize_date: Option<String>,
    pub(crate) data_erasure_date: Option<String>,
    pub(crate) created_at: Stamp,
    pub(crate) updated_at: Stamp,
    pub(crate) alumnized_at: Option<Stamp>,
    #[serde(rename = "alumni?")]
    pub(crate) alumni: bool,
    #[serde(rename = "active?")]
    pub(crate) active: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Image {
    link: Option<String>,
    versions: Versions,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Versions {
    large: Option<String>,
    medium: Option<String>,
    small: Option<String>,
    micro: Option<String>,
}

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
    fn of(user: &Profile) -> Self {
        match (user.kind.as_str(), user.alumni) {
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

impl User {
    pub(super) fn new(profile: Profile) -> Self {
        Self {
            text: render(&profile),
            profile,
            is_anonymised: false,
        }
    }

    /// Someone whom only other rows nest: not listed if their login is that of an anonymised person.
    pub(super) fn nested(profile: Profile) -> Self {
        Self {
            is_anonymised: profile.login.starts_with(ANONYMOUS),
            ..Self::new(profile)
        }
    }

    pub(crate) fn login(&self) -> &str {
        &self.profile.login
    }

    pub(super) fn profile(&self) -> &Profile {
        &self.profile
    }

    pub(super) fn text(&self) -> &RawValue {
        &self.text
    }

    pub(super) fn is_active_student(&self) -> bool {
        self.profile.kind == "student" && !self.profile.alumni && !self.is_anonymised
    }

    pub(super) const fn is_anonymised(&self) -> bool {
        self.is_anonymised
    }

    /// Takes away who the person was; no date moves.
    pub(super) fn anonymise(&mut self) {
        self.is_anonymised = true;
        let user = &mut self.profile;
        user.login = anonymous(user.id);
        user.email = format!("{}@student.example", user.login);
        user.url = format!("{}/v2/users/{}", names::HOST, user.login);
        "3b3".clone_into(&mut user.first_name);
        user.last_name.clone_from(&user.login);
        user.usual_first_name = None;
        user.usual_full_name = format!("{} {}", user.first_name, user.last_name);
        user.displayname.clone_from(&user.usual_full_name);
        user.image = image(&user.login, true);
        user.location = None;
        self.text = render(&self.profile);
    }

    /// Changes the person at an instant: `updated_at` moves with it.
    pub(super) fn change(&mut self, at: Stamp, change: impl FnOnce(&mut Profile)) {
        change(&mut self.profile);
        self.profile.updated_at = self.profile.updated_at.max(at);
        self.text = render(&self.profile);
    }
}

fn render(profile: &Profile) -> Box<RawValue> {
    RawValue::from_string(json(profile)).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

impl Row for User {
    fn id(&self) -> i64 {
        self.profile.id
    }

    fn cell<'a>(&'a self, field: &str, world: &'a World) -> Cell<'a> {
        let text = |value: &'a str| Cell::Text(value.into());
        let user = &self.profile;
        match field {
            "id" => Cell::Int(user.id),
            "login" => text(&user.login),
            "email" => text(&user.email),
            "created_at" => Cell::Time(user.created_at),
            "updated_at" => Cell::Time(user.updated_at),
            "alumnized_at" => Cell::time(user.alumnized_at),
            "first_name" => text(&user.first_name),
            "last_name" => text(&user.last_name),
            "pool_year" => user.pool_year.as_deref().map_or(Cell::Null, text),
            "pool_month" => user.pool_month.as_deref().map_or(Cell::Null, text),
            "kind" => text(&user.kind),
            "image" => user.image.link.as_deref().map_or(Cell::Null, text),
            "alumni?" => Cell::Bool(user.alumni),
            "staff?" => Cell::Bool(user.staff),
            "primary_campus_id" => Cell::int(world.place(user.id).and_then(|at| at.primary)),
            _ => Cell::Null,
        }
    }

    fn inside(&self, scope: Scope, world: &World) -> bool {
        let id = self.profile.id;
        if self.is_anonymised && !world.staff {
            return false;
        }
        match scope {
            Scope::All => true,
            Scope::Cursus(cursus) => world.in_cursus(id, cursus),
            Scope::Campus(campus) => world.on_campus(id, campus),
            Scope::Coalition(coalition) => {
                let place = world.place(id);
                place.is_some_and(|place| place.coalitions.contains(&coalition))
            }
            _ => false,
        }
    }

    fn write(&self, _: &World, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text.get().as_bytes());
    }
}

impl World {
    /// The login of a person, also of one whom no list shows.
    pub(super) fn login(&self, id: i64) -> String {
        match self.users.get(id) {
            Some(user) => user.login().to_owned(),
            None => format!("x{id}"),
        }
    }

    #[expect(clippy::unused_self, reason = "reads best beside login")]
    pub(super) fn user_url(&self, login: &str) -> String {
        format!("{}/v2/users/{login}", names::HOST)
    }
}

/// Makes the people, or takes those that were given. Tells what each is to the cursus.
pub(super) fn fill(
    world: &mut World,
    scale: &Scale,
    given: &mut Given,
) -> Result<Vec<(i64, Role)>, SimulateError> {
    if let Some(profiles) = given.take_as::<Profile>(Resource::Users)? {
        let people = profiles.iter().map(|user| (user.id, Role::of(user)));
        let people = people.collect();
        for profile in profiles {
            world.users.insert(User::new(profile));
        }
        return Ok(people);
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
        let profile = maker.profile(id, role, born, hurting.copied());
        world.users.insert(User::new(profile));
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
    pub(super) fn profile(
        &mut self,
        id: i64,
        role: Role,
        born: Stamp,
        hurting: Option<(&str, &str)>,
    ) -> Profile {
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
        Profile {
            id,
            email: format!("{login}@student.example"),
            url: format!("{}/v2/users/{login}", names::HOST),
            displayname: full.clone(),
            usual_full_name: full,
            usual_first_name: (random.u8(..4) > 0).then(|| first.clone()),
            image: image(&login, is_anonymous || random.u8(..20) == 0),
            login,
            first_name: first,
            last_name: last,
            phone: Some("hidden".to_owned()),
            kind: match role {
                Role::Staff => "admin",
                Role::External => "external",
                _ => "student",
            }
            .to_owned(),
            staff: role == Role::Staff,
            correction_point: match random.u8(..12) {
                0 => random.i64(-6_500..0),
                1 => 0,
                _ => random.i64(1..60),
            },
            pool_month: pool.then(|| names::MONTHS[month.min(11)].to_owned()),
            pool_year: pool.then(|| year.to_owned()),
            location: (random.u8(..25) == 0).then(|| seat(random)),
            wallet: match random.u8(..16) {
                0 => random.i64(1_000_000_000..6_000_000_000),
                1 => random.i64(-19_100..0),
                _ => random.i64(0..4_000),
            },
            data_erasure_date: (!erased).then(|| anonymize.clone()),
            anonymize_date: (!erased).then_some(anonymize),
            created_at: born,
            updated_at: alumnized.unwrap_or_else(|| between(random, born, shown)),
            alumnized_at: alumnized,
            alumni: role == Role::Alumni,
            active: random.bool(),
        }
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

fn image(login: &str, absent: bool) -> Image {
    let link = |size: &str| {
        let file = format!("https://cdn.intra.example/users/{size}{login}.jpg");
        (!absent).then_some(file)
    };
    Image {
        link: link(""),
        versions: Versions {
            large: link("large_"),
            medium: link("medium_"),
            small: link("small_"),
            micro: link("micro_"),
        },
    }
}
