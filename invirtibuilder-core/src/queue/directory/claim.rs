//! How a worker takes a job, and what it may do with it.
//!
//! Whether a job waits or runs is decided by one rename, and that it has ended by the name of one file; whoever
//! finds what a dead process left between those finishes it. Never takes a job without the lock of its package.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::Shared;
use super::layout::{ReadError, failed, write_job};
use super::snapshot::{Head, Snapshot};
use super::wake::{self, Hold};
use crate::durable::{self, DurableError, Lock};
use crate::error::{BoxError, QueueError};
use crate::job::{Checkpoint, Ended, GivenBack, Job, Lane, Outcome, Relations, Request, Stage};
use crate::names::{JobId, Principal};
use crate::queue::{Claim, Submission};

const CLAIM: &str = "claim a job";
const END: &str = "end a job";

/// A job that this process works on.
#[derive(Debug)]
pub(super) struct DirectoryClaim {
    // The lock goes last: whoever gets it next finds everything else done.
    shared: Arc<Shared>,
    job: Job,
    checkpoint: Option<Checkpoint>,
    workspace: PathBuf,
    _hold: Hold,
}

/// What became of an attempt.
enum Attempt {
    /// It gave a job.
    Taken(Box<DirectoryClaim>),
    /// It found and cleared what a dead process had left: look again.
    Cleared,
    /// There is nothing to do now.
    Nothing,
}

impl Shared {
    /// Takes the oldest job that may be worked now.
    pub(super) fn claim(self: &Arc<Self>) -> Result<Option<Box<DirectoryClaim>>, QueueError> {
        wake::begin(&self.identity, &self.layout, (self.clock)());
        loop {
            match self.try_claim()? {
                Attempt::Taken(claim) => return Ok(Some(claim)),
                Attempt::Cleared => (),
                Attempt::Nothing => {
                    self.sweep();
                    return Ok(None);
                }
            }
        }
    }

    fn try_claim(self: &Arc<Self>) -> Result<Attempt, QueueError> {
        let now = (self.clock)();
        let snapshot = self.snapshot()?;
        // What adds an architecture comes when nothing is to be published.
        let (publications, additions): (Vec<Head>, Vec<Head>) =
            snapshot.heads().partition(|it| it.job.request.adds.is_none());
        for head in publications.into_iter().chain(additions) {
            if !head.running && self.layout.has_ended(&head.job.id) {
                self.clear(&head.job.id)?;
                return Ok(Attempt::Cleared);
            }
            if head.not_before(now).is_some()
                || self.waits(&snapshot, &head)
                || self.is_damaged(&head.job.id)?
            {
                continue;
            }
            let lane = head.job.request.lane();
            if let Some(hold) = self.hold(lane).map_err(failed(CLAIM))? {
                match self.take_first(hold, lane, now)? {
                    Attempt::Nothing => (),
                    other => return Ok(other),
                }
            }
        }
        Ok(Attempt::Nothing)
    }

    /// Returns whether an earlier job that builds what this one needs has not ended. One that a worker had began after
    /// all of them.
    fn waits(&self, snapshot: &Snapshot, head: &Head) -> bool {
        !head.running && snapshot.pending_before(&head.job).any(|it| !self.layout.has_ended(it))
    }

    /// Returns whether a person must mend a job before it can be worked. That must not stop the other packages.
    fn is_damaged(&self, id: &JobId) -> Result<bool, QueueError> {
        match self.layout.read_checkpoint(id) {
            Ok(_) => Ok(false),
            Err(error @ ReadError::Malformed { .. }) => {
                self.cache().report(id, &error);
                Ok(true)
            }
            Err(error) => Err(failed(CLAIM)(error)),
        }
    }

    fn hold(&self, lane: Lane<'_>) -> Result<Option<Hold>, DurableError> {
        let _lock = Lock::wait(&self.layout.lock())?;
        Hold::try_now(&self.layout, lane)
    }

