//! The order of a rollback: decide, remember the decision, the archive, Git, the hooks.
//!
//! The journal is its checkpoint. Before it nothing has an effect; after it everything is idempotent and only rolls
//! forward, by whoever comes next: the next worker, the next publication in the pocket, or the next rollback.

use jiff::Timestamp;

use super::Pipeline;
use crate::audit::{Entry, Happened};
use crate::error::{PocketError, QueueError, StageError, VerifyError};
use crate::hooks::{Event, EventKind};
use crate::job::{Checkpoint, Decision, Job, JobState};
use crate::names::{PocketName, Principal};
use crate::pocket::locks::Hold;
use crate::policy::{Access, CommitState, PocketSpec};
use crate::publisher::Generation;
use crate::queue::Queue;
use crate::rollback::{Move, Rollback, RolledBack, moves};
use crate::states::Plan;

/// Why a pocket was not rolled back. Nothing was changed, unless a stage failed after the journal was written; then
/// the rollback is completed later.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// The principal may not.
    #[error("{0}")]
    NotPermitted(String),
    /// It is not possible as things are: why, and what to do.
    #[error("{0}")]
    Refused(String),
    /// A backend did not answer or did not do what it said.
    #[error(transparent)]
    Stage(#[from] StageError),
}

macro_rules! stage_error_from {
    ($($error:ty),*) => {
        $(impl From<$error> for RollbackError {
            fn from(error: $error) -> Self {
                Self::Stage(error.into())
            }
        })*
    };
}

stage_error_from!(PocketError, QueueError, crate::error::PublishError, VerifyError);

impl Pipeline {
    /// Decides what a rollback would do now, without any effect.
    ///
    /// # Errors
    /// It is not permitted or not possible, or the facts cannot be had.
    pub fn plan_rollback(
        &self,
        pocket: &PocketName,
        to: Generation,
        principal: &Principal,
    ) -> Result<Rollback, RollbackError> {
        if let Access::Denied(reason) = self.gate.admits(pocket, principal) {
            return Err(RollbackError::NotPermitted(format!(
                "{principal} may not roll {pocket} back: {reason}"
            )));
        }
        let backend = self.pocket(pocket)?;
        let suite = &backend.spec().suite;
        let target = self.publisher.contents_at(suite, to)?;
        let from = self.publisher.generation(suite)?;
        let Some(from) = from.filter(|it| *it != to) else {
            return Err(RollbackError::Refused(format!(
                "{pocket} serves generation {to} now; there is nothing to do"
            )));
        };
        let moves = moves(&backend.contents()?, &self.publisher.contents(suite)?, &target)
            .map_err(RollbackError::Refused)?;
        for Move { package, new, .. } in &moves {
            let Some(new) = new else { continue };
            let problem = match backend.survey(package, &new.commit)?.commit {
                CommitState::Present | CommitState::Unreachable => continue,
                CommitState::NoRepository => {
                    "there is no repository of it; restore it from a clone".to_owned()
                }
                CommitState::Missing | CommitState::NotACommit(_) => {
                    format!("its repository does not have the commit {}; push a branch with it", new.commit)
                }
            };
            return Err(RollbackError::Refused(format!("{package} cannot come back: {problem}")));
        }
        let id = Rollback::new_id(pocket, Timestamp::now());
        Ok(Rollback { id, pocket: pocket.clone(), principal: principal.clone(), from, to, moves })
    }

    /// Returns a pocket to what it served in a generation. One that was begun before is completed first.
    ///
    /// # Errors
    /// It is not permitted; a job of the pocket is past its checkpoint; a stage failed.
    pub fn roll_back(
        &self,
        queue: &dyn Queue,
        pocket: &PocketName,
        to: Generation,
        principal: &Principal,
    ) -> Result<RolledBack, RollbackError> {
        // Nobody waits for a lock only to hear that it was for nothing.
        self.plan_rollback(pocket, to, principal)?;
        let Some(_hold) = self.locks.alone(pocket)? else {
            let problem = format!("jobs are being published in {pocket} without pause; try again");
            return Err(RollbackError::Refused(problem));
        };
        if let Some(begun) = self.locks.pending(pocket)? {
            let completed = self.roll_forward(begun)?;
            if completed.rollback().to == to {
                return Ok(completed);
            }
        }
        if let Some(job) = half_way(queue, pocket)? {
            return Err(RollbackError::Refused(format!(
                "job {} is half-way through its publication, and its worker died; `invirtibuilder work --until-empty` \
                 completes it, then roll back",
                job.job().id
            )));
        }
        let rollback = self.plan_rollback(pocket, to, principal)?;
        self.locks.begin(&rollback)?;
        Ok(self.roll_forward(rollback)?)
    }

    /// Completes the rollbacks that were begun, and returns their pockets.
    ///
    /// # Errors
    /// One cannot be completed; it is kept.
    pub fn resume_rollbacks(&self) -> Result<Vec<PocketName>, StageError> {
        let pending = self.locks.all_pending()?;
        for pocket in &pending {
            self.complete_rollback(pocket)?;
        }
        Ok(pending)
    }

