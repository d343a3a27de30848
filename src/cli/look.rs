//! Arguments of the commands that inspect: the mirror and the staged files.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;

use super::values::{MaxAge, address, day_or_time, host, max_age, since, unit_name};
use crate::change_feed::Since;

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// File to write metrics to, for Prometheus; `-` is stdout [default: print the status]
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) prometheus: Option<PathBuf>,
    /// Value of the label `project` of all metrics, where a machine has several projects [default: no such label]
    #[arg(long, value_name = "NAME", value_parser = unit_name, requires = "prometheus")]
    pub(crate) project: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Age above which a warning is given, of all reads, of a resource, or of one read: `AGE`, `RESOURCE=AGE`, `RESOURCE:READ=AGE`
    /// [default: 26h, and the time before a read is due]
    #[arg(long, value_name = "[RESOURCE=]AGE", value_parser = max_age)]
    pub(crate) max_age: Vec<MaxAge>,
    /// Resources whose age to check [default: all]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) select: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    /// Run to show [default: list all]
    pub(crate) run: Option<String>,
    /// Largest number of entries
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address and port to listen on; port 0 takes a free one; an address that is not of loopback needs --token-file
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4280", value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// File with the token that each page but /healthz needs: yours alone (mode 0600), 32 characters or more [default: none is needed]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Name by which a browser reaches it, as that of a reverse proxy; repeatable [default: the address, and localhost]
    #[arg(long, value_name = "NAME", value_parser = host)]
    pub(crate) host: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// Query; several statements are separated by `;` [default: open psql]
    pub(crate) query: Option<String>,
    /// Print comma-separated values [default: a table]
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
    /// Allow changes to the database; several statements are one transaction [default: read only]
    #[arg(long)]
    pub(crate) write: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Schema or run before
    pub(crate) a: String,
    /// Schema or run after
    pub(crate) b: String,
    /// Tables to compare [default: all]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) table: Vec<String>,
    /// Key of the only row to compare: `12345`, or `campus_id=1,project_id=42` [default: all rows]
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Number of samples of added, removed and changed rows per table
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) limit: u32,
    /// Print the values of changed columns, which can be personal [default: names of columns only]
    #[arg(long)]
    pub(crate) show_values: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Table of the row
    pub(crate) table: String,
    /// Key of the row: `12345`, or `campus_id=1,project_id=42`
    pub(crate) key: String,
    /// Time at which to show the row, by its history: `2026-10-01`, `2026-10-01T02:00:00Z`, `2d`
    /// [default: now, with its record]
    #[arg(long, value_name = "TIME", value_parser = day_or_time)]
    pub(crate) at: Option<Timestamp>,
    /// Schema of the row [default: `[database] schema` of the configuration]
    #[arg(long, visible_alias = "schema", value_name = "SCHEMA")]
    pub(crate) into: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ChangesArgs {
    /// Number, time or age after which to begin: `1200`, `2026-11-23T02:00:00Z`, `2h` [default: the oldest change that is kept]
    #[arg(long, value_name = "SEQ|TIME|AGE", value_parser = since)]
    pub(crate) since: Option<Since>,
    /// Tables to print changes of [default: all]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) table: Vec<String>,
    /// Key of the only row to print changes of: `12345`, or `campus_id=1,project_id=42` [default: all rows]
    #[arg(long, requires = "table")]
    pub(crate) key: Option<String>,
    /// Wait for further changes, until Ctrl-C [default: end after the newest]
    #[arg(long)]
    pub(crate) follow: bool,
    /// Name under which the position is stored after each batch, and after which it continues [default: store none]
    #[arg(long, value_name = "NAME", value_parser = unit_name)]
    pub(crate) consumer: Option<String>,
    /// Schema of the mirror [default: `[database] schema` of the configuration]
    #[arg(long, visible_alias = "schema", value_name = "SCHEMA")]
    pub(crate) into: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Language to describe it in [default: markdown]
    #[arg(long, value_enum)]
    pub(crate) format: Option<SchemaFormat>,
    /// Describe the load ledger, the schema `pipeline`, as well
    #[arg(long)]
    pub(crate) ledger: bool,
    /// Schema to describe [default: `[database] schema` of the configuration]
    #[arg(long, visible_alias = "schema", value_name = "SCHEMA")]
    pub(crate) into: Option<String>,
}

