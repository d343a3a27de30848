//! What a page asks for. A page is known by this value; the request that people read in a journal is written from it.

pub(super) mod legacy;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::manifest::Window;
use crate::list_limits::MOST_RECORDS;

/// What a page asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct PageRequest {
    /// Path and query that all pages of the list share, percent-encoded: without range, order and paging.
    pub list: String,
    /// The range of time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<FieldWindow>,
    /// The order, such as `-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
    /// The range of ids, both ends inclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_range: Option<(i64, i64)>,
    /// Rows a page.
    pub page_size: u64,
    /// From 1, within the ranges.
    pub page_number: u64,
}

/// A range of a field that holds times, both ends inclusive, to the millisecond.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldWindow {
    field: String,
    start: Timestamp,
    end: Timestamp,
}

impl FieldWindow {
    /// The window of a field, as far as a request can say it.
    pub(crate) fn new(field: &str, window: Window) -> Self {
        let Window { start, end } = window.to_milliseconds();
        Self {
            field: field.to_owned(),
            start,
            end,
        }
    }
}

impl PageRequest {
    /// Whether a list can have such a page.
    pub(super) fn is_possible(&self) -> bool {
        let counts = 1..=MOST_RECORDS;
        self.list.starts_with('/')
            && counts.contains(&self.page_size)
            && counts.contains(&self.page_number)
    }

    pub(crate) fn window_of(&self, field: &str) -> Option<Window> {
        let window = self
            .window
            .as_ref()
            .filter(|window| window.field == field)?;
        Some(Window {
            start: window.start,
            end: window.end,
        })
    }

    pub(crate) fn is_descending(&self) -> bool {
        self.sort.as_deref() == Some("-id")
    }

    /// The parameters that are not in `list`, not encoded, in their order.
    pub(crate) fn parameters(&self) -> Vec<(String, String)> {
        let mut parameters = Vec::new();
        if let Some(FieldWindow { field, start, end }) = &self.window {
            let window = format!("{start:.3},{end:.3}");
            parameters.push((format!("range[{field}]"), window));
        }
        let ids = self.id_range.map(|(low, high)| format!("{low},{high}"));
        let others = [
            ("sort", self.sort.clone()),
            ("range[id]", ids),
            ("page[size]", Some(self.page_size.to_string())),
            ("page[number]", Some(self.page_number.to_string())),
        ];
        let others = others.into_iter();
        parameters.extend(others.filter_map(|(name, value)| Some((name.to_owned(), value?))));
        parameters
    }

    /// Path and query, percent-encoded: what goes to the server. Never a token.
    pub(crate) fn target(&self) -> String {
        let Ok(mut url) = Url::parse("http://localhost") else {
            return self.list.clone();
        };
        url.query_pairs_mut().extend_pairs(self.parameters());
        let separator = if self.list.contains('?') { '&' } else { '?' };
        format!(
            "{}{separator}{}",
            self.list,
            url.query().unwrap_or_default()
        )
    }
}
