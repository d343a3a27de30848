//! The endpoints under `/_simulator`: faults, time, statistics and rows, for tests in any language. No limit, and no token but
//! for rows, which may be people's. A browser is the one program of this machine that foreign pages can make send requests: nothing
//! is answered that a page in one could send.

use std::future::{Ready, ready};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::faults::Fault;
use super::fields::Resource;
use super::oauth;
use super::server::{Server, Statistics};

pub(crate) fn router() -> Router<Arc<Server>> {
    Router::new()
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/advance", post(advance))
        .route("/fields", post(set_field))
        .route("/slow_pages", post(slow_page))
        .route("/anonymise", post(anonymise))
        .route("/replace", post(replace))
        .route("/give_up", post(give_up))
        .route("/tokens/revoke", post(revoke))
        .route("/statistics", get(statistics))
        .route("/rows/{resource}", get(rows))
        .fallback(|| ready(StatusCode::NOT_FOUND))
        .layer(middleware::from_fn(of_no_page))
}

/// Refuses what a web page could send. What is answered, no page may read, embed or take for something else.
async fn of_no_page(request: Request, next: Next) -> Response {
    let mut answer = match refusal(request.method(), request.headers()) {
        Some(refused) => refused.into_response(),
        None => next.run(request).await,
    };
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// Why a request is refused. A browser names the origin in headers that no page can remove or change; an old browser without
/// them sends no JSON, and no method but GET and POST, without a preflight request, which is not answered.
fn refusal(method: &Method, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
    let host = headers.get(header::HOST);
    let is_safe = matches!(*method, Method::GET | Method::HEAD);
    // Node's `fetch` sends other headers of that family, and not this one. `none`: a person typed the address.
    let is_typed = |site: &HeaderValue| is_safe && site == "none";
    if !host
        .and_then(|host| host.to_str().ok())
        .is_some_and(is_loopback)
    {
        // A page in a browser whose name was made to lead here.
        let sentence =
            "the simulator is controlled by a loopback name or address only, such as 127.0.0.1\n";
        Some((StatusCode::MISDIRECTED_REQUEST, sentence))
    } else if headers.contains_key(header::ORIGIN)
        || headers.contains_key(header::REFERER)
        || !headers.get_all("sec-fetch-site").iter().all(is_typed)
    {
        let sentence = "the simulator is not controlled from a web page; send the request without Origin, Referer and Sec-Fetch-Site\n";
        Some((StatusCode::FORBIDDEN, sentence))
    } else if !is_safe && !is_json_or_nothing(headers) {
        let sentence = "the simulator is controlled with JSON: send `Content-Type: application/json`, or no body and no Content-Type\n";
        Some((StatusCode::UNSUPPORTED_MEDIA_TYPE, sentence))
    } else {
        None
    }
}

fn is_json_or_nothing(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (None, _) => {
            let length = headers.get(header::CONTENT_LENGTH);
            length.is_none_or(|length| length == "0")
                && !headers.contains_key(header::TRANSFER_ENCODING)
        }
        (Some(only), None) => only.to_str().is_ok_and(|only| {
            let (essence, _) = only.split_once(';').unwrap_or((only, ""));
            essence.trim().eq_ignore_ascii_case("application/json")
        }),
        _ => false,
    }
}

/// Whether a `Host` can only be this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    match address.unwrap_or(name).parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

type Shared = State<Arc<Server>>;

fn faults(State(server): Shared) -> Ready<Json<Vec<Fault>>> {
    ready(Json(server.faults.all()))
}

fn add_fault(State(server): Shared, Json(fault): Json<Fault>) -> Ready<StatusCode> {
    server.faults.add(fault);
    ready(StatusCode::NO_CONTENT)
}

fn clear_faults(State(server): Shared) -> Ready<StatusCode> {
    server.faults.clear();
    ready(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Jump {
    seconds: u64,
}

#[derive(Serialize)]
struct Now {
    now: String,
}

fn advance(State(server): Shared, Json(jump): Json<Jump>) -> Ready<Json<Now>> {
    server.advance(Duration::from_secs(jump.seconds));
    let now = server.clock.now().to_string();
    ready(Json(Now { now }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetField {
    resource: String,
    id: i64,
    field: String,
    /// Without it the row loses the field.
    #[serde(default, deserialize_with = "also_null")]
    value: Option<Value>,
}

/// Distinguishes null from an absent value.
fn also_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn set_field(State(server): Shared, Json(set): Json<SetField>) -> Ready<StatusCode> {
    let row_exists = server.set_field(&set.resource, set.id, &set.field, set.value);
    ready(status_of(row_exists))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SlowPage {
    resource: String,
    rows: Option<u32>,
}

fn slow_page(State(server): Shared, Json(slow): Json<SlowPage>) -> Ready<StatusCode> {
    ready(status_of(server.slow_page(&slow.resource, slow.rows)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RowId {
    id: i64,
}

fn anonymise(State(server): Shared, Json(person): Json<RowId>) -> Ready<StatusCode> {
    ready(status_of(server.anonymise(person.id)))
}

fn replace(State(server): Shared, Json(row): Json<RowId>) -> Ready<StatusCode> {
    ready(status_of(server.replace_enrolment(row.id).is_some()))
}

fn give_up(State(server): Shared, Json(row): Json<RowId>) -> Ready<StatusCode> {
    ready(status_of(server.give_up_team(row.id)))
}

const fn status_of(row_exists: bool) -> StatusCode {
    if row_exists {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}

fn revoke(State(server): Shared) -> Ready<StatusCode> {
    server.oauth.revoke_all();
    ready(StatusCode::NO_CONTENT)
}

fn statistics(State(server): Shared) -> Ready<Json<Statistics>> {
    ready(Json(server.statistics()))
}

/// Allows callers with the client's secret or a token.
struct Authorized;

impl FromRequestParts<Arc<Server>> for Authorized {
    type Rejection = StatusCode;

    async fn from_request_parts(
        parts: &mut Parts,
        server: &Arc<Server>,
    ) -> Result<Self, StatusCode> {
        let bearer = oauth::bearer(&parts.headers, &[]);
        let is_authorized =
            bearer == Some(server.oauth.client_secret()) || server.oauth.check(bearer).is_ok();
        is_authorized
            .then_some(Self)
            .ok_or(StatusCode::UNAUTHORIZED)
    }
}

fn rows(
    _: Authorized,
    State(server): Shared,
    Path(name): Path<String>,
) -> Ready<Result<Json<Vec<Value>>, StatusCode>> {
    let resource = Resource::named(&name).ok_or(StatusCode::NOT_FOUND);
    ready(resource.map(|resource| Json(server.rows(resource))))
}
