//! What is known of the server's two rate windows: limits and remaining requests. Pure: it is given the time.
//! It knows nothing of the queue, of files or of HTTP.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::limits::{Limits, WaitingFor};
use super::log::{AdvertisedLimits, HOUR, Millis, Rule};
use super::throttle::{Block, Throttle};

/// What the API grants an application by default; holds until it advertises others.
const DEFAULT_PER_SECOND: u64 = 2;
pub(crate) const DEFAULT_PER_HOUR: u64 = 1_200;

/// How much the delay from sending to arrival may vary, in thousandths of the window: see [`super::limiter`].
const LEAST_SLACK: u64 = 24;
const MOST_SLACK: u64 = 250;

/// After this many answers without a 429 the slack shrinks by a quarter, and a further 429 counts as a single one.
const QUIET: u32 = 500;

/// The hourly window is widened by this: clocks and delays.
const HOUR_SLACK: Millis = 2_000;

/// Turns are spread to at least nine tenths of an even distance, in groups of a twentieth of a second's worth.
const GROUPS: u64 = 20;

/// What was heard longer ago may have been overtaken by others on the key: one request looks first.
const STALE: Duration = Duration::from_mins(1);

/// A pause beyond this is about the hour, whatever the answer calls it.
pub(crate) const LONG_PAUSE: Millis = 60_000;

/// How often the send rate is halved at most.
const MOST_HALVINGS: u32 = 3;

/// What one answer, or the latest ones together, said about the server's windows of a second and an hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say it")]
pub struct RateHeaders {
    pub second_limit: Option<u64>,
    pub second_remaining: Option<u64>,
    pub hour_limit: Option<u64>,
    pub hour_remaining: Option<u64>,
}

impl RateHeaders {
    /// The figures of `later` where it has some.
    pub(crate) fn updated(self, later: Self) -> Self {
        Self {
            second_limit: later.second_limit.or(self.second_limit),
            second_remaining: later.second_remaining.or(self.second_remaining),
            hour_limit: later.hour_limit.or(self.hour_limit),
            hour_remaining: later.hour_remaining.or(self.hour_remaining),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) second: Option<Rule>,
    pub(crate) cap: Option<Rule>,
    pub(crate) spread: Option<Rule>,
    pub(crate) hour: Rule,
}

impl Rules {
    pub(crate) fn short(&self) -> impl Iterator<Item = Rule> {
        [self.second, self.cap, self.spread].into_iter().flatten()
    }

    /// Turns in a second, in the long run.
    pub(crate) fn rate(&self) -> f64 {
        let rates = [self.second, self.cap].into_iter().flatten().map(|rule| {
            let window = Duration::from_millis(rule.window.unsigned_abs());
            precise(rule.count) / window.as_secs_f64()
        });
        rates.fold(f64::INFINITY, f64::min)
    }
}

/// `X-Hourly-RateLimit-Remaining`, as the newest request saw it.
#[derive(Debug)]
struct Hour {
    /// The request's number.
    number: u64,
    remaining: u64,
    /// Requests that are over and that `remaining` may not count.
    uncounted: Vec<Uncounted>,
    heard: Instant,
    /// When the window of the first answer since a rise has surely passed.
    frees_at: Instant,
}

impl Hour {
    fn left(&self) -> u64 {
        let uncounted = u64::try_from(self.uncounted.len()).unwrap_or(u64::MAX);
        self.remaining.saturating_sub(uncounted)
    }
}

/// A request that may have come to the server after the one that the hour is known from.
#[derive(Debug)]
struct Uncounted {
    /// What it saw itself; 0: it was not answered, or nothing was said.
    remaining: u64,
    /// The newest request when it ended: those after it see it counted.
    newest: u64,
}

#[derive(Debug)]
pub(crate) struct Windows {
    answered: bool,
    limits: AdvertisedLimits,
    hour: Option<Hour>,
    /// Requests that are not answered yet, and what was known to remain when they were sent: in the same hour they see less.
    under_way: BTreeMap<u64, Option<u64>>,
    /// The number of the newest request.
    newest: u64,
    least_pause: Duration,
    throttle: Option<Throttle>,
    /// How often the send rate is halved.
    halvings: u32,
    /// Answers since it was halved, or doubled again.
    served: u64,
    slack: u64,
    /// Requests before this number were sent at a higher rate, under a smaller slack.
    widened_before: u64,
    quiet: u32,
    /// In the last [`QUIET`] answers there was a 429.
    was_rejected: bool,
}

impl Windows {
    /// Nothing is known, and no pause after a 429 is shorter.
    pub(crate) fn new(least_pause: Duration) -> Self {
        Self {
            answered: false,
            limits: AdvertisedLimits::default(),
            hour: None,
            under_way: BTreeMap::new(),
            newest: 0,
            least_pause,
            throttle: None,
            halvings: 0,
            served: 0,
            slack: LEAST_SLACK,
            widened_before: 0,
            quiet: 0,
            was_rejected: false,
        }
    }

