//! What was asked, what became of it, and how far it is: plain data.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::{Architecture, CommitId, FileName, JobId, PackageName, PocketName, Principal, Version};
use crate::policy::Note;
use crate::provenance::UsedBase;
use crate::publisher::Generation;

/// What somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The pocket to publish in.
    pub pocket: PocketName,
    /// The source package to publish.
    pub package: PackageName,
    /// The commit of the package's repository to publish.
    pub commit: CommitId,
    /// Who asks.
    pub principal: Principal,
    /// The optional architecture to add to what the pocket serves of the commit already; `None` to publish it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adds: Option<Architecture>,
}

/// What jobs wait for each other by: a package; or an optional architecture of one, whose builds hold nothing up.
pub type Lane<'a> = (&'a PackageName, Option<&'a Architecture>);

impl Request {
    /// Returns the lane: jobs of one lane are worked in their order, one at a time. One that adds an architecture also
    /// waits for the earlier publications of its package, and they for none that adds.
    #[must_use]
    pub fn lane(&self) -> Lane<'_> {
        (&self.package, self.adds.as_ref())
    }
}

/// A request that the queue has accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id, which sorts by the time of submission.
    pub id: JobId,
    /// What was asked.
    #[serde(flatten)]
    pub request: Request,
    /// The earlier jobs that build what it depends on, as far as they had not ended when it was accepted: it is not
    /// worked before all of them have ended, however they do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Predecessor>,
    /// The binary packages that it makes for later jobs to build against, and what they provide. Empty where no
    /// pocket is built against its pocket.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub builds: BTreeSet<PackageName>,
    /// When it was given back and may be tried again; `None` if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_back: Option<GivenBack>,
}

impl Job {
    /// Makes a job that neither waits for others nor is waited for.
    #[must_use]
    pub fn new(id: JobId, request: Request) -> Self {
        Self { id, request, after: Vec::new(), builds: BTreeSet::new(), given_back: None }
    }
}

/// An earlier job, and why another waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predecessor {
    /// The job.
    pub job: JobId,
    /// The source package that it builds.
    pub package: PackageName,
    /// The names that the other job build-depends on, of which it makes or provides a package.
    pub builds: Vec<PackageName>,
}

/// What a new job has to do with others: from `debian/control` at its commit, and its pocket's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relations {
    /// The names of binary packages that it makes or provides.
    pub builds: BTreeSet<PackageName>,
    /// The names that it build-depends on, alternatives among them, whatever the version, architecture or profile.
    pub needs: BTreeSet<PackageName>,
    /// The pockets whose packages its build sees.
    pub against: BTreeSet<PocketName>,
}

/// Why a job waits for another try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenBack {
    /// How many tries were given back so far.
    pub attempts: u32,
    /// The moment before which it is not claimed again.
    pub not_before: Timestamp,
    /// Why the last try was given back.
    pub reason: String,
}

/// The stages of a job, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The pocket's policy is checked.
    Validate,
    /// The source package is made from the commit.
    Export,
    /// Binary packages are built from the source package.
    Build,
    /// The pocket's gates ask about the packages.
    Examine,
    /// The archive starts to serve the package.
    Publish,
    /// Git is made to say the same.
    Record,
    /// The hooks run.
    Announce,
}

impl Stage {
    /// Returns the stage's name, a verb.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Export => "export",
            Self::Build => "build",
            Self::Examine => "examine",
            Self::Publish => "publish",
            Self::Record => "record",
            Self::Announce => "announce",
        }
    }
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// The pocket serves the package now, and Git says so.
    Published {
        /// The version.
        version: Version,
        /// The pocket that it was copied from; `None` if it was built.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        copied_from: Option<PocketName>,
        /// What the pocket's gates found that did not keep it out.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notes: Vec<Note>,
    },
    /// The pocket served the commit already; nothing was done.
    Current {
        /// The version.
        version: Version,
    },
    /// The request broke rules; nothing was changed.
    Rejected {
        /// One line a broken rule: what was found, and what to do.
        reasons: Vec<String>,
        /// Whether the only broken rule is the access list.
        #[serde(default)]
        not_permitted: bool,
    },
    /// The package could not be made; nothing was changed.
    Failed {
        /// The stage that failed.
        stage: Stage,
        /// What went wrong, one cause an entry, the outermost first.
        causes: Vec<String>,
        /// The build log, if one was begun.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log: Option<PathBuf>,
    },
    /// The pocket no longer serves what the job was to add to; nothing was changed.
    Superseded {
        /// What it serves instead.
        reason: String,
    },
    /// Somebody cancelled the job; nothing was changed.
    Cancelled {
        /// Who did.
        by: Principal,
    },
}

