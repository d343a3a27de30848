//! The names and numbers that migrations reserve.

pub(crate) const LEDGER_SCHEMA: &str = "pipeline";
/// The history of the migrations of this program.
pub(crate) const HISTORY: &str = "refinery_schema_history";
/// The history of the user's own migrations.
pub(super) const LOCAL_HISTORY: &str = "refinery_schema_history_local";
/// What the histories of packs begin with.
const PACK_HISTORY: &str = "refinery_schema_history_pack_";
/// The first number that is a user's.
pub(super) const FIRST_LOCAL: i32 = 1000;

/// The history of the migrations of a pack. Names of packs have no `_`.
pub(super) fn pack_history(pack: &str) -> String {
    format!("{PACK_HISTORY}{}", pack.replace('-', "_"))
}

/// The pack whose history a table is.
pub(crate) fn pack_of_history(table: &str) -> Option<String> {
    let pack = table.strip_prefix(PACK_HISTORY)?;
    Some(pack.replace('_', "-"))
}

/// Whether a table of a mirror's schema records migrations, and is not mirrored data.
pub(crate) fn is_history(table: &str) -> bool {
    table == HISTORY || table == LOCAL_HISTORY || table.starts_with(PACK_HISTORY)
}
