//! Errors, organised by what the caller does next.

use std::path::PathBuf;

use crate::audit::AuditError;
use crate::names::{CommitId, JobId, PackageName, PocketName, Suite, Version};
use crate::policy::{GateRejection, OutputRejection, Rejection};
use crate::provenance::ProvenanceError;
use crate::publisher::Generation;

/// Any error from below a backend.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What should happen to a job after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The request or the package is at fault; the job ends here.
    End,
    /// The moment is at fault; give the job back to the queue, to be tried later.
    GiveBack,
    /// The installation is at fault; keep the job as it is and call an operator.
    Halt,
    /// The worker is asked to stop; keep the job as it is.
    Stop,
}

/// Why an exporter did not produce a source package.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The tree at the commit is not a source package that can be built.
    #[error("{package} at commit {commit} is not a valid source package: {problem}")]
    Malformed {
        /// The package that was asked for.
        package: PackageName,
        /// The commit that was read.
        commit: CommitId,
        /// What is wrong and what to do, in words for the submitter.
        problem: String,
    },
    /// The backend itself failed.
    #[error("cannot export the source package")]
    Backend(#[source] BoxError),
}

/// Why a builder did not produce packages. The words are sbuild's.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The package was tried and does not build (sbuild: `attempted`).
    #[error("{package} {version} does not build: {problem}")]
    Attempted {
        /// The package.
        package: PackageName,
        /// Its version.
        version: Version,
        /// What happened, such as the exit status or the limit that was reached.
        problem: String,
    },
    /// The environment failed before the package had its chance (sbuild: `given-back`).
    #[error("the builder gave {package} {version} back: {problem}")]
    GivenBack {
        /// The package.
        package: PackageName,
        /// Its version.
        version: Version,
        /// What happened.
        problem: String,
    },
    /// The build was interrupted, because [`crate::stop::Interrupt`] said so. Nothing of it is left.
    #[error("the build was interrupted")]
    Interrupted,
    /// The backend itself failed.
    #[error("cannot run the builder")]
    Backend(#[source] BoxError),
}

/// Why a publisher did not change the archive, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The archive holds other bytes under this version.
    #[error("{suite} cannot take {package} {version}: {problem}; raise the version in debian/changelog")]
    Conflict {
        /// The suite.
        suite: Suite,
        /// The package.
        package: PackageName,
        /// The version.
        version: Version,
        /// What the archive holds.
        problem: String,
    },
    /// The packages cannot be part of the archive, in any version.
    #[error("{suite} cannot take {package} {version}: {problem}")]
    Unfit {
        /// The suite.
        suite: Suite,
        /// The package.
        package: PackageName,
        /// The version.
        version: Version,
        /// What is wrong with them, and what to do.
        problem: String,
    },
    /// The suite serves a binary package of this name from another source package.
    #[error(
        "{suite} cannot take {package}: it serves the package {binary} from the source package {owner}; publish a version of {owner} without it there first, or rename it"
    )]
    Owned {
        /// The suite.
        suite: Suite,
        /// The source package that was to be published.
        package: PackageName,
        /// The binary package.
        binary: PackageName,
        /// The source package that the suite serves it from.
        owner: PackageName,
    },
    /// The suite that should be copied from does not hold what was to be copied.
    #[error("{suite} does not hold {package} {version}, which was to be copied from there; submit it again")]
    NotHeld {
        /// The suite.
        suite: Suite,
        /// The package.
        package: PackageName,
        /// The version.
        version: Version,
    },
    /// A suite cannot be returned to a generation.
    #[error("{suite} cannot return to generation {generation}: {problem}")]
    NotKept {
        /// The suite.
        suite: Suite,
        /// The generation.
        generation: Generation,
        /// Why not, and what to do.
        problem: String,
    },
    /// The backend itself failed.
    #[error("cannot use the archive")]
    Backend(#[source] BoxError),
}

/// Why a pocket did not answer, or did not take a record.
#[derive(Debug, thiserror::Error)]
pub enum PocketError {
    /// Somebody moved the branch between validation and record.
    #[error("the {pocket} branch of {package} moved during the job, from {} to {}; submit again", shown(expected.as_ref()), shown(found.as_ref()))]
    Moved {
        /// The pocket.
        pocket: PocketName,
        /// The package.
        package: PackageName,
        /// The head that was validated.
        expected: Option<CommitId>,
        /// The head that is there now.
        found: Option<CommitId>,
    },
    /// The backend itself failed.
    #[error("cannot use the Git repositories")]
    Backend(#[source] BoxError),
}

fn shown(head: Option<&CommitId>) -> &str {
    head.map_or("nothing", CommitId::as_str)
}

/// Why the queue did not take, give or keep a job.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// There is no such job.
    #[error("there is no job {0}; `invirtibuilder status` and `invirtibuilder history` list them")]
    UnknownJob(JobId),
    /// The backend itself failed.
    #[error("cannot {action} in the queue")]
    Backend {
        /// What was tried.
        action: &'static str,
        /// What went wrong below.
        #[source]
        source: BoxError,
    },
}

/// The world does not show what a backend said it did.
#[derive(Debug, thiserror::Error)]
#[error("{} does not match the plan: {problem}", subject.display())]
pub struct VerifyError {
    /// What was checked: a file, the archive, or Git.
    pub subject: PathBuf,
    /// How it differs.
    pub problem: String,
}

impl VerifyError {
    pub(crate) fn new(subject: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self { subject: subject.into(), problem: problem.into() }
    }
}

/// Any error of a stage.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum StageError {
    /// The request breaks rules.
    Rejected(#[from] Rejection),
    /// No source package.
    Export(#[from] ExportError),
    /// No binary packages.
    Build(#[from] BuildError),
    /// The archive did not change.
    Publish(#[from] PublishError),
    /// Git did not answer or did not change.
    Pocket(#[from] PocketError),
    /// The queue did not answer.
    Queue(#[from] QueueError),
    /// What happens cannot be recorded.
    Audit(#[from] AuditError),
    /// A backend made something else than was planned.
    Verify(#[from] VerifyError),
    /// What a build left may not be published.
    Output(#[from] OutputRejection),
    /// A gate of the pocket keeps it out.
    Gates(#[from] GateRejection),
    /// What was published could not be vouched for.
    Provenance(#[from] ProvenanceError),
}

impl StageError {
    /// Returns what should happen to a job that has had no effect on the world yet.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Rejected(_)
            | Self::Export(ExportError::Malformed { .. })
            | Self::Build(BuildError::Attempted { .. })
            | Self::Publish(
                PublishError::Conflict { .. }
                | PublishError::Unfit { .. }
                | PublishError::Owned { .. }
                | PublishError::NotHeld { .. }
                | PublishError::NotKept { .. },
            )
            | Self::Pocket(PocketError::Moved { .. })
            | Self::Verify(_)
            | Self::Output(_)
            | Self::Gates(_) => Disposition::End,
            Self::Build(BuildError::GivenBack { .. }) => Disposition::GiveBack,
            Self::Build(BuildError::Interrupted) => Disposition::Stop,
            Self::Export(ExportError::Backend(_))
            | Self::Build(BuildError::Backend(_))
            | Self::Publish(PublishError::Backend(_))
            | Self::Pocket(PocketError::Backend(_))
            | Self::Queue(_)
            | Self::Audit(_)
            | Self::Provenance(_) => Disposition::Halt,
        }
    }
}

/// Returns an error and its causes, the outermost first, one text each.
#[must_use]
pub fn causes(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        // A transparent wrapper says the same as what it wraps.
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        next = error.source();
    }
    texts
}
