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
mod forecast;
mod shared;
mod turn;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::admission::{Admission, admission, correct, write_corrections};
pub use self::forecast::Allowance;
pub(crate) use self::shared::Purpose;
use self::shared::{LEDGER_PATIENCE, Shared, State, milliseconds};
pub use self::shared::{Statistics, Waiting};
pub(crate) use self::turn::Turn;

use super::error::ApiError;
use super::ledger::Ledger;
use super::limits::{Limits, WaitingFor};
use super::log::Millis;
use super::rate_windows::Windows;
use super::throttle::Block;

#[derive(Debug, Clone)]
pub(crate) struct Limiter(Arc<Shared>);

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
            let decision = self.decide(&mut ledger, purpose)?;
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

    /// What may still be sent as far as the ledger and the server's answers so far show.
    pub(crate) async fn allowance(&self) -> Result<Allowance, ApiError> {
        forecast::allowance(&self.0).await
    }

    pub(crate) fn waiting(&self) -> watch::Receiver<Option<Waiting>> {
        self.0.waiting.subscribe()
    }
}

impl Limiter {
    fn decide(&self, ledger: &mut Ledger, purpose: Purpose) -> Result<Decision, ApiError> {
        let now = Instant::now();
        let mut state = self.0.state();
        if let Some(max_hits) = self.0.limits.max_hits
            && purpose == Purpose::Page
            && state.figures.requests >= max_hits
        {
            return Err(ApiError::MaxHits { max_hits });
        }
        if let Some(block) = state.windows.block(now, &self.0.limits) {
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
            let Some(rules) = windows.rules(&self.0.limits) else {
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
            None => Err(self.0.reserve_too_large(&state)),
            Some((Admission::Free, _, now_up)) => {
                Ok(Decision::Go(self.grant(&mut state, purpose, now_up)))
            }
            Some((Admission::Later { at, reason }, view_now, _)) => {
                self.wait(now + milliseconds(at - view_now), reason, None)
            }
        }
    }

    /// Waits, or ends the run if the wait is for another hour and nobody wants that.
    fn wait(
        &self,
        time: Instant,
        reason: Option<WaitingFor>,
        quiet_since: Option<Instant>,
    ) -> Result<Decision, ApiError> {
        if reason == Some(WaitingFor::NextHour) && !self.0.limits.wait_for_next_hour {
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

    fn grant(&self, state: &mut State, purpose: Purpose, at: Millis) -> Turn {
        let number = state.next;
        state.next += 1;
        state.windows.sent(number);
        *state.figures.count(purpose) += 1;
        Turn::new(Arc::clone(&self.0), number, at, purpose)
    }
}

fn timestamp(time: Instant) -> Timestamp {
    let now = Instant::now();
    let ahead = cursus_base::clock::now().checked_add(time.saturating_duration_since(now));
    let moment = ahead.and_then(|moment| moment.checked_sub(now.saturating_duration_since(time)));
    moment.unwrap_or(Timestamp::MAX)
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
