//! The statements of a load: names in, text out. Runs nothing.

pub(crate) mod changes;
pub(crate) mod delete_reason;
pub(crate) mod deletes;
pub(crate) mod history;
pub(crate) mod rebuild;
pub(crate) mod selected;
pub(crate) mod shared;
pub(crate) mod statements;
pub(crate) mod violations;
