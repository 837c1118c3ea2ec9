//! Takes jobs from the queue and passes them through the pipeline, several side by side.
//!
//! Knows neither the order of the stages nor where jobs are kept. That jobs of one package are worked one at a
//! time is the queue's promise, not this module's.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::{BuildError, QueueError};
use crate::job::Outcome;
use crate::pipeline::{Halt, Observer, Pipeline, Turn};
use crate::queue::Queue;
use crate::stop::Stop;

/// How long an idle thread sleeps at most; a job wakes it at once.
const NAP: Duration = Duration::from_secs(60);
/// How long an idle thread sleeps at most while others work, if it is to end when they have nothing left.
const SHORT_NAP: Duration = Duration::from_millis(200);

/// When a worker ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When it is asked to stop.
    Stopped,
    /// When no job can be worked.
    Empty,
    /// After one job, or at once if none can be worked.
    Once,
}

/// What a worker did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Worked {
    /// The outcomes of the jobs that ended, in the order of their ends.
    pub outcomes: Vec<Outcome>,
    /// How many jobs were given back, to be tried again.
    pub given_back: usize,
}

/// Why a worker ended before it should have.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum WorkerError {
    /// A job stopped half-way.
    Halt(#[from] Halt),
    /// The queue did not answer.
    Queue(#[from] QueueError),
    /// The builder cannot work at all.
    Builder(#[from] BuildError),
}

/// A worker over a queue and a pipeline.
#[derive(Clone, Copy, Debug)]
pub struct Worker<'a> {
    /// Where the jobs come from.
    pub queue: &'a dyn Queue,
    /// What they pass through.
    pub pipeline: &'a Pipeline,
    /// Who hears about them.
    pub observer: &'a dyn Observer,
    /// How many jobs are worked side by side.
    pub jobs: NonZeroUsize,
}

/// What the threads of a worker share.
struct Shared<'a> {
    worker: Worker<'a>,
    until: Until,
    stop: &'a Stop,
    busy: AtomicUsize,
    worked: Mutex<Worked>,
    failure: Mutex<Option<WorkerError>>,
}

impl Worker<'_> {
    /// Works until the end that `until` names, or until `stop` is set: then builds are interrupted, jobs past
    /// their checkpoint are completed, and all others are kept for the next worker.
    ///
    /// # Errors
    /// The first of a job that stopped half-way, or a queue or builder that does not work. All threads have
    /// ended when it returns.
    pub fn run(&self, until: Until, stop: &Stop) -> Result<Worked, WorkerError> {
        self.pipeline.builder.clean_up()?;
        self.pipeline.slots.serve(self.jobs);
        let threads = if until == Until::Once { NonZeroUsize::MIN } else { self.jobs };
        let shared = Shared {
            worker: *self,
            until,
            stop,
            busy: AtomicUsize::new(0),
            worked: Mutex::default(),
            failure: Mutex::default(),
        };
        std::thread::scope(|scope| {
            for _ in 0..threads.get() {
                scope.spawn(|| shared.run_thread());
            }
        });
        let failure = shared.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        failure.map_or_else(|| Ok(shared.worked.into_inner().unwrap_or_else(PoisonError::into_inner)), Err)
    }
}

impl Shared<'_> {
    fn run_thread(&self) {
        if let Err(error) = self.work_jobs() {
            tracing::error!(error = &error as &dyn std::error::Error, "the worker ends");
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            self.stop.set();
        }
    }

    fn work_jobs(&self) -> Result<(), WorkerError> {
        while !self.stop.is_set() {
            // Counted before the claim: an idle thread must not see an empty queue and nobody busy while this
            // one holds the last job.
            self.busy.fetch_add(1, Ordering::SeqCst);
            let claimed = self.work_one();
            self.busy.fetch_sub(1, Ordering::SeqCst);
            let claimed = claimed?;
            match self.until {
                Until::Once => return Ok(()),
                _ if claimed => (),
                Until::Empty if self.busy.load(Ordering::SeqCst) == 0 => return Ok(()),
                Until::Empty => self.worker.queue.wait(SHORT_NAP, self.stop)?,
                Until::Stopped => self.worker.queue.wait(NAP, self.stop)?,
            }
        }
        Ok(())
    }

    /// Works one job, if there is one. Returns whether there was.
    fn work_one(&self) -> Result<bool, WorkerError> {
        let Worker { queue, pipeline, observer, .. } = self.worker;
        let Some(claim) = queue.claim()? else { return Ok(false) };
        let span = tracing::info_span!("job", id = %claim.job().id);
        let turn = span.in_scope(|| pipeline.work(claim, self.stop, observer))?;
        let mut worked = self.worked.lock().unwrap_or_else(PoisonError::into_inner);
        match turn {
            Turn::Ended(outcome) => worked.outcomes.push(outcome),
            Turn::GivenBack(_) => worked.given_back += 1,
            Turn::Stopped => (),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
