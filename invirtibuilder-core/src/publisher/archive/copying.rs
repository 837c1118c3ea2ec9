//! From one suite to another: the same paragraphs, and so the same files.

use std::collections::{BTreeMap, BTreeSet};

use super::Archive;
use super::entries::{self, Entries};
use super::switch::{Replacement, Scope};
use crate::error::PublishError;
use crate::publisher::Generation;
use crate::states::CopyPlan;

impl Archive {
    pub(super) fn copy_held(&self, copy: &CopyPlan) -> Result<Option<Generation>, PublishError> {
        let plan = copy.plan();
        let from = &copy.from().suite;
        let suite = self.suite(plan.suite())?;
        let not_held = || PublishError::NotHeld {
            suite: from.clone(),
            package: plan.package().clone(),
            version: plan.version().clone(),
        };
        let _lock = self.lock()?;
        let release = self.release(from)?.ok_or_else(not_held)?;
        let held = self.held_in(from, &release, plan.package())?.ok_or_else(not_held)?;
        let is_meant = held.version.as_str() == plan.version().as_str()
            && held.commit.as_ref().is_none_or(|it| it == plan.commit());
        if !is_meant {
            return Err(not_held());
        }
        let mut found = Entries::new();
        for path in release.indices() {
            let stanzas = self.lookup(from, &release, &path, plan.package())?;
            found.insert(path, stanzas);
        }
        let entries = entries::fitted(suite, &found);
        entries::check_components(suite, &entries).map_err(|problem| PublishError::Unfit {
            suite: suite.suite.clone(),
            package: plan.package().clone(),
            version: plan.version().clone(),
            problem,
        })?;
        let current = self.current(suite)?;
        let held = self.entries(&current, plan.package())?;
        if held == entries {
            self.confirm(&suite.suite)?;
            return Ok(self.generation_of(&suite.suite, plan.package(), &plan.job().id)?);
        }
        self.check_owners(&current, plan, &entries)?;
        let reason = super::switch::reason(plan, &held);
        let scope = Scope::Sources(BTreeSet::from([plan.package().clone()]), held);
        let replacement = Replacement {
            scope,
            entries,
            files: Vec::new(),
            paths: BTreeMap::new(),
            directories: BTreeSet::new(),
            reason,
        };
        Ok(self.switch(&current, replacement)?)
    }
}
