//! Why a load, or a part of it, did not happen.

use crate::database::DatabaseError;
use crate::migrate::MigrateError;
use crate::staging::StagingError;

/// Why something was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The staged files cannot be read.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// The database refused a step.
    #[error("the database refused to {doing}")]
    Step {
        /// Such as `merge users`.
        doing: String,
        /// Why.
        source: DatabaseError,
    },
    /// The database is not there, or gone.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The schema cannot be brought up to date.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// `pipeline.toml` and the database disagree.
    #[error("pipeline.toml and the database disagree:\n  {}", .0.join("\n  "))]
    Mismatch(Vec<String>),
    /// Another process loads into this schema.
    #[error(
        "another cursus is loading into the schema {schema}{holder}; wait for it to end, or let this one wait: --wait-lock 10m"
    )]
    Locked {
        /// The schema.
        schema: String,
        /// What is known of the other one.
        holder: String,
    },
    /// The run is older than what is loaded.
    #[error(
        "the run {run} is older than the last one loaded for {resource} ({newest}), and older data never overwrites \
         newer; to see what it gives: cursus replay --to {run} --into NAME"
    )]
    Older {
        /// The run that was asked for.
        run: String,
        /// What it is too old for.
        resource: String,
        /// The newest loaded run.
        newest: String,
    },
    /// More rows do not fit than may wait.
    #[error(
        "{unfit} of {read} rows of {table} do not fit, more than may wait in quarantine ({allowed}), so nothing of it was loaded; \
         most of them: {why}; if the API has changed, change pipeline.toml or the table to match, and load again; if they are to \
         wait, raise max_rows or max_fraction under [quarantine], or `quarantine` of the table"
    )]
    Budget {
        /// The table.
        table: String,
        /// Rows that do not fit, as far as they were read.
        unfit: u64,
        /// Rows that were read, as far as is known.
        read: String,
        /// How many may wait.
        allowed: u64,
        /// What is wrong with most of them, and an example's place.
        why: String,
    },
    /// What it needs was not loaded.
    #[error("it waits: a resource that its rows refer to was not loaded")]
    Waits,
    /// The staging directory is not the one that was loaded from.
    #[error(
        "the run {run} has a lower number than {newest}, which is loaded, but is younger: the staging directory was \
         replaced; `cursus run` numbers on from the database and reads everything once"
    )]
    Renumbered {
        /// A staged run.
        run: String,
        /// The newest loaded run.
        newest: String,
    },
    /// The reading thread ended without an answer.
    #[error(
        "the thread that reads staged pages ended early; this is a fault of cursus, please report it"
    )]
    Thread,
}

impl LoadError {
    /// Names the step at which the database gave up.
    pub(super) fn at(doing: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Self {
        let doing = doing.into();
        move |error| Self::Step {
            doing,
            source: error.into(),
        }
    }

    /// Whether the connection is gone, so that nothing else can be tried.
    pub fn is_connection_lost(&self) -> bool {
        matches!(
            self,
            Self::Database(DatabaseError::Lost { .. })
                | Self::Step {
                    source: DatabaseError::Lost { .. },
                    ..
                }
        )
    }
}
