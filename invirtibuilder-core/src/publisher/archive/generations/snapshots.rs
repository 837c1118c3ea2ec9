//! Generations that readers can go back to: `snapshot/<suite>/<number>/` looks like an archive of its own.
//!
//! Everything there is a link or a copy: it can be made again from the records, and so is never synced.

use std::path::{Path, PathBuf};

use super::super::release::Release;
use super::super::{Archive, ArchiveError};
use super::record::Record;
use crate::durable::{self, derived};
use crate::names::Suite;
use crate::publisher::Generation;

/// The directory of the snapshots below the archive.
pub(in super::super) const DIRECTORY: &str = "snapshot";

impl Archive {
    /// Returns the directory of a snapshot.
    pub(in super::super) fn snapshot_directory(&self, suite: &Suite, generation: Generation) -> PathBuf {
        self.snapshots(suite).join(generation.to_string())
    }

    pub(super) fn snapshots(&self, suite: &Suite) -> PathBuf {
        self.directory.join(DIRECTORY).join(suite.as_str())
    }

    /// Makes the snapshot of what a suite serves now. The caller holds the lock.
    pub(super) fn make_snapshot(&self, suite: &Suite, release: &Release) -> Result<(), ArchiveError> {
        let Some(generation) = release.generation else { return Ok(()) };
        // Whatever has the number already was never served under it.
        derived::remove_directory(&self.snapshot_directory(suite, generation))?;
        let own = self.link_snapshot(suite, generation, release)?;
        let served = self.suite_directory(suite);
        // The one that tells readers of the others is the last.
        for name in ["Release.gpg", "Release", "InRelease"] {
            derived::link(&served.join(name), &own.join(name))?;
        }
        Ok(())
    }

    /// Makes what a loss of power took of the snapshots of a suite. The caller holds the lock.
    pub(super) fn mend_snapshots<'a>(
        &self,
        suite: &Suite,
        records: impl Iterator<Item = &'a Record>,
    ) -> Result<(), ArchiveError> {
        for record in records {
            let Some(release) = record.release() else { continue };
            let own = self.link_snapshot(suite, record.generation, &release)?;
            let path = own.join("InRelease");
            if std::fs::symlink_metadata(&path).is_ok_and(|it| it.len() == record.signed.len() as u64) {
                continue;
            }
            durable::note(&path, record.signed.as_bytes())?;
        }
        Ok(())
    }

    /// Returns the numbers of a suite's snapshots on disk.
    pub(super) fn snapshots_on_disk(&self, suite: &Suite) -> Result<Vec<Generation>, ArchiveError> {
        let paths = super::list(&self.snapshots(suite))?;
        let number = |path: &PathBuf| path.file_name()?.to_str()?.parse().ok();
        Ok(paths.iter().filter_map(number).collect())
    }

    /// Makes the directories of a snapshot and the links to what it shares with the archive, and returns the
    /// directory of its suite.
    fn link_snapshot(
        &self,
        suite: &Suite,
        generation: Generation,
        release: &Release,
    ) -> Result<PathBuf, ArchiveError> {
        let root = self.snapshot_directory(suite, generation);
        let own = root.join("dists").join(suite.as_str());
        derived::create_directory(&own)?;
        derived::symlink(Path::new("../../../pool"), &root.join("pool"))?;
        let components: std::collections::BTreeSet<&str> =
            release.files.iter().filter_map(|it| it.path.split('/').next()).collect();
        for component in components {
            let target = format!("../../../../../dists/{suite}/{component}");
            derived::symlink(Path::new(&target), &own.join(component))?;
        }
        Ok(own)
    }
}
