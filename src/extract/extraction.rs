//! What a run is to read.

use crate::api;
use crate::config::{Config, Resource};
use crate::plan;
use crate::progress::Progress;
use crate::staging::Run;

/// What a run is to read.
pub struct Extraction<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The API.
    pub client: api::Client,
    /// The resources, in dependency order.
    pub resources: Vec<&'a Resource>,
    /// What the command line asks for.
    pub request: plan::ReadOptions,
    /// The staged runs, in order.
    pub runs: Vec<Run>,
    /// The new run's number is above this.
    pub floor: u64,
    /// Resume the newest run, if it was interrupted.
    pub resume: bool,
    /// Where progress is shown.
    pub progress: &'a Progress,
}
