//! Documents for programs: JSON, metrics, readiness.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;

use super::respond;
use super::site::Site;
use super::snapshot::Shown;
use crate::printable;
use crate::status::check::Level;
use crate::status::metrics;

/// Entries of the history.
const MOST_RUNS: usize = 1000;

pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/api/status.json", get(status))
        .route("/api/check.json", get(check))
        .route("/api/runs.json", get(runs))
        .route("/api/runs/{file}", get(run))
        .route("/api/decisions.json", get(decisions))
        .route("/api/campus.json", get(campus))
        .route("/metrics", get(metrics_text))
        .route("/readyz", get(ready))
}

/// What is known, or why nothing is.
fn known<T>(shown: Option<&Shown<T>>) -> Result<&T, String> {
    let Some(shown) = shown else {
        return Err("nothing was read yet".to_owned());
    };
    match (&shown.document, &shown.outage) {
        (Some(document), _) => Ok(document),
        (None, Some(outage)) => Err(outage.sentence.clone()),
        (None, None) => Err("nothing was loaded yet; `cursus run` fills the mirror".to_owned()),
    }
}

/// A part of a document as it is kept; 503 where nothing could be read.
fn json<T, D: Serialize>(shown: Option<&Shown<T>>, part: fn(&T) -> &D) -> Response {
    match known(shown) {
        Ok(document) => respond::json(StatusCode::OK, part(document)),
        Err(sentence) => respond::json_error(StatusCode::SERVICE_UNAVAILABLE, &sentence),
    }
}

async fn status(State(site): State<Arc<Site>>) -> Response {
    let shown = site.documents.overview().await;
    json(shown.as_ref(), |overview| &overview.status)
}

async fn check(State(site): State<Arc<Site>>) -> Response {
    let shown = site.documents.overview().await;
    json(shown.as_ref(), |overview| &overview.check)
}

async fn runs(State(site): State<Arc<Site>>) -> Response {
    let shown = site.documents.runs().await;
    match known(shown.as_ref()) {
        Ok(runs) => respond::json(StatusCode::OK, &runs.history(MOST_RUNS)),
        Err(sentence) => respond::json_error(StatusCode::SERVICE_UNAVAILABLE, &sentence),
    }
}

async fn run(State(site): State<Arc<Site>>, file: Result<Path<String>, PathRejection>) -> Response {
    let shown = site.documents.runs().await;
    let runs = match known(shown.as_ref()) {
        Ok(runs) => runs,
        Err(sentence) => {
            return respond::json_error(StatusCode::SERVICE_UNAVAILABLE, &sentence);
        }
    };
    let id = (file.as_ref().ok()).and_then(|Path(file)| file.strip_suffix(".json"));
    match id.and_then(|id| runs.detail_by_id(id)) {
        Some(detail) => respond::json(StatusCode::OK, &detail),
        None => respond::json_error(
            StatusCode::NOT_FOUND,
            "there is no such run; /api/runs.json lists all",
        ),
    }
}

async fn decisions(State(site): State<Arc<Site>>) -> Response {
    let shown = site.documents.decisions().await;
    json(shown.as_ref(), |decisions| decisions)
}

async fn campus(State(site): State<Arc<Site>>) -> Response {
    let shown = site.documents.campus().await;
    json(shown.as_ref(), |campus| campus)
}

async fn metrics_text(State(site): State<Arc<Site>>) -> Response {
    let shown = site.documents.overview().await;
    match known(shown.as_ref()) {
        Ok(overview) => respond::text(StatusCode::OK, metrics::text(&overview.status, None)),
        Err(sentence) => {
            let line = printable::line(&sentence).into_owned();
            respond::text(StatusCode::SERVICE_UNAVAILABLE, format!("# {line}\n"))
        }
    }
}

/// 503 when `cursus check` would be CRITICAL, or the status cannot be read.
async fn ready(State(site): State<Arc<Site>>) -> Response {
    let shown = site.documents.overview().await;
    let level = match (known(shown.as_ref()), &shown) {
        // Nothing new could be read, and what is kept may be wrong by now.
        (Ok(overview), Some(shown)) if shown.outage.is_none() => overview.check.state,
        (Ok(_), _) => Level::Critical,
        (Err(_), _) => Level::Unknown,
    };
    let is_ready = matches!(level, Level::Ok | Level::Warning)
        || (level == Level::Unknown && known(shown.as_ref()).is_ok());
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    respond::text(status, format!("{}\n", level.name()))
}
