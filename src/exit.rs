//! Exit codes, and the exit code of every error.

use crate::api::ApiError;
use crate::config::ConfigError;
use crate::database::DatabaseError;
use crate::error_chain::{chain, with_causes};
use crate::extract::ExtractError;
use crate::load::{LoadError, ReplayError};
use crate::migrate::MigrateError;
use crate::printable::Messages;
use crate::staging::StagingError;

/// The exit of the program, worst last: the worst of several counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Exit {
    /// Finished, or nothing to do.
    #[default]
    Done,
    /// Finished, with incomplete resources or quarantined rows in this run.
    Incomplete,
    /// Requests are used up, or throttled for longer than `patience`; the run can be resumed.
    RequestsUsedUp,
    /// Refused or held back by a limit.
    Refused,
    /// Another process holds the lock.
    Locked,
    /// Wrong usage or configuration.
    Usage,
    /// Failed.
    Failed,
    /// Interrupted by SIGINT.
    Interrupted,
    /// Interrupted by SIGHUP.
    HungUp,
    /// Interrupted by SIGTERM.
    Terminated,
}

impl Exit {
    /// Its code, what it is called where outcomes are recorded, and what it means.
    fn facts(self) -> (u8, &'static str, &'static str) {
        match self {
            Self::Done => (0, "complete", "finished"),
            Self::Failed => (1, "failed", "failed"),
            Self::Usage => (2, "failed", "wrong usage or configuration"),
            Self::Incomplete => (3, "partial", PARTIAL),
            Self::Refused => (4, "refused", "refused or held back by a limit"),
            Self::Locked => (5, "skipped", "another process holds the lock"),
            Self::RequestsUsedUp => (6, "stopped", "requests are used up, or throttled"),
            Self::HungUp => (129, "interrupted", SIGNAL),
            Self::Interrupted => (130, "interrupted", SIGNAL),
            Self::Terminated => (143, "interrupted", SIGNAL),
        }
    }

    /// The process's exit code.
    pub fn code(self) -> u8 {
        self.facts().0
    }

    pub(crate) fn outcome(self) -> &'static str {
        self.facts().1
    }

    /// What it means, where no error has a sentence of its own.
    pub(crate) fn sentence(self) -> &'static str {
        self.facts().2
    }
}

const PARTIAL: &str = "finished, with incomplete resources or quarantined rows";
const SIGNAL: &str = "interrupted by a signal";

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// What happened, with its causes.
    pub(crate) error: anyhow::Error,
}

impl Failure {
    pub(crate) fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self {
            exit,
            error: anyhow::Error::msg(sentence.into()),
        }
    }

    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        Self::new(Exit::Usage, sentence)
    }

    /// What happened and why, as one line; as several, if it is a list of our own.
    pub(crate) fn sentence(&self) -> String {
        if self.is_list() {
            with_causes(self.error.as_ref())
        } else {
            chain(self.error.as_ref())
        }
    }

    /// Whether each of its lines is ours.
    fn is_list(&self) -> bool {
        let error = &self.error;
        let is_load_list = |error: &LoadError| match error {
            LoadError::Mismatch(_) | LoadError::Lacking(_) => true,
            LoadError::Database(error) | LoadError::Migrate(MigrateError::Database(error)) => {
                error.is_list()
            }
            _ => false,
        };
        error.is::<Messages>()
            || error.downcast_ref().is_some_and(DatabaseError::is_list)
            || matches!(error.downcast_ref(), Some(MigrateError::Database(error)) if error.is_list())
            || error.downcast_ref().is_some_and(ConfigError::is_list)
            || error.downcast_ref().is_some_and(is_load_list)
            || matches!(error.downcast_ref(), Some(ReplayError::Load(error)) if is_load_list(error))
    }
}

macro_rules! failure_from {
    ($($error:ty => $exit:expr;)*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let exit: fn(&$error) -> Exit = $exit;
                Self { exit: exit(&error), error: error.into() }
            }
        }
    )*};
}

failure_from! {
    Messages => |_| Exit::Usage;
    ConfigError => |_| Exit::Usage;
    StagingError => staging_exit;
    DatabaseError => database_exit;
    MigrateError => migrate_exit;
    LoadError => load_exit;
    ReplayError => replay_exit;
    ApiError => api_exit;
    ExtractError => extract_exit;
    std::io::Error => |_| Exit::Failed;
}

