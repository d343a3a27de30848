//! Answers and their headers.

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use maud::Markup;
use serde::Serialize;

/// Nothing from elsewhere, nothing inline, no frame around it, no form to elsewhere.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
/// Of files whose name changes with their content.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const NOT_KEPT: &str = "no-store";

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, kind);
    set(&mut response, CACHE_CONTROL, NOT_KEPT);
    response
}

pub(super) fn set(response: &mut Response, name: HeaderName, value: &'static str) {
    let value = HeaderValue::from_static(value);
    response.headers_mut().insert(name, value);
}

/// Sets what every answer has.
pub(super) fn protect(response: &mut Response) {
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        set(response, name, value);
    }
    // Not `no-referrer`: the `Origin` of a page's forms would be `null`.
    set(response, REFERRER_POLICY, "same-origin");
}

pub(super) fn html(status: StatusCode, page: Markup) -> Response {
    answer(status, HTML, page.into_string())
}

pub(super) fn text(status: StatusCode, text: impl Into<Body>) -> Response {
    answer(status, TEXT, text)
}

pub(super) fn calendar(text: String) -> Response {
    answer(StatusCode::OK, "text/calendar; charset=utf-8", text)
}

/// A document for programs.
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Response {
    match serde_json::to_vec(document) {
        Ok(body) => answer(status, "application/json", body),
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the document is not JSON: {error}\n"),
        ),
    }
}

/// Why there is no document, for programs.
pub(super) fn json_error(status: StatusCode, sentence: &str) -> Response {
    json(status, &serde_json::json!({ "errors": [sentence] }))
}

/// A file that is part of the program.
pub(super) fn file(kind: &'static str, content: &'static str, tag: &str) -> Response {
    let mut response = answer(StatusCode::OK, kind, content);
    set(&mut response, CACHE_CONTROL, FOR_EVER);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{tag}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// The value of a header that is there once, and is text.
pub(super) fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}
