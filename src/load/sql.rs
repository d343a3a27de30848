//! The statements of a load: names in, text out. Runs nothing.

pub(crate) mod delete_reason;
pub(crate) mod deletes;
pub(crate) mod note_changes;
pub(crate) mod rebuild;
pub(crate) mod row_versions;
pub(crate) mod selected;
pub(crate) mod shared;
pub(crate) mod statements;
pub(crate) mod violations;
