//! Reading refs; and moving or deleting several together, by comparison, under the locks that git itself honours.
//!
//! A ref's new value is synced before its name is visible. Never follows a symbolic ref to move what it names.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use gix::ObjectId;
use gix::refs::TargetRef;

use super::{Repository, RepositoryError, Result};
use crate::durable::{self, Lock};

/// The file whose lock this program holds while it writes.
const LOCK: &str = "invirtibuilder.lock";
/// The file that names the refs whose lock files this program is about to make, so that the next to come can
/// remove what a killed process left.
const JOURNAL: &str = "invirtibuilder.refs";
/// The file with the refs that have no file of their own.
const PACKED: &str = "packed-refs";
/// How long another program may hold the lock of a ref.
const PATIENCE: Duration = Duration::from_secs(5);
/// The age at which a ref's lock was left by a process that died: git holds one for milliseconds.
const STALE: Duration = Duration::from_secs(60);

/// A ref to be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefChange {
    /// Its full name.
    pub name: String,
    /// Where it must be; `None` if it must not exist.
    pub expected: Option<ObjectId>,
    /// Where it will be; `None` if it is deleted.
    pub new: Option<ObjectId>,
}

impl Repository {
    /// Returns what a ref names; `None` if there is no such ref.
    ///
    /// # Errors
    /// It is a symbolic ref, or unreadable.
    pub fn reference(&self, name: &str) -> Result<Option<ObjectId>> {
        let found = self.git.refs.try_find(name).map_err(self.unreadable("read a ref of"))?;
        match found.as_ref().map(|it| it.target.to_ref()) {
            None => Ok(None),
            Some(TargetRef::Object(id)) => Ok(Some(id.to_owned())),
            Some(TargetRef::Symbolic(target)) => Err(RepositoryError::Refused {
                path: self.path.clone(),
                problem: format!(
                    "{name} is only another name of {}; remove it with `git symbolic-ref --delete {name}`",
                    target.as_bstr()
                ),
            }),
        }
    }

    /// Returns the ref that a symbolic ref stands for; `None` if it is not one.
    pub fn symbolic_target(&self, name: &str) -> Result<Option<String>> {
        let found = self.git.refs.try_find(name).map_err(self.unreadable("read a ref of"))?;
        Ok(found.and_then(|it| it.target.try_name().map(|name| name.as_bstr().to_string())))
    }

    /// Returns all refs below a prefix, such as `refs/heads/`, with what they name. Symbolic refs are left out.
    pub fn references(&self, prefix: &str) -> Result<Vec<(String, ObjectId)>> {
        let platform = self.git.references().map_err(self.unreadable("list the refs of"))?;
        let mut all = Vec::new();
        for reference in platform.prefixed(prefix).map_err(self.unreadable("list the refs of"))? {
            let reference = reference.map_err(|e| self.unreadable("list the refs of")(e.to_string()))?;
            if let TargetRef::Object(id) = reference.target() {
                all.push((reference.name().as_bstr().to_string(), id.to_owned()));
            }
        }
        Ok(all)
    }

    /// Waits for the right to write, and removes the locks that a killed process of this program left.
    pub(crate) fn lock(&self) -> Result<Writer<'_>> {
        let lock = Lock::wait(&self.path.join(LOCK))?;
        let writer = Writer { repository: self, _lock: lock };
        writer.clean_up()?;
        Ok(writer)
    }
}

/// The right to write in a repository. It ends with this value, or with the process.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    repository: &'a Repository,
    _lock: Lock,
}

