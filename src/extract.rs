//! The API → staged pages. Knows nothing of PostgreSQL.
//!
//! Resources are read at the same time: the client's limiter decides who is next. One that fans out over
//! another's ids waits for it.

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

pub use error::ExtractError;
pub use extraction::Extraction;
pub use probe::{Probe, probe};
pub use run::{Extracted, extract};
pub use verify::{Verification, verify};
