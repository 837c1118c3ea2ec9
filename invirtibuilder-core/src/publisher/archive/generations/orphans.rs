//! Files that nothing names: what is left where a record was lost, or a process died.
//!
//! A reader may hold an index that names such a file, so it goes only when it has been seen for as long as a
//! superseded file would be kept. Never follows a link, and never touches a name that this program does not give.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::super::{Archive, ArchiveError};
use super::by_hash;
use super::expire::Looked;
use crate::durable;

/// The age at which an unfinished file was left by a process that died.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

impl Archive {
    /// Adds to `gone` what nothing names and nobody can be reading, and returns how many files have not been seen
    /// for long enough. What is seen for the first time is noted, unless this is a trial. The caller holds the lock.
    pub(super) fn find_orphans(
        &self,
        looked: &[Looked],
        now: Timestamp,
        is_trial: bool,
        gone: &mut BTreeSet<String>,
    ) -> Result<usize, ArchiveError> {
        let mut named = gone.clone();
        for it in looked {
            named.extend(by_hash(&it.suite, &it.release));
            named.extend(self.files_by_source(&it.suite, &it.release)?.into_values().flatten());
            named.extend(self.needed_files(it)?);
            let kept = it.records.kept.iter().filter(|(number, _)| !it.expired.contains(number));
            let releases = kept.filter_map(|(_, record)| record.release());
            named.extend(releases.flat_map(|release| by_hash(&it.suite, &release)));
        }
        let (mut files, mut left) = (Vec::new(), Vec::new());
        for directory in ["pool", "dists", "snapshot"] {
            walk(&self.directory.join(directory), &mut files, &mut left)?;
        }
        let mut tables = Vec::new();
        walk(&self.state.join("tables"), &mut tables, &mut left)?;
        walk(&self.state.join("generations"), &mut Vec::new(), &mut left)?;
        let sums: BTreeSet<&str> = named.iter().filter_map(|it| it.rsplit('/').next()).collect();
        // A table can be made again, so nobody waits.
        tables.retain(|it| !it.file_name().and_then(|it| it.to_str()).is_some_and(|it| sums.contains(it)));
        let relative = files.iter().filter_map(|it| it.strip_prefix(&self.directory).ok()?.to_str());
        let is_ours = |it: &&str| {
            it.starts_with("pool/") || (it.starts_with("dists/") && it.contains("/by-hash/SHA256/"))
        };
        let mut orphans: BTreeSet<String> =
            relative.filter(is_ours).filter(|it| !named.contains(*it)).map(str::to_owned).collect();

        // What another program serves here names files that this one cannot know of.
        if super::list(&self.directory.join("dists"))?.len() != looked.len() {
            orphans.clear();
        }
        let known = self.read_seen();
        let seen: BTreeMap<&String, Timestamp> =
            orphans.iter().map(|it| (it, known.get(it).copied().unwrap_or(now))).collect();
        let is_old = |since: &Timestamp| {
            let age = Duration::try_from(now.duration_since(*since)).unwrap_or_default();
            age >= self.records.policy.time
        };
        let (old, young): (Vec<_>, Vec<_>) = seen.into_iter().partition(|it| is_old(&it.1));
        gone.extend(old.into_iter().map(|it| it.0.clone()));
        if !is_trial {
            let mut text = String::new();
            for (path, since) in &young {
                // Writing to a text cannot fail.
                let _ = writeln!(text, "{since} {path}");
            }
            durable::create_directory(&self.state.join("generations"))?;
            durable::note(&self.seen_path(), text.as_bytes())?;
        }
        let whole = |path: PathBuf| path.to_str().map(str::to_owned);
        gone.extend(left.into_iter().filter(|it| is_abandoned(it)).chain(tables).filter_map(whole));
        Ok(young.len())
    }

    /// Returns when each orphan was first seen.
    fn read_seen(&self) -> BTreeMap<String, Timestamp> {
        let text = std::fs::read_to_string(self.seen_path()).unwrap_or_default();
        let line = |line: &str| {
            let (time, path) = line.split_once(' ')?;
            Some((path.to_owned(), time.parse().ok()?))
        };
        text.lines().filter_map(line).collect()
    }

    fn seen_path(&self) -> PathBuf {
        self.state.join("generations").join("orphans")
    }
}

/// Collects the files below a directory, and apart from them those that were never finished.
fn walk(directory: &Path, files: &mut Vec<PathBuf>, left: &mut Vec<PathBuf>) -> Result<(), ArchiveError> {
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        let entries = match std::fs::read_dir(&next) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(ArchiveError::read(&next))?,
        };
        for entry in entries {
            let entry = entry.map_err(ArchiveError::read(&next))?;
            let kind = entry.file_type().map_err(ArchiveError::read(&next))?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                let is_left = durable::is_unfinished(&entry.file_name().to_string_lossy());
                if is_left { left.push(entry.path()) } else { files.push(entry.path()) }
            }
        }
    }
    Ok(())
}

fn is_abandoned(path: &Path) -> bool {
    let changed = std::fs::symlink_metadata(path).and_then(|it| it.modified());
    changed.is_ok_and(|it| SystemTime::now().duration_since(it).is_ok_and(|age| age > ABANDONED))
}
