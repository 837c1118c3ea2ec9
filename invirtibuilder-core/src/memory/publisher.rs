//! An archive in memory.

use std::collections::BTreeSet;

use super::Memory;
use crate::control::Changes;
use crate::error::PublishError;
use crate::names::{PackageName, Suite};
use crate::policy::Held;
use crate::publisher::{Generation, Owners, Publisher};
use crate::states::{BuildArtifacts, BuildPlan, CopyPlan};

/// What a suite serves of a source package: its version, the sums of its files, and its binary packages.
pub type Served = (Held, Vec<String>, BTreeSet<PackageName>);

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
    ) -> Result<(), PublishError> {
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
        let served = self.0.effect(effect, |world| world.archive.insert(place, (held, hashes, names)));
        served.map_err(PublishError::Backend).map(|_| ())
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
        self.serve("publish", artifacts.plan(), hashes, names).map(|()| None)
    }

    fn copy(&self, copy: &CopyPlan) -> Result<Option<Generation>, PublishError> {
        let plan = copy.plan();
        let is_wanted = |(held, ..): &Served| {
            held.version.as_str() == plan.version().as_str() && held.commit.as_ref() == Some(plan.commit())
        };
        let wanted = self.entry(&copy.from().suite, plan.package()).filter(is_wanted);
        let already = self.entry(plan.suite(), plan.package()).is_some_and(|it| is_wanted(&it));
        match wanted {
            Some((_, hashes, names)) => self.serve("copy", plan, hashes, names).map(|()| None),
            None if already => Ok(None),
            None => Err(PublishError::NotHeld {
                suite: copy.from().suite.clone(),
                package: plan.package().clone(),
                version: plan.version().clone(),
            }),
        }
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
