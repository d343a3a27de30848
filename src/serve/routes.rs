//! Which path gives what.

use std::sync::Arc;

use axum::extract::rejection::{FormRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Form, Router};
use maud::{Markup, html};

use super::change_query::Asked;
use super::layout::{self, CHANGES, Frame, HEALTH, HISTORY, LOGIN, LOGOUT, ListingState};
use super::login::{self, LogInForm};
use super::pages::runs::Selection;
use super::pages::{self, problem};
use super::site::Site;
use super::snapshot::{Patience, Shown};
use super::{api, respond};

/// The bytes of a form: a token and a path.
const LONGEST_FORM: usize = 16 << 10;

pub(super) fn of(site: Arc<Site>) -> Router {
    Router::new()
        .route("/", get(status))
        .route("/runs", get(runs))
        .route("/runs/{id}", get(run))
        .route("/decisions", get(decisions))
        .route("/changes", get(changes))
        .route("/history", get(history))
        .route("/{page}", get(panels))
        .merge(api::routes())
        .route(HEALTH, get(async || respond::text(StatusCode::OK, "ok\n")))
        .route(
            LOGIN,
            get(async |uri: Uri| login::show_login(&uri)).post(
                async |State(site): State<Arc<Site>>,
                       form: Result<Form<LogInForm>, FormRejection>| {
                    login::log_in(&site, form)
                },
            ),
        )
        .route(
            LOGOUT,
            post(async |State(site): State<Arc<Site>>, headers: HeaderMap| {
                login::log_out(&site, &headers)
            })
            .fallback(async |State(site): State<Arc<Site>>| other(&site, LOGOUT).await),
        )
        .fallback(async |State(site): State<Arc<Site>>, uri: Uri| other(&site, uri.path()).await)
        .layer(axum::extract::DefaultBodyLimit::max(LONGEST_FORM))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&site),
            login::admit,
        ))
        .with_state(site)
}

/// A file of the program, or that there is nothing.
async fn other(site: &Site, path: &str) -> Response {
    if let Some(file) = layout::file(path) {
        return file;
    }
    if path.starts_with("/api/") {
        return respond::json_error(StatusCode::NOT_FOUND, "there is no such document");
    }
    let sentence = "There is no such page here.";
    site.not_found(sentence, ("/", "Back to the status")).await
}

/// A page of a document: what is known, its age, and since when it cannot be read.
async fn page<T>(
    site: &Site,
    (path, title): (&str, &str),
    shown: Option<&Shown<T>>,
    main: impl FnOnce(&T) -> Markup,
) -> Response {
    let listing = site.documents.listing(Patience::Page).await;
    let is_awaited =
        listing.state == ListingState::Awaited || shown.is_none_or(|shown| shown.is_awaited);
    let frame = Frame {
        path,
        title,
        is_awaited,
        // What is typed into a form stays.
        refreshes: ![CHANGES.0, HISTORY.0].contains(&path),
        listing: &listing,
        has_session: site.access.needs_token(),
    };
    let now = crate::clock::now();
    let (status, main) = match shown {
        Some(shown) => {
            let document = shown.document.as_deref();
            let content = html! {
                (pages::freshness(shown, now))
                @match document {
                    Some(document) => {
                        (main(document))
                        (pages::as_of(shown, now))
                    },
                    None => {
                        h1 { (title) }
                        @if shown.outage.is_none() { (problem::nothing_loaded()) }
                    },
                }
            };
            (StatusCode::OK, content)
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, problem::not_read(title)),
    };
    let mut response = respond::html(status, layout::page(&frame, &main));
    if shown.is_none() {
        respond::set(&mut response, RETRY_AFTER, "1");
    }
    response
}

async fn status(State(site): State<Arc<Site>>) -> Response {
    let shown = site.documents.overview(Patience::Page).await;
    let main = |overview: &_| pages::status::main(overview, crate::clock::now());
    page(&site, ("/", "Status"), shown.as_ref(), main).await
}

async fn runs(State(site): State<Arc<Site>>, uri: Uri) -> Response {
    let shown = site.documents.runs(Patience::Page).await;
    let selection = Selection::of(uri.query().unwrap_or_default());
    let main = |runs: &_| pages::runs::list(runs, &selection);
    page(&site, ("/runs", "Runs"), shown.as_ref(), main).await
}

async fn run(State(site): State<Arc<Site>>, id: Result<Path<String>, PathRejection>) -> Response {
    let id = id.map_or_else(|_| String::new(), |Path(id)| id);
    let mut shown = site.documents.runs(Patience::Page).await;
    let known = shown.as_ref().and_then(|shown| shown.document.as_deref());
    if known.is_some_and(|runs| runs.detail_by_id(&id).is_none()) {
        // It may be newer than what is kept.
        shown = site.documents.runs(Patience::Program).await;
    }
    let runs = shown.as_ref().and_then(|shown| shown.document.as_deref());
    let detail = runs.map(|runs| runs.detail_by_id(&id));
    if let Some(None) = detail {
        let sentence =
            "No run has this name. It may have been removed, with all that was recorded of it.";
        return site.not_found(sentence, ("/runs", "All runs")).await;
    }
    let main = |_: &_| match detail {
        Some(Some(detail)) => pages::runs::detail(&detail, crate::clock::now()),
        _ => html! {},
    };
    page(&site, ("/runs", "Run"), shown.as_ref(), main).await
}

async fn decisions(State(site): State<Arc<Site>>) -> Response {
    let shown = site.documents.decisions(Patience::Page).await;
    let main = pages::decisions::main;
    page(&site, ("/decisions", "Decisions"), shown.as_ref(), main).await
}

type Pairs = Result<Form<Vec<(String, String)>>, FormRejection>;

fn asked(pairs: Pairs) -> Asked {
    Asked::of(&pairs.map_or_else(|_| Vec::new(), |Form(pairs)| pairs))
}

async fn changes(State(site): State<Arc<Site>>, pairs: Pairs) -> Response {
    let asked = asked(pairs);
    let most = pages::changes::MOST;
    let shown = site.documents.changes(&asked.wanted, most).await;
    let main = |page: &_| pages::changes::main(page, &asked);
    page(&site, CHANGES, Some(&shown), main).await
}

async fn history(State(site): State<Arc<Site>>, pairs: Pairs) -> Response {
    let asked = asked(pairs);
    let most = pages::history::MOST;
    let shown = site.documents.versions(&asked.wanted, most).await;
    let main = |page: &_| pages::history::main(page, &asked);
    page(&site, HISTORY, Some(&shown), main).await
}

/// A page of panels, or a file.
async fn panels(State(site): State<Arc<Site>>, uri: Uri) -> Response {
    let path = uri.path();
    // A file waits for nothing.
    if layout::is_file(path) {
        return other(&site, path).await;
    }
    let name = path.trim_start_matches('/');
    let mut listing = site.documents.listing(Patience::Page).await;
    if listing.state == ListingState::Known && listing.page(name).is_none() {
        // It may be newer than what is kept.
        listing = site.documents.listing(Patience::Program).await;
    }
    let Some(listed) = listing.page(name) else {
        if listing.state != ListingState::Known {
            let nothing: Option<&Shown<super::panels::Page>> = None;
            return page(&site, ("", "Pages"), nothing, pages::panels::main).await;
        }
        return other(&site, path).await;
    };
    let shown = site.documents.panels(&listed.name, Patience::Page).await;
    let of = (path, listed.title.as_str());
    page(&site, of, shown.as_ref(), pages::panels::main).await
}
