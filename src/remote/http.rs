//! The HTTP of object stores: by the same client as the API's, so that there is one TLS. Plain HTTP goes to this machine alone.

use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};

use super::AT_ONCE;
use super::error::NO_CREDENTIALS;
use crate::api;
use crate::mutex::locked;

/// For one request, with its answer.
const TIMEOUT: Duration = Duration::from_mins(5);
/// Bytes of an error's answer that are looked at for its code.
const LONGEST_ERROR: usize = 16 << 10;

/// What went wrong last, in words that hold no URL.
#[derive(Debug, Default)]
pub(super) struct Answers(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    problem: Option<String>,
    /// The code of the store, such as `NoSuchBucket`.
    code: Option<String>,
}

impl Answers {
    /// Why the last request failed; none if none did.
    pub(super) fn last_problem(&self) -> Option<String> {
        locked(&self.0).problem.clone()
    }

    pub(super) fn code(&self) -> Option<String> {
        locked(&self.0).code.clone()
    }

    /// Whether the bucket or container is missing, and not an object in it.
    pub(super) fn lacks_bucket(&self) -> bool {
        let code = self.code();
        matches!(
            code.as_deref(),
            Some("NoSuchBucket" | "ContainerNotFound" | "notFound")
        )
    }

    fn note(&self, problem: String, code: Option<String>) {
        let mut last = locked(&self.0);
        last.problem = Some(problem);
        last.code = code;
    }

    fn clear(&self) {
        *locked(&self.0) = Last::default();
    }
}

/// Plain HTTP to another machine.
#[derive(Debug, thiserror::Error)]
#[error("plain HTTP goes to this machine only")]
struct Insecure;

#[derive(Debug)]
pub(super) struct Connector(pub(super) Arc<Answers>);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = |is_loopback| {
            api::http_client(is_loopback, AT_ONCE).map_err(|error| object_store::Error::Generic {
                store: "HTTP",
                source: Box::new(error.without_url()),
            })
        };
        Ok(HttpClient::new(Service {
            near: client(true)?,
            far: client(false)?,
            answers: Arc::clone(&self.0),
        }))
    }
}

#[derive(Debug)]
struct Service {
    /// To this machine: by no proxy.
    near: reqwest::Client,
    far: reqwest::Client,
    answers: Arc<Answers>,
}

impl HttpService for Service {
    fn call<'s, 'f>(&'s self, request: HttpRequest) -> Answer<'f>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(self.send(request))
    }
}

type Answer<'f> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'f>>;

impl Service {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let host = parts.uri.host().unwrap_or_default();
        let is_near = api::is_loopback(host);
        if parts.uri.scheme_str() != Some("https") && !is_near {
            let problem = if is_of_metadata(host) {
                NO_CREDENTIALS
            } else {
                "plain HTTP goes to this machine only; give an address that begins with https://"
            };
            self.answers.note(problem.to_owned(), None);
            return Err(HttpError::new(HttpErrorKind::Unknown, Insecure));
        }
        let url = reqwest::Url::parse(&parts.uri.to_string())
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let body = body.collect().await?.to_bytes();
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        *request.body_mut() = Some(body.into());
        *request.timeout_mut() = Some(TIMEOUT);
        let client = if is_near { &self.near } else { &self.far };
        let response = client
            .execute(request)
            .await
            .map_err(|error| self.failed(error))?;
        let status = response.status();
        let response = axum::http::Response::<reqwest::Body>::from(response);
        let (parts, body) = response.into_parts();
        if status.is_success() {
            self.answers.clear();
            let answers = Arc::clone(&self.answers);
            let body = body.map_err(move |error| of_reqwest(&answers, error));
            return Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)));
        }
        // The answer of an error is short, and its code is the only part of it that is shown.
        let body = body
            .collect()
            .await
            .map_err(|error| self.failed(error))?
            .to_bytes();
        let text = String::from_utf8_lossy(&body[..body.len().min(LONGEST_ERROR)]).into_owned();
        self.answers
            .note(format!("the store answered {status}"), code_in(&text));
        Ok(HttpResponse::from_parts(parts, body.into()))
    }

    fn failed(&self, error: reqwest::Error) -> HttpError {
        of_reqwest(&self.answers, error)
    }
}

/// Whether a host is the metadata service of a cloud's machines, which is asked where no variable gives credentials.
fn is_of_metadata(host: &str) -> bool {
    host.starts_with("169.254.") || host.starts_with("metadata")
}

/// What became of a connection. The error's own text has the URL.
fn of_reqwest(answers: &Answers, error: reqwest::Error) -> HttpError {
    let (kind, problem) = if error.is_timeout() {
        (HttpErrorKind::Timeout, "it did not answer in time")
    } else if error.is_connect() {
        (HttpErrorKind::Connect, "it cannot be reached")
    } else {
        (HttpErrorKind::Interrupted, "the connection was cut")
    };
    answers.note(problem.to_owned(), None);
    HttpError::new(kind, error.without_url())
}

/// Whether the same may succeed a moment later.
pub(super) fn is_worth_a_retry(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<HttpError>() {
            return error.kind() != HttpErrorKind::Unknown;
        }
        cause = error.source();
    }
    false
}

/// The code in the answer to a request that failed: `<Code>NoSuchBucket</Code>`, or `"reason": "notFound"`.
fn code_in(text: &str) -> Option<String> {
    let after = |start: &str| text.split_once(start).map(|(_, rest)| rest);
    let rest = after("<Code>").or_else(|| after("\"reason\": \""))?;
    let code: String = rest
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    (1..=64).contains(&code.len()).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_code_of_an_answer_is_shown() {
        let xml = "<Error><Code>NoSuchBucket</Code><Key>AKIA</Key></Error>";
        assert_eq!(code_in(xml).as_deref(), Some("NoSuchBucket"));
        assert_eq!(
            code_in("<Code>https://x?sig=1</Code>").as_deref(),
            Some("https")
        );
        assert_eq!(code_in("<html>"), None);
    }
}
