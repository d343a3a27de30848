//! What an HTTP answer says: its headers, its status, whether its body came whole. It sends nothing.

use std::io::{self, Write as _};
use std::time::Duration;

use flate2::write::GzDecoder;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::Response;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, LINK, RETRY_AFTER,
};

use super::Slot;
use super::body::{Body, Spool};
use super::retry::Problem;
use super::windows::Seen;
use crate::list::MOST_RECORDS;

/// As much of an error's body is read as keeps the connection usable.
const DRAINED: usize = 64 * 1024;

/// One page, whole and inspected.
#[derive(Debug)]
pub struct Answer<T> {
    /// What the inspector made of the body.
    pub inspected: T,
    /// The bytes.
    pub body: Body,
    /// `X-Total`: records in the whole list.
    pub total: Option<u64>,
    /// `X-Per-Page`: records in a full page.
    pub per_page: Option<u64>,
    /// Whether `Link` names a next page; None: there is no such header.
    pub has_next: Option<bool>,
    /// The HTTP status.
    pub status: u16,
    /// `Date`: the server's time, to the second.
    pub date: Option<Timestamp>,
    /// Our time when the last byte was in.
    pub received_at: Timestamp,
    /// From sending to the last byte, of the attempt that succeeded.
    pub duration: Duration,
    /// Attempts, the good one included.
    pub attempts: u32,
    /// Its place among the requests under way.
    pub slot: Slot,
}

pub(crate) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// `X-Total`, if it can be one: page numbers are counted up to it.
pub(crate) fn total(headers: &HeaderMap) -> Option<u64> {
    number(headers, "x-total").filter(|total| *total <= MOST_RECORDS)
}

/// `X-Per-Page`, if it can be one: a page has no more records than a list.
pub(crate) fn per_page(headers: &HeaderMap) -> Option<u64> {
    number(headers, "x-per-page").filter(|size| *size <= MOST_RECORDS)
}

/// Whether `Link` names a next page. Its address is of no interest: nothing that a server says is followed.
pub(crate) fn has_next(headers: &HeaderMap) -> Option<bool> {
    let links = headers.get(LINK)?.to_str().ok()?;
    let is_next = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"') == "next"
    };
    Some(links.split([',', ';']).any(is_next))
}

pub(crate) fn seen(headers: &HeaderMap) -> Seen {
    Seen {
        second_limit: number(headers, "x-secondly-ratelimit-limit"),
        second_remaining: number(headers, "x-secondly-ratelimit-remaining"),
        hour_limit: number(headers, "x-hourly-ratelimit-limit"),
        hour_remaining: number(headers, "x-hourly-ratelimit-remaining"),
    }
}

pub(crate) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

/// Seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = date(headers).unwrap_or_else(crate::clock::now);
    Some(Duration::try_from(http_date(text)?.duration_since(now)).unwrap_or_default())
}

fn http_date(text: &str) -> Option<Timestamp> {
    let zoned = rfc2822::parse(text.trim()).ok()?;
    Some(zoned.timestamp())
}

fn content_type(headers: &HeaderMap) -> String {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_ascii_lowercase()
}

/// Judges status and content type; gives the answer back if its body may be a page.
pub(crate) async fn judged(response: Response) -> Result<Response, Problem> {
    let kind = content_type(response.headers());
    let Some(problem) = Problem::of_status(response.status().as_u16()) else {
        if kind.contains("html") {
            drain(response).await;
            return Err(Problem::Html);
        }
        if !kind.is_empty() && !kind.contains("json") {
            drain(response).await;
            return Err(Problem::NotJson);
        }
        return Ok(response);
    };
    let start = drain(response).await;
    let page = kind.contains("html") || start.trim_ascii_start().starts_with(b"<");
    if page && matches!(problem, Problem::Forbidden) {
        return Err(Problem::Cloudflare);
    }
    Err(problem)
}