#[cfg(feature = "remote")]
failure_from! { crate::remote::RemoteError => remote_exit; }

#[cfg(feature = "parquet")]
failure_from! { crate::parquet::ExportError => export_exit; }

#[cfg(feature = "parquet")]
fn export_exit(error: &crate::parquet::ExportError) -> Exit {
    use crate::parquet::ExportError as E;
    match error {
        E::Remote(error) => remote_exit(error),
        E::Staging(error) => staging_exit(error),
        E::OtherStaging { .. } => Exit::Refused,
        E::Parquet { .. } => Exit::Failed,
    }
}

#[cfg(feature = "remote")]
fn remote_exit(error: &crate::remote::RemoteError) -> Exit {
    use crate::remote::RemoteError as E;
    match error {
        E::Url(_) | E::Empty { .. } => Exit::Usage,
        E::Conflict { .. }
        | E::Overwrites { .. }
        | E::OtherStaging { .. }
        | E::OtherLedger { .. }
        | E::OpenErasure
        | E::Disturbed { .. }
        | E::SameNumber { .. } => Exit::Refused,
        E::Staging(error) => staging_exit(error),
        E::Store { .. } | E::Stopped { .. } | E::Damaged { .. } | E::Thread => Exit::Failed,
    }
}

fn staging_exit(error: &StagingError) -> Exit {
    match error {
        StagingError::Locked { .. } => Exit::Locked,
        StagingError::NoRun(_) => Exit::Usage,
        StagingError::Io { .. } | StagingError::Broken { .. } | StagingError::Untrusted(_) => {
            Exit::Failed
        }
    }
}

/// Only a change of the configuration helps against some.
fn database_exit(error: &DatabaseError) -> Exit {
    match error {
        DatabaseError::Url
        | DatabaseError::NoHost
        | DatabaseError::Parameter { .. }
        | DatabaseError::ClientCertificate { .. }
        | DatabaseError::SslMode
        | DatabaseError::Unencoded
        | DatabaseError::RequireAuth
        | DatabaseError::SocketAuth
        | DatabaseError::MixedHosts
        | DatabaseError::RootCertificate { .. }
        | DatabaseError::Pooler { .. } => Exit::Usage,
        DatabaseError::Untrusted(_) => Exit::Refused,
        _ => Exit::Failed,
    }
}

fn migrate_exit(error: &MigrateError) -> Exit {
    match error {
        MigrateError::Busy { .. } => Exit::Locked,
        MigrateError::Database(error @ DatabaseError::Untrusted(_)) => database_exit(error),
        _ => Exit::Failed,
    }
}

pub(crate) fn load_exit(error: &LoadError) -> Exit {
    match error {
        LoadError::Staging(error) => staging_exit(error),
        LoadError::Locked { .. } | LoadError::Erasing => Exit::Locked,
        LoadError::Migrate(error) => migrate_exit(error),
        LoadError::Database(error @ DatabaseError::Untrusted(_)) => database_exit(error),
        LoadError::Erased
        | LoadError::Older { .. }
        | LoadError::QuarantineLimit { .. }
        | LoadError::Renamed { .. }
        | LoadError::OtherSource(_)
        | LoadError::Unproven { .. }
        | LoadError::UnprovenParent => Exit::Refused,
        LoadError::Mismatch(_) | LoadError::Unmigrated { .. } => Exit::Usage,
        _ => Exit::Failed,
    }
}

fn replay_exit(error: &ReplayError) -> Exit {
    match error {
        ReplayError::Load(error) => load_exit(error),
        ReplayError::Long(_) | ReplayError::NoGroup { .. } => Exit::Usage,
        _ => Exit::Refused,
    }
}

fn api_exit(error: &ApiError) -> Exit {
    if error.is_used_up() {
        Exit::RequestsUsedUp
    } else {
        Exit::Failed
    }
}

pub(crate) fn extract_exit(error: &ExtractError) -> Exit {
    match error {
        ExtractError::Api(error) => api_exit(error),
        ExtractError::Staging(error) => staging_exit(error),
        ExtractError::Internal(_) => Exit::Failed,
    }
}
