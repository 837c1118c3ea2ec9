//! From one suite to another: the same paragraphs, and so the same files.

use super::Archive;
use super::release::Kind;
use super::switch::{Entries, Replacement};
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
        let found = self.lookup(from, &release, &Kind::Source, plan.package())?;
        let held = found.first().and_then(super::stanza::Stanza::held).ok_or_else(not_held)?;
        let is_meant = held.version.as_str() == plan.version().as_str()
            && held.commit.as_ref().is_none_or(|it| it == plan.commit());
        if !is_meant {
            return Err(not_held());
        }
        let mut entries = Entries::new();
        for kind in Kind::of(suite) {
            let mut found = self.lookup(from, &release, &kind, plan.package())?;
            // An architecture that only the target has gets what runs anywhere.
            if release.index(&kind, ".gz").is_none()
                && let Some(known) = release.architectures().into_iter().next()
            {
                found = self.lookup(from, &release, &Kind::Binary(known), plan.package())?;
                found.retain(|it| it.field("Architecture") == Some("all"));
            }
            if !found.is_empty() {
                entries.insert(kind, found);
            }
        }
        let current = self.current(suite)?;
        let held = current.entries(plan.package())?;
        if held == entries {
            self.confirm(&suite.suite)?;
            return Ok(self.generation_of(&suite.suite, plan.package(), &plan.job().id)?);
        }
        super::publishing::check_owners(&current, plan, &entries)?;
        let old = held.get(&Kind::Source).and_then(|it| it.first()).and_then(super::stanza::Stanza::held);
        let reason = super::switch::reason(plan, old.map(|it| it.version));
        let replacement = Replacement { source: Some(plan.package()), entries, ..Replacement::new(reason) };
        Ok(self.switch(suite, &current, replacement)?)
    }
}
