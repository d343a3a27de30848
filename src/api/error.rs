//! How a request to the API fails for good, in sentences for people. It decides nothing.

use std::io;
use std::time::Duration;

use jiff::Timestamp;

use super::ledger::LedgerError;
use super::limiter::Denied;
use super::retry::Problem;

/// Why there is no page. `target` is path and query, never the token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// A page took the server too long, and a smaller one may not.
    #[error("{target}: the server took too long, {attempts} times")]
    TooSlow {
        /// Path and query.
        target: String,
        /// Requests that it took.
        attempts: u32,
        /// The last of them.
        source: Problem,
    },
    /// The HTTP client could not be set up.
    #[error("the HTTP client could not be set up; are the system's certificates installed?")]
    Setup(#[source] reqwest::Error),
    /// The options contradict themselves.
    #[error("{0}")]
    Options(String),
    /// The client id or secret is wrong or expired.
    #[error(
        "{host} does not accept the client id and secret (invalid_client); secrets of the 42 API expire about every \
         28 days: copy the current one from the application's page into CURSUS_CLIENT_SECRET"
    )]
    InvalidClient {
        /// The server.
        host: String,
    },
    /// The server gives no token, for another reason.
    #[error(
        "{host} gives no token (POST /oauth/token); see whether the application may use client credentials"
    )]
    TokenRefused {
        /// The server.
        host: String,
        /// What it answered.
        #[source]
        source: Problem,
    },
    /// 401 to several tokens in a row.
    #[error(
        "{host} accepts none of its own tokens (401 to {} in a row); check the application on the intranet, then run again",
        super::token::MOST_UNWORKED
    )]
    Unauthorized {
        /// The server.
        host: String,
    },
    /// 401 with a token that is good for other requests.
    #[error(
        "{target}: the server refuses this request (401) with a token that it accepts for others; leave the resource out, \
         or ask for the role"
    )]
    RefusedHere {
        /// Path and query.
        target: String,
    },
    /// Nothing but 429 for as long as is borne.
    #[error(
        "the API answered every request with 429 (too many requests) for {}: another program may be using up the key; \
         go on with the same command when it has ended, or raise `patience` in [api]",
        brief(*.quiet)
    )]
    Throttled {
        /// For so long.
        quiet: Duration,
    },
    /// This hour's hits are used up, and nobody wants to wait.
    #[error("the API hits of this hour are used up; go on with the same command after {resume_at}")]
    HitsUsedUp {
        /// When the next hit is surely free.
        resume_at: Timestamp,
    },
    /// As many hits as `max_hits` allows were used.
    #[error(
        "the {max_hits} API hits that this run may use are used up; go on with the same command"
    )]
    MaxHits {
        /// The limit that was set.
        max_hits: u64,
    },
    /// Nothing of the hourly limit is left beside the reserve.
    #[error(
        "reserve_per_hour = {reserve} leaves nothing of the {limit} hits that the API allows in an hour; lower it"
    )]
    ReserveTooLarge {
        /// Hits to keep free.
        reserve: u32,
        /// Hits of an hour.
        limit: u64,
    },
    /// 403 as JSON: this resource needs a role or scope.
    #[error(
        "{target}: the application lacks a role or scope for this (403); leave the resource out, or ask for the role"
    )]
    Forbidden {
        /// Path and query.
        target: String,
    },
    /// 403 as a web page: Cloudflare, not the API.
    #[error(
        "{target}: Cloudflare in front of the API turned us away (403 with a web page); try later, or from another \
         network"
    )]
    Cloudflare {
        /// Path and query.
        target: String,
    },
    /// 404.
    #[error("{target}: there is no such thing, or the application may not see it (404)")]
    NotFound {
        /// Path and query.
        target: String,
    },
    /// 400, 422 and the like.
    #[error(
        "{target}: the server does not accept this request ({status}); check the resource's path and query"
    )]
    Refused {
        /// Path and query.
        target: String,
        /// The HTTP status.
        status: u16,
    },
    /// 3xx.
    #[error(
        "{target}: the server points elsewhere ({status}), and a token is not carried there; check the API's address"
    )]
    Redirect {
        /// Path and query.
        target: String,
        /// The HTTP status.
        status: u16,
    },
    /// A body that no page has, or that could not be kept.
    #[error("{target}: the answer could not be taken in")]
    Body {
        /// Path and query.
        target: String,
        /// Why not.
        #[source]
        source: Problem,
    },
    /// Every attempt failed; other pages may do better.
    #[error(
        "{target}: given up after {attempts} attempts; run again later to fetch what is missing"
    )]
    GaveUp {
        /// Path and query.
        target: String,
        /// How often it was tried.
        attempts: u32,
        /// What went wrong the last time.
        #[source]
        last: Problem,
    },
    /// Not one attempt reached the server.
    #[error(
        "{host} could not be reached in {attempts} attempts; check the network and the API's address, then run again"
    )]
    Unreachable {
        /// The server.
        host: String,
        /// How often it was tried.
        attempts: u32,
        /// What went wrong the last time.
        #[source]
        last: Problem,
    },
    /// The run has no retries left.
    #[error(
        "{target}: the API fails too often, {retries} retries are spent; run again later, what was fetched is kept"
    )]
    BudgetSpent {
        /// Path and query.
        target: String,
        /// Retries of this run.
        retries: u64,
        /// What went wrong the last time.
        #[source]
        last: Problem,
    },
    /// The shared ledger of hits cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Another process has kept the ledger locked.
    #[error(
        "another process keeps the ledger of API hits locked; end it, or wait for it, then run again"
    )]
    LedgerBusy,
    /// The body's temporary file could not be read back.
    #[error("{target}: the answer could not be read back from its temporary file")]
    Reread {
        /// Path and query.
        target: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The inspector panicked, or the program is being stopped.
    #[error("{target}: the inspection of the answer was broken off")]
    Interrupted {
        /// Path and query.
        target: String,
    },
}

