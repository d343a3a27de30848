//! What becomes of one granted turn: the request's way to the server, its answer, or none. It grants nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Correction, Purpose, Shared, State, tell};
use crate::api::log::Millis;
use crate::api::windows::Seen;

/// A request that leaves this soon after its turn was granted counts from the turn.
const PROMPT: Duration = Duration::from_millis(2);

/// The right to send one request now. Dropped without word of an answer, the request counts as sent and unanswered.
#[derive(Debug)]
pub(crate) struct Turn {
    shared: Arc<Shared>,
    number: u64,
    at: Millis,
    granted: Instant,
    purpose: Purpose,
    open: bool,
}

/// Tells the limiter about the connection of one turn's request.
#[derive(Debug, Clone)]
pub(crate) struct Handshake {
    shared: Arc<Shared>,
    number: u64,
    at: Millis,
    granted: Instant,
}

impl Turn {
    pub(super) fn new(shared: Arc<Shared>, number: u64, at: Millis, purpose: Purpose) -> Self {
        Self {
            shared,
            number,
            at,
            granted: Instant::now(),
            purpose,
            open: true,
        }
    }

    /// For the connector: see [`Handshake`].
    pub(crate) fn handshake(&self) -> Handshake {
        Handshake {
            shared: Arc::clone(&self.shared),
            number: self.number,
            at: self.at,
            granted: self.granted,
        }
    }

    /// The server answered, and this is what it said about its windows.
    pub(crate) fn answered(mut self, seen: Seen) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        self.close(&mut state, Some(seen));
        // Who counts on the end of a pause may go now.
        state.head_waits |= state.windows.served(Instant::now(), self.number);
        shared.look_again(&state);
    }

    /// The server, or a gateway before it, failed: that says nothing of whether it throttles.
    pub(crate) fn faulted(mut self, seen: Seen) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        self.close(&mut state, Some(seen));
        state.windows.undecided(Instant::now(), self.number);
        shared.look_again(&state);
    }

    /// The server refused because of its limits: everybody pauses, and one asks then.
    pub(crate) fn rejected(mut self, seen: Seen, retry_after: Option<Duration>) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        let now = Instant::now();
        state.figures.rejected += 1;
        self.close(&mut state, Some(seen));
        let (number, next) = (self.number, state.next);
        let until = state.windows.rejected(now, number, next, seen, retry_after);
        state.corrections.push(Correction::Pause { until });
        drop(state);
        shared.changed.notify_one();
    }

    /// The request did not leave this machine, and uses nothing up. It keeps its place in the window of a second.
    pub(crate) fn unreached(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        self.uncount(&mut state);
        shared.look_again(&state);
    }

    /// The turn was not used at all.
    pub(crate) fn give_back(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        self.uncount(&mut state);
        state
            .corrections
            .push(Correction::NeverSent { at: self.at });
        drop(state);
        shared.changed.notify_one();
    }

    fn uncount(&mut self, state: &mut State) {
        let count = match self.purpose {
            Purpose::Hit => &mut state.figures.hits,
            Purpose::Token => &mut state.figures.tokens,
        };
        *count = count.saturating_sub(1);
        state.windows.unsent(self.number);
        self.open = false;
        connected(state, self.number, self.at, false);
    }

    fn close(&mut self, state: &mut State, seen: Option<Seen>) {
        self.open = false;
        connected(state, self.number, self.at, true);
        let now = Instant::now();
        match seen {
            Some(seen) => {
                let before = state.windows.told();
                let moved = state.windows.heard(now, self.number, seen);
                state.figures.seen = state.figures.seen.updated(seen);
                state.head_waits |= moved;
                let told = state.windows.told();
                if told != before {
                    state.corrections.push(Correction::Told(told));
                    self.shared.tell_now(state);
                }
            }
            None => state.windows.unanswered(now, self.number),
        }
    }
}

impl Shared {
    /// Writes news to the ledger now: there may be no further turn that would. Who holds the head does it himself.
    fn tell_now(&self, state: &mut State) {
        if let Ok(mut head) = self.head.try_lock() {
            // What fails is kept, and the next turn meets it too.
            let _ = tell(&mut head.ledger, &mut state.corrections, Instant::now());
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.open {
            let shared = Arc::clone(&self.shared);
            let mut state = shared.state();
            self.close(&mut state, None);
            shared.look_again(&state);
        }
    }
}

impl Handshake {
    /// The request is with its connection, or waits for one. A busy machine may have taken its time until here.
    pub(crate) fn handed_over(&self) {
        if self.granted.elapsed() > PROMPT {
            self.shared.state().corrections.push(Correction::SentLater {
                at: self.at,
                now: Instant::now(),
            });
        }
    }

    /// The request waits for a new connection.
    pub(crate) fn started(&self) {
        let mut state = self.shared.state();
        if !state.connecting.iter().any(|(n, _)| *n == self.number) {
            state.connecting.push((self.number, self.at));
        }
    }

    /// The connection stands, or failed: now at the latest the request has left.
    pub(crate) fn ended(&self) {
        let mut state = self.shared.state();
        connected(&mut state, self.number, self.at, true);
        self.shared.look_again(&state);
    }
}

fn connected(state: &mut State, number: u64, at: Millis, sent: bool) {
    if let Some(position) = state.connecting.iter().position(|(n, _)| *n == number) {
        state.connecting.swap_remove(position);
        if sent {
            state.corrections.push(Correction::SentLater {
                at,
                now: Instant::now(),
            });
        }
    }
}
