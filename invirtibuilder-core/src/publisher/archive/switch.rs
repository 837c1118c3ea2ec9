//! The one switch: from the `InRelease` that readers have to the next one.
//!
//! Whatever it writes before the last rename, nobody is told of; whatever the last rename tells of is synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::entries::Entries;
use super::generations::{Cause, Changed, PoolFiles, Reason};
use super::index::{Built, Change, Published, Sum};
use super::release::{IndexPath, Kind, Listed, Release};
use super::stanza::Stanza;
use super::{Archive, ArchiveError, SuiteSpec};
use crate::durable::{self, NewFile};
use crate::names::{PackageName, Suite};
use crate::publisher::Generation;
use crate::states::BuildPlan;

/// What should become of a suite.
#[derive(Debug)]
pub(super) struct Replacement<'a> {
    pub(super) scope: Scope<'a>,
    /// The entries that come.
    pub(super) entries: Entries,
    /// Files that are not in the pool yet.
    pub(super) files: Vec<NewFile>,
    /// Their paths, and those of files that are there already.
    pub(super) paths: Vec<String>,
    /// Why, and what changes, for the record.
    pub(super) reason: Reason,
}

/// Says for the record what a job changes, of a package of which the suite has `held`.
pub(super) fn reason(plan: &BuildPlan, held: &Entries) -> Reason {
    let source = held.iter().find(|it| it.0.kind == Kind::Source).and_then(|it| it.1.first());
    let old = source.and_then(Stanza::held).map(|it| it.version);
    let changes = vec![Changed { package: plan.package().clone(), old, new: Some(plan.version().clone()) }];
    Reason { cause: Cause::Job, job: Some(plan.job().id.clone()), changes }
}

/// What the entries of a replacement take the place of.
#[derive(Debug)]
pub(super) enum Scope<'a> {
    /// The entries of a source package: these.
    Source(&'a PackageName, Entries),
    /// All of those indices that there are entries for.
    Indices,
}

/// A suite as it is now.
#[derive(Debug)]
pub(super) struct Current<'a> {
    pub(super) suite: &'a SuiteSpec,
    pub(super) release: Option<Release>,
    /// Its indices, and those that it should have.
    pub(super) paths: BTreeSet<IndexPath>,
}

