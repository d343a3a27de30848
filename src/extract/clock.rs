//! The server's time: windows and ages are told by its clock, not by ours.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// The server's clock as far as it is known: how far it is ahead of ours.
#[derive(Clone, Debug)]
pub(super) struct ServerClock(Arc<watch::Sender<Option<SignedDuration>>>);

impl ServerClock {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    pub(super) fn tell(&self, server_now: Timestamp) {
        let ahead = server_now.duration_since(Timestamp::now());
        self.0.send_if_modified(|known| {
            let is_news = known.is_none();
            known.get_or_insert(ahead);
            is_news
        });
    }

    /// Nobody will tell: our own clock must do.
    pub(super) fn give_up(&self) {
        self.tell(Timestamp::now());
    }

    /// The server's time to the second, as it tells it, if an answer has.
    pub(super) fn known_now(&self) -> Option<Timestamp> {
        let ahead = (*self.0.borrow())?;
        let now = Timestamp::now().saturating_add(ahead).ok()?;
        Timestamp::from_second(now.as_second()).ok()
    }

    pub(super) async fn now(&self) -> Timestamp {
        let mut known = self.0.subscribe();
        let ahead = known
            .wait_for(Option::is_some)
            .await
            .map_or(SignedDuration::ZERO, |ahead| ahead.unwrap_or_default());
        Timestamp::now()
            .saturating_add(ahead)
            .unwrap_or(Timestamp::MAX)
    }
}
