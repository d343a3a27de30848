//! What a run is to read.

use crate::api;
use crate::config::{Config, Resource};
use crate::plan;
use crate::progress::Progress;
use crate::staging::Run;

pub(crate) struct Extraction<'a> {
    pub(crate) config: &'a Config,
    pub(crate) client: api::Client,
    pub(crate) resources: Vec<&'a Resource>,
    pub(crate) request: plan::ReadOptions,
    pub(crate) runs: Vec<Run>,
    /// The new run's number is above this.
    pub(crate) floor: u64,
    /// Resume the newest run, if it was interrupted.
    pub(crate) resume: bool,
    pub(crate) progress: &'a Progress,
}
