//! The command line, as clap types: exactly what was typed, nothing resolved.

mod look;
mod repair;
#[cfg(feature = "simulator")]
mod simulate;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use secrecy::SecretString;

pub(crate) use look::{DiffArgs, ExplainArgs, GcArgs, SqlArgs, StageCommand};
pub(crate) use repair::{PruneCommand, QuarantineCommand};
#[cfg(feature = "simulator")]
pub(crate) use simulate::{DemoArgs, SimulateArgs, WindowKind};

use values::{interval, point_in_time, secret, window};

#[cfg(feature = "simulator")]
const WITHOUT_A_KEY: &str = "Try it without a key:   cursus demo\n";
#[cfg(not(feature = "simulator"))]
const WITHOUT_A_KEY: &str = "";

/// Mirror the 42 intranet API into PostgreSQL: provably complete, at the fewest requests.
#[derive(Debug, Parser)]
#[command(
    name = "cursus",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    after_help = format!("{WITHOUT_A_KEY}\
Mirror your campus:     cursus init; edit .env and pipeline.toml; cursus doctor; cursus run
Ask the mirror:         cursus sql \"SELECT COUNT(*) FROM users\"

Exit codes:
  0 done · 1 failed · 2 usage or configuration · 3 finished, but not all is complete or fits
  4 a guard refused · 5 another run holds the lock · 6 hits used up or throttled, resumable
  129/130/143 stopped by a signal")
)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command knows.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// The configuration [default: pipeline.toml here or in a directory above, else the built-in one]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where runs are staged
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) staging: Option<PathBuf>,
    /// The mirror's database: postgres://…, or `embedded`; a password in it is seen in the process list
    #[arg(long, global = true, value_name = "URL", value_parser = secret)]
    pub(crate) database_url: Option<SecretString>,
    /// How log lines look on stderr
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Say more (-vv: a lot more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// One JSON document on stdout instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No colours
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// Wait so long for another cursus that works on the same thing, instead of ending with exit code 5
    #[arg(long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) wait_lock: Option<Duration>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read the API into staging (needs no database)
    #[command(after_help = "\
Examples:
  cursus extract                          what changed since the last run; everything the first time
  cursus extract --select users --full    all users
  cursus extract --since 2d --no-wait     the last two days, stopping when this hour's hits are used up")]
    Extract(ExtractArgs),
    /// Load staged runs into the mirror (needs no network)
    #[command(after_help = "\
Examples:
  cursus load                             every run that is not loaded yet, in order
  cursus load latest --dry-run            what would change, and nothing changes
  cursus load 2026-11-23 --into scratch   a past day, in a schema of its own
RUN is a run's id, a path, or a day or `latest`: the newest run of it that staged something.")]
    Load(LoadArgs),
    /// Load the staged runs once more, beside the mirror or to rebuild it (needs no network)
    #[command(after_help = "\
Examples:
  cursus replay --to 2026-11-23 --into past    the mirror as it was that day, in a schema of its own
  cursus replay --rebuild                      today's mapping and migrations, applied to all that is staged
A schema that a replay has made goes on where it ended; any other must be empty. RUN is as for `load`.")]
    Replay(ReplayArgs),
    /// Extract, then load
    #[command(after_help = "\
Examples:
  cursus run                              the nightly job: deltas, full reads where they are due
  cursus run --json -q                    the same from cron, with a summary for programs")]
    Run(RunArgs),
    /// What a run would read and why, how many hits and how long it would take
    #[command(after_help = "\
Examples:
  cursus plan                             asks for one row of each resource, to learn how many there are
  cursus plan --offline                   from what earlier runs found, without a single hit
  cursus plan --full --select users       what reading all users would cost
`cursus run` also reads in full what the database lacks, which is not looked at here.")]
    Plan(PlanArgs),
    /// `run` again and again, as a service
    #[command(after_help = "\
Examples:
  cursus watch --every 15m                a delta every quarter of an hour, until Ctrl-C or SIGTERM
  cursus watch --every 15m --json -q      the same as a service: one JSON document a round on stdout
Configuration and .env are read anew each round, and at SIGHUP, which says what has changed. systemd is told of ready, status and
signs of life. Runs that nobody needs any more are removed after every round that loaded something.")]
    Watch(WatchArgs),
    /// What became of the last run, what is staged, what is loaded, how old it is
    #[command(after_help = "\
Examples:
  cursus status
  cursus status --json | jq '.resources[] | select(.age_s > 86400)'
  cursus status --json | jq -e '.last_run.outcome == \"complete\"'
The last run is the last `extract`, `run` or round of `watch`, also one that failed before it read anything. Its outcome is
complete, partial (not all is complete), refused (a limit held something back), stopped (requests used up or throttled), skipped (another
cursus process was at work), failed, interrupted, running, or unknown (how its load ended is not recorded). Exit code 1: the
database could not be asked, and what only it knows is unknown.")]
    Status,
    /// Ask the mirror; without a query, open psql on it
    #[command(after_help = "\
Examples:
  cursus sql \"SELECT login, wallet FROM users ORDER BY wallet DESC LIMIT 5\"
  cursus sql --csv \"SELECT * FROM coalitions\" > coalitions.csv
  cursus sql
Nothing changes without --write: each statement runs in a read-only transaction, on the private PostgreSQL as a role that may only
read. On a server of yours a query has the rights of the URL's role, so name one that only reads where others write the queries;
psql begins read only, which there is no boundary. --json gives an array for each statement, a line each.")]
    Sql(SqlArgs),
    /// What differs between two schemas, or the mirror and a run: rows, columns, samples
    #[command(after_help = "\
Examples:
  cursus diff live latest                 where the mirror is not what its staged runs give
  cursus diff 2026-11-20 2026-11-23       what changed at the API between two days
  cursus diff live scratch --table users --key 12345 --show-values
A and B are schemas, `live` (the mirror), or runs: a run's id, a path, or a day or `latest`, the newest run of it that staged
something. A run is what `cursus replay --to RUN` makes of it and all before it, here in a schema of its own, which is dropped
at the end. What a load would do, `cursus load --dry-run` tells. Values of columns are shown with --show-values only.")]
    Diff(DiffArgs),
    /// Where a row comes from: its run, request, page and record, and each column's place in it
    #[command(after_help = "\
Examples:
  cursus explain users 12345
  cursus explain campus_projects campus_id=1,project_id=42 --json")]
    Explain(ExplainArgs),
    /// Look at staged files
    #[command(subcommand)]
    Stage(StageCommand),
    /// Records that do not fit and wait
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Deletes that the guard has held back
    #[command(subcommand)]
    Prune(PruneCommand),
    /// Write pipeline.toml and .env to start from
    #[command(after_help = "Example:\n  mkdir mirror && cd mirror && cursus init")]
    Init(InitArgs),
    /// Check configuration, credentials, API and database, and say what to do
    #[command(
        after_help = "Example:\n  cursus doctor --database-url postgres://me@localhost/mirror"
    )]
    Doctor,
    /// Bring the database's tables up to date (load and run do it by themselves)
    #[command(after_help = "Example:\n  cursus migrate --into scratch")]
    Migrate(MigrateArgs),
    /// What is known of the API token (never the token)
    #[command(subcommand)]
    Token(TokenCommand),
    /// The whole pipeline on a simulated API and a private PostgreSQL
    #[cfg(feature = "simulator")]
    #[command(after_help = "Example:\n  cursus demo --dir /tmp/cursus-demo")]
    Demo(DemoArgs),
    /// A local 42 API with synthetic people, for tests and for people without a key
    #[cfg(feature = "simulator")]
    #[command(after_help = "\
