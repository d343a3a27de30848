//! What is known of the server's two rate windows: limits, remaining hits, pauses. Pure: it is told the time.
//! It knows nothing of the queue, of files or of HTTP.

use std::time::Duration;

use tokio::time::Instant;

use super::log::{HOUR, Millis, Rule, Told};

/// What the API grants an application by default; holds until it has told otherwise.
const DEFAULT_PER_SECOND: u64 = 2;
const DEFAULT_PER_HOUR: u64 = 1_200;

/// How much the delay from sending to arrival may vary, in thousandths of the window: see [`super::limiter`].
const LEAST_SLACK: u64 = 24;
const MOST_SLACK: u64 = 250;

/// After so many answers without a 429 the slack shrinks by a quarter.
const QUIET: u32 = 500;

/// The hourly window is widened by this: clocks and delays.
const HOUR_SLACK: Millis = 2_000;

/// Turns are spread to at least nine tenths of an even distance, in groups of a twentieth of a second's worth.
const GROUPS: u64 = 20;

/// What was heard longer ago may have been overtaken by others on the key: one request looks first.
const STALE: Duration = Duration::from_mins(1);

/// A pause beyond this is about the hour, whatever the answer calls it.
pub(crate) const LONG_PAUSE: Millis = 60_000;

/// Without `Retry-After`, and as its least value: the per-second window has moved on by then.
const SHORT_PAUSE: Duration = Duration::from_secs(1);

/// What the user allows, whatever the server would.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) requests_per_second: Option<f64>,
    pub(crate) requests_per_hour: Option<u32>,
    pub(crate) reserve_per_hour: u32,
    pub(crate) max_hits: Option<u64>,
    pub(crate) wait_for_next_hour: bool,
}

/// What all requests wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingFor {
    /// The hits of this hour are used up.
    NextHour,
    /// The server asked for a pause (429).
    RetryAfter,
}

/// What one answer, or the latest ones together, said about the server's windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Requests allowed in a second.
    pub second_limit: Option<u64>,
    /// Requests left in this second.
    pub second_remaining: Option<u64>,
    /// Requests allowed in an hour.
    pub hour_limit: Option<u64>,
    /// Requests left in this hour.
    pub hour_remaining: Option<u64>,
}

impl Seen {
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

/// The rules for the next turn.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) second: Option<Rule>,
    pub(crate) cap: Option<Rule>,
    pub(crate) spread: Option<Rule>,
    pub(crate) hour: Rule,
    pub(crate) per_second: u64,
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

/// Why nobody may send now, whatever the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
    Until {
        time: Instant,
        why: WaitingFor,
    },
    /// Until one of the requests in flight is answered: it will tell more.
    Answers,
}

/// `X-Hourly-RateLimit-Remaining`, as the newest request saw it.
#[derive(Debug, Clone, Copy)]
struct Hour {
    /// The request's number.
    number: u64,
    told: u64,
    /// `told` less what it may not count: requests that were overtaken on their way, and those never answered.
    left: u64,
    heard: Instant,
    /// Requests that were under way then, up to this number: the server may have counted them before that request.
    under_way: (u64, u64),
    /// When the window of the first answer since a rise has surely passed.
    frees_at: Instant,
}

impl Hour {
    /// Whether a request that is told more than the newest one came to the server before it.
    fn was_under_way(&self, number: u64, told: u64) -> bool {
        let (count, newest) = self.under_way;
        number <= newest && (self.told + 1..=self.told.saturating_add(count)).contains(&told)
    }
}

#[derive(Debug)]
pub(crate) struct Windows {
    answered: bool,
    second_limit: Option<u64>,
    hour_limit: Option<u64>,
    hour: Option<Hour>,
    outstanding: u64,
    /// The number of the newest request.
    newest: u64,
    pause: Option<(Instant, WaitingFor)>,
    slack: u64,
    /// Requests before this number were sent under a smaller slack.
    widened_before: u64,
    quiet: u32,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            answered: false,
            second_limit: None,
            hour_limit: None,
            hour: None,
            outstanding: 0,
            newest: 0,
            pause: None,
            slack: LEAST_SLACK,
            widened_before: 0,
            quiet: 0,
        }
    }
}

impl Windows {
    pub(crate) fn hourly_limit(&self) -> u64 {
        self.hour_limit.unwrap_or(DEFAULT_PER_HOUR)
    }

    /// The limits as far as they are known.
    pub(crate) fn told(&self) -> Told {
        Told {
            second: self.second_limit,
            hour: self.hour_limit,
        }
    }

    /// Limits that the server told some user of the key, later than it told us.
    pub(crate) fn hear(&mut self, told: Told) {
        learn(&mut self.second_limit, told.second);
        learn(&mut self.hour_limit, told.hour);
    }

