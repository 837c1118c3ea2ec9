//! The one switch: from the `InRelease` that readers have to the next one.
//!
//! Whatever it writes before the last rename, nobody is told of; whatever the last rename tells of is synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::compression::Compression;
use super::entries::Entries;
use super::generations::{Cause, Changed, PoolFiles, Reason};
use super::index::{Built, Change, Published, Sum, Workplace};
use super::release::{IndexPath, Kind, Listed, Release};
use super::stanza::Stanza;
use super::table::Table;
use super::{Archive, ArchiveError, SuiteSpec};
use crate::durable::{self, NewFile};
use crate::names::{PackageName, Suite};
use crate::publisher::Generation;
use crate::states::BuildPlan;

/// What should become of a suite.
#[derive(Debug)]
pub(super) struct Replacement {
    pub(super) scope: Scope,
    /// The entries that come.
    pub(super) entries: Entries,
    /// Files that are not in the pool yet.
    pub(super) files: Vec<NewFile>,
    /// Their paths, and those of files that are there already, with the source package that each is of.
    pub(super) paths: BTreeMap<String, PackageName>,
    /// Directories of the pool whose names are not synced.
    pub(super) directories: BTreeSet<PathBuf>,
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
pub(super) enum Scope {
    /// The entries of these source packages: those.
    Sources(BTreeSet<PackageName>, Entries),
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

    /// Replaces what a suite serves of some source packages, and returns the new generation. The caller holds the
    /// lock.
    pub(super) fn switch(
        &self,
        current: &Current<'_>,
        replacement: Replacement,
    ) -> Result<Option<Generation>, ArchiveError> {
        // The signer starts while the indices are made: that takes it as long.
        let signing = self.signer.begin()?;
        let suite = current.suite;
        let built = self.build(current, &replacement)?;
        let directory = self.suite_directory(&suite.suite);
        let listed = list(current, &built);
        let now = Timestamp::now();
        let release = Release::next(suite, current.release.as_ref(), now, listed).valid_for(self.valid_for);
        let text = release.to_text();

        let files = record(&replacement);
        let mut first = replacement.files;
        let mut links: Vec<(PathBuf, PathBuf)> = Vec::new();
        let mut tables: Vec<(String, Arc<Table>)> = Vec::new();
        let have_moved = built.values().any(|it| it.has_moved);
        for (path, index) in built {
            tables.extend(index.table_name().map(str::to_owned).zip(Some(Arc::new(index.table))));
            for mut built in index.files {
                let ending = built.compression.ending();
                let file = Listed { path: format!("{path}{ending}"), sum: built.sum };
                built.file.set_name(file.sum.sha256.as_ref());
                first.push(built.file);
                links.push((directory.join(file.by_hash()), directory.join(&file.path)));
            }
        }
        let signed = std::thread::scope(|scope| {
            let signed = scope.spawn(|| {
                let _span = tracing::debug_span!("sign").entered();
                signing.finish(&text)
            });
            let synced = tracing::debug_span!("sync").in_scope(|| {
                durable::sync_directories(&replacement.directories)?;
                durable::sync_all(&mut first)
            });
            let signed = signed.join().unwrap_or_else(|e| std::panic::resume_unwind(e))?;
            for (name, table) in &tables {
                durable::note(&self.table_path(name), &table.to_bytes())?;
            }
            synced.map(|()| signed).map_err(ArchiveError::from)
        })?;
        first.push(self.records.stage(&suite.suite, &release, &signed.inline, replacement.reason, files)?);
        self.commit_release(&suite.suite, &text, &signed, first, &links)?;

        for (name, table) in tables {
            self.remember(&name, &table);
        }
        if have_moved && let Err(error) = self.stores.remove_unused(&self.state.join("tables")) {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "private files that nothing needs were not removed");
        }
        self.settle(&suite.suite, &release);
        Ok(release.generation)
    }

    /// Makes the indices that change, side by side.
    fn build(
        &self,
        current: &Current<'_>,
        replacement: &Replacement,
    ) -> Result<BTreeMap<IndexPath, Built>, ArchiveError> {
        let Replacement { scope, entries, .. } = replacement;
        let (release, formats) = (current.release.as_ref(), current.suite.formats());
        let changes = |path: &&IndexPath| {
            let is_new = release.is_none_or(|it| it.index(path, "").is_none() || it.formats(path) != formats);
            is_new
                || match scope {
                    Scope::Sources(_, held) => held.get(path) != entries.get(path),
                    Scope::Indices => entries.contains_key(path),
                }
        };
        let formats: Vec<Compression> = formats.iter().copied().collect();
        let one = |path: &IndexPath| {
            let insert = entries.get(path).map(Vec::as_slice);
            let published = || match release {
                Some(release) => self.published(&current.suite.suite, release, path),
                None => Ok(Published::empty(path.layout())),
            };
            let (old, change) = match (scope, insert) {
                (Scope::Sources(sources, _), insert) => {
                    let sources = sources.iter().map(PackageName::as_str);
                    (published()?, Change::new(sources, insert.unwrap_or_default()))
                }
                (Scope::Indices, Some(all)) => (Published::empty(path.layout()), Change::new([], all)),
                (Scope::Indices, None) => (published()?, Change::default()),
            };
            let place = Listed { path: path.to_string(), sum: Sum::of(b"") };
            let place = self.suite_directory(&current.suite.suite).join(place.by_hash());
            let directory = place.parent().unwrap_or(&place);
            durable::create_directory(directory)?;
            old.rebuild(&change, Workplace { directory, formats: &formats, stores: &self.stores })
        };
        let _span = tracing::debug_span!("build").entered();
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
fn record(replacement: &Replacement) -> (PoolFiles, PoolFiles) {
    let Scope::Sources(_, held) = &replacement.scope else { return (PoolFiles::new(), PoolFiles::new()) };
    let mut before = PoolFiles::new();
    for stanza in held.values().flatten() {
        before.extend(stanza.files().into_iter().map(|it| (it.path, stanza.key.source().to_owned())));
    }
    (before, replacement.paths.iter().map(|(path, source)| (path.clone(), source.to_string())).collect())
}

/// Returns the files of the next `Release`: those of the new indices, and of the others as they were.
fn list(current: &Current<'_>, built: &BTreeMap<IndexPath, Built>) -> Vec<Listed> {
    let mut listed = Vec::new();
    let paths: BTreeSet<&IndexPath> = current.paths.iter().chain(built.keys()).collect();
    for path in paths {
        for ending in std::iter::once("").chain(Compression::ALL.map(Compression::ending)) {
            let sum = match built.get(path) {
                Some(index) => index.sum(ending),
                None => current.release.as_ref().and_then(|it| it.index(path, ending)).map(|it| &it.sum),
            };
            let file = |sum: &Sum| Listed { path: format!("{path}{ending}"), sum: sum.clone() };
            listed.extend(sum.map(file));
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