impl ApiError {
    /// Whether other requests of this run will meet the same: then the run should stop, and keep what it has.
    pub fn is_fatal_for_run(&self) -> bool {
        match self {
            Self::Setup(_)
            | Self::Options(_)
            | Self::InvalidClient { .. }
            | Self::TokenRefused { .. }
            | Self::Unauthorized { .. }
            | Self::HitsUsedUp { .. }
            | Self::MaxHits { .. }
            | Self::Throttled { .. }
            | Self::ReserveTooLarge { .. }
            | Self::Cloudflare { .. }
            | Self::Unreachable { .. }
            | Self::BudgetSpent { .. }
            | Self::Ledger(_)
            | Self::LedgerBusy
            | Self::Redirect { .. } => true,
            Self::Body { source, .. } => matches!(source, Problem::Spool(_)),
            Self::TooSlow { .. }
            | Self::Forbidden { .. }
            | Self::RefusedHere { .. }
            | Self::NotFound { .. }
            | Self::Refused { .. }
            | Self::GaveUp { .. }
            | Self::Reread { .. }
            | Self::Interrupted { .. } => false,
        }
    }

    /// Whether the run may go on later where it stopped, because only hits are lacking, or the API grants none.
    pub fn is_used_up(&self) -> bool {
        matches!(
            self,
            Self::HitsUsedUp { .. } | Self::MaxHits { .. } | Self::Throttled { .. }
        )
    }

    /// The error of a request that will not be tried again because of `problem` itself.
    pub(crate) fn of_fatal(problem: Problem, target: String, host: &str) -> Self {
        match problem {
            Problem::Redirect(status) => Self::Redirect { target, status },
            Problem::Unauthorized => Self::Unauthorized {
                host: host.to_owned(),
            },
            Problem::InvalidClient => Self::InvalidClient {
                host: host.to_owned(),
            },
            Problem::Forbidden => Self::Forbidden { target },
            Problem::Cloudflare => Self::Cloudflare { target },
            Problem::NotFound => Self::NotFound { target },
            Problem::Refused(status) => Self::Refused { target, status },
            source => Self::Body { target, source },
        }
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::UsedUp { resume_at } => Self::HitsUsedUp { resume_at },
            Denied::MaxHits { max_hits } => Self::MaxHits { max_hits },
            Denied::Throttled { quiet } => Self::Throttled { quiet },
            Denied::ReserveTooLarge { reserve, limit } => Self::ReserveTooLarge { reserve, limit },
            Denied::Ledger(error) => Self::Ledger(error),
            Denied::LedgerBusy => Self::LedgerBusy,
        }
    }
}

fn brief(duration: Duration) -> String {
    crate::report::span(
        jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX),
    )
}
