//! The wall clock of this machine, which anybody may set at any time, also while we run. Read here only.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};

/// Now, as the machine has it: for names, ages and people. Nothing may be lost if it is wrong.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    #[cfg(debug_assertions)]
    let now = now.saturating_add(set::offset()).unwrap_or(now);
    now
}

/// The same for what counts in milliseconds.
pub(crate) fn system() -> SystemTime {
    let now = SystemTime::now();
    #[cfg(debug_assertions)]
    let now = if set::offset().is_negative() {
        now - set::offset().unsigned_abs()
    } else {
        now + set::offset().unsigned_abs()
    };
    now
}

/// Now, but later than whatever this process was told before: for what is put in order by it.
pub(crate) fn steady() -> Timestamp {
    static LAST: Mutex<Timestamp> = Mutex::new(Timestamp::MIN);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    *last = after(*last, now());
    *last
}

fn after(last: Timestamp, now: Timestamp) -> Timestamp {
    now.max(next(last))
}

/// The instant after this one.
pub(crate) fn next(time: Timestamp) -> Timestamp {
    time.saturating_add(SignedDuration::from_nanos(1))
        .unwrap_or(time)
}

/// Lets the clock of this process jump by so many seconds.
#[cfg(debug_assertions)]
pub(crate) fn jump(seconds: i64) {
    set::jump(seconds);
}

/// How tests set the clock: `CURSUS_CLOCK` is what it shows when it is first read.
#[cfg(debug_assertions)]
mod set {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    use jiff::{SignedDuration, Timestamp};

    static JUMPED: AtomicI64 = AtomicI64::new(0);
    static START: LazyLock<SignedDuration> = LazyLock::new(|| {
        std::env::var("CURSUS_CLOCK")
            .ok()
            .and_then(|time| time.parse::<Timestamp>().ok())
            .map_or(SignedDuration::ZERO, |time| {
                time.duration_since(Timestamp::now())
            })
    });

    pub(super) fn offset() -> SignedDuration {
        *START + SignedDuration::from_secs(JUMPED.load(Ordering::Relaxed))
    }

    pub(super) fn jump(seconds: i64) {
        JUMPED.fetch_add(seconds, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    #[test]
    fn what_is_put_in_order_by_it_stays_so_when_the_clock_goes_back() {
        let day = |day| {
            let noon = jiff::civil::date(2028, 2, day).at(12, 0, 0, 0);
            TimeZone::UTC.to_timestamp(noon).unwrap()
        };
        let first = after(Timestamp::MIN, day(29));
        let second = after(first, day(28));
        let third = after(second, day(28));
        assert!(first < second && second < third && third < day(29) + SignedDuration::from_secs(1));
        assert!(steady() < steady());
    }
}
