//! `run.json`: what a run is, and its summary.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::manifest::{Manifest, Mode, State};
use super::run_id::RunId;
use super::run_spec::Selection;
use crate::hash::{Hash, unhex};
use crate::name::Name;
use crate::template::Values;

/// The outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every resource is complete.
    Complete,
    /// Some resource is not.
    Partial,
    /// The allowed requests were used up before its end.
    Stopped,
    /// It failed.
    Failed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// What a run has of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResourceState {
    /// It is final, and every record is accounted for.
    Complete,
    /// It is final, and every page was read.
    Drifted,
    /// It is final, and something is missing.
    Partial,
    /// It was not due.
    Skipped,
    /// Its read failed.
    Failed,
    /// The run was stopped before its read was finished.
    Stopped,
}

impl ResourceState {
    /// Whether it has a manifest.
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Complete | Self::Drifted | Self::Partial)
    }
}

impl From<State> for ResourceState {
    fn from(state: State) -> Self {
        match state {
            State::Complete => Self::Complete,
            State::Drifted => Self::Drifted,
            State::Partial => Self::Partial,
        }
    }
}

impl fmt::Display for ResourceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// One resource in the summary of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResourceSummary {
    pub name: Name,
    /// Full or delta; none if it was skipped or never began.
    pub mode: Option<Mode>,
    /// How sure its read is, or why there is none.
    pub state: ResourceState,
    pub pages: u64,
    pub hits: u64,
    pub rows: u64,
    pub bytes: u64,
    pub x_total: Option<u64>,
    /// Why this mode, and what went wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Its named reads, each of which is in the figures above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<ReadSummary>,
    /// SHA-256 of its manifest, in hex; noted when the run is closed, and absent in those of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_sha256: Option<String>,
}

/// One named read in the summary of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadSummary {
    pub(crate) name: Name,
    pub(crate) mode: Mode,
    pub(crate) state: State,
    pub(crate) pages: u64,
    pub(crate) hits: u64,
    pub(crate) rows: u64,
    /// Announced by the server.
    pub(crate) x_total: Option<u64>,
    /// Why it was read, and what went wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

impl ResourceSummary {
    /// Of a resource that has no manifest.
    pub(crate) fn without_pages(name: Name, state: ResourceState, note: String) -> Self {
        Self {
            name,
            mode: None,
            state,
            pages: 0,
            hits: 0,
            rows: 0,
            bytes: 0,
            x_total: None,
            notes: vec![note],
            reads: Vec::new(),
            manifest_sha256: None,
        }
    }

    /// Whether something is missing, or may be.
    pub(crate) fn is_incomplete(&self) -> bool {
        !matches!(self.state, ResourceState::Complete | ResourceState::Skipped)
    }
}

impl From<&Manifest> for ResourceSummary {
    fn from(manifest: &Manifest) -> Self {
        Self {
            name: manifest.resource.clone(),
            mode: manifest.own_read.then_some(manifest.mode),
            state: manifest.worst_state().into(),
            pages: manifest.pages,
            hits: manifest.hits,
            rows: manifest.rows,
            bytes: manifest.bytes,
            x_total: manifest.x_total,
            notes: manifest.evidence.notes.clone(),
            reads: (manifest.reads.iter())
                .map(|(name, read)| ReadSummary {
                    name: name.clone(),
                    mode: read.mode,
                    state: read.state,
                    pages: read.pages,
                    hits: read.hits,
                    rows: read.rows,
                    x_total: read.x_total,
                    notes: read.evidence.notes.clone(),
                })
                .collect(),
            manifest_sha256: None,
        }
    }
}

/// `run.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Of this file: 1.
    pub format: u32,
    pub run_id: RunId,
    /// The order of runs: later is higher.
    pub seq: u64,
    /// Full if all that was read was read in full and nothing failed, else delta; none while it is open, and if it read
    /// nothing.
    pub mode: Option<Mode>,
    pub selection: Selection,
    pub version: String,
    /// The staging directory that it was made in; absent in those of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging_id: Option<String>,
    /// Origin of the API; absent in those of earlier versions.
    #[serde(default)]
    pub server: Option<String>,
    /// What the scope was; absent in those of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Values>,
    /// Start, by this machine's clock.
    pub started_at: Timestamp,
    /// When it was last resumed; absent if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// `open` while the run is written, then `closed`.
    pub state: RunState,
    /// `None` while it is open.
    pub outcome: Option<Outcome>,
    /// Why it was stopped or failed, a sentence without a secret or a personal value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Requests, failed ones included.
    pub hits: u64,
    /// Rate-limit figures.
    #[serde(default)]
    pub rate: serde_json::Map<String, serde_json::Value>,
    /// One a resource.
    #[serde(default)]
    pub resources: Vec<ResourceSummary>,
}

impl RunRecord {
    /// The resources that it lists as final.
    pub(super) fn claimed(&self) -> impl Iterator<Item = &ResourceSummary> {
        let resources = self.resources.iter();
        resources.filter(|resource| self.state == RunState::Closed && resource.state.is_final())
    }

    pub(super) fn claims(&self) -> Arc<[Name]> {
        self.claimed()
            .map(|resource| resource.name.clone())
            .collect()
    }

    pub(super) fn noted(&self) -> Arc<[Option<Hash>]> {
        self.claimed()
            .map(|resource| unhex(resource.manifest_sha256.as_deref()?))
            .collect()
    }
}

/// Whether a run may still grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// It is being written, or its process died.
    #[default]
    Open,
    /// Nothing will be added.
    Closed,
}
