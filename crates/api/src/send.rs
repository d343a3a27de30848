//! One attempt: a slot, a token, a turn, the request, the judged and inspected answer. It never tries twice.

use std::io::Read as _;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cursus_base::mutex::locked;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderValue};
use tokio::time::Instant;

use super::answer::{self, Answer, Deadline, Slot};
use super::body::{Body, Spool};
use super::counts::UNANSWERED;
use super::error::ApiError;
use super::inner::{Effort, Failure, Inner, Inspect};
use super::limiter::{Purpose, Turn};
use super::request::Request;
use super::retry::{InspectError, Problem};
use super::token::{Bearer, Token, TokenMetadata, TokenRequest, Trial};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Idle connections are closed before a usual server closes them: a race would cost a retry.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

const TOKEN_TARGET: &str = "/oauth/token";
const TOKEN_TIMEOUT: Duration = Duration::from_mins(1);

/// More than any answer with a token has.
const LARGEST_TOKEN_ANSWER: u64 = 64 << 10;

pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An HTTP client that keeps this many connections for later requests, follows no redirect and tries nothing twice; one for
/// this machine uses no proxy.
///
/// # Errors
///
/// TLS cannot be set up.
pub fn http_client(
    is_loopback: bool,
    connections: usize,
) -> Result<reqwest::Client, reqwest::Error> {
    // Fails only if a provider is there already, which is just as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .user_agent(concat!("cursus/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(connections);
    let builder = if is_loopback {
        builder.no_proxy()
    } else {
        builder
    };
    builder.build()
}

impl Inner {
    /// Boxed: the future is large, and its type says no more than that it can be sent.
    pub(crate) fn attempt<T: Send + 'static>(
        &self,
        request: Request,
        inspect: impl Inspect<T>,
    ) -> Boxed<'_, Result<Answer<T>, Failure>> {
        Box::pin(self.try_once(request, inspect))
    }

    async fn try_once<T: Send + 'static>(
        &self,
        request: Request,
        inspect: impl Inspect<T>,
    ) -> Result<Answer<T>, Failure> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        let (bearer, trial, turn) = self.admitted().await?;
        let connection = self.connections.try_acquire();
        let http = match &connection {
            Ok(_) => &self.http,
            Err(_) => self.unpooled().await?,
        };
        let started = Instant::now();
        let mut deadline = Deadline::new(request.timeout.unwrap_or(self.options.timeout));
        let http_request = http
            .get(self.options.base_url.join(&request))
            .header(AUTHORIZATION, bearer.header.clone())
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let response = self.transported(turn, http_request, &deadline).await?;
        let receiver = deadline.does_not_count(self.receivers.acquire()).await;
        let response = match answer::judged(response, &deadline).await {
            Err(Problem::Unauthorized) => {
                return Err(Failure::Unauthorized { bearer, trial });
            }
            judged => judged?,
        };
        self.tokens.record_served(bearer.generation, started);
        drop(trial);
        let headers = response.headers();
        let total = answer::total(headers);
        let per_page = answer::per_page(headers);
        let has_next = answer::has_next(response.headers());
        let date = answer::date(headers);
        let status = response.status().as_u16();
        let spool = Spool::new(self.options.spool_dir.as_deref(), &self.room);
        let body = answer::receive(response, spool, &mut deadline).await?;
        drop((receiver, connection));
        let (duration, received_at) = (started.elapsed(), self.clock.now());
        let worker = Arc::clone(&self.workers).acquire_owned().await.ok();
        let (inspected, body) = inspected(request.target(), body, inspect).await?;
        Ok(Answer {
            inspected,
            body,
            total,
            per_page,
            has_next,
            status,
            date,
            received_at,
            duration,
            attempts: 1,
            slot: Slot {
                _in_flight: slot,
                _worker: worker,
            },
        })
    }

    /// A client whose connections end with their requests.
    async fn unpooled(&self) -> Result<&reqwest::Client, ApiError> {
        let is_loopback = self.options.base_url.is_loopback();
        let client = async || http_client(is_loopback, 0).map_err(ApiError::Setup);
        self.unpooled.get_or_try_init(client).await
    }

    /// A token and a turn, both good at the same time: the wait for a turn can outlast a token.
    async fn admitted(&self) -> Result<(Bearer, Option<Trial>, Turn), ApiError> {
        let mut tries = 0;
        loop {
            let (bearer, _) = self.token(TokenRequest::Fresh).await?;
            let (trial, may_go) = self.tokens.trial(bearer.generation).await;
            if !may_go {
                continue;
            }
            let turn = self.limiter.turn(Purpose::Page).await?;
            tries += 1;
            // A token that never lives long enough is sent as it is.
            if tries > 2 || self.tokens.is_current(bearer.generation) {
                return Ok((bearer, trial, turn));
            }
            turn.give_back();
        }
    }

    /// A token as wanted; a request for one obeys the limits and is retried like any other.
    pub(crate) fn token(
        &self,
        want: TokenRequest,
    ) -> Boxed<'_, Result<(Bearer, TokenMetadata), ApiError>> {
        Box::pin(async move {
            let address = || self.options.base_url.address();
            let token = self.tokens.get(want, self.new_token()).await;
            token.map_err(|failure| match failure {
                Failure::Final(error) => error,
                Failure::Problem(Problem::InvalidClient) => {
                    ApiError::InvalidClient { host: address() }
                }
                Failure::Problem(Problem::Unauthorized) | Failure::Unauthorized { .. } => {
                    ApiError::Unauthorized { host: address() }
                }
                Failure::Problem(source) => ApiError::TokenRefused {
                    host: address(),
                    source,
                },
            })
        })
    }

    async fn new_token(&self) -> Result<Token, Failure> {
        if self.client_refused.load(Ordering::Relaxed) {
            return Err(Problem::InvalidClient.into());
        }
        let mut effort = Effort::default();
        self.budget.request();
        loop {
            effort.attempts += 1;
            let turn = self.limiter.turn(Purpose::Token).await?;
            let sender = TokenSender {
                inner: self,
                turn: Mutex::new(Some(turn)),
            };
            match self.tokens.exchange(&sender).await {
                Ok(token) => return Ok(token),
                Err(problem @ Problem::InvalidClient) => {
                    self.client_refused.store(true, Ordering::Relaxed);
                    return Err(problem.into());
                }
                Err(problem @ (Problem::Forbidden | Problem::NotFound | Problem::Refused(_))) => {
                    return Err(problem.into());
                }
                Err(problem) => self.back_off(problem, TOKEN_TARGET, &mut effort).await?,
            }
        }
    }

    /// Whether the server says that a token is good.
    pub(crate) async fn confirms(&self, bearer: &Bearer) -> bool {
        let Ok(turn) = self.limiter.turn(Purpose::Token).await else {
            return false;
        };
        let http_request = self
            .http
            .get(self.options.base_url.token_info_url())
            .header(AUTHORIZATION, bearer.header.clone());
        let deadline = Deadline::new(TOKEN_TIMEOUT);
        let answer = self.transported(turn, http_request, &deadline).await;
        answer.is_ok_and(|response| response.status().as_u16() == 200)
    }

    async fn send_token_request(
        &self,
        turn: Option<Turn>,
        request: oauth2::HttpRequest,
    ) -> Result<oauth2::HttpResponse, Problem> {
        let turn = turn.ok_or(Problem::NoToken)?;
        let (parts, body) = request.into_parts();
        let http_request = self
            .http
            .post(self.options.base_url.token_url())
            .headers(parts.headers)
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
            .body(body);
        let mut deadline = Deadline::new(TOKEN_TIMEOUT);
        let response = self.transported(turn, http_request, &deadline).await?;
        let status = response.status();
        match Problem::of_status(status.as_u16()) {
            // Only the status counts here: the shape of the body is not settled.
            Some(Problem::Unauthorized) => return Err(Problem::InvalidClient),
            // The body says which of the errors that OAuth2 knows it is.
            None | Some(Problem::Refused(400)) => {}
            Some(_) => {
                return Err(answer::judged(response, &deadline)
                    .await
                    .err()
                    .unwrap_or(Problem::NoToken));
            }
        }
        let spool = Spool::new(self.options.spool_dir.as_deref(), &self.room);
        let body = answer::receive(response, spool, &mut deadline).await?;
        let mut bytes = Vec::new();
        body.reader()
            .take(LARGEST_TOKEN_ANSWER)
            .read_to_end(&mut bytes)
            .map_err(Problem::Spool)?;
        let mut http_response = oauth2::http::Response::new(bytes);
        *http_response.status_mut() = status;
        Ok(http_response)
    }
}

