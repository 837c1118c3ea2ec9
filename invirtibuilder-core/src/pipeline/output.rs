//! The stage build: runs the builder for each architecture, and lets what it left through the output gate.
//!
//! The gate stands before the checkpoint, and nowhere else: its answer is a part of the decision that is saved
//! there. What can become false between the checkpoint and the publication is who owns a name in the suite, and
//! that the publisher asks again where nobody can come between.

use std::collections::BTreeSet;

use super::fan_out::targets;
use super::{Pipeline, Working};
use crate::error::{BuildError, StageError, VerifyError};
use crate::job::Job;
use crate::names::PackageName;
use crate::policy::{Declaration, OutputRejection, PocketSpec};
use crate::states::{BuildArtifacts, BuildPlan, Circumstances, Outputs, SourcePackage};

impl Pipeline {
    pub(super) fn build(
        &self,
        source: SourcePackage,
        working: &Working<'_>,
    ) -> Result<BuildArtifacts, StageError> {
        let declared = self.declared(source.plan())?;
        let runs =
            self.run_all(&source, &targets(source.plan().pocket(), &declared), "", working, working)?;
        self.admit(Outputs::read(source, &runs, self.max_results), &declared)
    }

    /// Reads what the plan's commit declares.
    pub(super) fn declared(&self, plan: &BuildPlan) -> Result<Declaration, StageError> {
        let survey = self.pocket(&plan.pocket().name)?.survey(plan.package(), plan.commit())?;
        // Validation has read it from the same commit, so somebody took the commit away meanwhile.
        let gone = || {
            VerifyError::new(format!("commit {}", plan.commit()), "its debian/control can no longer be read")
        };
        Ok(survey.control.and_then(Result::ok).ok_or_else(gone)?)
    }

    /// Gathers what the gate asks besides the files, and lets it judge.
    pub(super) fn admit(
        &self,
        outputs: Outputs,
        declared: &Declaration,
    ) -> Result<BuildArtifacts, StageError> {
        let plan = outputs.plan();
        let names: BTreeSet<PackageName> = outputs.binaries().iter().map(|it| it.package.clone()).collect();
        let owners = self.publisher.owners(plan.suite(), &names)?;
        let protected = self.protected(plan.pocket())?;
        Ok(outputs.admit(Circumstances { declared, owners: &owners, protected: &protected })?)
    }

    /// Returns the packages of a pocket's base, as far as the builder knows them yet.
    pub(super) fn protected(&self, pocket: &PocketSpec) -> Result<BTreeSet<PackageName>, BuildError> {
        let mut all = BTreeSet::new();
        for architecture in pocket.architectures.iter().chain(&pocket.building.optional) {
            all.extend(self.builder.protected(&pocket.base, architecture)?);
        }
        Ok(all)
    }
}

/// Returns the causes of a failure at the gate: what happened, and a line for each broken rule.
pub(super) fn causes(job: &Job, rejection: &OutputRejection) -> Vec<String> {
    let reasons = rejection.reasons();
    let count = match reasons.len() {
        1 => "a rule".to_owned(),
        several => format!("{several} rules"),
    };
    let first = format!(
        "{} was built, but what the build left breaks {count}, so nothing of it is published",
        job.request.package
    );
    [first].into_iter().chain(reasons).collect()
}

#[cfg(test)]
mod tests;
