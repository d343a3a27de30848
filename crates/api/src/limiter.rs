//! Who may send when: one queue for all requests of a key. It knows time and counts, nothing of HTTP.
//!
//! **Never over.** Nothing is known of the server's windows: fixed or rolling, and of what phase. So no window of a
//! second (or an hour) may hold more than the limit, wherever it begins. The server sees arrivals, the limiter knows departures;
//! the delay between them varies. If it varies by at most `slack`, then the arrivals of any window of a second were
//! sent within one second + slack, and the log lets no more than the limit go in such a span. Counting each request
//! until its answer would need no such bound, but at answers of 10 s it would leave a fifth of the rate. The slack costs
//! its share of the rate, 2.4 %; each 429 that does not stay alone doubles it (up to a quarter), and it shrinks again after
//! many answers without one. So a network on which delays vary more, or new connections take longer, costs a few 429 and then
//! a part of the rate. Inside the window the turns are spread, so that delays rarely add up.
//!
//! **The hour.** Our own log of the last hour, and the server's `Remaining` less what it may not count yet (in flight,
//! overtaken, unanswered), each keep `reserve_per_hour` free: others may use the key. When the server says that the
//! hour is used up, it surely frees one hour after the first answer since `Remaining` last rose: a fixed window that
//! contains that answer has ended by then, a rolling one has forgotten what was counted at it. Then a single request
//! asks how things stand.
//!
//! **Throttled.** A 429 makes everybody pause, for as long as it says, else for a second and twice as long after each further
//! one, up to a minute. After each pause one request, the probe, asks whether it is over; the others wait. The probe's
//! answer ends it, and the rate, halved, doubles again with what is served. Patience has an end: [`ApiError::Throttled`].
//!
//! **The limits** that the server advertised last stand in the ledger: the next process starts from them.

mod admission;
mod allowance;
mod turn;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::admission::{Admission, Correction, admission, correct, write_corrections};
pub use self::allowance::Allowance;
pub(crate) use self::turn::Turn;

use super::Statistics;
use super::error::ApiError;
use super::ledger::Ledger;
use super::log::Millis;
use super::throttle::Block;
use super::windows::{Limits, WaitingFor, Windows};

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
const LEDGER_PATIENCE: Duration = Duration::from_secs(10);

/// The queue; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Limiter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    /// Held by the request at the head of the queue: tokio's mutex is first come, first served.
    ledger: tokio::sync::Mutex<Ledger>,
    state: Mutex<State>,
    /// The head of the queue should decide again.
    changed: Notify,
    waiting: watch::Sender<Option<Waiting>>,
}

#[derive(Debug)]
struct State {
    windows: Windows,
    figures: Statistics,
    next: u64,
    corrections: Vec<Correction>,
}

enum Decision {
    Go(Turn),
    Until {
        time: Instant,
        reason: Option<WaitingFor>,
        quiet_since: Option<Instant>,
    },
    /// Until an answer comes.
    Answer,
    /// Another process holds the ledger.
    Busy,
}

impl Limiter {
    pub(crate) fn new(limits: Limits, ledger: Ledger) -> Self {
        Self(Arc::new(Shared {
            limits,
            ledger: tokio::sync::Mutex::new(ledger),
            state: Mutex::new(State {
                windows: Windows::new(limits.least_pause),
                figures: Statistics::default(),
                next: 0,
                corrections: Vec::new(),
            }),
            changed: Notify::new(),
            waiting: watch::Sender::new(None),
        }))
    }

