//! From built packages to a suite's next indices: what may be published, and where its files lie.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::entries::{self, Entries};
use super::generations::{Cause, Changed, Reason};
use super::pool::{self, Present, Upload};
use super::release::{IndexPath, Kind};
use super::stanza::{PoolFile, Stanza};
use super::switch::{Current, Replacement, Scope};
use super::table::KeyRef;
use super::{Archive, ArchiveError, SuiteSpec};
use crate::durable::{self, NewFile};
use crate::error::PublishError;
use crate::names::{JobId, PackageName, Suite};
use crate::policy::Held;
use crate::publisher::Generation;
use crate::states::{BuildArtifacts, BuildPlan};

/// What a publication adds, before anybody has looked at what is there.
struct Arrival<'a> {
    artifacts: &'a BuildArtifacts,
    uploads: Vec<Upload<'a>>,
    /// Where its files belong.
    home: String,
    /// What the indices say of them there.
    entries: Entries,
}

impl<'a> Arrival<'a> {
    fn new(suite: &SuiteSpec, artifacts: &'a BuildArtifacts) -> Result<Self, PublishError> {
        let unfit = |problem| unfit(artifacts.plan(), problem);
        let uploads = pool::uploads(artifacts).map_err(unfit)?;
        let home = pool::directory(suite, artifacts).map_err(unfit)?;
        let entries = entries::of_artifacts(suite, artifacts, &home).map_err(unfit)?;
        Ok(Self { artifacts, uploads, home, entries })
    }
}

impl Archive {
    pub(super) fn publish_artifacts(
        &self,
        artifacts: &BuildArtifacts,
    ) -> Result<Option<Generation>, PublishError> {
        let plan = artifacts.plan();
        let suite = self.suite(plan.suite())?;
        let arrival = Arrival::new(suite, artifacts)?;
        let _lock = self.lock()?;
        let current = self.current(suite)?;
        let held = self.entries(&current, plan.package())?;
        if let Some(replacement) = self.replacement(&current, &arrival, held)? {
            return Ok(self.switch(&current, replacement)?);
        }
        self.confirm(&suite.suite)?;
        Ok(self.generation_of(&suite.suite, plan.package(), &plan.job().id)?)
    }

    /// Adds the built packages of several source packages to a suite, in one switch: readers see all or none. Returns
    /// the generation in which all are there.
    ///
    /// Packages that are there already are passed over. `artifacts` is asked for the next when the files of the one
    /// before are copied, so not all of them need to be there at once.
    ///
    /// # Errors
    /// One of them, which is named, cannot be published, or comes twice. Then the archive is as it was.
    pub fn publish_all(
        &self,
        suite: &Suite,
        artifacts: impl IntoIterator<Item = Result<BuildArtifacts, PublishError>>,
    ) -> Result<Option<Generation>, PublishError> {
        let suite = self.suite(suite)?;
        let _lock = self.lock()?;
        let current = self.current(suite)?;
        let known = self.source_names(&current)?;
        let mut all = Together::default();
        for artifacts in artifacts {
            let artifacts = artifacts?;
            let package = artifacts.plan().package();
            let held = if known.contains(package.as_str()) {
                self.entries(&current, package)?
            } else {
                Entries::new()
            };
            let arrival = Arrival::new(suite, &artifacts)?;
            if let Some(replacement) = self.replacement(&current, &arrival, held)? {
                all.add(artifacts.plan(), replacement)?;
            }
        }
        if let Some(replacement) = all.finish() {
            return Ok(self.switch(&current, replacement)?);
        }
        self.confirm(&suite.suite)?;
        Ok(current.release.and_then(|it| it.generation))
    }

    /// Returns the source packages that a suite serves anything of.
    fn source_names(&self, current: &Current<'_>) -> Result<BTreeSet<String>, ArchiveError> {
        let mut sources = BTreeSet::new();
        let Some(release) = &current.release else { return Ok(sources) };
        for path in &current.paths {
            let Some(table) = self.table_of(&current.suite.suite, release, path)? else { continue };
            sources.extend(table.all_keys().map(|it| String::from_utf8_lossy(it.source()).into_owned()));
        }
        Ok(sources)
    }

