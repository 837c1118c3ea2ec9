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
mod gates;
mod output;
mod rules;
mod violation;

pub use declaration::{ArchitecturePattern, Declaration, DeclaredBinary, PackageType};
pub use gates::{Demand, Finding, GateKind, GateRejection, Gates, LintianSeverity, Note, weigh};
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
    /// How its packages are built.
    pub building: Building,
}

/// How the packages of a pocket are built, besides the architectures and the base.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Building {
    /// The architecture whose run also makes the packages for all architectures; `None` for the first.
    pub all_with: Option<Architecture>,
    /// The architectures that may come later: a version is published without waiting for them, and keeps being so
    /// if they fail.
    pub optional: Vec<Architecture>,
    /// What builds them.
    pub backend: BuildBackend,
    /// The pockets whose suites a build sees besides its base (rule B3).
    pub build_against: Vec<PocketName>,
    /// What is asked of packages before they are published or copied.
    pub gates: Gates,
}

impl PocketSpec {
    /// Returns the architecture whose run of the builder also makes the packages for all architectures.
    #[must_use]
    pub fn architecture_of_all(&self) -> Option<&Architecture> {
        let chosen = self.building.all_with.as_ref().filter(|it| self.architectures.contains(it));
        chosen.or_else(|| self.architectures.first())
    }

    /// Returns every architecture that packages may be built for, the required ones first.
    pub fn all_architectures(&self) -> impl Iterator<Item = &Architecture> {
        self.architectures.iter().chain(&self.building.optional)
    }
}

/// What packages are built by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum BuildBackend {
    /// sbuild, in its `unshare` mode.
    #[default]
    Sbuild,
    /// Rooms of our own.
    Overlay,
    /// Virtual machines that are thrown away.
    Vm,
    /// This machine as it is, without any walls.
    Host,
}

impl BuildBackend {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sbuild, Self::Overlay, Self::Vm, Self::Host];

    /// Returns its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sbuild => "sbuild",
            Self::Overlay => "overlay",
            Self::Vm => "vm",
            Self::Host => "host",
        }
    }

    /// Returns whether its builds can see the suites of pockets ([`Building::build_against`]). Who lets another one do
    /// so says it here: the configuration refuses what is not able to.
    #[must_use]
    pub fn can_build_against(self) -> bool {
        matches!(self, Self::Overlay | Self::Sbuild | Self::Vm)
    }
}

impl fmt::Display for BuildBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a pocket allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether the version may fall and the commit may leave the branch's history (rule P5).
    pub allow_backtracking: bool,
    /// Whose packages may be copied here (rule P6).
    pub copy_from: CopyFrom,
    /// What must be shown before they are.
    pub copies: Copies,
    /// Whether its versions count against other pockets (rule P4).
    pub trust: Trust,
    /// Which versions its binary packages may have.
    pub binary_versions: BinaryVersions,
    /// Which versions are published.
    pub versions: Versions,
    /// The packages of the base that it may replace.
    pub may_replace: BTreeSet<PackageName>,
}

/// Which versions a pocket publishes of what is built for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Versions {
    /// The version in the changelog.
    #[default]
    Declared,
    /// One of each try, a [`Snapshot`](crate::names::Snapshot), which sorts before the one in the changelog. The pocket
    /// allows backtracking, and what it serves so reserves no version and is copied nowhere.
    Snapshot,
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

/// What must be shown before a package is copied into a pocket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Copies {
    /// Nothing: it was built once.
    #[default]
    Believed,
    /// That building the same commit in this pocket's environment gives the same bits.
    Rebuilt,
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
