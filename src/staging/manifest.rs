//! `manifest.json`: a resource of a run is final, and what is known about it.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use super::run_id::RunId;
use crate::name::Name;

/// Of the JSON files of a run.
pub const FORMAT: u32 = 1;

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
    pub(crate) fn moves_cursor(self) -> bool {
        self != Self::Partial
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
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

impl Window {
    /// The same, as far as a request can say it: to the millisecond.
    #[must_use]
    pub(crate) fn to_milliseconds(self) -> Self {
        let floor = TimestampRound::new()
            .smallest(Unit::Millisecond)
            .mode(RoundMode::Floor);
        let floor = |time: Timestamp| time.round(floor).unwrap_or(time);
        Self {
            start: floor(self.start),
            end: floor(self.end),
        }
    }
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
    /// Records whose id is missing, negative or not an integer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub without_id: u64,
    /// Slices of a fanned-out resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slices: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    /// What is doubtful, a sentence each.
    pub notes: Vec<String>,
}

impl Evidence {
    /// How many of these ids count as distinct.
    pub(crate) fn distinct_of(&self, ids: &RoaringTreemap) -> u64 {
        match self.highest_id {
            Some(highest) => ids.rank(u64::try_from(highest).unwrap_or(0)),
            None => ids.len(),
        }
    }
}

/// One read of a resource: its own delta or full read, or a named one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ReadManifest {
    /// Full or delta; of a named read: whether all records that pass its filters were asked for.
    pub mode: Mode,
    pub state: State,
    pub pages: u64,
    pub rows: u64,
    pub bytes: u64,
    /// Requests that it took, failed ones included.
    pub hits: u64,
    /// `X-Total` of the first page; of all slices together.
    pub x_total: Option<u64>,
    /// What a delta asked for.
    pub window: Option<Window>,
    /// How far the records of the read are known now, in server time.
    pub cursor: Option<Timestamp>,
    /// Of path, query and scope: another hash voids the cursor.
    pub request_hash: String,
    pub evidence: Evidence,
    /// Rows a page that the server could give in time, if fewer than the configuration asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smaller_pages: Option<SmallerPages>,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
}

/// The size of pages, where the server takes too long for larger ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmallerPages {
    /// Rows a page.
    pub size: u32,
    /// Since when, in server time; a day later a larger one is tried.
    pub since: Timestamp,
}

impl ReadManifest {
    /// Of a read that staged nothing.
    pub(crate) fn without_pages(state: State, started_at: Timestamp) -> Self {
        Self {
            mode: Mode::Delta,
            state,
            pages: 0,
            rows: 0,
            bytes: 0,
            hits: 0,
            x_total: None,
            window: None,
            cursor: None,
            request_hash: String::new(),
            evidence: Evidence::default(),
            smaller_pages: None,
            started_at,
            finished_at: started_at,
        }
    }

    /// Whether it is a complete full read: it supersedes all reads before it, and proves deletes.
    pub(crate) fn is_complete_full(&self) -> bool {
        self.mode == Mode::Full && self.state == State::Complete
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_yes(flag: &bool) -> bool {
    *flag
}

/// Written last, by rename: without it a resource does not exist for the load.
///
/// Figures (pages, rows, bytes, requests) are of all its reads. Mode, state, window, cursor and evidence are of the
/// resource's own read; where this run has none, of a delta that moved no cursor, as sure as the named reads are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Manifest {
    pub format: u32,
    /// The run that it belongs to; noted when it is written, and absent in those of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    pub resource: Name,
    /// Whether it has a read of its own, and not only named ones.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub own_read: bool,
    pub mode: Mode,
    pub state: State,
    pub pages: u64,
    /// Records staged, repeated ones included.
    pub rows: u64,
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
    pub evidence: Evidence,
    /// Rows a page that the server could give in time, if fewer than the configuration asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smaller_pages: Option<SmallerPages>,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    /// Its named reads.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reads: BTreeMap<Name, ReadManifest>,
}

impl Manifest {
    /// Of a resource's own read and its named ones; none, if there are none at all.
    pub fn of(
        resource: Name,
        own: Option<ReadManifest>,
        reads: BTreeMap<Name, ReadManifest>,
        journal_sha256: String,
    ) -> Option<Self> {
        let all = || own.iter().chain(reads.values());
        let sum = |figure: fn(&ReadManifest) -> u64| all().map(figure).sum();
        let started_at = all().map(|read| read.started_at).min()?;
        let finished_at = all().map(|read| read.finished_at).max()?;
        let (pages, rows) = (sum(|read| read.pages), sum(|read| read.rows));
        let (bytes, hits) = (sum(|read| read.bytes), sum(|read| read.hits));
        let worst = all().map(|read| read.state).max()?;
        let own_read = own.is_some();
        let own = own.unwrap_or_else(|| ReadManifest::without_pages(worst, started_at));
        Some(Self {
            format: FORMAT,
            run_id: None,
            resource,
            own_read,
            mode: own.mode,
            state: own.state,
            pages,
            rows,
            bytes,
            hits,
            x_total: own.x_total,
            window: own.window,
            cursor: own.cursor,
            request_hash: own.request_hash,
            evidence: own.evidence,
            smaller_pages: own.smaller_pages,
            started_at,
            finished_at,
            journal_sha256,
            reads,
        })
    }

    /// One of its reads: the resource's own, or the named one.
    pub fn read(&self, name: Option<&Name>) -> Option<ReadManifest> {
        let Some(name) = name else {
            return self.own();
        };
        self.reads.get(name).cloned()
    }

    fn own(&self) -> Option<ReadManifest> {
        let others = |figure: fn(&ReadManifest) -> u64| self.reads.values().map(figure).sum();
        self.own_read.then(|| ReadManifest {
            mode: self.mode,
            state: self.state,
            pages: self.pages.saturating_sub(others(|read| read.pages)),
            rows: self.rows.saturating_sub(others(|read| read.rows)),
            bytes: self.bytes.saturating_sub(others(|read| read.bytes)),
            hits: self.hits.saturating_sub(others(|read| read.hits)),
            x_total: self.x_total,
            window: self.window,
            cursor: self.cursor,
            request_hash: self.request_hash.clone(),
            evidence: self.evidence.clone(),
            smaller_pages: self.smaller_pages,
            started_at: self.started_at,
            finished_at: self.finished_at,
        })
    }

    /// Whether nothing that was read before it is needed: it is a complete full read; or all its reads are, where it has none of its
    /// own.
    pub(crate) fn is_beginning(&self) -> bool {
        let mut named = self.reads.values();
        self.is_complete_full()
            || (!self.own_read
                && !self.reads.is_empty()
                && named.all(ReadManifest::is_complete_full))
    }

    /// The state of its least sure read.
    pub(crate) fn worst_state(&self) -> State {
        let named = self.reads.values().map(|read| read.state);
        named.fold(self.state, State::max)
    }

    /// Whether it is a complete full read: it supersedes all reads before it, and proves deletes.
    pub(crate) fn is_complete_full(&self) -> bool {
        self.mode == Mode::Full && self.state == State::Complete
    }
}
