//! What mends a difference between Git and the archive: plain data, and the decision about it.
//!
//! Three say where a package is: the archive, the branch, and the superproject. Where two of them agree, the third is
//! made to say the same, if it is Git's. Nothing is guessed, and nothing is ever changed in the archive: what only a
//! publication can mend is left, with what to do. Nothing here reads or writes anything.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::names::{CommitId, PackageName, PocketName, Version};
use crate::pocket::PocketContents;
use crate::policy::Held;
use crate::verify::{Difference, Kind, differences};

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "mend", rename_all = "kebab-case")]
pub enum Mend {
    /// The branch is moved, made or removed. Where it was stays reachable under another name.
    Branch {
        /// Where it is; `None` if there is none.
        from: Option<CommitId>,
        /// Where it will be; `None` for nowhere.
        to: Option<CommitId>,
    },
    /// The superproject's submodule is set, with its URL, or removed.
    Submodule {
        /// The commit that it will name; `None` for no submodule.
        to: Option<CommitId>,
    },
    /// The version's tag is made.
    Tag {
        /// The version.
        version: Version,
        /// The commit that it was published from.
        commit: CommitId,
    },
}

/// What mends one difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// The pocket.
    pub pocket: PocketName,
    /// The package.
    pub package: PackageName,
    /// What is done.
    #[serde(flatten)]
    pub mend: Mend,
    /// Who agrees on it.
    pub because: String,
}

/// A difference that is left, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The difference.
    #[serde(flatten)]
    pub difference: Difference,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pocket, package, mend, because } = self;
        write!(f, "{pocket} {package}: ")?;
        let shown =
            |it: &Option<CommitId>| it.as_ref().map_or_else(|| "nowhere".to_owned(), ToString::to_string);
        match mend {
            Mend::Branch { from, to } => write!(f, "the branch goes from {} to {}", shown(from), shown(to))?,
            Mend::Submodule { to: Some(to) } => write!(f, "the superproject's submodule goes to {to}")?,
            Mend::Submodule { to: None } => write!(f, "the superproject's submodule goes")?,
            Mend::Tag { version, commit } => write!(f, "the tag of {version} is made at {commit}")?,
        }
        write!(f, ", because {because}")
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.difference, self.remedy)
    }
}

/// Decides what mends the differences between what Git says that a pocket holds and what its suite serves.
#[must_use]
pub fn plan(pocket: &PocketName, git: &PocketContents, served: &[Held]) -> (Vec<Repair>, Vec<Left>) {
    let held: BTreeMap<&PackageName, &Held> = served.iter().map(|it| (&it.package, it)).collect();
    let (mut repairs, mut left): (Vec<Repair>, Vec<Left>) = (Vec::new(), Vec::new());
    for difference in differences(pocket, git, served) {
        let package = &difference.package;
        let found = match &difference.kind {
            Kind::NoTag { tag, commit, .. } => of_tag(git, package, (tag, commit)),
            _ => of_place(git, package, held.get(package).copied()),
        };
        match found {
            Ok((mend, because)) => {
                let (pocket, package) = (pocket.clone(), package.clone());
                let repair = Repair { pocket, package, mend, because };
                // One may mend two differences.
                if !repairs.contains(&repair) {
                    repairs.push(repair);
                }
            }
            Err(remedy) => left.push(Left { difference, remedy }),
        }
    }
    (repairs, left)
}

fn of_tag(
    git: &PocketContents,
    package: &PackageName,
    (tag, commit): (&str, &CommitId),
) -> Result<(Mend, String), String> {
    let is_it =
        |it: &&crate::pocket::Untagged| it.package == *package && it.tag == tag && it.commit == *commit;
    let Some(untagged) = git.untagged.iter().find(is_it) else {
        return Err("run `invirtibuilder verify` again".to_owned());
    };
    if untagged.found.contains("repository") {
        return Err("restore its repository from a clone".to_owned());
    }
    let because = "the superproject's history says that it was published from there".to_owned();
    Ok((Mend::Tag { version: untagged.version.clone(), commit: commit.clone() }, because))
}

/// Decides about a branch and a submodule: who agrees with whom.
fn of_place(
    git: &PocketContents,
    package: &PackageName,
    held: Option<&Held>,
) -> Result<(Mend, String), String> {
    let branch = git.branches.get(package).map(|it| &it.commit);
    let submodule = git.superproject.get(package).map(|it| &it.commit);
    let archive = match held {
        Some(Held { commit: None, version, .. }) => {
            return Err(format!(
                "nobody knows the commit of {version}; submit a commit of a greater version"
            ));
        }
        Some(held) => held.commit.as_ref(),
        None => None,
    };
    let both = |one: &str, other: &str, commit: Option<&CommitId>| match commit {
        Some(_) => format!("{one} and {other} say so"),
        None => format!("{one} and {other} do not have it"),
    };
    if archive == branch {
        let is_right =
            submodule == archive && git.superproject.get(package).is_none_or(|it| it.url.is_some());
        if is_right {
            return Err(
                "the version at the commit is another one than is served; look who changed the archive, and \
                 submit a commit of a greater version"
                    .to_owned(),
            );
        }
        let because = both("the archive", "the branch", archive);
        return Ok((Mend::Submodule { to: archive.cloned() }, because));
    }
    if archive == submodule {
        let because = both("the archive", "the superproject", archive);
        return Ok((Mend::Branch { from: branch.cloned(), to: archive.cloned() }, because));
    }
    let again = |commit: &CommitId| {
        format!(
            "Git says {commit} twice, and the archive cannot be changed by a repair: `archive rollback` returns to a \
             generation that is kept, or publish a commit of a greater version"
        )
    };
    Err(match (branch, submodule) {
        (Some(branch), Some(submodule)) if branch == submodule => again(branch),
        _ => "all three say something else; look at `invirtibuilder why` and the audit log, and mend two of them by hand"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests;