    /// Returns what the suite should become; `None` if it serves all of it already.
    fn replacement(
        &self,
        current: &Current<'_>,
        arrival: &Arrival<'_>,
        held: Entries,
    ) -> Result<Option<Replacement>, PublishError> {
        let Arrival { artifacts, uploads, home, entries: fresh } = arrival;
        let plan = artifacts.plan();

        // What is served already is recognised also where it lies apart.
        let source = held.iter().find(|it| it.0.kind == Kind::Source).and_then(|it| it.1.first());
        if let Some(directory) = source.and_then(|it| it.field("Directory"))
            && moved(fresh, home, directory) == held
            && matches!(pool::compare(&self.directory.join(directory), uploads)?, Present::Missing(it) if it.is_empty())
        {
            return Ok(None);
        }
        self.check_conflicts(current.suite, plan, uploads)?;

        let (directory, missing) = pool::settle(&self.directory, home, uploads)?;
        let entries = moved(fresh, home, &directory);
        self.check_owners(current, plan, &entries)?;
        let path = self.directory.join(&directory);
        let mut directories = durable::create_directory_unsynced(&path).map_err(ArchiveError::from)?;
        let files = missing.into_iter().map(|it| pool::stage(&path, it)).collect::<Result<_, _>>()?;
        // A file that an interrupted publication left may have a name that was never synced.
        directories.insert(path);
        let paths = uploads.iter().map(|it| format!("{directory}/{}", it.artifact.name));
        let paths = paths.map(|it| (it, plan.package().clone())).collect();
        let reason = super::switch::reason(plan, &held);
        let scope = Scope::Sources(BTreeSet::from([plan.package().clone()]), held);
        Ok(Some(Replacement { scope, entries, files, paths, directories, reason }))
    }

    /// Refuses other bytes under a name that a suite serves for good.
    pub(super) fn check_conflicts(
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
            for name in &names {
                let source = plan.package().as_str().as_bytes();
                let other = table.named(name).find(|it| it.source() != source);
                if let Some(other) = other.map(KeyRef::to_key) {
                    return Err(owned(plan, other.name(), other.source()));
                }
            }
        }
        Ok(())
    }
}

/// The replacements of several source packages, as one.
#[derive(Default)]
struct Together {
    sources: BTreeSet<PackageName>,
    held: Entries,
    entries: Entries,
    files: Vec<NewFile>,
    paths: BTreeMap<String, PackageName>,
    directories: BTreeSet<PathBuf>,
    jobs: BTreeSet<JobId>,
    changes: Vec<Changed>,
    /// Which source package has a binary package, by index.
    owners: BTreeMap<IndexPath, BTreeMap<String, PackageName>>,
}

impl Together {
    fn add(&mut self, plan: &BuildPlan, replacement: Replacement) -> Result<(), PublishError> {
        let Replacement { scope, entries, files, paths, directories, reason } = replacement;
        if !self.sources.insert(plan.package().clone()) {
            return Err(conflict(plan, "it comes twice in one publication".to_owned()));
        }
        for (path, stanzas) in entries {
            if path.is_binary() {
                let owners = self.owners.entry(path.clone()).or_default();
                for name in stanzas.iter().map(|it| it.key.name()) {
                    if let Some(other) = owners.insert(name.to_owned(), plan.package().clone()) {
                        return Err(owned(plan, name, other.as_str()));
                    }
                }
            }
            self.entries.entry(path).or_default().extend(stanzas);
        }
        if let Scope::Sources(_, held) = scope {
            for (path, stanzas) in held {
                self.held.entry(path).or_default().extend(stanzas);
            }
        }
        let closed = |mut it: NewFile| {
            it.close();
            it
        };
        self.files.extend(files.into_iter().map(closed));
        self.directories.extend(directories);
        self.jobs.extend(reason.job);
        self.changes.extend(reason.changes);
        self.paths.extend(paths);
        Ok(())
    }

    fn finish(self) -> Option<Replacement> {
        let Self { sources, held, entries, files, paths, directories, jobs, changes, .. } = self;
        // A generation names the job that it came from, where that is one.
        let job = if jobs.len() == 1 { jobs.into_iter().next() } else { None };
        let reason = Reason { cause: Cause::Job, job, changes };
        let scope = Scope::Sources(sources, held);
        (!entries.is_empty()).then_some(Replacement { scope, entries, files, paths, directories, reason })
    }
}

/// Returns the entries for the same files in another directory of the pool.
pub(super) fn moved(entries: &Entries, from: &str, to: &str) -> Entries {
    let place = |(path, stanzas): (&_, &Vec<Stanza>)| {
        (Clone::clone(path), stanzas.iter().map(|it| it.moved(from, to)).collect())
    };
    entries.iter().map(place).collect()
}

fn owned(plan: &BuildPlan, name: &str, owner: &str) -> PublishError {
    match (name.parse(), owner.parse()) {
        (Ok(binary), Ok(owner)) => PublishError::Owned {
            suite: plan.suite().clone(),
            package: plan.package().clone(),
            binary,
            owner,
        },
        _ => conflict(plan, format!("it serves {name} of the source package {owner}")),
    }
}

pub(super) fn unfit(plan: &BuildPlan, problem: String) -> PublishError {
    let (suite, package, version) = (plan.suite().clone(), plan.package().clone(), plan.version().clone());
    PublishError::Unfit { suite, package, version, problem }
}

fn conflict(plan: &BuildPlan, problem: String) -> PublishError {
    let (suite, package, version) = (plan.suite().clone(), plan.package().clone(), plan.version().clone());
    PublishError::Conflict { suite, package, version, problem }
}
