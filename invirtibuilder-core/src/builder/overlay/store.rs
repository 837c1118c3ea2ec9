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
pub(super) enum Kind {
    /// A base, unpacked. Named by the hash of what is in it.
    Tree,
    /// What `apt-get update` fetched for a tree. Named as the tree.
    Lists,
    /// What the installation of build dependencies changed in a tree. Named by the hash of everything that it
    /// depends on.
    Layer,
}

impl Kind {
    fn directory(self) -> &'static str {
        match self {
            Self::Tree => "trees",
            Self::Lists => "lists",
            Self::Layer => "layers",
        }
    }
}

/// The directory of all that is kept.
#[derive(Clone, Debug)]
pub(super) struct Store {
    directory: PathBuf,
}

/// A kept thing that is not removed while this value lives.
#[derive(Debug)]
pub(super) struct Kept {
    /// Its directory.
    pub(super) path: PathBuf,
    _lock: Lock,
}

impl Store {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the place where things are made.
    pub(super) fn workshop(&self) -> Scratch {
        Scratch::new(&self.directory.join("work"))
    }

    /// Returns the directory of a kind of things, and makes it.
    pub(super) fn all(&self, kind: Kind) -> Result<PathBuf, BoxError> {
        let directory = self.directory.join(kind.directory());
        durable::create_directory(&directory)?;
        Ok(directory)
    }

    /// Returns the directory of packages, named by their hashes, and makes it.
    pub(super) fn packages(&self) -> Result<PathBuf, BoxError> {
        let directory = self.directory.join("packages");
        durable::create_directory(&directory)?;
        Ok(directory)
    }

    /// Takes a thing that is there.
    pub(super) fn take(&self, kind: Kind, name: &str) -> Result<Option<Kept>, BoxError> {
        let path = self.all(kind)?.join(name);
        if !path.is_dir() {
            return Ok(None);
        }
        let lock = Lock::share(&in_use(&path))?;
        // Only now it cannot go away.
        Ok(path.is_dir().then_some(Kept { path, _lock: lock }))
    }

    /// Waits for the right to make things of a name; of several builders at once, one makes it.
    pub(super) fn turn(&self, kind: Kind, name: &str, interrupt: &dyn Interrupt) -> Result<Lock, Trouble> {
        const TICK: Duration = Duration::from_millis(50);
        let file = self.all(kind)?.join(format!("{name}.making"));
        loop {
            if let Some(lock) = Lock::try_now(&file).map_err(|e| Trouble::Machine(e.into()))? {
                return Ok(lock);
            }
            if interrupt.is_interrupted() {
                return Err(Trouble::Interrupted);
            }
            std::thread::sleep(TICK);
        }
    }

    /// Gives a thing its name, which nothing has. The part of the entry that it was made in is moved.
    pub(super) fn keep(&self, kind: Kind, name: &str, entry: &Entry, part: Part) -> Result<(), BoxError> {
        let path = self.all(kind)?.join(name);
        let made = entry.part(part);
        // All that the kernel still has in memory of it, before the name says that it is whole.
        durable::sync_file_system(&made)?;
        Ok(durable::rename(&made, &path)?)
    }

    /// Removes a thing unless somebody uses it. Returns whether it did.
    pub(super) fn remove(&self, kind: Kind, name: &str, walls: &Walls) -> Result<bool, BoxError> {
        let path = self.all(kind)?.join(name);
        let Some(lock) = Lock::try_now(&in_use(&path))? else { return Ok(false) };
        if path.is_dir() {
            // It loses its name in one step; should this process die, its rest is what a dead run left.
            let entry = self.workshop().enter(walls)?;
            durable::rename(&path, &entry.part(Part::Chroots).join("removed"))?;
            entry.remove()?;
        }
        drop(lock);
        Ok(true)
    }

    /// Removes a thing as soon as nobody uses it.
    pub(super) fn remove_soon(&self, kind: Kind, name: &str, walls: &Walls) -> Result<bool, BoxError> {
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

    /// Returns the directory of what apt said, and makes it.
    pub(super) fn answers(&self) -> Result<PathBuf, BoxError> {
        let directory = self.directory.join("answers");
        durable::create_directory(&directory)?;
        Ok(directory)
    }

    /// Forgets what apt said.
    pub(super) fn forget_answers(&self) -> Result<(), BoxError> {
        Ok(durable::remove_directory(&self.directory.join("answers"))?)
    }

    /// Returns the names of all things of a kind.
    pub(super) fn names(&self, kind: Kind) -> Result<Vec<String>, BoxError> {
        let entries = fs::read_dir(self.all(kind)?)?.filter_map(Result::ok);
        let directories = entries.filter(|it| it.file_type().is_ok_and(|it| it.is_dir()));
        Ok(directories.filter_map(|it| it.file_name().into_string().ok()).collect())
    }
}

fn in_use(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

/// Hashes texts, each with its length, so that no two lists of them give the same.
pub(super) fn identity<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
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
