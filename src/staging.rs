//! The staging directory: the log of what was extracted.
//!
//! The only module that knows file names. Knows nothing of HTTP or PostgreSQL. A page is kept byte for
//! byte as it was received (gzip around it); a journal line follows when the page is durable; a manifest,
//! written last and by rename, says that a resource is final.

mod adoption;
mod approval;
mod command;
mod directory;
mod erasure;
mod error;
pub(crate) mod exchange;
mod gc;
mod gzip;
mod identity;
pub(crate) mod journal;
mod known_pages;
mod lock;
mod manifest;
mod page;
mod page_request;
mod private_files;
mod resource_writer;
mod resume;
mod run;
mod run_id;
mod run_record;
mod run_spec;
#[cfg(test)]
mod tests;

pub(crate) use adoption::Adoption;
pub(crate) use approval::Approval;
pub(crate) use command::{CommandRecord, Work};
pub use directory::Staging;
pub(crate) use erasure::found::{FoundPage, RemovedRecord, Swept};
pub use erasure::journal_line::Rewritten;
pub(crate) use erasure::ledger::{ErasedAt, ErasureLedger};
pub(crate) use erasure::person_records::HeldRecord;
pub(crate) use erasure::sought::Sought;
pub use error::StagingError;
pub(crate) use gc::{Claims, GcDecision, Keep, judge};
pub use journal::PageEntry;
pub(crate) use journal::PageNumbers;
pub(crate) use known_pages::KnownPages;
pub use lock::StagingLock;
#[cfg(feature = "remote")]
pub(crate) use lock::StoreLock;

pub(crate) use manifest::SmallerPages;
pub use manifest::{Evidence, FORMAT, Manifest, Mode, ReadManifest, State, Window};
pub(crate) use page::StagedResource;
pub(crate) use resource_writer::ResourceWriter;

pub use page_request::{FieldWindow, PageRequest};
pub use run::Run;
pub use run_record::{Outcome, RunState};
pub(crate) use run_record::{ResourceState, ResourceSummary, RunRecord};

pub(crate) use run_id::RunId;
pub use run_spec::RunSpec;
pub(crate) use run_spec::Selection;
