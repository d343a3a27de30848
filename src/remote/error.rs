//! What can be wrong with an object store. The errors of its client can hold URLs, signatures and account names: no text of theirs
//! is repeated, only a status and the store's own code.

use super::http::Answers;
use crate::staging::StagingError;

/// Where nothing was asked, or only a machine's own metadata service would have been.
pub(super) const NO_CREDENTIALS: &str = "there are no usable credentials; set the store's variables (such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)";

/// What can be wrong with an object store, or with what is in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error("{0}")]
    Url(String),
    #[error("cannot {doing} {path}: {problem}")]
    Store {
        doing: &'static str,
        path: String,
        problem: String,
    },
    #[error("stopped at {path}")]
    Stopped {
        path: String,
        source: std::io::Error,
    },
    #[error(
        "{path} is there with other content: SHA-256 {theirs}, here {ours}; nothing was overwritten; one of the two is not of this run: move \
         it away, or use another URL"
    )]
    Conflict {
        path: String,
        ours: String,
        theirs: String,
    },
    #[error(
        "{url} overwrites objects although it was asked not to (it ignores `If-None-Match`), so a run there would not be safe; nothing was \
         copied; use a store that supports conditional writes"
    )]
    Overwrites { url: String },
    #[error(
        "{url} holds the runs of another staging directory ({theirs}, here {ours}); nothing was copied; use another URL, or the staging \
         directory that it was pushed from"
    )]
    OtherStaging {
        url: String,
        ours: String,
        theirs: String,
    },
    #[error(
        "{url} has another erasure ledger than {here}: SHA-256 {theirs}, here {ours}; nothing was replaced; {advice}"
    )]
    OtherLedger {
        url: String,
        here: String,
        ours: String,
        theirs: String,
        advice: &'static str,
    },
    #[error(
        "an erasure is under way or was interrupted, and nothing was copied; wait for it, or `cursus forget --finish` finishes it"
    )]
    OpenErasure,
    #[error(
        "the run {run} in {url} has the number {seq}, as the run {other} here has; nothing was copied; one of them comes from another \
         staging directory"
    )]
    SameNumber {
        url: String,
        run: String,
        other: String,
        seq: u64,
    },
    #[error(
        "the run {run} was not published in {url}: another cursus process changed the store during the push ({what}); push from one \
         machine at a time, and push again"
    )]
    Disturbed {
        url: String,
        run: String,
        what: String,
    },
    #[error("{path}: {problem}; push the run again from the staging directory that has it")]
    Damaged { path: String, problem: String },
    #[error("there is no run in {url}; `cursus stage push` copies runs there")]
    Empty { url: String },
    #[error("a thread that reads files ended early; this is a fault of cursus, please report it")]
    Thread,
    #[error(transparent)]
    Staging(#[from] StagingError),
}

impl RemoteError {
    /// Of the store's client.
    pub(super) fn of_store(
        doing: &'static str,
        path: String,
        error: &object_store::Error,
        answers: &Answers,
    ) -> Self {
        use object_store::Error as E;
        let problem = match error {
            E::NotFound { .. } if answers.lacks_bucket() => {
                "there is no such bucket or container; check the URL, or make it".to_owned()
            }
            E::NotFound { .. } => "it is not there".to_owned(),
            E::PermissionDenied { .. } => {
                "the credentials have no right to do so; check the policy of the bucket, and whether they have expired".to_owned()
            }
            E::Unauthenticated { .. } => {
                "the store does not accept the credentials; check the store's variables (such as AWS_ACCESS_KEY_ID), and whether they have \
                 expired"
                    .to_owned()
            }
            E::InvalidPath { .. } => "no object can have this name".to_owned(),
            E::NotSupported { .. } | E::NotImplemented { .. } => {
                "the store cannot do that".to_owned()
            }
            error => (answers.last_problem())
                .or_else(|| io_problem(error))
                .unwrap_or_else(|| NO_CREDENTIALS.to_owned()),
        };
        let problem = match answers.code() {
            Some(code) if code == "RequestTimeTooSkewed" => {
                format!("the clock of this machine is wrong ({code}); set it")
            }
            Some(code) => format!("{problem} ({code})"),
            None => problem,
        };
        Self::Store {
            doing,
            path,
            problem,
        }
    }
}

/// What the system says, of a directory.
fn io_problem(error: &object_store::Error) -> Option<String> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && let Some(code) = error.raw_os_error()
        {
            return Some(nix::errno::Errno::from_raw(code).desc().to_owned());
        }
        cause = error.source();
    }
    None
}
