//! Why a load, or a part of it, did not happen.

use crate::database::{DatabaseError, describe};
use crate::load::other_source::OtherSource;
use crate::migrate::MigrateError;
use crate::printable::Messages;
use crate::staging::StagingError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Staging(#[from] StagingError),
    #[error("the database refused to {doing}")]
    Step {
        /// Such as `merge users`.
        doing: String,
        source: DatabaseError,
    },
    /// The connection ended under a step.
    #[error(
        "the connection to the database was lost ({what}) where it was to {doing}; what was committed is kept, the rest is rolled \
         back and still staged; run the command again"
    )]
    Lost {
        /// Such as `merge users`.
        doing: String,
        what: String,
    },
    #[error(
        "the connection to the database was lost ({what}) before it confirmed the commit: it is done or not, as the load ledger shows; run \
         the command again, which resumes from there and loads nothing twice"
    )]
    InDoubt { what: String },
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error("pipeline.toml and the database disagree:\n  {}", Messages::of(.0))]
    Mismatch(Vec<String>),
    #[error("the database is not ready for this:\n  {}", Messages::of(.0))]
    Lacking(Vec<String>),
    #[error(
        "a dry run changes nothing, and the schema {schema} has still to be migrated ({}); run `cursus migrate` first, with the \
         same --into",
        .pending.join(", ")
    )]
    Unmigrated {
        schema: String,
        pending: Vec<String>,
    },
    #[error(
        "another cursus is loading into the schema {schema}{holder}; wait for it to end, or let this one wait: --wait-lock 10m"
    )]
    Locked {
        schema: String,
        /// What is known of the other one.
        holder: String,
    },
    #[error(
        "a load into another schema and an erasure wait for each other's end; wait for it, or let this command wait: --wait-lock 10m"
    )]
    Erasing,
    #[error(
        "people were erased whom the staged runs would show again: it happened after this command had begun, or staging is from a \
         backup; run `cursus forget --finish`, then this command again"
    )]
    Erased,
    #[error(
        "the run {run} is older than the last one loaded for {resource} ({newest}), and older data never overwrites \
         newer; to see what it gives: cursus replay --to {run} --into NAME"
    )]
    Older {
        run: String,
        /// What it is too old for.
        resource: String,
        newest: String,
    },
    #[error(
        "no record has {}: the API has renamed or dropped it, and NULLs would overwrite good data, so nothing of the \
         resource was loaded; map the column to its new key in pipeline.toml, or to `false`, and load again (first page: \
         {file})",
        .keys.join(", ")
    )]
    Renamed { keys: Vec<String>, file: String },
    #[error(
        "{rejected} of {read} rows of {table} were rejected, more than the quarantine may hold ({allowed}), so nothing of it was loaded; \
         most of them: {why}; if the API has changed, change pipeline.toml or the table to match, and load again; if they are to \
         be quarantined, raise max_rows or max_fraction under [quarantine], or `quarantine` of the table"
    )]
    QuarantineLimit {
        table: String,
        rejected: u64,
        /// Rows that were read, as far as is known.
        read: String,
        allowed: u64,
        /// What is wrong with most of them, and an example's place.
        why: String,
    },
    #[error(
        "{missing} of {rows} rows of {table} were not {doing}, and the database does not say why: {}; drop or disable what \
         holds them up, and load again",
        intercepted(interceptors)
    )]
    Intercepted {
        table: String,
        rows: u64,
        missing: u64,
        /// Such as `deleted`.
        doing: &'static str,
        /// What of the table may be the reason.
        interceptors: Vec<String>,
    },
    #[error("skipped: a resource that its rows refer to was not loaded")]
    Skipped,
    #[error("{0}")]
    OtherSource(Box<OtherSource>),
    #[error(
        "not loaded: its rows come from another {held}, and only a complete full read takes their place; run `cursus run`, which \
         reads in full what it must"
    )]
    Unproven { held: String },
    #[error(
        "not loaded: a resource that its rows refer to is no complete full read of this staging directory"
    )]
    UnprovenParent,
    #[error(
        "the run {run} has a lower number than {newest}, which is loaded, but is younger: the staging directory was \
         replaced; `cursus run` numbers on from the database and reads everything once"
    )]
    Renumbered { run: String, newest: String },
    #[error(
        "the thread that reads staged pages ended early; this is a fault of cursus, please report it"
    )]
    Thread,
}

fn intercepted(interceptors: &[String]) -> String {
    if interceptors.is_empty() {
        return "the table has no trigger, no rule and no row-level security".to_owned();
    }
    format!("the table has {}", interceptors.join(", "))
}

impl LoadError {
    /// Names the step at which the database gave up.
    pub(crate) fn at(doing: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Self {
        let doing = doing.into();
        move |error| match error.into() {
            DatabaseError::Lost { what } => Self::Lost { doing, what },
            source => Self::Step { doing, source },
        }
    }

    /// For the end of a transaction.
    pub(crate) fn at_commit(error: tokio_postgres::Error) -> Self {
        match Self::at("commit")(error) {
            Self::Lost { what, .. } => Self::InDoubt { what },
            error => error,
        }
    }

    /// For a COPY that did not begin: the driver then has its session out of step, which nothing can be done with.
    pub(crate) fn at_copy(doing: String) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |error| Self::Lost {
            doing,
            what: describe(&error),
        }
    }

    /// Returns the reason why the connection was lost, if it is known and was not.
    #[must_use]
    pub(crate) fn with_reason(self, reason: Option<String>) -> Self {
        let with_reason = |what| match (DatabaseError::Lost { what }).with_reason(reason) {
            DatabaseError::Lost { what } => what,
            other => other.to_string(),
        };
        match self {
            Self::Lost { doing, what } => Self::Lost {
                doing,
                what: with_reason(what),
            },
            Self::InDoubt { what } => Self::InDoubt {
                what: with_reason(what),
            },
            error => error,
        }
    }

    /// Whether the connection is lost, so that nothing else can be tried.
    pub(crate) fn is_connection_lost(&self) -> bool {
        matches!(
            self,
            Self::Lost { .. }
                | Self::InDoubt { .. }
                | Self::Database(DatabaseError::Lost { .. })
                | Self::Migrate(MigrateError::Database(DatabaseError::Lost { .. }))
        )
    }
}
