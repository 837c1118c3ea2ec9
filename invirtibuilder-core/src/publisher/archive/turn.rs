//! Whose turn it is to change the archive, and what somebody who died in theirs left unfinished.
//!
//! Never removes what has a name of its own: that may be served, and its retention is somebody else's.

use std::io;
use std::path::Path;

use super::{Archive, ArchiveError};
use crate::durable::{self, Lock};

/// The right to change the archive, until it is dropped or its process dies.
#[derive(Debug)]
#[must_use = "whoever drops it at once may change nothing"]
pub(super) struct Turn(Lock);

impl Drop for Turn {
    fn drop(&mut self) {
        if let Err(error) = self.0.set_busy(false) {
            let error: &dyn std::error::Error = &error;
            tracing::debug!(error, "the next change looks for unfinished files in vain");
        }
    }
}

impl Archive {
    /// Waits until nobody else changes the archive. If whoever did so last died over it, the files that nobody
    /// finishes any more are removed.
    pub(super) fn lock(&self) -> Result<Turn, ArchiveError> {
        let lock = Lock::wait(&self.state.join("lock"))?;
        if lock.is_busy()? {
            tracing::warn!("the last change of the archive was interrupted; unfinished files are removed");
            for directory in [&self.directory, &self.state] {
                remove_unfinished(directory).map_err(ArchiveError::read(directory))?;
            }
        }
        lock.set_busy(true)?;
        Ok(Turn(lock))
    }
}

/// Removes the unfinished files in a directory and below it. Links to directories are not followed.
fn remove_unfinished(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_unfinished(&entry.path())?;
        } else if entry.file_name().to_str().is_some_and(durable::is_unfinished) {
            // Nobody is told of it, so it is worth neither a sync nor an error.
            durable::discard(&entry.path());
        }
    }
    Ok(())
}
