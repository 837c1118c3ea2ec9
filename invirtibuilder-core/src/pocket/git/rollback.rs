//! Making Git agree with a suite that serves what it served before: many branches, then one superproject commit.
//!
//! Each step looks first, so that the same call completes what a killed process began. Never touches a tag.

use gix::ObjectId;

use super::{GitSite, backend, branch_ref, superproject};
use crate::error::PocketError;
use crate::policy::PocketSpec;
use crate::repository::{RefChange, RepositoryError, commit_id, object_id};
use crate::rollback::{Move, Place, RolledBack};

/// Records a rollback.
pub(super) fn record(site: &GitSite, spec: &PocketSpec, rolled_back: &RolledBack) -> Result<(), PocketError> {
    for it in &rolled_back.rollback().moves {
        move_branch(site, spec, it)?;
    }
    superproject::record_rollback(site, spec, rolled_back).map_err(backend)
}

fn move_branch(site: &GitSite, spec: &PocketSpec, change: &Move) -> Result<(), PocketError> {
    let Move { package, old, new } = change;
    let refused =
        |problem| backend(RepositoryError::Refused { path: site.repositories.path(package), problem });
    let Some(repository) = site.repositories.find(package).map_err(backend)? else {
        // Where there is nothing, there is no branch to delete.
        return match new {
            None => Ok(()),
            Some(_) => Err(refused("the repository is gone; restore it from a clone".to_owned())),
        };
    };
    let id = |place: &Place| {
        object_id(&place.commit)
            .ok_or_else(|| refused(format!("its objects are not named like {}", place.commit)))
    };
    let expected: Option<ObjectId> = old.as_ref().map(id).transpose()?;
    let new: Option<ObjectId> = new.as_ref().map(id).transpose()?;
    if let Some(new) = new {
        repository.commit(new).map_err(backend)?;
    }
    let writer = repository.lock().map_err(backend)?;
    let name = branch_ref(spec);
    let found = repository.reference(&name).map_err(backend)?;
    if found == new {
        return Ok(());
    }
    writer.change(&[RefChange { name: name.clone(), expected, new }]).map_err(|e| match e {
        RepositoryError::Moved { name: moved, found, .. } if moved == name => PocketError::Moved {
            pocket: spec.name.clone(),
            package: package.clone(),
            expected: old.as_ref().map(|it| it.commit.clone()),
            found: found.map(commit_id),
        },
        other => backend(other),
    })
}
