//! What is done with rows apart from a merge: retry quarantine, delete what was approved, explain a row.

pub(crate) mod approvals;
pub(crate) mod explain;
pub(crate) mod explain_at;
pub(crate) mod origin;
pub(crate) mod origin_search;
pub(crate) mod retry_quarantined;
