//! Arguments of the commands that settle quarantined rows and held deletes, replay, and erase people.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// List quarantined rows by reject reason; for one table row by row
    #[command(after_help = "\
Examples:
  cursus quarantine ls
  cursus quarantine ls users              row by row, with number and origin
No value of a record is printed.")]
    Ls {
        /// Table to list row by row [default: a summary of all tables]
        table: Option<String>,
        /// Schema of the mirror [default: `[database] schema` of the configuration]
        #[arg(long, value_name = "SCHEMA")]
        into: Option<String>,
    },
    /// Print the staged record of a quarantined row, with its personal values
    #[command(after_help = "Example:\n  cursus quarantine show 12 | jq")]
    Show {
        /// Number of the row
        #[arg(value_name = "NUMBER")]
        id: i64,
        /// Schema of the mirror [default: `[database] schema` of the configuration]
        #[arg(long, value_name = "SCHEMA")]
        into: Option<String>,
    },
    /// Load quarantined rows again from staging, with the present configuration and tables
    #[command(after_help = "\
Examples:
  cursus quarantine retry                 all of them
  cursus quarantine retry --table users
  cursus quarantine retry 12 13

Exit code 3: some rows stay in quarantine. Orphans are retried by the load that brings their parent.")]
    Retry {
        /// Numbers of the rows [default: all]
        #[arg(value_name = "NUMBER")]
        ids: Vec<i64>,
        /// Table whose rows to load again [default: all]
        #[arg(long, conflicts_with = "ids")]
        table: Option<String>,
        /// Schema of the mirror [default: `[database] schema` of the configuration]
        #[arg(long, value_name = "SCHEMA")]
        into: Option<String>,
    },
    /// Remove rows from quarantine; their records stay in staging
    #[command(after_help = "\
Examples:
  cursus quarantine drop 12 13
  cursus quarantine drop --table users")]
    Drop {
        /// Numbers of the rows
        #[arg(value_name = "NUMBER")]
        ids: Vec<i64>,
        /// Table whose rows to drop
        #[arg(long, conflicts_with = "ids")]
        table: Option<String>,
        /// Drop every quarantined row
        #[arg(long, conflicts_with_all = ["ids", "table"])]
        all: bool,
        /// Schema of the mirror [default: `[database] schema` of the configuration]
        #[arg(long, value_name = "SCHEMA")]
        into: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PruneCommand {
    /// List held deletes and rows kept because others refer to them, or the keys held of one run
    #[command(after_help = "\
Examples:
  cursus prune ls
  cursus prune ls 20261123T020000Z | head")]
    Ls {
        /// Run whose keys to list [default: a summary of all runs]
        run: Option<String>,
        /// Schema of the mirror [default: `[database] schema` of the configuration]
        #[arg(long, value_name = "SCHEMA")]
        into: Option<String>,
    },
    /// Approve held deletes: delete exactly those rows, except rows that a later load has seen again
    #[command(after_help = "\
Examples:
  cursus prune approve latest
  cursus prune approve 20261123T020000Z --resource users

The approval is stored in the directory of the run and applies to every later load of it. Without --resource it covers all
resources; with it, the others stay held.")]
    Approve {
        /// Run whose deletes to approve
        run: String,
        /// Resource whose deletes to approve [default: all]
        #[arg(long, value_name = "R")]
        resource: Option<String>,
        /// Schema of the mirror [default: `[database] schema` of the configuration]
        #[arg(long, value_name = "SCHEMA")]
        into: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum HistoryCommand {
    /// Rebuild the history of rows from the staged runs
    #[command(after_help = "\
Examples:
  cursus history rebuild
  cursus history rebuild --table users
Every staged run is replayed into a schema of its own, which is dropped at the end. So the history also has columns that were added
later, and begins with the oldest run. What is older than the staged runs is kept as it was. Exit code 4: of a table the staged runs
do not give the whole; its history is kept as it was.")]
    Rebuild(RebuildArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RebuildArgs {
    /// Tables whose history to rebuild [default: all whose history is kept]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) table: Vec<String>,
    /// Delete what is absent whatever the prune limit says [default: hold as the loads did]
    #[arg(long)]
    pub(crate) allow_prune: bool,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("whom").required(true).multiple(false))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct ForgetArgs {
    /// Ids of the people
    #[arg(value_name = "USER_ID", group = "whom")]
    pub(crate) ids: Vec<String>,
    /// Forget those whom the API has anonymised, as the mirror knows them
    #[arg(long, group = "whom")]
    pub(crate) anonymised: bool,
    /// Forget again those who were: finish what was interrupted, and erase what a backup has brought back
    #[arg(long, group = "whom")]
    pub(crate) finish: bool,
    /// Remove the records and rows that are theirs as well, and their ids [default: ids stay, personal values become null]
    #[arg(long, conflicts_with = "finish")]
    pub(crate) drop: bool,
    /// List every place and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SubjectArgs {
    /// Id of the person
    #[arg(value_name = "USER_ID")]
    pub(crate) id: String,
}

#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("target").required(true))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct ReplayArgs {
    /// First run to replay, or an object store to read all runs from, as `s3://BUCKET/PATH` [default: the first staged one]
    #[arg(long, value_name = "RUN|URL")]
    pub(crate) from: Option<String>,
    /// Last run to replay [default: the last staged one]
    #[arg(long, value_name = "RUN")]
    pub(crate) to: Option<String>,
    /// Resources to load, with those that their rows refer to [default: all]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) select: Vec<String>,
    /// Schema to create and load into
    #[arg(long, value_name = "SCHEMA", group = "target")]
    pub(crate) into: Option<String>,
    /// Rebuild the mirror: replay into a scratch schema, then apply the differences in one transaction
    #[arg(long, group = "target")]
    pub(crate) rebuild: bool,
    /// List groups of resources that jobs can replay side by side for a rebuild, those that take longest first
    #[arg(long, group = "target")]
    pub(crate) plan: bool,
    /// Replay one group into a scratch schema of its own, or continue that
    #[arg(long, value_name = "N", group = "target")]
    pub(crate) group: Option<usize>,
    /// Rebuild the mirror from the groups, when all of them are replayed
    #[arg(long, group = "target")]
    pub(crate) finish: bool,
    /// Delete without the prune limit [default: hold deletes that exceed it]
    #[arg(long)]
    pub(crate) allow_prune: bool,
}
