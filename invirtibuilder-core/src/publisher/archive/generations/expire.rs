//! Removing what no kept generation and no suite names any longer.
//!
//! First the decision is made durable, by renaming the records of the generations that go; then their snapshots
//! go, then files, then records. Killed in between, the next run goes on from the records. Never removes what any
//! suite serves, also one that is no longer configured: its readers count too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::super::release::Release;
use super::super::stanza::Stanza;
use super::super::{Archive, ArchiveError};
use super::record::PoolFiles;
use super::{GONE, Keep, SuiteRecords, by_hash, policy};
use crate::durable::{self, derived};
use crate::error::PublishError;
use crate::names::{PackageName, Suite};
use crate::publisher::Generation;

/// From how many source packages on all of an index is read, and not only what it has of each.
const FEW: usize = 64;
/// A run waits until a share of what is kept has become superfluous: one in this many.
const BATCH: u64 = 8;
/// A run waits at least this share of the time for which everything is kept.
const PAUSES: u32 = 32;

/// What an expiry removes, or would remove, and why the rest stays.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Expiry {
    /// The generations that go, by suite.
    pub generations: BTreeMap<Suite, Vec<Generation>>,
    /// The files that go, in the order of their paths.
    pub files: Vec<Removal>,
    /// The generations that stay, by suite, with the reason.
    pub kept: BTreeMap<Suite, BTreeMap<u64, Keep>>,
    /// Files that nothing names and whose record is lost: they go when they have been seen for long enough.
    pub orphans: usize,
}

/// A file that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// Its path below the archive, or its whole path where it lies elsewhere.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
}

impl Expiry {
    /// Returns how many bytes go.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|it| it.size).sum()
    }
}

/// What one suite has, and what of it goes.
pub(super) struct Looked {
    pub(super) suite: Suite,
    pub(super) release: Release,
    pub(super) records: SuiteRecords,
    /// The numbers of the generations that go.
    pub(super) expired: Vec<u64>,
}

impl Archive {
    /// Removes what is not kept any longer, orphans and what dead processes left; or only says what would go.
    ///
    /// # Errors
    /// The archive cannot be read, or a file not removed.
    pub fn expire(&self, is_trial: bool) -> Result<Expiry, PublishError> {
        let _lock = self.lock()?;
        let now = Timestamp::now();
        let (mut looked, mut expiry) = self.look(now)?;
        let mut gone = self.superfluous(&looked)?;
        expiry.orphans = self.find_orphans(&looked, now, is_trial, &mut gone)?;
        expiry.files = gone.iter().map(|it| self.removal(it)).collect();
        if !is_trial {
            self.remove(&mut looked, &gone)?;
            self.remove_strange_snapshots(&looked)?;
            self.note_run(&looked, now)?;
        }
        Ok(expiry)
    }

    /// Removes what is not kept any longer, if it is worth a look. The caller holds the lock.
    pub(super) fn expire_if_due(&self, suite: &Suite, number: u64) -> Result<(), ArchiveError> {
        let now = Timestamp::now();
        if !self.is_due(suite, number, now) {
            return Ok(());
        }
        let (mut looked, _) = self.look(now)?;
        let gone = self.superfluous(&looked)?;
        self.remove(&mut looked, &gone)?;
        self.note_run(&looked, now)
    }

    /// Returns whether a suite has changed often enough, and enough time has passed, since the last run.
    fn is_due(&self, suite: &Suite, number: u64, now: Timestamp) -> bool {
        let Ok(text) = std::fs::read_to_string(self.note_path()) else { return true };
        let mut lines = text.lines().filter_map(|it| it.split_once(' '));
        let next = lines.clone().find(|it| it.0 == "next").and_then(|it| it.1.parse::<Timestamp>().ok());
        let last = lines.find_map(|it| it.1.split_once(' ').filter(|it| it.0 == suite.as_str()));
        let last: u64 = last.and_then(|it| it.1.parse().ok()).unwrap_or_default();
        let batch = (self.records.policy.generations as u64 / BATCH).max(1);
        next.is_none_or(|it| now >= it) && number.saturating_sub(last) >= batch
    }

    /// Notes at which generations this run was, and when there may be something to do again.
    fn note_run(&self, looked: &[Looked], now: Timestamp) -> Result<(), ArchiveError> {
        let policy = self.records.policy;
        let mut next: Option<Timestamp> = None;
        let mut text = String::new();
        for Looked { suite, release, records, .. } in looked {
            let number = release.generation.map_or(0, Generation::number);
            let _ = writeln!(text, "suite {suite} {number}");
            for keep in policy::keep(records, number, now, policy).into_values() {
                if let Keep::Young { until } = keep {
                    next = Some(next.map_or(until, |it| it.min(until)));
                }
            }
        }
        // Whatever is superseded from now on stays for the whole time.
        let after = |time: Duration| now.checked_add(time).unwrap_or(Timestamp::MAX);
        let next = next.unwrap_or_else(|| after(policy.time)).max(after(policy.time / PAUSES));
        let _ = writeln!(text, "next {next}");
        durable::create_directory(&self.state.join("generations"))?;
        Ok(durable::note(&self.note_path(), text.as_bytes())?)
    }

