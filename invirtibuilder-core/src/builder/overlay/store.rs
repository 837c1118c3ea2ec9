//! What the overlay builder keeps between builds, and can make again: unpacked bases, apt's lists, packages, layers.
//!
//! Each is made in a throw-away directory beside its place and gets its name when it is whole; whoever uses it holds a
//! shared lock on the file beside it, so that nobody removes it meanwhile.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Trouble;
use crate::builder::scratch::{Entry, Part, Scratch};
use crate::builder::walls::Walls;
use crate::control::hex;
use crate::durable::{self, Lock};
use crate::error::BoxError;
use crate::stop::Interrupt;

/// What a kept thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::builder) enum Kind {
    /// A base, unpacked. Named by the hash of what is in it.
    Tree,
    /// What `apt-get update` fetched for a tree. Named as the tree.
    Lists,
    /// What suites of the site served at one moment, copied. Named by the hash of it.
    Indices,
    /// The lists of a tree together with those of such suites. Named by both.
    Combined,
    /// What the installation of build dependencies changed in a tree. Named by the hash of everything that it
    /// depends on.
    Layer,
    /// A tree as a disk for virtual machines. Named as the tree.
    Image,
    /// A kernel for virtual machines. Named by the hash of what it was made of.
    Kernel,
    /// What a failed build wrote. Named by its job and architecture.
    Failed,
}

impl Kind {
    pub(super) fn directory(self) -> &'static str {
        match self {
            Self::Tree => "trees",
            Self::Lists => "lists",
            Self::Indices => "indices",
            Self::Combined => "combined",
            Self::Layer => "layers",
            Self::Image => "images",
            Self::Kernel => "kernels",
            Self::Failed => "failed",
        }
    }
}

/// The directory of all that is kept.
#[derive(Clone, Debug)]
pub(in crate::builder) struct Store {
    directory: PathBuf,
}

/// A kept thing that is not removed while this value lives.
#[derive(Debug)]
pub(in crate::builder) struct Kept {
    /// Its directory.
    pub(in crate::builder) path: PathBuf,
    _lock: Lock,
}

impl Store {
    pub(in crate::builder) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    pub(in crate::builder) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the place where things are made.
    pub(in crate::builder) fn workshop(&self) -> Scratch {
        Scratch::new(&self.directory.join("work"))
    }

    /// Returns the directory of a kind of things, and makes it.
    pub(in crate::builder) fn all(&self, kind: Kind) -> Result<PathBuf, BoxError> {
        let directory = self.directory.join(kind.directory());
        durable::create_directory(&directory)?;
        Ok(directory)
    }

    /// Returns the directory of packages, named by their hashes, and makes it.
    pub(in crate::builder) fn packages(&self) -> Result<PathBuf, BoxError> {
        let directory = self.directory.join("packages");
        durable::create_directory(&directory)?;
        Ok(directory)
    }

    /// Takes a thing that is there.
    pub(in crate::builder) fn take(&self, kind: Kind, name: &str) -> Result<Option<Kept>, BoxError> {
        let path = self.all(kind)?.join(name);
        if !path.is_dir() {
            return Ok(None);
        }
        let lock = loop {
            let lock = Lock::share(&in_use(&path))?;
            if lock.has_its_name()? {
                break lock;
            }
        };
        // Only now it cannot go away.
        Ok(path.is_dir().then_some(Kept { path, _lock: lock }))
    }

    /// Waits for the right to make things of a name; of several builders at once, one makes it.
    pub(in crate::builder) fn turn(
        &self,
        kind: Kind,
        name: &str,
        interrupt: &dyn Interrupt,
    ) -> Result<Lock, Trouble> {
        const TICK: Duration = Duration::from_millis(50);
        let file = making(&self.all(kind)?.join(name));
        loop {
            let lock = Lock::try_now(&file).map_err(|e| Trouble::Machine(e.into()))?;
            if let Some(lock) = lock
                && lock.has_its_name().map_err(|e| Trouble::Machine(e.into()))?
            {
                return Ok(lock);
            }
            if interrupt.is_interrupted() {
                return Err(Trouble::Interrupted);
            }
            std::thread::sleep(TICK);
        }
    }

    /// Gives a thing its name, which nothing has. The part of the entry that it was made in is moved.
    pub(in crate::builder) fn keep(
        &self,
        kind: Kind,
        name: &str,
        entry: &Entry,
        part: Part,
    ) -> Result<(), BoxError> {
        self.keep_directory(kind, name, &entry.part(part))
    }

    /// As [`Store::keep`], for any directory on the same file system.
    pub(in crate::builder) fn keep_directory(
        &self,
        kind: Kind,
        name: &str,
        made: &Path,
    ) -> Result<(), BoxError> {
        let path = self.all(kind)?.join(name);
        // All that the kernel still has in memory of it, before the name says that it is whole.
        durable::sync_file_system(made)?;
        Ok(durable::rename(made, &path)?)
    }

    /// Gives a thing its name without syncing it: whoever takes it knows the boot of the machine during which it is
    /// whole, by its name or otherwise.
    pub(super) fn keep_this_boot(&self, kind: Kind, name: &str, made: &Path) -> Result<(), BoxError> {
        Ok(durable::rename_unsynced(made, &self.all(kind)?.join(name))?)
    }

