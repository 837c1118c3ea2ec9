//! Mending what Git says: one branch, one submodule, or one tag.
//!
//! Where a branch was stays reachable below `refs/heads/repaired/`. Each step looks first, so that a repair may be
//! repeated.

use super::{GitSite, backend, branch_ref, record, superproject};
use crate::error::PocketError;
use crate::names::{CommitId, PackageName, Principal};
use crate::policy::PocketSpec;
use crate::repair::{Mend, Repair};
use crate::repository::{RefChange, Repository, RepositoryError, object_id};

/// What begins the name of the branches that keep where a pocket's branch was.
const KEPT: &str = "refs/heads/repaired";

/// Mends one difference.
pub(super) fn repair(
    site: &GitSite,
    spec: &PocketSpec,
    repair: &Repair,
    by: &Principal,
) -> Result<(), PocketError> {
    let done = match &repair.mend {
        Mend::Branch { from, to } => branch(site, spec, &repair.package, (from.as_ref(), to.as_ref())),
        Mend::Submodule { to } => superproject::repair(site, spec, repair, to.as_ref(), by),
        Mend::Tag { version, commit } => open(site, &repair.package).and_then(|repository| {
            let writer = repository.lock()?;
            writer.change(&[record::tag_anew(site, &repository, version, id(&repository, commit)?)?])
        }),
    };
    done.map_err(backend)
}

fn branch(
    site: &GitSite,
    spec: &PocketSpec,
    package: &PackageName,
    (from, to): (Option<&CommitId>, Option<&CommitId>),
) -> Result<(), RepositoryError> {
    let repository = open(site, package)?;
    let expected = from.map(|it| id(&repository, it)).transpose()?;
    let new = to.map(|it| id(&repository, it)).transpose()?;
    if let Some(new) = new {
        repository.commit(new)?;
    }
    let writer = repository.lock()?;
    let name = branch_ref(spec);
    if repository.reference(&name)? == new {
        return Ok(());
    }
    let mut changes = Vec::new();
    if let Some(old) = expected {
        let short: String = old.to_string().chars().take(12).collect();
        let kept = format!("{KEPT}/{}/{short}", spec.branch);
        if repository.reference(&kept)? != Some(old) {
            changes.push(RefChange { expected: repository.reference(&kept)?, name: kept, new: Some(old) });
        }
    }
    changes.push(RefChange { name, expected, new });
    writer.change(&changes)
}

fn open(site: &GitSite, package: &PackageName) -> Result<Repository, RepositoryError> {
    site.repositories.find(package)?.ok_or_else(|| RepositoryError::Refused {
        path: site.repositories.path(package),
        problem: "the repository is gone; restore it from a clone".to_owned(),
    })
}

fn id(repository: &Repository, commit: &CommitId) -> Result<gix::ObjectId, RepositoryError> {
    object_id(commit).ok_or_else(|| RepositoryError::Refused {
        path: repository.path().to_owned(),
        problem: format!("its objects are not named like {commit}"),
    })
}