    /// Waits until no rollback is under way in some pockets, and keeps others out. One that was begun by a process
    /// that died is completed.
    pub(super) fn hold(&self, pockets: &[&PocketName]) -> Result<Vec<Hold>, StageError> {
        let mut holds = Vec::new();
        for pocket in pockets {
            loop {
                let hold = self.locks.share(pocket)?;
                if self.locks.pending(pocket)?.is_none() {
                    holds.push(hold);
                    break;
                }
                drop(hold);
                self.complete_rollback(pocket)?;
            }
        }
        Ok(holds)
    }

    /// Decides while no pocket that is concerned can be rolled back: the job's own, and the one that it is copied
    /// from, which may be `from`.
    pub(super) fn settle(
        &self,
        job: &Job,
        from: Option<&PocketSpec>,
    ) -> Result<(Plan, Vec<Hold>), StageError> {
        let mut from = from.map(|it| it.name.clone());
        loop {
            let concerned: Vec<&PocketName> = std::iter::once(&job.request.pocket).chain(&from).collect();
            let holds = self.hold(&concerned)?;
            match self.plan(job)? {
                Plan::Copy(copy) if from.as_ref() != Some(&copy.from().name) => {
                    from = Some(copy.from().name.clone());
                }
                plan => return Ok((plan, holds)),
            }
        }
    }

    fn complete_rollback(&self, pocket: &PocketName) -> Result<(), StageError> {
        let Some(_hold) = self.locks.alone(pocket)? else { return Ok(()) };
        let Some(rollback) = self.locks.pending(pocket)? else { return Ok(()) };
        // Whatever stops it is no fault of the job that waits for it.
        self.roll_forward(rollback).map_err(|e| PocketError::Backend(e.into()))?;
        Ok(())
    }

    /// Everything after the point of no return. The caller has the pocket alone.
    fn roll_forward(&self, rollback: Rollback) -> Result<RolledBack, StageError> {
        let pocket = self.pocket(&rollback.pocket)?;
        let suite = &pocket.spec().suite;
        let generation = self.publisher.restore(suite, &rollback.id, rollback.from, rollback.to)?;
        let served = self.publisher.contents(suite)?;
        let rolled_back = RolledBack::verify(rollback, generation, suite, &served)?;
        pocket.record_rollback(&rolled_back)?;
        let branches = pocket.contents()?.branches;
        for Move { package, new, .. } in &rolled_back.rollback().moves {
            let (found, wanted) =
                (branches.get(package).map(|it| &it.commit), new.as_ref().map(|it| &it.commit));
            if found != wanted {
                let subject = format!("the Git repository of {package}");
                let problem = format!("branch {} is not where it was moved to", pocket.spec().branch);
                return Err(VerifyError::new(subject, problem).into());
            }
        }
        self.tell(of_rollback(&rolled_back), events(&rolled_back))?;
        self.locks.end(&rolled_back.rollback().pocket)?;
        tracing::info!(rollback = %rolled_back.rollback().id, %generation, "a pocket was rolled back");
        Ok(rolled_back)
    }
}

/// Tells the audit log of a rollback.
fn of_rollback(rolled_back: &RolledBack) -> Entry {
    let Rollback { id, pocket, principal, moves, from, to } = rolled_back.rollback();
    let entry = Entry {
        pocket: Some(pocket.clone()),
        principal: Some(principal.clone()),
        job: Some(id.clone()),
        ..Entry::new(Happened::RolledBack)
    };
    let packages = moves.iter().map(|it| it.package.as_str()).collect::<Vec<_>>().join(" ");
    entry.with("from", from).with("to", to).with("packages", packages)
}

/// Returns the pockets that a decision needs as they are.
pub(super) fn concerned<'a>(job: &'a Job, checkpoint: &'a Checkpoint) -> Vec<&'a PocketName> {
    let from = match &checkpoint.decision {
        Decision::Copy { from } => Some(from),
        Decision::Publish { .. } | Decision::Add { .. } => None,
    };
    std::iter::once(&job.request.pocket).chain(from).collect()
}

/// Returns what the hooks hear: one event a package, in which the rollback stands for the job.
fn events(rolled_back: &RolledBack) -> Vec<Event> {
    let Rollback { id, pocket, principal, moves, .. } = rolled_back.rollback();
    let event = |it: &Move| Event {
        pocket: Some(pocket.clone()),
        version: it.new.as_ref().and_then(|it| it.version.clone()),
        commit: it.new.as_ref().map(|it| it.commit.clone()),
        principal: Some(principal.clone()),
        job: Some(id.clone()),
        ..Event::new(EventKind::RolledBack, it.package.clone())
    };
    moves.iter().map(event).collect()
}

/// Returns a job that is past its checkpoint and needs the pocket as it is: one of the pocket, or a copy from it.
pub(super) fn half_way(queue: &dyn Queue, pocket: &PocketName) -> Result<Option<JobState>, QueueError> {
    let needs = |state: &JobState| {
        let JobState::Running { job, checkpoint: Some(checkpoint), .. } = state else { return false };
        job.request.pocket == *pocket
            || matches!(&checkpoint.decision, Decision::Copy { from } if from == pocket)
    };
    Ok(queue.pending()?.into_iter().find(needs))
}

#[cfg(test)]
mod tests;
