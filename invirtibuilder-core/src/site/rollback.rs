//! What the archive served before, for the frontends: listing it, returning to it, letting go of it.

use std::os::fd::AsFd;
use std::time::Duration;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::backend::Backend;
use super::{Site, SiteError};
use crate::audit::{Entry, Happened};
use crate::job::Publication;
use crate::names::{CommitId, PocketName, Principal, Suite};
use crate::pipeline::RollbackError;
use crate::publisher::Generation;
use crate::publisher::archive::{Expiry, KeptGeneration};
use crate::rollback::{Rollback, RolledBack};
use crate::stop::Stop;

/// How long the thread that signs sleeps at most: a change of the clock is noticed after this.
const NAP: Duration = Duration::from_secs(60);
/// How long it sleeps at least: what has failed is not tried again without pause.
const PAUSE: Duration = Duration::from_secs(1);

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
        let kept = self.archive()?.generations(&backend.spec().suite)?;
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
        Ok(self.archive()?.snapshot_sources(&spec.suite, generation, uri.unwrap_or(&own))?)
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
        match self.pipeline.roll_back(&*self.queue, pocket, to, by) {
            Err(RollbackError::NotPermitted(reason)) => {
                let (pocket, principal) = (Some(pocket.clone()), Some(by.clone()));
                let entry = Entry { pocket, principal, ..Entry::new(Happened::Denied) };
                Err(self.deny(entry.with("action", "rollback"), reason))
            }
            other => Ok(other?),
        }
    }

    /// Completes the rollbacks that a process began that died, and returns their pockets.
    pub fn resume_rollbacks(&self) -> Result<Vec<PocketName>, SiteError> {
        Ok(self.pipeline.resume_rollbacks()?)
    }

    /// Removes from the archive what is not kept any longer, or only says what would go.
    pub fn expire(&self, is_trial: bool) -> Result<Expiry, SiteError> {
        let mut expiry = match &self.backend {
            Backend::Archive(archive) => archive.expire(is_trial)?,
            // It removes what it does not serve by itself.
            Backend::Tool(_) => Expiry::default(),
        };
        expiry.files.extend(self.expire_provenances(is_trial)?);
        Ok(expiry)
    }

    /// Signs again the suites whose `Valid-Until` comes near, or all of them, and returns which.
    pub fn refresh(&self, is_all: bool) -> Result<Vec<Suite>, SiteError> {
        Ok(self.archive()?.refresh(is_all)?)
    }

    /// Does some work, and meanwhile signs again, before it expires, whatever the site serves.
    ///
    /// It is signed before the work begins, too, if it is due: many short runs are as good as a long one. What goes
    /// wrong with that is logged, and tried again.
    pub fn while_fresh<T>(&self, stop: &Stop, work: impl FnOnce() -> T) -> T {
        self.refresh_and_log();
        let Some(done) = self.config.publisher.valid_for.and_then(|_| Stop::new().ok()) else {
            return work();
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while self.sleep_until_due(stop, &done) {
                    self.refresh_and_log();
                }
            });
            let result = work();
            done.set();
            result
        })
    }

    fn refresh_and_log(&self) {
        if let Err(error) = self.refresh(false) {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "the archive was not signed again; apt will refuse it when it expires");
        }
    }

    /// Returns whether to go on.
    fn sleep_until_due(&self, stop: &Stop, done: &Stop) -> bool {
        let due = self.archive().ok().and_then(|it| it.next_refresh().ok().flatten());
        let left = due.map(|it| Duration::try_from(it.duration_since(Timestamp::now())).unwrap_or_default());
        let left = Timespec::try_from(left.unwrap_or(NAP).clamp(PAUSE, NAP)).ok();
        let mut ends = [stop, done].map(|it| PollFd::from_borrowed_fd(it.as_fd(), PollFlags::IN));
        // A signal that interrupts it makes it look once more than it must.
        let _ = poll(&mut ends, left.as_ref());
        !stop.is_set() && !done.is_set()
    }
}
