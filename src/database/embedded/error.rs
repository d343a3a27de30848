//! What can go wrong with a private cluster, as sentences.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::trusted::Untrusted;

/// How long to wait for another process, the end of an old server or the recovery of a killed one.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);

/// Why there is no private cluster.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum EmbeddedError {
    #[error(
        "PostgreSQL's server programs (initdb, postgres) were not found; install them ({install}), or fetch them \
         into your home without an administrator (`sh scripts/ensure-postgres.sh` in the sources of cursus), or name their directory in \
         CURSUS_PG_BIN, or name a server that you have in CURSUS_DATABASE_URL"
    )]
    NoBinaries { install: String },
    #[error("{} holds no working initdb and postgres; correct CURSUS_PG_BIN, or unset it", path.display())]
    NamedBinaries { path: PathBuf },
    #[error("PostgreSQL {version} in {} is too old; install {oldest} or newer, or name its directory in CURSUS_PG_BIN", path.display())]
    TooOld {
        path: PathBuf,
        version: u32,
        oldest: u32,
    },
    #[error(
        "the cluster was made by PostgreSQL {wanted}, but {} is {version}; install {wanted}, or remove the cluster and fill a new \
         one from the staging directory with `cursus replay`",
        path.display()
    )]
    OtherVersion {
        path: PathBuf,
        version: u32,
        wanted: u32,
    },
    #[error(
        "PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`; create one, or run as another user"
    )]
    NoUser,
    #[error("{} {why}", path.display())]
    Refused { path: PathBuf, why: &'static str },
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    #[error("cannot {what} {}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{program} failed in {}: {reason}", path.display())]
    Failed {
        program: &'static str,
        path: PathBuf,
        reason: String,
    },
    #[error("waited {}s for {what} in {}; look at postgres.log there, and end the process that hangs", PATIENCE.as_secs(), path.display())]
    Timeout { what: &'static str, path: PathBuf },
}

/// Builds the error of a refused system call: `cannot {what} {path}`.
pub(super) fn doing(what: &'static str, path: &Path, source: io::Error) -> EmbeddedError {
    EmbeddedError::Io {
        what,
        path: path.to_path_buf(),
        source,
    }
}

pub(super) fn last_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let mut lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines.sort_by_key(|line| line.contains("FATAL") || line.contains("error:"));
    lines
        .pop()
        .unwrap_or("it gave no reason")
        .trim()
        .chars()
        .flat_map(char::escape_debug)
        .collect()
}
