//! The server's time. Windows and ages are measured by its clock: the local one may be set while a run reads.

use std::sync::{Arc, OnceLock};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock;
use crate::config::Config;
use crate::staging::{Run, StagingError};

#[derive(Clone, Debug)]
pub(super) struct ServerClock {
    known: Arc<watch::Sender<ClockState>>,
    /// How far it is ahead of the local one, by the first answer.
    clock_skew: Arc<OnceLock<SignedDuration>>,
}

#[derive(Clone, Copy, Debug)]
enum ClockState {
    Nothing,
    /// No answer will come: the local clock is used.
    Local,
    /// The time in an answer, and when the answer came.
    Server(Timestamp, Instant),
}

impl ClockState {
    fn is_something(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

impl ServerClock {
    fn new() -> Self {
        Self {
            known: Arc::new(watch::Sender::new(ClockState::Nothing)),
            clock_skew: Arc::default(),
        }
    }

    /// Set to the newest cursor of this run: what was due for an earlier process is due now.
    pub(super) fn of(config: &Config, run: &Run) -> Result<Self, StagingError> {
        let clock = Self::new();
        for resource in &config.resources {
            match run.manifest(&resource.name) {
                Ok(manifest) => {
                    if let Some(cursor) = manifest.and_then(|manifest| manifest.cursor) {
                        clock.advance_to(cursor);
                    }
                }
                // It is reported where it is read.
                Err(StagingError::Broken { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(clock)
    }

    /// Takes the time of an answer that came at `received_at` by our clock.
    pub(super) fn observe(&self, server_now: Timestamp, received_at: Timestamp) {
        self.clock_skew
            .get_or_init(|| server_now.duration_since(received_at));
        self.advance_to(server_now);
    }

    /// How far it is ahead of the local one; `None` before the first answer.
    pub(super) fn clock_skew(&self) -> Option<SignedDuration> {
        self.clock_skew.get().copied()
    }

    /// Sets a lower bound. The answer may be an old one, of an earlier process.
    fn advance_to(&self, server_now: Timestamp) {
        self.known.send_if_modified(|known| {
            let is_news = !known.is_something();
            if !matches!(*known, ClockState::Server(time, at) if later(time, at) >= server_now) {
                *known = ClockState::Server(server_now, Instant::now());
            }
            is_news
        });
    }

    /// Releases those who wait for the server's time; they use our clock.
    pub(super) fn use_local(&self) {
        self.known.send_if_modified(|known| {
            let is_news = !known.is_something();
            if is_news {
                *known = ClockState::Local;
            }
            is_news
        });
    }

    /// The server's time to the second; `None` before the first answer.
    pub(super) fn known_now(&self) -> Option<Timestamp> {
        let ClockState::Server(time, at) = *self.known.borrow() else {
            return None;
        };
        Timestamp::from_second(later(time, at).as_second()).ok()
    }

    pub(super) async fn now(&self) -> Timestamp {
        let mut known = self.known.subscribe();
        let known = known.wait_for(ClockState::is_something).await;
        match known.map(|known| *known) {
            Ok(ClockState::Server(time, at)) => later(time, at),
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
    async fn local_clock_is_not_the_servers_time() {
        let clock = ServerClock::new();
        clock.use_local();
        assert_eq!(clock.known_now(), None);
        let _ours = clock.now().await;
        let server = Timestamp::UNIX_EPOCH;
        clock.advance_to(server);
        assert!(clock.known_now() >= Some(server));
        clock.use_local();
        assert!(clock.known_now() >= Some(server));
    }
}
