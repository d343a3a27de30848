//! Errors of a run and of the read of a resource.

use crate::api::ApiError;
use crate::staging::StagingError;

#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Staging(#[from] StagingError),
    #[error(transparent)]
    Ids(StagingError),
    #[error(
        "the API ignores `{parameter}`: it also sends records of others, and would send all of them for every batch of ids; \
         read this resource without `for_each`"
    )]
    FilterIgnored { parameter: String },
    #[error(
        "a thread that works on staged pages ended early; this is a fault of cursus, please report it"
    )]
    Thread,
}

impl ReadError {
    /// Whether it ends the run, and not only this resource.
    pub(super) fn is_fatal_for_run(&self) -> bool {
        match self {
            Self::Api(error) => error.is_fatal_for_run(),
            Self::FilterIgnored { .. } | Self::Ids(_) => false,
            Self::Staging(_) | Self::Thread => true,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ExtractError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Staging(#[from] StagingError),
    #[error("{0}")]
    Internal(String),
}

impl From<ReadError> for ExtractError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Api(error) => Self::Api(error),
            ReadError::Staging(error) | ReadError::Ids(error) => Self::Staging(error),
            error @ (ReadError::Thread | ReadError::FilterIgnored { .. }) => {
                Self::Internal(error.to_string())
            }
        }
    }
}