/// A language that describes tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaFormat {
    /// Schema of Prisma 7
    Prisma,
    /// Row types as node-postgres returns them
    Typescript,
    /// Database markup language
    Dbml,
    /// One JSON document
    Json,
    /// Documentation
    Markdown,
    /// Entity diagram for Graphviz
    Dot,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StageCommand {
    /// List runs, the resources of a run, or the pages of a resource
    #[command(
        after_help = "Examples:\n  cursus stage ls\n  cursus stage ls latest\n  cursus stage ls latest users"
    )]
    Ls {
        /// Run to list [default: all runs]
        run: Option<String>,
        /// Resource whose pages to list [default: all resources]
        resource: Option<String>,
    },
    /// Print staged records, one per line
    #[command(after_help = "\
Examples:
  cursus stage cat latest users | jq .login
  cursus stage cat latest --id 12345      the record with its file and its request, of any resource")]
    Cat {
        /// Run to print from
        run: String,
        /// Resource to print [default: all]
        resource: Option<String>,
        /// Id of the only record to print [default: all records]
        #[arg(long)]
        id: Option<i64>,
    },
    /// Verify a run by its files alone: that its pages are those received, and that nothing is missing
    #[command(after_help = "\
Examples:
  cursus stage verify latest

Exit code 0: every manifest is proven, even a `partial` one; 1: a page is damaged or a manifest is not proven.")]
    Verify {
        /// Run to verify
        run: String,
    },
    /// Copy closed runs to an object store, each published by its `run.json` at the end
    #[cfg(feature = "remote")]
    #[command(after_help = "\
Examples:
  cursus run && cursus stage push s3://bucket/mirror
  cursus stage push                       to `[staging] remote` of pipeline.toml
URL is s3://BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH, or a directory that exists. Credentials come from the store's usual variables,
of the process or of .env: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, GOOGLE_…, AZURE_…; plain HTTP goes to this machine only. What was copied
is not copied again, and nothing is overwritten but what `forget` has rewritten. A run that may still be resumed waits for the next one.
Exit code 4: the store ignores conditional writes, or holds a run of the same id with other content.")]
    Push {
        /// Object store [default: `[staging] remote` of the configuration]
        url: Option<String>,
    },
    /// Copy published runs from an object store into the staging directory
    #[cfg(feature = "remote")]
    #[command(after_help = "\
Examples:
  cursus stage pull s3://bucket/mirror && cursus load
Each run is received completely and verified by its hashes before it is there. URL is as for `push`; `cursus load --from URL` loads
without a copy.")]
    Pull {
        /// Object store [default: `[staging] remote` of the configuration]
        url: Option<String>,
    },
    /// Write staged runs as Parquet files for engines, by resource and day
    #[cfg(feature = "parquet")]
    #[command(after_help = "\
Examples:
  cursus stage export --format parquet /srv/parquet
  duckdb -c \"SELECT count(*) FROM read_parquet('/srv/parquet/resource=users/*/*.parquet')\"
Columns have the types of the mirror's tables, `_record` is the record as JSON text, and `_run`, `_file`, `_record_number` and
`_received_at` say where it comes from. The files hold what is staged, and can be removed and made again: only what is new or was
rewritten is written, and what is not staged any more is removed. URL is as for `push`.")]
    Export(ExportArgs),
    /// Remove old runs that are no longer needed
    #[command(after_help = "\
Examples:
  cursus stage gc --dry-run               what would be removed, what is kept, and why
  cursus stage gc --keep 7d
  cursus stage gc --remote s3://bucket/mirror
Whatever its age, a run is kept while it holds the newest complete full read of a resource or a later read of it, while it is not
loaded, while a quarantined row or a held delete refers to it, and while it is the newest.")]
    Gc(GcArgs),
}

/// A format of files for engines.
#[cfg(feature = "parquet")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Apache Parquet, compressed by zstd
    Parquet,
}

#[cfg(feature = "parquet")]
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Object store or directory to write to
    pub(crate) url: String,
    /// Format of the files
    #[arg(long, value_enum, default_value = "parquet")]
    pub(crate) format: ExportFormat,
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Age up to which every run is kept [default: `[staging] keep` of the configuration]
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    pub(crate) keep: Option<Duration>,
    /// Object store to remove runs from; without a value `[staging] remote` [default: the staging directory]
    #[cfg(feature = "remote")]
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    pub(crate) remote: Option<String>,
    /// Print what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not check in the database what is loaded, for use without a mirror [default: keep what is not loaded]
    #[arg(long)]
    pub(crate) without_database: bool,
}
