//! All that an answer is made of.

use axum::http::StatusCode;
use axum::response::Response;

use super::access::Access;
use super::documents::Documents;
use super::pages::problem;
use super::respond;
use super::snapshot::Patience;

pub(super) struct Site {
    pub(super) access: Access,
    pub(super) documents: Documents,
}

impl Site {
    /// A page that says what is not there, and where to look.
    pub(super) async fn not_found(&self, sentence: &str, back: (&str, &str)) -> Response {
        let listing = self.documents.listing(Patience::Page).await;
        let page = problem::not_found(&listing, sentence, back);
        respond::html(StatusCode::NOT_FOUND, page)
    }
}
