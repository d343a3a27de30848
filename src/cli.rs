//! The command line as clap types: what was typed, nothing resolved.

mod export;
mod global;
mod load;
mod look;
mod read;
mod repair;
mod setup;
#[cfg(feature = "simulator")]
mod simulate;
mod values;
mod watch;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use export::BundleArgs;
pub(crate) use global::{Global, LogFormat};
pub(crate) use load::LoadArgs;
#[cfg(feature = "parquet")]
pub(crate) use look::ExportArgs;
pub(crate) use look::{
    ChangesArgs, CheckArgs, DiffArgs, ExplainArgs, GcArgs, RunsArgs, SchemaArgs, SchemaFormat,
    ServeArgs, SqlArgs, StageCommand, StatusArgs,
};
pub(crate) use read::{ExtractArgs, PlanArgs, ReadArgs, RunArgs};
pub(crate) use repair::{
    ForgetArgs, HistoryCommand, PruneCommand, QuarantineCommand, ReplayArgs, SubjectArgs,
};
pub(crate) use setup::{InitArgs, MigrateArgs, PackCommand, TokenCommand, UnitArgs};
#[cfg(feature = "simulator")]
pub(crate) use simulate::{DemoArgs, SimulateArgs, WindowKind};

pub(crate) use values::{MaxAge, since};
pub(crate) use watch::WatchArgs;

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
    after_help = format!("{WITHOUT_A_KEY}\
Mirror your campus:     cursus init; edit .env and pipeline.toml; cursus doctor; cursus run
Ask the mirror:         cursus sql \"SELECT COUNT(*) FROM users\"

Exit codes:
  0 finished · 1 failed · 2 usage or configuration · 3 finished, with incomplete resources or quarantined rows
  4 refused or held back by a limit · 5 lock held by another process · 6 requests used up or throttled, resumable
  129/130/143 interrupted by a signal; 0 while a service waits. `cursus check` has codes of its own.")
)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Parses the command line of this process; `--version` prints `version`.
    ///
    /// # Errors
    ///
    /// What clap says of a command line that is not understood, or the help or version that it asks for.
    pub fn of_process(version: &'static str) -> Result<Self, clap::Error> {
        let mut command = Self::command().version(version);
        let matches = command.try_get_matches_from_mut(std::env::args_os())?;
        if matches.subcommand_name() == Some("version") {
            command.try_get_matches_from_mut(["cursus", "--version"])?;
        }
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Extract the API into staging (needs no database)
    #[command(after_help = "\
Examples:
  cursus extract                          deltas; full reads the first time and where they are due
  cursus extract --select users --full    all users
  cursus extract --since 2d --no-wait     the last two days, until this hour's requests are used up")]
    Extract(ExtractArgs),
    /// Load staged runs into the mirror (needs no network)
    #[command(after_help = "\
Examples:
  cursus load                             every run that is not loaded yet, in order
  cursus load latest --dry-run            print what would change, then roll back
  cursus load 2026-11-23 --into scratch   a past day into another schema
  cursus load --from s3://bucket/mirror   runs that were pushed there, on any machine
RUN is a run id, a path, a day, or `latest`; the last two mean the newest run that staged something.")]
    Load(LoadArgs),
    /// Replay staged runs into another schema, or rebuild the mirror from them (needs no network)
    #[command(after_help = "\
Examples:
  cursus replay --to 2026-11-23 --into past    the mirror as it was that day, in another schema
  cursus replay --rebuild                      today's mapping and migrations, applied to all that is staged
  cursus replay --plan                         the same in jobs: lists groups; each is `cursus replay --group N`,
                                               and `cursus replay --finish` comes last, all with the same options
A schema of an earlier replay continues after its last run; any other must be empty. RUN is as for `load`.")]
    Replay(ReplayArgs),
    /// Extract, then load
    #[command(after_help = "\
Examples:
  cursus run                              the nightly job: deltas, full reads where they are due
  cursus run --json -q                    the same from cron, with a summary for programs")]
    Run(RunArgs),
    /// Forecast what a run would read and why, its requests (hits) and its duration
    #[command(after_help = "\
Examples:
  cursus plan                             requests one row of each resource to learn its size
  cursus plan --offline                   from earlier runs, without a request
  cursus plan --full --select users       the cost of a full read of users
  cursus plan --pack locations            what the pack would cost on top
`plan` does not look at the database; `cursus run` also reads in full what the database lacks.")]
    Plan(PlanArgs),
    /// Run at an interval, as a service
    #[command(after_help = "\
Examples:
  cursus watch --every 15m                a delta every 15 minutes, until Ctrl-C or SIGTERM
  cursus watch --every 15m --json -q      the same as a service: one JSON document a round on stdout
Each round reads the configuration and .env again; SIGHUP does so at once and logs what has changed. systemd is notified of
readiness, status and liveness. Old runs that are no longer needed are removed after each round that loaded something.")]
    Watch(WatchArgs),
    /// Show the last run, what is staged, what is loaded, and its age
    #[command(after_help = "\
Examples:
  cursus status
  cursus status --json | jq '.resources[] | select(.age_s > 86400)'
  cursus status --json | jq -e '.last_run.outcome == \"complete\"'
The last run is the last `extract`, `run` or round of `watch`, even if it failed before it read anything. Its outcome is complete,
partial (incomplete resources or quarantined rows), refused (held back by a limit), stopped (requests used up or throttled),
skipped (another cursus process held the lock), failed, interrupted, running, or unknown (the end of its load is not recorded).
--prometheus writes metrics in the place of the text, by rename, for the text file collector of node_exporter.
Exit code 1: the database could not be reached, and what only it holds is unknown and left out, or the file could not be
written.")]
    Status(StatusArgs),
    /// Check the mirror for a monitoring system: one line, and an exit code of its own
    #[command(after_help = "\
Examples:
  cursus check                            last run, ages, secret, held deletes, quarantine, disk, database
  cursus check --max-age 2h --max-age users=30m --max-age cursus_users:ongoing=15m
Exit codes of this command, by the convention of monitoring plugins, and not those of the others:
  0 OK · 1 WARNING · 2 CRITICAL · 3 UNKNOWN (also wrong usage, and a directory without a project)
Without --max-age a read may be 26 h old, and in addition as old as its `every` or `min_age` lets it become before it is due; a
limit warns, and twice the limit is critical. The last run: failed is critical; partial, refused, stopped, interrupted, skipped and
unknown warn. The client secret: 7 days left warn, one is critical. Free disk: 2 GiB and 512 MiB. Held deletes and more than 20
quarantined rows warn. A database that does not answer is critical. Performance data follows `|`. Nothing is changed, and no
request is sent.")]
    Check(CheckArgs),
    /// List past runs and loads, newest first, or show one run
    #[command(after_help = "\
Examples:
  cursus runs
  cursus runs latest                      its commands, resources and tables
  cursus runs --limit 100 --json | jq '.runs[] | select(.exit_code != 0)'
RUN is as for `load`, and may have been removed since. A command that was killed has no line of its own: its run does.")]
    Runs(RunsArgs),
    /// Show the mirror in a browser: status, runs, decisions, campus, metrics
    #[command(after_help = "\
Examples:
  cursus serve                            http://127.0.0.1:4280, until Ctrl-C or SIGTERM
  cursus serve --listen 0.0.0.0:4280 --token-file token --host mirror.example.org
Pages are read only and made of staging and database: a page view sends the API no request. --json prints one document with the
address once it is bound. Without a token file every user of this machine can open the pages. With one, each page but /healthz needs
its content, as `Authorization: Bearer TOKEN` or by the form of /login; the file is read at each request, so a new token counts at once.
systemd is notified of readiness and liveness.")]
    Serve(ServeArgs),
    /// Query the mirror; without a query, open psql
    #[command(after_help = "\
Examples:
  cursus sql \"SELECT login, wallet FROM users ORDER BY wallet DESC LIMIT 5\"
  cursus sql --csv \"SELECT * FROM coalitions\" > coalitions.csv
  cursus sql
Nothing changes without --write: each statement runs in a read-only transaction, on the private PostgreSQL as a role that may only
read. On your own server a query has the rights of the role in the URL: name a read-only role if others write the queries. psql
starts read only, but can switch that off. --json prints one array per statement, one per line.")]
    Sql(SqlArgs),
    /// Compare two schemas or runs: rows, columns, samples
    #[command(after_help = "\
Examples:
  cursus diff live latest                 where the mirror differs from its staged runs
  cursus diff 2026-11-20 2026-11-23       what changed at the API between two days
  cursus diff live scratch --table users --key 12345 --show-values
A and B are schemas, `live` (the mirror), or runs as for `load`. A run stands for the state after it and all runs before it, as
`cursus replay --to RUN` gives it, in a temporary schema that is dropped at the end. `cursus load --dry-run` shows what a load
would do. Values of columns are printed with --show-values only.")]
    Diff(DiffArgs),
    /// Show where a row comes from: its run, request, page and record, and the field of each column
    #[command(after_help = "\
Examples:
  cursus explain users 12345
  cursus explain campus_projects campus_id=1,project_id=42 --json
  cursus explain users 12345 --at 2026-10-01")]
    Explain(ExplainArgs),
    /// Show what loads have changed, row by row, with before and after
    #[command(after_help = "\
Examples:
  cursus changes --since 24h              who changed since yesterday
  cursus changes --table users --key 123  the changes of one row
  cursus changes --follow --json --consumer search | ./index
Tables and columns are named in [changes] of pipeline.toml. A change is what differs between two loads. A line begins with the number
of the change; `+` came, `-` was deleted, `→` differs. Values of rows are printed, which can be personal. --json prints one CloudEvents
1.0 event a line. --consumer stores the position when the lines are written: after a crash some come again, none is left out.
Exit code 4: changes since the position are not kept any more, or were never there; nothing is skipped.")]
    Changes(ChangesArgs),
    /// Describe the mirror's tables: documentation, types and schemas for other programs
    #[command(after_help = "\
Examples:
  cursus schema --format prisma > schema.prisma
  cursus schema --format typescript > mirror.ts
  cursus schema --json | jq '.tables[] | select(.name == \"users\") | .columns'
It describes what the database holds now, your own tables and views included, and reads no rows. References without a foreign key are
marked as such: their target can be missing. With Prisma, read only: cursus makes the tables.")]
    Schema(SchemaArgs),
    /// Write a bundle of the mirror without its people, for those who may not have them: CSV, SQLite, DuckDB, Parquet
    #[command(after_help = "\
Examples:
  cursus export --profile public --format sqlite bundle
  cursus export bundle && zip -r bundle.zip bundle
A profile, sql/export/PROFILE.toml, names the columns that are handed out; with `packs = true`, export/PROFILE.toml of each pack that is
on names more. What [person] of pipeline.toml calls personal is never handed out. Ids of people are hashes, the same in all tables of
a bundle, by a key that nobody keeps: no two bundles can be joined. People who were erased or anonymised are left out. bundle.json has
the serial, the schema, the counts and the age of each table. k-anonymity is not promised: who knows enough of a person can find the
rows.")]
    Export(BundleArgs),
    /// Inspect and clean up staged files
    #[command(subcommand)]
    Stage(StageCommand),
    /// Inspect and settle quarantined rows
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Review and approve deletes held by the prune limit
    #[command(subcommand)]
    Prune(PruneCommand),
    /// List packs of further resources, tables and views, and print their files
    #[command(subcommand)]
    Pack(PackCommand),
    /// Rebuild the history of rows from the staged runs
    #[command(subcommand)]
    History(HistoryCommand),
    /// Erase people from staging and from the mirror: ids stay, personal values become null; --drop removes records and rows
    #[command(after_help = "\
Examples:
  cursus forget 12345 --dry-run           every place, and how many records or rows there are
  cursus forget 12345 12346
  cursus forget 12345 --drop              remove the records and rows of the person, and the id elsewhere
  cursus forget --anonymised              everybody whom the API has anonymised
  cursus forget --finish                  finish what was interrupted, and erase what a backup has brought back
[person] of pipeline.toml says where people are. The erasure ledger, in staging and in the database, holds a keyed hash of each id:
who is in it stays blank or removed in all that is read, loaded and replayed, also from an old backup. Copies that were handed out, backups,
WAL and snapshots of file systems are not reached. Exit code 2: nothing is held of these people, and nothing was recorded.")]
    Forget(ForgetArgs),
    /// Print all that is held of a person, with the personal values
    #[command(after_help = "\
Examples:
  cursus subject 12345
  cursus subject 12345 --json > 12345.json
Rows of the mirror, quarantined rows and held deletes by their keys, and staged records with run, file and place. Other people in
such a record are blank. Exit code 3: nothing is held of the person.")]
    Subject(SubjectArgs),
    /// Create pipeline.toml and .env in this directory
    ///
    /// At a terminal it asks for the keys, the ids of the scope and the database, tries each answer (one request for a token, one
    /// for each variable of the scope), and writes the files after the last one. Without a terminal it asks nothing.
    #[command(after_help = "\
Examples:
  mkdir mirror && cd mirror && cursus init
  cursus init --yes --scope campus_ids=9,12
  cursus init --systemd units             the same, and systemd units for this directory and user")]
    Init(InitArgs),
    /// Check configuration, credentials, API and database, and say what to do
    #[command(
        after_help = "Example:\n  cursus doctor --database-url postgres://me@localhost/mirror"
    )]
    Doctor,
    /// Apply pending migrations to the database (`load` and `run` do so by themselves)
    #[command(after_help = "Example:\n  cursus migrate --into scratch")]
    Migrate(MigrateArgs),
    /// Show or refresh the API token (its value is never printed)
    #[command(subcommand)]
    Token(TokenCommand),
    /// Run the full pipeline on a simulated API and a private PostgreSQL
    #[cfg(feature = "simulator")]
    #[command(after_help = "Example:\n  cursus demo --dir /tmp/cursus-demo")]
    Demo(DemoArgs),
    /// Serve a simulated 42 API with synthetic people, for tests and for people without a key
    #[cfg(feature = "simulator")]
    #[command(after_help = "\
