//! The keyring's repository: one branch, a commit whenever the package changes, and no pushes.

use std::collections::BTreeMap;

use gix::ObjectId;
use gix::objs::tree::{Entry, EntryKind};
use gix::objs::{Commit, Kind, Tree};
use jiff::Timestamp;

use super::package::{Contents, File, next_version};
use crate::config::Tagger;
use crate::control::read_changelog;
use crate::durable;
use crate::names::{CommitId, PackageName, Version};
use crate::repository::{FileAt, Hooks, RefChange, Repositories, Repository, RepositoryError, commit_id};

/// The branch, which keeps what was submitted reachable.
const BRANCH: &str = "refs/heads/keyring";
const MAX_CHANGELOG_BYTES: u64 = 16 << 20;
/// What a push is answered. It also tells a repository of this module from others.
const NO_PUSH: &[u8] = b"#!/bin/sh
echo 'Only `invirtibuilder archive keyring` writes the repository of the keyring.' >&2
exit 1
";

type Result<T> = std::result::Result<T, RepositoryError>;

/// A version of the package.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) version: Version,
    pub(super) commit: CommitId,
    pub(super) is_new: bool,
}

/// Opens the keyring's repository, or makes it; and returns whether it was made.
///
/// # Errors
/// There is a repository of that name that something else made.
pub(super) fn open(
    repositories: &Repositories,
    package: &PackageName,
    hooks: &Hooks,
) -> Result<(Repository, bool)> {
    let is_made = match repositories.create(package, hooks) {
        Ok(_) => true,
        Err(RepositoryError::Exists(_)) => false,
        Err(e) => return Err(e),
    };
    let path = repositories.path(package);
    let refused =
        |problem: &str| RepositoryError::Refused { path: path.clone(), problem: problem.to_owned() };
    let repository = Repository::open(&path)?.ok_or_else(|| refused("it has vanished; try again"))?;
    let hook_files = ["update", "pre-receive"].map(|it| path.join("hooks").join(it));
    let is_closed = hook_files.iter().all(|it| std::fs::read(it).is_ok_and(|found| found == NO_PUSH));
    if !is_closed {
        // One without a ref was made just now, perhaps by a process that died then.
        if !repository.references("refs/")?.is_empty() {
            return Err(refused(
                "it is there already and was not made for the keyring; name another package as publisher.keyring_package",
            ));
        }
        durable::write(&path.join("HEAD"), format!("ref: {BRANCH}\n").as_bytes())?;
        for file in hook_files {
            durable::write_with_mode(&file, NO_PUSH, 0o755)?;
            durable::set_mode(&file, 0o755)?;
        }
    }
    Ok((repository, is_made))
}

/// Commits the package, unless the last commit has the same.
pub(super) fn commit(
    repository: &Repository,
    contents: &Contents<'_>,
    tagger: &Tagger,
    now: Timestamp,
) -> Result<Made> {
    // Two who ask at once make one commit.
    let writer = repository.lock()?;
    let tip = repository.reference(BRANCH)?;
    let last = tip.map(|tip| read_last(repository, tip)).transpose()?;
    if let (Some(tip), Some(last)) = (tip, &last)
        && write_tree(repository, &contents.files(&last.changelog))? == last.tree
    {
        return Ok(Made { version: last.version.clone(), commit: commit_id(tip), is_new: false });
    }
    let version = next_version(now, last.as_ref().map(|it| &it.version));
    let mut changelog = contents.changelog_entry(&version, now);
    if let Some(last) = &last {
        changelog.push('\n');
        changelog.push_str(&last.changelog);
    }
    let signature = gix::actor::Signature {
        name: tagger.name.as_str().into(),
        email: tagger.email.as_str().into(),
        time: gix::date::Time::new(now.as_second(), 0),
    };
    let message =
        format!("{} {version}\n\nThe keys are {}.\n", contents.package, contents.primaries.join(", "));
    let new = repository.write(&Commit {
        tree: write_tree(repository, &contents.files(&changelog))?,
        parents: tip.into_iter().collect(),
        author: signature.clone(),
        committer: signature,
        encoding: None,
        message: message.into(),
        extra_headers: Vec::new(),
    })?;
    writer.change(&[RefChange { name: BRANCH.to_owned(), expected: tip, new: Some(new) }])?;
    Ok(Made { version, commit: commit_id(new), is_new: true })
}

/// What the last commit has.
struct Last {
    tree: ObjectId,
    changelog: String,
    version: Version,
}

fn read_last(repository: &Repository, tip: ObjectId) -> Result<Last> {
    let tree = repository.commit(tip)?.tree;
    let damaged = |problem: String| RepositoryError::Refused {
        path: repository.path().to_owned(),
        problem: format!(
            "the changelog at {BRANCH} cannot be continued: {problem}; restore the branch from a clone"
        ),
    };
    let bytes = match repository.file(tree, "debian/changelog", MAX_CHANGELOG_BYTES)? {
        FileAt::Bytes(bytes) => bytes,
        FileAt::Absent => return Err(damaged("it is not there".to_owned())),
        FileAt::Unfit(problem) => return Err(damaged(problem)),
    };
    let (_, version) = read_changelog(&bytes).map_err(damaged)?;
    let changelog = String::from_utf8(bytes).map_err(|_| damaged("it is not UTF-8".to_owned()))?;
    Ok(Last { tree, changelog, version })
}

fn write_tree(repository: &Repository, files: &[File]) -> Result<ObjectId> {
    let files: Vec<(&[&str], &File)> = files.iter().map(|it| (it.path.as_slice(), it)).collect();
    write_directory(repository, &files)
}

/// Writes a directory from the files below it, whose paths begin in it.
fn write_directory(repository: &Repository, files: &[(&[&str], &File)]) -> Result<ObjectId> {
    let mut below: BTreeMap<&str, Vec<(&[&str], &File)>> = BTreeMap::new();
    for (path, file) in files {
        if let Some((name, rest)) = path.split_first() {
            below.entry(name).or_default().push((rest, file));
        }
    }
    let mut tree = Tree::empty();
    for (name, files) in below {
        let (kind, oid) = match files.as_slice() {
            [([], file)] => {
                let kind = if file.is_executable { EntryKind::BlobExecutable } else { EntryKind::Blob };
                (kind, repository.write_bytes(Kind::Blob, &file.bytes)?)
            }
            files => (EntryKind::Tree, write_directory(repository, files)?),
        };
        tree.entries.push(Entry { mode: kind.into(), filename: name.into(), oid });
    }
    tree.entries.sort();
    repository.write(&tree)
}
