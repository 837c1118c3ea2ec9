//! The queue: what was asked for and has not ended, and the record of what has.

pub mod directory;

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::error::QueueError;
use crate::job::{Checkpoint, Ended, Job, JobState, Outcome, Relations, Request, Stage};
use crate::names::{JobId, Principal};
use crate::stop::Stop;

/// Holds jobs, in order, through crashes.
///
/// # Contract
/// - A job that `submit` returned is durable: it survives the death of the process and the loss of power.
/// - Job ids rise in the order of submission, whatever the clock does.
/// - A request for the same pocket, lane and commit as the latest job of that pocket and lane ([`Request::lane`]), while
///   that one has not ended, is that same job: it is not queued twice.
/// - A job that adds an optional architecture waits for the earlier publications of its package, and holds none up:
///   what follows is true of each lane of a package.
/// - Jobs of one package are claimed in their order, one at a time. A job that a dead worker held, or that was
///   given back, comes before the later ones of its package.
/// - A job comes after those earlier ones that had not ended when it was accepted, are of a pocket that it is built
///   against, and build what it needs ([`Relations`]): `submit` finds them all, also those that are accepted at the same
///   time, and [`Job::after`] tells them durably. It is not claimed before each of them has ended, however that was, or is
///   gone. Only earlier jobs are among them, so that no two jobs wait for each other. Jobs of its own package, which
///   come in order anyway, are not.
/// - At most one living [`Claim`] exists for a package. The death of its holder ends it, and nothing else does:
///   no time-out guesses.
/// - A job ends exactly once, and its record is kept.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait Queue: Debug + Send + Sync {
    /// Accepts a request. The relations are those of a new job; one that is there already keeps its own.
    fn submit(&self, request: Request, relations: &Relations) -> Result<Submission, QueueError>;
    /// Takes the next job that may be worked now, or `None`.
    fn claim(&self) -> Result<Option<Box<dyn Claim>>, QueueError>;
    /// Sleeps until a job may have become claimable, `limit` has passed, or `stop` is set.
    ///
    /// Wakes for every job that was submitted, given back or ended since the last `claim` of this thread; it
    /// may also wake for nothing.
    fn wait(&self, limit: Duration, stop: &Stop) -> Result<(), QueueError>;
    /// Asks that a job end without effect.
    fn cancel(&self, id: &JobId, by: &Principal) -> Result<Cancellation, QueueError>;
    /// Returns where a job is, or `None` if there never was one of this id.
    fn find(&self, id: &JobId) -> Result<Option<JobState>, QueueError>;
    /// Returns the jobs that have not ended, in order of submission.
    fn pending(&self) -> Result<Vec<JobState>, QueueError>;
    /// Returns the records of the jobs that ended, the latest submitted first, at most `limit`.
    fn ended(&self, limit: usize) -> Result<Vec<Ended>, QueueError>;
}

/// The exclusive right to work on one job, and so on its package.
///
/// Dropping it, like the death of its process, leaves the job and its checkpoint for the next worker.
///
/// # Contract
/// `save`, `give_back` and `finish` are durable when they return, and all or nothing. The workspace lives from
/// the claim to the end of the job, through crashes.
#[must_use = "a claim that is dropped at once does nothing"]
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait Claim: Debug + Send + Sync {
    /// Returns the job.
    fn job(&self) -> &Job;
    /// Returns the checkpoint, if this or an earlier worker saved one.
    fn checkpoint(&self) -> Option<Checkpoint>;
    /// Returns a directory for the job's files.
    fn workspace(&self) -> &Path;
    /// Returns who asked to cancel the job, if somebody did.
    fn cancelled(&self) -> Option<Principal>;
    /// Notes the stage that the job is in, for people to see. Not durable, never an error.
    fn enter(&mut self, stage: Stage);
    /// Saves the checkpoint. Everything that it names is durable already.
    fn save(&mut self, checkpoint: Checkpoint) -> Result<(), QueueError>;
    /// Accepts a request that follows from this job, as [`Queue::submit`] does.
    fn submit(&self, request: Request) -> Result<Submission, QueueError>;
    /// Leaves the job to be tried again, not before a moment.
    fn give_back(self: Box<Self>, reason: String, not_before: Timestamp) -> Result<(), QueueError>;
    /// Ends the job.
    fn finish(self: Box<Self>, outcome: Outcome) -> Result<(), QueueError>;
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submission {
    /// It is a new job.
    Accepted(Job),
    /// This job asks for the same already and has not ended.
    AlreadyQueued(Job),
}

impl Submission {
    /// Returns the job.
    #[must_use]
    pub fn job(&self) -> &Job {
        match self {
            Self::Accepted(job) | Self::AlreadyQueued(job) => job,
        }
    }
}

/// What became of a request to cancel a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancellation {
    /// It waited, and has ended now.
    Done,
    /// A worker has it, and will end it unless it is past its checkpoint.
    Requested,
    /// It had ended before.
    AlreadyEnded(Box<Ended>),
}
