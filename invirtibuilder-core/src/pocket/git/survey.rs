//! The facts that policy decides about, read from a package's repository.
//!
//! Never decides anything.

use std::collections::BTreeMap;

use gix::ObjectId;
use gix::objs::Kind;

use super::{GitSite, branch_ref};
use crate::control::{read_changelog, read_control};
use crate::names::{CommitId, PackageName, Version};
use crate::policy::{CommitState, Head, PocketSpec, Relation, Survey};
use crate::repository::{FileAt, Repository, RepositoryError, commit_id, object_id};

/// The longest changelog and control file, in bytes. Those of the largest packages of Debian are a quarter of it.
const MAX_CHANGELOG_BYTES: u64 = 16 << 20;
const MAX_CONTROL_BYTES: u64 = 4 << 20;

type Result<T> = std::result::Result<T, RepositoryError>;

/// Reads what Git knows about a commit as a candidate for a pocket.
pub(super) fn survey(
    site: &GitSite,
    spec: &PocketSpec,
    package: &PackageName,
    commit: &CommitId,
) -> Result<Survey> {
    let mut survey = Survey {
        commit: CommitState::NoRepository,
        changelog: None,
        control: None,
        relation: Relation::Unknown,
        heads: BTreeMap::new(),
        tagged: None,
    };
    let Some(repository) = site.repositories.find(package)? else { return Ok(survey) };
    for pocket in site.pockets.values() {
        if let Some(id) = repository.reference(&branch_ref(pocket))? {
            survey.heads.insert(pocket.name.clone(), head(&repository, id)?);
        }
    }
    let found = match object_id(commit) {
        Some(id) => repository.kind(id)?.map(|kind| (id, kind)),
        None => None,
    };
    let id = match found {
        None => {
            survey.commit = CommitState::Missing;
            return Ok(survey);
        }
        Some((id, Kind::Commit)) => id,
        Some((_, kind)) => {
            survey.commit = CommitState::NotACommit(kind.to_string());
            return Ok(survey);
        }
    };
    survey.commit =
        if is_reachable(&repository, id)? { CommitState::Present } else { CommitState::Unreachable };
    let tree = repository.commit(id)?.tree;
    survey.control = Some(match repository.file(tree, "debian/control", MAX_CONTROL_BYTES)? {
        FileAt::Bytes(bytes) => read_control(&bytes),
        other => Err(unfit(other)),
    });
    let changelog = changelog(&repository, tree)?;
    if let Ok((_, version)) = &changelog {
        survey.tagged = tagged(&repository, &site.tag_ref(version).1)?;
    }
    survey.changelog = Some(changelog);
    survey.relation = relation(&repository, spec, id)?;
    Ok(survey)
}

/// Reads the version at a branch's head.
pub(super) fn head(repository: &Repository, id: ObjectId) -> Result<Head> {
    let tree = repository.commit(id)?.tree;
    let version = changelog(repository, tree)?.ok().map(|it| it.1);
    Ok(Head { commit: commit_id(id), version })
}

fn changelog(
    repository: &Repository,
    tree: ObjectId,
) -> Result<std::result::Result<(PackageName, Version), String>> {
    Ok(match repository.file(tree, "debian/changelog", MAX_CHANGELOG_BYTES)? {
        FileAt::Bytes(bytes) => read_changelog(&bytes),
        other => Err(unfit(other)),
    })
}

fn unfit(file: FileAt) -> String {
    match file {
        FileAt::Unfit(problem) => problem,
        _ => "the commit does not have it; add it".to_owned(),
    }
}

/// Returns whether a branch or a tag leads to a commit. Branches are asked first: there are few.
fn is_reachable(repository: &Repository, commit: ObjectId) -> Result<bool> {
    let branches: Vec<ObjectId> = repository.references("refs/heads/")?.into_iter().map(|it| it.1).collect();
    if repository.is_reached_from(commit, &branches)? {
        return Ok(true);
    }
    let mut tips = Vec::new();
    for (_, id) in repository.references("refs/tags/")? {
        // A tag of a tree or a blob leads to no commit.
        if let (id, Kind::Commit) = repository.peel(id)? {
            tips.push(id);
        }
    }
    repository.is_reached_from(commit, &tips)
}

/// Returns what a tag names in the end.
fn tagged(repository: &Repository, tag: &str) -> Result<Option<CommitId>> {
    match repository.reference(tag)? {
        Some(id) => Ok(Some(commit_id(repository.peel(id)?.0))),
        None => Ok(None),
    }
}

fn relation(repository: &Repository, spec: &PocketSpec, commit: ObjectId) -> Result<Relation> {
    if spec.policy.allow_backtracking {
        return Ok(Relation::Unknown);
    }
    Ok(match repository.reference(&branch_ref(spec))? {
        None => Relation::New,
        Some(head) if head == commit => Relation::Same,
        Some(head) if repository.is_reached_from(head, &[commit])? => Relation::FastForward,
        Some(_) => Relation::Diverged,
    })
}
