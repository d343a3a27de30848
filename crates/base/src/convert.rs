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
}
