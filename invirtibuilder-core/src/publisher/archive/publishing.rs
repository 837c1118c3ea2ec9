//! From built packages to a suite's next indices.

use std::collections::BTreeSet;
use std::path::Path;

use super::pool::{self, Present, Upload};
use super::release::Kind;
use super::stanza::{PoolFile, Stanza};
use super::switch::{Current, Entries, Replacement};
use super::{Archive, ArchiveError, SuiteSpec};
use crate::control::{BinaryControl, Changes};
use crate::durable;
use crate::error::PublishError;
use crate::names::{Architecture, Suite};
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
        let _lock = self.lock()?;
        let current = self.current(suite)?;
        let held = current.entries(plan.package())?;

        // What is served already is recognised also where it lies apart.
        let held_in = held.get(&Kind::Source).and_then(|it| it.first()).and_then(|it| it.field("Directory"));
        if let Some(directory) = held_in
            && entries(suite, artifacts, directory)? == held
            && matches!(pool::compare(&self.directory.join(directory), &uploads)?, Present::Missing(it) if it.is_empty())
        {
            self.confirm(&suite.suite)?;
            return Ok(self.generation_of(&suite.suite, plan.package(), &plan.job().id)?);
        }
        self.check_conflicts(suite, plan, &uploads)?;

        let mut directory = pool::directory(&suite.component, plan.package());
        let missing = match pool::compare(&self.directory.join(&directory), &uploads)? {
            Present::Missing(missing) => missing,
            Present::Different => {
                directory = pool::directory_apart(&directory, &uploads);
                let path = self.directory.join(&directory);
                match pool::compare(&path, &uploads)? {
                    Present::Missing(missing) => missing,
                    Present::Different => {
                        let problem = "has files whose bytes are not those that gave it its name";
                        return Err(ArchiveError::damaged(&path, problem).into());
                    }
                }
            }
        };
        let entries = entries(suite, artifacts, &directory)?;
        check_owners(&current, plan, &entries)?;
        let path = self.directory.join(&directory);
        durable::create_directory(&path).map_err(ArchiveError::from)?;
        let files = missing.into_iter().map(|it| pool::stage(&path, it)).collect::<Result<_, _>>()?;
        // A file that an interrupted publication left may have a name that was never synced.
        durable::sync_directory(&path).map_err(ArchiveError::from)?;
        let paths = uploads.iter().map(|it| format!("{directory}/{}", it.artifact.name)).collect();
        let old = held.get(&Kind::Source).and_then(|it| it.first()).and_then(Stanza::held);
        let reason = super::switch::reason(plan, old.map(|it| it.version));
        let replacement = Replacement { source: Some(plan.package()), entries, files, paths, reason };
        Ok(self.switch(suite, &current, replacement)?)
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
        for kind in release.architectures().into_iter().map(Kind::Binary).chain([Kind::Source]) {
            let entries = self.lookup(suite, &release, &kind, plan.package())?;
            files.extend(entries.iter().flat_map(Stanza::files));
        }
        Ok(Some((held, files)))
    }
}

/// Makes the paragraphs of all indices.
fn entries(suite: &SuiteSpec, artifacts: &BuildArtifacts, directory: &str) -> Result<Entries, PublishError> {
    let plan = artifacts.plan();
    let unfit = |problem| unfit(plan, problem);
    let mut entries = Entries::new();
    let source = Stanza::of_source(artifacts.source(), plan.commit(), directory).map_err(unfit)?;
    entries.insert(Kind::Source, vec![source]);
    let mut seen = BTreeSet::new();
    for control in artifacts.builds().iter().flat_map(Changes::binaries) {
        let name = &control.artifact().name;
        if Path::new(name.as_str()).extension().is_some_and(|it| it == "udeb") {
            return Err(unfit(format!("packages of the installer, such as {name}, are not supported yet")));
        }
        if !seen.insert(name.as_str()) {
            continue;
        }
        let of_file = |problem| unfit(format!("{name}: {problem}"));
        let stanza = Stanza::of_binary(control, directory).map_err(of_file)?;
        for kind in kinds_of(suite, control).map_err(unfit)? {
            let list = entries.entry(kind).or_default();
            if list.iter().any(|it| it.key == stanza.key) {
                return Err(unfit(format!("it has two packages {} of one architecture", stanza.key.name())));
            }
            list.push(stanza.clone());
        }
    }
    for stanzas in entries.values_mut() {
        stanzas.sort_by(|a, b| a.key.cmp(&b.key));
    }
    Ok(entries)
}

/// Returns the indices that list a binary package.
fn kinds_of(suite: &SuiteSpec, control: &BinaryControl) -> Result<Vec<Kind>, String> {
    let architecture = control.architecture();
    if *architecture == Architecture::all() {
        return Ok(suite.architectures.iter().cloned().map(Kind::Binary).collect());
    }
    if suite.architectures.contains(architecture) {
        return Ok(vec![Kind::Binary(architecture.clone())]);
    }
    Err(format!(
        "{} is for {architecture}, which is not an architecture of the suite; add it to the pocket",
        control.artifact().name
    ))
}

/// Refuses a binary package that the suite has in the same version from another source package: apt could not
/// tell them apart.
pub(super) fn check_owners(
    current: &Current,
    plan: &BuildPlan,
    entries: &Entries,
) -> Result<(), PublishError> {
    for (kind, stanzas) in entries.iter().filter(|it| *it.0 != Kind::Source) {
        let Some(index) = current.indices.get(kind) else { continue };
        for stanza in stanzas {
            let named = index.named(stanza.key.name());
            let named = named.map_err(|e| ArchiveError::damaged(Path::new(&kind.path()), e))?;
            let is_same = |it: &&Stanza| {
                it.key.source() != stanza.key.source() && it.field("Version") == stanza.field("Version")
            };
            if let Some(other) = named.iter().find(is_same) {
                let version = other.field("Version").unwrap_or_default();
                let (name, source) = (other.key.name(), other.key.source());
                let problem = format!("it serves {name} {version} of the source package {source}");
                return Err(conflict(plan, problem));
            }
        }
    }
    Ok(())
}

fn unfit(plan: &BuildPlan, problem: String) -> PublishError {
    let (suite, package, version) = (plan.suite().clone(), plan.package().clone(), plan.version().clone());
    PublishError::Unfit { suite, package, version, problem }
}

fn conflict(plan: &BuildPlan, problem: String) -> PublishError {
    let (suite, package, version) = (plan.suite().clone(), plan.package().clone(), plan.version().clone());
    PublishError::Conflict { suite, package, version, problem }
}
