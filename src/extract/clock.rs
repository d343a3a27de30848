//! The server's time: windows and ages are told by its clock, not by ours, which anybody may set while we read.

use std::sync::{Arc, OnceLock};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock;
use crate::config::Config;
use crate::staging::{Run, StagingError};

/// The server's clock as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct ServerClock {
    known: Arc<watch::Sender<Known>>,
    /// By how much it is ahead of ours, by the first answer.
    ahead: Arc<OnceLock<SignedDuration>>,
}

#[derive(Clone, Copy, Debug)]
enum Known {
    Nothing,
    /// Nobody will tell: our own clock must do.
    Ours,
    /// What it showed in an answer, and when that came.
    Told(Timestamp, Instant),
}

impl Known {
    fn is_something(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

impl ServerClock {
    fn new() -> Self {
        Self {
            known: Arc::new(watch::Sender::new(Known::Nothing)),
            ahead: Arc::default(),
        }
    }

    /// As far as an earlier process of this run has come: what was to be read then is to be read now.
    pub(super) fn of(config: &Config, run: &Run) -> Result<Self, StagingError> {
        let clock = Self::new();
        for resource in &config.resources {
            match run.manifest(&resource.name) {
                Ok(manifest) => {
                    if let Some(reached) = manifest.and_then(|manifest| manifest.cursor) {
                        clock.tell(reached);
                    }
                }
                // It is told where it is looked at.
                Err(StagingError::Broken { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(clock)
    }

    /// An answer told it, which came when our clock showed `received_at`.
    pub(super) fn told(&self, server_now: Timestamp, received_at: Timestamp) {
        self.ahead
            .get_or_init(|| server_now.duration_since(received_at));
        self.tell(server_now);
    }

    /// By how much it is ahead of ours, if an answer has told.
    pub(super) fn ahead(&self) -> Option<SignedDuration> {
        self.ahead.get().copied()
    }

    /// It is so late at least. The answer may be an old one, of an earlier process.
    fn tell(&self, server_now: Timestamp) {
        self.known.send_if_modified(|known| {
            let is_news = !known.is_something();
            if !matches!(*known, Known::Told(time, at) if later(time, at) >= server_now) {
                *known = Known::Told(server_now, Instant::now());
            }
            is_news
        });
    }

    /// Whoever waits for the server's time waits no more.
    pub(super) fn give_up(&self) {
        self.known.send_if_modified(|known| {
            let is_news = !known.is_something();
            if is_news {
                *known = Known::Ours;
            }
            is_news
        });
    }

    /// The server's time to the second, as it tells it, if an answer has.
    pub(super) fn known_now(&self) -> Option<Timestamp> {
        let Known::Told(time, at) = *self.known.borrow() else {
            return None;
        };
        Timestamp::from_second(later(time, at).as_second()).ok()
    }

    pub(super) async fn now(&self) -> Timestamp {
        let mut known = self.known.subscribe();
        let known = known.wait_for(Known::is_something).await;
        match known.map(|known| *known) {
            Ok(Known::Told(time, at)) => later(time, at),
            _ => clock::now(),
        }
    }
}

fn later(time: Timestamp, at: Instant) -> Timestamp {
    SignedDuration::try_from(at.elapsed())
        .ok()
        .and_then(|since| time.checked_add(since).ok())
        .unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_given_up_does_not_know_the_servers_time() {
        let clock = ServerClock::new();
        clock.give_up();
        assert_eq!(clock.known_now(), None);
        let _ours = clock.now().await;
        let told = Timestamp::UNIX_EPOCH;
        clock.tell(told);
        assert!(clock.known_now() >= Some(told));
        clock.give_up();
        assert!(clock.known_now() >= Some(told));
    }
}
