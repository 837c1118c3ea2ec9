//! What hooks hear of.

use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audit::Head;
use crate::job::{Ended, Outcome, Request};
use crate::names::{Architecture, CommitId, JobId, PackageName, PocketName, Principal, Version};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A request was accepted.
    Submitted,
    /// A request or a job broke rules, or was cancelled; nothing was changed.
    Refused,
    /// A pocket serves the package now, and Git says so.
    Published,
    /// The package could not be made; nothing was changed.
    Failed,
    /// A repository was made.
    RepoCreated,
    /// A pocket was returned to what it served before, and that moved the package; without a version, it took the
    /// package away.
    RolledBack,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Submitted, Self::Refused, Self::Published, Self::Failed, Self::RepoCreated, Self::RolledBack];

    /// Returns the event's name, which its directory and the hooks' environment have.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Refused => "refused",
            Self::Published => "published",
            Self::Failed => "failed",
            Self::RepoCreated => "repo-created",
            Self::RolledBack => "rolled-back",
        }
    }

    /// Returns the event that an outcome is.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Published { .. } | Outcome::Current { .. } => Self::Published,
            Outcome::Rejected { .. } | Outcome::Cancelled { .. } | Outcome::Superseded { .. } => {
                Self::Refused
            }
            Outcome::Failed { .. } => Self::Failed,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One event, with its facts. Hooks get it as one JSON object; a fact that there is not is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    #[serde(rename = "event")]
    pub kind: EventKind,
    /// When.
    pub time: Timestamp,
    /// The package.
    pub package: PackageName,
    /// The pocket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pocket: Option<PocketName>,
    /// The version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// The commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// Who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// The build log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
    /// Where the audit log ended when it had recorded this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Head>,
    /// What `audit` was in the record before this one that the same hook was to hear of; `None` in its first. So whoever
    /// keeps all events sees whether one is missing, or is not what it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Head>,
    /// The optional architecture that the job adds to what is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adds: Option<Architecture>,
    /// How the job ended.
    #[serde(rename = "result", default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

impl Event {
    /// Begins an event of a package, now, with no other fact.
    #[must_use]
    pub fn new(kind: EventKind, package: PackageName) -> Self {
        Self {
            kind,
            time: Timestamp::now(),
            package,
            pocket: None,
            version: None,
            commit: None,
            principal: None,
            job: None,
            log: None,
            audit: None,
            previous: None,
            adds: None,
            outcome: None,
        }
    }

    /// Begins an event of a request, now.
    #[must_use]
    pub fn of(kind: EventKind, request: &Request) -> Self {
        Self {
            pocket: Some(request.pocket.clone()),
            commit: Some(request.commit.clone()),
            principal: Some(request.principal.clone()),
            adds: request.adds.clone(),
            ..Self::new(kind, request.package.clone())
        }
    }

    /// Returns the event of a job's end.
    #[must_use]
    pub fn ended(ended: &Ended) -> Self {
        let request = &ended.job.request;
        let (version, log) = match &ended.outcome {
            Outcome::Published { version, .. } | Outcome::Current { version } => {
                (Some(version.clone()), None)
            }
            Outcome::Failed { log, .. } => (None, log.clone()),
            Outcome::Rejected { .. } | Outcome::Cancelled { .. } | Outcome::Superseded { .. } => (None, None),
        };
        Self {
            time: ended.ended,
            pocket: Some(request.pocket.clone()),
            version,
            commit: Some(request.commit.clone()),
            principal: Some(request.principal.clone()),
            job: Some(ended.job.id.clone()),
            log,
            adds: request.adds.clone(),
            outcome: Some(ended.outcome.clone()),
            ..Self::new(EventKind::of(&ended.outcome), request.package.clone())
        }
    }

    /// Returns the environment of the hooks; what there is not is empty.
    pub(super) fn environment(&self) -> [(&'static str, String); 12] {
        fn text<T: ToString>(fact: Option<&T>) -> String {
            fact.map(ToString::to_string).unwrap_or_default()
        }
        let log = self.log.as_ref().map(|it| it.to_string_lossy().into_owned());
        [
            ("INVIRTIBUILDER_EVENT", self.kind.to_string()),
            ("INVIRTIBUILDER_POCKET", text(self.pocket.as_ref())),
            ("INVIRTIBUILDER_PACKAGE", self.package.to_string()),
            ("INVIRTIBUILDER_VERSION", text(self.version.as_ref())),
            ("INVIRTIBUILDER_COMMIT", text(self.commit.as_ref())),
            ("INVIRTIBUILDER_ADDS", text(self.adds.as_ref())),
            ("INVIRTIBUILDER_PRINCIPAL", text(self.principal.as_ref())),
            ("INVIRTIBUILDER_JOB", text(self.job.as_ref())),
            ("INVIRTIBUILDER_LOG", log.unwrap_or_default()),
            ("INVIRTIBUILDER_AUDIT_SEQ", text(self.audit.as_ref().map(|it| it.seq).as_ref())),
            ("INVIRTIBUILDER_AUDIT_HEAD", text(self.audit.as_ref())),
            ("INVIRTIBUILDER_AUDIT_PREVIOUS", text(self.previous.as_ref())),
        ]
    }
}