/// The beginning of a body that does not matter much.
pub(crate) async fn drain(mut response: Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < DRAINED {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    bytes
}

/// Takes in the whole body, or says what cut it. gzip that nobody asked for is unpacked.
pub(crate) async fn take_in(
    mut response: Response,
    spool: Spool<'_>,
    timeout: Duration,
) -> Result<Body, Problem> {
    let announced = number(response.headers(), CONTENT_LENGTH.as_str());
    let encoding = response
        .headers()
        .get(CONTENT_ENCODING)
        .map(|value| value.as_bytes().trim_ascii().to_ascii_lowercase());
    let mut sink = match encoding.as_deref() {
        None | Some(b"" | b"identity") => Sink::Plain(spool),
        Some(b"gzip" | b"x-gzip") => Sink::Gzip(Box::new(GzDecoder::new(spool))),
        Some(_) => return Err(Problem::Encoding),
    };
    let mut received = 0;
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Problem::of_transport(error, timeout))?
    {
        received += chunk.len() as u64;
        sink.write(&chunk).map_err(kept)?;
    }
    if let Some(announced) = announced
        && announced != received
    {
        return Err(Problem::CutShort {
            received,
            announced,
        });
    }
    sink.finish().map(Spool::finish).map_err(kept)
}

enum Sink<'a> {
    Plain(Spool<'a>),
    Gzip(Box<GzDecoder<Spool<'a>>>),
}

impl<'a> Sink<'a> {
    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(spool) => spool.write_all(chunk),
            Self::Gzip(decoder) => decoder.write_all(chunk),
        }
    }

    fn finish(self) -> io::Result<Spool<'a>> {
        match self {
            Self::Plain(spool) => Ok(spool),
            Self::Gzip(decoder) => decoder.finish(),
        }
    }
}

fn kept(error: io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::FileTooLarge => Problem::TooLarge,
        io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidData
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::WriteZero => Problem::Inflate(error),
        _ => Problem::Spool(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn with(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(
            retry_after(&with("retry-after", " 7 ")),
            Some(Duration::from_secs(7))
        );
        assert_eq!(retry_after(&with("retry-after", "soon")), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
        let mut headers = with("retry-after", "Mon, 23 Nov 2026 10:00:30 GMT");
        headers.insert(
            "date",
            HeaderValue::from_static("Mon, 23 Nov 2026 10:00:00 GMT"),
        );
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(30)));
        headers.insert(
            "date",
            HeaderValue::from_static("Mon, 23 Nov 2026 11:00:00 GMT"),
        );
        assert_eq!(retry_after(&headers), Some(Duration::ZERO));
    }

    #[test]
    fn a_link_names_the_next_page_or_not() {
        let of = |link| has_next(&with("link", link));
        let first = r#"<http://x/?page=1&a=rel>; rel="first", <http://x/?page=2>; rel="next""#;
        assert_eq!(of(first), Some(true));
        assert_eq!(of(r#"<http://x/?page=9>; rel="last""#), Some(false));
        assert_eq!(of("<http://x/?page=2>;rel=next"), Some(true));
        assert_eq!(has_next(&HeaderMap::new()), None);
    }

    #[test]
    fn a_total_that_no_list_can_have_is_none() {
        let of = |value| total(&with("x-total", value));
        assert_eq!(of("42000"), Some(42_000));
        assert_eq!(of("4000000000000"), None);
        assert_eq!(of("-1"), None);
        let of = |value| per_page(&with("x-per-page", value));
        assert_eq!(of("100"), Some(100));
        assert_eq!(of("18446744073709551615"), None);
    }

    #[test]
    fn the_date_is_the_servers() {
        let date = date(&with("date", "Mon, 23 Nov 2026 10:00:30 GMT")).unwrap();
        assert_eq!(date.to_string(), "2026-11-23T10:00:30Z");
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read_or_ignored(value in "[ -~]{0,60}") {
            for name in ["x-total", "link", "retry-after", "date", "x-hourly-ratelimit-remaining"] {
                let headers = with(name, &value);
                let _ = (number(&headers, name), retry_after(&headers), date(&headers), seen(&headers), has_next(&headers));
            }
        }
    }
}
