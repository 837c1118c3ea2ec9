//! The queue as a directory that a person can read with `ls` and `cat`.
//!
//! ```text
//! <queue>/20261123101500_k3x9ab     a waiting job: pocket, package, commit, principal
//! <queue>/running/<id>/job          the same file, once a worker has taken it
//! <queue>/running/<id>/…            started, stage, checkpoint, cancel, workspace/
//! <queue>/ended/2026-11/<id>        the record of a job that ended, by the month of its submission
//! <queue>/locks/<package>           locked (flock(2)) by the worker that has a job of the package
//! <queue>/locks/<package>:arm64     the same for one that adds an optional architecture
//! <queue>/.lock, <queue>/.index/    who changes the places of jobs; which ids were given
//! ```
//!
//! A job is in exactly one place, and moves by rename(2). Where a crash left two traces of it, the record of its
//! end counts, and the next claim clears the rest away. All processes that use a queue run on one machine: file
//! locks and inotify(7) do not reach beyond. Files with other names are left alone, and a malformed file is
//! skipped with a warning; neither stops the queue. Never deletes the record of an end.

mod claim;
mod ids;
mod layout;
mod snapshot;
mod submit;
mod wake;

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

use self::layout::{DISCARDED, Layout, ReadError, failed};
use self::snapshot::{Cache, Snapshot};
use self::wake::Identity;
use super::{Cancellation, Claim, Queue, Submission};
use crate::durable::{self, Lock};
use crate::error::QueueError;
use crate::job::{Ended, Job, JobState, Lane, Outcome, Relations, Request};
use crate::names::{JobId, Principal};
use crate::stop::Stop;

/// How old an unfinished file is before it is taken for one that a dead process left. A living process that is
/// slower fails cleanly.
const ABANDONED: Duration = Duration::from_secs(3600);
/// How often such files are looked for.
const SWEEP: Duration = Duration::from_secs(3600);

/// A queue in a directory.
///
/// A clone is the same queue, and shares what it has read.
#[derive(Clone, Debug)]
pub struct DirectoryQueue(Arc<Shared>);

/// What a queue and its claims share.
struct Shared {
    layout: Layout,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    cache: Mutex<Cache>,
    identity: Identity,
    swept: Mutex<Option<Instant>>,
}

impl DirectoryQueue {
    /// Opens the queue at `path`, and makes it if it is not there.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(path: &Path) -> Result<Self, QueueError> {
        Self::with_clock(path, Timestamp::now)
    }

    /// Opens the queue at `path` as [`DirectoryQueue::open`] does, with another clock.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn with_clock(
        path: &Path,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Result<Self, QueueError> {
        let layout = Layout::new(path);
        for directory in [layout.running(), layout.ended(), layout.locks()] {
            durable::create_directory(&directory).map_err(failed("make the directories"))?;
        }
        Ok(Self(Arc::new(Shared {
            layout,
            clock: Box::new(clock),
            cache: Mutex::default(),
            identity: Identity::default(),
            swept: Mutex::default(),
        })))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DirectoryQueue").field(&self.layout.waiting()).finish()
    }
}

impl Queue for DirectoryQueue {
    fn submit(&self, request: Request, relations: &Relations) -> Result<Submission, QueueError> {
        self.0.submit(request, relations)
    }

    fn claim(&self) -> Result<Option<Box<dyn Claim>>, QueueError> {
        Ok(self.0.claim()?.map(|it| it as Box<dyn Claim>))
    }

    fn wait(&self, limit: Duration, stop: &Stop) -> Result<(), QueueError> {
        const ACTION: &str =
            "wait for jobs (if it is for want of inotify instances, raise fs.inotify.max_user_instances)";
        let limit = limit.min(self.0.until_next_try()?);
        wake::sleep(&self.0.identity, &self.0.layout, limit, stop).map_err(failed(ACTION))
    }

    fn cancel(&self, id: &JobId, by: &Principal) -> Result<Cancellation, QueueError> {
        self.0.cancel(id, by)
    }

