//! The endpoints under `/_simulator`: faults, time, statistics and rows, for tests in any language. No token, no limit.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::faults::Fault;
use super::fields::Resource;
use super::server::{Server, Statistics};

pub(crate) fn router() -> Router<Arc<Server>> {
    Router::new()
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/advance", post(advance))
        .route("/tokens/revoke", post(revoke))
        .route("/statistics", get(statistics))
        .route("/rows/{resource}", get(rows))
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

fn revoke(State(server): Shared) -> Ready<StatusCode> {
    server.oauth.revoke_all();
    ready(StatusCode::NO_CONTENT)
}

fn statistics(State(server): Shared) -> Ready<Json<Statistics>> {
    ready(Json(server.statistics()))
}

fn rows(
    State(server): Shared,
    Path(name): Path<String>,
) -> Ready<Result<Json<Vec<Value>>, StatusCode>> {
    let resource = Resource::named(&name).ok_or(StatusCode::NOT_FOUND);
    ready(resource.map(|resource| Json(server.rows(resource))))
}
