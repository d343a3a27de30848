//! What an HTTP answer says: its headers, its status, whether its body came completely. It sends nothing.

use std::io::{self, Write as _};
use std::mem;
use std::time::Duration;

use cursus_base::clock;
use cursus_base::list_limits::MOST_RECORDS;
use flate2::write::MultiGzDecoder;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::Response;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, LINK, RETRY_AFTER,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::body::{Body, Spool};
use super::rate_windows::RateHeaders;
use super::retry::Problem;

/// As much of an error's body is read as keeps the connection usable.
const DRAINED: usize = 64 * 1024;

/// Packed bytes that are unpacked at once: gzip makes up to a thousand of one.
const PACKED: usize = 128;

/// One page, complete and inspected.
#[derive(Debug)]
pub struct Answer<T> {
    /// What the inspector made of the body.
    pub inspected: T,
    /// The bytes.
    pub body: Body,
    /// `X-Total`: records in the list.
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

/// A request under way: until its answer is dropped, so that no more than `max_in_flight` are lost with the process, and no
/// more than a few are worked on.
#[derive(Debug)]
pub struct Slot {
    pub(crate) _in_flight: Option<OwnedSemaphorePermit>,
    pub(crate) _worker: Option<OwnedSemaphorePermit>,
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

pub(crate) fn rate_headers(headers: &HeaderMap) -> RateHeaders {
    RateHeaders {
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
    let now = date(headers).unwrap_or_else(clock::now);
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
pub(crate) async fn judged(response: Response, deadline: &Deadline) -> Result<Response, Problem> {
    let kind = content_type(response.headers());
    let Some(problem) = Problem::of_status(response.status().as_u16()) else {
        if kind.contains("html") {
            drain(response, deadline).await;
            return Err(Problem::Html);
        }
        if !kind.is_empty() && !kind.contains("json") {
            drain(response, deadline).await;
            return Err(Problem::NotJson);
        }
        return Ok(response);
    };
    let start = drain(response, deadline).await;
    let page = kind.contains("html") || start.trim_ascii_start().starts_with(b"<");
    if page && matches!(problem, Problem::Forbidden) {
        return Err(Problem::Cloudflare);
    }
    Err(problem)
}

/// The beginning of a body that does not matter much.
pub(crate) async fn drain(mut response: Response, deadline: &Deadline) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < DRAINED {
        match deadline.holds(response.chunk()).await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    bytes
}

/// Until when the server must have sent its answer.
#[derive(Debug)]
pub(crate) struct Deadline {
    timeout: Duration,
    at: Instant,
}

impl Deadline {
    /// So long from now on.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            at: Instant::now() + timeout,
        }
    }

    /// What comes of `answer`, if it comes in time.
    pub(crate) async fn holds<T>(
        &self,
        answer: impl Future<Output = reqwest::Result<T>>,
    ) -> Result<T, Problem> {
        match tokio::time::timeout_at(self.at, answer).await {
            Ok(answer) => answer.map_err(|error| Problem::of_transport(error, self.timeout)),
            Err(_) => Err(Problem::Timeout(self.timeout)),
        }
    }

    /// The server does not pay for the time that we take.
    pub(crate) async fn does_not_count<T>(&mut self, ours: impl Future<Output = T>) -> T {
        let before = Instant::now();
        let done = ours.await;
        self.at += before.elapsed();
        done
    }
}

/// Whether the body is gzip. One that is packed twice, or in another way, was not asked for.
fn is_packed(headers: &HeaderMap) -> Result<bool, Problem> {
    let mut codings = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let list = value.to_str().map_err(|_| Problem::Encoding)?;
        codings.extend(
            list.split(',')
                .map(|coding| coding.trim().to_ascii_lowercase()),
        );
    }
    codings.retain(|coding| !matches!(coding.as_str(), "" | "identity"));
    match codings.as_slice() {
        [] => Ok(false),
        [one] if matches!(one.as_str(), "gzip" | "x-gzip") => Ok(true),
        _ => Err(Problem::Encoding),
    }
}

/// Receives the body, or says what cut it. gzip that nobody asked for is unpacked.
pub(crate) async fn receive(
    mut response: Response,
    spool: Spool<'_>,
    deadline: &mut Deadline,
) -> Result<Body, Problem> {
    let announced = number(response.headers(), CONTENT_LENGTH.as_str());
    let mut sink = Sink {
        spool,
        gunzip: is_packed(response.headers())?.then(|| Box::new(MultiGzDecoder::new(Vec::new()))),
    };
    let mut received = 0;
    while let Some(chunk) = deadline.holds(response.chunk()).await? {
        received += chunk.len() as u64;
        let kept = deadline.does_not_count(sink.write(&chunk)).await;
        kept.map_err(of_keeping)?;
    }
    if let Some(announced) = announced
        && announced != received
    {
        return Err(Problem::CutShort {
            received,
            announced,
        });
    }
    let kept = deadline.does_not_count(sink.finish()).await;
    kept.map_err(of_keeping)
}

struct Sink<'a> {
    spool: Spool<'a>,
    gunzip: Option<Box<MultiGzDecoder<Vec<u8>>>>,
}

impl Sink<'_> {
    async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        let Some(gunzip) = &mut self.gunzip else {
            return self.spool.write(chunk).await;
        };
        // What is unpacked at once is in memory at once.
        for piece in chunk.chunks(PACKED) {
            gunzip.write_all(piece)?;
            let unpacked = mem::take(gunzip.get_mut());
            self.spool.write(&unpacked).await?;
        }
        Ok(())
    }

    async fn finish(mut self) -> io::Result<Body> {
        if let Some(gunzip) = self.gunzip {
            self.spool.write(&gunzip.finish()?).await?;
        }
        Ok(self.spool.finish())
    }
}

fn of_keeping(error: io::Error) -> Problem {
    match error.kind() {
        // The same from the operating system is a limit of the disk.
        io::ErrorKind::FileTooLarge if error.raw_os_error().is_none() => Problem::TooLarge,
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
    fn the_date_is_that_of_the_server() {
        let date = date(&with("date", "Mon, 23 Nov 2026 10:00:30 GMT")).unwrap();
        assert_eq!(date.to_string(), "2026-11-23T10:00:30Z");
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read_or_ignored(value in "[ -~]{0,60}") {
            for name in ["x-total", "link", "retry-after", "date", "x-hourly-ratelimit-remaining"] {
                let headers = with(name, &value);
                // Of each header its own reader knows something, and only what stands there.
                let is_digits = |total: u64| total.to_string().trim_start_matches('0') == value.trim().trim_start_matches(['+', '0']);
                proptest::prop_assert!(total(&headers).is_none_or(|total| name == "x-total" && total <= MOST_RECORDS && is_digits(total)));
                proptest::prop_assert!(has_next(&headers).is_none_or(|is_next| name == "link" && (!is_next || value.contains("next"))));
                proptest::prop_assert!(retry_after(&headers).is_none() || name == "retry-after" && value.contains(|c: char| c.is_ascii_digit()));
                proptest::prop_assert!(date(&headers).is_none() || name == "date" && value.contains(':'));
                proptest::prop_assert!(rate_headers(&headers).hour_remaining.is_none() || name == "x-hourly-ratelimit-remaining");
            }
        }
    }
}
