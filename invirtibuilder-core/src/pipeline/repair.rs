//! The order of a repair: have the pocket alone, compare again, decide, record, mend, compare.
//!
//! A repair is decided from what is there, and each step of it leaves two of three in agreement, so one that was
//! interrupted is begun again and comes to the same end.

use super::Pipeline;
use super::rollback::{RollbackError, half_way};
use crate::audit::{Entry, Happened};
use crate::error::causes;
use crate::names::{PocketName, Principal};
use crate::policy::Access;
use crate::queue::Queue;
use crate::repair::{Left, Repair, plan};

impl Pipeline {
    /// Decides what would mend a pocket, without any effect.
    ///
    /// # Errors
    /// It is not permitted, or the facts cannot be had.
    pub fn plan_repair(
        &self,
        pocket: &PocketName,
        by: &Principal,
    ) -> Result<(Vec<Repair>, Vec<Left>), RollbackError> {
        let backend = self.pocket(pocket)?;
        let served = self.publisher.contents(&backend.spec().suite)?;
        let planned = plan(pocket, &backend.contents()?, &served);
        if (!planned.0.is_empty() || !planned.1.is_empty())
            && let Access::Denied(reason) = self.gate.admits(pocket, by)
        {
            return Err(RollbackError::NotPermitted(format!("{by} may not repair {pocket}: {reason}")));
        }
        Ok(planned)
    }

    /// Mends what can be mended of a pocket, and returns it, with what is left.
    ///
    /// # Errors
    /// It is not permitted, jobs are being published there, or a repair failed; those before it are done.
    pub fn repair(
        &self,
        queue: &dyn Queue,
        pocket: &PocketName,
        by: &Principal,
    ) -> Result<(Vec<Repair>, Vec<Left>), RollbackError> {
        let Some(_hold) = self.locks.alone(pocket)? else {
            let problem = format!("jobs are being published in {pocket} without pause; try again");
            return Err(RollbackError::Refused(problem));
        };
        // What is half-way differs for that reason, and is completed otherwise.
        let problem = match (self.locks.pending(pocket)?, half_way(queue, pocket)?) {
            (Some(rollback), _) => Some(format!("the rollback {}", rollback.id)),
            (None, Some(job)) => Some(format!("job {}", job.job().id)),
            (None, None) => None,
        };
        if let Some(what) = problem {
            return Err(RollbackError::Refused(format!(
                "{what} of {pocket} is half-way, and its process died; `invirtibuilder work --until-empty` completes \
                 it, then repair what still differs"
            )));
        }
        let (mut done, backend) = (Vec::new(), self.pocket(pocket)?);
        loop {
            let (repairs, left) = self.plan_repair(pocket, by)?;
            let new = repairs.into_iter().find(|it| !done.contains(it));
            let Some(repair) = new else { return Ok((done, left)) };
            let entry = Entry {
                pocket: Some(pocket.clone()),
                package: Some(repair.package.clone()),
                principal: Some(by.clone()),
                ..Entry::new(Happened::Repaired)
            };
            self.witness(&entry.clone().with("repair", &repair))?;
            if let Err(error) = backend.repair(&repair, by) {
                self.witness(&entry.with("repair", &repair).with("failed", causes(&error).join(": ")))?;
                return Err(error.into());
            }
            done.push(repair);
        }
    }
}