Examples:
  cursus simulate                         prints its address and credentials, runs until Ctrl-C
  cursus simulate --students 400 --rate 20 --latency 300ms
  cursus simulate --rows cursus=cursus.json --rows projects=projects.json")]
    Simulate(Box<SimulateArgs>),
    /// Completions for a shell
    #[command(
        after_help = "Example:\n  cursus completions bash > ~/.local/share/bash-completion/completions/cursus"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// What a run reads.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ReadArgs {
    /// Read everything in full
    #[arg(long)]
    pub(crate) full: bool,
    /// Read what changed since: a time (RFC 3339) or an age such as 2d
    #[arg(long, value_name = "T", value_parser = point_in_time, conflicts_with_all = ["full", "window"])]
    pub(crate) since: Option<Timestamp>,
    /// Read what changed between two times
    #[arg(long, value_name = "START,END", value_parser = window, conflicts_with = "full")]
    pub(crate) window: Option<(Timestamp, Timestamp)>,
    /// Only these resources
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) select: Vec<String>,
    /// All but these resources
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) exclude: Vec<String>,
    /// Ignore `min_age`
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ExtractArgs {
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    /// Stop after so many requests
    #[arg(long, value_name = "N")]
    pub(crate) max_hits: Option<u64>,
    /// Begin anew instead of going on with an unfinished run
    #[arg(long)]
    pub(crate) no_resume: bool,
    /// Stop instead of waiting for the next hour
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) extract: ExtractArgs,
    /// Rebind the schema to this project and API, and say what full reads will delete [default: refuse runs of another one]
    #[arg(long)]
    pub(crate) adopt: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    /// Ask nothing: forecast from what is staged
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// From the start of a round to the start of the next
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub(crate) every: Duration,
    /// Each round begins up to so much later, so that many machines do not ask at once [default: a tenth of --every, 1m at most]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) jitter: Option<Duration>,
    /// End after so many rounds
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<u64>,
    /// Only these resources
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) select: Vec<String>,
    /// All but these resources
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) exclude: Vec<String>,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct LoadArgs {
    /// The run up to which to load [default: every run not loaded yet]
    pub(crate) run: Option<String>,
    /// Load the newest loaded run once more (what a delta does not hold, `run --full` repairs)
    #[arg(long)]
    pub(crate) again: bool,
    /// Only these resources, and those that their rows refer to
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) select: Vec<String>,
    /// Do everything, then roll it back
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Into this schema instead of the configured one
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) into: Option<String>,
    /// Delete without asking the guard
    #[arg(long)]
    pub(crate) allow_prune: bool,
    /// Rebind the schema to these runs' project and API, and say what full reads will delete [default: refuse runs of another one]
    #[arg(long)]
    pub(crate) adopt: bool,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("target").required(true))]
