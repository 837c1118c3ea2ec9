//! Whether Git and the archive say the same (rules G1 to G3): a pure comparison of what was read from both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::names::{CommitId, PackageName, PocketName, Snapshot, Version};
use crate::pocket::PocketContents;
use crate::policy::{Head, Held};

/// One way in which Git and the archive differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The pocket.
    pub pocket: PocketName,
    /// The package.
    pub package: PackageName,
    /// How they differ.
    #[serde(flatten)]
    pub kind: Kind,
}

/// How Git and the archive differ about one package in one pocket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "difference", rename_all = "kebab-case")]
pub enum Kind {
    /// There is a branch, but the suite does not serve the package (G1).
    NotServed {
        /// The head of the branch.
        branch: CommitId,
    },
    /// The suite serves the package, but there is no branch (G1).
    NoBranch {
        /// The version that is served.
        served: Version,
    },
    /// The suite serves the package, which was imported, and nothing of it was published from Git yet (G1).
    NotInGit {
        /// The version that is served.
        served: Version,
    },
    /// The suite serves the package from another commit than the branch's head (G1).
    OtherCommit {
        /// The head of the branch.
        branch: CommitId,
        /// The commit that is served.
        served: CommitId,
    },
    /// The suite serves another version than the branch's head has (G1).
    OtherVersion {
        /// The version at the head of the branch; `None` if its changelog does not parse.
        branch: Option<Version>,
        /// The version that is served.
        served: Version,
    },
    /// The archive does not know the commit that it serves the package from (G1).
    NoCommit {
        /// The version that is served.
        served: Version,
    },
    /// The superproject has no submodule for the package (G2).
    NoSubmodule,
    /// The superproject has a submodule for a package that has no branch (G2).
    StraySubmodule {
        /// The commit that it names.
        submodule: CommitId,
    },
    /// The superproject names another commit than the branch's head (G2).
    OtherSubmodule {
        /// The head of the branch.
        branch: CommitId,
        /// The commit that the submodule names.
        submodule: CommitId,
    },
    /// `.gitmodules` has no URL for the submodule (G2).
    NoUrl,
    /// What was published is not vouched for as it was.
    NoProvenance {
        /// Where the provenance should be, as a path below the archive.
        provenance: String,
        /// What is there instead.
        found: String,
    },
    /// A version that was published has no tag by the tagger at its commit (G3).
    NoTag {
        /// The tag that should be there.
        tag: String,
        /// The commit that it should name.
        commit: CommitId,
        /// What is there instead.
        found: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pocket, package, kind } = self;
        write!(f, "{pocket} {package}: ")?;
        match kind {
            Kind::NotServed { branch } => {
                write!(f, "the branch is at {branch}, but the suite does not serve it")
            }
            Kind::NoBranch { served } => write!(f, "the suite serves {served}, but there is no branch"),
            Kind::NotInGit { served } => {
                write!(
                    f,
                    "the suite serves {served}, which is not in Git yet; host it with `repo create`, and submit a \
                     commit of a greater version"
                )
            }
            Kind::OtherCommit { branch, served } => {
                write!(f, "the branch is at {branch}, but the suite serves commit {served}")
            }
            Kind::OtherVersion { branch: Some(branch), served } => {
                write!(f, "the branch has version {branch}, but the suite serves {served}")
            }
            Kind::OtherVersion { branch: None, served } => {
                write!(f, "the changelog at the branch does not parse, but the suite serves {served}")
            }
            Kind::NoCommit { served } => write!(f, "the suite serves {served} from an unknown commit"),
            Kind::NoSubmodule => write!(f, "the superproject has no submodule for it"),
            Kind::StraySubmodule { submodule } => {
                write!(f, "the superproject has it at {submodule}, but there is no branch")
            }
            Kind::OtherSubmodule { branch, submodule } => {
                write!(f, "the branch is at {branch}, but the superproject has {submodule}")
            }
            Kind::NoUrl => write!(f, ".gitmodules in the superproject has no URL for it"),
            Kind::NoProvenance { provenance, found } => {
                write!(
                    f,
                    "{provenance} should be the provenance that the audit log tells of, but there is {found}"
                )
            }
            Kind::NoTag { tag, commit, found } => {
                write!(
                    f,
                    "the tag {tag} should be an annotated tag by the tagger at {commit}, but there is {found}"
                )
            }
        }
    }
}

/// Compares what Git says that a pocket holds with what its suite serves. Empty if they agree.
#[must_use]
pub fn differences(pocket: &PocketName, git: &PocketContents, served: &[Held]) -> Vec<Difference> {
    let served: BTreeMap<&PackageName, &Held> = served.iter().map(|it| (&it.package, it)).collect();
    let packages: BTreeSet<&PackageName> =
        git.branches.keys().chain(git.superproject.keys()).chain(served.keys().copied()).collect();
    let mut found = Vec::new();
    for package in packages {
        let kinds = compare_archive(git, package, served.get(package).copied()).into_iter();
        let kinds = kinds.chain(compare_superproject(git, package));
        found.extend(kinds.map(|kind| Difference { pocket: pocket.clone(), package: package.clone(), kind }));
    }
    found.extend(git.untagged.iter().map(|it| Difference {
        pocket: pocket.clone(),
        package: it.package.clone(),
        kind: Kind::NoTag { tag: it.tag.clone(), commit: it.commit.clone(), found: it.found.clone() },
    }));
    found
}

/// G1.
fn compare_archive(git: &PocketContents, package: &PackageName, served: Option<&Held>) -> Option<Kind> {
    match (git.branches.get(package), served) {
        (None, None) => None,
        (Some(head), None) => Some(Kind::NotServed { branch: head.commit.clone() }),
        (None, Some(held)) if held.commit.is_none() => Some(Kind::NotInGit { served: held.version.clone() }),
        (None, Some(held)) => Some(Kind::NoBranch { served: held.version.clone() }),
        (Some(head), Some(held)) => match &held.commit {
            None => Some(Kind::NoCommit { served: held.version.clone() }),
            Some(commit) if *commit != head.commit => {
                Some(Kind::OtherCommit { branch: head.commit.clone(), served: commit.clone() })
            }
            Some(_) if !is_version_of(&held.version, head) => {
                Some(Kind::OtherVersion { branch: head.version.clone(), served: held.version.clone() })
            }
            Some(_) => None,
        },
    }
}

/// Returns whether a version is the one in the changelog of a branch's head, or that of a try of it.
fn is_version_of(served: &Version, head: &Head) -> bool {
    head.version.as_ref().is_some_and(|declared| {
        declared.as_str() == served.as_str() || Snapshot::is_of(served, declared, &head.commit)
    })
}

/// G2.
fn compare_superproject(git: &PocketContents, package: &PackageName) -> Option<Kind> {
    match (git.branches.get(package), git.superproject.get(package)) {
        (None, None) => None,
        (Some(_), None) => Some(Kind::NoSubmodule),
        (None, Some(entry)) => Some(Kind::StraySubmodule { submodule: entry.commit.clone() }),
        (Some(head), Some(entry)) if head.commit != entry.commit => {
            Some(Kind::OtherSubmodule { branch: head.commit.clone(), submodule: entry.commit.clone() })
        }
        (Some(_), Some(entry)) => entry.url.is_none().then_some(Kind::NoUrl),
    }
}

#[cfg(test)]
mod tests;