    /// Takes the first job of a lane whose lock is held, and whose jobs therefore stay where they are; what
    /// was listed before may be out of date.
    fn take_first(
        self: &Arc<Self>,
        hold: Hold,
        lane: Lane<'_>,
        now: Timestamp,
    ) -> Result<Attempt, QueueError> {
        let snapshot = self.snapshot()?;
        let may_be_worked = |it: &Head| it.not_before(now).is_none() && !self.waits(&snapshot, it);
        let Some(head) = snapshot.head(lane).filter(may_be_worked) else {
            return Ok(Attempt::Nothing);
        };
        let id = &head.job.id;
        if self.layout.has_ended(id) {
            self.clear(id)?;
            return Ok(Attempt::Cleared);
        }
        if !head.running && !self.start(&head)? {
            return Ok(Attempt::Cleared);
        }
        let claim = self.resume(hold, id).map_err(failed(CLAIM))?;
        Ok(Attempt::Taken(Box::new(claim)))
    }

    /// Makes a waiting job a running one. Returns whether that was possible.
    fn start(&self, head: &Head) -> Result<bool, QueueError> {
        let (layout, id) = (&self.layout, &head.job.id);
        match self.prepare(id) {
            // It was cancelled meanwhile, and its directory cleared away.
            Err(error) if error.kind() == io::ErrorKind::NotFound && layout.has_ended(id) => {
                self.clear(id)?;
                return Ok(false);
            }
            other => other.map_err(failed(CLAIM))?,
        }
        let lock = Lock::wait(&layout.lock()).map_err(failed(CLAIM))?;
        if layout.has_ended(id) {
            drop(lock);
            self.clear(id)?;
            return Ok(false);
        }
        let (waiting, running) = (layout.waiting_job(id), layout.running_job(id));
        match durable::rename_unsynced(&waiting, &running) {
            // It was cancelled meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(failed(CLAIM))?,
        }
        // What was listed may have been replaced by another file since it was read.
        if layout.read_running(id).ok().as_ref() != Some(&*head.job) {
            durable::rename_unsynced(&running, &waiting).map_err(failed(CLAIM))?;
            self.cache().forget(id);
            return Ok(false);
        }
        drop(lock);
        durable::sync_directory(&layout.running_directory(id)).map_err(failed(CLAIM))?;
        durable::sync_directory(layout.waiting()).map_err(failed(CLAIM))?;
        Ok(true)
    }

    /// Makes the directory that a job will run in.
    fn prepare(&self, id: &JobId) -> Result<(), DurableError> {
        durable::create_directory(&self.layout.workspace(id))?;
        if self.layout.read_started(id).is_some() {
            return Ok(());
        }
        durable::note(&self.layout.started(id), format!("{}\n", (self.clock)()).as_bytes())
    }

    /// Takes up a running job.
    fn resume(self: &Arc<Self>, hold: Hold, id: &JobId) -> Result<DirectoryClaim, ReadError> {
        let layout = &self.layout;
        let io = |error: DurableError| ReadError::Io {
            path: layout.running_directory(id),
            source: io::Error::other(error),
        };
        let job = layout.read_running(id)?;
        let checkpoint = layout.read_checkpoint(id)?;
        let workspace = layout.workspace(id);
        durable::create_directory(&workspace).map_err(io)?;
        if layout.read_stage(id).is_some() {
            durable::note(&layout.stage(id), b"").map_err(io)?;
        }
        Ok(DirectoryClaim { shared: Arc::clone(self), job, checkpoint, workspace, _hold: hold })
    }

    /// Writes the record of a job, which is its end. Returns whether it had none.
    pub(super) fn record_end(&self, job: &Job, outcome: Outcome) -> Result<bool, QueueError> {
        let id = &job.id;
        let started = self.layout.read_started(id);
        let ended = Ended { job: job.clone(), started, ended: (self.clock)(), outcome };
        let text = serde_yaml::to_string(&ended).map_err(failed(END))?;
        let path = self.layout.ended_job(id);
        if let Some(month) = path.parent() {
            durable::create_directory(month).map_err(failed(END))?;
        }
        durable::write_new(&path, text.as_bytes()).map_err(failed(END))
    }

