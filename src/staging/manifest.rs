//! `manifest.json`: a resource of a run is final, and what is known about it.

use std::fmt;

use jiff::Timestamp;
use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use super::run::RunId;
use crate::name::Name;

/// Whether all records were asked for, or those that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// All records.
    Full,
    /// Records that changed since the cursor.
    Delta,
}

/// How sure it is that nothing is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Every record is accounted for.
    Complete,
    /// Every page was read, but that proves nothing.
    Drifted,
    /// Something is missing.
    Partial,
}

impl State {
    /// Complete and drifted reads move the cursor.
    pub fn moves_cursor(self) -> bool {
        self != Self::Partial
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Full => "full",
            Self::Delta => "delta",
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Complete => "complete",
            Self::Drifted => "drifted",
            Self::Partial => "partial",
        })
    }
}

/// A time range that was asked for, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// From.
    pub start: Timestamp,
    /// To.
    pub end: Timestamp,
}

impl From<(Timestamp, Timestamp)> for Window {
    fn from((start, end): (Timestamp, Timestamp)) -> Self {
        Self { start, end }
    }
}

/// What the state rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The largest id at the first page; newer records are kept but not counted.
    pub highest_id: Option<i64>,
    /// Distinct ids staged, up to `highest_id`.
    pub distinct: u64,
    /// Slices of a fanned-out resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slices: Option<u64>,
    /// What went wrong or was unusual, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Evidence {
    /// How many of these ids count as distinct.
    pub fn distinct_of(&self, ids: &RoaringTreemap) -> u64 {
        match self.highest_id {
            Some(highest) => ids.rank(u64::try_from(highest).unwrap_or(0)),
            None => ids.len(),
        }
    }
}

/// Written last, by rename: without it a resource does not exist for the load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of this file.
    pub format: u32,
    /// The run that it belongs to; noted when it is written, and absent in those of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// The resource.
    pub resource: Name,
    /// Full or delta.
    pub mode: Mode,
    /// How sure.
    pub state: State,
    /// Pages staged.
    pub pages: u64,
    /// Records staged, repeated ones included.
    pub rows: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Requests that it took, failed ones included.
    pub hits: u64,
    /// `X-Total` of the first page; of all slices together.
    pub x_total: Option<u64>,
    /// What a delta asked for.
    pub window: Option<Window>,
    /// How far the resource is known now, in server time.
    pub cursor: Option<Timestamp>,
    /// Of path, query and scope: another hash voids the cursor.
    pub request_hash: String,
    /// SHA-256 of the journal, in hex.
    pub journal_sha256: String,
    /// What the state rests on.
    pub evidence: Evidence,
    /// First request.
    pub started_at: Timestamp,
    /// Last answer.
    pub finished_at: Timestamp,
}

impl Manifest {
    /// Whether it is a complete full read: it holds all that reads before it held, and what is absent from it is gone.
    pub fn is_proof(&self) -> bool {
        self.mode == Mode::Full && self.state == State::Complete
    }
}
