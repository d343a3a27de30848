//! Who may send when: one queue for all requests of a key. It knows time and counts, nothing of HTTP.
//!
//! **Never over.** Nothing is known of the server's windows: fixed or rolling, and of what phase. So no window of a
//! second (or an hour) may hold more than the limit, wherever it begins. The server sees arrivals, we know sendings;
//! the delay between them varies. If it varies by at most `slack`, then the arrivals of any window of a second were
//! sent within one second + slack, and the log lets no more than the limit go in such a span. The delay that matters
//! is that of a request on a standing connection: a request that must connect first counts from the end of the
//! handshake, and holds its place until then. Counting each request until its answer would need no such bound, but at
//! answers of 10 s it would leave a fifth of the rate. The slack costs its share of the rate, 2.4 %; each 429 that does not stay alone
//! doubles it (up to a quarter), quiet brings it back. Inside the window the turns are spread, so that delays rarely add up.
//!
//! **The hour.** Our own log of the last hour, and the server's `Remaining` less what it may not count yet (in flight,
//! overtaken, unanswered), each keep `reserve_per_hour` free: others may use the key. When the server says that the
//! hour is used up, it surely frees one hour after the first answer since `Remaining` last rose: a fixed window that
//! contains that answer has ended by then, a rolling one has forgotten what was counted at it. Then a single request
//! asks how things stand.
//!
//! **Throttled.** A 429 makes everybody pause, for as long as it says, else for a second and twice as long after each further
//! one, up to a minute. After each pause one request, the probe, asks whether it is over; the others wait. The probe's
//! answer ends it, and the rate, halved, doubles again with what is served. Patience has an end: [`Denied::Throttled`].
//!
//! **The limits** that the server told last stand in the ledger: whoever comes next starts from them.

mod allowance;
mod look;
mod turn;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub use self::allowance::Allowance;
use self::look::{Correction, Look, corrected, look, tell};
pub(crate) use self::turn::{Handshake, Turn};

use super::ledger::{Ledger, LedgerError};
use super::log::Millis;
use super::windows::{Block, Limits, Seen, WaitingFor, Windows};

/// Why everybody waits, for a countdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// What we wait for.
    pub reason: WaitingFor,
    /// When it goes on at the latest, as far as is known.
    pub until: Timestamp,
    /// While throttled: from when on nothing but 429 was answered, if this process has met it.
    pub quiet_since: Option<Timestamp>,
}

/// No turn will come.
#[derive(Debug)]
pub(crate) enum Denied {
    UsedUp { resume_at: Timestamp },
    MaxHits { max_hits: u64 },
    Throttled { quiet: Duration },
    ReserveTooLarge { reserve: u32, limit: u64 },
    Ledger(LedgerError),
    LedgerBusy,
}

/// What a turn is for: hits are what `max_hits` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Hit,
    Token,
}

/// The limiter's figures so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) hits: u64,
    pub(crate) tokens: u64,
    pub(crate) rejected: u64,
    pub(crate) waited: Duration,
    pub(crate) seen: Seen,
}

/// How long another process may keep the ledger before that is a fault.
const LEDGER_PATIENCE: Duration = Duration::from_secs(10);

/// Above this rate a shared ledger hands out several turns at once, to be used within [`BATCH_LIFE`].
const BATCH_PER_SECOND: u64 = 500;
const BATCH_LIFE: Millis = 2;

/// The queue; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Limiter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    /// Held by the request at the head of the queue: tokio's mutex is first come, first served.
    head: tokio::sync::Mutex<Head>,
    state: Mutex<State>,
    /// The head should look again.
    changed: Notify,
    queued: AtomicU64,
    waiting: watch::Sender<Option<Waiting>>,
}

#[derive(Debug)]
struct Head {
    ledger: Ledger,
    batch: u64,
    batch_at: Millis,
    batch_until: Instant,
}

