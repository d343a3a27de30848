//! When the requests of one key were sent: a sliding log and the question "when may the next one go?".
//! Pure: it is given the time in milliseconds, and knows neither clocks nor files nor HTTP.

use serde::{Deserialize, Serialize};

/// A time in milliseconds, on the clock of the log's owner.
pub(crate) type Millis = i64;

/// The longest window that the log can answer for.
pub(crate) const HOUR: Millis = 3_600_000;

/// Requests older than this are remembered in steps of [`FINE`], then [`COARSE`]: the log stays small at any rate.
const EXACT_AGE: Millis = 2_000;
const FINE_AGE: Millis = 60_000;
const FINE: Millis = 100;
const COARSE: Millis = 10_000;

/// How long an entry can matter: an hour, the slack of the hourly window, and the rounding.
const MEMORY: Millis = HOUR + 60_000;

/// Clocks of two processes never differ by more than this unless one was set: entries further ahead are from before.
const FUTURE: Millis = 20;

/// Times beyond the year 10000 are no times.
pub(crate) const LATEST: Millis = 1 << 48;

/// At most `count` requests in any `window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) count: u64,
    pub(crate) window: Millis,
}

/// `count` requests that were sent at `at` or a little before: times are only ever rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) at: Millis,
    pub(crate) count: u32,
}

/// The limits that the server last advertised to any of the key's users.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AdvertisedLimits {
    pub(crate) second: Option<u64>,
    pub(crate) hour: Option<u64>,
}

impl AdvertisedLimits {
    /// Limits that `later` does not name, or names as 0, stay.
    pub(crate) fn update(&mut self, later: Self) {
        let is_limit = |limit: &u64| *limit > 0;
        self.second = later.second.filter(is_limit).or(self.second);
        self.hour = later.hour.filter(is_limit).or(self.hour);
    }
}

/// The requests of the last hour, oldest first, and what holds for all of the key's users: a pause, and the limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Log {
    entries: Vec<Entry>,
    paused_until: Millis,
    advertised: AdvertisedLimits,
}

impl Log {
    /// Whether the times are in order, and such that nothing overflows.
    pub(crate) fn is_sane(&self) -> bool {
        let is_time = |at: Millis| (0..=LATEST).contains(&at);
        self.entries.is_sorted_by(|one, next| one.at < next.at)
            && is_time(self.paused_until)
            && self.entries.iter().all(|entry| is_time(entry.at))
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn paused_until(&self) -> Millis {
        self.paused_until
    }

    pub(crate) fn advertised(&self) -> AdvertisedLimits {
        self.advertised
    }

    /// The server advertised limits.
    pub(crate) fn advertise(&mut self, limits: AdvertisedLimits) {
        self.advertised.update(limits);
    }

    /// Nobody sends before `until`.
    pub(crate) fn pause(&mut self, until: Millis) {
        self.paused_until = self.paused_until.max(until);
    }

    /// Forgets what no window reaches, rounds what is old, and pulls entries that a clock set back has left in the
    /// future to now: they may have been sent just now for all that we know.
    pub(crate) fn settle(&mut self, now: Millis) {
        if self.paused_until > now + MEMORY {
            self.paused_until = now + HOUR;
        }
        let mut settled: Vec<Entry> = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let age = now - entry.at;
            if age > MEMORY {
                continue;
            }
            let at = if age > FINE_AGE {
                round_up(entry.at, COARSE)
            } else if age > EXACT_AGE {
                round_up(entry.at, FINE)
            } else if age < -FUTURE {
                now
            } else {
                entry.at
            };
            match settled.last_mut() {
                Some(last) if last.at >= at => last.count = last.count.saturating_add(entry.count),
                _ => settled.push(Entry {
                    at,
                    count: entry.count,
                }),
            }
        }
        self.entries = settled;
    }

    /// The first moment from `now` on at which `rule` lets one more request go.
    pub(crate) fn earliest(&self, rule: Rule, now: Millis) -> Millis {
        let mut newer = 0_u64;
        for entry in self.entries.iter().rev() {
            newer += u64::from(entry.count);
            if newer >= rule.count {
                return now.max(entry.at + rule.window);
            }
            if entry.at + rule.window <= now {
                break;
            }
        }
        now
    }

