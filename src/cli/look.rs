//! The command line of those who look: at the mirror, and at the staged files.

use std::time::Duration;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// The query
    pub(crate) query: Option<String>,
    /// Comma-separated values
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
    /// Let the query, or psql, change the database; several statements are one transaction
    #[arg(long)]
    pub(crate) write: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// What was
    pub(crate) a: String,
    /// What is
    pub(crate) b: String,
    /// Only these tables
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) table: Vec<String>,
    /// Only the row with this key: `12345`, or `campus_id=1,project_id=42`
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// So many samples of rows added, removed and changed in each table
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) limit: u32,
    /// Show what rows held before and after, which can be personal
    #[arg(long)]
    pub(crate) show_values: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The table
    pub(crate) table: String,
    /// The row's key: `12345`, or `campus_id=1,project_id=42`
    pub(crate) key: String,
    /// In this schema instead of the configured one
    #[arg(long, visible_alias = "schema", value_name = "SCHEMA")]
    pub(crate) into: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StageCommand {
    /// List runs, the resources of a run, or the pages of a resource
    #[command(
        after_help = "Examples:\n  cursus stage ls\n  cursus stage ls latest\n  cursus stage ls latest users"
    )]
    Ls {
        /// The run
        run: Option<String>,
        /// The resource
        resource: Option<String>,
    },
    /// Print staged records, one a line
    #[command(after_help = "\
Examples:
  cursus stage cat latest users | jq .login
  cursus stage cat latest --id 12345      the record, its file and its request, wherever it is")]
    Cat {
        /// The run
        run: String,
        /// The resource [default: all]
        resource: Option<String>,
        /// Only the record with this id
        #[arg(long)]
        id: Option<i64>,
    },
    /// Prove from its files alone what a run claims: that its pages are those received, and that nothing is missing
    #[command(after_help = "\
Examples:
  cursus stage verify latest

Exits 0 if every claim holds, also one that something is missing; 1 if a page is damaged or a claim is not proven.")]
    Verify {
        /// The run
        run: String,
    },
    /// Remove old runs that nobody needs any more
    #[command(after_help = "\
Examples:
  cursus stage gc --dry-run               what would go, what stays, and why
  cursus stage gc --keep 7d
Whatever its age, a run stays while it holds the newest complete full read of a resource or something read after it,
while it is not loaded, while quarantine or a held delete refers to it, and if it is the newest.")]
    Gc(GcArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Runs younger than this stay [default: `keep` of pipeline.toml]
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    pub(crate) keep: Option<Duration>,
    /// Say what would go, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask the database what is loaded: for people who only extract
    #[arg(long)]
    pub(crate) without_database: bool,
}