#[derive(Debug)]
struct State {
    windows: Windows,
    figures: Figures,
    next: u64,
    /// Turns whose request is still connecting: number, and the time that the log holds.
    connecting: Vec<(u64, Millis)>,
    corrections: Vec<Correction>,
    /// The head waits for an answer, not for a time.
    head_waits: bool,
}

enum Decision {
    Go(Turn),
    Until {
        time: Instant,
        for_what: Option<WaitingFor>,
        quiet_since: Option<Instant>,
    },
    Change,
    Busy,
}

impl Limiter {
    pub(crate) fn new(limits: Limits, ledger: Ledger) -> Self {
        Self(Arc::new(Shared {
            limits,
            head: tokio::sync::Mutex::new(Head {
                ledger,
                batch: 0,
                batch_at: 0,
                batch_until: Instant::now(),
            }),
            state: Mutex::new(State {
                windows: Windows::new(limits.least_pause),
                figures: Figures::default(),
                next: 0,
                connecting: Vec::new(),
                corrections: Vec::new(),
                head_waits: false,
            }),
            changed: Notify::new(),
            queued: AtomicU64::new(0),
            waiting: watch::Sender::new(None),
        }))
    }

    /// Waits for a turn, first come, first served. To drop the future is to leave the queue; nothing is lost by it.
    pub(crate) async fn turn(&self, purpose: Purpose) -> Result<Turn, Denied> {
        let shared = &self.0;
        let _queued = Queued::new(shared);
        let mut head = shared.head.lock().await;
        let _announced = Announced(shared);
        let mut busy_since: Option<Instant> = None;
        loop {
            let decision = shared.decide(&mut head, purpose)?;
            if !matches!(decision, Decision::Busy) {
                busy_since = None;
            }
            match decision {
                Decision::Go(turn) => return Ok(turn),
                Decision::Until {
                    time,
                    for_what,
                    quiet_since,
                } => {
                    shared.announce(for_what.map(|reason| Waiting {
                        reason,
                        until: timestamp(time),
                        quiet_since: quiet_since.map(timestamp),
                    }));
                    let _waited = for_what.is_some().then(|| Waited::new(shared));
                    tokio::select! {
                        () = tokio::time::sleep_until(time) => {}
                        () = shared.changed.notified() => {}
                    }
                }
                Decision::Change => shared.changed.notified().await,
                Decision::Busy => {
                    let since = *busy_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > LEDGER_PATIENCE {
                        return Err(Denied::LedgerBusy);
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
    }

    pub(crate) fn figures(&self) -> Figures {
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
            // The deadline is computed anew at each look: a few milliseconds are no news.
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

    fn decide(self: &Arc<Self>, head: &mut Head, purpose: Purpose) -> Result<Decision, Denied> {
        let now = Instant::now();
        let mut state = self.state();
        state.head_waits = false;
        if let Some(max_hits) = self.limits.max_hits
            && purpose == Purpose::Hit
            && state.figures.hits >= max_hits
        {
            return Err(Denied::MaxHits { max_hits });
        }
        if let Some(block) = state.windows.block(now, &self.limits) {
            // Other processes hear of a pause before this one waits for its end, or ends.
            let told = tell(&mut head.ledger, &mut state.corrections, now);
            if !told.map_err(Denied::Ledger)? {
                return Ok(Decision::Busy);
            }
            return match block {
                Block::Until {
                    time,
                    why,
                    quiet_since,
                } => self.wait(time, now, Some(why), quiet_since),
                Block::Answers => {
                    state.head_waits = true;
                    Ok(Decision::Change)
                }
                Block::Throttled { quiet_since } => Err(Denied::Throttled {
                    quiet: now.saturating_duration_since(quiet_since),
                }),
            };
        }
        let batch_holds = head.batch > 0 && now < head.batch_until && state.corrections.is_empty();
        if batch_holds {
            head.batch -= 1;
            return Ok(Decision::Go(self.grant(&mut state, purpose, head.batch_at)));
        }
        head.batch = 0;

        let corrections = std::mem::take(&mut state.corrections);
        let is_shared = head.ledger.is_shared();
        let known = &mut *state;
        let outcome = head.ledger.transact(|view| {
            let changed = !corrections.is_empty();
            let view = corrected(view, &corrections, now);
            // Our own news is in there too: it is what the server told last, whomever.
            known.windows.hear(view.log.told());
            let Some(rules) = known.windows.rules(&self.limits) else {
                return (None, changed);
            };
            let wanted = if is_shared {
                let batch = rules.per_second / BATCH_PER_SECOND;
                self.queued.load(Ordering::Relaxed).clamp(1, batch.max(1))
            } else {
                1
            };
            let outcome = look(&view, &rules, &known.connecting, wanted);
            if let Look::Free { room } = outcome {
                let life = if room > 1 { BATCH_LIFE } else { 0 };
                view.log
                    .push(view.now_up + life, u32::try_from(room).unwrap_or(1));
                return (Some((outcome, view.now_up + life)), true);
            }
            (Some((outcome, view.now)), changed)
        });
        match outcome {
            Err(error) => Err(Denied::Ledger(error)),
            Ok(None) => {
                state.corrections = corrections;
                Ok(Decision::Busy)
            }
            Ok(Some(None)) => Err(self.reserve_too_large(&state)),
            Ok(Some(Some((Look::Free { room }, at)))) => {
                head.batch = room - 1;
                head.batch_at = at;
                head.batch_until = now + milliseconds(BATCH_LIFE);
                Ok(Decision::Go(self.grant(&mut state, purpose, at)))
            }
            Ok(Some(Some((Look::Held, _)))) => {
                state.head_waits = true;
                Ok(Decision::Change)
            }
            Ok(Some(Some((Look::Later { at, why }, view_now)))) => {
                self.wait(now + milliseconds(at - view_now), now, why, None)
            }
        }
    }

    fn reserve_too_large(&self, state: &State) -> Denied {
        Denied::ReserveTooLarge {
            reserve: self.limits.reserve_per_hour,
            limit: state.windows.hourly_limit(),
        }
    }

    /// Waits, or ends the run if the wait is for another hour and nobody wants that.
    fn wait(
        &self,
        time: Instant,
        now: Instant,
        for_what: Option<WaitingFor>,
        quiet_since: Option<Instant>,
    ) -> Result<Decision, Denied> {
        if for_what == Some(WaitingFor::NextHour) && !self.limits.wait_for_next_hour {
            return Err(Denied::UsedUp {
                resume_at: timestamp(time),
            });
        }
        Ok(Decision::Until {
            time: time.max(now),
            for_what,
            quiet_since,
        })
    }

    fn grant(self: &Arc<Self>, state: &mut State, purpose: Purpose, at: Millis) -> Turn {
        let number = state.next;
        state.next += 1;
        state.windows.sent(number);
        match purpose {
            Purpose::Hit => state.figures.hits += 1,
            Purpose::Token => state.figures.tokens += 1,
        }
        Turn::new(Arc::clone(self), number, at, purpose)
    }

    fn look_again(&self, state: &State) {
        if state.head_waits {
            self.changed.notify_one();
        }
    }
}

fn timestamp(time: Instant) -> Timestamp {
    let now = Instant::now();
    let ahead = crate::clock::now().checked_add(time.saturating_duration_since(now));
    let moment = ahead.and_then(|moment| moment.checked_sub(now.saturating_duration_since(time)));
    moment.unwrap_or(Timestamp::MAX)
}

fn milliseconds(millis: Millis) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// A place in the queue.
struct Queued<'a>(&'a Shared);

impl<'a> Queued<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.queued.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the head announces ends with it.
struct Announced<'a>(&'a Shared);

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.0.announce(None);
    }
}

/// Time that counts as waited.
struct Waited<'a> {
    shared: &'a Shared,
    since: Instant,
}

impl<'a> Waited<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            since: Instant::now(),
        }
    }
}

impl Drop for Waited<'_> {
    fn drop(&mut self) {
        self.shared.state().figures.waited += self.since.elapsed();
    }
}

#[cfg(test)]
mod tests;