    pub(crate) fn hourly_limit(&self) -> u64 {
        self.limits.hour.unwrap_or(DEFAULT_PER_HOUR)
    }

    /// The limits as far as they are known.
    pub(crate) fn advertised(&self) -> AdvertisedLimits {
        self.limits
    }

    pub(crate) fn learn(&mut self, limits: AdvertisedLimits) {
        self.limits.update(limits);
    }

    /// None: the reserve leaves nothing of the hourly limit.
    pub(crate) fn rules(&self, limits: &Limits) -> Option<Rules> {
        // A server that never names a limit is held to the user's cap, or to the default.
        let unnamed = |cap: bool, default| (!(cap && self.answered)).then_some(default);
        let second = self.limits.second.or(unnamed(
            limits.requests_per_second.is_some(),
            DEFAULT_PER_SECOND,
        ));
        let cap = limits
            .requests_per_second
            .filter(|rate| rate.is_finite() && *rate > 0.0)
            .map(|rate| {
                let count = rate.floor().max(1.0);
                (floor(count), 1_000.0 * count / rate)
            });
        let hour = (self.limits.hour)
            .or(unnamed(
                limits.requests_per_hour.is_some(),
                DEFAULT_PER_HOUR,
            ))
            .map_or(u64::MAX, |limit| {
                limit.saturating_sub(u64::from(limits.reserve_per_hour))
            })
            .min(limits.requests_per_hour.map_or(u64::MAX, u64::from));
        if hour == 0 {
            return None;
        }
        let times = f64::from(1_u32 << self.halvings);
        let second = second.map(|count| (count, 1_000.0 * times));
        let cap = cap.map(|(count, window)| (count, window * times));
        let slowest = [second, cap]
            .into_iter()
            .flatten()
            .max_by(|one, two| distance(*one).total_cmp(&distance(*two)));
        let spread = slowest.map(|slowest| {
            let count = floor(1_000.0 / distance(slowest)).div_ceil(GROUPS).max(1);
            (count, 0.9 * precise(count) * distance(slowest))
        });
        let rule = |(count, window): (u64, f64)| Rule {
            count,
            window: self.widened(window),
        };
        Some(Rules {
            second: second.map(rule),
            cap: cap.map(rule),
            spread: spread.map(rule),
            hour: Rule {
                count: hour,
                window: HOUR + HOUR_SLACK,
            },
        })
    }

    fn widened(&self, window: f64) -> Millis {
        let millis = (window * (1.0 + precise(self.slack) / 1_000.0)).ceil();
        Millis::try_from(floor(millis)).unwrap_or(HOUR).max(1)
    }

