//! Optional architectures: a job of its own builds each, when the version is published, and adds it in a second switch.
//!
//! Readers have the whole of the other architectures all the time. A job that adds holds up no publication of its
//! package; when the pocket serves another version, it ends without effect.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{InStage as _, Pipeline, Prepared, Ready, Setback, Working, empty_directory};
use crate::builder::{Target, Variation};
use crate::error::{BuildError, PublishError, StageError};
use crate::job::{Job, Outcome, Request, Stage};
use crate::names::Architecture;
use crate::pocket::locks::Hold;
use crate::policy::{Access, Declaration, Rejection, Violation};
use crate::publisher::Publisher;
use crate::states::{BuildPlan, Outputs, SourcePackage};
use crate::stop::Interrupt;

/// What a job that adds an architecture is to do as things are.
enum Now {
    Add(Box<BuildPlan>, Declaration),
    Over(Outcome),
}

/// Interrupts a build for a version that the pocket no longer serves.
struct StillServed<'a> {
    working: &'a Working<'a>,
    publisher: &'a dyn Publisher,
    plan: &'a BuildPlan,
    looked: Mutex<Instant>,
    is_gone: AtomicBool,
}

impl Interrupt for StillServed<'_> {
    fn is_interrupted(&self) -> bool {
        const EVERY: Duration = Duration::from_secs(5);
        if self.working.is_interrupted() || self.is_gone.load(Ordering::SeqCst) {
            return true;
        }
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.elapsed() < EVERY {
            return false;
        }
        *looked = Instant::now();
        let held = self.publisher.held(self.plan.suite(), self.plan.package());
        // What cannot be read now is judged when the build has ended.
        let is_gone = held.is_ok_and(|it| it.is_none_or(|it| it.commit.as_ref() != Some(self.plan.commit())));
        self.is_gone.store(is_gone, Ordering::SeqCst);
        is_gone
    }
}

impl Pipeline {
    /// Everything before the point of no return, for a job that adds an architecture.
    pub(super) fn prepare_addition(
        &self,
        working: &mut Working<'_>,
        architecture: &Architecture,
    ) -> Result<Prepared, Setback> {
        working.enter(Stage::Validate);
        drop(self.hold(&[&working.claim.job().request.pocket]).in_stage(Stage::Validate)?);
        let now = self.addition(working.claim.job(), architecture).in_stage(Stage::Validate)?;
        let (plan, declared) = match now {
            Now::Over(outcome) => return Ok(Prepared::Over(outcome)),
            Now::Add(plan, declared) => (plan, declared),
        };
        working.enter(Stage::Export);
        let source = self.served_source(*plan, working).in_stage(Stage::Export)?;
        working.enter(Stage::Build);
        let target = Target {
            architecture: architecture.clone(),
            with_all: false,
            base: source.plan().pocket().base.clone(),
            variation: Variation::None,
        };
        let plan = source.plan().clone();
        let served = StillServed {
            working,
            publisher: &*self.publisher,
            plan: &plan,
            looked: Mutex::new(Instant::now()),
            is_gone: AtomicBool::new(false),
        };
        let runs = self.run_all(&source, &[target], "", working, &served);
        let is_gone = served.is_gone.load(Ordering::SeqCst);
        let artifacts = match runs {
            Err(BuildError::Interrupted) if is_gone => None,
            runs => {
                let outputs = Outputs::read(source, &runs.in_stage(Stage::Build)?, self.max_results);
                Some(self.admit(outputs, &declared).in_stage(Stage::Build)?)
            }
        };
        let notes = match &artifacts {
            Some(artifacts) => self.examine(artifacts, working)?,
            None => Vec::new(),
        };
        // A build takes minutes or hours, and the world may have moved (rule P9).
        let hold = self.alone(&plan).in_stage(Stage::Validate)?;
        match (self.addition(working.claim.job(), architecture).in_stage(Stage::Validate)?, artifacts) {
            (Now::Over(outcome), _) => Ok(Prepared::Over(outcome)),
            (Now::Add(..), Some(artifacts)) => {
                Ok(Prepared::Ready(Box::new(Ready::Adding(artifacts)), notes, vec![hold]))
            }
            // It went back to what it served before.
            (Now::Add(..), None) => {
                Err(Setback { stage: Stage::Build, error: BuildError::Interrupted.into() })
            }
        }
    }

