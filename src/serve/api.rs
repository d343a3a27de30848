//! Documents for programs: JSON, metrics, readiness.

use std::sync::Arc;

use axum::extract::rejection::{FormRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::{Form, Router};
use serde::Serialize;

use super::change_query::Asked;
use super::ics;
use super::layout::{CALENDAR, ListingState};
use super::respond;
use super::site::Site;
use super::snapshot::{Patience, Shown};
use crate::change_feed::Change;
use crate::printable;
use crate::status::check::Level;
use crate::status::metrics;

/// Entries of a part of the history.
const MOST_RUNS: usize = 1000;
/// Entries of each list of a part of the decisions.
const MOST_DECISIONS: usize = 100;
/// Changes of a part.
const MOST_CHANGES: usize = 100;

pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/api/status.json", get(status))
        .route("/api/check.json", get(check))
        .route("/api/runs.json", get(runs))
        .route("/api/runs/{file}", get(run))
        .route("/api/decisions.json", get(decisions))
        .route("/api/changes.json", get(changes))
        .route("/api/{file}", get(panels))
        .route(CALENDAR, get(calendar))
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
    let shown = site.documents.overview(Patience::Program).await;
    json(shown.as_ref(), |overview| &overview.status)
}

async fn check(State(site): State<Arc<Site>>) -> Response {
    let shown = site.documents.overview(Patience::Program).await;
    json(shown.as_ref(), |overview| &overview.check)
}