impl Outcome {
    /// Returns the outcome in one word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Published { .. } => "published",
            Self::Current { .. } => "current",
            Self::Rejected { .. } => "rejected",
            Self::Failed { .. } => "failed",
            Self::Superseded { .. } => "superseded",
            Self::Cancelled { .. } => "cancelled",
        }
    }
}

/// A job that has ended: the plain record that is kept of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The job.
    #[serde(flatten)]
    pub job: Job,
    /// When a worker first took it; `None` if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Timestamp,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Where a job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum JobState {
    /// No worker has it.
    Waiting {
        /// The job.
        #[serde(flatten)]
        job: Job,
        /// The earlier job of the same package that it waits for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        behind: Option<JobId>,
        /// Those of the jobs that it comes after that have not ended.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        waits_for: Vec<JobId>,
    },
    /// A worker has it, or died with it; then the next worker takes it up.
    Running {
        /// The job.
        #[serde(flatten)]
        job: Job,
        /// When a worker first took it.
        started: Timestamp,
        /// The stage that it is in; `None` before the first.
        stage: Option<Stage>,
        /// Whether a living worker holds it.
        alive: bool,
        /// What it has decided; then it can only be completed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checkpoint: Option<Checkpoint>,
    },
    /// It is over.
    Ended(Ended),
}

impl JobState {
    /// Returns the job.
    #[must_use]
    pub fn job(&self) -> &Job {
        match self {
            Self::Waiting { job, .. } | Self::Running { job, .. } => job,
            Self::Ended(ended) => &ended.job,
        }
    }
}

/// The one durable decision of a job, saved just before its first effect on the world.
///
/// Without it a job starts again; with it a job only rolls forward. It is plain data and proves nothing: the
/// files that it names are verified again, and the pocket's configuration is read anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The version to be published.
    pub version: Version,
    /// Where the pocket's branch was when the job was validated; `None` if it did not exist.
    pub expected_head: Option<CommitId>,
    /// What the pocket's gates found that did not keep it out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// The bases that it was built in; none for a copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<UsedBase>,
    /// What will be published.
    #[serde(flatten)]
    pub decision: Decision,
}

/// What a job has decided to publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "lowercase")]
pub enum Decision {
    /// Files in the job's workspace.
    Publish {
        /// The `.dsc` file, relative to the workspace.
        dsc: PathBuf,
        /// The `.changes` files, relative to the workspace, one for each run of the builder.
        changes: Vec<PathBuf>,
    },
    /// Files in the job's workspace, to be added to what the pocket serves.
    Add {
        /// The `.dsc` file, relative to the workspace.
        dsc: PathBuf,
        /// The `.changes` file, relative to the workspace.
        changes: Vec<PathBuf>,
    },
    /// What another pocket serves.
    Copy {
        /// That pocket.
        from: PocketName,
    },
}

/// One publication in the history of a pocket, as the superproject tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// What happened to the package.
    #[serde(default)]
    pub kind: PublicationKind,
    /// The pocket.
    pub pocket: PocketName,
    /// The package.
    pub package: PackageName,
    /// The version; of a removal, the one that was removed.
    pub version: Version,
    /// The commit of the package's repository; of a removal, the one that was removed.
    pub commit: CommitId,
    /// Who asked.
    pub principal: Principal,
    /// The job or the rollback that did it.
    pub job: JobId,
    /// The architecture that was added to what was served; `None` if all was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added: Option<Architecture>,
    /// The fingerprint of the key that signed the version's tag; `None` if there was no tag, or no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// The generation of the suite in which it came; `None` if the publisher does not number them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// When.
    pub time: Timestamp,
    /// The commit of the superproject that records it.
    pub recorded_in: CommitId,
}

/// What a publication did to a package.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PublicationKind {
    /// A job published it.
    #[default]
    Published,
    /// A rollback of the pocket brought the version back.
    Rollback,
    /// A rollback of the pocket took the package out of it.
    Removal,
}

/// A file of a package, with what is known of its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its name in the archive.
    pub name: FileName,
    /// Its size in bytes.
    pub size: u64,
    /// Its MD5 sum, in lower-case hexadecimal; index formats still want it.
    pub md5: String,
    /// Its SHA-1 sum, in lower-case hexadecimal.
    pub sha1: String,
    /// Its SHA-256 sum, in lower-case hexadecimal.
    pub sha256: String,
}