    /// Removes what is left of a job whose record exists.
    pub(super) fn clear(&self, id: &JobId) -> Result<(), QueueError> {
        // The process that wrote the record may have died before it made it durable.
        let record = self.layout.ended_job(id);
        durable::sync_directory(record.parent().unwrap_or(&record)).map_err(failed(END))?;
        durable::remove_file(&self.layout.waiting_job(id)).map_err(failed(END))?;
        let discarded = self.layout.discarded(id);
        durable::remove_directory(&discarded).map_err(failed(END))?;
        match durable::rename(&self.layout.running_directory(id), &discarded) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(END)(error)),
            Ok(()) => {
                if let Err(error) = durable::remove_directory(&discarded) {
                    tracing::warn!(job = %id, %error, "the files of an ended job remain");
                }
                Ok(())
            }
        }
    }
}

fn yaml(value: &impl serde::Serialize, action: &'static str) -> Result<String, QueueError> {
    serde_yaml::to_string(value).map_err(failed(action))
}

impl Claim for DirectoryClaim {
    fn job(&self) -> &Job {
        &self.job
    }

    fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint.clone()
    }

    fn workspace(&self) -> &Path {
        &self.workspace
    }

    fn cancelled(&self) -> Option<Principal> {
        self.shared.layout.read_cancel(&self.job.id)
    }

    fn enter(&mut self, stage: Stage) {
        let noted = yaml(&stage, "note the stage of a job")
            .map_err(|e| Box::new(e) as BoxError)
            .and_then(|text| Ok(durable::note(&self.shared.layout.stage(&self.job.id), text.as_bytes())?));
        if let Err(error) = noted {
            tracing::debug!(job = %self.job.id, %error, "cannot note the stage");
        }
    }

    fn save(&mut self, checkpoint: Checkpoint) -> Result<(), QueueError> {
        const ACTION: &str = "save a checkpoint";
        let text = yaml(&checkpoint, ACTION)?;
        let path = self.shared.layout.checkpoint(&self.job.id);
        durable::write(&path, text.as_bytes()).map_err(failed(ACTION))?;
        self.checkpoint = Some(checkpoint);
        Ok(())
    }

    fn submit(&self, request: Request) -> Result<Submission, QueueError> {
        self.shared.submit(request, &Relations::default())
    }

    fn give_back(self: Box<Self>, reason: String, not_before: Timestamp) -> Result<(), QueueError> {
        const ACTION: &str = "give a job back";
        let (layout, id) = (&self.shared.layout, &self.job.id);
        let before = self.job.given_back.as_ref().map_or(0, |it| it.attempts);
        let given_back = GivenBack { attempts: before.saturating_add(1), not_before, reason };
        let Job { request, after, builds, .. } = &self.job;
        let text = write_job(request, after, builds, Some(&given_back)).map_err(failed(ACTION))?;
        let (running, waiting) = (layout.running_job(id), layout.waiting_job(id));
        // If this process dies between the two, the job is one of a dead worker that is not to be taken yet.
        durable::write(&running, text.as_bytes()).map_err(failed(ACTION))?;
        let lock = Lock::wait(&layout.lock()).map_err(failed(ACTION))?;
        durable::rename_unsynced(&running, &waiting).map_err(failed(ACTION))?;
        drop(lock);
        durable::sync_directory(layout.waiting()).map_err(failed(ACTION))?;
        durable::sync_directory(&layout.running_directory(id)).map_err(failed(ACTION))
    }

    fn finish(self: Box<Self>, outcome: Outcome) -> Result<(), QueueError> {
        let id = &self.job.id;
        if !self.shared.record_end(&self.job, outcome)? {
            tracing::warn!(job = %id, "the job had ended already; its first record stands");
        }
        // It has ended now, whatever happens to its files.
        if let Err(error) = self.shared.clear(id) {
            tracing::warn!(job = %id, %error, "the next worker clears an ended job");
        }
        Ok(())
    }
}
