//! The floor of decoding: gunzip, parse into structs made for the record, encode as binary COPY; nothing else.

use std::borrow::Cow;
use std::hint::black_box;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Error;

type Text<'a> = Option<Cow<'a, str>>;
type Time<'a> = Option<&'a str>;

#[derive(Deserialize)]
struct Membership<'a> {
    id: i64,
    coalition_id: i64,
    user_id: i64,
    score: Option<i64>,
    rank: Option<i64>,
    #[serde(borrow)]
    created_at: Time<'a>,
    #[serde(borrow)]
    updated_at: Time<'a>,
}

#[derive(Deserialize, Default)]
struct Versions<'a> {
    #[serde(borrow)]
    large: Text<'a>,
    #[serde(borrow)]
    medium: Text<'a>,
    #[serde(borrow)]
    small: Text<'a>,
    #[serde(borrow)]
    micro: Text<'a>,
}

#[derive(Deserialize, Default)]
struct Image<'a> {
    #[serde(borrow)]
    link: Text<'a>,
    #[serde(borrow)]
    versions: Versions<'a>,
}

#[derive(Deserialize)]
struct Person<'a> {
    id: i64,
    #[serde(borrow)]
    email: Text<'a>,
    #[serde(borrow)]
    login: Text<'a>,
    #[serde(borrow)]
    first_name: Text<'a>,
    #[serde(borrow)]
    last_name: Text<'a>,
    #[serde(borrow)]
    usual_full_name: Text<'a>,
    #[serde(borrow)]
    usual_first_name: Text<'a>,
    #[serde(borrow)]
    url: Text<'a>,
    #[serde(borrow)]
    phone: Text<'a>,
    #[serde(borrow)]
    displayname: Text<'a>,
    #[serde(borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    image: &'a RawValue,
    #[serde(rename = "staff?")]
    staff: Option<bool>,
    correction_point: Option<i64>,
    #[serde(borrow)]
    pool_month: Text<'a>,
    #[serde(borrow)]
    pool_year: Text<'a>,
    #[serde(borrow)]
    location: Text<'a>,
    wallet: Option<i64>,
    #[serde(borrow)]
    anonymize_date: Time<'a>,
    #[serde(borrow)]
    data_erasure_date: Time<'a>,
    #[serde(borrow)]
    created_at: Time<'a>,
    #[serde(borrow)]
    updated_at: Time<'a>,
    #[serde(borrow)]
    alumnized_at: Time<'a>,
    #[serde(rename = "alumni?")]
    alumni: Option<bool>,
    #[serde(rename = "active?")]
    active: Option<bool>,
}

#[derive(Deserialize)]
struct Id {
    id: i64,
}

#[derive(Deserialize)]
struct User<'a> {
    id: i64,
    #[serde(borrow)]
    login: Text<'a>,
    #[serde(borrow)]
    email: Text<'a>,
}

#[derive(Deserialize)]
struct Registration<'a> {
    id: i64,
    occurrence: Option<i32>,
    final_mark: Option<i32>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(rename = "validated?")]
    validated: Option<bool>,
    current_team_id: Option<i64>,
    project: Id,
    #[serde(borrow)]
    user: User<'a>,
    #[serde(borrow)]
    cursus_ids: &'a RawValue,
    marked: Option<bool>,
    #[serde(borrow)]
    marked_at: Time<'a>,
    #[serde(borrow)]
    retriable_at: Time<'a>,
    #[serde(borrow)]
    created_at: Time<'a>,
    #[serde(borrow)]
    updated_at: Time<'a>,
}

/// Microseconds since 2000, of the one form that the API writes; nothing is checked.
fn micros(text: &str) -> i64 {
    let bytes = text.as_bytes();
    let number = |range: std::ops::Range<usize>| {
        bytes[range].iter().fold(0_i64, |sum, digit| {
            sum * 10 + i64::from(digit.wrapping_sub(b'0'))
        })
    };
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days =
        year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 730_425;
    (days * 86_400 + number(11..13) * 3600 + number(14..16) * 60 + number(17..19)) * 1_000_000
        + number(20..23) * 1000
}

#[derive(Default)]
struct Out(Vec<u8>);

