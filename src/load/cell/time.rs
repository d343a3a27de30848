//! Timestamps and dates as PostgreSQL counts them: microseconds and days since 2000-01-01.

use jiff::civil::Date;
use jiff::{Timestamp, civil};

/// Seconds from 1970 to 2000.
const EPOCH_SECONDS: i64 = 946_684_800;

/// Microseconds since 2000 of an RFC 3339 timestamp.
pub(crate) fn micros(text: &str) -> Result<i64, String> {
    if let Some(micros) = quick(text.as_bytes()) {
        return Ok(micros);
    }
    let time: Timestamp = text.parse().map_err(|_| {
        "the text is no timestamp with a time zone, such as 2026-01-31T12:00:00Z".to_owned()
    })?;
    // 4713 BC, the beginning of PostgreSQL's calendar.
    if time.as_second() < -210_866_803_200 {
        return Err("the timestamp is before 4713 BC".to_owned());
    }
    if time.subsec_nanosecond() % 1000 != 0 {
        return Err("the timestamp is finer than a microsecond".to_owned());
    }
    Ok(time.as_microsecond() - EPOCH_SECONDS * 1_000_000)
}

/// Microseconds since 2000 of a timestamp in UTC or without a zone.
pub(crate) fn local_micros(text: &str) -> Result<i64, String> {
    if let Ok(time) = micros(text) {
        return Ok(time);
    }
    let time: civil::DateTime = text
        .parse()
        .map_err(|_| "the text is no timestamp, such as 2026-01-31T12:00:00".to_owned())?;
    let time = jiff::tz::TimeZone::UTC
        .to_timestamp(time)
        .map_err(|_| "the timestamp is out of range".to_owned())?;
    Ok(time.as_microsecond() - EPOCH_SECONDS * 1_000_000)
}

/// Days since 2000 of a date.
pub(crate) fn days(text: &str) -> Result<i32, String> {
    let date: Date = (text.len() == 10)
        .then(|| text.parse().ok())
        .flatten()
        .ok_or("the text is no date, such as 2026-01-31")?;
    Ok(days_from_civil(
        i64::from(date.year()),
        i64::from(date.month()),
        i64::from(date.day()),
    ))
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
