//! The door: what is answered to whom, and the form that opens a session.

use std::sync::Arc;

use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, HeaderValue, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use serde::Deserialize;

use super::access::{COOKIE_NAME, Refusal, session};
use super::charts;
use super::connection::Arrived;
use super::layout::{self, CALENDAR, HEALTH, LOGIN};
use super::pages::problem;
use super::respond;
use super::session::LIFE;
use super::site::Site;

/// Answers what may be answered.
pub(super) async fn admit(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let mut response = judged(&site, request, next).await;
    respond::protect(&mut response);
    response
}

async fn judged(site: &Site, request: Request, next: Next) -> Response {
    let access = &site.access;
    let Some(Arrived(at)) = request.extensions().get::<Arrived>().copied() else {
        return respond::text(StatusCode::INTERNAL_SERVER_ERROR, "");
    };
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    match access.judge(method, uri, headers, at) {
        Ok(()) => {}
        Err(Refusal::Method) => {
            let mut response = respond::text(
                StatusCode::METHOD_NOT_ALLOWED,
                "these pages are read only: GET and HEAD\n",
            );
            respond::set(&mut response, ALLOW, "GET, HEAD");
            return response;
        }
        Err(Refusal::Host) => {
            return respond::text(
                StatusCode::MISDIRECTED_REQUEST,
                "this server has another name: use the address that `cursus serve` prints, or start it with `--host NAME`\n",
            );
        }
        Err(Refusal::CrossSite) => {
            return respond::html(StatusCode::FORBIDDEN, problem::cross_site(uri));
        }
    }
    let is_open = layout::is_file(uri.path()) || matches!(uri.path(), HEALTH | LOGIN);
    match if is_open {
        Ok(true)
    } else {
        access.knows(uri, headers)
    } {
        Ok(true) => next.run(request).await,
        Ok(false) if is_for_people(uri) => {
            let mut response = login_page(StatusCode::UNAUTHORIZED, uri, false);
            // Most calendar programs send a password only after they were asked for one.
            let scheme = if uri.path() == CALENDAR {
                "Basic realm=\"cursus\", charset=\"UTF-8\""
            } else {
                "Bearer"
            };
            respond::set(&mut response, WWW_AUTHENTICATE, scheme);
            response
        }
        Ok(false) => {
            let mut response = respond::json_error(
                StatusCode::UNAUTHORIZED,
                "the token is missing or another one: send `Authorization: Bearer TOKEN`",
            );
            respond::set(&mut response, WWW_AUTHENTICATE, "Bearer");
            response
        }
        Err(failure) => {
            tracing::error!("{}", failure.sentence());
            respond::text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the token file is not usable now; the log of `cursus serve` says why\n",
            )
        }
    }
}

fn is_for_people(uri: &Uri) -> bool {
    let path = uri.path();
    !(path.starts_with("/api/") || matches!(path, "/metrics" | "/readyz"))
}

#[derive(Deserialize)]
pub(super) struct LogInForm {
    token: String,
    /// The page that was asked for.
    #[serde(default)]
    to: String,
}

pub(super) fn show_login(uri: &Uri) -> Response {
    login_page(StatusCode::OK, uri, false)
}

fn login_page(status: StatusCode, uri: &Uri, is_wrong: bool) -> Response {
    let to = uri.path_and_query().map_or("/", |to| to.as_str());
    respond::html(status, problem::login(local(to), is_wrong))
}

/// Opens a session for who has the token.
pub(super) fn log_in(site: &Site, form: Result<Form<LogInForm>, FormRejection>) -> Response {
    let access = &site.access;
    let Ok(Form(form)) = form else {
        return login_page(StatusCode::BAD_REQUEST, &Uri::from_static("/"), true);
    };
    let token = match access.token() {
        Some(Ok(token)) => token,
        Some(Err(failure)) => {
            tracing::error!("{}", failure.sentence());
            return respond::text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the token file is not usable now; the log of `cursus serve` says why\n",
            );
        }
        None => return to_page("/", None),
    };
    let to = local(&form.to);
    if access.hash(&form.token) != token {
        let uri = to.parse().unwrap_or_default();
        return login_page(StatusCode::UNAUTHORIZED, &uri, true);
    }
    match access.log_ins.begin(token) {
        Some(name) => to_page(
            to,
            Some(format!(
                "{COOKIE_NAME}={name}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}",
                LIFE.as_secs()
            )),
        ),
        None => respond::text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the system has no random numbers\n",
        ),
    }
}

pub(super) fn log_out(site: &Site, headers: &HeaderMap) -> Response {
    session(headers).for_each(|name| site.access.log_ins.end(name));
    to_page(
        LOGIN,
        Some(format!(
            "{COOKIE_NAME}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
        )),
    )
}

/// A path of ours, whatever was sent: `//elsewhere` is another server's.
fn local(to: &str) -> &str {
    charts::link(to)
        .filter(|to| !to.starts_with(LOGIN))
        .unwrap_or("/")
}

fn to_page(to: &str, cookie: Option<String>) -> Response {
    let mut response = respond::text(StatusCode::SEE_OTHER, "");
    let headers = response.headers_mut();
    if let Ok(to) = HeaderValue::from_str(to) {
        headers.insert(LOCATION, to);
    }
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        headers.insert(SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_pages_of_this_server_only() {
        assert_eq!(local("/runs/1?a=b"), "/runs/1?a=b");
        for to in [
            "",
            "runs",
            "//example.org",
            "/\\example.org",
            "https://example.org",
            "/a\r\nb",
            "/\t/example.org",
            "/login",
        ] {
            assert_eq!(local(to), "/", "{to}");
        }
    }
}
