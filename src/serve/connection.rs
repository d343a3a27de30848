//! One connection: one request, one answer, within a time. HTTP/1.1 without keep-alive, so that who is slow has one of the places for
//! that time and no longer.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;

/// For the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// For the answer to a request with a body, which is read first: a form is short.
const FORM_TIMEOUT: Duration = Duration::from_secs(5);
/// From the connection to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a head; hyper answers 431 to a longer one.
const LONGEST_HEAD: usize = 16 << 10;

/// The address at which a connection arrived.
#[derive(Clone, Copy)]
pub(super) struct Arrived(pub(super) SocketAddr);

/// Serves it to its end; what goes wrong with it is the client's.
pub(super) async fn serve(stream: TcpStream, routes: Router) {
    let Ok(at) = stream.local_addr() else {
        return;
    };
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Arrived(at));
        let limit = if request.body().is_end_stream() {
            TIMEOUT
        } else {
            FORM_TIMEOUT
        };
        let answer = routes.call(request);
        async move {
            let answer = tokio::time::timeout(limit, answer).await;
            answer.map(|Ok(answer)| answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(LONGEST_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(TIMEOUT, connection).await;
}