pub(crate) struct ReplayArgs {
    /// From this run on [default: the first that is staged]
    #[arg(long, value_name = "RUN")]
    pub(crate) from: Option<String>,
    /// Up to this run [default: the last that is staged]
    #[arg(long, value_name = "RUN")]
    pub(crate) to: Option<String>,
    /// Only these resources, and those that their rows refer to
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) select: Vec<String>,
    /// Into this schema, which is made
    #[arg(long, value_name = "SCHEMA", group = "target")]
    pub(crate) into: Option<String>,
    /// Into a scratch schema; what differs is then changed in the mirror, in one transaction
    #[arg(long, group = "target")]
    pub(crate) rebuild: bool,
    /// Delete without asking the guard
    #[arg(long)]
    pub(crate) allow_prune: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Overwrite pipeline.toml (.env and .gitignore stay)
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// This schema instead of the configured one
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) into: Option<String>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// When it was made, when it ends, when the client secret ends
    #[command(after_help = "Example:\n  cursus token show --json | jq -r .secret_valid_until")]
    Show,
    /// Ask for a new one
    #[command(after_help = "Example:\n  cursus token refresh")]
    Refresh,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_names_simulate_and_demo_only_where_they_are_built() {
        let help = Cli::command().render_long_help().to_string();
        for name in ["simulate", "demo"] {
            assert_eq!(help.contains(name), cfg!(feature = "simulator"), "{name}");
        }
    }
}
