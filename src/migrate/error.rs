//! Why a database was not migrated, as sentences.

use std::path::PathBuf;
use std::time::Duration;

use super::names::{FIRST_LOCAL, HISTORY, LEDGER_SCHEMA};
use crate::database::DatabaseError;
use crate::trusted::Untrusted;

#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrateError {
    #[error(
        "the schema {LEDGER_SCHEMA} holds the load ledger of cursus; choose another schema for the mirror"
    )]
    Reserved,
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    #[error("{} is not named like a migration; name it V1000__what_it_does.sql, or move it elsewhere", path.display())]
    Name { path: PathBuf },
    #[error("{} has the number of {other}, but other content; give it a number of its own, from V{FIRST_LOCAL} on", path.display())]
    Conflict { path: PathBuf, other: String },
    #[error("{} is not named like a migration; name it V1__what_it_does.sql, or move it elsewhere", path.display())]
    PackName { path: PathBuf },
    #[error("a migration of the pack {pack} cannot be read: {fault}")]
    Unreadable { pack: String, fault: String },
    #[error("{} has the number of {other}; give it one of its own", path.display())]
    Twice { path: PathBuf, other: String },
    #[error("{file} makes `{name}`, which {other} makes too; choose another name")]
    Taken {
        file: String,
        name: String,
        other: String,
    },
    #[error("{} has a number that is kept for cursus; give it one from V{FIRST_LOCAL} on", path.display())]
    Kept { path: PathBuf },
    #[error(
        "the schema {schema} is newer than this cursus (it has {applied}); update cursus, or choose another schema"
    )]
    Newer { schema: String, applied: String },
    #[error(
        "{schema}.{HISTORY} holds migrations of another program (such as {applied}); choose another schema (`schema` under \
         [database]), which cursus has for itself"
    )]
    OtherProgram { schema: String, applied: String },
    #[error(
        "{applied} was applied to the schema {schema}, but {file} is different; restore the file, and change the schema by a new one"
    )]
    Divergent {
        schema: String,
        applied: String,
        file: String,
    },
    #[error(
        "{applied} was applied to the schema {schema}, but its file is missing; restore it in {place}"
    )]
    Missing {
        schema: String,
        applied: String,
        place: String,
    },
    #[error(
        "{file} comes before migrations that the schema {schema} already has; give it a higher number"
    )]
    Late { schema: String, file: String },
    #[error(
        "waited {} for another process that migrates this database{holder}; let it end, or let this one wait longer: --wait-lock 10m",
        crate::convert::took(*.waited)
    )]
    Busy { waited: Duration, holder: String },
    #[error("the schema {schema} was not migrated: {why}")]
    Refused {
        schema: String,
        /// What is in the way, and what to do.
        why: String,
    },
    #[error("the schema {schema} was not migrated: {step} ({what})")]
    Failed {
        schema: String,
        step: String,
        what: String,
    },
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<tokio_postgres::Error> for MigrateError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}