/// A part of a document, and the address of the next one.
#[derive(Serialize)]
struct Part<D> {
    #[serde(flatten)]
    document: D,
    /// None: there is no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

type Pairs = Result<Form<Vec<(String, String)>>, FormRejection>;

/// How many entries an address leaves out.
fn skipped(pairs: Pairs) -> Result<usize, Box<Response>> {
    let pairs = pairs.map_or_else(|_| Vec::new(), |Form(pairs)| pairs);
    let Some((_, text)) = pairs.iter().find(|(name, _)| name == "skip") else {
        return Ok(0);
    };
    text.parse().map_err(|_| {
        let sentence = "`skip` is a number of entries, as `next` has it";
        Box::new(respond::json_error(StatusCode::BAD_REQUEST, sentence))
    })
}

fn next(path: &str, skip: usize, most: usize, has_more: bool) -> Option<String> {
    has_more.then(|| format!("{path}?skip={}", skip.saturating_add(most)))
}

async fn runs(State(site): State<Arc<Site>>, pairs: Pairs) -> Response {
    let skip = match skipped(pairs) {
        Ok(skip) => skip,
        Err(refusal) => return *refusal,
    };
    let shown = site.documents.runs(Patience::Program).await;
    match known(shown.as_ref()) {
        Ok(runs) => {
            let mut history = runs.history(skip.saturating_add(MOST_RUNS).saturating_add(1));
            history.runs.drain(..skip.min(history.runs.len()));
            let has_more = history.runs.len() > MOST_RUNS;
            history.runs.truncate(MOST_RUNS);
            let part = Part {
                document: history,
                next: next("/api/runs.json", skip, MOST_RUNS, has_more),
            };
            respond::json(StatusCode::OK, &part)
        }
        Err(sentence) => respond::json_error(StatusCode::SERVICE_UNAVAILABLE, &sentence),
    }
}

async fn run(State(site): State<Arc<Site>>, file: Result<Path<String>, PathRejection>) -> Response {
    let shown = site.documents.runs(Patience::Program).await;
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

async fn decisions(State(site): State<Arc<Site>>, pairs: Pairs) -> Response {
    let skip = match skipped(pairs) {
        Ok(skip) => skip,
        Err(refusal) => return *refusal,
    };
    let shown = site.documents.decisions(Patience::Program).await;
    match known(shown.as_ref()) {
        Ok(decisions) => {
            let (document, has_more) = decisions.part(skip, MOST_DECISIONS);
            let next = next("/api/decisions.json", skip, MOST_DECISIONS, has_more);
            respond::json(StatusCode::OK, &Part { document, next })
        }
        Err(sentence) => respond::json_error(StatusCode::SERVICE_UNAVAILABLE, &sentence),
    }
}

/// The document of `/api/changes.json`.
#[derive(Serialize)]
struct ChangesPart<'p> {
    /// Newest first.
    changes: &'p [Change],
    /// The number of the newest of all; 0: none was written down.
    last_seq: u64,
    /// The number of the newest that is not kept any more; 0: all are kept.
    dropped_seq: u64,
}

async fn changes(State(site): State<Arc<Site>>, pairs: Pairs) -> Response {
    let pairs = pairs.map_or_else(|_| Vec::new(), |Form(pairs)| pairs);
    let asked = Asked::of(&pairs);
    if !asked.faults.is_empty() {
        return respond::json_error(StatusCode::BAD_REQUEST, &asked.faults.join("; "));
    }
    let shown = site.documents.changes(&asked.wanted, MOST_CHANGES).await;
    match known(Some(&shown)) {
        Ok(page) => {
            let document = ChangesPart {
                changes: &page.changes,
                last_seq: page.extent.last,
                dropped_seq: page.extent.dropped,
            };
            let next = page
                .next
                .map(|before| asked.path("/api/changes.json", Some(before)));
            respond::json(StatusCode::OK, &Part { document, next })
        }
        Err(sentence) => respond::json_error(StatusCode::SERVICE_UNAVAILABLE, &sentence),
    }
}

async fn panels(
    State(site): State<Arc<Site>>,
    file: Result<Path<String>, PathRejection>,
) -> Response {
    let listing = site.documents.listing(Patience::Program).await;
    let name = (file.as_ref().ok()).and_then(|Path(file)| file.strip_suffix(".json"));
    let Some(listed) = name.and_then(|name| listing.page(name)) else {
        if listing.state != ListingState::Known {
            let sentence = "nothing was read yet";
            return respond::json_error(StatusCode::SERVICE_UNAVAILABLE, sentence);
        }
        return respond::json_error(StatusCode::NOT_FOUND, "there is no such document");
    };
    let shown = site.documents.panels(&listed.name, Patience::Program).await;
    json(shown.as_ref(), |page| page)
}

/// What all calendars of pages show.
async fn calendar(State(site): State<Arc<Site>>) -> Response {
    let listing = site.documents.listing(Patience::Program).await;
    if listing.state != ListingState::Known {
        return respond::text(StatusCode::SERVICE_UNAVAILABLE, "nothing was read yet\n");
    }
    let mut pages = listing.pages.clone();
    pages.retain(|page| page.has_calendar);
    if pages.is_empty() {
        let sentence =
            "There is no calendar here: none of the packs that have one is on and loaded.";
        return site.not_found(sentence, ("/", "Back to the status")).await;
    }
    let (mut all, mut known_at, mut of) = (Vec::new(), None, None);
    for listed in pages {
        let shown = site.documents.panels(&listed.name, Patience::Program).await;
        match known(shown.as_ref()).and_then(|page| Ok((page, page.entries()?))) {
            Ok((page, entries)) => {
                all.extend(entries);
                known_at = page.read_at().max(known_at);
                of = of.or_else(|| page.zone.of.clone());
            }
            // A part of a calendar takes away what is not in it from whom has subscribed to it.
            Err(sentence) => {
                let sentence = printable::line(&sentence).into_owned();
                return respond::text(StatusCode::SERVICE_UNAVAILABLE, format!("{sentence}\n"));
            }
        }
    }
    all.sort_by_key(|entry| entry.begin.at);
    let name = of.unwrap_or_else(|| "cursus".to_owned());
    let known_at = known_at.unwrap_or_else(crate::clock::now);
    respond::calendar(ics::calendar(&name, &all, known_at))
}

async fn metrics_text(State(site): State<Arc<Site>>) -> Response {
    let shown = site.documents.overview(Patience::Program).await;
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
    let shown = site.documents.overview(Patience::Program).await;
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