    pub(crate) fn block(&self, now: Instant, limits: &Limits) -> Option<Block> {
        if let Some(block) = (self.throttle).and_then(|throttle| throttle.block(now, limits)) {
            return Some(block);
        }
        let hour = self.hour.as_ref()?;
        let (left, outstanding) = (hour.left(), self.outstanding());
        let reserve = u64::from(limits.reserve_per_hour);
        if now >= hour.frees_at {
            // What was heard is void; one request finds out how things stand now.
            (outstanding > 0).then_some(Block::Answers)
        } else if left <= reserve {
            Some(Block::Until {
                time: hour.frees_at,
                reason: WaitingFor::NextHour,
                quiet_since: None,
            })
        } else {
            let unsure = now > hour.heard + STALE && outstanding > 0;
            let scarce = left.saturating_sub(outstanding) <= reserve;
            (unsure || scarce).then_some(Block::Answers)
        }
    }

    fn outstanding(&self) -> u64 {
        u64::try_from(self.under_way.len()).unwrap_or(u64::MAX)
    }

    pub(crate) fn sent(&mut self, number: u64) {
        self.newest = number;
        let known = self.hour.as_ref().map(|hour| hour.remaining);
        self.under_way.insert(number, known);
        if let Some(throttle) = &mut self.throttle {
            throttle.probe = Some(number);
        }
    }

    /// The request used nothing up; if it was the probe, the next one may go.
    pub(crate) fn unsent(&mut self, number: u64) {
        self.under_way.remove(&number);
        if let Some(throttle) = &mut self.throttle
            && throttle.probe == Some(number)
        {
            throttle.probe = None;
        }
    }

    /// The request left and nothing came back: the server may have counted it.
    pub(crate) fn unanswered(&mut self, now: Instant, number: u64) {
        self.undecided(now, number);
        self.under_way.remove(&number);
        if let Some(hour) = &mut self.hour {
            hour.uncounted.push(Uncounted {
                remaining: 0,
                newest: self.newest,
            });
        }
    }

    /// The request met another fault: if it was the probe, the next one goes after a short pause.
    pub(crate) fn undecided(&mut self, now: Instant, number: u64) {
        if let Some(throttle) = &mut self.throttle
            && throttle.probe == Some(number)
        {
            throttle.probe = None;
            throttle.next_probe = now + self.least_pause;
        }
    }

    /// The server did what the request asked for, or said why not.
    pub(crate) fn served(&mut self, now: Instant, number: u64) {
        if let Some(throttle) = &mut self.throttle
            && throttle.probe != Some(number)
        {
            // It was sent before the server throttled.
            throttle.quiet_since = throttle.quiet_since.max(now);
            return;
        }
        self.throttle = None;
        self.served += 1;
        // The rate doubles when what a second allows was served.
        if self.halvings > 0 && self.served >= self.limits.second.unwrap_or(DEFAULT_PER_SECOND) {
            self.halvings -= 1;
            self.served = 0;
        }
    }

    /// What an answer says of the windows.
    pub(crate) fn heard(&mut self, now: Instant, number: u64, headers: RateHeaders) {
        let known = self.under_way.remove(&number).flatten();
        self.answered = true;
        self.quiet += 1;
        if self.quiet >= QUIET {
            self.quiet = 0;
            self.was_rejected = false;
            self.slack = (self.slack * 3 / 4).max(LEAST_SLACK);
        }
        self.learn(AdvertisedLimits {
            second: headers.second_limit,
            hour: headers.hour_limit,
        });
        let newest = self.newest;
        // Without a new hour, a request that the server counted before another sees at most so much more.
        let may_be_older = |remaining: u64, hour: &Hour| {
            let most = known.map_or(hour.remaining.saturating_add(newest), |known| {
                known.saturating_sub(1)
            });
            remaining > hour.remaining && remaining <= most
        };
        match (headers.hour_remaining, &mut self.hour) {
            (Some(remaining), Some(hour)) if number < hour.number => {
                // It came to the server after the newer one, which therefore did not count it.
                if remaining < hour.remaining {
                    hour.uncounted.push(Uncounted { remaining, newest });
                }
            }
            // The same hour, not a new one: what this one saw, the newest one has counted.
            (Some(remaining), Some(hour)) if may_be_older(remaining, hour) => {
                hour.number = number;
            }
            (Some(remaining), hour) => {
                let same = hour
                    .take()
                    .filter(|hour| remaining <= hour.remaining && now < hour.frees_at);
                let (frees_at, mut uncounted) = same.map_or_else(
                    || {
                        // What was known before says nothing of the new hour.
                        self.under_way.values_mut().for_each(|known| *known = None);
                        (now + hour_and_slack(), Vec::new())
                    },
                    |hour| (hour.frees_at, hour.uncounted),
                );
                // Answers overtake each other too: what came to the server after this one may have been heard before.
                uncounted.retain(|over| over.remaining < remaining && number <= over.newest);
                *hour = Some(Hour {
                    number,
                    remaining,
                    uncounted,
                    heard: now,
                    frees_at,
                });
            }
            // A token, or a gateway that knows nothing of limits: it may count.
            (None, Some(hour)) => hour.uncounted.push(Uncounted {
                remaining: 0,
                newest,
            }),
            (None, None) => {}
        }
    }

