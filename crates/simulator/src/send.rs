//! Puts an answer on the wire, complete, or cut off by a fault. Knows nothing of what the answer means.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::stream;
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use super::faults::FaultKind;
use super::wire::Line;

/// Longest that a fault may hold an answer back.
const LONGEST: f64 = 3_600.0;

const CHUNKS: u32 = 16;

pub(crate) async fn send(
    answer: Answer,
    fault: Option<&FaultKind>,
    line: &Line,
    stopping: &CancellationToken,
) -> Response {
    let length = HeaderValue::from(answer.body.len());
    let body = Bytes::from(answer.body);
    let torn_length = match fault {
        Some(FaultKind::FewerBytes | FaultKind::ResetInside) => Some(length),
        _ => None,
    };
    let body = deliver(body, fault, line, stopping).await;
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    if let Some(length) = torn_length {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length);
    }
    response
}

async fn deliver(
    body: Bytes,
    fault: Option<&FaultKind>,
    line: &Line,
    stopping: &CancellationToken,
) -> Body {
    match fault {
        Some(FaultKind::ResetBefore) => {
            line.reset();
            Body::empty()
        }
        Some(kind @ (FaultKind::FewerBytes | FaultKind::ResetInside)) => {
            let reset = (*kind == FaultKind::ResetInside).then(|| line.clone());
            let half = body.slice(..body.len() / 2);
            Body::from_stream(torn(half, reset))
        }
        Some(FaultKind::Stall { seconds }) => {
            hold(*seconds, stopping).await;
            Body::from(body)
        }
        Some(FaultKind::SlowChunks { seconds }) => {
            let pause = *seconds / f64::from(CHUNKS);
            let size = body.len().div_ceil(CHUNKS as usize).max(1);
            let stopping = stopping.clone();
            let chunks = stream::unfold((body, stopping), move |(mut left, stopping)| async move {
                if left.is_empty() {
                    return None;
                }
                hold(pause, &stopping).await;
                let chunk = left.split_to(size.min(left.len()));
                Some((Ok::<_, Infallible>(chunk), (left, stopping)))
            });
            Body::from_stream(chunks)
        }
        _ => Body::from(body),
    }
}

/// The first half of a body, on its way before the connection breaks.
fn torn(
    half: Bytes,
    reset: Option<Line>,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::unfold((Some(half), reset), |(half, reset)| async move {
        if let Some(half) = half {
            return Some((Ok(half), (None, reset)));
        }
        // Once pending, what is buffered goes out first.
        tokio::task::yield_now().await;
        if let Some(line) = &reset {
            line.reset();
        }
        Some((Err(io::ErrorKind::ConnectionReset.into()), (None, reset)))
    })
}

/// Waits, unless the simulator stops.
pub(crate) async fn hold(seconds: f64, stopping: &CancellationToken) {
    let wait = Duration::try_from_secs_f64(seconds.clamp(0.0, LONGEST)).unwrap_or_default();
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = stopping.cancelled() => {}
    }
}
