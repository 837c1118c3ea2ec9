//! An architecture more of a version that a suite serves: the same source package, the same packages as before, and
//! those that come, in one switch.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::entries::{self, Entries};
use super::pool::{self, Upload};
use super::publishing::{moved, unfit};
use super::release::Kind;
use super::stanza::Stanza;
use super::switch::{Replacement, Scope};
use super::{Archive, ArchiveError};
use crate::control::{Changes, hash_file};
use crate::durable;
use crate::error::PublishError;
use crate::names::{Architecture, FileName, PackageName, Suite};
use crate::publisher::Generation;
use crate::states::BuildArtifacts;

impl Archive {
    pub(super) fn add_artifacts(
        &self,
        artifacts: &BuildArtifacts,
    ) -> Result<Option<Generation>, PublishError> {
        let plan = artifacts.plan();
        let suite = self.suite(plan.suite())?;
        let not_held = || PublishError::NotHeld {
            suite: suite.suite.clone(),
            package: plan.package().clone(),
            version: plan.version().clone(),
        };
        let all = pool::uploads(artifacts).map_err(|e| unfit(plan, e))?;
        let is_source =
            |it: &Upload<'_>| artifacts.source().files().iter().any(|of| of.name == it.artifact.name);
        let (source, uploads): (Vec<Upload<'_>>, Vec<Upload<'_>>) = all.into_iter().partition(is_source);

        let _lock = self.lock()?;
        let current = self.current(suite)?;
        let held = self.entries(&current, plan.package())?;
        let (path, served) = held
            .iter()
            .find_map(|(path, it)| Some((path, it.first().filter(|_| path.kind == Kind::Source)?)))
            .ok_or_else(not_held)?;
        let is_meant = served.held().is_some_and(|it| {
            it.version.as_str() == plan.version().as_str() && it.commit.as_ref() == Some(plan.commit())
        });
        let home = served.field("Directory").filter(|_| is_meant).ok_or_else(not_held)?;
        let is_same = |it: &Upload<'_>| {
            served
                .files()
                .iter()
                .any(|of| of.name() == it.artifact.name.as_str() && of.sha256 == it.artifact.sha256)
        };
        if !source.iter().all(is_same) {
            return Err(not_held());
        }

        let (directory, missing) = pool::settle(&self.directory, home, &uploads)?;
        let mut fresh = entries::of_artifacts(suite, artifacts, home).map_err(|e| unfit(plan, e))?;
        fresh.retain(|path, _| path.kind != Kind::Source);
        let fresh = moved(&fresh, home, &directory);
        let apart = directory.strip_prefix(home).unwrap_or_default().trim_start_matches('/');
        let buildinfos = artifacts.builds().iter().flat_map(Changes::buildinfos);
        let mut entries = held.clone();
        entries.insert(path.clone(), vec![served.with_buildinfos(apart, buildinfos)]);
        merge(&mut entries, &fresh);
        if entries == held && missing.is_empty() {
            self.confirm(&suite.suite)?;
            return Ok(self.generation_of(&suite.suite, plan.package(), &plan.job().id)?);
        }
        self.check_conflicts(suite, plan, &uploads)?;
        self.check_owners(&current, plan, &fresh)?;
        let path = self.directory.join(&directory);
        let mut directories = durable::create_directory_unsynced(&path).map_err(ArchiveError::from)?;
        let files = missing.into_iter().map(|it| pool::stage(&path, it)).collect::<Result<_, _>>()?;
        directories.insert(path);
        // What was there before stays, so the record names it again.
        let before = held.values().flatten().flat_map(Stanza::files).map(|it| it.path);
        let paths = before.chain(uploads.iter().map(|it| format!("{directory}/{}", it.artifact.name)));
        let paths: BTreeMap<_, _> = paths.map(|it| (it, plan.package().clone())).collect();
        let reason = super::switch::reason(plan, &held);
        let scope = Scope::Sources(BTreeSet::from([plan.package().clone()]), held);
        let replacement = Replacement { scope, entries, files, paths, directories, reason };
        Ok(self.switch(&current, replacement)?)
    }

    /// Copies the source package that a suite serves, and returns where its `.dsc` is then.
    pub(super) fn copy_source(
        &self,
        suite: &Suite,
        package: &PackageName,
        into: &Path,
    ) -> Result<PathBuf, PublishError> {
        let damaged = |problem: &str| ArchiveError::damaged(&self.suite_directory(suite), problem);
        let served = self.source_stanza(suite, package)?;
        let served = served.ok_or_else(|| damaged(&format!("does not serve {package}")))?;
        let mut dsc = None;
        for file in served.source_files() {
            let name: FileName = file.name().parse().map_err(|_| damaged("names a file that is none"))?;
            let copy = into.join(name.as_str());
            durable::copy(&self.directory.join(&file.path), &copy).map_err(ArchiveError::from)?;
            let copied = hash_file(&copy, name).map_err(|e| damaged(&e.to_string()))?;
            if copied.sha256 != file.sha256 {
                return Err(ArchiveError::damaged(
                    &self.directory.join(&file.path),
                    "has other bytes than its index says",
                )
                .into());
            }
            if copied.name.as_str().ends_with(".dsc") {
                dsc = Some(copy);
            }
        }
        Ok(dsc.ok_or_else(|| damaged(&format!("has no .dsc of {package}")))?)
    }

    /// Reads the architectures of the binary packages that a suite serves of a source package.
    pub(super) fn read_architectures(
        &self,
        suite: &Suite,
        package: &PackageName,
    ) -> Result<BTreeSet<Architecture>, ArchiveError> {
        let mut found = BTreeSet::new();
        let Some(release) = self.release(suite)? else { return Ok(found) };
        for path in release.indices().iter().filter(|it| it.is_binary()) {
            let stanzas = self.lookup(suite, &release, path, package)?;
            found.extend(stanzas.iter().filter_map(|it| it.field("Architecture")?.parse().ok()));
        }
        Ok(found)
    }

    fn source_stanza(&self, suite: &Suite, package: &PackageName) -> Result<Option<Stanza>, ArchiveError> {
        let Some(release) = self.release(suite)? else { return Ok(None) };
        for path in release.indices().iter().filter(|it| it.kind == Kind::Source) {
            if let Some(found) = self.lookup(suite, &release, path, package)?.into_iter().next() {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Puts new entries among those that are there, in place of those of the same packages and architectures.
fn merge(entries: &mut Entries, fresh: &Entries) {
    for (path, stanzas) in fresh {
        let list = entries.entry(path.clone()).or_default();
        if path.kind != Kind::Translation {
            list.retain(|old| !stanzas.iter().any(|new| new.key == old.key));
        }
        list.extend(stanzas.iter().cloned());
    }
    entries::sort(entries);
}
