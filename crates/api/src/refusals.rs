//! What a page does after a 401: another token, or the conclusion that tokens are not at fault. It sends no page.

use std::time::Duration;

use tokio::time::Instant;

use super::error::ApiError;
use super::inner::Inner;
use super::token::{Bearer, TokenRequest};

/// From this refusal on a page first sees whether its token serves others.
const DOUBTED: u32 = 3;
const LONGEST_DOUBT: Duration = Duration::from_secs(5);

/// The times that one page was answered with 401.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    count: u32,
    /// The generation of the token that was refused last, and when that was heard.
    last: Option<(u64, Instant)>,
}

impl Refusals {
    /// After a 401: returns when the page is to be asked for again.
    ///
    /// A token that has worked was revoked, and that can happen as often as the server likes. A page that no token serves is
    /// recognised by this: a token that was refused to it serves a page that was sent after that; or, when no page is there that could
    /// show it, the server says that the token is good.
    pub(crate) async fn renew(
        &mut self,
        inner: &Inner,
        bearer: &Bearer,
        target: &str,
    ) -> Result<(), ApiError> {
        let generation = bearer.generation;
        let refused_here = || ApiError::RefusedHere {
            target: target.to_owned(),
        };
        let again = self.last.filter(|(refused, _)| *refused == generation);
        let last_served = inner.tokens.last_served(generation);
        if again.is_some_and(|(_, heard)| last_served > Some(heard)) {
            return Err(refused_here());
        }
        self.count += 1;
        self.last = Some((generation, Instant::now()));
        if self.count >= DOUBTED && again.is_none() && last_served.is_some() {
            // Meanwhile others show whether it is revoked.
            let delay = inner.backoff.base.max(inner.backoff.delay(self.count));
            tokio::time::sleep(delay.min(LONGEST_DOUBT)).await;
            return Ok(());
        }
        if inner.tokens.needs_check(generation) && inner.confirms(bearer).await {
            inner.tokens.confirmed();
            return Err(refused_here());
        }
        inner
            .token(TokenRequest::Replace(generation))
            .await
            .map(|_| ())
    }
}
