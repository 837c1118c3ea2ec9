//! A commit's tree: listed and judged as a whole first, then written.
//!
//! Never writes anything of a tree that breaks a rule, and never outside of the given directory.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use gix::ObjectId;
use gix::objs::tree::EntryKind;
use gix::objs::{Kind, TreeRefIter};

use super::Problem;
use crate::durable::scratch;
use crate::repository::Repository;

/// How large a commit's tree may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeLimits {
    /// Directories in one another.
    pub depth: usize,
    /// Files, links and directories.
    pub entries: usize,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
}

impl Default for TreeLimits {
    /// Larger than nearly every package of Debian, and small enough for a disk.
    fn default() -> Self {
        Self { depth: 100, entries: 250_000, file_bytes: 256 << 20, total_bytes: 2 << 30 }
    }
}

/// What dpkg-source keeps out of every source package, in any directory (dpkg-source(1)): what a build or one
/// person's work tree leaves behind. It is not written either, so that it has no influence.
const LEFT_OUT: [&[u8]; 4] = [
    b"debian/source/local-options",
    b"debian/source/local-patch-header",
    b"debian/files",
    b"debian/files.new",
];

/// What an entry of the tree becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Become {
    Directory,
    File { is_executable: bool },
    Link,
}

/// An entry of the tree, with its path from the top.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) path: Vec<u8>,
    pub(super) id: ObjectId,
    pub(super) becomes: Become,
}

/// The walk of a tree, and what it has counted.
struct Walk<'a> {
    repository: &'a Repository,
    limits: &'a TreeLimits,
    listed: Vec<Listed>,
    total_bytes: u64,
    /// Trees to be listed, with their paths and depths.
    pending: Vec<(ObjectId, Vec<u8>, usize)>,
    /// What was read already: a tree that is too large often is a few trees many times.
    trees: HashMap<ObjectId, Rc<Vec<u8>>>,
    sizes: HashMap<ObjectId, u64>,
}

/// Lists a tree in the order of its paths, so that a directory is before what is in it.
pub(super) fn list(
    repository: &Repository,
    tree: ObjectId,
    limits: &TreeLimits,
) -> Result<Vec<Listed>, Problem> {
    let pending = vec![(tree, Vec::new(), 0)];
    let (trees, sizes) = (HashMap::new(), HashMap::new());
    let mut walk = Walk { repository, limits, listed: Vec::new(), total_bytes: 0, pending, trees, sizes };
    while let Some((tree, path, depth)) = walk.pending.pop() {
        walk.list_directory(tree, &path, depth)?;
    }
    let mut listed = walk.listed;
    listed.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(listed)
}

/// Returns whether a path is a directory or in it.
pub(super) fn is_in(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Reads the target of a link.
pub(super) fn link_target(repository: &Repository, it: &Listed) -> Result<Vec<u8>, Problem> {
    let target = repository.read(it.id, Kind::Blob)?;
    if target.is_empty() || target.contains(&0) || target.len() > 4000 {
        return problem(&it.path, "is a link without a valid target; mend it");
    }
    Ok(target)
}

impl Walk<'_> {
    fn list_directory(&mut self, tree: ObjectId, above: &[u8], depth: usize) -> Result<(), Problem> {
        let limits = self.limits;
        if depth > limits.depth {
            return problem(above, &format!("is more than {} directories deep; flatten it", limits.depth));
        }
        let data = match self.trees.get(&tree) {
            Some(data) => Rc::clone(data),
            None => Rc::new(self.repository.read(tree, Kind::Tree)?),
        };
        self.trees.insert(tree, Rc::clone(&data));
        let mut names = HashSet::new();
        for entry in TreeRefIter::from_bytes(&data, tree.kind()) {
            let Ok(entry) = entry else {
                return problem(above, "is not a well-formed tree; look at it with `git fsck`");
            };
            let mut path = above.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(entry.filename);
            check_name(entry.filename, &path)?;
            if !names.insert(entry.filename.to_vec()) {
                return problem(&path, "is in its directory twice; look at it with `git fsck`");
            }
            if LEFT_OUT
                .iter()
                .any(|it| path.strip_suffix(*it).is_some_and(|rest| rest.is_empty() || rest.ends_with(b"/")))
            {
                continue;
            }
            if self.listed.len() >= limits.entries {
                let text =
                    format!("the tree has more than {} files and directories; split it", limits.entries);
                return Err(Problem::Tree(text));
            }
            let id = entry.oid.to_owned();
            // Only git's own five modes are kept apart: what else a mode says, such as set-user-id, is dropped.
            let becomes = match entry.mode.kind() {
                EntryKind::Tree => Become::Directory,
                EntryKind::Blob => Become::File { is_executable: false },
                EntryKind::BlobExecutable => Become::File { is_executable: true },
                EntryKind::Link => Become::Link,
                EntryKind::Commit => {
                    return problem(
                        &path,
                        "is a submodule, whose files the commit does not hold; add them instead",
                    );
                }
            };
            match becomes {
                Become::Directory => self.pending.push((id, path.clone(), depth + 1)),
                Become::File { .. } | Become::Link => self.count(&path, id)?,
            }
            self.listed.push(Listed { path, id, becomes });
        }
        Ok(())
    }

    fn count(&mut self, path: &[u8], id: ObjectId) -> Result<(), Problem> {
        let limits = self.limits;
        let size = match self.sizes.get(&id) {
            Some(size) => *size,
            None => self.repository.size(id)?,
        };
        self.sizes.insert(id, size);
        if size > limits.file_bytes {
            return problem(
                path,
                &format!("has {size} bytes, more than {}; make it smaller", limits.file_bytes),
            );
        }
        self.total_bytes = self.total_bytes.saturating_add(size);
        if self.total_bytes > limits.total_bytes {
            let text = format!("the files have more than {} bytes together; split them", limits.total_bytes);
            return Err(Problem::Tree(text));
        }
        Ok(())
    }
}