    /// Waits until nobody publishes in the plan's pocket, and keeps others out: what is added and what is published
    /// there must be told to Git in their order.
    pub(super) fn alone(&self, plan: &BuildPlan) -> Result<Hold, StageError> {
        let pocket = &plan.pocket().name;
        drop(self.hold(&[pocket])?);
        let busy = || BuildError::GivenBack {
            package: plan.package().clone(),
            version: plan.version().clone(),
            problem: format!("jobs are being published in {pocket} without pause"),
        };
        Ok(self.locks.alone(pocket)?.ok_or_else(busy)?)
    }

    /// Decides what a job that adds an architecture comes to.
    fn addition(&self, job: &Job, architecture: &Architecture) -> Result<Now, StageError> {
        let Request { pocket, package, commit, principal, .. } = &job.request;
        let backend = self.pocket(pocket)?;
        let spec = backend.spec();
        if let Access::Denied(reason) = self.gate.admits(pocket, principal) {
            let (principal, pocket) = (principal.clone(), pocket.clone());
            return Err(Rejection::from(Violation::NotPermitted { principal, pocket, reason }).into());
        }
        let superseded = |reason: String| Ok(Now::Over(Outcome::Superseded { reason }));
        if !spec.building.optional.contains(architecture) {
            return superseded(format!("{architecture} is no optional architecture of {pocket} any more"));
        }
        let held = self.publisher.held(&spec.suite, package)?;
        let held = match held {
            Some(held) if held.commit.as_ref() == Some(commit) => held,
            Some(held) => {
                return superseded(format!(
                    "{pocket} serves {package} {} now, from another commit",
                    held.version
                ));
            }
            None => return superseded(format!("{pocket} does not serve {package} any more")),
        };
        let plan = BuildPlan::adding(job, spec, held.version.clone());
        let declared = self.declared(&plan)?;
        let served = self.publisher.architectures(&spec.suite, package)?;
        if !declared.is_for(architecture) || served.contains(architecture) {
            return Ok(Now::Over(Outcome::Current { version: held.version }));
        }
        Ok(Now::Add(Box::new(plan), declared))
    }

    /// Takes the source package from where readers have it: the same bytes.
    fn served_source(&self, plan: BuildPlan, working: &Working<'_>) -> Result<SourcePackage, StageError> {
        let into = empty_directory(working.claim.workspace(), "source")
            .map_err(|e| PublishError::Backend(e.into()))?;
        let dsc: PathBuf = self.publisher.source(plan.suite(), plan.package(), &into)?;
        Ok(SourcePackage::verify(plan, &dsc)?)
    }

    /// Asks for the optional architectures that the pocket does not serve yet of what it has published for a job.
    pub(super) fn follow_up(&self, working: &Working<'_>) -> Result<(), StageError> {
        let request = working.claim.job().request.clone();
        let backend = self.pocket(&request.pocket)?;
        for architecture in self.missing(backend.spec(), &request.package, &request.commit)? {
            let submission = working.claim.submit(Request { adds: Some(architecture), ..request.clone() })?;
            tracing::debug!(job = %submission.job().id, "an optional architecture follows");
        }
        Ok(())
    }

    /// Returns the optional architectures of a pocket for which a commit that it serves declares packages, and of which
    /// it serves none.
    ///
    /// # Errors
    /// Git or the archive does not answer.
    pub fn missing(
        &self,
        pocket: &crate::policy::PocketSpec,
        package: &crate::names::PackageName,
        commit: &crate::names::CommitId,
    ) -> Result<Vec<Architecture>, StageError> {
        if pocket.building.optional.is_empty() {
            return Ok(Vec::new());
        }
        let survey = self.pocket(&pocket.name)?.survey(package, commit)?;
        let Some(Ok(declared)) = survey.control else { return Ok(Vec::new()) };
        let served = self.publisher.architectures(&pocket.suite, package)?;
        let is_missing = |it: &&Architecture| declared.is_for(it) && !served.contains(it);
        Ok(pocket.building.optional.iter().filter(is_missing).cloned().collect())
    }

    /// Returns whether readers have what a plan was to add; true of one that adds nothing.
    pub(super) fn has_added(&self, plan: &BuildPlan) -> Result<bool, StageError> {
        let Some(architecture) = &plan.job().request.adds else { return Ok(true) };
        Ok(self.publisher.architectures(plan.suite(), plan.package())?.contains(architecture))
    }
}

#[cfg(test)]
mod tests;
