//! Which resources a run reads, in which mode, and why. Pure: no clock, no network.

mod decide;
mod earlier_reads;
mod per_day;
mod request_hash;
mod time;

pub(crate) use decide::{
    Decider, Decision, LoadedReads, ReadOptions, Step, cursor_after, due_after, fan_out,
    last_covering_read, must_be_full, page_size, select,
};
pub(crate) use earlier_reads::{DELTAS, EarlierReads, Read};
pub(crate) use per_day::{RequestsADay, requests_a_day};
pub(crate) use request_hash::request_hash;
pub(crate) use time::{ServerNow, minus};
