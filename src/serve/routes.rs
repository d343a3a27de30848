//! Which path gives what.

use std::sync::Arc;

use axum::extract::rejection::{FormRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Form, Router};
use maud::{Markup, html};

use super::changes::Asked;
use super::layout::{self, Frame, HEALTH, LOGIN, LOGOUT, Section};
use super::login::{self, LogInForm};
use super::pages::runs::Selection;
use super::pages::{self, problem};
use super::site::Site;
use super::snapshot::Shown;
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
        .route("/campus", get(campus))
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
            .fallback(async || other(LOGOUT)),
        )
        .fallback(async |uri: Uri| other(uri.path()))
        .layer(axum::extract::DefaultBodyLimit::max(LONGEST_FORM))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&site),
            login::admit,
        ))
        .with_state(site)
}

fn other(path: &str) -> Response {
    layout::file(path).unwrap_or_else(|| {
        let sentence = "There is no such page here.";
        if path.starts_with("/api/") {
            return respond::json_error(StatusCode::NOT_FOUND, "there is no such document");
        }
        respond::html(
            StatusCode::NOT_FOUND,
            problem::not_found(sentence, ("/", "Back to the status")),
        )
    })
}

/// A page of a document: what is known, its age, and since when it cannot be read.
fn page<T>(
    site: &Site,
    section: Section,
    title: &str,
    shown: Option<&Shown<T>>,
    main: impl FnOnce(&T) -> Markup,
) -> Response {
    let frame = Frame {
        section,
        title,
        // What is typed into a form stays.
        refreshes: section != Section::Changes,
        has_changes: site.documents.has_changes(),
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
        None => (StatusCode::SERVICE_UNAVAILABLE, problem::not_read()),
    };
    respond::html(status, layout::page(&frame, &main))
}

async fn status(State(site): State<Arc<Site>>) -> Response {
    let shown = site.documents.overview().await;
    page(
        &site,
        Section::Status,
        "Status",
        shown.as_ref(),
        |overview| pages::status::main(overview, crate::clock::now()),
    )
}

async fn runs(State(site): State<Arc<Site>>, uri: Uri) -> Response {
    let shown = site.documents.runs().await;
    let selection = Selection::of(uri.query().unwrap_or_default());
    page(&site, Section::Runs, "Runs", shown.as_ref(), |runs| {
        pages::runs::list(runs, &selection)
    })
}

async fn run(State(site): State<Arc<Site>>, id: Result<Path<String>, PathRejection>) -> Response {
    let shown = site.documents.runs().await;
    let runs = shown.as_ref().and_then(|shown| shown.document.as_deref());
    let id = id.map_or_else(|_| String::new(), |Path(id)| id);
    let detail = runs.map(|runs| runs.detail_by_id(&id));
    match detail {
        Some(None) => respond::html(
            StatusCode::NOT_FOUND,
            problem::not_found(
                "No run has this name. It may have been removed, with all that was recorded of it.",
                ("/runs", "All runs"),
            ),
        ),
        detail => page(
            &site,
            Section::Runs,
            "Run",
            shown.as_ref(),
            |_| match detail {
                Some(Some(detail)) => pages::runs::detail(&detail, crate::clock::now()),
                _ => html! {},
            },
        ),
    }
}

async fn decisions(State(site): State<Arc<Site>>) -> Response {
    let shown = site.documents.decisions().await;
    let main = pages::decisions::main;
    page(&site, Section::Decisions, "Decisions", shown.as_ref(), main)
}

async fn changes(
    State(site): State<Arc<Site>>,
    pairs: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Response {
    let pairs = pairs.map_or_else(|_| Vec::new(), |Form(pairs)| pairs);
    let asked = Asked::of(&pairs);
    let most = pages::changes::MOST;
    let shown = site.documents.changes(&asked.wanted, most).await;
    page(&site, Section::Changes, "Changes", Some(&shown), |page| {
        pages::changes::main(page, &asked)
    })
}

async fn history(
    State(site): State<Arc<Site>>,
    pairs: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Response {
    let pairs = pairs.map_or_else(|_| Vec::new(), |Form(pairs)| pairs);
    let asked = Asked::of(&pairs);
    let most = pages::history::MOST;
    let shown = site.documents.versions(&asked.wanted, most).await;
    page(&site, Section::Changes, "History", Some(&shown), |page| {
        pages::history::main(page, &asked)
    })
}

async fn campus(State(site): State<Arc<Site>>) -> Response {
    let shown = site.documents.campus().await;
    page(&site, Section::Campus, "Campus", shown.as_ref(), |campus| {
        html! {
            h1 { "Campus" }
            (pages::campus::panels(campus))
        }
    })
}
