//! Pings that say how commands end, in the manner of healthchecks: `URL/start`, then `URL/EXITCODE` with a summary as body. A ping
//! that fails changes nothing else. The URL may hold a secret: no message repeats it.

use std::time::Duration;

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use tokio::task::JoinHandle;
use tracing::{debug, error};

use crate::api;
use crate::config::{Event, parse_url};
use crate::exit::Exit;

/// For one attempt.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a body; healthchecks keeps as many.
const LONGEST_BODY: usize = 10_000;
const ADVICE: &str = "check `[notify] url` or CURSUS_NOTIFY_URL";

#[derive(Clone)]
pub(crate) struct Notifier {
    http: reqwest::Client,
    url: SecretString,
    on: Vec<Event>,
}

pub(crate) struct Started(Option<JoinHandle<()>>);

impl Started {
    /// Of a command whose start is not notified.
    pub(crate) fn not() -> Self {
        Self(None)
    }
}

impl Notifier {
    /// `None`, and an error in the log, if no ping can be sent.
    pub(crate) fn new(url: &SecretString, on: &[Event]) -> Option<Self> {
        let parsed = match parse_url(url.expose_secret()) {
            Ok(parsed) => parsed,
            Err(problem) => {
                error!("nobody is notified: {problem}; {ADVICE}");
                return None;
            }
        };
        let host = parsed.host_str().unwrap_or_default();
        let http = api::http_client(api::is_loopback(host), 0)
            .inspect_err(|error| error!("nobody is notified: HTTP cannot be set up: {error}"))
            .ok()?;
        Some(Self {
            http,
            url: url.clone(),
            on: on.to_vec(),
        })
    }

    pub(crate) fn start(&self) -> Started {
        if !self.on.contains(&Event::Start) {
            return Started(None);
        }
        let notifier = self.clone();
        Started(Some(tokio::spawn(async move {
            notifier.deliver("start", String::new()).await;
        })))
    }

    /// Says how a command has ended. Takes up to 10 s; a start that is not delivered yet is dropped.
    pub(crate) async fn end(&self, started: Started, exit: Exit, summary: &str) {
        if let Some(start) = started.0.filter(|start| !start.is_finished()) {
            start.abort();
            error!("the start was not notified: no answer until the end; {ADVICE}");
        }
        let event = if exit == Exit::Done {
            Event::Success
        } else {
            Event::Failure
        };
        if self.on.contains(&event) {
            let mut body = summary.to_owned();
            body.truncate(body.floor_char_boundary(LONGEST_BODY));
            self.deliver(&exit.code().to_string(), body).await;
        }
    }

    /// Two attempts at most.
    async fn deliver(&self, what: &str, body: String) {
        let Some(url) = self.target(what) else {
            return;
        };
        let mut is_retry = false;
        loop {
            match self.post(url.clone(), body.clone()).await {
                Ok(()) => return debug!("notified: {what}"),
                Err(problem) if is_retry || problem.is_final => {
                    return error!("not notified of `{what}`: {}; {ADVICE}", problem.sentence);
                }
                Err(_) => is_retry = true,
            }
        }
    }

    async fn post(&self, url: Url, body: String) -> Result<(), Problem> {
        let request = self.http.post(url).timeout(TIMEOUT).body(body);
        let answer = request.send().await.map_err(|error| Problem {
            // The error's own text has the URL.
            sentence: if error.is_timeout() {
                "no answer within 5 s".to_owned()
            } else if error.is_connect() {
                "the server cannot be reached".to_owned()
            } else {
                "the connection broke".to_owned()
            },
            is_final: false,
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        Err(Problem {
            sentence: if status.is_redirection() {
                format!(
                    "the server redirects ({}), which is not followed",
                    status.as_u16()
                )
            } else {
                format!("the server answered {}", status.as_u16())
            },
            is_final: !status.is_server_error() && status.as_u16() != 429,
        })
    }

    /// The URL with a further part at the end of its path.
    fn target(&self, what: &str) -> Option<Url> {
        let mut url = parse_url(self.url.expose_secret()).ok()?;
        (url.path_segments_mut().ok()?).pop_if_empty().push(what);
        Some(url)
    }
}

struct Problem {
    sentence: String,
    /// Another attempt would end in the same way.
    is_final: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_ends_the_path_of_the_url() {
        for (url, target) in [
            (
                "https://hc.example/ping/uuid",
                "https://hc.example/ping/uuid/3",
            ),
            ("https://hc.example/uuid/", "https://hc.example/uuid/3"),
            ("http://10.0.0.7:8000", "http://10.0.0.7:8000/3"),
            (
                "https://hc.example/a?create=1",
                "https://hc.example/a/3?create=1",
            ),
        ] {
            let notifier = Notifier::new(&SecretString::from(url), &Event::ALL).unwrap();
            assert_eq!(notifier.target("3").unwrap().as_str(), target);
        }
    }

    #[test]
    fn what_is_no_url_is_not_repeated() {
        for text in [
            "",
            "canary",
            "ftp://canary/x",
            "https://",
            "mailto:canary@x",
            "https://x/#canary",
        ] {
            let problem = parse_url(text).unwrap_err();
            assert!(!problem.contains("canary"), "{problem}");
        }
    }
}
