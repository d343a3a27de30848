//! What the user allows, and what requests wait for.

use std::time::Duration;

/// The least pause: the per-second window has moved on by then.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// What the user allows, whatever the server would.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A cap; None: as the server says, 2 until it has said so.
    pub requests_per_second: Option<f64>,
    /// A cap; None: as the server says, 1,200 until it has said so.
    pub requests_per_hour: Option<u32>,
    /// Requests of each hour that stay free for others.
    pub reserve_per_hour: u32,
    /// The client stops after this many requests for pages.
    pub max_hits: Option<u64>,
    /// Wait when the hour's requests are used up, instead of stopping.
    pub wait_for_next_hour: bool,
    /// The client stops when it is throttled (429) for so long without a success.
    pub patience: Duration,
    /// No pause after a 429 is shorter.
    pub(crate) least_pause: Duration,
}

/// As the server says, waiting for the next hour, half an hour of patience.
impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_second: None,
            requests_per_hour: None,
            reserve_per_hour: 0,
            max_hits: None,
            wait_for_next_hour: true,
            patience: Duration::from_mins(30),
            least_pause: LEAST_PAUSE,
        }
    }
}

/// What all requests wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingFor {
    /// This hour's requests are used up.
    NextHour,
    /// The server throttles the key (429).
    Throttled,
}
