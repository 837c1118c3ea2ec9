//! What the archive served before, for the frontends: listing it, returning to it, letting go of it.

use jiff::Timestamp;

use super::{Site, SiteError};
use crate::job::Publication;
use crate::names::{CommitId, PocketName, Principal, Suite};
use crate::pipeline::RollbackError;
use crate::publisher::Generation;
use crate::publisher::archive::{Expiry, KeptGeneration};
use crate::rollback::{Rollback, RolledBack};

impl From<RollbackError> for SiteError {
    fn from(error: RollbackError) -> Self {
        match error {
            RollbackError::NotPermitted(reason) => Self::NotPermitted(reason),
            RollbackError::Refused(reason) => Self::Refused(reason),
            RollbackError::Stage(error) => error.into(),
        }
    }
}

impl Site {
    /// Returns the generations of a pocket that are kept, the latest first, each with the commit of the superproject
    /// that records it, if there is one.
    pub fn generations(
        &self,
        pocket: &PocketName,
    ) -> Result<Vec<(KeptGeneration, Option<CommitId>)>, SiteError> {
        let backend = self.backend(pocket)?;
        let recorded = backend.history(usize::MAX)?;
        let commit = |it: &KeptGeneration| {
            let is_its = |publication: &&Publication| publication.generation == Some(it.generation);
            recorded.iter().find(is_its).map(|it| it.recorded_in.clone())
        };
        let kept = self.archive.generations(&backend.spec().suite)?;
        Ok(kept.into_iter().map(|it| (it.clone(), commit(&it))).collect())
    }

    /// Returns the text of the `.sources` file with which apt uses what a pocket served in a generation.
    ///
    /// `uri` is where clients find the archive; without one it is the archive's directory, as a `file:` URI.
    pub fn snapshot_sources(
        &self,
        pocket: &PocketName,
        generation: Generation,
        uri: Option<&str>,
    ) -> Result<String, SiteError> {
        let spec = self.backend(pocket)?.spec();
        let own = format!("file:{}", self.config.paths.archive.display());
        Ok(self.archive.snapshot_sources(&spec.suite, generation, uri.unwrap_or(&own))?)
    }

    /// Decides what a rollback would do now, without any effect.
    ///
    /// # Errors
    /// It is not permitted or not possible.
    pub fn plan_rollback(
        &self,
        pocket: &PocketName,
        to: Generation,
        by: &Principal,
    ) -> Result<Rollback, SiteError> {
        Ok(self.pipeline.plan_rollback(pocket, to, by)?)
    }

    /// Returns a pocket to what it served in a generation, in the archive and in Git.
    ///
    /// # Errors
    /// It is not permitted or not possible; or a stage failed, and the next worker completes it.
    pub fn roll_back(
        &self,
        pocket: &PocketName,
        to: Generation,
        by: &Principal,
    ) -> Result<RolledBack, SiteError> {
        self.git.initialize()?;
        Ok(self.pipeline.roll_back(&*self.queue, pocket, to, by)?)
    }

    /// Completes the rollbacks that a process began that died, and returns their pockets.
    pub fn resume_rollbacks(&self) -> Result<Vec<PocketName>, SiteError> {
        Ok(self.pipeline.resume_rollbacks()?)
    }

    /// Removes from the archive what is not kept any longer, or only says what would go.
    pub fn expire(&self, is_trial: bool) -> Result<Expiry, SiteError> {
        Ok(self.archive.expire(is_trial)?)
    }

    /// Signs again the suites whose `Valid-Until` comes near, or all of them, and returns which.
    pub fn refresh(&self, is_all: bool) -> Result<Vec<Suite>, SiteError> {
        Ok(self.archive.refresh(is_all)?)
    }

    /// Returns when the next suite is due to be signed again; `None` if none ever is.
    pub fn next_refresh(&self) -> Result<Option<Timestamp>, SiteError> {
        Ok(self.archive.next_refresh()?)
    }
}