/// Judges a body on a thread for blocking work.
async fn inspected<T: Send + 'static>(
    target: String,
    body: Body,
    inspect: impl Inspect<T>,
) -> Result<(T, Body), Failure> {
    let inspection = tokio::task::spawn_blocking(move || (inspect(&mut body.reader()), body));
    match inspection.await {
        Ok((Ok(inspected), body)) => Ok((inspected, body)),
        Ok((Err(InspectError::Read(source)), _)) => Err(ApiError::Reread { target, source }.into()),
        Ok((Err(complaint), _)) => Err(Problem::Inspect(complaint).into()),
        Err(_) => Err(ApiError::Interrupted { target }.into()),
    }
}

struct TokenSender<'a> {
    inner: &'a Inner,
    turn: Mutex<Option<Turn>>,
}

impl<'c> oauth2::AsyncHttpClient<'c> for TokenSender<'_> {
    type Error = Problem;
    type Future = Boxed<'c, Result<oauth2::HttpResponse, Problem>>;

    fn call(&'c self, request: oauth2::HttpRequest) -> Self::Future {
        let turn = locked(&self.turn).take();
        Box::pin(self.inner.send_token_request(turn, request))
    }
}

impl Inner {
    /// Sends a request and reports its outcome to the limiter.
    async fn transported(
        &self,
        turn: Turn,
        request: reqwest::RequestBuilder,
        deadline: &Deadline,
    ) -> Result<reqwest::Response, Problem> {
        turn.departs();
        match deadline.holds(request.send()).await {
            Ok(response) => {
                let rate = answer::rate_headers(response.headers());
                let status = response.status().as_u16();
                self.options.answers.count(status);
                match status {
                    429 => turn.rejected(rate, answer::retry_after(response.headers())),
                    500.. => turn.faulted(rate),
                    _ => turn.answered(rate),
                }
                Ok(response)
            }
            Err(problem) => {
                if problem.never_reached() {
                    turn.unreached();
                } else {
                    self.options.answers.count(UNANSWERED);
                }
                Err(problem)
            }
        }
    }
}
