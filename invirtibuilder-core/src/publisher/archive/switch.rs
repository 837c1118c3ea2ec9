//! The one switch: from the `InRelease` that readers have to the next one.
//!
//! Whatever it writes before the last rename, nobody is told of; whatever the last rename tells of is synced.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::index::{Built, Change, Published, Sum};
use super::release::{Kind, Listed, Release};
use super::retention::{Record, Records};
use super::stanza::Stanza;
use super::{Archive, ArchiveError, SuiteSpec};
use crate::durable::{self, NewFile};
use crate::names::{PackageName, Suite};

/// The paragraphs of one source package, by index.
pub(super) type Entries = BTreeMap<Kind, Vec<Stanza>>;

/// What should become of a source package in a suite.
#[derive(Debug, Default)]
pub(super) struct Replacement<'a> {
    /// The source package; `None` if only the suite's description changes.
    pub(super) source: Option<&'a PackageName>,
    /// Its paragraphs.
    pub(super) entries: Entries,
    /// Files that are not in the pool yet.
    pub(super) files: Vec<NewFile>,
    /// Their paths, and those of files that are there already.
    pub(super) paths: Vec<String>,
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
        let mut replacement = Replacement::default();
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
        self.switch(suite, &current, replacement)
    }

    /// Replaces what a suite serves of a source package. The caller holds the lock.
    pub(super) fn switch(
        &self,
        suite: &SuiteSpec,
        current: &Current,
        replacement: Replacement<'_>,
    ) -> Result<(), ArchiveError> {
        let Replacement { source, entries, files, paths } = replacement;
        let built = build(suite, current, source, &entries)?;
        let directory = self.suite_directory(&suite.suite);
        let listed = list(suite, current.release.as_ref(), &built);
        let now = Timestamp::now();
        let release = Release::next(suite, current.release.as_ref(), now, listed);
        let text = release.to_text();
        let signed = self.signer.sign(&text)?;

        let record = record(suite, current, source, &entries, &release, &paths)?;
        let mut first = files;
        first.push(self.records.stage(suite.suite.as_str(), now, &record)?);
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
        durable::create_directory(&directory)?;
        let second = vec![
            stage(&directory.join("Release.gpg"), &signed.detached)?,
            stage(&directory.join("Release"), text.as_bytes())?,
        ];
        let last = stage(&directory.join("InRelease"), &signed.inline)?;
        keep_times_apart(&directory.join("InRelease"), &last)?;

        // All space is taken and everything is signed. From here on there are only syncs and renames.
        durable::commit_all(first)?;
        durable::link_all(links.iter().map(|it| (it.0.as_path(), it.1.as_path())))?;
        durable::commit_all(second)?;
        last.commit()?;

        for index in built.into_values() {
            self.remember(&index.gz_sum.sha256, &Arc::new(index.table));
        }
        if let Err(error) = self.expire(&suite.suite, now) {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "superseded files were not removed; the next publication tries again");
        }
        Ok(())
    }

    /// Makes what a repetition finds done also survive a loss of power.
    pub(super) fn confirm(&self, suite: &Suite) -> Result<(), ArchiveError> {
        Ok(durable::sync_directory(&self.suite_directory(suite))?)
    }

    /// Removes what no index and no kept record names any longer.
    fn expire(&self, suite: &Suite, now: Timestamp) -> Result<(), ArchiveError> {
        let expired = self.records.expired(suite.as_str(), now)?;
        if expired.is_empty() {
            return Ok(());
        }
        let Record { mut indices, mut pool } = Records::read(&expired)?;
        let kept = Records::read(&self.records.kept(&expired)?)?;
        indices.retain(|it| !kept.indices.contains(it));
        pool.retain(|path, _| !kept.pool.contains_key(path));
        for suite in self.served_suites()? {
            let Some(release) = self.release(&suite)? else { continue };
            let below = format!("dists/{suite}");
            for file in &release.files {
                indices.remove(&format!("{below}/{}", file.by_hash()));
            }
            let sources: std::collections::BTreeSet<String> = pool.values().cloned().collect();
            let kinds = release.architectures().into_iter().map(Kind::Binary);
            for kind in kinds.chain([Kind::Source]) {
                for source in sources.iter().filter_map(|it| it.parse().ok()) {
                    let entries = self.lookup(&suite, &release, &kind, &source)?;
                    for file in entries.iter().flat_map(Stanza::files) {
                        pool.remove(&file.path);
                    }
                }
            }
        }
        let tables = indices.iter().filter_map(|it| it.rsplit('/').next()).map(|it| self.table_path(it));
        let files = indices.iter().chain(pool.keys()).map(|it| self.directory.join(it));
        let gone: Vec<PathBuf> = files.chain(tables).chain(expired.iter().cloned()).collect();
        Ok(durable::remove_all(gone.iter().map(PathBuf::as_path))?)
    }

    /// Returns all suites on disk, also those that are no longer configured: their readers count too.
    fn served_suites(&self) -> Result<Vec<Suite>, ArchiveError> {
        let path = self.directory.join("dists");
        let entries = std::fs::read_dir(&path).map_err(ArchiveError::read(&path))?;
        let mut suites = Vec::new();
        for entry in entries {
            let name = entry.map_err(ArchiveError::read(&path))?.file_name();
            suites.extend(name.to_str().and_then(|it| it.parse().ok()));
        }
        Ok(suites)
    }
}

/// Notes what a publication makes superfluous, and what it adds.
fn record(
    suite: &SuiteSpec,
    current: &Current,
    source: Option<&PackageName>,
    entries: &Entries,
    release: &Release,
    arriving: &[String],
) -> Result<Record, ArchiveError> {
    let mut record = Record::default();
    let below = format!("dists/{}", suite.suite);
    let all = current.release.iter().chain([release]).flat_map(|it| &it.files);
    record.indices.extend(all.map(|it| format!("{below}/{}", it.by_hash())));
    if let Some(source) = source {
        let old = current.entries(source)?;
        let files = old.values().chain(entries.values()).flatten().flat_map(Stanza::files);
        let paths = files.map(|it| it.path).chain(arriving.iter().cloned());
        record.pool.extend(paths.map(|it| (it, source.to_string())));
    }
    Ok(record)
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

fn stage(path: &Path, bytes: &[u8]) -> Result<NewFile, ArchiveError> {
    durable::create_directory(path.parent().unwrap_or(path))?;
    let mut file = NewFile::create(path)?;
    file.write_all(bytes).map_err(ArchiveError::write(path))?;
    Ok(file)
}

/// Gives the new file a later second than the old one has: HTTP compares times by the second, and a reader that
/// asks for what is newer than what it has must be told of a second publication in the same second.
fn keep_times_apart(old: &Path, new: &NewFile) -> Result<(), ArchiveError> {
    let Ok(before) = old.metadata().and_then(|it| it.modified()) else { return Ok(()) };
    let seconds =
        |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    if seconds(before) >= seconds(SystemTime::now()) {
        new.set_modified(before + Duration::from_secs(1))?;
    }
    Ok(())
}
