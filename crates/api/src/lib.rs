//! A client of the 42 API: one page per call, at the rate that the API allows, judged before it counts.
//! It knows nothing of resources, staging or the database.
//!
//! `request` → `token` → `limiter` (whose turn; `log`, `ledger`, `windows`, `throttle`) → `send` →
//! `answer` (judged, `body` kept) → `retry`, or `refusals` where the token was refused.

mod answer;
mod body;
mod counts;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod inner;
mod ledger;
mod limiter;
mod limits;
mod log;
mod rate_windows;
mod refusals;
mod request;
mod retry;
mod send;
mod throttle;
mod token;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cursus_base::clock::OrderedClock;
use tokio::sync::{OnceCell, Semaphore, watch};

pub use self::answer::{Answer, Slot};
pub use self::body::{Body, BodyReader};
pub use self::counts::AnswerCounts;
pub use self::error::ApiError;
pub use self::ledger::{HourLeft, LedgerError, hour_left};
pub use self::limiter::{Allowance, Statistics, Waiting};
pub use self::limits::{Limits, WaitingFor};
pub use self::rate_windows::RateHeaders;
pub use self::request::{BaseUrl, BaseUrlError, Request, is_loopback};
pub use self::retry::{InspectError, Problem};
pub use self::send::http_client;
pub use self::token::TokenMetadata;

use self::inner::{Effort, Failure, Inner};
pub use self::inner::{Inspect, Options};
use self::ledger::Ledger;
use self::limiter::Limiter;
use self::refusals::Refusals;
use self::retry::{Backoff, Budget};
use self::token::{TokenRequest, Tokens};

/// The name of all events in the log: that of the module by which `cursus` has this crate.
const LOG: &str = "cursus::api";

/// Connections that are kept for later requests: what one needed for its largest body, up to 400 kB, it holds until it is
/// closed. Requests beyond as many get a connection of their own, which ends with them.
const CONNECTIONS: usize = 16;

/// Bodies that are received at the same time: a connection whose body nobody reads holds a few kilobytes, one that is read up
/// to 400.
const RECEIVERS: usize = 8;

/// Answers that are inspected and written at the same time: enough for the disk to be busy, few enough for their memory.
const WORKERS: usize = 8;

/// The client; clones share everything.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

/// Keeps the secret and the token out of logs.
impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Client")
            .field("base_url", &self.0.options.base_url)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Sets up the client. Nothing is sent yet.
    pub fn new(options: Options) -> Result<Self, ApiError> {
        check(&options)?;
        let ledger = match &options.ledger_dir {
            Some(directory) => {
                Ledger::shared(directory, &options.base_url.origin(), &options.client_id)?
            }
            None => Ledger::in_memory(),
        };
        Ok(Self(Arc::new(Inner {
            http: send::http_client(options.base_url.is_loopback(), CONNECTIONS)
                .map_err(ApiError::Setup)?,
            unpooled: OnceCell::new(),
            connections: Semaphore::new(CONNECTIONS),
            limiter: Limiter::new(options.limits, ledger),
            tokens: Tokens::new(
                &options.base_url,
                &options.client_id,
                &options.client_secret,
                &options.token_dir,
            ),
            client_refused: AtomicBool::new(false),
            slots: Arc::new(Semaphore::new(
                options.max_in_flight.clamp(1, Semaphore::MAX_PERMITS),
            )),
            receivers: Semaphore::new(RECEIVERS),
            workers: Arc::new(Semaphore::new(WORKERS)),
            room: body::Room::default(),
            budget: Budget::default(),
            backoff: Backoff {
                base: options.backoff_base,
            },
            clock: OrderedClock::default(),
            options,
        })))
    }

    /// One page. Waits for its turn, sends, receives the body, judges it, and lets `inspect` judge it on a thread
    /// for blocking work; what `inspect` refuses is asked for again like any broken answer. To drop the future gives
    /// the request up.
    pub async fn page<T: Send + 'static>(
        &self,
        request: &Request,
        inspect: impl Inspect<T> + Clone,
    ) -> Result<Answer<T>, ApiError> {
        let inner = &*self.0;
        let target = request.target();
        let mut effort = Effort::default();
        let mut refusals = Refusals::default();
        let mut slow = 0;
        inner.budget.request();
        loop {
            effort.attempts += 1;
            let problem = match inner.attempt(request.clone(), inspect.clone()).await {
                Ok(answer) => {
                    return Ok(Answer {
                        attempts: effort.attempts,
                        ..answer
                    });
                }
                Err(Failure::Unauthorized { bearer, trial }) => {
                    refusals.renew(inner, &bearer, &target).await?;
                    drop(trial);
                    continue;
                }
                Err(Failure::Problem(problem)) => problem,
                Err(Failure::Final(error)) => return Err(error),
            };
            slow += u32::from(problem.is_too_slow());
            if request.can_be_smaller && slow >= SLOW_ATTEMPTS {
                return Err(ApiError::TooSlow {
                    target,
                    host: inner.options.base_url.address(),
                    attempts: effort.attempts,
                    source: problem,
                });
            }
            inner.back_off(problem, &target, &mut effort).await?;
        }
    }

    /// A place among the answers that are worked on, for a page that was answered before. Held until dropped.
    pub async fn worker(&self) -> Slot {
        let worker = Arc::clone(&self.0.workers).acquire_owned().await.ok();
        Slot {
            _in_flight: None,
            _worker: worker,
        }
    }

    /// The client's figures so far.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            retries: self.0.budget.retries(),
            ..self.0.limiter.figures()
        }
    }

    /// What may still be sent this hour, and how fast, as far as is known. Sends nothing.
    pub async fn allowance(&self) -> Result<Allowance, ApiError> {
        self.0.limiter.allowance().await
    }

    /// Why everybody waits and until when, for a countdown; None while requests flow.
    pub fn waiting(&self) -> watch::Receiver<Option<Waiting>> {
        self.0.limiter.waiting()
    }

    /// What is known of the token in use; asks for one if there is none.
    pub async fn token_info(&self) -> Result<TokenMetadata, ApiError> {
        self.0
            .token(TokenRequest::Fresh)
            .await
            .map(|(_, metadata)| metadata)
    }

    /// What is known of the last token. Asks for none.
    pub async fn known_token(&self) -> Option<TokenMetadata> {
        self.0.tokens.known().await
    }

    /// Asks for a new token whatever there is.
    pub async fn refresh_token(&self) -> Result<TokenMetadata, ApiError> {
        self.0.client_refused.store(false, Ordering::Relaxed);
        self.0
            .token(TokenRequest::ForceNew)
            .await
            .map(|(_, metadata)| metadata)
    }
}

/// Attempts that may take too long before a page is replaced by smaller ones: one can be a passing fault.
const SLOW_ATTEMPTS: u32 = 2;

fn check(options: &Options) -> Result<(), ApiError> {
    let complaint = if options.client_id.is_empty() {
        "there is no client id; set CURSUS_CLIENT_ID to the application's UID"
    } else if (options.limits.requests_per_second)
        .is_some_and(|rate| !(rate.is_finite() && rate > 0.0))
    {
        "requests_per_second must be a number above 0"
    } else if options.limits.requests_per_hour == Some(0) {
        "requests_per_hour must be above 0"
    } else {
        return Ok(());
    };
    Err(ApiError::Options(complaint.to_owned()))
}

#[cfg(test)]
mod tests;
