//! The API → staged pages. Knows nothing of PostgreSQL.
//!
//! Resources are read at the same time: the client's limiter decides who is next. One that fans out over
//! the ids of another starts after it.

mod clock;
mod error;
mod extraction;
mod fan_out;
pub(crate) mod ids;
pub(crate) mod inspect;
mod page;
mod probe;
mod read;
mod read_plan;
mod read_result;
mod resources;
mod run;
mod scan;
mod seal;
mod slices;
mod verify;
pub(crate) mod windows;

pub(crate) use error::ExtractError;
pub(crate) use extraction::Extraction;
pub(crate) use probe::{Probe, probe};
pub(crate) use run::{Extracted, extract};
pub use verify::{Verification, verify};
