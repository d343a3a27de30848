//! What `cursus` and its API client both stand on. It knows nothing of resources, requests or the database.

pub mod clock;
pub mod convert;
pub mod error_chain;
pub mod failpoint;
pub mod hash;
pub mod list_limits;
pub mod mutex;
pub mod printable;
pub mod trusted;