    fn find(&self, id: &JobId) -> Result<Option<JobState>, QueueError> {
        self.0.find(id)
    }

    fn pending(&self) -> Result<Vec<JobState>, QueueError> {
        self.0.pending()
    }

    fn ended(&self, limit: usize) -> Result<Vec<Ended>, QueueError> {
        self.0.last(limit)
    }
}

impl Shared {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        // A cache that another thread left half changed is still one: every entry of it is whole.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot(&self) -> Result<Snapshot, QueueError> {
        Snapshot::take(&self.layout, &mut self.cache())
    }

    /// Returns the time until the first job may be tried that was not to be tried yet when this thread last looked.
    fn until_next_try(&self) -> Result<Duration, QueueError> {
        let looked = wake::looked(&self.identity).unwrap_or(Timestamp::MIN);
        let snapshot = self.snapshot()?;
        let next = snapshot.heads().filter_map(|it| it.not_before(looked)).min();
        let now = (self.clock)();
        // One that has become due since then is in the past, which is no duration.
        let until = next.map(|it| Duration::try_from(it.duration_since(now)).unwrap_or_default());
        Ok(until.unwrap_or(Duration::MAX))
    }

    fn cancel(&self, id: &JobId, by: &Principal) -> Result<Cancellation, QueueError> {
        const ACTION: &str = "cancel a job";
        let layout = &self.layout;
        let lock = Lock::wait(&layout.lock()).map_err(failed(ACTION))?;
        // Under the lock a job can go only from running to ended, which is looked at last.
        match layout.read_waiting(id) {
            Ok(job) if !layout.has_ended(id) => {
                self.record_end(&job, Outcome::Cancelled { by: by.clone() })?;
                drop(lock);
                self.clear(id)?;
                wake::ring(layout);
                return Ok(Cancellation::Done);
            }
            Ok(_) | Err(ReadError::Missing(_)) => (),
            Err(error) => return Err(failed(ACTION)(error)),
        }
        if layout.running_job(id).exists() && !layout.has_ended(id) {
            let text = serde_yaml::to_string(by).map_err(failed(ACTION))?;
            match durable::write(&layout.cancel(id), text.as_bytes()) {
                // It ended just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                other => return other.map(|()| Cancellation::Requested).map_err(failed(ACTION)),
            }
        }
        drop(lock);
        match layout.read_ended(id) {
            Ok(ended) => Ok(Cancellation::AlreadyEnded(Box::new(ended))),
            Err(ReadError::Missing(_)) => Err(QueueError::UnknownJob(id.clone())),
            Err(error) => Err(failed(ACTION)(error)),
        }
    }

    fn find(&self, id: &JobId) -> Result<Option<JobState>, QueueError> {
        const ACTION: &str = "find a job";
        loop {
            match self.layout.read_ended(id) {
                Ok(ended) => return Ok(Some(JobState::Ended(ended))),
                Err(ReadError::Missing(_)) => (),
                Err(error) => return Err(failed(ACTION)(error)),
            }
            if let Some(state) = self.pending()?.into_iter().find(|it| it.job().id == *id) {
                return Ok(Some(state));
            }
            let _lock = Lock::wait(&self.layout.lock()).map_err(failed(ACTION))?;
            let exists = |job: Result<Job, ReadError>| job.is_ok();
            let moved = exists(self.layout.read_waiting(id)) || exists(self.layout.read_running(id));
            if !moved && !self.layout.has_ended(id) {
                return Ok(None);
            }
        }
    }

    fn pending(&self) -> Result<Vec<JobState>, QueueError> {
        let snapshot = self.snapshot()?;
        let mut states = Vec::new();
        let mut before: HashMap<Lane<'_>, &JobId> = HashMap::new();
        for job in snapshot.running.values().filter(|it| !self.layout.has_ended(&it.id)) {
            before.insert(job.request.lane(), &job.id);
            states.push(JobState::Running {
                job: Job::clone(job),
                started: self.layout.read_started(&job.id).unwrap_or_else(&self.clock),
                stage: self.layout.read_stage(&job.id),
                alive: self.is_held(job.request.lane())?,
                checkpoint: self.layout.read_checkpoint(&job.id).unwrap_or_default(),
            });
        }
        for job in snapshot.waiting().filter(|it| !self.layout.has_ended(&it.id)) {
            // What adds an architecture waits for what was to be published before it, too.
            let publication = before.get(&(&job.request.package, None)).copied();
            let publication = publication.filter(|it| job.request.adds.is_some() && **it < job.id);
            let behind = before.insert(job.request.lane(), &job.id).or(publication).cloned();
            let waits_for = snapshot.pending_before(job).filter(|it| !self.layout.has_ended(it));
            let waits_for = waits_for.cloned().collect();
            states.push(JobState::Waiting { job: Job::clone(job), behind, waits_for });
        }
        states.sort_by(|a, b| a.job().id.cmp(&b.job().id));
        Ok(states)
    }

    /// Returns whether a living worker has a job of the lane.
    fn is_held(&self, lane: Lane<'_>) -> Result<bool, QueueError> {
        const ACTION: &str = "see who is alive";
        // Claims take the package's lock under this one, so that they never find it taken by this look.
        let _lock = Lock::wait(&self.layout.lock()).map_err(failed(ACTION))?;
        let lock = Lock::try_now(&self.layout.lane_lock(lane)).map_err(failed(ACTION))?;
        Ok(lock.is_none())
    }

    /// Returns the directories of the months, the latest first.
    fn months(&self) -> io::Result<Vec<PathBuf>> {
        let mut months = Vec::new();
        for entry in fs::read_dir(self.layout.ended())? {
            let entry = entry?;
            let is_month =
                |name: &str| name.len() == 7 && name.bytes().all(|c| c.is_ascii_digit() || c == b'-');
            if entry.file_type()?.is_dir() && entry.file_name().to_str().is_some_and(is_month) {
                months.push(entry.path());
            }
        }
        months.sort_unstable_by(|a, b| b.cmp(a));
        Ok(months)
    }

    fn last(&self, limit: usize) -> Result<Vec<Ended>, QueueError> {
        const ACTION: &str = "read the records of ended jobs";
        let mut records = Vec::new();
        for month in self.months().map_err(failed(ACTION))? {
            let mut ids = Layout::ids(&month).map_err(failed(ACTION))?;
            ids.sort_unstable_by(|a, b| b.cmp(a));
            for id in ids {
                if records.len() >= limit {
                    return Ok(records);
                }
                match self.layout.read_ended(&id) {
                    Ok(ended) => records.push(ended),
                    Err(error @ (ReadError::Malformed { .. } | ReadError::Missing(_))) => {
                        tracing::warn!(job = %id, %error, "skipping the record of an ended job");
                    }
                    Err(error) => return Err(failed(ACTION)(error)),
                }
            }
        }
        Ok(records)
    }

    /// Removes what processes left that died while they wrote or removed a file. Never an error: it is tried again.
    fn sweep(&self) {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.is_some_and(|it| it.elapsed() < SWEEP) {
            return;
        }
        *swept = Some(Instant::now());
        let months = self.months().unwrap_or_default();
        let files = [self.layout.waiting().to_owned()].into_iter().chain(months.into_iter().take(1));
        for (path, name) in files.flat_map(|it| list(&it)) {
            if durable::is_unfinished(&name) && is_abandoned(&path) {
                let _ = durable::remove_file(&path);
            }
        }
        for (path, name) in list(&self.layout.running()) {
            if name.starts_with(DISCARDED) {
                let _ = durable::remove_directory(&path);
            }
        }
    }
}

fn list(directory: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|it| Some((it.path(), it.file_name().into_string().ok()?))).collect()
}

fn is_abandoned(path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|it| it.modified());
    modified.is_ok_and(|it| SystemTime::now().duration_since(it).is_ok_and(|age| age > ABANDONED))
}

#[cfg(test)]
mod tests;
