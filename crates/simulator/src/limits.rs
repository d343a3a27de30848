//! The two rate limits of an application, on the real clock, in both kinds of window. Knows nothing of HTTP.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What an application may ask.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests in a second.
    pub per_second: u32,
    /// Requests in an hour.
    pub per_hour: u32,
    /// The kind of both windows.
    pub window: Window,
    /// How long the hour is; shorter for tests.
    pub hour: Duration,
    /// Requests that were rejected count as well.
    pub rejected_count: bool,
    /// A 429 announces when to retry.
    pub retry_after: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_second: 2,
            per_hour: 1_200,
            window: Window::Fixed,
            hour: Duration::from_hours(1),
            rejected_count: true,
            retry_after: true,
        }
    }
}

/// When a limit is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// At every full second and hour of the real clock.
    Fixed,
    /// Never: what counts is always the last second, the last hour.
    Rolling,
}

/// Counts the requests of one application.
#[derive(Debug)]
pub(crate) struct Counters {
    limits: Limits,
    begun: Instant,
    /// The real time at `begun`, to align fixed windows with the clock.
    phase: Duration,
    used: Mutex<Used>,
}

#[derive(Debug)]
struct Used {
    second: Count,
    hour: Count,
}

#[derive(Debug)]
struct Count {
    length: Duration,
    limit: u32,
    kind: Window,
    /// Of a fixed window: which one, and how many requests in it.
    current: u128,
    requests: u32,
    /// Of a rolling window: when each request in it came.
    times: VecDeque<Duration>,
}

/// What becomes of a request, and what its headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) rejected: Option<Rejected>,
    pub(crate) second_remaining: u32,
    pub(crate) hour_remaining: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub(crate) hourly: bool,
    /// Until the window has room again.
    pub(crate) wait: Duration,
}

impl Counters {
    pub(crate) fn new(limits: Limits) -> Self {
        let count = |length, limit| Count {
            length,
            limit,
            kind: limits.window,
            current: 0,
            requests: 0,
            times: VecDeque::new(),
        };
        Self {
            limits,
            begun: Instant::now(),
            phase: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            used: Mutex::new(Used {
                second: count(Duration::from_secs(1), limits.per_second),
                hour: count(limits.hour, limits.per_hour),
            }),
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counts a request that comes now.
    pub(crate) fn take(&self) -> Admission {
        self.take_at(self.phase + self.begun.elapsed())
    }

    /// Counts a request against the hour only, and always accepts it.
    pub(crate) fn take_hourly(&self) {
        let now = self.phase + self.begun.elapsed();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.hour.settle(now);
        used.hour.add(now);
    }

    fn take_at(&self, now: Duration) -> Admission {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let Used { second, hour } = &mut *used;
        second.settle(now);
        hour.settle(now);
        let full = |hourly, count: &Count| Rejected {
            hourly,
            wait: count.wait(now),
        };
        let rejected = if hour.remaining() == 0 {
            Some(full(true, hour))
        } else if second.remaining() == 0 {
            Some(full(false, second))
        } else {
            None
        };
        if rejected.is_none() || self.limits.rejected_count {
            second.add(now);
            hour.add(now);
        }
        Admission {
            rejected,
            second_remaining: second.remaining(),
            hour_remaining: hour.remaining(),
        }
    }
}

impl Count {
    /// Forgets what is outside the window.
    fn settle(&mut self, now: Duration) {
        match self.kind {
            Window::Fixed => {
                let current = now.as_nanos() / self.length.as_nanos().max(1);
                if current != self.current {
                    (self.current, self.requests) = (current, 0);
                }
            }
            Window::Rolling => {
                while (self.times.front()).is_some_and(|at| *at + self.length <= now) {
                    self.times.pop_front();
                }
                self.requests = u32::try_from(self.times.len()).unwrap_or(u32::MAX);
            }
        }
    }

    fn add(&mut self, now: Duration) {
        self.requests = self.requests.saturating_add(1);
        if self.kind == Window::Rolling {
            self.times.push_back(now);
        }
    }

    fn remaining(&self) -> u32 {
        self.limit.saturating_sub(self.requests)
    }

    /// From a full window until one more request fits, if none comes before.
    fn wait(&self, now: Duration) -> Duration {
        match self.kind {
            Window::Fixed => {
                let length = self.length.as_nanos().max(1);
                let left = length - now.as_nanos() % length;
                Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX))
            }
            Window::Rolling => {
                let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
                let leaving = self.times.len().saturating_sub(limit);
                let first = self.times.get(leaving).copied().unwrap_or(now);
                (first + self.length).saturating_sub(now)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(window: Window) -> Counters {
        Counters::new(Limits {
            per_second: 2,
            per_hour: 5,
            window,
            hour: Duration::from_mins(1),
            ..Limits::default()
        })
    }

    fn at(counters: &Counters, millis: u64) -> (bool, u32, u32) {
        let admission = counters.take_at(Duration::from_millis(millis));
        (
            admission.rejected.is_none(),
            admission.second_remaining,
            admission.hour_remaining,
        )
    }

    #[test]
    fn fixed_window_restarts_with_the_clock_and_counts_rejections() {
        let counters = counters(Window::Fixed);
        assert_eq!(at(&counters, 60_900), (true, 1, 4));
        assert_eq!(at(&counters, 60_950), (true, 0, 3));
        assert_eq!(at(&counters, 60_990), (false, 0, 2));
        assert_eq!(at(&counters, 61_000), (true, 1, 1));
        assert_eq!(at(&counters, 62_000), (true, 1, 0));
        let admission = counters.take_at(Duration::from_secs(63));
        let hourly = Rejected {
            hourly: true,
            wait: Duration::from_secs(57),
        };
        assert_eq!(admission.rejected, Some(hourly));
        assert_eq!(at(&counters, 120_000), (true, 1, 4));
    }

    #[test]
    fn a_rolling_window_lets_no_burst_through_at_a_full_second() {
        let counters = counters(Window::Rolling);
        assert_eq!(at(&counters, 900), (true, 1, 4));
        assert_eq!(at(&counters, 950), (true, 0, 3));
        let admission = counters.take_at(Duration::from_millis(1_100));
        let spam = Rejected {
            hourly: false,
            wait: Duration::from_millis(800),
        };
        assert_eq!(admission.rejected, Some(spam));
        assert_eq!(at(&counters, 1_960), (true, 0, 1));
    }
}
