//! Making Git agree with the archive: branch and tag together, then the superproject.
//!
//! Each step looks first, so that the same call completes what a killed process began.

use gix::ObjectId;
use gix::objs::{Kind, Tag};
use jiff::Timestamp;

use super::signing::key_of;
use super::{GitSite, backend, branch_ref, superproject};
use crate::error::PocketError;
use crate::names::{TagName, Version};
use crate::policy::PocketSpec;
use crate::repository::{RefChange, Repository, RepositoryError, commit_id, object_id};
use crate::states::{BuildPlan, Published};

/// Records a publication.
pub(super) fn record(site: &GitSite, spec: &PocketSpec, published: &Published) -> Result<(), PocketError> {
    let plan = published.plan();
    move_refs(site, spec, plan)?;
    let signed_by = signed_by(site, spec, plan).map_err(backend)?;
    superproject::record(site, spec, published, signed_by.as_deref()).map_err(backend)
}

/// Returns which key signed the version's tag; `None` if there is no tag, or it is not signed.
fn signed_by(site: &GitSite, spec: &PocketSpec, plan: &BuildPlan) -> Result<Option<String>, RepositoryError> {
    if spec.policy.allow_backtracking {
        return Ok(None);
    }
    let Some(repository) = site.repositories.find(plan.package())? else { return Ok(None) };
    let Some(id) = repository.reference(&site.tag_ref(plan.version()).1)? else { return Ok(None) };
    Ok(key_of(&repository.read(id, Kind::Tag)?))
}

/// Moves the pocket's branch and makes the version's tag, in one transaction.
fn move_refs(site: &GitSite, spec: &PocketSpec, plan: &BuildPlan) -> Result<(), PocketError> {
    let refused =
        |problem| backend(RepositoryError::Refused { path: site.repositories.path(plan.package()), problem });
    let repository = site.repositories.find(plan.package()).map_err(backend)?;
    let repository = repository.ok_or_else(|| {
        refused("the repository is gone; restore it from a clone, then `invirtibuilder repair`".to_owned())
    })?;
    let commit = object_id(plan.commit())
        .ok_or_else(|| refused(format!("its objects are not named like {}", plan.commit())))?;
    repository.commit(commit).map_err(backend)?;
    let writer = repository.lock().map_err(backend)?;
    let mut changes = Vec::new();
    if !spec.policy.allow_backtracking {
        changes.extend(tag(site, &repository, plan.version(), commit).map_err(backend)?);
    }
    let branch = branch_ref(spec);
    let head = repository.reference(&branch).map_err(backend)?;
    let expected = plan.expected_head().and_then(object_id);
    if head != Some(commit) {
        if head != expected {
            return Err(moved(spec, plan, head));
        }
        changes.push(RefChange { name: branch.clone(), expected, new: Some(commit) });
    }
    if changes.is_empty() {
        return Ok(());
    }
    writer.change(&changes).map_err(|e| match e {
        RepositoryError::Moved { name, found, .. } if name == branch => moved(spec, plan, found),
        other => backend(other),
    })
}

fn moved(spec: &PocketSpec, plan: &BuildPlan, found: Option<ObjectId>) -> PocketError {
    PocketError::Moved {
        pocket: spec.name.clone(),
        package: plan.package().clone(),
        expected: plan.expected_head().cloned(),
        found: found.map(commit_id),
    }
}

/// Returns the change that gives a version its tag; `None` if it has it.
///
/// A tag of the same commit by somebody else is replaced: the commit is the same, and rule G3 wants ours.
fn tag(
    site: &GitSite,
    repository: &Repository,
    version: &Version,
    commit: ObjectId,
) -> Result<Option<RefChange>, RepositoryError> {
    let (tag, name) = site.tag_ref(version);
    let expected = repository.reference(&name)?;
    // One from before a key was configured stays: whoever has it could not get another under its name.
    if fault(site, repository, &tag, expected, (commit, None))?.is_none() {
        return Ok(None);
    }
    if let Some(id) = expected {
        let other = repository.peel(id)?.0;
        if other != commit {
            return Err(RepositoryError::Refused {
                path: repository.path().to_owned(),
                problem: format!(
                    "the tag {tag} is at {other}, but {version} was published from {commit}; \
                     look who made the tag, and remove it with `git update-ref -d {name}`"
                ),
            });
        }
    }
    make_tag(site, repository, (version, &tag), (expected, commit)).map(Some)
}

/// Returns the change that gives a version its tag, whatever has its name now.
pub(super) fn tag_anew(
    site: &GitSite,
    repository: &Repository,
    version: &Version,
    commit: ObjectId,
) -> Result<RefChange, RepositoryError> {
    let (tag, name) = site.tag_ref(version);
    let expected = repository.reference(&name)?;
    make_tag(site, repository, (version, &tag), (expected, commit))
}

/// Writes a tag, and returns the change that gives it its name.
fn make_tag(
    site: &GitSite,
    repository: &Repository,
    (version, tag): (&Version, &TagName),
    (expected, commit): (Option<ObjectId>, ObjectId),
) -> Result<RefChange, RepositoryError> {
    repository.commit(commit)?;
    let object = Tag {
        target: commit,
        target_kind: Kind::Commit,
        name: tag.as_str().into(),
        tagger: Some(site.tagger.signature(Timestamp::now().as_second())),
        message: format!("Version {version}\n").into(),
        signature: None,
    };
    let bytes = repository.bytes_of(&object)?;
    let signed = match &site.tagger.signing {
        None => bytes,
        Some(signing) => signing.sign(bytes).map_err(|source| RepositoryError::Unreadable {
            action: "sign a tag of",
            path: repository.path().to_owned(),
            source,
        })?,
    };
    let name = site.tag_ref(version).1;
    Ok(RefChange { name, expected, new: Some(repository.write_bytes(Kind::Tag, &signed)?) })
}

/// Returns what is wrong with a version's tag, in words; `None` if it is as rule G3 wants it, and has the signature of the
/// key that it is known to be signed by.
pub(super) fn fault(
    site: &GitSite,
    repository: &Repository,
    tag: &TagName,
    found: Option<ObjectId>,
    (commit, signed_by): (ObjectId, Option<&str>),
) -> Result<Option<String>, RepositoryError> {
    let Some(id) = found else { return Ok(Some("nothing".to_owned())) };
    match repository.kind(id)? {
        Some(Kind::Tag) => (),
        Some(kind) => return Ok(Some(format!("a lightweight tag at the {kind} {id}"))),
        None => return Ok(Some(format!("a ref to {id}, which is missing"))),
    }
    let object = repository.tag(id)?;
    if object.target != commit {
        return Ok(Some(format!("a tag at {}", object.target)));
    }
    if object.name != tag.as_str() {
        return Ok(Some(format!("a tag that calls itself {:?}", object.name)));
    }
    Ok(match object.tagger {
        Some((name, email)) if name == site.tagger.name && email == site.tagger.email => {
            match (signed_by, &site.tagger.signing) {
                (Some(key), Some(signing)) => signing.fault(&repository.read(id, Kind::Tag)?, key),
                _ => None,
            }
        }
        Some((name, email)) => Some(format!("a tag by {name:?} <{email}>")),
        None => Some("a tag by nobody".to_owned()),
    })
}
