//! Looking at what a failed build left.

use super::{Site, SiteError};
use crate::builder::{Caller, Look, VisitError};
use crate::job::{Ended, JobState, Outcome, Stage};
use crate::names::{Architecture, JobId};
use crate::stop::Interrupt;

impl Site {
    /// Runs a program, or a shell, in what a job's failed build left, and returns its exit status.
    ///
    /// Whoever may read and enter the builder's directories may do this: it is nothing that a frontend offers from afar.
    ///
    /// # Errors
    /// The job did not fail in its build, or nothing of it is kept, or its builder keeps nothing.
    pub fn visit(
        &self,
        job: &JobId,
        architecture: Option<&Architecture>,
        words: &[String],
        caller: Caller<'_>,
        interrupt: &dyn Interrupt,
    ) -> Result<u8, SiteError> {
        let state = self.job(job)?;
        if !is_failed_build(&state) {
            return Err(SiteError::NotFound(format!(
                "job {job} has no failed build to look at; `invirtibuilder show {job}` says what became of it"
            )));
        }
        let name = &state.job().request.pocket;
        let pocket = self.pipeline.spec(name).ok_or_else(|| {
            SiteError::NotFound(format!("the pocket {name} of job {job} is not configured any more"))
        })?;
        let look = Look { job, pocket, architecture, words, caller, interrupt };
        self.pipeline.builder.visit(&look).map_err(|e| match e {
            VisitError::NotKept(problem) => SiteError::NotFound(format!("job {job}: {problem}")),
            other => SiteError::Visit(other),
        })
    }
}

fn is_failed_build(state: &JobState) -> bool {
    let JobState::Ended(Ended { outcome, .. }) = state else { return false };
    matches!(outcome, Outcome::Failed { stage: Stage::Build, .. })
}
