//! How a request becomes a waiting job.
//!
//! Never syncs while it holds the queue's lock: the job's content is synced before, its name after.
//!
//! Which job is the latest of a pocket and package, which build a binary package, and which id was given last, is noted below `.index/` without
//! syncing. That is right because the notes are believed only during the boot of the machine in which they were
//! written: the death of a process does not lose them, and after the loss of power they are made anew from the
//! jobs themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::Shared;
use super::ids;
use super::layout::{Layout, ReadError, failed, lane_name, write_job};
use crate::durable::{self, DurableError, Lock, NewFile};
use crate::error::QueueError;
use crate::job::{Job, Predecessor, Relations, Request};
use crate::names::{JobId, PackageName, PocketName};
use crate::queue::Submission;

const ACTION: &str = "accept a job";
/// Changes with every boot (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The notes of one queue. Whoever has it holds the queue's lock.
struct Index {
    root: PathBuf,
}

impl Shared {
    /// Accepts a request, durably.
    pub(super) fn submit(&self, request: Request, relations: &Relations) -> Result<Submission, QueueError> {
        let Relations { builds, needs, .. } = relations;
        let mut after = Vec::new();
        if !needs.is_empty() {
            let lock = Lock::wait(&self.layout.lock()).map_err(failed(ACTION))?;
            after = self.index(&lock)?.predecessors(&self.layout, &request, relations);
        }
        let (lock, index, latest, file) = loop {
            let content = write_job(&request, &after, builds, None).map_err(failed(ACTION))?;
            let mut file = NewFile::create(&self.layout.waiting().join("job")).map_err(failed(ACTION))?;
            file.write_all(content.as_bytes()).map_err(failed(ACTION))?;
            file.sync().map_err(failed(ACTION))?;

            let lock = Lock::wait(&self.layout.lock()).map_err(failed(ACTION))?;
            let index = self.index(&lock)?;
            let latest = index.latest(&self.layout, &request);
            if let Some(job) = self.unfinished(latest.as_ref())?
                && job.request.commit == request.commit
            {
                drop(lock);
                self.sync_place(&job.id)?;
                return Ok(Submission::AlreadyQueued(job));
            }
            // What was accepted since the content was written must be in it as well; what has ended may stay.
            let now = index.predecessors(&self.layout, &request, relations);
            if now.iter().all(|it| after.contains(it)) {
                break (lock, index, latest, file);
            }
            after = now;
        };
        let id = self.place(file, &index, &request, builds, latest.as_ref())?;
        drop(lock);

        if let Err(error) = durable::sync_directory(self.layout.waiting()) {
            // Nobody was told of the job. If a worker has it already, it made it durable itself.
            let _ = durable::remove_file(&self.layout.waiting_job(&id));
            return Err(failed(ACTION)(error));
        }
        Ok(Submission::Accepted(Job { after, builds: builds.clone(), ..Job::new(id, request) }))
    }

    /// Gives a synced file the next id as its name.
    fn place(
        &self,
        file: NewFile,
        index: &Index,
        request: &Request,
        builds: &BTreeSet<PackageName>,
        latest: Option<&JobId>,
    ) -> Result<JobId, QueueError> {
        let mut last = index.last();
        let mut file = file;
        loop {
            let now = (self.clock)();
            let Some(id) = ids::next(last.as_ref(), now, random()?) else {
                let problem = std::io::Error::other(
                    "no job id is greater than the last one; move away the job of the far future",
                );
                return Err(failed(ACTION)(problem));
            };
            // The notes come first: if this process dies before the job has its name, they name a job that never
            // was, and the one before it.
            index.note(&id, request, latest).map_err(failed(ACTION))?;
            index.note_builds(&self.layout, &id, request, builds).map_err(failed(ACTION))?;
            match file.place(&self.layout.waiting_job(&id)).map_err(failed(ACTION))? {
                None => return Ok(id),
                Some(back) => file = back,
            }
            last = Some(id);
        }
    }

    /// Returns a job unless it has ended or never was. The caller holds the queue's lock.
    fn unfinished(&self, id: Option<&JobId>) -> Result<Option<Job>, QueueError> {
        let Some(id) = id else { return Ok(None) };
        if self.layout.has_ended(id) {
            return Ok(None);
        }
        let read = |job: Result<Job, ReadError>| match job {
            Ok(job) => Ok(Some(job)),
            // A malformed job is skipped by the workers; a new one is better.
            Err(ReadError::Missing(_) | ReadError::Malformed { .. }) => Ok(None),
            Err(error) => Err(failed(ACTION)(error)),
        };
        match read(self.layout.read_waiting(id))? {
            Some(job) => Ok(Some(job)),
            None => read(self.layout.read_running(id)),
        }
    }

    /// Makes sure that the name of a job that another call accepted is durable.
    fn sync_place(&self, id: &JobId) -> Result<(), QueueError> {
        let layout = &self.layout;
        durable::sync_directory(layout.waiting()).map_err(failed(ACTION))?;
        let running = layout.running_directory(id);
        if running.is_dir() {
            // If it ends now, it was durable.
            let _ = durable::sync_directory(&running);
            durable::sync_directory(&layout.running()).map_err(failed(ACTION))?;
        }
        Ok(())
    }