impl Out {
    fn field(&mut self, bytes: Option<&[u8]>) {
        let length = bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap_or_default());
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes.unwrap_or_default());
    }

    fn long(&mut self, value: Option<i64>) {
        self.field(
            value
                .map(i64::to_be_bytes)
                .as_ref()
                .map(<[u8; 8]>::as_slice),
        );
    }

    fn int(&mut self, value: Option<i32>) {
        self.field(
            value
                .map(i32::to_be_bytes)
                .as_ref()
                .map(<[u8; 4]>::as_slice),
        );
    }

    fn flag(&mut self, value: Option<bool>) {
        self.field(
            value
                .map(|value| [u8::from(value)])
                .as_ref()
                .map(<[u8; 1]>::as_slice),
        );
    }

    fn texts(&mut self, values: &[&Text<'_>]) {
        for value in values {
            self.field(value.as_ref().map(|value| value.as_bytes()));
        }
    }

    fn times(&mut self, values: &[Time<'_>]) {
        for value in values {
            self.long(value.map(micros));
        }
    }

    fn json(&mut self, value: &str) {
        let length = i32::try_from(value.len() + 1).unwrap_or_default();
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.push(1);
        self.0.extend_from_slice(value.as_bytes());
    }
}

trait Row {
    fn put(&self, out: &mut Out);
}

impl Row for Membership<'_> {
    fn put(&self, out: &mut Out) {
        out.0.extend_from_slice(&7_i16.to_be_bytes());
        for number in [
            Some(self.id),
            Some(self.coalition_id),
            Some(self.user_id),
            self.score,
            self.rank,
        ] {
            out.long(number);
        }
        out.times(&[self.created_at, self.updated_at]);
    }
}

impl Row for Person<'_> {
    fn put(&self, out: &mut Out) {
        let image: Image<'_> = serde_json::from_str(self.image.get()).unwrap_or_default();
        out.0.extend_from_slice(&30_i16.to_be_bytes());
        out.long(Some(self.id));
        out.texts(&[
            &self.email,
            &self.login,
            &self.first_name,
            &self.last_name,
            &self.usual_full_name,
        ]);
        out.texts(&[
            &self.usual_first_name,
            &self.url,
            &self.phone,
            &self.displayname,
            &self.kind,
            &image.link,
        ]);
        let versions = &image.versions;
        out.texts(&[
            &versions.large,
            &versions.medium,
            &versions.small,
            &versions.micro,
        ]);
        out.json(self.image.get());
        out.flag(self.staff);
        out.long(self.correction_point);
        out.texts(&[&self.pool_month, &self.pool_year, &self.location]);
        out.long(self.wallet);
        out.times(&[
            self.anonymize_date,
            self.data_erasure_date,
            self.created_at,
            self.updated_at,
            self.alumnized_at,
        ]);
        out.flag(self.alumni);
        out.flag(self.active);
    }
}

impl Row for Registration<'_> {
    fn put(&self, out: &mut Out) {
        out.0.extend_from_slice(&16_i16.to_be_bytes());
        out.long(Some(self.id));
        out.int(self.occurrence);
        out.int(self.final_mark);
        out.texts(&[&self.status]);
        out.flag(self.validated);
        out.long(self.current_team_id);
        out.long(Some(self.project.id));
        out.long(Some(self.user.id));
        out.texts(&[&self.user.login, &self.user.email]);
        out.json(self.cursus_ids.get());
        out.flag(self.marked);
        out.times(&[
            self.marked_at,
            self.retriable_at,
            self.created_at,
            self.updated_at,
        ]);
    }
}

fn rows<'a, T: Row + Deserialize<'a>>(page: &'a [u8], out: &mut Out) -> Result<(), Error> {
    let records: Vec<T> = serde_json::from_slice(page)?;
    for record in &records {
        record.put(out);
    }
    Ok(())
}

/// Reads the pages in a directory once.
pub(crate) fn pages(directory: &Path, resource: &str) -> Result<Duration, Error> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "gz") {
            files.push(path);
        }
    }
    files.sort();
    let started = Instant::now();
    let mut page = Vec::new();
    let mut out = Out::default();
    for file in files {
        let packed = std::fs::read(file)?;
        page.clear();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut page)?;
        match resource {
            "users" => rows::<Person<'_>>(&page, &mut out)?,
            "projects_users" => rows::<Registration<'_>>(&page, &mut out)?,
            _ => rows::<Membership<'_>>(&page, &mut out)?,
        }
        if out.0.len() > 256 << 10 {
            black_box(&out.0);
            out.0.clear();
        }
    }
    Ok(started.elapsed())
}
