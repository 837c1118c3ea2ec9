//! A job in a worker's hands.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::{Observer, Prepared, Setback};
use crate::error::BuildError;
use crate::job::Stage;
use crate::provenance::UsedBase;
use crate::queue::Claim;
use crate::stop::{Interrupt, Stop};

/// A job in a worker's hands.
pub(super) struct Working<'a> {
    pub(super) claim: Box<dyn Claim>,
    pub(super) observer: &'a dyn Observer,
    pub(super) stop: &'a Stop,
    /// The log of the build that failed, of those of several architectures.
    pub(super) failed_log: Mutex<Option<PathBuf>>,
    /// The bases that it was built in.
    pub(super) bases: Mutex<Vec<UsedBase>>,
}

impl Working<'_> {
    pub(super) fn enter(&mut self, stage: Stage) {
        tracing::debug!(job = %self.claim.job().id, stage = stage.as_str(), "stage begins");
        self.claim.enter(stage);
        self.observer.entered(self.claim.job(), stage);
    }

    /// Returns the bases that it was built in, each once.
    pub(super) fn bases(&self) -> Vec<UsedBase> {
        self.bases.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes a base that it was built in.
    pub(super) fn was_built_in(&self, base: UsedBase) {
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        if !bases.contains(&base) {
            bases.push(base);
        }
    }

    pub(super) fn failed_log(&self) -> Option<PathBuf> {
        self.failed_log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Working<'_> {
    /// The last moment at which a job can be cancelled, or kept for another worker.
    pub(super) fn go_on(&self, prepared: Prepared) -> Result<Prepared, Setback> {
        if matches!(prepared, Prepared::Ready(..)) && self.is_interrupted() {
            return Err(Setback { stage: Stage::Publish, error: BuildError::Interrupted.into() });
        }
        Ok(prepared)
    }
}

impl Interrupt for Working<'_> {
    fn is_interrupted(&self) -> bool {
        self.stop.is_set() || self.claim.cancelled().is_some()
    }
}
