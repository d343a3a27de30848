//! The names and numbers that migrations reserve.

pub(crate) const LEDGER_SCHEMA: &str = "pipeline";
/// The history of the migrations of this program.
pub(super) const HISTORY: &str = "refinery_schema_history";
/// The history of the user's own migrations.
pub(super) const LOCAL_HISTORY: &str = "refinery_schema_history_local";
/// The tables of a mirror's schema that are not mirrored data.
pub(crate) const HISTORIES: [&str; 2] = [HISTORY, LOCAL_HISTORY];
/// The first number that is a user's.
pub(super) const FIRST_LOCAL: i32 = 1000;
