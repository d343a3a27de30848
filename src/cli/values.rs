//! Parsers of typed values.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;

use crate::change_feed::Since;

/// A part of a unit's name that stands for itself in a file name, in a unit and in a shell.
pub(super) fn unit_name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !text.is_empty() && text.len() <= 64 && text.chars().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("letters, digits and `_`, at most 64, such as `lyon`".to_owned())
    }
}

/// How old a read may be: of every resource, of one, or one read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MaxAge {
    pub(crate) resource: Option<String>,
    pub(crate) read: Option<String>,
    pub(crate) age: Duration,
}

pub(super) fn max_age(text: &str) -> Result<MaxAge, String> {
    let (of, age) = match text.split_once('=') {
        Some((of, age)) => (Some(of), age),
        None => (None, text),
    };
    let (resource, read) = match of.map(|of| of.split_once(':').ok_or(of)) {
        None => (None, None),
        Some(Ok((resource, read))) => (Some(resource), Some(read)),
        Some(Err(resource)) => (Some(resource), None),
    };
    let age = humantime::parse_duration(age)
        .ok()
        .filter(|age| !age.is_zero());
    let is_named = [resource, read]
        .into_iter()
        .flatten()
        .all(|name| !name.is_empty());
    match age.filter(|_| is_named) {
        Some(age) => Ok(MaxAge {
            resource: resource.map(str::to_owned),
            read: read.map(str::to_owned),
            age,
        }),
        None => Err("write an age such as 26h, or RESOURCE=AGE, or RESOURCE:READ=AGE".to_owned()),
    }
}

pub(super) fn point_in_time(text: &str) -> Result<Timestamp, String> {
    // Full seconds: the API truncates to them, and a record in between would seem to be outside the window.
    let to_seconds = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap_or(time);
    if let Ok(time) = text.parse() {
        return Ok(to_seconds(time));
    }
    humantime::parse_duration(text)
        .ok()
        .and_then(|age| SignedDuration::try_from(age).ok())
        .and_then(|age| Timestamp::now().checked_sub(age).ok().map(to_seconds))
        .ok_or_else(|| "write a time like 2026-11-23T02:00:00Z, or an age like 2d".to_owned())
}

/// A day is its first moment, in UTC.
pub(super) fn day_or_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = format!("{text}T00:00:00Z").parse() {
        return Ok(time);
    }
    let time = text.parse().or_else(|_| point_in_time(text));
    time.map_err(|_: String| {
        "write a day like 2026-10-01, a time like 2026-10-01T02:00:00Z, or an age like 2d"
            .to_owned()
    })
}

/// A number is of a change.
pub(crate) fn since(text: &str) -> Result<Since, String> {
    if let Ok(after) = text.parse() {
        return Ok(Since::After(after));
    }
    let at = point_in_time(text).map(Since::At);
    at.map_err(|_| {
        "write the number of a change, a time like 2026-11-23T02:00:00Z, or an age like 2h"
            .to_owned()
    })
}

pub(super) fn scope(text: &str) -> Result<(String, Vec<String>), String> {
    let is_id = |id: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        !id.is_empty() && id.chars().all(is_part)
    };
    let (variable, ids) = text
        .split_once('=')
        .ok_or("write a variable of [scope] and its ids, such as campus_ids=9,12")?;
    let ids: Vec<String> = ids.split(',').map(|id| id.trim().to_owned()).collect();
    if ids.iter().all(|id| is_id(id)) {
        Ok((variable.trim().to_owned(), ids))
    } else {
        Err("an id is letters, digits, `-` and `_`, with commas between several".to_owned())
    }
}

pub(super) fn window(text: &str) -> Result<(Timestamp, Timestamp), String> {
    let (start, end) = text
        .split_once(',')
        .ok_or("write two times with a comma between them")?;
    let (start, end) = (point_in_time(start)?, point_in_time(end)?);
    if start < end {
        Ok((start, end))
    } else {
        Err("the window ends before it starts".to_owned())
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as clap wants it")]
pub(super) fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(SecretString::from(text))
}

pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let every = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if every.is_zero() || every > Duration::from_hours(366 * 24) {
        return Err("write more than nothing and at most a year, such as 15m".to_owned());
    }
    Ok(every)
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let text = match text.strip_prefix("localhost:") {
        Some(port) => format!("{}:{port}", IpAddr::V4(Ipv4Addr::LOCALHOST)),
        None => text.to_owned(),
    };
    text.parse().map_err(|_| {
        "write an address and a port, such as 127.0.0.1:4280, 0.0.0.0:4280 or [::1]:4280".to_owned()
    })
}

/// A name or an address as a browser sends it, without a port.
pub(super) fn host(text: &str) -> Result<String, String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let is_name = !text.is_empty() && text.len() <= 253 && text.chars().all(is_part);
    if is_name || text.parse::<IpAddr>().is_ok() {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("write a name without scheme, port and path, such as mirror.example.org".to_owned())
    }
}