    /// None: the reserve leaves nothing of the hourly limit.
    pub(crate) fn rules(&self, limits: &Limits) -> Option<Rules> {
        // A server that never names a limit is held to the user's cap, or to the default.
        let unnamed = |cap: bool, default| (!(cap && self.answered)).then_some(default);
        let second = self.second_limit.or(unnamed(
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
        let hour = self
            .hour_limit
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
        let second = second.map(|count| (count, 1_000.0));
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
            per_second: slowest.map_or(0, |slowest| floor(1_000.0 / distance(slowest))),
        })
    }

    fn widened(&self, window: f64) -> Millis {
        let millis = (window * (1.0 + precise(self.slack) / 1_000.0)).ceil();
        Millis::try_from(floor(millis)).unwrap_or(HOUR).max(1)
    }

    pub(crate) fn block(&self, now: Instant, reserve: u32) -> Option<Block> {
        if let Some((time, why)) = self.pause
            && now < time
        {
            return Some(Block::Until { time, why });
        }
        let hour = self.hour?;
        let reserve = u64::from(reserve);
        if now >= hour.frees_at {
            // What was told is void; one request finds out how things stand now.
            (self.outstanding > 0).then_some(Block::Answers)
        } else if hour.left <= reserve {
            Some(Block::Until {
                time: hour.frees_at,
                why: WaitingFor::NextHour,
            })
        } else {
            let unsure = now > hour.heard + STALE && self.outstanding > 0;
            let scarce = hour.left.saturating_sub(self.outstanding) <= reserve;
            (unsure || scarce).then_some(Block::Answers)
        }
    }

    pub(crate) fn sent(&mut self, number: u64) {
        self.newest = number;
        self.outstanding += 1;
    }

    pub(crate) fn unsent(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    /// The request left and nothing came back: the server may have counted it.
    pub(crate) fn unanswered(&mut self) {
        self.unsent();
        if let Some(hour) = &mut self.hour {
            hour.left = hour.left.saturating_sub(1);
        }
    }

    /// Whether the head of the queue may go earlier than it thought.
    pub(crate) fn answered(&mut self, now: Instant, number: u64, seen: Seen) -> bool {
        self.unsent();
        self.answered = true;
        self.quiet += 1;
        if self.quiet >= QUIET {
            self.quiet = 0;
            self.slack = (self.slack * 3 / 4).max(LEAST_SLACK);
        }
        let mut moved = learn(&mut self.second_limit, seen.second_limit);
        moved |= learn(&mut self.hour_limit, seen.hour_limit);
        match (seen.hour_remaining, &mut self.hour) {
            (Some(told), Some(hour)) if number < hour.number => {
                // It came to the server after the newer one, which therefore did not count it.
                if told < hour.told {
                    hour.left = hour.left.saturating_sub(1);
                }
            }
            // The same hour, not a new one: what this one saw, the newest one has counted.
            (Some(told), Some(hour)) if hour.was_under_way(number, told) => hour.number = number,
            (Some(told), hour) => {
                let same = hour.filter(|hour| told <= hour.told && now < hour.frees_at);
                moved |= same.is_none();
                *hour = Some(Hour {
                    number,
                    told,
                    left: told,
                    heard: now,
                    under_way: (self.outstanding, self.newest),
                    frees_at: same.map_or(now + hour_and_slack(), |hour| hour.frees_at),
                });
            }
            // A token, or a gateway that knows nothing of limits: it may count.
            (None, Some(hour)) => hour.left = hour.left.saturating_sub(1),
            (None, None) => {}
        }
        moved
    }

    /// A 429 for request `number`, when `next` is the number of the next one. Gives the end of the pause.
    pub(crate) fn rejected(
        &mut self,
        now: Instant,
        number: u64,
        next: u64,
        seen: Seen,
        retry_after: Option<Duration>,
    ) -> Instant {
        let long = Duration::from_millis(LONG_PAUSE.unsigned_abs());
        let hourly =
            seen.hour_remaining == Some(0) || retry_after.is_some_and(|after| after > long);
        let slack = Duration::from_millis(self.slack);
        let until = match (retry_after, hourly, self.hour) {
            (Some(after), ..) => now + after.clamp(SHORT_PAUSE, hour_and_slack()) + slack,
            (None, true, Some(hour)) => hour.frees_at.max(now + SHORT_PAUSE),
            (None, true, None) => now + hour_and_slack(),
            (None, false, _) => now + SHORT_PAUSE + slack,
        };
        self.quiet = 0;
        if hourly {
            if let Some(hour) = &mut self.hour {
                hour.frees_at = until;
            }
        } else if number >= self.widened_before {
            self.slack = (self.slack * 2).min(MOST_SLACK);
            self.widened_before = next;
        }
        let why = if hourly {
            WaitingFor::NextHour
        } else {
            WaitingFor::RetryAfter
        };
        if self.pause.is_none_or(|(time, _)| time < until) {
            self.pause = Some((until, why));
        }
        until
    }
}

fn learn(known: &mut Option<u64>, told: Option<u64>) -> bool {
    let told = told.filter(|limit| *limit > 0);
    let news = told.is_some() && told != *known;
    if news {
        *known = told;
    }
    news
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
