//! The access token: asked for, renewed in time, kept between commands in a file that only its owner can read.
//! It knows nothing of pages; the token leaves it only as the header of a request.

mod exchange;
mod file;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cursus_base::mutex::locked;
use cursus_base::{clock, hash};
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use self::exchange::OAuthClient;
pub(crate) use self::exchange::Token;
pub use self::exchange::TokenMetadata;
use super::request::BaseUrl;
use super::retry::Problem;

/// Tokens in a row, none of which has served a request, after which no further one is asked for.
pub(crate) const MOST_UNSERVED_TOKENS: u32 = 3;

#[derive(Debug, Clone)]
pub(crate) struct Bearer {
    pub(crate) header: HeaderValue,
    pub(crate) generation: u64,
}

/// The one token of a client. The first request that finds it stale renews it; the others wait for that.
#[derive(Debug)]
pub(crate) struct Tokens {
    oauth: OAuthClient,
    path: PathBuf,
    current: tokio::sync::Mutex<Current>,
    standing: Mutex<Standing>,
    trial: Arc<tokio::sync::Mutex<()>>,
}

/// The right to try a token that follows one which never worked. One request has it, the others wait.
pub(crate) type Trial = OwnedMutexGuard<()>;

/// How tokens have done: known also while one is renewed.
#[derive(Debug, Default)]
struct Standing {
    generation: u64,
    /// When the newest request that the token in use has served was sent.
    served_at: Option<Instant>,
    /// Tokens in a row before it that were refused before they had served any.
    unserved: u32,
    /// How often the server may still be asked whether a refused token is good.
    checks_left: u32,
}

/// Requests that are refused alone, with good tokens, before that counts as the fault of all.
const CHECKS: u32 = 5;

#[derive(Debug, Default)]
struct Current {
    token: Option<Token>,
    /// Counts the tokens: 401s of requests that carried an older one renew nothing.
    generation: u64,
    file_was_read: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenRequest {
    Fresh,
    /// The server refused the one of this generation.
    Replace(u64),
    ForceNew,
}

impl Tokens {
    pub(crate) fn new(
        base_url: &BaseUrl,
        client_id: &str,
        client_secret: &SecretString,
        directory: &Path,
    ) -> Self {
        // A token got with another secret says nothing of this one.
        let secret = client_secret.expose_secret();
        let name = hash::short_of(&[&base_url.origin(), client_id, secret]);
        let oauth = exchange::oauth_client(base_url, client_id, secret);
        Self {
            oauth,
            path: directory.join(format!("token-{name}.json")),
            current: tokio::sync::Mutex::default(),
            standing: Mutex::default(),
            trial: Arc::default(),
        }
    }

    /// A token as wanted: the one at hand, else the one in the file, else a new one through `fetch`.
    pub(crate) async fn get<E>(
        &self,
        want: TokenRequest,
        fetch: impl Future<Output = Result<Token, E>> + Send,
    ) -> Result<(Bearer, TokenMetadata), E>
    where
        E: From<Problem>,
    {
        let mut current = self.current.lock().await;
        let now = clock::now();
        let refused = match want {
            TokenRequest::Replace(generation) if generation == current.generation => {
                current.token.take()
            }
            TokenRequest::ForceNew => current.token.take(),
            TokenRequest::Replace(_) | TokenRequest::Fresh => None,
        };
        {
            let mut standing = locked(&self.standing);
            if want == TokenRequest::ForceNew || standing.served_at.is_some() {
                standing.unserved = 0;
            } else if refused.is_some() {
                standing.unserved += 1;
            }
        }
        // Another command may have renewed it since; and on a 401 it usually has.
        let look_into_file = want != TokenRequest::ForceNew
            && (!current.file_was_read || refused.is_some())
            && current
                .token
                .as_ref()
                .is_none_or(|token| !token.is_fresh(now));
        if look_into_file {
            current.file_was_read = true;
            let kept = file::read(self.path.clone()).await;
            let is_refused = |kept: &Token| {
                refused.as_ref().is_some_and(|refused| {
                    refused.access.expose_secret() == kept.access.expose_secret()
                })
            };
            match kept {
                // If no other token can be had, the next command must not try this one on all its requests.
                Some(kept) if is_refused(&kept) => {
                    let _ = tokio::fs::remove_file(&self.path).await;
                }
                Some(kept) => self.adopt(&mut current, kept),
                None => {}
            }
        }
        if let Some(token) = current.token.as_ref().filter(|token| token.is_fresh(now)) {
            return Ok((bearer(token, current.generation)?, token.metadata.clone()));
        }
        if locked(&self.standing).unserved >= MOST_UNSERVED_TOKENS {
            return Err(Problem::Unauthorized.into());
        }
        let token = fetch.await?;
        if let Err(error) = file::write(self.path.clone(), token.clone()).await {
            // Without the file the next command asks for a token of its own: one request, no harm.
            tracing::warn!(
                target: crate::LOG,
                path = %self.path.display(),
                error = &error as &dyn std::error::Error,
                "the token could not be kept for the next command"
            );
        }
        let answer = (
            bearer(&token, current.generation + 1)?,
            token.metadata.clone(),
        );
        self.adopt(&mut current, token);
        Ok(answer)
    }

