//! What the queue, its turns and the forecasts share.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use super::admission::Correction;
use crate::error::ApiError;
use crate::ledger::Ledger;
use crate::limits::{Limits, WaitingFor};
use crate::log::Millis;
use crate::rate_windows::{RateHeaders, Windows};
use cursus_base::mutex::locked;

/// The client's figures so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Statistics {
    /// Requests for pages that reached the server, or may have.
    pub requests: u64,
    /// Requests for tokens, likewise.
    pub token_requests: u64,
    /// Answers of 429.
    pub rejected_429: u64,
    /// Attempts beyond the first ones, without those after a 429 or a 401, which are no faults.
    pub retries: u64,
    /// What the server last said about its limits.
    pub rate: RateHeaders,
    /// How long everybody waited for the next hour, or because the key was throttled.
    pub waited: Duration,
}

impl Statistics {
    pub(super) fn count(&mut self, purpose: Purpose) -> &mut u64 {
        match purpose {
            Purpose::Page => &mut self.requests,
            Purpose::Token => &mut self.token_requests,
        }
    }
}

/// Why everybody waits, for a countdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// What we wait for.
    pub reason: WaitingFor,
    /// When requests flow again at the latest, as far as is known.
    pub until: Timestamp,
    /// While throttled: since when everything was answered with 429, if this process has met it.
    pub quiet_since: Option<Timestamp>,
}

/// What a turn is for: `max_hits` counts requests for pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Page,
    Token,
}

/// How long another process may keep the ledger before that is a fault.
pub(super) const LEDGER_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    /// Held by the request at the head of the queue: tokio's mutex is first come, first served.
    pub(super) ledger: tokio::sync::Mutex<Ledger>,
    pub(super) state: Mutex<State>,
    /// The head of the queue should decide again.
    pub(super) changed: Notify,
    pub(super) waiting: watch::Sender<Option<Waiting>>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) windows: Windows,
    pub(super) figures: Statistics,
    pub(super) next: u64,
    pub(super) corrections: Vec<Correction>,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    pub(super) fn reserve_too_large(&self, state: &State) -> ApiError {
        ApiError::ReserveTooLarge {
            reserve: self.limits.reserve_per_hour,
            limit: state.windows.hourly_limit(),
        }
    }

    pub(super) fn announce(&self, waiting: Option<Waiting>) {
        self.waiting.send_if_modified(|current| {
            // The deadline is computed each time: a few milliseconds are no news.
            let same = match (&current, &waiting) {
                (Some(one), Some(two)) => {
                    one.reason == two.reason
                        && (one.until.as_millisecond() - two.until.as_millisecond()).abs() < 500
                }
                (None, None) => true,
                _ => false,
            };
            if !same {
                *current = waiting;
            }
            !same
        });
    }
}

pub(super) fn milliseconds(millis: Millis) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
