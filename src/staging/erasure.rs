//! People who were erased: who they are, by a keyed hash, and staged pages without them.

mod append;
pub(super) mod blanks;
pub(super) mod found;
pub(super) mod journal_line;
pub(super) mod ledger;
pub(super) mod person_records;
mod rewrite;
pub(super) mod sought;
mod sweep;