    fn note_path(&self) -> PathBuf {
        self.state.join("generations").join("expired")
    }

    /// Reads all suites, and decides which generations go.
    fn look(&self, now: Timestamp) -> Result<(Vec<Looked>, Expiry), ArchiveError> {
        let (mut all, mut expiry) = (Vec::new(), Expiry::default());
        for suite in self.served_suites()? {
            let Some(release) = self.release(&suite)? else { continue };
            let number = release.generation.map_or(0, Generation::number);
            let records = self.records.read_all(&suite, number)?;
            let kept = policy::keep(&records, number, now, self.records.policy);
            let expired: Vec<u64> =
                records.kept.keys().filter(|it| !kept.contains_key(it)).copied().collect();
            if !expired.is_empty() {
                let numbers = expired.iter().copied().map(Generation::new).collect();
                expiry.generations.insert(suite.clone(), numbers);
            }
            expiry.kept.insert(suite.clone(), kept);
            all.push(Looked { suite, release, records, expired });
        }
        Ok((all, expiry))
    }

    /// Returns the files that the records know of and that no kept generation and no suite names, as paths below
    /// the archive.
    fn superfluous(&self, looked: &[Looked]) -> Result<BTreeSet<String>, ArchiveError> {
        let (mut indices, mut pool) = (BTreeSet::new(), PoolFiles::new());
        let (mut needed_indices, mut needed_pool) = (BTreeSet::new(), BTreeSet::new());
        for it in looked {
            let is_expired = |number: &u64| it.expired.contains(number);
            for (number, record) in it.records.kept.iter().chain(&it.records.gone) {
                let goes = it.records.gone.contains_key(number) || is_expired(number);
                let named = record.release().map(|release| by_hash(&it.suite, &release)).unwrap_or_default();
                if goes {
                    indices.extend(named);
                } else {
                    needed_indices.extend(named);
                }
                for stray in &record.strays {
                    let to_pool = stray.strip_prefix("pool/").is_some();
                    if to_pool {
                        let source = stray.rsplit('/').nth(1).unwrap_or_default().to_owned();
                        pool.entry(stray.clone()).or_insert(source);
                    } else {
                        indices.insert(stray.clone());
                    }
                }
                for (path, source) in &record.before {
                    pool.insert(path.clone(), source.clone());
                }
            }
            needed_indices.extend(by_hash(&it.suite, &it.release));
            needed_pool.extend(self.needed_files(it)?);
        }
        indices.retain(|it| !needed_indices.contains(it));
        pool.retain(|path, _| !needed_pool.contains(path));
        for it in looked {
            self.retain_unserved(&it.suite, &it.release, &mut pool)?;
        }
        let is_there = |it: &String| std::fs::symlink_metadata(self.directory.join(it)).is_ok();
        Ok(indices.into_iter().chain(pool.into_keys()).filter(is_there).collect())
    }

    /// Returns the pool files that the kept generations of a suite name, as far as others than the current one do.
    ///
    /// A package is in a generation as the next record that changed it says it was before; without such a record,
    /// as it is now. Where a record is missing in between, all indices of the generation are read.
    pub(super) fn needed_files(&self, looked: &Looked) -> Result<BTreeSet<String>, ArchiveError> {
        let Looked { suite, release, records, expired } = looked;
        let current = release.generation.map_or(0, Generation::number);
        let kept: Vec<u64> = records.kept.keys().filter(|it| !expired.contains(it)).copied().collect();
        let all = records.all();
        let mut needed = BTreeSet::new();
        // When each package changed, from the latest on.
        let unbroken =
            (1..=current).rev().take_while(|it| all.contains_key(it)).last().unwrap_or(current + 1);
        for number in kept.iter().filter(|it| **it + 1 < unbroken) {
            if let Some(release) = all.get(number).and_then(|it| it.release()) {
                needed.extend(self.files_by_source(suite, &release)?.into_values().flatten());
            }
        }
        let mut last_change: BTreeMap<&str, u64> = BTreeMap::new();
        for (number, record) in &all {
            for (path, source) in &record.before {
                let since = last_change.get(source.as_str()).copied().unwrap_or_default();
                let first = kept.partition_point(|it| *it < since);
                if kept.get(first).is_some_and(|it| it < number) {
                    needed.insert(path.clone());
                }
            }
            for source in record.before.values().map(String::as_str) {
                last_change.insert(source, *number);
            }
            // A package that is new has no files before.
            for changed in &record.reason.changes {
                last_change.insert(changed.package.as_str(), *number);
            }
        }
        Ok(needed)
    }

