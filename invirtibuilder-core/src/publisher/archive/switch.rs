//! The one switch: from the `InRelease` that readers have to the next one.
//!
//! Whatever it writes before the last rename, nobody is told of; whatever the last rename tells of is synced.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::generations::{Cause, Changed, PoolFiles, Reason};
use super::index::{Built, Change, Published, Sum};
use super::release::{Kind, Listed, Release};
use super::stanza::Stanza;
use super::{Archive, ArchiveError, SuiteSpec};
use crate::durable::{self, NewFile};
use crate::names::{PackageName, Suite, Version};
use crate::publisher::Generation;
use crate::states::BuildPlan;

/// The paragraphs of one source package, by index.
pub(super) type Entries = BTreeMap<Kind, Vec<Stanza>>;

/// What should become of a source package in a suite.
#[derive(Debug)]
pub(super) struct Replacement<'a> {
    /// The source package; `None` if only the suite's description changes.
    pub(super) source: Option<&'a PackageName>,
    /// Its paragraphs.
    pub(super) entries: Entries,
    /// Files that are not in the pool yet.
    pub(super) files: Vec<NewFile>,
    /// Their paths, and those of files that are there already.
    pub(super) paths: Vec<String>,
    /// Why, and what changes, for the record.
    pub(super) reason: Reason,
}

impl Replacement<'_> {
    pub(super) fn new(reason: Reason) -> Self {
        Self { source: None, entries: Entries::new(), files: Vec::new(), paths: Vec::new(), reason }
    }
}

/// Says for the record what a job changes.
pub(super) fn reason(plan: &BuildPlan, old: Option<Version>) -> Reason {
    let new = Some(plan.version().clone());
    let changes = vec![Changed { package: plan.package().clone(), old, new }];
    Reason { cause: Cause::Job, job: Some(plan.job().id.clone()), changes }
}

/// A suite as it is now.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) release: Option<Release>,
    pub(super) indices: BTreeMap<Kind, Published>,
}

impl Current {
    /// Returns the paragraphs of a source package.
    pub(super) fn entries(&self, source: &PackageName) -> Result<Entries, ArchiveError> {
        let of = |(kind, index): (&Kind, &Published)| {
            let found = index.entries(source.as_str());
            let found = found.map_err(|e| ArchiveError::damaged(Path::new(&kind.path()), e))?;
            Ok((kind.clone(), found))
        };
        self.indices.iter().map(of).filter(|it| !it.as_ref().is_ok_and(|it| it.1.is_empty())).collect()
    }
}

impl Archive {
    /// Reads a suite for a change. The caller holds the lock.
    pub(super) fn current(&self, suite: &SuiteSpec) -> Result<Current, ArchiveError> {
        let release = self.release(&suite.suite)?;
        let mut indices = BTreeMap::new();
        for kind in Kind::of(suite) {
            let index = release.as_ref().map(|it| self.published(&suite.suite, it, &kind)).transpose()?;
            indices.insert(kind, index.unwrap_or_default());
        }
        Ok(Current { release, indices })
    }

    /// Publishes a suite again if its description has changed, or if it was never published.
    pub(super) fn refresh_description(&self, suite: &SuiteSpec) -> Result<(), ArchiveError> {
        let current = self.current(suite)?;
        if current.release.as_ref().is_some_and(|it| it.describes(suite)) {
            return Ok(());
        }
        let mut replacement = Replacement::new(Reason::configuration());
        // An architecture that is new to the suite begins with the packages that run anywhere.
        if let Some(release) = &current.release
            && let Some(known) = release.architectures().first()
        {
            let known = self.published(&suite.suite, release, &Kind::Binary(known.clone()))?.all();
            let known = known.map_err(|e| ArchiveError::damaged(&self.suite_directory(&suite.suite), e))?;
            let anywhere: Vec<_> =
                known.into_iter().filter(|it| it.field("Architecture") == Some("all")).collect();
            for kind in Kind::of(suite) {
                if kind != Kind::Source && release.index(&kind, ".gz").is_none() {
                    replacement.entries.insert(kind, anywhere.clone());
                }
            }
        }
        self.switch(suite, &current, replacement).map(drop)
    }

