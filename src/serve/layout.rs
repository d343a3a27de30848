//! The frame of every page: head, navigation, main part, foot. And the files that pages refer to, each with the hash of its content in
//! its name.

use std::sync::LazyLock;

use axum::response::Response;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::respond;
use crate::hash;

pub(super) const LOGIN: &str = "/login";
pub(super) const LOGOUT: &str = "/logout";
/// Takes the token as a password as well.
pub(super) const CALENDAR: &str = "/calendar.ics";
/// Needs no token: it says nothing but that the process answers.
pub(super) const HEALTH: &str = "/healthz";

/// Those of the navigation that are always there.
const PAGES: [(&str, &str); 3] = [
    ("/", "Status"),
    ("/runs", "Runs"),
    ("/decisions", "Decisions"),
];
pub(super) const CHANGES: (&str, &str) = ("/changes", "Changes");
pub(super) const HISTORY: (&str, &str) = ("/history", "History");

/// What a page is framed with.
pub(crate) struct Frame<'a> {
    /// The path of the page in the navigation; may be empty.
    pub(crate) path: &'a str,
    /// In the title of the window.
    pub(crate) title: &'a str,
    /// Whether there is more to show in a moment: it is fetched again sooner, also without JavaScript.
    pub(crate) is_awaited: bool,
    /// Whether the page is fetched again while it is looked at.
    pub(crate) refreshes: bool,
    pub(crate) listing: &'a Listing,
    /// Whether there is a session to end.
    pub(crate) has_session: bool,
}

/// What is known of the pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListingState {
    /// They are being read for the first time.
    Awaited,
    /// They could not be read: there may be any.
    #[default]
    Unknown,
    Known,
}

/// Which pages there are beside those that always are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    pub(crate) state: ListingState,
    pub(crate) has_changes: bool,
    pub(crate) has_history: bool,
    /// Those of panels.
    pub(crate) pages: Vec<Listed>,
}

/// A page of panels in the navigation.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// Its path, without the `/`.
    pub(crate) name: String,
    pub(crate) title: String,
    /// Whether a panel is a calendar.
    pub(crate) has_calendar: bool,
}

impl Listing {
    pub(crate) fn page(&self, name: &str) -> Option<&Listed> {
        self.pages.iter().find(|page| page.name == name)
    }
}

/// Links to pages: those about the mirror, and those about what is in it.
fn navigation(frame: &Frame<'_>) -> Markup {
    let Listing {
        has_changes,
        has_history,
        pages,
        ..
    } = frame.listing;
    let optional = [(CHANGES, *has_changes), (HISTORY, *has_history)];
    let optional = optional
        .into_iter()
        .filter(|((path, _), is_there)| *is_there || *path == frame.path);
    let of_mirror = PAGES.into_iter().chain(optional.map(|(page, _)| page));
    let link = |path: &str, name: &str| {
        html! {
            li { a href=(path) aria-current=[(path == frame.path).then_some("page")] { (name) } }
        }
    };
    html! {
        nav aria-label="Pages" {
            ul { @for (path, name) in of_mirror { (link(path, name)) } }
            @if !pages.is_empty() {
                ul { @for page in pages { (link(&format!("/{}", page.name), &page.title)) } }
            }
        }
    }
}

struct File {
    path: String,
    kind: &'static str,
    content: &'static str,
    tag: String,
}

impl File {
    fn new(name: &str, end: &str, kind: &'static str, content: &'static str) -> Self {
        let tag = hash::short(content.as_bytes());
        Self {
            path: format!("/{name}-{tag}.{end}"),
            kind,
            content,
            tag,
        }
    }
}

static STYLE: LazyLock<File> = LazyLock::new(|| {
    File::new(
        "style",
        "css",
        "text/css; charset=utf-8",
        include_str!("style.css"),
    )
});
static CHARTS: LazyLock<File> = LazyLock::new(|| {
    File::new(
        "charts",
        "css",
        "text/css; charset=utf-8",
        include_str!("charts.css"),
    )
});
static REFRESH: LazyLock<File> = LazyLock::new(|| {
    let kind = "text/javascript; charset=utf-8";
    File::new("refresh", "js", kind, include_str!("refresh.js"))
});
static ICON: LazyLock<File> =
    LazyLock::new(|| File::new("icon", "svg", "image/svg+xml", include_str!("icon.svg")));

fn files() -> [&'static File; 4] {
    [&STYLE, &CHARTS, &REFRESH, &ICON]
}

/// Whether a path is that of a file of the program, which says nothing of the mirror.
pub(super) fn is_file(path: &str) -> bool {
    files().iter().any(|file| file.path == path)
}

pub(super) fn file(path: &str) -> Option<Response> {
    let file = files().into_iter().find(|file| file.path == path)?;
    Some(respond::file(file.kind, file.content, &file.tag))
}

/// A whole page.
pub(crate) fn page(frame: &Frame<'_>, main: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex, nofollow";
                title { (frame.title) " · cursus" }
                link rel="icon" type="image/svg+xml" href=(ICON.path);
                link rel="stylesheet" href=(STYLE.path);
                link rel="stylesheet" href=(CHARTS.path);
                @if frame.is_awaited && frame.refreshes {
                    noscript { meta http-equiv="refresh" content="1"; }
                }
                @if frame.refreshes {
                    script src=(REFRESH.path) defer {}
                }
            }
            body {
                a class="skip" href="#main" { "Skip to content" }
                header class="top" {
                    div class="bar" {
                        a class="brand" href="/" {
                            (PreEscaped(include_str!("icon.svg")))
                            span { "cursus" }
                        }
                        (navigation(frame))
                        @if frame.has_session {
                            form class="leave" method="post" action=(LOGOUT) {
                                button type="submit" { "Log out" }
                            }
                        }
                    }
                }
                main id="main" tabindex="-1" data-awaited[frame.is_awaited] { (main) }
                footer class="foot" {
                    p {
                        "cursus " (env!("CARGO_PKG_VERSION")) " · read only · "
                        a href="/metrics" { "metrics" } " · "
                        a href="/api/status.json" { "JSON" }
                    }
                }
            }
        }
    }
}