/// Refuses names that lead elsewhere, that git itself refuses (git-fsck(1)), or that no file system takes.
fn check_name(name: &[u8], path: &[u8]) -> Result<(), Problem> {
    const MAX_NAME: usize = 255;
    const MAX_PATH: usize = 3000;
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
        return problem(path, "is not a name that a file can have; look at it with `git fsck`");
    }
    if is_dot_git(name) {
        return problem(path, "is what git keeps its own files in; remove it");
    }
    if name.len() > MAX_NAME || path.len() > MAX_PATH {
        return problem(path, "has too long a name; shorten it");
    }
    Ok(())
}

/// Returns whether a name is `.git`, in any case or as another file system shortens it.
fn is_dot_git(name: &[u8]) -> bool {
    // Windows drops dots and blanks at the end; HFS+ ignores some characters outside of ASCII.
    let visible: Vec<u8> = match std::str::from_utf8(name) {
        Ok(text) => {
            let ignored = |c: &char| matches!(*c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
            text.chars().filter(|it| !ignored(it)).collect::<String>().into_bytes()
        }
        Err(_) => name.to_vec(),
    };
    let end = visible.iter().rposition(|c| !b". ".contains(c)).map_or(0, |at| at + 1);
    let stem = visible.get(..end).unwrap_or_default();
    stem.eq_ignore_ascii_case(b".git") || stem.eq_ignore_ascii_case(b"git~1")
}

/// Refuses an entry, by its path with what is not printable escaped.
fn problem<T>(path: &[u8], text: &str) -> Result<T, Problem> {
    Err(Problem::Tree(format!("{} {text}", super::shown_path(path))))
}

/// Writes a listed tree into a directory: files, then links, so that nothing is written through a link, then
/// the time of everything.
pub(super) fn write(
    repository: &Repository,
    listed: &[&Listed],
    top: &Path,
    time: i64,
) -> Result<(), Problem> {
    let place = |it: &Listed| top.join(OsStr::from_bytes(&it.path));
    for it in listed {
        match it.becomes {
            Become::Directory => scratch::create_directory(&place(it), 0o755)?,
            Become::File { is_executable } => {
                let bytes = repository.read(it.id, Kind::Blob)?;
                scratch::write_new(&place(it), &bytes, if is_executable { 0o755 } else { 0o644 })?;
            }
            Become::Link => (),
        }
    }
    for it in listed.iter().filter(|it| it.becomes == Become::Link) {
        let target = link_target(repository, it)?;
        scratch::symlink(Path::new(OsStr::from_bytes(&target)), &place(it))?;
    }
    // The innermost first: writing into a directory changes its time.
    for it in listed.iter().rev() {
        scratch::set_time(&place(it), time)?;
    }
    Ok(scratch::set_time(top, time)?)
}
