//! What can go wrong with one attempt, whether to try again, and how patiently. It sends nothing and waits for nothing.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) const RETRIES_PER_PAGE: u32 = 5;

/// Retries of a run: this many, and a fifth of its requests.
const RETRIES_PER_RUN: u64 = 20;
const REQUESTS_PER_RETRY: u64 = 5;

/// No wait between two attempts is longer.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "their names and messages say it")]
pub enum InspectError {
    #[error("{0}")]
    NoPage(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("could not be read back")]
    Read(#[source] io::Error),
}

/// Why one attempt gave no page.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Problem {
    #[error("no connection to the server")]
    Connect(#[source] reqwest::Error),
    #[error("no complete answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    #[error("the connection broke before the answer was complete")]
    Broken(#[source] reqwest::Error),
    #[error("the body ended after {received} of {announced} bytes")]
    CutShort { received: u64, announced: u64 },
    #[error("the server answered 429: too many requests")]
    Rejected,
    #[error("the server answered {0}")]
    Server(u16),
    #[error("the server answered {0} where 200 was expected")]
    Unexpected(u16),
    #[error("the server answered with a web page instead of JSON")]
    Html,
    #[error("the server answered with something that is not JSON")]
    NotJson,
    #[error("the server used a content encoding that was not asked for")]
    Encoding,
    #[error("the compressed body is damaged")]
    Inflate(#[source] io::Error),
    #[error("the body {0}")]
    Inspect(InspectError),
    #[error("the answer holds no token")]
    NoToken,
    #[error("the body is larger than {} MiB", super::body::MAX_BYTES / 1_048_576)]
    TooLarge,
    #[error("the body could not be kept in a temporary file; is the disk full?")]
    Spool(#[source] io::Error),
    #[error(
        "the server points elsewhere ({0}), and a token is not carried there; check the API's address"
    )]
    Redirect(u16),
    #[error("the server answered 401: the token is not valid")]
    Unauthorized,
    #[error("the server does not accept the client id and secret")]
    InvalidClient,
    #[error(
        "the application lacks a role or scope for this (403); ask for it, or leave out what needs it"
    )]
    Forbidden,
    #[error(
        "Cloudflare in front of the API turned the request away (403 with a web page); try later, or from another network"
    )]
    Cloudflare,
    #[error("there is no such thing, or the application may not see it (404)")]
    NotFound,
    #[error("the server does not accept this request ({0}); check its path and query")]
    Refused(u16),
}

/// What to do about a [`Problem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may pass: try again after a backoff.
    Retry,
    /// It will pass, and the limiter makes everybody wait for it: it costs no retry.
    Wait,
    /// The same request would meet it again.
    Fatal,
}

impl Problem {
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Rejected => Verdict::Wait,
            Self::Connect(_)
            | Self::Timeout(_)
            | Self::Broken(_)
            | Self::CutShort { .. }
            | Self::Server(_)
            | Self::Unexpected(_)
            | Self::Html
            | Self::NotJson
            | Self::Encoding
            | Self::Inflate(_)
            | Self::Inspect(InspectError::NoPage(_))
            | Self::NoToken => Verdict::Retry,
            Self::Inspect(InspectError::TooLarge(_) | InspectError::Read(_))
            | Self::TooLarge
            | Self::Spool(_)
            | Self::Redirect(_)
            | Self::Unauthorized
            | Self::InvalidClient
            | Self::Forbidden
            | Self::Cloudflare
            | Self::NotFound
            | Self::Refused(_) => Verdict::Fatal,
        }
    }

    /// Whether the server took too long, as it does for pages that are too large for it.
    pub(crate) fn is_too_slow(&self) -> bool {
        matches!(self, Self::Timeout(_) | Self::Server(504))
    }

    /// The status alone says what is wrong. None: 200, look at the body; 403 needs its body too.
    pub(crate) fn of_status(status: u16) -> Option<Self> {
        match status {
            200 => None,
            201..=299 => Some(Self::Unexpected(status)),
            300..=399 => Some(Self::Redirect(status)),
            401 => Some(Self::Unauthorized),
            403 => Some(Self::Forbidden),
            404 => Some(Self::NotFound),
            408 | 425 | 500..=599 => Some(Self::Server(status)),
            429 => Some(Self::Rejected),
            _ => Some(Self::Refused(status)),
        }
    }

    /// What reqwest reports, without the URL: messages name the request themselves.
    pub(crate) fn of_transport(error: reqwest::Error, timeout: Duration) -> Self {
        let error = error.without_url();
        if error.is_connect() {
            Self::Connect(error)
        } else if error.is_timeout() {
            Self::Timeout(timeout)
        } else {
            Self::Broken(error)
        }
    }

    /// Whether the request surely never reached the server.
    pub(crate) fn never_reached(&self) -> bool {
        matches!(self, Self::Connect(_))
    }
}

/// Exponential backoff with full jitter: anything between nothing and `base × 2ⁿ`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    pub(crate) base: Duration,
}

impl Backoff {
    /// The wait before retry number `retry`, counted from 0.
    pub(crate) fn delay(self, retry: u32) -> Duration {
        let ceiling = self
            .base
            .saturating_mul(1_u32.checked_shl(retry).unwrap_or(u32::MAX))
            .min(LONGEST_BACKOFF);
        ceiling.mul_f64(fastrand::f64())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Budget {
    requests: AtomicU64,
    retries: AtomicU64,
}

impl Budget {
    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Takes one retry; false if none is left.
    pub(crate) fn retry(&self) -> bool {
        let allowed = RETRIES_PER_RUN + self.requests.load(Ordering::Relaxed) / REQUESTS_PER_RETRY;
        self.retries
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |retries| {
                (retries < allowed).then_some(retries + 1)
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_nothing_else() {
        for (status, verdict) in [
            (204, Verdict::Retry),
            (301, Verdict::Fatal),
            (304, Verdict::Fatal),
            (400, Verdict::Fatal),
            (401, Verdict::Fatal),
            (403, Verdict::Fatal),
            (404, Verdict::Fatal),
            (408, Verdict::Retry),
            (422, Verdict::Fatal),
            (429, Verdict::Wait),
            (500, Verdict::Retry),
            (503, Verdict::Retry),
            (522, Verdict::Retry),
        ] {
            let found = Problem::of_status(status).map(|problem| problem.verdict());
            assert_eq!(found, Some(verdict), "{status}");
        }
        assert!(Problem::of_status(200).is_none());
    }

    #[test]
    fn the_run_has_twenty_retries_and_a_fifth_of_its_requests() {
        let budget = Budget::default();
        (0..50).for_each(|_| budget.request());
        assert_eq!((0..100).filter(|_| budget.retry()).count(), 30);
        assert_eq!(budget.retries(), 30);
    }

    proptest::proptest! {
        #[test]
        fn backoff_never_exceeds_its_ceiling(retry: u32, base in 0_u64..10_000) {
            let backoff = Backoff { base: Duration::from_millis(base) };
            let delay = backoff.delay(retry);
            proptest::prop_assert!(delay <= LONGEST_BACKOFF);
            if retry < 10 {
                proptest::prop_assert!(delay <= Duration::from_millis(base << retry));
            }
        }
    }
}
