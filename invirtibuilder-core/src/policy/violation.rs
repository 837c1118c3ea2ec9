//! The rules that a request can break, in words for the person who made it.

use std::fmt;

use crate::names::{BaseName, CommitId, PackageName, PocketName, Principal, Version};

/// One rule that a request breaks: what was found, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// There is no such pocket (rule P1).
    #[error("there is no pocket {found:?}; {hint}")]
    UnknownPocket {
        /// The name that was given.
        found: String,
        /// The pockets that there are.
        hint: String,
    },
    /// A name is malformed (rule P1).
    #[error(transparent)]
    Malformed(#[from] crate::names::NameError),
    /// The package has no repository here (rule P1).
    #[error(
        "there is no repository for {package}; make one with `invirtibuilder repo create {package}` and push to it"
    )]
    NoRepository {
        /// The package.
        package: PackageName,
    },
    /// The repository has no such object (rule P1).
    #[error("the repository of {package} has no commit {commit}; push it first")]
    UnknownCommit {
        /// The package.
        package: PackageName,
        /// The commit.
        commit: CommitId,
    },
    /// The object is not a commit (rule P1).
    #[error(
        "{commit} is a {kind}, not a commit; give the id of the commit, as `git rev-parse 'NAME^{{commit}}'` prints it"
    )]
    NotACommit {
        /// The object id.
        commit: CommitId,
        /// The type of the object.
        kind: String,
    },
    /// No branch or tag leads to the commit (rule P1).
    #[error("no branch or tag of {package} reaches commit {commit}; push a branch that does")]
    Unreachable {
        /// The package.
        package: PackageName,
        /// The commit.
        commit: CommitId,
    },
    /// A file below `debian/` does not parse (rule P2).
    #[error("{file} at commit {commit}: {problem}")]
    BadFile {
        /// The file.
        file: &'static str,
        /// The commit.
        commit: CommitId,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A file below `debian/` names another source package (rule P2).
    #[error(
        "{file} at commit {commit} names the source package {found}, not {package}; submit it as {found}, or mend the file"
    )]
    OtherSource {
        /// The file.
        file: &'static str,
        /// The commit.
        commit: CommitId,
        /// The name that it has.
        found: PackageName,
        /// The package that was asked for.
        package: PackageName,
    },
    /// The principal is not in the pocket's access list (rule P3).
    #[error("{principal} may not publish in {pocket}: {reason}")]
    NotPermitted {
        /// Who asked.
        principal: Principal,
        /// The pocket.
        pocket: PocketName,
        /// Why not, and what to do.
        reason: String,
    },
    /// Another commit has this version already, in a pocket (rule P4).
    #[error(
        "{pocket} already has {package} {version} from commit {other}; raise the version in debian/changelog"
    )]
    VersionTaken {
        /// The pocket that has it.
        pocket: PocketName,
        /// The package.
        package: PackageName,
        /// The version.
        version: Version,
        /// The commit that it was made from there.
        other: CommitId,
    },
    /// Another commit has this version already, by a tag (rule P4).
    #[error(
        "the version tag of {package} {version} is at commit {other}; raise the version in debian/changelog"
    )]
    VersionTagged {
        /// The package.
        package: PackageName,
        /// The version.
        version: Version,
        /// The commit that the tag names.
        other: CommitId,
    },
    /// The version is not greater than the pocket's (rule P5).
    #[error(
        "{pocket} already has {package} {newest}, and {version} is not greater; raise the version in debian/changelog"
    )]
    NotNewer {
        /// The pocket.
        pocket: PocketName,
        /// The package.
        package: PackageName,
        /// The version that was asked for.
        version: Version,
        /// The version that the pocket has.
        newest: Version,
    },
    /// The commit does not descend from the pocket's head (rule P5).
    #[error("commit {commit} does not contain {head}, which {pocket} has; merge or rebase onto {head}")]
    Diverged {
        /// The commit that was asked for.
        commit: CommitId,
        /// The head of the pocket's branch.
        head: CommitId,
        /// The pocket.
        pocket: PocketName,
    },
    /// The commit declares no package that the pocket is for.
    #[error(
        "debian/control declares {declared}, and {pocket} is built for {architectures}; add an architecture to build.pockets.{pocket}.architectures, or to a package there"
    )]
    NothingToBuild {
        /// The architectures of the packages that are declared.
        declared: String,
        /// The pocket.
        pocket: PocketName,
        /// The architectures that it is built for.
        architectures: String,
    },
    /// The commit declares a package that every system has (the output gate).
    #[error(
        "debian/control declares {package}, a package of the base {base}, which nothing replaces by accident, not even its own source; if {pocket} shall replace it, add it to build.pockets.{pocket}.may_replace"
    )]
    ReplacesBase {
        /// The package.
        package: PackageName,
        /// The base.
        base: BaseName,
        /// The pocket.
        pocket: PocketName,
    },
}

/// All the rules that a request breaks, so that one round is enough (rule P8). Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection(Vec<Violation>);

impl Rejection {
    /// Takes the broken rules; `None` if there are none.
    #[must_use]
    pub fn of(violations: Vec<Violation>) -> Option<Self> {
        (!violations.is_empty()).then_some(Self(violations))
    }

    /// Returns the broken rules.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.0
    }

    /// Returns a line for each broken rule.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// Returns whether the access list is all that stands in the way.
    #[must_use]
    pub fn is_only_access(&self) -> bool {
        self.0.iter().all(|it| matches!(it, Violation::NotPermitted { .. }))
    }
}

impl std::error::Error for Rejection {}

impl From<Violation> for Rejection {
    fn from(violation: Violation) -> Self {
        Self(vec![violation])
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reasons().join("; "))
    }
}
