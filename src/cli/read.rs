//! Options of what reads the API, or would: extract, run, plan.

use clap::Args;
use jiff::Timestamp;

use super::values::{point_in_time, window};

/// What to read.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ReadArgs {
    /// Read every resource in full [default: deltas, and full reads where they are due]
    #[arg(long)]
    pub(crate) full: bool,
    /// Read what changed since a time (RFC 3339) or for an age such as 2d [default: since each resource's cursor]
    #[arg(long, value_name = "T", value_parser = point_in_time, conflicts_with_all = ["full", "window"])]
    pub(crate) since: Option<Timestamp>,
    /// Read what changed between two times [default: since each resource's cursor]
    #[arg(long, value_name = "START,END", value_parser = window, conflicts_with = "full")]
    pub(crate) window: Option<(Timestamp, Timestamp)>,
    /// Resources to read [default: all]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) select: Vec<String>,
    /// Resources to leave out [default: none]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) exclude: Vec<String>,
    /// Read resources younger than their `min_age` as well [default: skip them]
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ExtractArgs {
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    /// Largest number of requests [default: no limit but the API's]
    #[arg(long, value_name = "N")]
    pub(crate) max_hits: Option<u64>,
    /// Start a new run [default: resume an interrupted run at its first missing page]
    #[arg(long)]
    pub(crate) no_resume: bool,
    /// Stop when this hour's requests are used up [default: wait for the next hour]
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Default, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) extract: ExtractArgs,
    /// Rebind the schema to this project and API, and list what full reads will delete [default: refuse runs of another one]
    #[arg(long)]
    pub(crate) adopt: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    /// Forecast from staged runs, without a request [default: request one row of each resource]
    #[arg(long)]
    pub(crate) offline: bool,
    /// Packs to plan for as if they were on, with those that they need [default: those that are on]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) pack: Vec<String>,
}