Examples:
  cursus simulate                         print address and credentials, serve until Ctrl-C
  cursus simulate --students 400 --rate 20 --latency 300ms
  cursus simulate --rows cursus=cursus.json --rows projects=projects.json")]
    Simulate(Box<SimulateArgs>),
    /// Print completions for a shell
    #[command(
        after_help = "Example:\n  cursus completions bash > ~/.local/share/bash-completion/completions/cursus"
    )]
    Completions {
        /// Shell to complete for
        shell: clap_complete::Shell,
    },
    /// Print the version
    #[command(after_help = "Example:\n  cursus version")]
    Version,
}

impl Command {
    /// As it is typed, without its arguments; other processes see it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Extract(_) => "extract",
            Self::Load(_) => "load",
            Self::Replay(_) => "replay",
            Self::Run(_) => "run",
            Self::Plan(_) => "plan",
            Self::Watch(_) => "watch",
            Self::Status(_) => "status",
            Self::Check(_) => "check",
            Self::Runs(_) => "runs",
            Self::Serve(_) => "serve",
            Self::Sql(_) => "sql",
            Self::Diff(_) => "diff",
            Self::Explain(_) => "explain",
            Self::Changes(_) => "changes",
            Self::Schema(_) => "schema",
            Self::Export(_) => "export",
            Self::Stage(StageCommand::Gc(_)) => "stage gc",
            #[cfg(feature = "remote")]
            Self::Stage(StageCommand::Push { .. }) => "stage push",
            #[cfg(feature = "remote")]
            Self::Stage(StageCommand::Pull { .. }) => "stage pull",
            #[cfg(feature = "parquet")]
            Self::Stage(StageCommand::Export(_)) => "stage export",
            Self::Stage(_) => "stage",
            Self::Quarantine(QuarantineCommand::Retry { .. }) => "quarantine retry",
            Self::Quarantine(_) => "quarantine",
            Self::Prune(PruneCommand::Approve { .. }) => "prune approve",
            Self::Prune(_) => "prune",
            Self::Pack(_) => "pack",
            Self::History(_) => "history",
            Self::Forget(_) => "forget",
            Self::Subject(_) => "subject",
            Self::Init(_) => "init",
            Self::Doctor => "doctor",
            Self::Migrate(_) => "migrate",
            Self::Token(_) => "token",
            #[cfg(feature = "simulator")]
            Self::Demo(_) => "demo",
            #[cfg(feature = "simulator")]
            Self::Simulate(_) => "simulate",
            Self::Completions { .. } => "completions",
            Self::Version => "version",
        }
    }

    /// Whether it changes something: what it prints is a summary, which `-q` leaves out. Any other command prints what it was asked
    /// for.
    pub(crate) fn is_work(&self) -> bool {
        match self {
            Self::Extract(_)
            | Self::Load(_)
            | Self::Replay(_)
            | Self::Run(_)
            | Self::Watch(_)
            | Self::Export(_)
            | Self::Init(_)
            | Self::Migrate(_)
            | Self::Stage(StageCommand::Gc(_))
            | Self::Quarantine(QuarantineCommand::Retry { .. } | QuarantineCommand::Drop { .. })
            | Self::Prune(PruneCommand::Approve { .. })
            | Self::History(_)
            | Self::Token(TokenCommand::Refresh) => true,
            #[cfg(feature = "remote")]
            Self::Stage(StageCommand::Push { .. } | StageCommand::Pull { .. }) => true,
            #[cfg(feature = "parquet")]
            Self::Stage(StageCommand::Export(_)) => true,
            #[cfg(feature = "simulator")]
            Self::Demo(_) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
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
