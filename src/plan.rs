//! Which resources a run reads, in which mode, and why. Pure: no clock, no network.

mod decide;
mod history;
mod request_hash;
mod time;

pub(crate) use decide::due_after;
pub use decide::{
    Decision, FanOut, LoadedReads, ReadOptions, Step, cursor_after, decide, fan_out,
    last_covering_read, must_be_full, named, page_size, select,
};
pub use history::{DELTAS, History, Read};
pub use request_hash::request_hash;
pub use time::ServerNow;
pub(crate) use time::minus;
