//! Staged runs → another schema, and from there into the mirror.

pub(crate) mod error;
pub(crate) mod groups;
pub(crate) mod open;
pub(crate) mod rebuild;
pub(crate) mod rebuild_history;
pub(crate) mod scope;
pub(crate) mod scratch;
mod statement_names;
