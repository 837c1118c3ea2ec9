//! Locks between processes and threads, which die with their owners.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::{Result, at};

/// A lock on a file, exclusive unless it says otherwise. The kernel releases it when this is dropped or its process dies.
#[derive(Debug)]
#[must_use = "a lock that is dropped at once locks nothing"]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough while a program that another thread is starting has a copy of the descriptor.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl Lock {
    /// Waits for the lock.
    pub fn wait(path: &Path) -> Result<Self> {
        let file = Self::open(path)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(rustix::io::Errno::INTR) => (),
                other => return other.map(|()| Self::of(file, path)).map_err(at("lock", path)),
            }
        }
    }

    /// Waits until nobody has the lock alone, and shares it with others who do the same.
    pub fn share(path: &Path) -> Result<Self> {
        let file = Self::open(path)?;
        loop {
            match flock(&file, FlockOperation::LockShared) {
                Err(rustix::io::Errno::INTR) => (),
                other => return other.map(|()| Self::of(file, path)).map_err(at("lock", path)),
            }
        }
    }

    /// Takes the lock if nobody has it.
    pub fn try_now(path: &Path) -> Result<Option<Self>> {
        let file = Self::open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            other => other.map(|()| Some(Self::of(file, path))).map_err(at("lock", path)),
        }
    }

    /// Returns whether the file that is locked still has its name: who removes a lock's file, while holding the lock,
    /// leaves those who waited for it with a lock that nobody else will ever see.
    pub fn has_its_name(&self) -> Result<bool> {
        let own = self.file.metadata().map_err(at("read", &self.path))?;
        match std::fs::metadata(&self.path) {
            Ok(named) => Ok((own.dev(), own.ino()) == (named.dev(), named.ino())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(at("read", &self.path)(e)),
        }
    }

    fn of(file: File, path: &Path) -> Self {
        Self { file, path: path.to_owned() }
    }

    /// Returns whether its owner, or the last one if this is called before [`Lock::set_busy`], is in the middle of
    /// something: an owner that died over it has left that in the lock's own file.
    pub fn is_busy(&self) -> Result<bool> {
        Ok(self.file.metadata().map_err(at("read", &self.path))?.len() > 0)
    }

    /// Notes in the lock's own file whether its owner is in the middle of something. Not synced: it is for finding
    /// what the death of a process leaves, which costs nothing but space.
    pub fn set_busy(&self, is_busy: bool) -> Result<()> {
        self.file.set_len(u64::from(is_busy)).map_err(at("write", &self.path))
    }

    /// Returns the locked file, for the standard input of a program: if this process is killed, the lock lives until
    /// that program has ended.
    pub fn file(&self) -> Result<File> {
        self.file.try_clone().map_err(at("share the lock", &self.path))
    }

    fn open(path: &Path) -> Result<File> {
        File::options().create(true).truncate(false).write(true).open(path).map_err(at("open the lock", path))
    }
}
