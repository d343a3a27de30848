//! Numbers of one kind as another, or as text. A number out of range becomes the nearest in range.

use std::time::Duration;

use jiff::SignedDuration;

/// A count of the database.
pub fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// A count for the database.
pub fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Whole milliseconds.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A duration, whatever its sign, in at most two units: `16 h 55 min`.
pub fn span(duration: SignedDuration) -> String {
    let seconds = duration.unsigned_abs().as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let (first, rest, unit) = match (days, hours, minutes) {
        (0, 0, 0) => return format!("{seconds} s"),
        (0, 0, _) => return format!("{minutes} min"),
        (0, ..) => (format!("{hours} h"), minutes % 60, "min"),
        (1, ..) => ("1 day".to_owned(), hours % 24, "h"),
        _ => (format!("{days} days"), hours % 24, "h"),
    };
    if rest == 0 {
        first
    } else {
        format!("{first} {rest} {unit}")
    }
}

/// [`span`] of a duration without a sign.
pub fn span_of(duration: Duration) -> String {
    span(SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX))
}

/// A number with separated thousands: `92,768`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `1 row`, `2 rows`.
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// How long something took or will take, in at most two units: `40 ms`, `9.9 s`, `16 h 55 min`.
pub fn took(duration: Duration) -> String {
    match duration.as_millis() {
        1..1_000 => format!("{} ms", duration.as_millis()),
        1_000..9_950 => format!("{:.1} s", duration.as_secs_f64()),
        _ => span_of(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_at_most_two_units() {
        let spans =
            [0, 59, 60, 3_599, 3_600, 60_900, 86_400, -270_000].map(SignedDuration::from_secs);
        assert_eq!(
            spans.map(span),
            [
                "0 s",
                "59 s",
                "1 min",
                "59 min",
                "1 h",
                "16 h 55 min",
                "1 day",
                "3 days 3 h"
            ]
        );
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [0, 1, 2].map(|number| counted(number, "row")),
            ["0 rows", "1 row", "2 rows"]
        );
    }

    #[test]
    fn a_short_time_is_given_in_small_units() {
        let times = [0, 40, 1_000, 9_949, 10_400, 3_600_000].map(Duration::from_millis);
        assert_eq!(
            times.map(took),
            ["0 s", "40 ms", "1.0 s", "9.9 s", "10 s", "1 h"]
        );
    }
}
