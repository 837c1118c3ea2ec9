//! The superproject: a branch a pocket, a commit a publication, a gitlink a package.
//!
//! Never writes a commit twice for one publication: what a killed process recorded is found by its job.

use std::collections::BTreeMap;

use gix::ObjectId;
use gix::objs::tree::{Entry, EntryKind, name_order};
use gix::objs::{Commit, Kind, Tree, TreeRef, TreeRefIter};
use jiff::Timestamp;

use super::{GitSite, branch_ref, gitmodules, message};
use crate::durable::{self, Lock};
use crate::job::Publication;
use crate::names::{CommitId, PackageName, Principal};
use crate::pocket::SuperprojectEntry;
use crate::policy::PocketSpec;
use crate::repair::Repair;
use crate::repository::{
    FileAt, MAX_PUSH, RefChange, Repository, RepositoryError, commit_id, object_id, write_skeleton,
};
use crate::rollback::{Move, Rollback, RolledBack};
use crate::states::Published;

const GITMODULES: &str = ".gitmodules";
const MAX_GITMODULES_BYTES: u64 = 256 << 20;
/// What a push to the superproject is answered.
const NO_PUSH: &[u8] = b"#!/bin/sh
echo 'Only publications write the superproject; submit a commit of a package instead.' >&2
exit 1
";

type Result<T> = std::result::Result<T, RepositoryError>;

/// Makes the superproject's repository if there is none.
pub(super) fn initialize(site: &GitSite) -> Result<()> {
    let path = &site.superproject;
    if path.is_dir() {
        return Ok(());
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|it| it.to_str())) else {
        let problem = "it has no parent directory or no name; correct `paths: superproject:`".to_owned();
        return Err(RepositoryError::Refused { path: path.clone(), problem });
    };
    durable::create_directory(parent)?;
    let _lock = Lock::wait(&parent.join(format!(".{name}.lock")))?;
    if path.is_dir() {
        return Ok(());
    }
    let staged = parent.join(format!(".{name}.new"));
    durable::remove_directory(&staged)?;
    write_skeleton(&staged, None, MAX_PUSH)?;
    for hook in ["update", "pre-receive"] {
        let file = staged.join("hooks").join(hook);
        durable::write_with_mode(&file, NO_PUSH, 0o755)?;
        durable::set_mode(&file, 0o755)?;
    }
    // What a clone checks out: the first pocket that only goes forward.
    let pockets = || site.pockets.values();
    let shown = pockets().find(|it| !it.policy.allow_backtracking).or_else(|| pockets().next());
    if let Some(pocket) = shown {
        durable::write(&staged.join("HEAD"), format!("ref: {}\n", branch_ref(pocket)).as_bytes())?;
    }
    Ok(durable::rename(&staged, path)?)
}

/// Records a publication as one commit on the pocket's branch.
///
/// `signed_by` is the key that signed the version's tag.
pub(super) fn record(
    site: &GitSite,
    spec: &PocketSpec,
    published: &Published,
    signed_by: Option<&str>,
) -> Result<()> {
    let plan = published.plan();
    let (package, commit) = (plan.package(), plan.commit());
    commit_change(site, spec, &message::compose(published, signed_by), |repository, tree, _| {
        let is_new = put(tree, package.as_str(), EntryKind::Commit, link(site, commit)?);
        let urls_changed = put_urls(site, repository, &[package], tree)?;
        Ok(is_new || urls_changed || !is_recorded(site, spec, published)?)
    })
}

/// Records a rollback as one commit on the pocket's branch.
pub(super) fn record_rollback(site: &GitSite, spec: &PocketSpec, rolled_back: &RolledBack) -> Result<()> {
    let Rollback { id, moves, .. } = rolled_back.rollback();
    commit_change(site, spec, &message::compose_rollback(rolled_back), |repository, tree, last| {
        // Nothing is published in the pocket before its rollback is complete, so its record is the last.
        if last.and_then(message::job).as_ref() == Some(id) {
            return Ok(false);
        }
        let mut served = Vec::new();
        for Move { package, new, .. } in moves {
            match new {
                Some(place) => {
                    put(tree, package.as_str(), EntryKind::Commit, link(site, &place.commit)?);
                    served.push(package);
                }
                None => tree.entries.retain(|it| it.filename != package.as_str()),
            }
        }
        put_urls(site, repository, &served, tree)?;
        Ok(true)
    })
}

/// Sets or removes a submodule, as a commit of its own that is no publication.
pub(super) fn repair(
    site: &GitSite,
    spec: &PocketSpec,
    repair: &Repair,
    to: Option<&CommitId>,
    by: &Principal,
) -> Result<()> {
    let package = &repair.package;
    commit_change(site, spec, &message::compose_repair(repair, by), |repository, tree, _| {
        let Some(to) = to else {
            let before = tree.entries.len();
            tree.entries.retain(|it| it.filename != package.as_str());
            return Ok(tree.entries.len() != before);
        };
        let is_new = put(tree, package.as_str(), EntryKind::Commit, link(site, to)?);
        Ok(put_urls(site, repository, &[package], tree)? || is_new)
    })
}

fn link(site: &GitSite, commit: &CommitId) -> Result<ObjectId> {
    object_id(commit).ok_or_else(|| RepositoryError::Refused {
        path: site.superproject.clone(),
        problem: format!("its objects are not named like {commit}"),
    })
}

