//! How a request to the API fails for good, in sentences for people. It decides nothing.

use std::io;
use std::time::Duration;

use cursus_base::convert::span_of;
use jiff::Timestamp;

use super::ledger::LedgerError;
use super::retry::Problem;

/// Why there is no page. `target` is path and query, never the token; `host` is host and port of the server, and of the proxy on
/// the way to it.
#[derive(Debug, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the messages say it; `target` and `host` are explained above"
)]
pub enum ApiError {
    #[error("{target}: {host} took too long, {attempts} times")]
    TooSlow {
        target: String,
        host: String,
        attempts: u32,
        source: Problem,
    },
    #[error("the HTTP client could not be set up; are the system's certificates installed?")]
    Setup(#[source] reqwest::Error),
    #[error("{0}")]
    Options(String),
    #[error(
        "{host} does not accept the client id and secret (invalid_client); secrets of the 42 API expire about every \
         28 days: copy the current one from the application's page into CURSUS_CLIENT_SECRET, and see that its UID is CURSUS_CLIENT_ID"
    )]
    InvalidClient { host: String },
    #[error(
        "{host} gives no token (POST /oauth/token); see whether the application may use client credentials"
    )]
    TokenRefused {
        host: String,
        #[source]
        source: Problem,
    },
    #[error(
        "{host} accepts none of its own tokens (401 to {} in a row); check the application on the intranet, then run again",
        super::token::MOST_UNSERVED_TOKENS
    )]
    Unauthorized { host: String },
    #[error(
        "{target}: the server refuses this request (401) with a token that it accepts for others; leave the resource out, \
         or ask for the role"
    )]
    RefusedHere { target: String },
    #[error(
        "the API answered every request with 429 (too many requests) for {}: another program may be using up the key; \
         run the same command again when it has ended, or raise `patience` in [api]",
        span_of(*.quiet)
    )]
    Throttled { quiet: Duration },
    #[error("this hour's API requests are used up; run the same command again after {resume_at}")]
    HourUsedUp { resume_at: Timestamp },
    #[error(
        "the {max_hits} API requests that this run may use are used up; run the same command again to resume"
    )]
    MaxHits { max_hits: u64 },
    #[error(
        "reserve_per_hour = {reserve} leaves nothing of the {limit} requests that the API allows in an hour; lower it"
    )]
    ReserveTooLarge { reserve: u32, limit: u64 },
    #[error("{target}: {source}")]
    Fatal { target: String, source: Problem },
    #[error(
        "{target}: failed after {attempts} attempts at {host}; run again later to fetch what is missing"
    )]
    GaveUp {
        target: String,
        host: String,
        attempts: u32,
        #[source]
        last: Problem,
    },
    #[error(
        "{host} could not be reached in {attempts} attempts; check the network and the API's address, then run again"
    )]
    Unreachable {
        host: String,
        attempts: u32,
        #[source]
        last: Problem,
    },
    #[error(
        "{target}: {host} fails too often, {retries} retries are spent; run again later, what was fetched is kept"
    )]
    BudgetSpent {
        target: String,
        host: String,
        retries: u64,
        #[source]
        last: Problem,
    },
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(
        "another process keeps the ledger of API requests locked; end it, or wait for it, then run again"
    )]
    LedgerBusy,
    #[error("{target}: the answer could not be read back from its temporary file")]
    Reread {
        target: String,
        #[source]
        source: io::Error,
    },
    #[error("{target}: the inspection of the answer was broken off")]
    Interrupted { target: String },
}

impl ApiError {
    /// Whether the application lacks a role or a scope for what was asked (403).
    pub fn is_forbidden(&self) -> bool {
        matches!(
            self,
            Self::Fatal {
                source: Problem::Forbidden,
                ..
            }
        )
    }

    /// Whether other requests of this run will meet the same: then the run should stop, and keep what it has.
    pub fn is_fatal_for_run(&self) -> bool {
        match self {
            Self::Setup(_)
            | Self::Options(_)
            | Self::InvalidClient { .. }
            | Self::TokenRefused { .. }
            | Self::Unauthorized { .. }
            | Self::HourUsedUp { .. }
            | Self::MaxHits { .. }
            | Self::Throttled { .. }
            | Self::ReserveTooLarge { .. }
            | Self::Unreachable { .. }
            | Self::BudgetSpent { .. }
            | Self::Ledger(_)
            | Self::LedgerBusy => true,
            Self::Fatal { source, .. } => matches!(
                source,
                Problem::Cloudflare | Problem::Redirect(_) | Problem::Spool(_)
            ),
            Self::TooSlow { .. }
            | Self::RefusedHere { .. }
            | Self::GaveUp { .. }
            | Self::Reread { .. }
            | Self::Interrupted { .. } => false,
        }
    }

    /// Whether the run may resume later where it stopped, because only requests are lacking, or the API grants none.
    pub fn is_used_up(&self) -> bool {
        matches!(
            self,
            Self::HourUsedUp { .. } | Self::MaxHits { .. } | Self::Throttled { .. }
        )
    }

    /// The error of a request that will not be tried again because of `problem` itself.
    pub(crate) fn of_fatal(problem: Problem, target: String, host: &str) -> Self {
        let host = host.to_owned();
        match problem {
            Problem::Unauthorized => Self::Unauthorized { host },
            Problem::InvalidClient => Self::InvalidClient { host },
            source => Self::Fatal { target, source },
        }
    }
}
