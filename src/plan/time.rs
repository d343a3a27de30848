//! The server's time, and times before it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The server's time, as well as it is known.
#[derive(Clone, Copy, Debug)]
pub struct ServerNow {
    /// The server's time.
    pub now: Timestamp,
    /// By how much the server's clock is ahead of ours; `None` before the first answer.
    pub clock_skew: Option<SignedDuration>,
}

impl ServerNow {
    /// Before any answer: the time of our clock.
    pub fn local(now: Timestamp) -> Self {
        Self {
            now,
            clock_skew: None,
        }
    }
}

/// The time `lookback` before another.
pub(crate) fn minus(time: Timestamp, lookback: Duration) -> Timestamp {
    SignedDuration::try_from(lookback)
        .ok()
        .and_then(|lookback| time.checked_sub(lookback).ok())
        .unwrap_or(Timestamp::MIN)
}