    /// How many requests `rule` admits together at `now`.
    pub(crate) fn room(&self, rule: Rule, now: Millis) -> u64 {
        let used: u64 = self
            .entries
            .iter()
            .rev()
            .take_while(|entry| entry.at + rule.window > now)
            .map(|entry| u64::from(entry.count))
            .sum();
        rule.count.saturating_sub(used)
    }

    /// Notes `count` requests that go out at `at` at the latest.
    pub(crate) fn push(&mut self, at: Millis, count: u32) {
        let position = self.entries.partition_point(|entry| entry.at < at);
        match self.entries.get_mut(position) {
            Some(entry) if entry.at == at => entry.count = entry.count.saturating_add(count),
            _ => self.entries.insert(position, Entry { at, count }),
        }
    }

    /// Takes back one request noted at `at`; does nothing once it has been rounded away.
    pub(crate) fn remove(&mut self, at: Millis) {
        if let Ok(position) = self.entries.binary_search_by_key(&at, |entry| entry.at) {
            let entry = &mut self.entries[position];
            entry.count = entry.count.saturating_sub(1);
            if entry.count == 0 {
                self.entries.remove(position);
            }
        }
    }

    /// A request noted at `from` went out only at `to`. Once `from` has been rounded away it counts twice: too many
    /// is safe.
    pub(crate) fn postpone(&mut self, from: Millis, to: Millis) {
        self.remove(from);
        self.push(to, 1);
    }
}

fn round_up(at: Millis, step: Millis) -> Millis {
    at.div_euclid(step) * step + if at.rem_euclid(step) == 0 { 0 } else { step }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Rule = Rule {
        count: 3,
        window: 1_000,
    };

    #[test]
    fn a_request_may_go_when_the_window_has_left_the_oldest_behind() {
        let mut log = Log::default();
        log.push(100, 1);
        log.push(200, 2);
        assert_eq!(log.earliest(SECOND, 300), 1_100);
        assert_eq!(log.earliest(SECOND, 1_100), 1_100);
        assert_eq!(log.room(SECOND, 1_100), 1);
        assert_eq!(log.room(SECOND, 1_199), 1);
        assert_eq!(log.room(SECOND, 1_200), 3);
    }

    #[test]
    fn entries_from_a_clock_that_was_set_back_count_as_sent_now() {
        let mut log = Log::default();
        log.push(5 * HOUR, 3);
        log.pause(9 * HOUR);
        log.settle(1_000);
        assert_eq!(log.earliest(SECOND, 1_000), 2_000);
        assert_eq!(log.paused_until(), 1_000 + HOUR);
    }

    #[test]
    fn the_log_stays_small_at_any_rate() {
        let mut log = Log::default();
        for at in 0..300_000 {
            log.push(at, 10);
            if at % 500 == 0 {
                log.settle(at);
            }
        }
        for at in (300_000..2 * HOUR).step_by(1_000) {
            log.push(at, 2);
            log.settle(at);
        }
        assert!(log.entries().len() < 600, "{}", log.entries().len());
    }

    proptest! {
        /// Rounding never lets a request go earlier than the exact times would.
        #[test]
        fn rounding_errs_on_the_late_side(
            gaps in proptest::collection::vec(0_i64..200_000, 1..60),
            count in 1_u64..20,
            window in 1_i64..HOUR,
            settle_every in 1_usize..5,
        ) {
            let rule = Rule { count, window };
            let mut exact: Vec<Millis> = Vec::new();
            let mut log = Log::default();
            let mut now = 0;
            for (index, gap) in gaps.iter().enumerate() {
                now += gap;
                if index % settle_every == 0 {
                    log.settle(now);
                }
                let used = exact.iter().filter(|at| **at + window > now).count() as u64;
                prop_assert!(log.room(rule, now) <= count.saturating_sub(used));
                prop_assert_eq!(log.room(rule, now) == 0, log.earliest(rule, now) > now);
                exact.push(now);
                log.push(now, 1);
            }
        }
    }
}