    /// Replaces what a suite serves of a source package, and returns the new generation. The caller holds the lock.
    pub(super) fn switch(
        &self,
        suite: &SuiteSpec,
        current: &Current,
        replacement: Replacement<'_>,
    ) -> Result<Option<Generation>, ArchiveError> {
        let Replacement { source, entries, files: files_of_pool, paths, reason } = replacement;
        let built = build(suite, current, source, &entries)?;
        let directory = self.suite_directory(&suite.suite);
        let listed = list(suite, current.release.as_ref(), &built);
        let now = Timestamp::now();
        let release = Release::next(suite, current.release.as_ref(), now, listed).valid_for(self.valid_for);
        let text = release.to_text();
        let signed = self.signer.sign(&text)?;

        let files = record(current, source, &paths)?;
        let mut first = files_of_pool;
        first.push(self.records.stage(&suite.suite, &release, &signed.inline, reason, files)?);
        let mut links: Vec<(PathBuf, PathBuf)> = Vec::new();
        for (kind, index) in &built {
            let path = format!("{}/{}", suite.component, kind.path());
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

    /// Makes what a repetition finds done also survive a loss of power.
    pub(super) fn confirm(&self, suite: &Suite) -> Result<(), ArchiveError> {
        Ok(durable::sync_directory(&self.suite_directory(suite))?)
    }
}

/// Returns the files that a publication takes the place of, and those that it is about to add.
fn record(
    current: &Current,
    source: Option<&PackageName>,
    arriving: &[String],
) -> Result<(PoolFiles, PoolFiles), ArchiveError> {
    let Some(source) = source else { return Ok((PoolFiles::new(), PoolFiles::new())) };
    let old = current.entries(source)?;
    let files = old.values().flatten().flat_map(Stanza::files);
    let before = files.map(|it| (it.path, source.to_string())).collect();
    Ok((before, arriving.iter().map(|it| (it.clone(), source.to_string())).collect()))
}

/// Makes the indices that change, side by side.
fn build(
    suite: &SuiteSpec,
    current: &Current,
    source: Option<&PackageName>,
    entries: &Entries,
) -> Result<BTreeMap<Kind, Built>, ArchiveError> {
    let release = current.release.as_ref();
    let one = |kind: &Kind, old: &Published| {
        let insert = entries.get(kind).map(Vec::as_slice).unwrap_or_default();
        let change = Change { source: source.map(PackageName::as_str), insert };
        let path = format!("{}/{}.gz", suite.component, kind.path());
        let is_in_place = release.is_some_and(|it| it.files.iter().any(|it| it.path == path));
        let built = if is_in_place { old.change(change) } else { old.rebuild(change).map(Some) };
        built.map_err(|e| ArchiveError::damaged(Path::new(&path), e))
    };
    std::thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> =
            current.indices.iter().map(|(kind, old)| (kind, scope.spawn(move || one(kind, old)))).collect();
        let mut built = BTreeMap::new();
        for (kind, thread) in threads {
            let index = thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e))?;
            built.extend(index.map(|it| (kind.clone(), it)));
        }
        Ok(built)
    })
}

/// Returns the files of the next `Release`: those of the new indices, and of the others as they were.
fn list(suite: &SuiteSpec, previous: Option<&Release>, built: &BTreeMap<Kind, Built>) -> Vec<Listed> {
    let mut listed = Vec::new();
    for kind in Kind::of(suite) {
        let path = format!("{}/{}", suite.component, kind.path());
        let sum = |ending: &str| -> Option<Sum> {
            match (built.get(&kind), ending) {
                (Some(index), "") => Some(index.text.clone()),
                (Some(index), ".gz") => Some(index.gz_sum.clone()),
                (Some(index), _) => Some(index.xz_sum.clone()),
                (None, ending) => previous?.index(&kind, ending).map(|it| it.sum.clone()),
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
