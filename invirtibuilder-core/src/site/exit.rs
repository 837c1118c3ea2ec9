//! The exit status of every frontend, in one place.

use super::SiteError;
use crate::builder::VisitError;
use crate::error::{Disposition, PublishError, QueueError};
use crate::job::{Outcome, Stage};
use crate::policy::{Rejection, Violation};
use crate::publisher::archive::ImportError;

/// The exit status of a command. remctl's client keeps 1 and 255 for itself, so what matters is between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or published.
    Done = 0,
    /// `verify` found differences.
    Differences = 1,
    /// The words of the command are wrong.
    Usage = 2,
    /// The request is at fault.
    Rejected = 3,
    /// The principal may not.
    NotPermitted = 4,
    /// What was asked for is not there.
    NotFound = 5,
    /// The package does not build, or its job was cancelled.
    BuildFailed = 6,
    /// The installation is at fault; an operator must look.
    Internal = 70,
    /// The moment is at fault; try again later.
    TryAgain = 75,
}

impl Exit {
    /// Returns the exit status of waiting for a job that ended so.
    #[must_use]
    pub fn of_outcome(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Published { .. } | Outcome::Current { .. } => Self::Done,
            Outcome::Rejected { not_permitted: true, .. } => Self::NotPermitted,
            // A tree that is no source package, or an archive that refuses its files, is the request's fault.
            Outcome::Rejected { .. }
            | Outcome::Failed { stage: Stage::Validate | Stage::Export | Stage::Publish, .. } => {
                Self::Rejected
            }
            Outcome::Failed { .. } | Outcome::Cancelled { .. } | Outcome::Superseded { .. } => {
                Self::BuildFailed
            }
        }
    }

    /// Returns the exit status of a call that failed so.
    #[must_use]
    pub fn of_error(error: &SiteError) -> Self {
        match error {
            SiteError::Rejected(rejection) => Self::of_rejection(rejection),
            SiteError::Name(_) | SiteError::Visit(VisitError::Unsupported(_)) => Self::Usage,
            SiteError::NotFound(_)
            | SiteError::Queue(QueueError::UnknownJob(_))
            | SiteError::Publish(PublishError::NotKept { .. }) => Self::NotFound,
            SiteError::NotPermitted(_) => Self::NotPermitted,
            SiteError::Refused(_)
            | SiteError::Import(ImportError::Tree { .. } | ImportError::Signature { .. }) => Self::Rejected,
            SiteError::Repository(error) if error.is_request() => Self::Rejected,
            SiteError::Stage(error) if error.disposition() == Disposition::GiveBack => Self::TryAgain,
            _ => Self::Internal,
        }
    }

    fn of_rejection(rejection: &Rejection) -> Self {
        let is_missing = |it: &Violation| {
            matches!(
                it,
                Violation::UnknownPocket { .. }
                    | Violation::NoRepository { .. }
                    | Violation::UnknownCommit { .. }
            )
        };
        if rejection.is_only_access() {
            Self::NotPermitted
        } else if rejection.violations().iter().all(is_missing) {
            Self::NotFound
        } else {
            Self::Rejected
        }
    }

    /// Returns the number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}
