//! What jobs there are. Keeps the files of waiting jobs in memory, and never believes a name without looking at
//! the directory again.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::sync::Arc;

use jiff::Timestamp;

use super::layout::{Layout, ReadError, failed};
use crate::error::QueueError;
use crate::job::{Job, Lane};
use crate::names::JobId;

/// The waiting jobs that were read so far.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: Arc<Vec<Entry>>,
    reported: HashSet<JobId>,
}

/// A waiting job, and the inode that its file had: a job that was given back has another file.
#[derive(Clone, Debug)]
struct Entry {
    id: JobId,
    inode: u64,
    job: Arc<Job>,
}

/// The jobs that have not ended, as they were at about one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    waiting: Arc<Vec<Entry>>,
    /// Those that a living or dead worker has.
    pub(super) running: BTreeMap<JobId, Arc<Job>>,
}

/// The job of a package that is to be worked before its others.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) job: Arc<Job>,
    pub(super) running: bool,
}

impl Head {
    /// Returns the moment before which it must not be worked, if that is to come.
    pub(super) fn not_before(&self, now: Timestamp) -> Option<Timestamp> {
        self.job.given_back.as_ref().map(|it| it.not_before).filter(|it| *it > now)
    }
}

impl Snapshot {
    /// Lists the queue, reading only files that the cache does not know.
    pub(super) fn take(layout: &Layout, cache: &mut Cache) -> Result<Self, QueueError> {
        // A job moves from waiting to running and back while this looks, so running jobs are listed twice.
        let mut ids: HashSet<JobId> = list_running(layout)?.into_iter().collect();
        let (waiting, moved) = cache.refresh(layout)?;
        ids.extend(list_running(layout)?);
        ids.extend(moved);
        let mut running = BTreeMap::new();
        for id in ids {
            match layout.read_running(&id) {
                Ok(job) => drop(running.insert(id, Arc::new(job))),
                // Its directory outlives its being given back.
                Err(ReadError::Missing(_)) => (),
                Err(error @ ReadError::Malformed { .. }) => cache.report(&id, &error),
                Err(error) => return Err(failed("read the running jobs")(error)),
            }
        }
        Ok(Self { waiting, running })
    }

    /// Returns the waiting jobs in order.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.waiting.iter().filter(|it| !self.running.contains_key(&it.id)).map(|it| &it.job)
    }

    /// Returns the first job of each lane: those that a worker had, then those that wait, in their order.
    pub(super) fn heads(&self) -> impl Iterator<Item = Head> {
        let mut seen = HashSet::new();
        let held_up = self.held_up();
        let running = self.running.values().map(|job| (job, true));
        let waiting = self.waiting().map(|job| (job, false));
        let mut is_first = move |lane| seen.insert(lane);
        let first = running.chain(waiting).filter(move |(job, _)| is_first(job.request.lane()));
        let first = first.filter(move |(job, _)| !held_up.contains(&job.id));
        first.map(|(job, running)| Head { job: Arc::clone(job), running })
    }

    /// Returns the jobs that one comes after, as far as they are still there.
    pub(super) fn pending_before<'a>(&'a self, job: &'a Job) -> impl Iterator<Item = &'a JobId> {
        let is_there = |id: &&JobId| {
            self.running.contains_key(*id) || self.waiting.binary_search_by(|it| it.id.cmp(id)).is_ok()
        };
        job.after.iter().map(|it| &it.job).filter(is_there)
    }

    /// Returns the jobs that add an architecture and wait for an earlier publication of their package.
    fn held_up(&self) -> HashSet<JobId> {
        let all = || self.running.values().chain(self.waiting());
        let adding: Vec<&Arc<Job>> = all().filter(|it| it.request.adds.is_some()).collect();
        let is_before = |it: &Job, adds: &Job| {
            it.request.adds.is_none() && it.request.package == adds.request.package && it.id < adds.id
        };
        let held_up = adding.into_iter().filter(|adds| all().any(|it| is_before(it, adds)));
        held_up.map(|it| it.id.clone()).collect()
    }

    /// Returns the first job of a lane.
    pub(super) fn head(&self, lane: Lane<'_>) -> Option<Head> {
        let of_lane = |job: &&Arc<Job>| job.request.lane() == lane;
        let running = self.running.values().find(of_lane).map(|it| (it, true));
        let first = running.or_else(|| self.waiting().find(of_lane).map(|it| (it, false)));
        let first = first.filter(|it| !self.held_up().contains(&it.0.id));
        first.map(|(job, running)| Head { job: Arc::clone(job), running })
    }
}

impl Cache {
    /// Forgets what a file said.
    pub(super) fn forget(&mut self, id: &JobId) {
        let kept = self.entries.iter().filter(|it| it.id != *id).cloned().collect();
        self.entries = Arc::new(kept);
    }

    /// Returns the waiting jobs, and the ids of those that went elsewhere meanwhile.
    fn refresh(&mut self, layout: &Layout) -> Result<(Arc<Vec<Entry>>, Vec<JobId>), QueueError> {
        let mut names = list_waiting(layout).map_err(failed("list the waiting jobs"))?;
        names.sort_unstable();
        let (mut entries, mut moved) = (Vec::with_capacity(names.len()), Vec::new());
        let known = Arc::clone(&self.entries);
        let mut known = known.iter().peekable();
        for (id, inode) in names {
            while known.next_if(|it| it.id < id).is_some() {}
            if let Some(entry) = known.next_if(|it| it.id == id && it.inode == inode) {
                entries.push(entry.clone());
                continue;
            }
            match layout.read_waiting(&id) {
                Ok(job) => entries.push(Entry { id, inode, job: Arc::new(job) }),
                Err(ReadError::Missing(_)) => moved.push(id),
                Err(error @ ReadError::Malformed { .. }) => self.report(&id, &error),
                Err(error) => return Err(failed("read the waiting jobs")(error)),
            }
        }
        self.entries = Arc::new(entries);
        Ok((Arc::clone(&self.entries), moved))
    }

    /// Says once that a job has a malformed file.
    pub(super) fn report(&mut self, id: &JobId, error: &ReadError) {
        if self.reported.insert(id.clone()) {
            tracing::warn!(job = %id, %error, "skipping a job; mend its file or move it away");
        }
    }
}

fn list_waiting(layout: &Layout) -> std::io::Result<Vec<(JobId, u64)>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(layout.waiting())? {
        let entry = entry?;
        // Hidden files, editors' backups and our own directories are no ids.
        let Some(id) = entry.file_name().to_str().and_then(|it| it.parse().ok()) else { continue };
        if entry.file_type()?.is_file() {
            names.push((id, entry.ino()));
        }
    }
    Ok(names)
}

fn list_running(layout: &Layout) -> Result<Vec<JobId>, QueueError> {
    Layout::ids(&layout.running()).map_err(failed("list the running jobs"))
}
