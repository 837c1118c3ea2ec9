//! The queue in memory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Memory, Pending, World, job_id};
use crate::durable;
use crate::error::{BoxError, QueueError};
use crate::job::{
    Checkpoint, Ended, GivenBack, Job, JobState, Outcome, Predecessor, Relations, Request, Stage,
};
use crate::names::{JobId, Principal};
use crate::queue::{Cancellation, Claim, Queue, Submission};
use crate::stop::Stop;

/// How often a sleeping worker looks again.
const TICK: Duration = Duration::from_millis(2);

/// A [`Queue`] whose jobs are in a [`World`].
#[derive(Clone, Debug)]
pub struct MemoryQueue(pub Memory);

fn failed(action: &'static str) -> impl FnOnce(BoxError) -> QueueError {
    move |source| QueueError::Backend { action, source }
}

impl Queue for MemoryQueue {
    fn submit(&self, request: Request, relations: &Relations) -> Result<Submission, QueueError> {
        Ok(accept(&mut self.0.world(), request, relations))
    }

    fn claim(&self) -> Result<Option<Box<dyn Claim>>, QueueError> {
        let mut world = self.0.world();
        let now = Timestamp::now();
        let next = claimable(&world, now);
        let Some(pending) = next.and_then(|at| world.jobs.get_mut(at)) else { return Ok(None) };
        let workspace = self.0.directory().join(pending.job.id.as_str());
        durable::create_directory(&workspace).map_err(|e| failed("make a workspace")(e.into()))?;
        pending.is_claimed = true;
        pending.started.get_or_insert(now);
        let (job, checkpoint) = (pending.job.clone(), pending.checkpoint.clone());
        Ok(Some(Box::new(MemoryClaim { memory: self.0.clone(), job, checkpoint, workspace, is_over: false })))
    }

