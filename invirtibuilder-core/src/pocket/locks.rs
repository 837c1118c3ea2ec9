//! Keeps publications in a pocket and a rollback of it apart, and remembers the rollback that is under way.
//!
//! Publications of several packages share a pocket; a rollback has it alone. The locks die with their owner. The
//! journal of a rollback does not: it is written before its first effect, and goes after its last.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::durable::{self, DurableError, Lock};
use crate::error::{BoxError, PocketError};
use crate::names::PocketName;
use crate::rollback::Rollback;

/// How long a rollback waits for publications to end; one takes far less than a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the name of a lock ends with; no pocket's name does.
const LOCK: &str = ".lock";

/// The locks and journals of all pockets, in one directory.
#[derive(Clone, Debug)]
pub struct PocketLocks {
    directory: PathBuf,
}

/// The right to publish in a pocket, or to roll it back. It ends with this value, or with the process.
#[derive(Debug)]
#[must_use = "a right that is dropped at once is none"]
pub struct Hold {
    _lock: Lock,
}

impl PocketLocks {
    /// Takes the directory, which is made when it is needed. All processes that use it run on one machine.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Waits until no rollback is at work in a pocket, and keeps others out.
    ///
    /// # Errors
    /// The lock cannot be taken.
    pub fn share(&self, pocket: &PocketName) -> Result<Hold, PocketError> {
        let lock = self.lock_path(pocket).and_then(|path| Lock::share(&path)).map_err(backend)?;
        Ok(Hold { _lock: lock })
    }

    /// Waits until nothing is being published in a pocket, for some seconds; `None` if it still is.
    ///
    /// # Errors
    /// The lock cannot be taken.
    pub fn alone(&self, pocket: &PocketName) -> Result<Option<Hold>, PocketError> {
        let path = self.lock_path(pocket).map_err(backend)?;
        let started = Instant::now();
        loop {
            if let Some(lock) = Lock::try_now(&path).map_err(backend)? {
                return Ok(Some(Hold { _lock: lock }));
            }
            if started.elapsed() > PATIENCE {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns the rollback of a pocket that was begun and is not complete.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn pending(&self, pocket: &PocketName) -> Result<Option<Rollback>, PocketError> {
        let path = self.directory.join(pocket.as_str());
        match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(damaged(&path, &e)),
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| damaged(&path, &e)),
        }
    }

    /// Returns the pockets whose rollback was begun and is not complete.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn all_pending(&self) -> Result<Vec<PocketName>, PocketError> {
        let entries = match std::fs::read_dir(&self.directory) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|e| damaged(&self.directory, &e))?,
        };
        let names = entries.filter_map(|it| it.ok()?.file_name().to_str()?.parse().ok());
        let mut pockets: Vec<PocketName> = names.collect();
        pockets.sort();
        Ok(pockets)
    }

    /// Remembers a rollback. It is durable when this returns.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn begin(&self, rollback: &Rollback) -> Result<(), PocketError> {
        let text = serde_json::to_vec_pretty(rollback).map_err(|e| PocketError::Backend(e.into()))?;
        durable::create_directory(&self.directory).map_err(backend)?;
        durable::write(&self.directory.join(rollback.pocket.as_str()), &text).map_err(backend)
    }

    /// Forgets the rollback of a pocket, because it is complete.
    ///
    /// # Errors
    /// The journal cannot be removed.
    pub fn end(&self, pocket: &PocketName) -> Result<(), PocketError> {
        durable::remove_file(&self.directory.join(pocket.as_str())).map_err(backend)
    }

    fn lock_path(&self, pocket: &PocketName) -> Result<PathBuf, DurableError> {
        durable::create_directory(&self.directory)?;
        Ok(self.directory.join(format!("{pocket}{LOCK}")))
    }
}

fn backend(error: impl Into<BoxError>) -> PocketError {
    PocketError::Backend(error.into())
}

fn damaged(path: &Path, problem: &dyn std::error::Error) -> PocketError {
    backend(format!("cannot read {}: {problem}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publications_share_a_pocket_and_a_rollback_has_it_alone() {
        let directory = tempfile::tempdir().unwrap();
        let locks = PocketLocks::new(directory.path());
        let (dev, prod) = ("dev".parse().unwrap(), "prod".parse().unwrap());
        let alone = locks.alone(&dev).unwrap().unwrap();
        let _other = locks.share(&prod).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let first = locks.share(&dev).unwrap();
                (first, locks.share(&dev).unwrap())
            });
            assert!(!waiting.is_finished());
            drop(alone);
            drop(waiting.join().unwrap());
        });
        assert!(locks.alone(&dev).unwrap().is_some());
        assert!(locks.all_pending().unwrap().is_empty(), "a lock is no journal");
    }
}
