//! Arguments of the commands that set up a project, its schema and its token.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::values::{scope, unit_name};

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Overwrite pipeline.toml, but not .env, .gitignore and units [default: keep what exists]
    #[arg(long)]
    pub(crate) force: bool,
    /// Ask nothing, as without a terminal [default: ask for keys, scope, packs and database at a terminal]
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Ids for a variable of [scope], with commas between; repeatable [default: as shipped]
    #[arg(long, value_name = "VARIABLE=IDS", value_parser = scope)]
    pub(crate) scope: Vec<(String, Vec<String>)>,
    #[command(flatten)]
    pub(crate) units: UnitArgs,
}

/// Which systemd units to write.
#[derive(Debug, Args)]
pub(crate) struct UnitArgs {
    /// Directory for systemd units that run this binary in this directory as this user [default: none are written]
    #[arg(long, value_name = "DIR")]
    pub(crate) systemd: Option<PathBuf>,
    /// Write the units for the user's own service manager, `systemctl --user` [default: for the system's]
    #[arg(long, requires = "systemd")]
    pub(crate) user: bool,
    /// Name of this project in the names of the units, where a machine has several: cursus-NAME-run.service [default: none]
    #[arg(long, value_name = "NAME", value_parser = unit_name, requires = "systemd")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Schema to migrate [default: `[database] schema` of the configuration]
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) into: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PackCommand {
    /// List packs: whether they are on, their requests a day, and the right that the key needs
    #[command(after_help = "\
Examples:
  cursus pack ls
  cursus pack ls --json | jq '.packs[] | select(.state == \"on\") | .name'
`packs = [\"locations\", \"-teams\"]` in pipeline.toml turns packs on and off. A folder packs/NAME beside it is a pack of your own, or
stands in the place of a built-in one. Requests a day are for a run every 15 minutes, by what earlier runs have read.")]
    Ls,
    /// Print the files of a pack
    #[command(after_help = "Example:\n  cursus pack show skills")]
    Show {
        /// Pack to print
        name: String,
    },
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Show when the token was issued, when it expires, and when the client secret expires
    #[command(after_help = "Example:\n  cursus token show --json | jq -r .secret_valid_until")]
    Show,
    /// Request a new token
    #[command(after_help = "Example:\n  cursus token refresh")]
    Refresh,
}
