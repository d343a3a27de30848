//! What is done after a load, or instead of one: load rejected rows again, approve deletes, replay, rebuild, explain a row.

pub(crate) mod approvals;
pub(crate) mod error;
pub(crate) mod explain;
pub(crate) mod origin;
pub(crate) mod origin_search;
pub(crate) mod orphans;
pub(crate) mod rebuild;
pub(crate) mod replay;
pub(crate) mod retry;
pub(crate) mod scratch;