    fn wait(&self, limit: Duration, stop: &Stop) -> Result<(), QueueError> {
        let start = Instant::now();
        let is_due = || claimable(&self.0.world(), Timestamp::now()).is_some();
        while !stop.is_set() && start.elapsed() < limit && !is_due() {
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    fn cancel(&self, id: &JobId, by: &Principal) -> Result<Cancellation, QueueError> {
        let mut world = self.0.world();
        if let Some(ended) = world.ended.iter().find(|it| it.job.id == *id) {
            return Ok(Cancellation::AlreadyEnded(Box::new(ended.clone())));
        }
        let Some(pending) = world.jobs.iter_mut().find(|it| it.job.id == *id) else {
            return Err(QueueError::UnknownJob(id.clone()));
        };
        if pending.started.is_some() && pending.job.given_back.is_none() {
            pending.cancelled.get_or_insert(by.clone());
            return Ok(Cancellation::Requested);
        }
        end(&mut world, id, Outcome::Cancelled { by: by.clone() });
        Ok(Cancellation::Done)
    }

    fn find(&self, id: &JobId) -> Result<Option<JobState>, QueueError> {
        let ended = self.0.world().ended.iter().find(|it| it.job.id == *id).cloned().map(JobState::Ended);
        Ok(match ended {
            Some(state) => Some(state),
            None => self.pending()?.into_iter().find(|it| it.job().id == *id),
        })
    }

    fn pending(&self) -> Result<Vec<JobState>, QueueError> {
        let world = self.0.world();
        let state = |(at, it): (usize, &Pending)| match it.started {
            Some(started) if it.job.given_back.is_none() => JobState::Running {
                job: it.job.clone(),
                started,
                stage: it.stage,
                alive: it.is_claimed,
                checkpoint: it.checkpoint.clone(),
            },
            _ => {
                let mut earlier = world.jobs.iter().take(at).rev();
                let behind = earlier.find(|other| waits_for(&it.job, &other.job)).map(|it| it.job.id.clone());
                let waits_for = comes_after(&world, &it.job).cloned().collect();
                JobState::Waiting { job: it.job.clone(), behind, waits_for }
            }
        };
        Ok(world.jobs.iter().enumerate().map(state).collect())
    }

    fn ended(&self, limit: usize) -> Result<Vec<Ended>, QueueError> {
        let mut ended = self.0.world().ended.clone();
        ended.sort_by(|a, b| b.job.id.cmp(&a.job.id));
        ended.truncate(limit);
        Ok(ended)
    }
}

/// Takes a request, unless it is queued already.
fn accept(world: &mut World, request: Request, relations: &Relations) -> Submission {
    let same_place =
        |it: &&Pending| it.job.request.pocket == request.pocket && it.job.request.lane() == request.lane();
    if let Some(latest) = world.jobs.iter().rev().find(same_place)
        && latest.job.request.commit == request.commit
    {
        return Submission::AlreadyQueued(latest.job.clone());
    }
    let job = Job {
        after: predecessors(world, &request, relations),
        builds: relations.builds.clone(),
        ..Job::new(job_id(world.next_job), request)
    };
    world.next_job += 1;
    world.jobs.push(Pending {
        job: job.clone(),
        checkpoint: None,
        started: None,
        stage: None,
        is_claimed: false,
        cancelled: None,
    });
    Submission::Accepted(job)
}

/// Returns the jobs that have not ended and that build what a new one needs.
fn predecessors(world: &World, request: &Request, relations: &Relations) -> Vec<Predecessor> {
    let Relations { needs, against, .. } = relations;
    let earlier = world
        .jobs
        .iter()
        .map(|it| &it.job)
        .filter(|it| against.contains(&it.request.pocket) && it.request.package != request.package);
    let predecessor = |it: &Job| Predecessor {
        job: it.id.clone(),
        package: it.request.package.clone(),
        builds: needs.intersection(&it.builds).cloned().collect(),
    };
    earlier.map(predecessor).filter(|it| !it.builds.is_empty()).collect()
}

/// Returns the jobs that one comes after, as far as they have not ended.
fn comes_after<'a>(world: &'a World, job: &'a Job) -> impl Iterator<Item = &'a JobId> {
    let is_pending = |id: &&JobId| world.jobs.iter().any(|it| it.job.id == **id);
    job.after.iter().map(|it| &it.job).filter(is_pending)
}

/// Returns where the next job is that may be worked at a moment.
fn claimable(world: &World, now: Timestamp) -> Option<usize> {
    let mut busy = BTreeSet::new();
    // The first job of a lane stands for all of them: whether it runs or waits, the others wait behind it.
    let mut free = |it: &Pending| {
        let publication = (it.job.request.package.clone(), None);
        let is_free = it.job.request.adds.is_none() || !busy.contains(&publication);
        let (package, adds) = it.job.request.lane();
        let is_first = busy.insert((package.clone(), adds.cloned())) && is_free;
        is_first
            && !it.is_claimed
            && comes_after(world, &it.job).next().is_none()
            && it.job.given_back.as_ref().is_none_or(|it| it.not_before <= now)
    };
    let free: Vec<usize> = world.jobs.iter().enumerate().filter(|it| free(it.1)).map(|it| it.0).collect();
    // What adds an architecture comes when nothing is to be published.
    let adds = |at: &&usize| world.jobs.get(**at).is_some_and(|it| it.job.request.adds.is_some());
    free.iter().find(|it| !adds(it)).or_else(|| free.first()).copied()
}

/// Returns whether a job waits for an earlier one.
fn waits_for(job: &Job, earlier: &Job) -> bool {
    let (own, other) = (&job.request, &earlier.request);
    own.package == other.package
        && (other.adds.is_none() || own.adds == other.adds)
        && (own.adds.is_some() || other.adds.is_none())
}

fn end(world: &mut World, id: &JobId, outcome: Outcome) {
    let Some(at) = world.jobs.iter().position(|it| it.job.id == *id) else { return };
    let pending = world.jobs.remove(at);
    world.ended.push(Ended { job: pending.job, started: pending.started, ended: Timestamp::now(), outcome });
}

#[derive(Debug)]
struct MemoryClaim {
    memory: Memory,
    job: Job,
    checkpoint: Option<Checkpoint>,
    workspace: PathBuf,
    is_over: bool,
}

impl MemoryClaim {
    fn change(&self, name: &'static str, act: impl FnOnce(&mut Pending)) -> Result<(), QueueError> {
        let id = &self.job.id;
        let changed =
            self.memory.effect(name, |world| world.jobs.iter_mut().find(|it| it.job.id == *id).map(act));
        changed.map_err(failed("save a job")).map(|_| ())
    }

    fn peek<T>(&self, look: impl FnOnce(&mut Pending) -> T) -> Option<T> {
        self.memory.world().jobs.iter_mut().find(|it| it.job.id == self.job.id).map(look)
    }
}

impl Claim for MemoryClaim {
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
        self.peek(|it| it.cancelled.clone()).flatten()
    }

    fn enter(&mut self, stage: Stage) {
        self.peek(|it| it.stage = Some(stage));
    }

    fn save(&mut self, checkpoint: Checkpoint) -> Result<(), QueueError> {
        let saved = checkpoint.clone();
        self.change("save", |it| it.checkpoint = Some(saved))?;
        self.checkpoint = Some(checkpoint);
        Ok(())
    }

    fn submit(&self, request: Request) -> Result<Submission, QueueError> {
        self.memory
            .effect("submit", |world| accept(world, request, &Relations::default()))
            .map_err(failed("submit a job"))
    }

    fn give_back(mut self: Box<Self>, reason: String, not_before: Timestamp) -> Result<(), QueueError> {
        self.change("give back", |it| {
            let attempts = it.job.given_back.as_ref().map_or(0, |it| it.attempts) + 1;
            it.job.given_back = Some(GivenBack { attempts, not_before, reason });
            it.is_claimed = false;
        })?;
        self.is_over = true;
        Ok(())
    }

    fn finish(mut self: Box<Self>, outcome: Outcome) -> Result<(), QueueError> {
        let id = self.job.id.clone();
        self.memory.effect("finish", |world| end(world, &id, outcome)).map_err(failed("end a job"))?;
        self.is_over = true;
        durable::remove_directory(&self.workspace).map_err(|e| failed("remove a workspace")(e.into()))
    }
}

impl Drop for MemoryClaim {
    fn drop(&mut self) {
        if !self.is_over {
            self.peek(|it| it.is_claimed = false);
        }
    }
}
