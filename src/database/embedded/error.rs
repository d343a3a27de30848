//! What can go wrong with a private cluster, as sentences.

use std::io;
use std::path::{Path, PathBuf};

use super::PATIENCE;
use crate::trusted::Untrusted;

/// Why there is no private cluster.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// No server programs on this machine.
    #[error(
        "PostgreSQL's server programs (initdb, postgres) were not found; install them ({install}), or fetch them \
         into your home without an administrator (`sh scripts/ensure-postgres.sh` in the sources of cursus), or name their directory in \
         CURSUS_PG_BIN, or name a server that you have in CURSUS_DATABASE_URL"
    )]
    NoBinaries {
        /// The command for this system.
        install: String,
    },
    /// A directory was named that does not hold working programs.
    #[error("{} holds no working initdb and postgres; correct CURSUS_PG_BIN, or unset it", path.display())]
    NamedBinaries {
        /// The directory.
        path: PathBuf,
    },
    /// The programs are too old for us.
    #[error("PostgreSQL {version} in {} is too old; install {oldest} or newer, or name its directory in CURSUS_PG_BIN", path.display())]
    TooOld {
        /// The directory of the programs.
        path: PathBuf,
        /// Its major version.
        version: u32,
        /// The oldest one that will do.
        oldest: u32,
    },
    /// The files were made by another major version.
    #[error(
        "the cluster was made by PostgreSQL {wanted}, but {} is {version}; install {wanted}, or remove the cluster and fill a new \
         one from the staging directory with `cursus replay`",
        path.display()
    )]
    OtherVersion {
        /// The directory of the programs.
        path: PathBuf,
        /// Their major version.
        version: u32,
        /// The version of the files.
        wanted: u32,
    },
    /// We are root, and there is no user to run the server as.
    #[error(
        "PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`; create one, or run as another user"
    )]
    NoUser,
    /// A path that cannot be trusted or used.
    #[error("{} {why}", path.display())]
    Refused {
        /// The path.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: &'static str,
    },
    /// Somebody else could have written it.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// The operating system said no.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What we tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The server, or the program that makes a cluster, gave up.
    #[error("{program} failed in {}: {reason}", path.display())]
    Failed {
        /// Which program.
        program: &'static str,
        /// The cluster's directory.
        path: PathBuf,
        /// The last line that it wrote.
        reason: String,
    },
    /// Something took too long.
    #[error("waited {}s for {what} in {}; look at postgres.log there, and end the process that hangs", PATIENCE.as_secs(), path.display())]
    Timeout {
        /// What we waited for.
        what: &'static str,
        /// The cluster's directory.
        path: PathBuf,
    },
}

/// Builds the error of a refused system call: `cannot {what} {path}`.
pub(super) fn doing(what: &'static str, path: &Path, source: io::Error) -> EmbeddedError {
    EmbeddedError::Io {
        what,
        path: path.to_path_buf(),
        source,
    }
}
