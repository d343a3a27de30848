//! Whether the answers of a read prove that no record is missing. Pure: the extractor reads until it holds,
//! `stage verify` checks it afterwards from what is staged. [`Answers::doubts`] decides; `extract::read_result` and
//! `extract::verify` make a state of it.
//!
//! Lists move while they are read, so a count proves nothing: it stays the same when one row is deleted and another slips
//! past a page border. Two arguments hold under any change, and one of them must for every list:
//!
//! - `ids`: every answer shows all records between two ids as they were at one moment. When the answers together
//!   leave no id out, a record that was there all the time was shown by one of them.
//! - `ranks`: in a list that only shrinks, a record only moves up. The ranks where one could stand unread are
//!   followed from answer to answer; when none is left, no record is.
//!
//! A list without an order is read in windows of time (`windows`): what did not change since a moment can only
//! shrink, and what changed after it is asked for by itself. No window shows a record without a time, so a full read
//! is complete only if the windows account for every row of the list as it is without a range.
//!
//! What these arguments assume of the data is checked here: that ids are integers, that none is below
//! [`LOWEST`], that every record has a time, and that the server keeps to order, range and page size.

mod answers;
mod facts;
mod ids;
mod list;
mod observation;
mod ranks;
#[cfg(test)]
mod tests;
mod windows;

pub(crate) use answers::Answers;
pub(crate) use facts::{PageFacts, only_ids};
pub(crate) use ids::{BELOW_LOWEST, LOWEST};
pub(crate) use list::{Doubt, ignores_range};
pub(crate) use observation::PageObservation;
#[cfg(test)]
use ranks::RankError;
pub(crate) use ranks::{PagesToRead, pages_to_read};
pub(crate) use windows::{EARLIEST, LATEST, future, just_after};
