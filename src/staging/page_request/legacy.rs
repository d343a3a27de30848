//! Journal lines of format 1 say what a page asks for by its request alone. Only here is a request parsed back.

use std::str::FromStr;

use reqwest::Url;

use super::{FieldWindow, PageRequest};
use crate::staging::manifest::Window;

/// What a request asks for, as format 1 wrote it. A range of time in `query` of the configuration is taken for the window, if
/// the read has none: the two are written alike.
pub(in crate::staging) fn parse(request: &str) -> PageRequest {
    let (path, query) = request.split_once('?').unwrap_or((request, ""));
    let mut parsed = PageRequest {
        list: path.to_owned(),
        page_number: 1,
        ..PageRequest::default()
    };
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = decode(parameter).unwrap_or_default();
        let field = (name.strip_prefix("range[")).and_then(|field| field.strip_suffix(']'));
        match (name.as_str(), field.zip(bounds(&value))) {
            ("page[number]", _) => parsed.page_number = value.parse().unwrap_or(1),
            ("page[size]", _) => parsed.page_size = value.parse().unwrap_or(0),
            ("sort", _) => parsed.sort = Some(value),
            ("range[id]", _) => parsed.id_range = bounds(&value),
            (_, Some((field, (start, end)))) => {
                parsed.window = Some(FieldWindow::new(field, Window { start, end }));
            }
            _ => {
                let separator = if parsed.list.contains('?') { '&' } else { '?' };
                parsed.list.extend([&separator.to_string(), parameter]);
            }
        }
    }
    parsed
}

/// Name and value of an encoded parameter.
fn decode(parameter: &str) -> Option<(String, String)> {
    let mut url = Url::parse("http://localhost").ok()?;
    url.set_query(Some(parameter));
    let (name, value) = url.query_pairs().next()?;
    Some((name.into_owned(), value.into_owned()))
}

fn bounds<T: FromStr>(value: &str) -> Option<(T, T)> {
    let (low, high) = value.split_once(',')?;
    Some((low.parse().ok()?, high.parse().ok()?))
}