    /// Waits for a turn, first come, first served. To drop the future is to leave the queue; nothing is lost by it.
    pub(crate) async fn turn(&self, purpose: Purpose) -> Result<Turn, ApiError> {
        let shared = &self.0;
        let mut ledger = shared.ledger.lock().await;
        let _announcement = Announcement(shared);
        let mut busy_since: Option<Instant> = None;
        loop {
            let decision = shared.decide(&mut ledger, purpose)?;
            if !matches!(decision, Decision::Busy) {
                busy_since = None;
            }
            match decision {
                Decision::Go(turn) => return Ok(turn),
                Decision::Until {
                    time,
                    reason,
                    quiet_since,
                } => {
                    shared.announce(reason.map(|reason| Waiting {
                        reason,
                        until: timestamp(time),
                        quiet_since: quiet_since.map(timestamp),
                    }));
                    let _wait = reason.is_some().then(|| Wait::new(shared));
                    tokio::select! {
                        () = tokio::time::sleep_until(time) => {}
                        () = shared.changed.notified() => {}
                    }
                }
                Decision::Answer => shared.changed.notified().await,
                Decision::Busy => {
                    let since = *busy_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > LEDGER_PATIENCE {
                        return Err(ApiError::LedgerBusy);
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
    }

    pub(crate) fn figures(&self) -> Statistics {
        self.0.state().figures
    }

    pub(crate) fn waiting(&self) -> watch::Receiver<Option<Waiting>> {
        self.0.waiting.subscribe()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, waiting: Option<Waiting>) {
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

    fn decide(
        self: &Arc<Self>,
        ledger: &mut Ledger,
        purpose: Purpose,
    ) -> Result<Decision, ApiError> {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(max_hits) = self.limits.max_hits
            && purpose == Purpose::Page
            && state.figures.requests >= max_hits
        {
            return Err(ApiError::MaxHits { max_hits });
        }
        if let Some(block) = state.windows.block(now, &self.limits) {
            // Other processes hear of a pause before this one waits for its end, or ends.
            let written = write_corrections(ledger, &mut state.corrections, now);
            if !written? {
                return Ok(Decision::Busy);
            }
            return match block {
                Block::Until {
                    time,
                    reason,
                    quiet_since,
                } => self.wait(time, Some(reason), quiet_since),
                Block::Answers => Ok(Decision::Answer),
                Block::Throttled { quiet_since } => Err(ApiError::Throttled {
                    quiet: now.saturating_duration_since(quiet_since),
                }),
            };
        }
        let State {
            windows,
            corrections,
            ..
        } = &mut *state;
        let outcome = ledger.transact(|view| {
            let view = correct(view, corrections, now);
            // Our own news is in there too: it is what the server advertised last, to any process.
            windows.learn(view.log.advertised());
            let changed = !corrections.is_empty();
            let Some(rules) = windows.rules(&self.limits) else {
                return (None, changed);
            };
            let admission = admission(&view, &rules);
            let is_free = matches!(admission, Admission::Free);
            if is_free {
                view.log.push(view.now_up, 1);
            }
            (Some((admission, view.now, view.now_up)), changed || is_free)
        });
        let Some(decided) = outcome? else {
            return Ok(Decision::Busy);
        };
        state.corrections.clear();
        match decided {
            None => Err(self.reserve_too_large(&state)),
            Some((Admission::Free, _, now_up)) => {
                Ok(Decision::Go(self.grant(&mut state, purpose, now_up)))
            }
            Some((Admission::Later { at, reason }, view_now, _)) => {
                self.wait(now + milliseconds(at - view_now), reason, None)
            }
        }
    }

    fn reserve_too_large(&self, state: &State) -> ApiError {
        ApiError::ReserveTooLarge {
            reserve: self.limits.reserve_per_hour,
            limit: state.windows.hourly_limit(),
        }
    }

    /// Waits, or ends the run if the wait is for another hour and nobody wants that.
    fn wait(
        &self,
        time: Instant,
        reason: Option<WaitingFor>,
        quiet_since: Option<Instant>,
    ) -> Result<Decision, ApiError> {
        if reason == Some(WaitingFor::NextHour) && !self.limits.wait_for_next_hour {
            return Err(ApiError::HourUsedUp {
                resume_at: timestamp(time),
            });
        }
        Ok(Decision::Until {
            time,
            reason,
            quiet_since,
        })
    }

    fn grant(self: &Arc<Self>, state: &mut State, purpose: Purpose, at: Millis) -> Turn {
        let number = state.next;
        state.next += 1;
        state.windows.sent(number);
        *state.figures.count(purpose) += 1;
        Turn::new(Arc::clone(self), number, at, purpose)
    }
}

impl Statistics {
    fn count(&mut self, purpose: Purpose) -> &mut u64 {
        match purpose {
            Purpose::Page => &mut self.requests,
            Purpose::Token => &mut self.token_requests,
        }
    }
}

fn timestamp(time: Instant) -> Timestamp {
    let now = Instant::now();
    let ahead = cursus_base::clock::now().checked_add(time.saturating_duration_since(now));
    let moment = ahead.and_then(|moment| moment.checked_sub(now.saturating_duration_since(time)));
    moment.unwrap_or(Timestamp::MAX)
}

fn milliseconds(millis: Millis) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// What the head of the queue announces ends with it.
struct Announcement<'a>(&'a Shared);

impl Drop for Announcement<'_> {
    fn drop(&mut self) {
        self.0.announce(None);
    }
}

/// Time that counts as waited.
struct Wait<'a> {
    shared: &'a Shared,
    since: Instant,
}

impl<'a> Wait<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            since: Instant::now(),
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.shared.state().figures.waited += self.since.elapsed();
    }
}

#[cfg(test)]
mod tests;
