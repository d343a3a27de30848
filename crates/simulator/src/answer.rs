//! Answers before they are sent: their headers, the shapes of errors, and how a fault spoils their content.

use std::io::Write as _;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::faults::FaultKind;
use super::limits::{Admission, Limits};
use super::world::json;

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html; charset=UTF-8";
const PLAIN: &str = "text/plain";

pub(crate) const TOTAL: &str = "x-total";
pub(crate) const DATE: &str = "date";

/// A time as the `Date` header has it.
pub(crate) fn date_of(time: jiff::Timestamp) -> String {
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    printer
        .timestamp_to_rfc9110_string(&time)
        .unwrap_or_default()
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

#[derive(Serialize)]
struct Described<'a> {
    error: &'a str,
    message: &'a str,
}

impl Answer {
    fn new(status: StatusCode, kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        Self {
            status,
            headers,
            body: body.into(),
        }
    }

    pub(crate) fn json(status: StatusCode, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, JSON, body)
    }

    /// An error in JSON, with a body that may say nothing.
    pub(crate) fn error(status: StatusCode, message: &str, described: bool) -> Self {
        let error = status.canonical_reason().unwrap_or("Error");
        let body = if described {
            json(&Described { error, message })
        } else {
            "{}".to_owned()
        };
        Self::json(status, body)
    }

    /// The 401 of a request whose token is no good.
    pub(crate) fn unauthorized(description: &str, described: bool) -> Self {
        let mut answer = Self::error(StatusCode::UNAUTHORIZED, description, described);
        let challenge = format!(
            "Bearer realm=\"42 API\", error=\"invalid_token\", error_description=\"{description}\""
        );
        answer.header("www-authenticate", challenge);
        answer
    }

    /// The 403 of a request for which the application lacks a role; its body is documented.
    pub(crate) fn forbidden() -> Self {
        let message = "You do not have the rights to see this resource.";
        Self::error(StatusCode::FORBIDDEN, message, true)
    }

    /// The 429 of a full window.
    pub(crate) fn too_many(hourly: bool, retry_after: Option<u64>) -> Self {
        let which = if hourly { "Hourly" } else { "Spam" };
        let text = format!("429 Too Many Requests ({which} Rate Limit Exceeded)");
        let mut answer = Self::new(StatusCode::TOO_MANY_REQUESTS, PLAIN, text);
        if let Some(seconds) = retry_after {
            answer.header("retry-after", seconds.to_string());
        }
        answer
    }

    /// An error of the gateway in front of the API.
    pub(crate) fn gateway(status: StatusCode) -> Self {
        Self::new(status, HTML, page_of(&status.to_string()))
    }

    /// The answer of a gateway in front of the API; `None` for faults that leave the answer to the API.
    pub(crate) fn instead(fault: &FaultKind) -> Option<Self> {
        Some(match fault {
            FaultKind::Status { status } => {
                let status = StatusCode::from_u16(*status).ok();
                Self::gateway(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
            }
            FaultKind::Html => Self::new(StatusCode::OK, HTML, page_of("Maintenance")),
            FaultKind::Cloudflare => {
                let body = page_of("Just a moment...");
                Self::new(StatusCode::FORBIDDEN, HTML, body)
            }
            FaultKind::Object => Self::json(StatusCode::OK, r#"{"error":"try again later"}"#),
            FaultKind::Empty => Self::json(StatusCode::OK, ""),
            FaultKind::TooManyRequests { retry_after } => Self::too_many(false, *retry_after),
            FaultKind::HourlyLimit { retry_after } => Self::too_many(true, *retry_after),
            FaultKind::NotFound => Self::json(StatusCode::NOT_FOUND, "{}"),
            FaultKind::Forbidden => Self::forbidden(),
            FaultKind::RefusedToken => Self::unauthorized("The access token is invalid", true),
            _ => return None,
        })
    }

    /// Spoils the content of the API's own answer.
    pub(crate) fn spoil(&mut self, fault: &FaultKind) {
        match fault {
            FaultKind::BrokenJson => self.body.truncate(self.body.len() * 2 / 3),
            FaultKind::NoTotal => {
                self.headers.remove(TOTAL);
            }
            FaultKind::WrongTotal { by } => {
                let total = self
                    .headers
                    .get(TOTAL)
                    .and_then(|total| total.to_str().ok());
                if let Some(total) = total.and_then(|total| total.parse::<i64>().ok()) {
                    self.header(TOTAL, (total + by).max(0).to_string());
                }
            }
            FaultKind::WrongDate { by } => {
                let date = self.headers.get(DATE).and_then(|date| date.to_str().ok());
                let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
                let by = jiff::SignedDuration::from_secs(*by);
                if let Some(date) = date.and_then(|date| date.timestamp().checked_add(by).ok()) {
                    self.header(DATE, date_of(date));
                }
            }
            FaultKind::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                let packed = encoder
                    .write_all(&self.body)
                    .and_then(|()| encoder.finish());
                if let Ok(packed) = packed {
                    self.body = packed;
                    self.header("content-encoding", "gzip".to_owned());
                }
            }
            _ => {}
        }
    }

    /// Sets a header; the names are ours, and a value that no header can hold is left out.
    pub(crate) fn header(&mut self, name: &'static str, value: String) {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
    }

    /// The limits in the headers of every answer.
    pub(crate) fn limits(&mut self, limits: &Limits, admission: &Admission) {
        for (name, value) in [
            ("x-hourly-ratelimit-limit", limits.per_hour),
            ("x-hourly-ratelimit-remaining", admission.hour_remaining),
            ("x-secondly-ratelimit-limit", limits.per_second),
            ("x-secondly-ratelimit-remaining", admission.second_remaining),
        ] {
            self.header(name, value.to_string());
        }
    }
}

fn page_of(title: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html><head><title>{title}</title></head>\n<body><center><h1>{title}</h1></center></body></html>\n"
    )
}
