//! An archive in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::files::write_source_with;
use super::{Memory, World};
use crate::control::Changes;
use crate::durable::{self, DurableError};
use crate::error::PublishError;
use crate::names::{Architecture, JobId, PackageName, Suite};
use crate::policy::Held;
use crate::publisher::{Generation, Owners, Publisher, ServedFile};
use crate::states::{BuildArtifacts, BuildPlan, CopyPlan};

/// What a suite serves of a source package: its version, the sums of its files, its binary packages, and their
/// architectures.
pub type Served = (Held, Vec<String>, BTreeSet<PackageName>, BTreeSet<Architecture>);

/// What a suite serves, by source package.
pub type SuiteContents = BTreeMap<PackageName, Served>;

/// A [`Publisher`] whose suites are in a [`World`](super::World).
#[derive(Clone, Debug)]
pub struct MemoryPublisher(pub Memory);

impl MemoryPublisher {
    fn serve(
        &self,
        effect: &str,
        plan: &BuildPlan,
        hashes: Vec<String>,
        names: BTreeSet<PackageName>,
        architectures: BTreeSet<Architecture>,
    ) -> Result<Option<Generation>, PublishError> {
        let is_other =
            |(held, served, ..): Served| held.version.as_str() == plan.version().as_str() && served != hashes;
        if !plan.pocket().policy.allow_backtracking
            && plan.job().request.adds.is_none()
            && self.entry(plan.suite(), plan.package()).is_some_and(is_other)
        {
            return Err(PublishError::Conflict {
                suite: plan.suite().clone(),
                package: plan.package().clone(),
                version: plan.version().clone(),
                problem: "it has other files under this version".to_owned(),
            });
        }
        let owners = self.owners(plan.suite(), &names)?;
        for (binary, sources) in owners {
            if let Some(owner) = sources.into_iter().find(|it| it != plan.package()) {
                return Err(PublishError::Owned {
                    suite: plan.suite().clone(),
                    package: plan.package().clone(),
                    binary,
                    owner,
                });
            }
        }
        let held = Held {
            package: plan.package().clone(),
            version: plan.version().clone(),
            commit: Some(plan.commit().clone()),
        };
        let place = (plan.suite().clone(), plan.package().clone());
        let serve = |world: &mut World| {
            world.archive.insert(place, (held, hashes, names, architectures));
            number(world, plan.suite(), &plan.job().id)
        };
        self.0.effect(effect, serve).map_err(PublishError::Backend).map(Some)
    }

    /// Returns what a suite served in a generation.
    fn kept(&self, suite: &Suite, generation: Generation) -> Result<SuiteContents, PublishError> {
        let world = self.0.world();
        let at = usize::try_from(generation.number()).unwrap_or(usize::MAX).checked_sub(1);
        let found = at.and_then(|at| world.generations.get(suite)?.get(at).cloned());
        found.map(|it| it.1).ok_or_else(|| PublishError::NotKept {
            suite: suite.clone(),
            generation,
            problem: "there was none of this number".to_owned(),
        })
    }

    /// Keeps the files of a publication, by their sums.
    fn keep(&self, artifacts: &BuildArtifacts) -> Result<(), PublishError> {
        let pool = self.0.directory().join("pool");
        let backend = |e: DurableError| PublishError::Backend(e.into());
        for (directory, file) in artifacts.files() {
            let place = pool.join(&file.sha256);
            durable::create_directory(&place).map_err(backend)?;
            durable::copy(&directory.join(file.name.as_str()), &place.join(file.name.as_str()))
                .map_err(backend)?;
        }
        Ok(())
    }

    fn entry(&self, suite: &Suite, package: &PackageName) -> Option<Served> {
        self.0.world().archive.get(&(suite.clone(), package.clone())).cloned()
    }
}

impl Publisher for MemoryPublisher {
    fn prepare(&self) -> Result<(), PublishError> {
        Ok(())
    }

    fn publish(&self, artifacts: &BuildArtifacts) -> Result<Option<Generation>, PublishError> {
        self.keep(artifacts)?;
        let (hashes, names, architectures) = parts(artifacts);
        self.serve("publish", artifacts.plan(), hashes, names, architectures)
    }

    fn add(&self, artifacts: &BuildArtifacts) -> Result<Option<Generation>, PublishError> {
        let plan = artifacts.plan();
        let is_meant = |(held, hashes, ..): &Served| {
            let source = artifacts.source().files().iter();
            held.version.as_str() == plan.version().as_str()
                && held.commit.as_ref() == Some(plan.commit())
                && source.into_iter().all(|it| hashes.contains(&it.sha256))
        };
        let Some((_, mut hashes, mut names, mut architectures)) =
            self.entry(plan.suite(), plan.package()).filter(is_meant)
        else {
            return Err(PublishError::NotHeld {
                suite: plan.suite().clone(),
                package: plan.package().clone(),
                version: plan.version().clone(),
            });
        };
        self.keep(artifacts)?;
        let (more, new_names, new_architectures) = parts(artifacts);
        hashes.extend(more);
        hashes.sort();
        hashes.dedup();
        names.extend(new_names);
        architectures.extend(new_architectures);
        self.serve("add", plan, hashes, names, architectures)
    }

    fn source(&self, suite: &Suite, package: &PackageName, into: &Path) -> Result<PathBuf, PublishError> {
        let gone = || PublishError::Backend(format!("{suite} does not serve {package}").into());
        let (held, ..) = self.entry(suite, package).ok_or_else(gone)?;
        let commit = held.commit.ok_or_else(gone)?;
        let found = self.0.world().repositories.get(package).and_then(|it| it.get(&commit)).cloned();
        let files = found.ok_or_else(gone)?.files;
        // The same arguments give the same bytes.
        write_source_with(into, package, &held.version, &commit, &files).map_err(PublishError::Backend)
    }

