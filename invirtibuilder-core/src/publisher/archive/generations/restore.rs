//! Going back: a new generation that names the indices of an old one.
//!
//! Nothing is copied or built, so it takes no longer than a publication. Never changes the old generation.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;

use super::super::release::{Kind, Listed, Release};
use super::super::stanza::Stanza;
use super::super::{Archive, ArchiveError};
use super::record::{Cause, Changed, PoolFiles, Reason};
use crate::error::PublishError;
use crate::names::{JobId, Suite};
use crate::policy::Held;
use crate::publisher::Generation;

impl Archive {
    /// Reads what a suite served in a generation.
    pub(in super::super) fn read_contents_at(
        &self,
        suite: &Suite,
        generation: Generation,
    ) -> Result<Vec<Held>, PublishError> {
        let release = self.kept_release(suite, generation)?;
        Ok(self.contents_of(suite, &release)?)
    }

    /// Makes a suite serve again what it served in the generation `to`, if it serves `from` now. Returns the new
    /// generation, also where `id` has made it before.
    pub(in super::super) fn restore_generation(
        &self,
        suite: &Suite,
        id: &JobId,
        from: Generation,
        to: Generation,
    ) -> Result<Generation, PublishError> {
        let spec = self.suite(suite)?;
        let _lock = self.lock()?;
        let not_kept = |generation, problem: &str| PublishError::NotKept {
            suite: suite.clone(),
            generation,
            problem: problem.to_owned(),
        };
        let current = self.release(suite)?;
        let current = current.ok_or_else(|| not_kept(to, "the suite serves nothing yet"))?;
        let served = current.generation.unwrap_or(Generation::new(0));
        if served != from {
            if let Some(done) = self.made_by(suite, id, from, served)? {
                self.confirm(suite)?;
                return Ok(done);
            }
            let problem =
                format!("the suite serves generation {served} now, not {from}; look again what changed");
            return Err(not_kept(to, &problem));
        }
        let target = self.kept_release(suite, to)?;
        self.check_indices(suite, &target)?;
        let (changes, before) = self.compare(suite, &current, &target)?;
        let release = Release::next(spec, Some(&current), Timestamp::now(), target.files.clone());
        let release = release.valid_for(self.valid_for);
        let text = release.to_text();
        let signed = self.signer.sign(&text).map_err(ArchiveError::from)?;
        let reason = Reason { cause: Cause::Rollback(to), job: Some(id.clone()), changes };
        let files = (before, PoolFiles::new());
        let record = self.records.stage(suite, &release, &signed.inline, reason, files)?;
        let links = self.links(suite, &target);
        self.commit_release(suite, &text, &signed, vec![record], &links)?;
        self.settle(suite, &release);
        Ok(release.generation.unwrap_or(served))
    }

    /// Reads the `InRelease` of a generation.
    pub(in super::super) fn kept_release(
        &self,
        suite: &Suite,
        generation: Generation,
    ) -> Result<Release, PublishError> {
        let record = self.records.read(suite, generation.number())?;
        let current = self.served_generation(suite)?;
        let record = record.filter(|_| current.is_some_and(|it| generation <= it));
        let not_kept = || PublishError::NotKept {
            suite: suite.clone(),
            generation,
            problem: "it is not kept; `invirtibuilder archive snapshot` lists those that are".to_owned(),
        };
        record.and_then(|it| it.release()).ok_or_else(not_kept)
    }

    /// Finds the generation that a rollback has made already, among those after `from`.
    fn made_by(
        &self,
        suite: &Suite,
        id: &JobId,
        from: Generation,
        current: Generation,
    ) -> Result<Option<Generation>, ArchiveError> {
        for number in from.number() + 1..=current.number() {
            let record = self.records.read(suite, number)?;
            if record.is_some_and(|it| it.reason.job.as_ref() == Some(id)) {
                return Ok(Some(Generation::new(number)));
            }
        }
        Ok(None)
    }

    /// Checks that all compressed indices of a release are there, whole.
    fn check_indices(&self, suite: &Suite, release: &Release) -> Result<(), ArchiveError> {
        for (path, listed) in self.compressed(suite, release) {
            let length = path.metadata().map_err(ArchiveError::read(&path))?.len();
            if length != listed.sum.size {
                return Err(ArchiveError::damaged(
                    &path,
                    format!("has {length} bytes, not {}", listed.sum.size),
                ));
            }
        }
        Ok(())
    }

    /// Returns the compressed indices of a release, by hash. The uncompressed ones are listed, but are not there.
    fn compressed<'a>(&self, suite: &Suite, release: &'a Release) -> Vec<(PathBuf, &'a Listed)> {
        let directory = self.suite_directory(suite);
        let files = release.files.iter();
        let ends = |it: &&Listed| [".gz", ".xz", ".zst"].iter().any(|ending| it.path.ends_with(ending));
        files.filter(ends).map(|it| (directory.join(it.by_hash()), it)).collect()
    }

    /// Returns which files of a release have a second name, for old readers.
    fn links(&self, suite: &Suite, release: &Release) -> Vec<(PathBuf, PathBuf)> {
        let directory = self.suite_directory(suite);
        let compressed = self.compressed(suite, release);
        compressed.into_iter().map(|(path, it)| (path, directory.join(&it.path))).collect()
    }

    /// Returns which packages differ between two releases of a suite, and the files that the first has of those.
    fn compare(
        &self,
        suite: &Suite,
        old: &Release,
        new: &Release,
    ) -> Result<(Vec<Changed>, PoolFiles), ArchiveError> {
        let (old_files, new_files) = (self.files_by_source(suite, old)?, self.files_by_source(suite, new)?);
        let versions = |release| -> Result<BTreeMap<_, _>, ArchiveError> {
            let held = self.contents_of(suite, release)?.into_iter();
            Ok(held.map(|it| (it.package, it.version)).collect())
        };
        let (old_versions, new_versions) = (versions(old)?, versions(new)?);
        let differs = |source: &&String| old_files.get(*source) != new_files.get(*source);
        let sources: BTreeSet<&String> = old_files.keys().chain(new_files.keys()).filter(differs).collect();
        let mut before = PoolFiles::new();
        let mut changes = Vec::new();
        for source in sources {
            let files = old_files.get(source).into_iter().flatten();
            before.extend(files.map(|it| (it.clone(), source.clone())));
            if let Ok(package) = source.parse() {
                let (old, new) = (old_versions.get(&package).cloned(), new_versions.get(&package).cloned());
                changes.push(Changed { package, old, new });
            }
        }
        Ok((changes, before))
    }

    /// Reads what a release says that its suite holds.
    fn contents_of(&self, suite: &Suite, release: &Release) -> Result<Vec<Held>, ArchiveError> {
        let mut held = Vec::new();
        for path in release.indices().iter().filter(|it| it.kind == Kind::Source) {
            let stanzas = self.stanzas_of(suite, release, path)?;
            held.extend(stanzas.iter().filter_map(Stanza::held));
        }
        Ok(held)
    }
}
