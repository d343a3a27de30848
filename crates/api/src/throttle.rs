//! The time in which the server answers 429: pauses, probes, patience. Pure: it is given the time.

use std::time::Duration;

use tokio::time::Instant;

use super::limits::{Limits, WaitingFor};

/// The longest pause that nobody asked for.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What `Retry-After` says is believed for a minute. From then on no pause is shorter than this part of the time in which nothing
/// but 429 was answered: a server that always says "in a second" would cost more requests than an hour has.
const TRUSTED_PART: u32 = 60;

/// A pause is longer by up to this part of it, at random: at an even pace a probe could meet another program's burst each time.
const JITTER: f64 = 0.25;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
    Until {
        time: Instant,
        reason: WaitingFor,
        /// Since when everything was answered with 429.
        quiet_since: Option<Instant>,
    },
    /// Until one of the requests in flight is answered.
    Answers,
    /// Nothing but 429 was answered for as long as is borne.
    Throttled { quiet_since: Instant },
}

/// From a 429 until the answer to a request that was sent after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Throttle {
    /// Patience counts from here: the first 429, a later success, or the end of an hour that was used up.
    pub(crate) quiet_since: Instant,
    /// Nobody sends before.
    pub(crate) next_probe: Instant,
    pub(crate) reason: WaitingFor,
    /// The one request that asks whether it is over.
    pub(crate) probe: Option<u64>,
    /// Probes that were answered with 429.
    pub(crate) rejected_probes: u32,
    /// An hour that no header called used up was waited for.
    pub(crate) waited_for_hour: bool,
}

impl Throttle {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            quiet_since: now,
            next_probe: now,
            reason: WaitingFor::Throttled,
            probe: None,
            rejected_probes: 0,
            waited_for_hour: false,
        }
    }

    /// None: the probe may go.
    pub(crate) fn block(&self, now: Instant, limits: &Limits) -> Option<Block> {
        if self.probe.is_some() {
            return Some(Block::Answers);
        }
        if now >= self.next_probe {
            return None;
        }
        let (reason, quiet_since) = (self.reason, self.quiet_since);
        if reason == WaitingFor::NextHour && !limits.wait_for_next_hour {
            return Some(Block::Until {
                time: self.next_probe,
                reason,
                quiet_since: None,
            });
        }
        let ends = quiet_since.checked_add(limits.patience);
        let ends = ends.unwrap_or(self.next_probe);
        if now >= ends {
            return Some(Block::Throttled { quiet_since });
        }
        Some(Block::Until {
            time: self.next_probe.min(ends),
            reason,
            quiet_since: Some(quiet_since),
        })
    }

    /// A pause from `now` on that is not about the hour.
    pub(crate) fn pause(
        &self,
        now: Instant,
        retry_after: Option<Duration>,
        least: Duration,
    ) -> Duration {
        let pause = match retry_after {
            Some(after) => {
                after.max(now.saturating_duration_since(self.quiet_since) / TRUSTED_PART)
            }
            None => {
                let doublings = 1_u32.checked_shl(self.rejected_probes).unwrap_or(u32::MAX);
                least.saturating_mul(doublings).min(LONGEST_PAUSE)
            }
        };
        pause.max(least).mul_f64(1.0 + JITTER * fastrand::f64())
    }
}
