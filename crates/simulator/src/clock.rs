//! The simulated clock: the real one plus jumps, kept monotonic whatever the system's clock does.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::world::Stamp;

#[derive(Debug)]
pub(crate) struct Clock {
    start: Stamp,
    begun: Instant,
    jumped: Mutex<Duration>,
}

impl Clock {
    pub(crate) fn new(start: Stamp) -> Self {
        Self {
            start,
            begun: Instant::now(),
            jumped: Mutex::new(Duration::ZERO),
        }
    }

    pub(crate) fn now(&self) -> Stamp {
        let jumped = *self.jumped.lock().unwrap_or_else(PoisonError::into_inner);
        self.start.plus(self.begun.elapsed() + jumped)
    }

    pub(crate) fn jump(&self, by: Duration) {
        let mut jumped = self.jumped.lock().unwrap_or_else(PoisonError::into_inner);
        *jumped = jumped.saturating_add(by);
    }
}
