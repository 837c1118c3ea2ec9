//! From built packages to a suite's next indices: what may be published, and where its files lie.

use std::collections::BTreeSet;

use super::entries::{self, Entries};
use super::pool::{self, Present, Upload};
use super::release::Kind;
use super::stanza::{PoolFile, Stanza};
use super::switch::{Current, Replacement, Scope};
use super::{Archive, ArchiveError, SuiteSpec};
use crate::durable;
use crate::error::PublishError;
use crate::names::Suite;
use crate::policy::Held;
use crate::publisher::Generation;
use crate::states::{BuildArtifacts, BuildPlan};

impl Archive {
    pub(super) fn publish_artifacts(
        &self,
        artifacts: &BuildArtifacts,
    ) -> Result<Option<Generation>, PublishError> {
        let plan = artifacts.plan();
        let suite = self.suite(plan.suite())?;
        let uploads = pool::uploads(artifacts).map_err(|problem| unfit(plan, problem))?;
        let home = pool::directory(suite, artifacts).map_err(|problem| unfit(plan, problem))?;
        let fresh = entries::of_artifacts(suite, artifacts, &home).map_err(|problem| unfit(plan, problem))?;
        let _lock = self.lock()?;
        let current = self.current(suite)?;
        let held = self.entries(&current, plan.package())?;

        // What is served already is recognised also where it lies apart.
        let source = held.iter().find(|it| it.0.kind == Kind::Source).and_then(|it| it.1.first());
        if let Some(directory) = source.and_then(|it| it.field("Directory"))
            && moved(&fresh, &home, directory) == held
            && matches!(pool::compare(&self.directory.join(directory), &uploads)?, Present::Missing(it) if it.is_empty())
        {
            self.confirm(&suite.suite)?;
            return Ok(self.generation_of(&suite.suite, plan.package(), &plan.job().id)?);
        }
        self.check_conflicts(suite, plan, &uploads)?;

        let (directory, missing) = pool::settle(&self.directory, &home, &uploads)?;
        let entries = moved(&fresh, &home, &directory);
        self.check_owners(&current, plan, &entries)?;
        let path = self.directory.join(&directory);
        durable::create_directory(&path).map_err(ArchiveError::from)?;
        let files = missing.into_iter().map(|it| pool::stage(&path, it)).collect::<Result<_, _>>()?;
        // A file that an interrupted publication left may have a name that was never synced.
        durable::sync_directory(&path).map_err(ArchiveError::from)?;
        let paths = uploads.iter().map(|it| format!("{directory}/{}", it.artifact.name)).collect();
        let reason = super::switch::reason(plan, &held);
        let scope = Scope::Source(plan.package(), held);
        Ok(self.switch(&current, Replacement { scope, entries, files, paths, reason })?)
    }

    /// Refuses other bytes under a name that a suite serves for good.
    fn check_conflicts(
        &self,
        suite: &SuiteSpec,
        plan: &BuildPlan,
        uploads: &[Upload<'_>],
    ) -> Result<(), PublishError> {
        if !suite.reserves_versions {
            return Ok(());
        }
        for owner in self.suites.values().filter(|it| it.reserves_versions) {
            let Some((held, files)) = self.owned(&owner.suite, plan)? else { continue };
            // The same commit may be built twice, where a pocket takes no copies from another.
            if held.commit.as_ref() == Some(plan.commit()) {
                continue;
            }
            let differs = |file: &&PoolFile| {
                uploads
                    .iter()
                    .any(|it| it.artifact.name.as_str() == file.name() && it.artifact.sha256 != file.sha256)
            };
            if let Some(file) = files.iter().find(differs) {
                let problem = format!(
                    "{} serves {} of {} {} with other bytes",
                    owner.suite,
                    file.name(),
                    held.package,
                    held.version
                );
                return Err(conflict(plan, problem));
            }
        }
        Ok(())
    }

    /// Reads what a suite serves of the plan's package, with all its files.
    fn owned(&self, suite: &Suite, plan: &BuildPlan) -> Result<Option<(Held, Vec<PoolFile>)>, ArchiveError> {
        let Some(release) = self.release(suite)? else { return Ok(None) };
        let Some(held) = self.read_held(suite, plan.package())? else { return Ok(None) };
        let mut files = Vec::new();
        for path in release.indices().iter().filter(|it| it.names_files()) {
            let entries = self.lookup(suite, &release, path, plan.package())?;
            files.extend(entries.iter().flat_map(Stanza::files));
        }
        Ok(Some((held, files)))
    }

    /// Refuses a binary package that the suite serves of another source package, wherever and in whatever version:
    /// whoever gets a package may not depend on which of the two was published last.
    pub(super) fn check_owners(
        &self,
        current: &Current<'_>,
        plan: &BuildPlan,
        entries: &Entries,
    ) -> Result<(), PublishError> {
        let Some(release) = &current.release else { return Ok(()) };
        let binaries = entries.iter().filter(|it| it.0.is_binary()).flat_map(|it| it.1);
        let names: BTreeSet<&str> = binaries.map(|it| it.key.name()).collect();
        for path in release.indices().iter().filter(|it| it.is_binary()) {
            let Some(table) = self.table_of(&current.suite.suite, release, path)? else { continue };
            let is_taken = |it: &&super::stanza::Key| {
                it.source() != plan.package().as_str() && names.contains(it.name())
            };
            let Some(key) = table.blocks.iter().flat_map(|it| &it.keys).find(is_taken) else { continue };
            let damaged = |e| ArchiveError::damaged(&self.suite_directory(&current.suite.suite), e);
            return Err(PublishError::Owned {
                suite: plan.suite().clone(),
                package: plan.package().clone(),
                binary: key.name().parse().map_err(damaged)?,
                owner: key.source().parse().map_err(damaged)?,
            });
        }
        Ok(())
    }
}

/// Returns the entries for the same files in another directory of the pool.
pub(super) fn moved(entries: &Entries, from: &str, to: &str) -> Entries {
    let place = |(path, stanzas): (&_, &Vec<Stanza>)| {
        (Clone::clone(path), stanzas.iter().map(|it| it.moved(from, to)).collect())
    };
    entries.iter().map(place).collect()
}

fn unfit(plan: &BuildPlan, problem: String) -> PublishError {
    let (suite, package, version) = (plan.suite().clone(), plan.package().clone(), plan.version().clone());
    PublishError::Unfit { suite, package, version, problem }
}

fn conflict(plan: &BuildPlan, problem: String) -> PublishError {
    let (suite, package, version) = (plan.suite().clone(), plan.package().clone(), plan.version().clone());
    PublishError::Conflict { suite, package, version, problem }
}