    fn architectures(
        &self,
        suite: &Suite,
        package: &PackageName,
    ) -> Result<BTreeSet<Architecture>, PublishError> {
        Ok(self.entry(suite, package).map(|it| it.3).unwrap_or_default())
    }

    fn copy(&self, copy: &CopyPlan) -> Result<Option<Generation>, PublishError> {
        let plan = copy.plan();
        let is_wanted = |(held, ..): &Served| {
            held.version.as_str() == plan.version().as_str() && held.commit.as_ref() == Some(plan.commit())
        };
        let wanted = self.entry(&copy.from().suite, plan.package()).filter(is_wanted);
        let already = self.entry(plan.suite(), plan.package()).is_some_and(|it| is_wanted(&it));
        match wanted {
            Some((_, hashes, names, architectures)) => self.serve("copy", plan, hashes, names, architectures),
            None if already => self.generation(plan.suite()),
            None => Err(PublishError::NotHeld {
                suite: copy.from().suite.clone(),
                package: plan.package().clone(),
                version: plan.version().clone(),
            }),
        }
    }

    fn generation(&self, suite: &Suite) -> Result<Option<Generation>, PublishError> {
        let count = self.0.world().generations.get(suite).map(Vec::len);
        Ok(count.map(|it| Generation::new(it as u64)))
    }

    fn contents_at(&self, suite: &Suite, generation: Generation) -> Result<Vec<Held>, PublishError> {
        Ok(self.kept(suite, generation)?.into_values().map(|it| it.0).collect())
    }

    fn restore(
        &self,
        suite: &Suite,
        id: &JobId,
        from: Generation,
        to: Generation,
    ) -> Result<Generation, PublishError> {
        let kept = self.kept(suite, to)?;
        let served = self.generation(suite)?;
        let is_repeated = made_by(&self.0.world(), suite, id).is_some();
        if served != Some(from) && !is_repeated {
            let problem = format!("it serves another generation than {from} now");
            return Err(PublishError::NotKept { suite: suite.clone(), generation: to, problem });
        }
        let restore = |world: &mut World| {
            world.archive.retain(|place, _| place.0 != *suite);
            world.archive.extend(kept.into_iter().map(|(package, it)| ((suite.clone(), package), it)));
            number(world, suite, id)
        };
        self.0.effect("restore", restore).map_err(PublishError::Backend)
    }

    fn held(&self, suite: &Suite, package: &PackageName) -> Result<Option<Held>, PublishError> {
        Ok(self.entry(suite, package).map(|it| it.0))
    }

    fn contents(&self, suite: &Suite) -> Result<Vec<Held>, PublishError> {
        let world = self.0.world();
        Ok(world.archive.iter().filter(|it| it.0.0 == *suite).map(|it| it.1.0.clone()).collect())
    }

    fn files(&self, suite: &Suite, package: &PackageName) -> Result<Vec<ServedFile>, PublishError> {
        let mut files = Vec::new();
        for sha256 in self.entry(suite, package).into_iter().flat_map(|it| it.1) {
            let place = self.0.directory().join("pool").join(&sha256);
            for found in std::fs::read_dir(place).map_err(|e| PublishError::Backend(e.into()))?.flatten() {
                files.push(ServedFile { path: found.path(), sha256: sha256.clone() });
            }
        }
        files.sort();
        Ok(files)
    }

    fn paragraphs(&self, _: &Suite, _: &Architecture) -> Result<Vec<String>, PublishError> {
        Ok(Vec::new())
    }

    fn owners(&self, suite: &Suite, binaries: &BTreeSet<PackageName>) -> Result<Owners, PublishError> {
        let world = self.0.world();
        let mut owners = Owners::new();
        for ((_, source), (_, _, names, _)) in world.archive.iter().filter(|it| it.0.0 == *suite) {
            for name in names.intersection(binaries) {
                owners.entry(name.clone()).or_default().insert(source.clone());
            }
        }
        Ok(owners)
    }
}

/// Returns the sums of all files, and the names and architectures of the binary packages.
fn parts(artifacts: &BuildArtifacts) -> (Vec<String>, BTreeSet<PackageName>, BTreeSet<Architecture>) {
    let mut hashes: Vec<String> = artifacts.files().map(|(_, file)| file.sha256.clone()).collect();
    hashes.sort();
    let binaries = || artifacts.builds().iter().flat_map(Changes::binaries);
    let names = binaries().map(|it| it.package().clone()).collect();
    (hashes, names, binaries().map(|it| it.architecture().clone()).collect())
}

/// Returns the generation that a job has made.
fn made_by(world: &World, suite: &Suite, job: &JobId) -> Option<Generation> {
    let at = world.generations.get(suite)?.iter().rposition(|it| it.0 == *job)?;
    Some(Generation::new(at as u64).next())
}

/// Notes what a suite serves now as a generation, unless the job has made this one already, and returns its number.
fn number(world: &mut World, suite: &Suite, job: &JobId) -> Generation {
    let own = world.archive.iter().filter(|it| it.0.0 == *suite);
    let served: SuiteContents = own.map(|(place, it)| (place.1.clone(), it.clone())).collect();
    let made = made_by(world, suite, job);
    let all = world.generations.entry(suite.clone()).or_default();
    if let Some(made) = made
        && all.last().is_some_and(|it| it.1 == served)
    {
        return made;
    }
    all.push((job.clone(), served));
    Generation::new(all.len() as u64)
}