    /// A 429 for request `number`, when `next` is the number of the next one. Gives the end of the pause.
    pub(crate) fn rejected(
        &mut self,
        now: Instant,
        number: u64,
        next: u64,
        headers: RateHeaders,
        retry_after: Option<Duration>,
    ) -> Instant {
        let long = Duration::from_millis(LONG_PAUSE.unsigned_abs());
        let hourly =
            headers.hour_remaining == Some(0) || retry_after.is_some_and(|after| after > long);
        self.quiet = 0;
        let is_first = self.throttle.is_none();
        if is_first && !hourly && number >= self.widened_before {
            // A single one is somebody else's; delays that vary more than was thought bring more of them.
            if self.was_rejected {
                self.slack = (self.slack * 2).min(MOST_SLACK);
            }
            self.was_rejected = true;
            self.halvings = (self.halvings + 1).min(MOST_HALVINGS);
            self.widened_before = next;
        }
        self.served = 0;
        let throttle = self.throttle.get_or_insert(Throttle::new(now));
        let is_probe = throttle.probe == Some(number);
        let slack = Duration::from_millis(self.slack);
        let until = match (retry_after, hourly, &self.hour) {
            (Some(after), true, _) => now + after.clamp(self.least_pause, hour_and_slack()) + slack,
            (None, true, Some(hour)) => hour.frees_at.max(now + self.least_pause),
            (None, true, None) => now + hour_and_slack(),
            (Some(_), false, _) => now + throttle.pause(now, retry_after, self.least_pause) + slack,
            // Others of the same burst are no news.
            (None, false, _) if !is_first && !is_probe => return throttle.next_probe,
            (None, false, _) => now + throttle.pause(now, None, self.least_pause) + slack,
        };
        if is_probe {
            throttle.probe = None;
            throttle.rejected_probes = throttle.rejected_probes.saturating_add(1);
        }
        if is_probe || until > throttle.next_probe {
            throttle.next_probe = until;
            throttle.reason = if hourly {
                WaitingFor::NextHour
            } else {
                WaitingFor::Throttled
            };
        }
        if hourly {
            if let Some(hour) = &mut self.hour {
                hour.frees_at = until;
            }
            // An hour is waited for whatever the patience is: one that is surely used up each time, another one once.
            let is_sure = headers.hour_remaining == Some(0);
            let is_likely = headers.hour_remaining.is_none() && !throttle.waited_for_hour;
            if until > now + long && (is_sure || is_likely) {
                throttle.waited_for_hour = true;
                throttle.quiet_since = throttle.quiet_since.max(until);
            }
        }
        throttle.next_probe
    }
}

fn hour_and_slack() -> Duration {
    Duration::from_millis((HOUR + HOUR_SLACK).unsigned_abs())
}

/// Milliseconds between turns at an even rate.
fn distance((count, window): (u64, f64)) -> f64 {
    window / precise(count)
}

#[expect(clippy::cast_precision_loss, reason = "limits are far below 2^52")]
fn precise(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounds down, saturates, and is never negative"
)]
fn floor(number: f64) -> u64 {
    number as u64
}
