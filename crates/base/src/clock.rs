//! The wall clock of this machine, which anybody may set at any time, also while cursus runs. It is read here only.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// Now, as the machine has it: for names, ages and people. Nothing may be lost if it is wrong.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    #[cfg(feature = "failpoints")]
    let now = now.saturating_add(set::offset()).unwrap_or(now);
    now
}

/// The instant after this one.
pub fn next(time: Timestamp) -> Timestamp {
    time.saturating_add(SignedDuration::from_nanos(1))
        .unwrap_or(time)
}

/// A clock whose times order events, also when the machine's clock is set back meanwhile.
#[derive(Debug, Default)]
pub struct OrderedClock {
    last: Mutex<Option<Timestamp>>,
}

impl OrderedClock {
    /// Now, but later than every time that this clock gave before.
    pub fn now(&self) -> Timestamp {
        self.after_last(now())
    }

    fn after_last(&self, now: Timestamp) -> Timestamp {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let time = last.map_or(now, |last| now.max(next(last)));
        *last = Some(time);
        time
    }
}

/// How tests set the clock: `CURSUS_CLOCK` is what it shows when it is first read, and a failpoint lets it jump.
#[cfg(feature = "failpoints")]
pub(crate) mod set {
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

    pub(crate) fn jump(seconds: i64) {
        JUMPED.fetch_add(seconds, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_when_the_clock_is_set_back() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let clock = OrderedClock::default();
        let times = [100, 50, 50, 200].map(|now| clock.after_last(second(now)));
        assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
        assert_eq!((times[0], times[3]), (second(100), second(200)));
        assert!(times[2] < second(101));
    }
}
