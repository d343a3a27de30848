//! Arguments of `load`.

use clap::Args;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct LoadArgs {
    /// Last run to load [default: every run that is not loaded]
    pub(crate) run: Option<String>,
    /// Load the newest loaded run once more (`run --full` repairs what a delta does not hold)
    #[arg(long)]
    pub(crate) again: bool,
    /// Resources to load, with those that their rows refer to [default: all]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) select: Vec<String>,
    /// Roll everything back at the end, after printing what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Schema to load into [default: `[database] schema` of the configuration]
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) into: Option<String>,
    /// Delete without the prune limit [default: hold deletes that exceed it]
    #[arg(long)]
    pub(crate) allow_prune: bool,
    /// Rebind the schema to the project and API of these runs, and list what full reads will delete [default: refuse runs of another one]
    #[arg(long)]
    pub(crate) adopt: bool,
    /// Object store to read runs from, as `s3://BUCKET/PATH`; nothing is copied [default: the staging directory]
    #[cfg(feature = "remote")]
    #[arg(long, value_name = "URL")]
    pub(crate) from: Option<String>,
}
