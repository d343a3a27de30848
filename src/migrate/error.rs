//! Why a database was not migrated, as sentences.

use std::path::PathBuf;
use std::time::Duration;

use super::{FIRST_LOCAL, HISTORY, LEDGER_SCHEMA};
use crate::database::DatabaseError;
use crate::trusted::Untrusted;

/// Why a database was not migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The mirror cannot share the schema of the load ledger.
    #[error(
        "the schema {LEDGER_SCHEMA} holds the load ledger of cursus; choose another schema for the mirror"
    )]
    Reserved,
    /// The folder or a file of it cannot be read, or somebody else could have written it.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// A file name that is no migration's.
    #[error("{} is not named like a migration; name it V1000__what_it_does.sql, or move it elsewhere", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// Two migrations share a number.
    #[error("{} has the number of {other}, but other content; give it a number of its own, from V{FIRST_LOCAL} on", path.display())]
    Conflict {
        /// The user's file.
        path: PathBuf,
        /// The migration with that number.
        other: String,
    },
    /// A number below V1000 that no migration of ours has.
    #[error("{} has a number that is kept for cursus; give it one from V{FIRST_LOCAL} on", path.display())]
    Kept {
        /// The user's file.
        path: PathBuf,
    },
    /// The database knows a later migration of ours.
    #[error(
        "the schema {schema} is newer than this cursus (it has {applied}); update cursus, or choose another schema"
    )]
    Newer {
        /// The schema.
        schema: String,
        /// Its newest migration.
        applied: String,
    },
    /// Its history knows none of ours.
    #[error(
        "{schema}.{HISTORY} holds migrations of another program (such as {applied}); choose another schema (`schema` under \
         [database]), which cursus has for itself"
    )]
    OtherProgram {
        /// The schema.
        schema: String,
        /// One of theirs.
        applied: String,
    },
    /// An applied migration was edited or replaced.
    #[error(
        "{applied} was applied to the schema {schema}, but {file} is different; restore the file, and change the schema by a new one"
    )]
    Divergent {
        /// The schema.
        schema: String,
        /// What its history says.
        applied: String,
        /// What we have under that number.
        file: String,
    },
    /// An applied migration has no file any more.
    #[error(
        "{applied} was applied to the schema {schema}, but its file is gone; restore it in migrations/mirror beside the pipeline.toml in use"
    )]
    Missing {
        /// The schema.
        schema: String,
        /// What its history says.
        applied: String,
    },
    /// A migration with a number below one that is applied.
    #[error(
        "{file} comes before migrations that the schema {schema} already has; give it a higher number"
    )]
    Late {
        /// The schema.
        schema: String,
        /// The migration.
        file: String,
    },
    /// Another process migrates for too long.
    #[error(
        "waited {} for another process that migrates this database{holder}; let it end, or let this one wait longer: --wait-lock 10m",
        humantime::format_duration(*.waited)
    )]
    Busy {
        /// How long.
        waited: Duration,
        /// What is known of the other one.
        holder: String,
    },
    /// A migration would break something that people have made.
    #[error("the schema {schema} was not migrated: {why}")]
    Refused {
        /// The schema.
        schema: String,
        /// What is in the way, and what to do.
        why: String,
    },
    /// A migration failed, and nothing of it stays.
    #[error("the schema {schema} was not migrated: {step} ({what})")]
    Failed {
        /// The schema.
        schema: String,
        /// What was being done.
        step: String,
        /// Code and names of the database's error.
        what: String,
    },
    /// The database was not usable.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<tokio_postgres::Error> for MigrateError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}
