//! What the clones of a client share, and what an attempt ends in. It sends nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cursus_base::clock::OrderedClock;
use cursus_base::convert::millis;
use secrecy::SecretString;
use tokio::sync::{OnceCell, Semaphore};

use super::body::{BodyReader, Room};
use super::counts::AnswerCounts;
use super::error::ApiError;
use super::limiter::Limiter;
use super::limits::Limits;
use super::request::BaseUrl;
use super::retry::{Backoff, Budget, InspectError, Problem, RETRIES_PER_PAGE, Verdict};
use super::token::{Bearer, Tokens, Trial};

/// How the client behaves. [`Options::new`] gives the usual.
#[derive(Clone)]
pub struct Options {
    /// The server.
    pub base_url: BaseUrl,
    /// The application's id.
    pub client_id: String,
    /// The application's secret.
    pub client_secret: SecretString,
    /// Where the token is kept between commands; made if missing.
    pub token_dir: PathBuf,
    /// Where processes that share a key count their requests together; None: this process counts alone.
    pub ledger_dir: Option<PathBuf>,
    /// Where large bodies wait, without a name; None: the system's directory for temporary files.
    pub(crate) spool_dir: Option<PathBuf>,
    /// How long one answer may take, to its last byte.
    pub timeout: Duration,
    /// Requests under way at once, until their answers are dropped.
    pub max_in_flight: usize,
    /// How much is sent, and how long the client waits for it.
    pub limits: Limits,
    /// Where answers are counted; several clients may share it.
    pub answers: AnswerCounts,
    /// The first retry waits up to this long, each further one up to twice as long as the one before.
    pub(crate) backoff_base: Duration,
}

impl Options {
    /// The usual: 120 s, 256 requests at once, the limits of [`Limits::default`].
    pub fn new(
        base_url: BaseUrl,
        client_id: String,
        client_secret: SecretString,
        token_dir: PathBuf,
    ) -> Self {
        Self {
            base_url,
            client_id,
            client_secret,
            token_dir,
            ledger_dir: None,
            spool_dir: None,
            timeout: Duration::from_mins(2),
            max_in_flight: 256,
            limits: Limits::default(),
            answers: AnswerCounts::default(),
            backoff_base: Duration::from_millis(500),
        }
    }
}

/// The options, and all that requests go through.
pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) http: reqwest::Client,
    /// For requests that get none of the kept connections.
    pub(crate) unpooled: OnceCell<reqwest::Client>,
    pub(crate) connections: Semaphore,
    pub(crate) limiter: Limiter,
    pub(crate) tokens: Tokens,
    /// The server has refused the id and secret: it would again.
    pub(crate) client_refused: AtomicBool,
    pub(crate) slots: Arc<Semaphore>,
    /// Bodies that are received.
    pub(crate) receivers: Semaphore,
    /// Bodies that are read back: to be inspected, and until the caller has written them.
    pub(crate) workers: Arc<Semaphore>,
    pub(crate) room: Room,
    pub(crate) budget: Budget,
    pub(crate) backoff: Backoff,
    pub(crate) clock: OrderedClock,
}

/// Judges the bytes of a body.
pub trait Inspect<T>:
    Fn(&mut BodyReader<'_>) -> Result<T, InspectError> + Send + Sync + 'static
{
}

impl<T, F: Fn(&mut BodyReader<'_>) -> Result<T, InspectError> + Send + Sync + 'static> Inspect<T>
    for F
{
}

pub(crate) enum Failure {
    Problem(Problem),
    /// The server refused this token.
    Unauthorized {
        bearer: Bearer,
        /// Held until there is another one.
        trial: Option<Trial>,
    },
    Final(ApiError),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Final(error)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Effort {
    pub(crate) attempts: u32,
    pub(crate) retries: u32,
}

impl Inner {
    /// Waits before the next attempt, or says why there is none.
    pub(crate) async fn back_off(
        &self,
        problem: Problem,
        target: &str,
        effort: &mut Effort,
    ) -> Result<(), ApiError> {
        let host = self.options.base_url.address();
        let target = target.to_owned();
        match problem.verdict() {
            Verdict::Fatal => return Err(ApiError::of_fatal(problem, target, &host)),
            Verdict::Wait => return Ok(()),
            Verdict::Retry => {}
        }
        let attempts = effort.attempts;
        if effort.retries >= RETRIES_PER_PAGE {
            return Err(if problem.never_reached() {
                ApiError::Unreachable {
                    host,
                    attempts,
                    last: problem,
                }
            } else {
                ApiError::GaveUp {
                    target,
                    host,
                    attempts,
                    last: problem,
                }
            });
        }
        if !self.budget.retry() {
            return Err(ApiError::BudgetSpent {
                target,
                host,
                retries: self.budget.retries(),
                last: problem,
            });
        }
        self.budget.request();
        let delay = self.backoff.delay(effort.retries);
        tracing::debug!(
            target: crate::LOG,
            target_url = target,
            attempts,
            delay_ms = millis(delay),
            problem = &problem as &dyn std::error::Error,
            "trying again"
        );
        effort.retries += 1;
        tokio::time::sleep(delay).await;
        Ok(())
    }
}
