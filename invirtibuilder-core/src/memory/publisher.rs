//! An archive in memory.

use std::collections::{BTreeMap, BTreeSet};

use super::{Memory, World};
use crate::control::Changes;
use crate::error::PublishError;
use crate::names::{JobId, PackageName, Suite};
use crate::policy::Held;
use crate::publisher::{Generation, Owners, Publisher};
use crate::states::{BuildArtifacts, BuildPlan, CopyPlan};

/// What a suite serves of a source package: its version, the sums of its files, and its binary packages.
pub type Served = (Held, Vec<String>, BTreeSet<PackageName>);

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
    ) -> Result<Option<Generation>, PublishError> {
        let is_other =
            |(held, served, _): Served| held.version.as_str() == plan.version().as_str() && served != hashes;
        if !plan.pocket().policy.allow_backtracking
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
            world.archive.insert(place, (held, hashes, names));
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

    fn entry(&self, suite: &Suite, package: &PackageName) -> Option<Served> {
        self.0.world().archive.get(&(suite.clone(), package.clone())).cloned()
    }
}

impl Publisher for MemoryPublisher {
    fn prepare(&self) -> Result<(), PublishError> {
        Ok(())
    }

    fn publish(&self, artifacts: &BuildArtifacts) -> Result<Option<Generation>, PublishError> {
        let mut hashes: Vec<String> = artifacts.files().map(|(_, file)| file.sha256.clone()).collect();
        hashes.sort();
        let binaries = artifacts.builds().iter().flat_map(Changes::binaries);
        let names = binaries.map(|it| it.package().clone()).collect();
        self.serve("publish", artifacts.plan(), hashes, names)
    }

    fn copy(&self, copy: &CopyPlan) -> Result<Option<Generation>, PublishError> {
        let plan = copy.plan();
        let is_wanted = |(held, ..): &Served| {
            held.version.as_str() == plan.version().as_str() && held.commit.as_ref() == Some(plan.commit())
        };
        let wanted = self.entry(&copy.from().suite, plan.package()).filter(is_wanted);
        let already = self.entry(plan.suite(), plan.package()).is_some_and(|it| is_wanted(&it));
        match wanted {
            Some((_, hashes, names)) => self.serve("copy", plan, hashes, names),
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

    fn owners(&self, suite: &Suite, binaries: &BTreeSet<PackageName>) -> Result<Owners, PublishError> {
        let world = self.0.world();
        let mut owners = Owners::new();
        for ((_, source), (_, _, names)) in world.archive.iter().filter(|it| it.0.0 == *suite) {
            for name in names.intersection(binaries) {
                owners.entry(name.clone()).or_default().insert(source.clone());
            }
        }
        Ok(owners)
    }
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