impl Writer<'_> {
    /// Moves refs, all or, if one is not where it is expected, none. A ref that is at its new place already is
    /// in order.
    ///
    /// Killed in between, some may have moved; the same call then completes it if what moved is left out.
    pub(crate) fn change(&self, changes: &[RefChange]) -> Result<()> {
        for change in changes.iter().filter(|it| it.new.is_some()) {
            self.check_name_is_free(&change.name)?;
        }
        let mut names: Vec<&str> = changes.iter().map(|it| it.name.as_str()).collect();
        // The one file of many refs is locked last, as git does.
        if changes.iter().any(|it| it.new.is_none()) {
            names.push(PACKED);
        }
        durable::write(&self.repository.path.join(JOURNAL), names.join("\n").as_bytes())?;
        match self.change_locked(changes) {
            // Every lock has become its ref; one that is there now is somebody else's.
            Ok(()) => Ok(durable::remove_file(&self.repository.path.join(JOURNAL))?),
            // The locks that were made are in the journal, and no others.
            Err(e) => self.clean_up().and(Err(e)),
        }
    }

    fn change_locked(&self, changes: &[RefChange]) -> Result<()> {
        let mut moves = Vec::new();
        for change in changes {
            let path = self.repository.path.join(&change.name);
            let value = change.new.map(|it| format!("{it}\n")).unwrap_or_default();
            let lock = self.take_lock(&change.name, &value)?;
            let found = self.repository.reference(&change.name)?;
            if found != change.expected && found != change.new {
                let RefChange { name, expected, .. } = change.clone();
                return Err(RepositoryError::Moved { name, expected, found });
            }
            moves.push((lock, path, change.new));
        }
        // What is packed is what a ref has where it has no file of its own: it goes first.
        let deleted = changes.iter().filter(|it| it.new.is_none()).map(|it| it.name.as_str());
        self.unpack(&deleted.collect())?;
        for (lock, path, new) in moves {
            if new.is_none() {
                durable::remove_file(&path)?;
                durable::remove_file(&lock)?;
                continue;
            }
            // No ref lies below the name, but git leaves the directories of those that did.
            if path.is_dir() {
                durable::remove_directory(&path)?;
            }
            durable::rename(&lock, &path)?;
        }
        Ok(())
    }

    /// Takes refs out of the file of packed refs (git-pack-refs(1)), under its lock.
    fn unpack(&self, names: &BTreeSet<&str>) -> Result<()> {
        let path = self.repository.path.join(PACKED);
        let is_one = |line: &str| line.split_once(' ').is_some_and(|it| names.contains(it.1));
        let read = || match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            other => other.map_err(self.repository.unreadable("read the packed refs of")),
        };
        if !read()?.lines().any(is_one) {
            return Ok(());
        }
        let lock = self.take_lock(PACKED, "")?;
        let (mut kept, mut is_kept) = (String::new(), true);
        for line in read()?.split_inclusive('\n') {
            // A line that begins with ^ belongs to the ref before it.
            if !line.starts_with('^') {
                is_kept = !is_one(line.trim_end_matches('\n'));
            }
            if is_kept {
                kept.push_str(line);
            }
        }
        durable::write(&lock, kept.as_bytes())?;
        Ok(durable::rename(&lock, &path)?)
    }

    /// Makes the lock file of a ref, with its new value in it.
    fn take_lock(&self, name: &str, value: &str) -> Result<PathBuf> {
        let lock = self.lock_path(name);
        if let Some(directory) = lock.parent() {
            durable::create_directory(directory)?;
        }
        let started = Instant::now();
        loop {
            if durable::write_new(&lock, value.as_bytes())? {
                return Ok(lock);
            }
            let made = std::fs::metadata(&lock).and_then(|it| it.modified()).ok();
            let age = made.and_then(|it| SystemTime::now().duration_since(it).ok());
            if age.is_some_and(|age| age > STALE) {
                tracing::warn!(lock = %lock.display(), "removing a lock that a killed process left");
                durable::remove_file(&lock)?;
            } else if started.elapsed() > PATIENCE {
                self.forget(name)?;
                return Err(RepositoryError::Locked { path: self.repository.path.clone(), lock });
            } else {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn lock_path(&self, name: &str) -> PathBuf {
        self.repository.path.join(format!("{name}.lock"))
    }

    /// Takes a ref out of the journal, because its lock is somebody else's.
    fn forget(&self, name: &str) -> Result<()> {
        let journal = self.repository.path.join(JOURNAL);
        let text = std::fs::read_to_string(&journal).map_err(self.repository.unreadable("read"))?;
        // Locks are made in the order of the journal: those from this one on are not ours.
        let ours: Vec<&str> = text.lines().take_while(|it| *it != name).collect();
        Ok(durable::write(&journal, ours.join("\n").as_bytes())?)
    }

    /// Removes the locks that the journal names, and the journal.
    fn clean_up(&self) -> Result<()> {
        let journal = self.repository.path.join(JOURNAL);
        let Ok(text) = std::fs::read_to_string(&journal) else { return Ok(()) };
        for name in text.lines().filter(|it| it.starts_with("refs/") || *it == PACKED) {
            let lock = self.lock_path(name);
            if lock.exists() {
                durable::remove_file(&lock)?;
            }
            remove_unfinished(&lock)?;
        }
        Ok(durable::remove_file(&journal)?)
    }

    /// Checks that no ref lies above or below a name, packed or not: git could not hold both.
    fn check_name_is_free(&self, name: &str) -> Result<()> {
        let conflict = |other: &str| RepositoryError::Refused {
            path: self.repository.path.clone(),
            problem: format!("git cannot have both {name} and {other}; rename {other}"),
        };
        let above = name.match_indices('/').map(|(at, _)| name.split_at(at).0);
        for other in above.filter(|it| it.matches('/').count() >= 2) {
            if self.repository.git.refs.try_find(other).is_ok_and(|it| it.is_some()) {
                return Err(conflict(other));
            }
        }
        match self.repository.references(&format!("{name}/"))?.first() {
            Some((other, _)) => Err(conflict(other)),
            None => Ok(()),
        }
    }
}

/// Removes what an interrupted [`durable::write_new`] left beside a lock file.
fn remove_unfinished(lock: &std::path::Path) -> Result<()> {
    let Some(directory) = lock.parent() else { return Ok(()) };
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(()) };
    for entry in entries.filter_map(std::result::Result::ok) {
        if entry.file_name().to_str().is_some_and(durable::is_unfinished) {
            durable::remove_file(&entry.path())?;
        }
    }
    Ok(())
}