    /// Returns what a thing that is made of these texts is named during this boot of the machine.
    pub(super) fn name_this_boot(texts: &[&str]) -> Result<String, BoxError> {
        Ok(identity(std::iter::once(&*this_boot()?).chain(texts.iter().copied())))
    }

    /// Removes the things of a kind that were made first, but for the latest `count` and what is in use; returns their
    /// names.
    pub(super) fn remove_oldest(
        &self,
        kind: Kind,
        count: usize,
        walls: &Walls,
    ) -> Result<Vec<String>, BoxError> {
        let directory = self.all(kind)?;
        let time = |name: &String| fs::metadata(directory.join(name)).and_then(|it| it.modified()).ok();
        let mut names: Vec<_> = self.names(kind)?.into_iter().map(|it| (time(&it), it)).collect();
        names.sort();
        let mut removed = Vec::new();
        for (_, name) in names.iter().take(names.len().saturating_sub(count)) {
            if self.remove(kind, name, walls)? {
                removed.push(name.clone());
            }
        }
        Ok(removed)
    }

    /// Removes a thing unless somebody uses it, and the files of its locks unless somebody is about to make it.
    /// Returns whether it did.
    pub(in crate::builder) fn remove(&self, kind: Kind, name: &str, walls: &Walls) -> Result<bool, BoxError> {
        let path = self.all(kind)?.join(name);
        let lock = Lock::try_now(&in_use(&path))?;
        let Some(lock) = lock.filter(|it| it.has_its_name().unwrap_or_default()) else { return Ok(false) };
        if path.is_dir() {
            // It loses its name in one step; should this process die, its rest is what a dead run left.
            let entry = self.workshop().enter(walls)?;
            durable::rename(&path, &entry.part(Part::Chroots).join("removed"))?;
            entry.remove()?;
        }
        if let Some(turn) = Lock::try_now(&making(&path))?
            && turn.has_its_name()?
        {
            // Whoever waits for one of them finds that it has lost its name, and takes another.
            durable::scratch::remove_file(&making(&path))?;
            durable::scratch::remove_file(&in_use(&path))?;
        }
        drop(lock);
        Ok(true)
    }

    /// Removes a thing as soon as nobody uses it.
    pub(in crate::builder) fn remove_soon(
        &self,
        kind: Kind,
        name: &str,
        walls: &Walls,
    ) -> Result<bool, BoxError> {
        const TRIES: u32 = 100;
        const TICK: Duration = Duration::from_millis(50);
        for _ in 0..TRIES {
            if self.remove(kind, name, walls)? {
                return Ok(true);
            }
            std::thread::sleep(TICK);
        }
        Ok(false)
    }

    /// Returns the directory of what apt said at a moment of the site's suites, and makes it.
    pub(in crate::builder) fn answers(&self, moment: &str) -> Result<PathBuf, BoxError> {
        let directory = self.directory.join("answers").join(moment);
        durable::create_directory(&directory)?;
        Ok(directory)
    }

    /// Returns the moments that apt was asked at first, but for the latest `count`.
    pub(super) fn old_moments(&self, count: usize) -> Vec<String> {
        let entries = fs::read_dir(self.directory.join("answers")).into_iter().flatten();
        let entries = entries.filter(|it| it.as_ref().is_ok_and(|it| it.path().is_dir()));
        let time = |it: &fs::DirEntry| it.metadata().and_then(|it| it.modified()).ok();
        let mut moments: Vec<_> =
            entries.filter_map(Result::ok).map(|it| (time(&it), it.file_name())).collect();
        moments.sort();
        moments.truncate(moments.len().saturating_sub(count));
        moments.into_iter().filter_map(|it| it.1.into_string().ok()).filter(|it| it != "base").collect()
    }

    /// Forgets what apt said at a moment.
    pub(super) fn forget_answers_of(&self, moment: &str) -> Result<(), BoxError> {
        Ok(durable::remove_directory(&self.directory.join("answers").join(moment))?)
    }

    /// Forgets what apt said.
    pub(in crate::builder) fn forget_answers(&self) -> Result<(), BoxError> {
        Ok(durable::remove_directory(&self.directory.join("answers"))?)
    }

    /// Returns the names of all things of a kind.
    pub(in crate::builder) fn names(&self, kind: Kind) -> Result<Vec<String>, BoxError> {
        let entries = fs::read_dir(self.all(kind)?)?.filter_map(Result::ok);
        let directories = entries.filter(|it| it.file_type().is_ok_and(|it| it.is_dir()));
        Ok(directories.filter_map(|it| it.file_name().into_string().ok()).collect())
    }
}

/// Returns what tells this boot of the machine from others.
pub(super) fn this_boot() -> Result<String, BoxError> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Returns the lock of who makes a thing. Names may have dots in them.
fn making(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".making");
    path.with_file_name(name)
}

fn in_use(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

/// Hashes texts, each with its length, so that no two lists of them give the same.
pub(in crate::builder) fn identity<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    const LENGTH: usize = 32;
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let mut text = hex(&hash.finalize());
    // 128 bits are enough for a name.
    text.truncate(LENGTH);
    text
}
