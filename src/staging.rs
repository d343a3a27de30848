//! The staging directory: the log of what was extracted.
//!
//! The only module that knows file names. Knows nothing of HTTP or PostgreSQL. A page is kept byte for
//! byte as it was received (gzip around it); a journal line follows when the page is durable; a manifest,
//! written last and by rename, says that a resource is final.

mod adoption;
mod approval;
mod command;
mod directory;
mod error;
mod files;
mod gc;
mod gzip;
mod identity;
pub(crate) mod journal;
mod known_pages;
mod lock;
mod manifest;
mod page;
mod page_request;
mod resume;
mod run;
mod run_id;
mod run_spec;
#[cfg(test)]
mod tests;

pub use adoption::Adoption;
pub use approval::Approval;
pub use command::{CommandRecord, Work};
pub use directory::Staging;
pub use error::StagingError;
pub use gc::{Claims, Keep, Verdict, judge};
pub use journal::PageEntry;
pub(crate) use journal::PageNumbers;
pub use known_pages::KnownPages;
pub use lock::{LockShare, StagingLock};
pub use manifest::{Evidence, FORMAT, Manifest, Mode, ReadManifest, SmallerPages, State, Window};
pub use page::{PageReader, ResourceWriter, StagedResource};
pub use page_request::{FieldWindow, PageRequest};
pub use run::{Outcome, ReadSummary, ResourceState, ResourceSummary, Run, RunRecord, RunState};
pub use run_id::RunId;
pub use run_spec::{RunSpec, Selection};
