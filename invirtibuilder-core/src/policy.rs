//! Policy: a pure decision about facts that others gathered.
//!
//! Nothing here reads or writes anything, so every rule is tested as a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::{
    Architecture, BaseName, BranchName, CommitId, Component, PackageName, PocketName, Principal, Suite,
    Version,
};

mod declaration;
mod output;
mod rules;
mod violation;

pub use declaration::{ArchitecturePattern, Declaration, DeclaredBinary, PackageType};
pub use output::{BuiltBinary, OutputFacts, OutputRejection, OutputViolation, check_identity, check_output};
pub use rules::{Verdict, validate};
pub use violation::{Rejection, Violation};

/// The part of a pocket that is only data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PocketSpec {
    /// Its name.
    pub name: PocketName,
    /// Its branch, in every package's repository and in the superproject.
    pub branch: BranchName,
    /// The APT suite that it publishes in.
    pub suite: Suite,
    /// The components that it publishes in; a package whose section names none of them goes to the first.
    pub components: Vec<Component>,
    /// The architectures that it is built for, without `all`.
    pub architectures: Vec<Architecture>,
    /// The distribution that it is built in.
    pub base: BaseName,
    /// What it allows.
    pub policy: Policy,
}

/// What a pocket allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether the version may fall and the commit may leave the branch's history (rule P5).
    pub allow_backtracking: bool,
    /// Whose packages may be copied here (rule P6).
    pub copy_from: CopyFrom,
    /// Whether its versions count against other pockets (rule P4).
    pub trust: Trust,
    /// Which versions its binary packages may have.
    pub binary_versions: BinaryVersions,
    /// The packages of the base that it may replace.
    pub may_replace: BTreeSet<PackageName>,
}

/// Which versions the binary packages of a pocket may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum BinaryVersions {
    /// Their source's.
    #[default]
    Same,
    /// Any: some packages give theirs others (`dpkg-gencontrol -v`).
    Any,
}

/// The pockets that a pocket may be given copies from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CopyFrom {
    /// Any, as in the original.
    #[default]
    Any,
    /// Only these.
    Only(BTreeSet<PocketName>),
}

impl CopyFrom {
    /// Returns whether a copy from a pocket is allowed.
    #[must_use]
    pub fn allows(&self, pocket: &PocketName) -> bool {
        match self {
            Self::Any => true,
            Self::Only(pockets) => pockets.contains(pocket),
        }
    }
}

/// How far a pocket is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// Not at all: its versions reserve nothing against a trusted pocket.
    None,
    /// As the site itself.
    #[default]
    Full,
}

/// What Git says about a commit as a candidate for a pocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// What the commit id names.
    pub commit: CommitState,
    /// The package and the version in the topmost entry of `debian/changelog`, or what is wrong with it.
    ///
    /// `None` where there is no commit to read it from.
    pub changelog: Option<Result<(PackageName, Version), String>>,
    /// What `debian/control` declares, or what is wrong with it.
    pub control: Option<Result<Declaration, String>>,
    /// How the commit relates to the head of the pocket's branch.
    pub relation: Relation,
    /// The heads of the pockets' branches, this pocket's own among them.
    pub heads: BTreeMap<PocketName, Head>,
    /// The commit that the version's tag names, if there is one.
    pub tagged: Option<CommitId>,
}

/// What a commit id names in a package's repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitState {
    /// A commit that a branch or tag reaches.
    Present,
    /// A commit that no branch or tag reaches.
    Unreachable,
    /// Nothing.
    Missing,
    /// An object that is no commit: its type.
    NotACommit(String),
    /// There is no repository.
    NoRepository,
}

/// The head of a pocket's branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The commit.
    pub commit: CommitId,
    /// The version at that commit; `None` if its changelog does not parse.
    pub version: Option<Version>,
}

/// How a candidate commit relates to the head of the pocket's branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The branch does not exist yet.
    New,
    /// The branch is already there.
    Same,
    /// The branch is an ancestor of the commit.
    FastForward,
    /// Neither.
    Diverged,
    /// Nobody asked, because the pocket allows backtracking, or there is no such commit.
    Unknown,
}

/// What an archive serves of one source package in one suite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The source package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// The commit that it was made from; `None` where the archive does not know.
    pub commit: Option<CommitId>,
}

/// Whether a principal is in the pocket's access list, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Yes.
    Granted,
    /// No, and what to do about it.
    Denied(String),
}

/// Everything that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The package that was asked for.
    pub package: &'a PackageName,
    /// The commit that was asked for.
    pub commit: &'a CommitId,
    /// Who asks.
    pub principal: &'a Principal,
    /// The pocket that was asked for.
    pub pocket: &'a PocketSpec,
    /// All pockets of the site, this one among them.
    pub pockets: &'a BTreeMap<PocketName, PocketSpec>,
    /// Whether the principal may.
    pub access: &'a Access,
    /// What Git says.
    pub survey: &'a Survey,
    /// What the archive serves of the package, a pocket at a time.
    pub held: &'a BTreeMap<PocketName, Held>,
    /// The packages of the pocket's base, as far as they are known yet.
    pub protected: &'a BTreeSet<PackageName>,
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Full => "full",
        })
    }
}

#[cfg(test)]
mod tests;
