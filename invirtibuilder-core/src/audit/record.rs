//! What a record of the audit log tells.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hooks::Event;
use crate::job::Request;
use crate::names::{CommitId, JobId, PackageName, PocketName, Principal, Version};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Happened {
    /// A request was accepted.
    Submitted,
    /// A request or a job broke rules.
    Refused,
    /// Somebody asked for what they may not do.
    Denied,
    /// A worker took a job.
    Started,
    /// A pocket serves the package now, and Git says so.
    Published,
    /// A job ended.
    Ended,
    /// A pocket was returned to an earlier generation.
    RolledBack,
    /// Packages of another archive were taken over.
    Imported,
    /// What Git and the archive said was made the same again.
    Repaired,
    /// A repository was made.
    RepoCreated,
    /// A push to a repository was let through.
    Pushed,
    /// A key stands for a principal now.
    KeyAdded,
    /// A key does not stand for a principal any more.
    KeyRemoved,
    /// A hook ran.
    Hook,
    /// The configuration is another one than before.
    Configuration,
}

impl Happened {
    /// Returns its name, as the log has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Refused => "refused",
            Self::Denied => "denied",
            Self::Started => "started",
            Self::Published => "published",
            Self::Ended => "ended",
            Self::RolledBack => "rolled-back",
            Self::Imported => "imported",
            Self::Repaired => "repaired",
            Self::RepoCreated => "repo-created",
            Self::Pushed => "pushed",
            Self::KeyAdded => "key-added",
            Self::KeyRemoved => "key-removed",
            Self::Hook => "hook",
            Self::Configuration => "configuration",
        }
    }
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a record tells. A fact that there is not is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What happened.
    pub event: Happened,
    /// The pocket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pocket: Option<PocketName>,
    /// The package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageName>,
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
    /// Further facts, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
    /// What the hooks hear of it, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tell: Vec<Event>,
}

impl Entry {
    /// Begins a record with no other fact.
    #[must_use]
    pub fn new(event: Happened) -> Self {
        Self {
            event,
            pocket: None,
            package: None,
            version: None,
            commit: None,
            principal: None,
            job: None,
            facts: BTreeMap::new(),
            tell: Vec::new(),
        }
    }

    /// Begins a record about a request.
    #[must_use]
    pub fn of(event: Happened, request: &Request) -> Self {
        Self {
            pocket: Some(request.pocket.clone()),
            package: Some(request.package.clone()),
            commit: Some(request.commit.clone()),
            principal: Some(request.principal.clone()),
            ..Self::new(event)
        }
    }

    /// Adds an event that the hooks hear of.
    #[must_use]
    pub fn telling(mut self, event: Event) -> Self {
        self.tell.push(event);
        self
    }

    /// Adds facts.
    #[must_use]
    pub fn with_all(mut self, facts: &BTreeMap<String, String>) -> Self {
        self.facts.extend(facts.iter().map(|(name, value)| (name.clone(), value.clone())));
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.facts.insert(name.to_owned(), value.to_string());
        self
    }
}
