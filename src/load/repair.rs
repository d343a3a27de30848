//! What is done with rows apart from a merge: retry quarantine, delete what was approved.

pub(crate) mod approvals;
pub(crate) mod retry_quarantined;
