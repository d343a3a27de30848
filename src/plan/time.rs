//! The server's time, and times before it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The server's time, as well as it is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerNow {
    pub(crate) now: Timestamp,
    /// How far the server's clock is ahead of the local one; `None` before the first answer.
    pub(crate) clock_skew: Option<SignedDuration>,
}

impl ServerNow {
    /// Before any answer: the time of our clock.
    pub(crate) fn local(now: Timestamp) -> Self {
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
