//! The stage build: runs the builder for each architecture, and lets what it left through the output gate.
//!
//! The gate stands before the checkpoint, and nowhere else: its answer is a part of the decision that is saved
//! there. What can become false between the checkpoint and the publication is who owns a name in the suite, and
//! that the publisher asks again where nobody can come between.

use std::collections::BTreeSet;

use super::{Pipeline, Working, empty_directory};
use crate::builder::Target;
use crate::durable;
use crate::error::{BoxError, BuildError, StageError, VerifyError};
use crate::job::Job;
use crate::names::PackageName;
use crate::policy::{OutputRejection, PocketSpec};
use crate::states::{BuildArtifacts, Circumstances, Outputs, SourcePackage};

impl Pipeline {
    pub(super) fn build(
        &self,
        source: SourcePackage,
        working: &Working<'_>,
    ) -> Result<BuildArtifacts, StageError> {
        let backend = |e: BoxError| BuildError::Backend(e);
        let mut changes = Vec::new();
        let pocket = source.plan().pocket().clone();
        for (at, architecture) in pocket.architectures.iter().enumerate() {
            let target =
                Target { architecture: architecture.clone(), with_all: at == 0, base: pocket.base.clone() };
            let into = empty_directory(working.claim.workspace(), &format!("build-{architecture}"));
            let into = into.map_err(|e| backend(e.into()))?;
            let path = self.log_path(working.claim.job(), source.plan().version(), architecture.as_str());
            let mut log = durable::create_log(&path).map_err(|e| backend(e.into()))?;
            changes.push(self.builder.build(&source, &target, &into, &mut log, working)?);
        }
        self.admit(Outputs::read(source, &changes, self.max_results))
    }

    /// Gathers what the gate asks besides the files, and lets it judge.
    fn admit(&self, outputs: Outputs) -> Result<BuildArtifacts, StageError> {
        let plan = outputs.plan();
        let survey = self.pocket(&plan.pocket().name)?.survey(plan.package(), plan.commit())?;
        // Validation has read it from the same commit, so somebody took the commit away meanwhile.
        let declared = survey.control.and_then(Result::ok).ok_or_else(|| {
            VerifyError::new(format!("commit {}", plan.commit()), "its debian/control can no longer be read")
        })?;
        let names: BTreeSet<PackageName> = outputs.binaries().iter().map(|it| it.package.clone()).collect();
        let owners = self.publisher.owners(plan.suite(), &names)?;
        let protected = self.protected(plan.pocket())?;
        Ok(outputs.admit(Circumstances { declared: &declared, owners: &owners, protected: &protected })?)
    }

    /// Returns the packages of a pocket's base, as far as the builder knows them yet.
    pub(super) fn protected(&self, pocket: &PocketSpec) -> Result<BTreeSet<PackageName>, BuildError> {
        let mut all = BTreeSet::new();
        for architecture in &pocket.architectures {
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
