//! What becomes of one granted turn: its request leaves, and is answered or not. `limiter` grants it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::admission::{Correction, write_corrections};
use super::shared::{Purpose, Shared, State};
use crate::log::Millis;
use crate::rate_windows::RateHeaders;

/// A request that leaves this soon after its turn was granted counts from the turn.
const PROMPT: Duration = Duration::from_millis(2);

/// The right to send one request now. Dropped without an answer, the request counts as sent and unanswered.
#[derive(Debug)]
pub(crate) struct Turn {
    shared: Arc<Shared>,
    number: u64,
    at: Millis,
    granted: Instant,
    purpose: Purpose,
    is_open: bool,
}

impl Turn {
    pub(super) fn new(shared: Arc<Shared>, number: u64, at: Millis, purpose: Purpose) -> Self {
        Self {
            shared,
            number,
            at,
            granted: Instant::now(),
            purpose,
            is_open: true,
        }
    }

    /// The request leaves now. A busy machine may have taken its time until here.
    pub(crate) fn departs(&self) {
        if self.granted.elapsed() > PROMPT {
            let (at, now) = (self.at, Instant::now());
            let correction = Correction::SentLater { at, now };
            self.shared.state().corrections.push(correction);
        }
    }

    /// The server answered, and this is what it said about its windows.
    pub(crate) fn answered(mut self, headers: RateHeaders) {
        self.close(|turn, state| {
            turn.learn(state, headers);
            state.windows.served(Instant::now(), turn.number);
        });
    }

    /// The server, or a gateway before it, failed: that says nothing of whether it throttles.
    pub(crate) fn faulted(mut self, headers: RateHeaders) {
        self.close(|turn, state| {
            turn.learn(state, headers);
            state.windows.undecided(Instant::now(), turn.number);
        });
    }

    /// The server refused because of its limits: everybody pauses, and one asks then.
    pub(crate) fn rejected(mut self, headers: RateHeaders, retry_after: Option<Duration>) {
        self.close(|turn, state| {
            state.figures.rejected_429 += 1;
            turn.learn(state, headers);
            let (number, next) = (turn.number, state.next);
            let until =
                (state.windows).rejected(Instant::now(), number, next, headers, retry_after);
            state.corrections.push(Correction::Pause { until });
        });
    }

    /// The request did not leave this machine, and uses nothing up. It keeps its place in the window of a second.
    pub(crate) fn unreached(mut self) {
        self.close(Self::uncount);
    }

    /// The turn was not used at all.
    pub(crate) fn give_back(mut self) {
        self.close(|turn, state| {
            turn.uncount(state);
            let at = turn.at;
            state.corrections.push(Correction::NeverSent { at });
        });
    }

    /// Ends the turn, and lets the head of the queue decide again.
    fn close(&mut self, end: impl FnOnce(&Self, &mut State)) {
        self.is_open = false;
        end(self, &mut self.shared.state());
        self.shared.changed.notify_one();
    }

    fn uncount(&self, state: &mut State) {
        let count = state.figures.count(self.purpose);
        *count = count.saturating_sub(1);
        state.windows.unsent(self.number);
    }

    fn learn(&self, state: &mut State, headers: RateHeaders) {
        let before = state.windows.advertised();
        state.windows.heard(Instant::now(), self.number, headers);
        state.figures.rate = state.figures.rate.updated(headers);
        let limits = state.windows.advertised();
        if limits != before {
            state.corrections.push(Correction::Limits(limits));
            // There may be no further turn that would write it. The head of the queue, if there is one, does so itself.
            if let Ok(mut ledger) = self.shared.ledger.try_lock() {
                // What fails is kept, and the next turn meets it too.
                let _ = write_corrections(&mut ledger, &mut state.corrections, Instant::now());
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.is_open {
            self.close(|turn, state| state.windows.unanswered(Instant::now(), turn.number));
        }
    }
}
