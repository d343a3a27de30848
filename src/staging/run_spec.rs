//! What a run is to read, and from where.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::template::Values;

/// What a run is to read, and from where.
#[derive(Clone, Debug, Default)]
pub struct RunSpec {
    /// What the command line asks for.
    pub selection: Selection,
    /// The API's origin.
    pub server: String,
    /// What placeholders stand for.
    pub scope: Values,
    /// The request hash of each resource.
    pub request_hashes: BTreeMap<Name, String>,
}

/// What was asked for on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) select: Vec<Name>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) exclude: Vec<Name>,
    #[serde(default)]
    pub(crate) full: bool,
}
