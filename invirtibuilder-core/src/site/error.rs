//! What a call to a site can fail with.

use crate::audit::AuditError;
use crate::builder::VisitError;
use crate::config::ConfigError;
use crate::error::{PocketError, PublishError, QueueError, StageError};
use crate::hooks::OutboxError;
use crate::names::NameError;
use crate::policy::Rejection;
use crate::provenance::ProvenanceError;
use crate::publisher::archive::ImportError;
use crate::repository::RepositoryError;
use crate::worker::WorkerError;

/// Everything that a call to a site can fail with.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The request breaks rules; nothing was queued.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// A name that somebody gave is malformed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// What was asked for is not possible as things are.
    #[error("{0}")]
    Refused(String),
    /// The principal may not do this.
    #[error("{0}")]
    NotPermitted(String),
    /// The queue did not answer.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The archive did not answer.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Git did not answer.
    #[error(transparent)]
    Pocket(#[from] PocketError),
    /// A package's repository could not be made or read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Another stage's backend did not answer.
    #[error(transparent)]
    Stage(StageError),
    /// Another archive could not be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The worker ended before it should have.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// What was published could not be vouched for, or its provenance not be read.
    #[error(transparent)]
    Provenance(#[from] ProvenanceError),
    /// What happened cannot be recorded.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Nobody can look at a failed build.
    #[error(transparent)]
    Visit(VisitError),
    /// The hooks cannot be told.
    #[error(transparent)]
    Hooks(#[from] OutboxError),
    /// A part of the site cannot be opened.
    #[error("cannot open the {part} of the site; `invirtibuilder check` says what is wrong with it")]
    Part {
        /// The part.
        part: &'static str,
        /// What went wrong below.
        #[source]
        source: crate::error::BoxError,
    },
}

impl From<StageError> for SiteError {
    fn from(error: StageError) -> Self {
        match error {
            StageError::Rejected(rejection) => Self::Rejected(rejection),
            StageError::Pocket(error) => Self::Pocket(error),
            StageError::Publish(error) => Self::Publish(error),
            StageError::Queue(error) => Self::Queue(error),
            StageError::Audit(error) => Self::Audit(error),
            StageError::Provenance(error) => Self::Provenance(error),
            other => Self::Stage(other),
        }
    }
}