impl Archive {
    /// Reads a suite for a change. The caller holds the lock.
    pub(super) fn current<'a>(&self, suite: &'a SuiteSpec) -> Result<Current<'a>, ArchiveError> {
        let release = self.release(&suite.suite)?;
        let mut paths: BTreeSet<_> = IndexPath::of(suite).into_iter().collect();
        if let Some(release) = &release {
            paths.extend(release.indices().into_iter().filter(|it| release.is_wanted(suite, it)));
        }
        Ok(Current { suite, release, paths })
    }

    /// Returns the entries of a source package.
    pub(super) fn entries(
        &self,
        current: &Current<'_>,
        source: &PackageName,
    ) -> Result<Entries, ArchiveError> {
        let mut entries = Entries::new();
        let Some(release) = &current.release else { return Ok(entries) };
        for path in &current.paths {
            let found = self.lookup(&current.suite.suite, release, path, source)?;
            if !found.is_empty() {
                entries.insert(path.clone(), found);
            }
        }
        Ok(entries)
    }

    /// Replaces what a suite serves of a source package, and returns the new generation. The caller holds the lock.
    pub(super) fn switch(
        &self,
        current: &Current<'_>,
        replacement: Replacement<'_>,
    ) -> Result<Option<Generation>, ArchiveError> {
        let suite = current.suite;
        let built = self.build(current, &replacement)?;
        let directory = self.suite_directory(&suite.suite);
        let listed = list(current, &built);
        let now = Timestamp::now();
        let release = Release::next(suite, current.release.as_ref(), now, listed).valid_for(self.valid_for);
        let text = release.to_text();
        let signed = self.signer.sign(&text)?;

        let files = record(&replacement);
        let mut first = replacement.files;
        first.push(self.records.stage(&suite.suite, &release, &signed.inline, replacement.reason, files)?);
        let mut links: Vec<(PathBuf, PathBuf)> = Vec::new();
        for (path, index) in &built {
            for (ending, sum, bytes) in [(".gz", &index.gz_sum, &index.gz), (".xz", &index.xz_sum, &index.xz)]
            {
                let file = Listed { path: format!("{path}{ending}"), sum: sum.clone() };
                let by_hash = directory.join(file.by_hash());
                first.push(stage(&by_hash, bytes)?);
                links.push((by_hash, directory.join(&file.path)));
            }
            first.push(stage(&self.table_path(&index.gz_sum.sha256), index.table.to_text().as_bytes())?);
        }
        self.commit_release(&suite.suite, &text, &signed, first, &links)?;

        for index in built.into_values() {
            self.remember(&index.gz_sum.sha256, &Arc::new(index.table));
        }
        self.settle(&suite.suite, &release);
        Ok(release.generation)
    }

    /// Makes the indices that change, side by side.
    fn build(
        &self,
        current: &Current<'_>,
        replacement: &Replacement<'_>,
    ) -> Result<BTreeMap<IndexPath, Built>, ArchiveError> {
        let Replacement { scope, entries, .. } = replacement;
        let release = current.release.as_ref();
        let changes = |path: &&IndexPath| {
            let is_new = release.is_none_or(|it| it.index(path, "").is_none());
            is_new
                || match scope {
                    Scope::Source(_, held) => held.get(path) != entries.get(path),
                    Scope::Indices => entries.contains_key(path),
                }
        };
        let one = |path: &IndexPath| {
            let insert = entries.get(path).map(Vec::as_slice).unwrap_or_default();
            let (old, source) = match (scope, release) {
                (Scope::Source(source, _), Some(release)) => {
                    (self.published(&current.suite.suite, release, path)?, Some(source.as_str()))
                }
                _ => (Published::default(), None),
            };
            let built = old.rebuild(Change { source, insert });
            built.map_err(|e| ArchiveError::damaged(&self.suite_directory(&current.suite.suite), e))
        };
        std::thread::scope(|scope| {
            let one = &one;
            let paths: BTreeSet<&IndexPath> = current.paths.iter().chain(entries.keys()).collect();
            let threads: Vec<_> = paths
                .into_iter()
                .filter(changes)
                .map(|path| (path, scope.spawn(move || one(path))))
                .collect();
            let mut built = BTreeMap::new();
            for (path, thread) in threads {
                let index = thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e))?;
                built.insert(path.clone(), index);
            }
            Ok(built)
        })
    }

    /// Makes what a repetition finds done also survive a loss of power.
    pub(super) fn confirm(&self, suite: &Suite) -> Result<(), ArchiveError> {
        Ok(durable::sync_directory(&self.suite_directory(suite))?)
    }
}

/// Returns the files that a publication takes the place of, and those that it is about to add.
fn record(replacement: &Replacement<'_>) -> (PoolFiles, PoolFiles) {
    let Scope::Source(source, held) = &replacement.scope else { return (PoolFiles::new(), PoolFiles::new()) };
    let of_source = |path: String| (path, source.to_string());
    let before = held.values().flatten().flat_map(Stanza::files).map(|it| of_source(it.path));
    (before.collect(), replacement.paths.iter().cloned().map(of_source).collect())
}

/// Returns the files of the next `Release`: those of the new indices, and of the others as they were.
fn list(current: &Current<'_>, built: &BTreeMap<IndexPath, Built>) -> Vec<Listed> {
    let mut listed = Vec::new();
    let paths: BTreeSet<&IndexPath> = current.paths.iter().chain(built.keys()).collect();
    for path in paths {
        let sum = |ending: &str| -> Option<Sum> {
            match (built.get(path), ending) {
                (Some(index), "") => Some(index.text.clone()),
                (Some(index), ".gz") => Some(index.gz_sum.clone()),
                (Some(index), _) => Some(index.xz_sum.clone()),
                (None, ending) => current.release.as_ref()?.index(path, ending).map(|it| it.sum.clone()),
            }
        };
        for ending in ["", ".gz", ".xz"] {
            listed.extend(sum(ending).map(|sum| Listed { path: format!("{path}{ending}"), sum }));
        }
    }
    listed
}

pub(super) fn stage(path: &Path, bytes: &[u8]) -> Result<NewFile, ArchiveError> {
    durable::create_directory(path.parent().unwrap_or(path))?;
    let mut file = NewFile::create(path)?;
    file.write_all(bytes).map_err(ArchiveError::write(path))?;
    Ok(file)
}
