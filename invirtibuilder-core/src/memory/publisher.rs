//! An archive in memory.

use super::Memory;
use crate::error::PublishError;
use crate::names::{PackageName, Suite};
use crate::policy::Held;
use crate::publisher::Publisher;
use crate::states::{BuildArtifacts, BuildPlan, CopyPlan};

/// A [`Publisher`] whose suites are in a [`World`](super::World).
#[derive(Clone, Debug)]
pub struct MemoryPublisher(pub Memory);

impl MemoryPublisher {
    fn serve(&self, effect: &str, plan: &BuildPlan, hashes: Vec<String>) -> Result<(), PublishError> {
        let is_other = |(held, served): (Held, Vec<String>)| {
            held.version.as_str() == plan.version().as_str() && served != hashes
        };
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
        let held = Held {
            package: plan.package().clone(),
            version: plan.version().clone(),
            commit: Some(plan.commit().clone()),
        };
        let place = (plan.suite().clone(), plan.package().clone());
        let served = self.0.effect(effect, |world| world.archive.insert(place, (held, hashes)));
        served.map_err(PublishError::Backend).map(|_| ())
    }

    fn entry(&self, suite: &Suite, package: &PackageName) -> Option<(Held, Vec<String>)> {
        self.0.world().archive.get(&(suite.clone(), package.clone())).cloned()
    }
}

impl Publisher for MemoryPublisher {
    fn publish(&self, artifacts: &BuildArtifacts) -> Result<(), PublishError> {
        let mut hashes: Vec<String> = artifacts.files().map(|(_, file)| file.sha256.clone()).collect();
        hashes.sort();
        self.serve("publish", artifacts.plan(), hashes)
    }

    fn copy(&self, copy: &CopyPlan) -> Result<(), PublishError> {
        let plan = copy.plan();
        let is_wanted = |(held, _): &(Held, Vec<String>)| {
            held.version.as_str() == plan.version().as_str() && held.commit.as_ref() == Some(plan.commit())
        };
        let wanted = self.entry(&copy.from().suite, plan.package()).filter(is_wanted);
        let already = self.entry(plan.suite(), plan.package()).is_some_and(|it| is_wanted(&it));
        match wanted {
            Some((_, hashes)) => self.serve("copy", plan, hashes),
            None if already => Ok(()),
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
}