/// Makes a commit on the pocket's branch, if `change`, which is given the tree and the last message, says so.
fn commit_change(
    site: &GitSite,
    spec: &PocketSpec,
    message: &str,
    change: impl FnOnce(&Repository, &mut Tree, Option<&[u8]>) -> Result<bool>,
) -> Result<()> {
    initialize(site)?;
    let Some(repository) = Repository::open(&site.superproject)? else {
        let problem = "it is gone; restore it from a clone".to_owned();
        return Err(RepositoryError::Refused { path: site.superproject.clone(), problem });
    };
    // Jobs of several packages record at once: the branch is read and moved under one lock.
    let writer = repository.lock()?;
    let branch = branch_ref(spec);
    let head = repository.reference(&branch)?;
    let parent = head.map(|id| repository.commit(id)).transpose()?;
    let mut tree = match &parent {
        Some(parent) => read_tree(&repository, parent.tree)?,
        None => Tree::empty(),
    };
    if !change(&repository, &mut tree, parent.as_ref().map(|it| it.message.as_ref()))? {
        return Ok(());
    }
    let signature = site.tagger.signature(Timestamp::now().as_second());
    let new = repository.write(&Commit {
        tree: repository.write(&tree)?,
        parents: head.into_iter().collect(),
        author: signature.clone(),
        committer: signature,
        encoding: None,
        message: message.into(),
        extra_headers: Vec::new(),
    })?;
    writer.change(&[RefChange { name: branch, expected: head, new: Some(new) }])
}

/// Returns whether the last publication of the package in the pocket is this job's.
fn is_recorded(site: &GitSite, spec: &PocketSpec, published: &Published) -> Result<bool> {
    let plan = published.plan();
    let last = publications(site, spec, |it| it.package == *plan.package(), 1)?;
    Ok(last.first().is_some_and(|it| it.job == plan.job().id && it.commit == *plan.commit()))
}

/// Makes the packages' URLs right. Returns whether one was not.
fn put_urls(
    site: &GitSite,
    repository: &Repository,
    packages: &[&PackageName],
    tree: &mut Tree,
) -> Result<bool> {
    let old = tree.entries.iter().find(|it| it.filename == GITMODULES);
    let mut urls = match old {
        Some(entry) if entry.mode.is_blob() => gitmodules::parse(&repository.read(entry.oid, Kind::Blob)?),
        _ => gitmodules::Urls::new(),
    };
    let mut has_changed = false;
    for package in packages {
        let url = gitmodules::relative_url(&site.superproject, &site.repositories.path(package));
        has_changed |= urls.get(*package) != Some(&url);
        urls.insert((*package).clone(), url);
    }
    if has_changed {
        let blob = repository.write_bytes(Kind::Blob, gitmodules::render(&urls).as_bytes())?;
        put(tree, GITMODULES, EntryKind::Blob, blob);
    }
    Ok(has_changed)
}

/// Sets an entry of a tree. Returns whether that changed it.
fn put(tree: &mut Tree, name: &str, kind: EntryKind, id: ObjectId) -> bool {
    let entry = Entry { mode: kind.into(), filename: name.into(), oid: id };
    let place = tree
        .entries
        .binary_search_by(|it| name_order(&it.filename, it.mode.is_tree(), name.as_bytes(), false));
    match place {
        Ok(at) => match tree.entries.get_mut(at) {
            Some(old) if *old != entry => {
                *old = entry;
                true
            }
            _ => false,
        },
        Err(at) => {
            tree.entries.insert(at, entry);
            true
        }
    }
}

fn read_tree(repository: &Repository, id: ObjectId) -> Result<Tree> {
    let data = repository.read(id, Kind::Tree)?;
    let tree = TreeRef::from_bytes(&data, id.kind());
    tree.map(TreeRef::into_owned).map_err(|_| RepositoryError::Damaged {
        path: repository.path().to_owned(),
        object: id.to_string(),
        problem: "is not a well-formed tree".to_owned(),
    })
}

/// Reads publications from the pocket's branch, the latest first, at most `limit` of those that are wanted.
pub(super) fn publications(
    site: &GitSite,
    spec: &PocketSpec,
    wanted: impl Fn(&Publication) -> bool,
    limit: usize,
) -> Result<Vec<Publication>> {
    let mut publications = Vec::new();
    let Some(repository) = Repository::open(&site.superproject)? else { return Ok(publications) };
    let mut next = repository.reference(&branch_ref(spec))?;
    while let Some(id) = next
        && publications.len() < limit
    {
        let commit = repository.commit(id)?;
        let time = commit.time.unwrap_or(0);
        let found = message::parse(&commit.message, &spec.name, time, &commit_id(id));
        publications.extend(found.into_iter().filter(&wanted));
        next = commit.parents.first().copied();
    }
    publications.truncate(limit);
    Ok(publications)
}

/// Reads the submodule entries on the pocket's branch.
pub(super) fn entries(site: &GitSite, spec: &PocketSpec) -> Result<BTreeMap<PackageName, SuperprojectEntry>> {
    let mut entries = BTreeMap::new();
    let Some(repository) = Repository::open(&site.superproject)? else { return Ok(entries) };
    let Some(head) = repository.reference(&branch_ref(spec))? else { return Ok(entries) };
    let tree = repository.commit(head)?.tree;
    let mut urls = match repository.file(tree, GITMODULES, MAX_GITMODULES_BYTES)? {
        FileAt::Bytes(bytes) => gitmodules::parse(&bytes),
        _ => gitmodules::Urls::new(),
    };
    let data = repository.read(tree, Kind::Tree)?;
    for entry in TreeRefIter::from_bytes(&data, tree.kind()).filter_map(std::result::Result::ok) {
        let package = std::str::from_utf8(entry.filename).ok().and_then(|it| it.parse::<PackageName>().ok());
        if let Some(package) = package.filter(|_| entry.mode.is_commit()) {
            let (commit, url): (CommitId, _) = (commit_id(entry.oid.to_owned()), urls.remove(&package));
            entries.insert(package, SuperprojectEntry { commit, url });
        }
    }
    Ok(entries)
}
