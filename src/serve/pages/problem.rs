//! Pages of what cannot be shown, each with a way on.

use axum::http::Uri;
use maud::{Markup, html};

use crate::serve::charts;
use crate::serve::layout::{self, Frame, LOGIN, Listing};

fn page(title: &str, listing: &Listing, main: &Markup) -> Markup {
    let frame = Frame {
        path: "",
        title,
        is_awaited: false,
        refreshes: false,
        listing,
        has_session: false,
    };
    layout::page(&frame, main)
}

/// There is no such page, run or resource.
pub(crate) fn not_found(listing: &Listing, sentence: &str, back: (&str, &str)) -> Markup {
    let (path, name) = back;
    page(
        "Not found",
        listing,
        &html! {
            h1 { "Not found" }
            p { (sentence) }
            p { a href=(path) { (name) } }
        },
    )
}

/// Another site has led here.
pub(crate) fn cross_site(uri: &Uri) -> Markup {
    let to = uri.path_and_query().map_or("/", |to| to.as_str());
    let to = charts::link(to).unwrap_or("/");
    page(
        "Opened from another site",
        &Listing::default(),
        &html! {
            h1 { "Opened from another site" }
            p { "Another site has led here, and other sites get no answer from this server." }
            p { a href=(to) { "Open the page" } }
        },
    )
}

/// Nothing was read yet.
pub(crate) fn not_read(title: &str) -> Markup {
    html! {
        h1 { (title) }
        p class="empty" role="status" { "This was not read yet. It appears here by itself." }
    }
}

/// The form that takes the token.
pub(crate) fn login(to: &str, is_wrong: bool) -> Markup {
    page(
        "Log in",
        &Listing::default(),
        &html! {
            div class="card narrow" {
                h1 { "Log in" }
                p { "The token is in the file that " code { "cursus serve --token-file" } " names." }
                form class="login" method="post" action=(LOGIN) {
                    @if is_wrong {
                        p class="notice bad" role="alert" id="wrong" { "This is not the token." }
                    }
                    input type="hidden" name="to" value=(to);
                    label for="token" { "Token" }
                    input id="token" name="token" type="password" autocomplete="current-password" required
                        aria-describedby=[is_wrong.then_some("wrong")];
                    button type="submit" { "Log in" }
                }
            }
        },
    )
}

/// The mirror is empty.
pub(crate) fn nothing_loaded() -> Markup {
    html! {
        p class="empty" { "Nothing was loaded here yet. " code { "cursus run" } " reads the API and fills the mirror." }
    }
}
