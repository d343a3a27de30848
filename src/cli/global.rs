//! Options of every command.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use secrecy::SecretString;

use super::values::secret;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct Global {
    /// Configuration file [default: the nearest pipeline.toml, here or in a directory above, else the built-in one]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Directory of staged runs [default: `CURSUS_STAGING_DIR`, else `[staging] dir` of the configuration]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) staging: Option<PathBuf>,
    /// Database of the mirror: postgres://… or `embedded`; a password in it is visible in the process list [default:
    /// `CURSUS_DATABASE_URL`, else `[database] url` of the configuration, else `DATABASE_URL`, else `embedded`]
    #[arg(long, global = true, value_name = "URL", value_parser = secret)]
    pub(crate) database_url: Option<SecretString>,
    /// Format of log lines on stderr
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Log more (-v: debug, -vv: trace) [default: info]
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print nothing but errors and what was asked for: the summary of a command that works is left out
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print one JSON document on stdout instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print tables with all their columns in full [default: as wide as the terminal or COLUMNS, else 80 columns]
    #[arg(long, global = true)]
    pub(crate) wide: bool,
    /// Print without colours [default: colours on a terminal]
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// How long to wait for a lock held by another cursus process [default: do not wait, exit 5]
    #[arg(long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) wait_lock: Option<Duration>,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}
