//! Timestamps and dates as PostgreSQL counts them: microseconds and days since 2000-01-01.
//!
//! Of the many forms that a library or PostgreSQL takes, only those that both read in the same way.

use jiff::civil::{Date, DateTime};
use jiff::{Timestamp, tz::TimeZone};

/// Seconds from 1970 to 2000.
const EPOCH_SECONDS: i64 = 946_684_800;
/// Hours of an offset that PostgreSQL takes.
const MAX_OFFSET_HOURS: u8 = 15;

/// Microseconds since 2000 of an RFC 3339 timestamp.
pub(crate) fn micros(text: &str) -> Result<i64, String> {
    if let Some(micros) = quick(text.as_bytes()) {
        return Ok(micros);
    }
    let time: Timestamp = after_time(text)
        .filter(|zone| is_zone(zone))
        .and_then(|_| text.parse().ok())
        .ok_or("the text is no timestamp with a time zone, such as 2026-01-31T12:00:00Z")?;
    whole_micros(time)
}

/// Microseconds since 2000 of a timestamp in UTC or without a zone.
pub(crate) fn local_micros(text: &str) -> Result<i64, String> {
    if after_date(text) == Some("") {
        return Ok(i64::from(days(text)?) * 86_400_000_000);
    }
    let wanted = "the text is no timestamp, such as 2026-01-31T12:00:00";
    let zone = after_time(text).ok_or(wanted)?;
    if is_zone(zone) {
        // PostgreSQL would drop the offset, and with it the moment that is meant.
        if zone.bytes().any(|byte| matches!(byte, b'1'..=b'9')) {
            return Err(
                "the timestamp is in another time zone than UTC; only a column of the type timestamptz can hold it"
                    .to_owned(),
            );
        }
        return micros(text);
    }
    let time: Option<DateTime> = zone.is_empty().then(|| text.parse().ok()).flatten();
    let time = TimeZone::UTC
        .to_timestamp(time.ok_or(wanted)?)
        .map_err(|_| "the timestamp is out of range")?;
    whole_micros(time)
}

/// Days since 2000 of a date.
pub(crate) fn days(text: &str) -> Result<i32, String> {
    let date: Date = (after_date(text) == Some(""))
        .then(|| text.parse().ok())
        .flatten()
        .ok_or("the text is no date, such as 2026-01-31")?;
    Ok(days_from_civil(
        i64::from(date.year()),
        i64::from(date.month()),
        i64::from(date.day()),
    ))
}

/// Microseconds since 2000 as PostgreSQL writes them, without a zone.
pub(crate) fn iso(micros: i64) -> Option<String> {
    let time = Timestamp::from_microsecond(micros + EPOCH_SECONDS * 1_000_000).ok()?;
    Some(TimeZone::UTC.to_datetime(time).to_string())
}

fn whole_micros(time: Timestamp) -> Result<i64, String> {
    if time.subsec_nanosecond() % 1000 != 0 {
        return Err("the timestamp is finer than a microsecond".to_owned());
    }
    Ok(time.as_microsecond() - EPOCH_SECONDS * 1_000_000)
}

/// What follows the digits.
fn after_digits(text: &str, count: usize) -> Option<&str> {
    let (digits, rest) = text.split_at_checked(count)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(rest)
}

/// What follows a date. PostgreSQL has no year 0.
fn after_date(text: &str) -> Option<&str> {
    let rest = after_digits(text, 4).filter(|_| !text.starts_with("0000"))?;
    let rest = after_digits(rest.strip_prefix('-')?, 2)?;
    after_digits(rest.strip_prefix('-')?, 2)
}

/// What follows a date and a time. A leap second has no place of its own: one moves it forward, another back.
fn after_time(text: &str) -> Option<&str> {
    let rest = after_date(text)?.strip_prefix(['T', 't', ' '])?;
    let rest = after_digits(rest, 2)?.strip_prefix(':')?;
    let rest = after_digits(rest, 2)?;
    let Some(rest) = rest.strip_prefix(':') else {
        return Some(rest);
    };
    let rest = after_digits(rest, 2).filter(|_| !rest.starts_with('6'))?;
    let Some(fraction) = rest.strip_prefix('.') else {
        return Some(rest);
    };
    let rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest.len() < fraction.len()).then_some(rest)
}

/// `Z`, `+01`, `+0100`, `+01:00`.
fn is_zone(text: &str) -> bool {
    if matches!(text, "Z" | "z") {
        return true;
    }
    let Some(hours) = text.strip_prefix(['+', '-']) else {
        return false;
    };
    let Some(rest) = after_digits(hours, 2) else {
        return false;
    };
    let is_near = (hours[..2].parse::<u8>()).is_ok_and(|hours| hours <= MAX_OFFSET_HOURS);
    let minutes = rest.strip_prefix(':').unwrap_or(rest);
    is_near && (rest.is_empty() || after_digits(minutes, 2) == Some(""))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a date of four-digit years"
)]
fn days_from_civil(year: i64, month: i64, day: i64) -> i32 {
    // Years start in March here, so that the leap day is the last one.
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * month + 2) / 5 + day - 1;
    (era * 146_097 + day_of_era - 730_425) as i32
}

/// The form in which the API writes nearly all of them: `2026-01-31T12:00:00.000Z`.
fn quick(text: &[u8]) -> Option<i64> {
    let [
        y1,
        y2,
        y3,
        y4,
        b'-',
        mo1,
        mo2,
        b'-',
        d1,
        d2,
        b'T',
        h1,
        h2,
        b':',
        mi1,
        mi2,
        b':',
        s1,
        s2,
        b'.',
        f1,
        f2,
        f3,
        b'Z',
    ] = text
    else {
        return None;
    };
    let number = |digits: &[&u8]| {
        digits.iter().try_fold(0_i64, |number, digit| {
            digit
                .is_ascii_digit()
                .then(|| number * 10 + i64::from(**digit - b'0'))
        })
    };
    let (year, month, day) = (
        number(&[y1, y2, y3, y4])?,
        number(&[mo1, mo2])?,
        number(&[d1, d2])?,
    );
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[mi1, mi2])?, number(&[s1, s2])?);
    let millis = number(&[f1, f2, f3])?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last_day = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    // Leap seconds and the year 0 go the slow way, which knows what to say of them.
    if day < 1 || day > last_day || hour > 23 || minute > 59 || second > 59 || year == 0 {
        return None;
    }
    let days = i64::from(days_from_civil(year, month, day));
    Some(((days * 86_400 + hour * 3600 + minute * 60 + second) * 1000 + millis) * 1000)
}