    fn adopt(&self, current: &mut Current, token: Token) {
        current.token = Some(token);
        current.generation += 1;
        let mut standing = locked(&self.standing);
        standing.generation = current.generation;
        standing.served_at = None;
    }

    /// The server has served a request with the token of this generation.
    pub(crate) fn record_served(&self, generation: u64, sent: Instant) {
        let mut standing = locked(&self.standing);
        standing.checks_left = CHECKS;
        if standing.generation == generation {
            standing.served_at = standing.served_at.max(Some(sent));
        }
    }

    /// Whether the refusal of this token would be the last that is borne, although others worked: then the server says once
    /// more whether it is good.
    pub(crate) fn needs_check(&self, generation: u64) -> bool {
        let mut standing = locked(&self.standing);
        let is_last = standing.generation == generation
            && standing.served_at.is_none()
            && standing.unserved + 1 >= MOST_UNSERVED_TOKENS;
        if !is_last || standing.checks_left == 0 {
            return false;
        }
        standing.checks_left -= 1;
        true
    }

    /// The server says that its tokens are good.
    pub(crate) fn confirmed(&self) {
        locked(&self.standing).unserved = 0;
    }

    /// When the newest request that the token of this generation has served was sent, if it is still in use.
    pub(crate) fn last_served(&self, generation: u64) -> Option<Instant> {
        let standing = locked(&self.standing);
        standing
            .served_at
            .filter(|_| standing.generation == generation)
    }

    /// What is known of the last token, without asking for one.
    pub(crate) async fn known(&self) -> Option<TokenMetadata> {
        let current = self.current.lock().await;
        match &current.token {
            Some(token) => Some(token.metadata.clone()),
            None => file::read(self.path.clone())
                .await
                .map(|token| token.metadata),
        }
    }

    /// Waits until the token of this generation may be sent; false: it is not known any more whether it is the one to use.
    ///
    /// What revokes tokens as fast as they are made may count requests: a single one then shows whether a token works.
    pub(crate) async fn trial(&self, generation: u64) -> (Option<Trial>, bool) {
        let is_doubted = || {
            let standing = locked(&self.standing);
            standing.generation == generation
                && standing.unserved > 0
                && standing.served_at.is_none()
        };
        if !is_doubted() {
            return (None, true);
        }
        let trial = Arc::clone(&self.trial).lock_owned().await;
        if is_doubted() {
            (Some(trial), true)
        } else {
            (None, false)
        }
    }

    /// Whether the token of this generation is still the one to use; one that is being renewed is not. The caller holds a turn,
    /// which the renewal may be waiting for: so this never waits.
    pub(crate) fn is_current(&self, generation: u64) -> bool {
        let Ok(current) = self.current.try_lock() else {
            return false;
        };
        let now = clock::now();
        current.generation == generation
            && current
                .token
                .as_ref()
                .is_some_and(|token| token.is_fresh(now))
    }

    /// Asks the server for a token; `sender` carries the request and judges the status.
    pub(crate) async fn exchange<'c>(
        &'c self,
        sender: &'c impl oauth2::AsyncHttpClient<'c, Error = Problem>,
    ) -> Result<Token, Problem> {
        exchange::exchange(&self.oauth, sender).await
    }
}

fn bearer(token: &Token, generation: u64) -> Result<Bearer, Problem> {
    let text = format!("Bearer {}", token.access.expose_secret());
    let mut header = HeaderValue::from_str(&text).map_err(|_| Problem::NoToken)?;
    header.set_sensitive(true);
    Ok(Bearer { header, generation })
}

#[cfg(test)]
pub(crate) mod tests {
    use futures_util::FutureExt as _;
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    pub(super) fn token(asked: i64, life: i64) -> Token {
        let asked = Timestamp::from_second(asked).unwrap();
        Token {
            access: SecretString::from("canary"),
            asked,
            metadata: TokenMetadata {
                created: asked,
                expires: asked + SignedDuration::from_secs(life),
                secret_valid_until: None,
                scopes: vec!["public".to_owned()],
            },
        }
    }

    #[test]
    fn a_token_is_renewed_five_minutes_early_or_at_half_its_life() {
        let fresh = |token: &Token, at| token.is_fresh(Timestamp::from_second(at).unwrap());
        let long = token(1_000, 7_200);
        assert!(fresh(&long, 1_000 + 6_899));
        assert!(!fresh(&long, 1_000 + 6_900));
        assert!(!fresh(&long, 999), "from the future");
        let short = token(1_000, 4);
        assert!(fresh(&short, 1_001));
        assert!(!fresh(&short, 1_002));
    }

    #[tokio::test]
    async fn a_token_that_is_renewed_is_not_current_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let url = BaseUrl::parse("https://api.example.org").unwrap();
        let tokens = Tokens::new(&url, "id", &SecretString::from("secret"), directory.path());
        // The renewal waits for its turn, which the caller may be holding.
        let renewal = tokens.get::<Problem>(TokenRequest::Fresh, std::future::pending());
        let mut renewal = std::pin::pin!(renewal);
        while tokens.current.try_lock().is_ok() {
            assert!(renewal.as_mut().now_or_never().is_none());
        }
        assert!(!tokens.is_current(0));
    }

    #[test]
    fn debug_output_holds_no_token() {
        let token = token(1_000, 7_200);
        let header = bearer(&token, 1).unwrap();
        assert!(!format!("{token:?} {header:?}").contains("canary"));
    }
}
