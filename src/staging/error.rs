//! What can be wrong with staged files.

use std::path::PathBuf;

use crate::trusted::Untrusted;

/// What to do about a resource whose files are not those that were staged.
pub(super) const EXTRACT_AGAIN: &str =
    "extract this resource again (`cursus extract --full --select …`)";

/// What can be wrong with staged files.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StagingError {
    #[error("cannot {doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: {problem}; {advice}", path.display())]
    Broken {
        path: PathBuf,
        problem: String,
        advice: &'static str,
    },
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    #[error("{0}")]
    NoRun(String),
    #[error(
        "another cursus is writing to {}: {holder}; wait for it to end, or let this one wait: --wait-lock 10m",
        path.display()
    )]
    Locked { path: PathBuf, holder: String },
}

impl StagingError {
    pub(crate) fn broken(
        path: impl Into<PathBuf>,
        problem: impl Into<String>,
        advice: &'static str,
    ) -> Self {
        Self::Broken {
            path: path.into(),
            problem: problem.into(),
            advice,
        }
    }
}
