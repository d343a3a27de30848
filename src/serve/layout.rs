//! The frame of every page: head, navigation, main part, foot. And the files that pages refer to, each with the hash of its content in
//! its name.

use std::sync::LazyLock;

use axum::response::Response;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::respond;
use crate::hash;

pub(super) const LOGIN: &str = "/login";
pub(super) const LOGOUT: &str = "/logout";
/// Needs no token: it says nothing but that the process answers.
pub(super) const HEALTH: &str = "/healthz";

/// The pages of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Status,
    Runs,
    Decisions,
    Changes,
    Campus,
    /// None of them.
    Other,
}

const SECTIONS: [(Section, &str, &str); 5] = [
    (Section::Status, "/", "Status"),
    (Section::Runs, "/runs", "Runs"),
    (Section::Decisions, "/decisions", "Decisions"),
    (Section::Changes, "/changes", "Changes"),
    (Section::Campus, "/campus", "Campus"),
];

/// What a page is framed with.
pub(crate) struct Frame<'a> {
    pub(crate) section: Section,
    /// In the title of the window.
    pub(crate) title: &'a str,
    /// Whether the page is fetched again while it is looked at.
    pub(crate) refreshes: bool,
    /// Whether the mirror has changes to show.
    pub(crate) has_changes: bool,
    /// Whether there is a session to end.
    pub(crate) has_session: bool,
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
pub(crate) fn page(frame: &Frame, main: &Markup) -> Markup {
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
                        nav aria-label="Pages" {
                            ul {
                                @for (section, path, name) in SECTIONS {
                                    @if section != Section::Changes || section == frame.section || frame.has_changes { li {
                                        a href=(path) aria-current=[(section == frame.section).then_some("page")] { (name) }
                                    } }
                                }
                            }
                        }
                        @if frame.has_session {
                            form class="leave" method="post" action=(LOGOUT) {
                                button type="submit" { "Log out" }
                            }
                        }
                    }
                }
                main id="main" tabindex="-1" { (main) }
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
