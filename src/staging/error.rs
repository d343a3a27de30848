//! What can be wrong with staged files.

use std::path::PathBuf;

use crate::trusted::Untrusted;

/// What to do about a resource whose files are not those that were staged.
pub(super) const EXTRACT_AGAIN: &str =
    "extract this resource again (`cursus extract --full --select …`)";

/// What can be wrong with staged files.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// The operating system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried, such as `write`.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {problem}; {advice}", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        advice: &'static str,
    },
    /// Somebody else could have written it.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// No run fits what was asked for.
    #[error("{0}")]
    NoRun(String),
    /// Another process is writing.
    #[error(
        "another cursus is writing to {}: {holder}; wait for it to end, or let this one wait: --wait-lock 10m",
        path.display()
    )]
    Locked {
        /// The staging directory.
        path: PathBuf,
        /// Its process, subcommand and start.
        holder: String,
    },
}