    /// Keeps of some pool files those that a suite does not serve.
    fn retain_unserved(
        &self,
        suite: &Suite,
        release: &Release,
        pool: &mut PoolFiles,
    ) -> Result<(), ArchiveError> {
        let sources: BTreeSet<String> = pool.values().cloned().collect();
        if sources.len() > FEW {
            let served: BTreeSet<String> =
                self.files_by_source(suite, release)?.into_values().flatten().collect();
            pool.retain(|path, _| !served.contains(path));
            return Ok(());
        }
        for path in release.indices().iter().filter(|it| it.names_files()) {
            for source in sources.iter().filter_map(|it| it.parse::<PackageName>().ok()) {
                let entries = self.lookup(suite, release, path, &source)?;
                for file in entries.iter().flat_map(Stanza::files) {
                    pool.remove(&file.path);
                }
            }
        }
        Ok(())
    }

    /// Removes the generations that go, and files.
    fn remove(&self, looked: &mut [Looked], gone: &BTreeSet<String>) -> Result<(), ArchiveError> {
        for Looked { suite, records, expired, .. } in &mut *looked {
            for number in &*expired {
                let path = self.records.path(suite, *number);
                durable::rename_unsynced(&path, &path.with_extension(GONE))?;
                if let Some(record) = records.kept.remove(number) {
                    records.gone.insert(*number, record);
                }
            }
            if !expired.is_empty() {
                durable::sync_directory(&self.state.join("generations").join(suite.as_str()))?;
            }
            expired.clear();
            // Among them are those of a run that was interrupted.
            for number in records.gone.keys() {
                derived::remove_directory(&self.snapshot_directory(suite, Generation::new(*number)))?;
            }
        }
        let tables = gone.iter().filter_map(|it| it.strip_prefix("dists/")?.rsplit('/').next());
        let tables: Vec<PathBuf> = tables.map(|it| self.table_path(it)).collect();
        // Without its index a table would not be found again.
        durable::remove_all(tables.iter().map(PathBuf::as_path))?;
        let files: Vec<PathBuf> = gone.iter().map(|it| self.directory.join(it)).collect();
        durable::remove_all(files.iter().map(PathBuf::as_path))?;
        for Looked { suite, records, .. } in looked {
            // What a younger generation needs of an older record is only what it says of generations between them.
            let oldest = records.kept.first_key_value().map_or(u64::MAX, |it| *it.0);
            let dead: Vec<u64> = records.gone.range(..=oldest).map(|it| *it.0).collect();
            let paths: Vec<PathBuf> =
                dead.iter().map(|it| self.records.path(suite, *it).with_extension(GONE)).collect();
            durable::remove_all(paths.iter().map(PathBuf::as_path))?;
            records.gone.retain(|number, _| *number > oldest);
        }
        Ok(())
    }

    /// Removes the snapshots that have no record, because it was lost: nothing keeps their files.
    fn remove_strange_snapshots(&self, looked: &[Looked]) -> Result<(), ArchiveError> {
        for Looked { suite, records, .. } in looked {
            for generation in self.snapshots_on_disk(suite)? {
                if !records.kept.contains_key(&generation.number()) {
                    derived::remove_directory(&self.snapshot_directory(suite, generation))?;
                }
            }
        }
        Ok(())
    }

    fn removal(&self, path: &str) -> Removal {
        // What lies elsewhere has a whole path, which joining leaves as it is.
        let size = std::fs::symlink_metadata(self.directory.join(path)).map_or(0, |it| it.len());
        Removal { path: path.to_owned(), size }
    }

    /// Returns the pool files that a release of a suite names, by source package.
    pub(super) fn files_by_source(
        &self,
        suite: &Suite,
        release: &Release,
    ) -> Result<BTreeMap<String, BTreeSet<String>>, ArchiveError> {
        let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for path in release.indices().iter().filter(|it| it.names_files()) {
            for stanza in self.stanzas_of(suite, release, path)? {
                let paths = stanza.files().into_iter().map(|it| it.path);
                files.entry(stanza.key.source().to_owned()).or_default().extend(paths);
            }
        }
        Ok(files)
    }

    /// Returns all suites on disk, also those that are no longer configured: their readers count too.
    pub(super) fn served_suites(&self) -> Result<Vec<Suite>, ArchiveError> {
        let path = self.directory.join("dists");
        let mut suites = Vec::new();
        for path in super::list(&path)? {
            suites.extend(path.file_name().and_then(|it| it.to_str()).and_then(|it| it.parse().ok()));
        }
        Ok(suites)
    }
}
