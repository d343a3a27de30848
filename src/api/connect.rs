//! Tells the limiter when a request had to wait for a new connection. It knows nothing of requests and answers.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::limiter::Handshake;

tokio::task_local! {
    static HANDSHAKE: Handshake;
}

/// Runs `request`; the limiter hears when it was handed to its connection, and of a new connection that it waited for.
pub(crate) async fn observed<F: Future>(handshake: Handshake, request: F) -> F::Output {
    let mut request = std::pin::pin!(HANDSHAKE.scope(handshake.clone(), request));
    let mut first = true;
    std::future::poll_fn(|context| {
        let polled = request.as_mut().poll(context);
        if std::mem::take(&mut first) {
            handshake.handed_over();
        }
        polled
    })
    .await
}

/// Wraps the HTTP client's connector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ObserveHandshakes;

/// The connector with the observation around it.
#[derive(Debug, Clone)]
pub(crate) struct ObservedConnector<S>(S);

impl<S> Layer<S> for ObserveHandshakes {
    type Service = ObservedConnector<S>;

    fn layer(&self, connector: S) -> Self::Service {
        ObservedConnector(connector)
    }
}

impl<S, Target> Service<Target> for ObservedConnector<S>
where
    S: Service<Target>,
    S::Future: Send + 'static,
    S::Response: 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, target: Target) -> Self::Future {
        // The client connects from within the request's own task, so its handshake is at hand here. It may finish
        // elsewhere, when another connection came free first; then the end comes late, and that is safe.
        let handshake = HANDSHAKE.try_with(Clone::clone).ok();
        let connecting = self.0.call(target);
        Box::pin(async move {
            if let Some(handshake) = &handshake {
                handshake.started();
            }
            let connection = connecting.await;
            if let Some(handshake) = &handshake {
                handshake.ended();
            }
            connection
        })
    }
}
