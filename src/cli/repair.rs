//! The command line of what waits for a person: quarantine, and deletes that are held back.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// What waits, and why; of a table one by one
    #[command(after_help = "\
Examples:
  cursus quarantine ls
  cursus quarantine ls users              one by one, with their numbers and places
No value of a record is shown.")]
    Ls {
        /// The table
        table: Option<String>,
        /// Of this schema instead of the configured one
        #[arg(long, value_name = "SCHEMA")]
        into: Option<String>,
    },
    /// Print the staged record, with its personal values
    #[command(after_help = "Example:\n  cursus quarantine show 12 | jq")]
    Show {
        /// Its number
        #[arg(value_name = "NUMBER")]
        id: i64,
        /// Of this schema instead of the configured one
        #[arg(long, value_name = "SCHEMA")]
        into: Option<String>,
    },
    /// Read records again from staging, with today's pipeline.toml and tables
    #[command(after_help = "\
Examples:
  cursus quarantine retry                 all of them
  cursus quarantine retry --table users
  cursus quarantine retry 12 13

Exits 3 if some of them wait on. Rows that only lack their parent follow by themselves when it comes.")]
    Retry {
        /// Their numbers [default: all]
        #[arg(value_name = "NUMBER")]
        ids: Vec<i64>,
        /// Those of this table
        #[arg(long, conflicts_with = "ids")]
        table: Option<String>,
        /// In this schema instead of the configured one
        #[arg(long, value_name = "SCHEMA")]
        into: Option<String>,
    },
    /// Give up on records: they stay in staging and wait no more
    #[command(after_help = "\
Examples:
  cursus quarantine drop 12 13
  cursus quarantine drop --table users")]
    Drop {
        /// Their numbers
        #[arg(value_name = "NUMBER")]
        ids: Vec<i64>,
        /// Those of this table
        #[arg(long, conflicts_with = "ids")]
        table: Option<String>,
        /// All of them
        #[arg(long, conflicts_with_all = ["ids", "table"])]
        all: bool,
        /// Of this schema instead of the configured one
        #[arg(long, value_name = "SCHEMA")]
        into: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PruneCommand {
    /// List the deletes that are held back and the rows that other rows keep, or the keys of one run's
    #[command(after_help = "\
Examples:
  cursus prune ls
  cursus prune ls 20261123T020000Z | head")]
    Ls {
        /// The run
        run: Option<String>,
        /// Of this schema instead of the configured one
        #[arg(long, value_name = "SCHEMA")]
        into: Option<String>,
    },
    /// Delete exactly the rows that were held back, less those that a later load has seen
    #[command(after_help = "\
Examples:
  cursus prune approve latest
  cursus prune approve 20261123T020000Z --resource users

The approval is kept in the run's directory, and whoever loads the run again honours it. Approve one resource, and the rest waits.")]
    Approve {
        /// The run
        run: String,
        /// Only of this resource
        #[arg(long, value_name = "R")]
        resource: Option<String>,
        /// In this schema instead of the configured one
        #[arg(long, value_name = "SCHEMA")]
        into: Option<String>,
    },
}