    /// Returns the notes; makes them anew after a boot.
    fn index(&self, _held: &Lock) -> Result<Index, QueueError> {
        let index = Index { root: self.layout.index() };
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default();
        let noted = fs::read_to_string(index.boot()).unwrap_or_default();
        if boot.is_empty() || noted != boot {
            self.rebuild(&index, &boot)?;
        }
        Ok(index)
    }

    fn rebuild(&self, index: &Index, boot: &str) -> Result<(), QueueError> {
        durable::remove_directory(&index.root).map_err(failed(ACTION))?;
        durable::create_directory(&index.root).map_err(failed(ACTION))?;
        let snapshot = self.snapshot()?;
        let mut jobs: Vec<_> = snapshot.waiting().chain(snapshot.running.values()).collect();
        jobs.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        for job in &jobs {
            index.note(&job.id, &job.request, None).map_err(failed(ACTION))?;
            index.note_builds(&self.layout, &job.id, &job.request, &job.builds).map_err(failed(ACTION))?;
        }
        let unfinished = jobs.into_iter().map(|it| it.id.clone());
        let last = unfinished.chain(self.last_ended()?).filter(ids::is_plausible).max();
        if let Some(last) = last {
            durable::note(&index.last_id(), last.as_str().as_bytes()).map_err(failed(ACTION))?;
        }
        // Last of all, so that notes that were not finished are made again.
        durable::note(&index.boot(), boot.as_bytes()).map_err(failed(ACTION))
    }

    /// Returns the greatest id of a job that ended.
    fn last_ended(&self) -> Result<Option<JobId>, QueueError> {
        let Some(month) = self.months().map_err(failed(ACTION))?.into_iter().next() else { return Ok(None) };
        let ids = Layout::ids(&month).map_err(failed(ACTION))?;
        Ok(ids.into_iter().filter(ids::is_plausible).max())
    }
}

impl Index {
    fn boot(&self) -> PathBuf {
        self.root.join(".boot")
    }

    fn last_id(&self) -> PathBuf {
        self.root.join(".last-id")
    }

    fn entry(&self, request: &Request) -> PathBuf {
        self.root.join(request.pocket.as_str()).join(lane_name(request.lane()))
    }

    fn last(&self) -> Option<JobId> {
        read_ids(&self.last_id()).into_iter().next()
    }

    /// Returns the latest job of a request's pocket and lane that ever was.
    fn latest(&self, layout: &Layout, request: &Request) -> Option<JobId> {
        let was = |id: &JobId| {
            layout.waiting_job(id).exists() || layout.running_job(id).exists() || layout.has_ended(id)
        };
        read_ids(&self.entry(request)).into_iter().find(was)
    }

    /// Notes a job and the one before it.
    fn note(&self, id: &JobId, request: &Request, before: Option<&JobId>) -> Result<(), DurableError> {
        let entry = self.entry(request);
        durable::create_directory(entry.parent().unwrap_or(&self.root))?;
        let before = before.map_or("", JobId::as_str);
        durable::note(&entry, format!("{id} {before}").as_bytes())?;
        durable::note(&self.last_id(), id.as_str().as_bytes())
    }
}

/// Notes of which jobs build a binary package: one line a job, which is its id, its pocket and its package.
impl Index {
    /// Returns where it is noted who builds a package. No pocket has a name like this.
    fn builders(&self, binary: &PackageName) -> PathBuf {
        self.root.join(".builds").join(binary.as_str())
    }

    fn read_builders(&self, layout: &Layout, binary: &PackageName) -> Vec<(JobId, PocketName, PackageName)> {
        let text = fs::read_to_string(self.builders(binary)).unwrap_or_default();
        let read = |line: &str| {
            let mut words = line.split(' ');
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        };
        text.lines().filter_map(read).filter(|it: &(JobId, _, _)| layout.is_pending(&it.0)).collect()
    }

    /// Notes what a job builds; forgets those jobs of it that have ended.
    fn note_builds(
        &self,
        layout: &Layout,
        id: &JobId,
        request: &Request,
        builds: &BTreeSet<PackageName>,
    ) -> Result<(), DurableError> {
        if !builds.is_empty() {
            durable::create_directory(&self.root.join(".builds"))?;
        }
        for binary in builds {
            let mut text = String::new();
            let own = (id.clone(), request.pocket.clone(), request.package.clone());
            for (id, pocket, package) in self.read_builders(layout, binary).iter().chain([&own]) {
                // Writing to a string does not fail.
                let _ = writeln!(text, "{id} {pocket} {package}");
            }
            durable::note(&self.builders(binary), text.as_bytes())?;
        }
        Ok(())
    }

    /// Returns the jobs that have not ended and that build what a new one needs, in their order.
    fn predecessors(&self, layout: &Layout, request: &Request, relations: &Relations) -> Vec<Predecessor> {
        let mut found: BTreeMap<JobId, Predecessor> = BTreeMap::new();
        for binary in &relations.needs {
            for (id, pocket, package) in self.read_builders(layout, binary) {
                if package != request.package && relations.against.contains(&pocket) {
                    let new = || Predecessor { job: id.clone(), package, builds: Vec::new() };
                    found.entry(id.clone()).or_insert_with(new).builds.push(binary.clone());
                }
            }
        }
        found.into_values().collect()
    }
}

fn read_ids(path: &Path) -> Vec<JobId> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|it| it.parse().ok()).collect()
}

fn random() -> Result<u64, QueueError> {
    let mut bytes = [0; 8];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    filled.map_err(failed(ACTION))?;
    Ok(u64::from_ne_bytes(bytes))
}
