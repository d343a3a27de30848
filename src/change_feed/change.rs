//! One change, as it was written.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

/// A row that differs between two loads, or from where on a table is followed.
#[derive(Debug, Serialize)]
pub(crate) struct Change {
    pub(crate) seq: u64,
    pub(crate) seen_at: Timestamp,
    pub(crate) run: String,
    pub(crate) resource: Option<String>,
    pub(crate) table: String,
    /// `c`, `u`, `d` or `s`.
    pub(crate) op: String,
    pub(crate) key: Option<Box<RawValue>>,
    pub(crate) changed: Vec<String>,
    pub(crate) before: Option<Box<RawValue>>,
    pub(crate) after: Option<Box<RawValue>>,
    pub(crate) file: Option<String>,
    pub(crate) record: Option<i64>,
}
