//! All backends in memory, strict on purpose: for doc-tests, for the tests of programs that embed this library,
//! and for the sweep that crashes the pipeline at every effect.
//!
//! A [`World`] is everything outside the process, and survives it. Handles to it do effects, each of which can be
//! told to crash. Package files are real files, because the typed states read them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::error::BoxError;
use crate::hooks::{Announce, Event};
use crate::job::{Checkpoint, Ended, Job, Publication, Stage};
use crate::names::{CommitId, JobId, PackageName, PocketName, Principal, Suite, Version};
use crate::policy::{Access, Declaration, Finding, GateKind};

mod build;
pub mod files;
mod lab;
mod pockets;
mod publisher;
mod queue;

pub use build::{MemoryBuilder, MemoryExaminer, MemoryExporter};
pub use lab::Lab;
pub use pockets::MemoryPocket;
pub use publisher::{MemoryPublisher, Served, SuiteContents};
pub use queue::MemoryQueue;

/// Everything outside the process.
#[derive(Debug, Default)]
pub struct World {
    pub(crate) jobs: Vec<Pending>,
    /// The records of the jobs that ended, in the order of their ends.
    pub ended: Vec<Ended>,
    pub(crate) next_job: u32,
    /// What each suite serves.
    pub archive: BTreeMap<(Suite, PackageName), Served>,
    /// What each suite served in each of its generations, the first of which is 1, and the job that made it.
    pub generations: BTreeMap<Suite, Vec<(JobId, SuiteContents)>>,
    /// The commits of each package's repository.
    pub repositories: BTreeMap<PackageName, BTreeMap<CommitId, MemoryCommit>>,
    /// The pockets' branches in each package's repository.
    pub branches: BTreeMap<(PocketName, PackageName), CommitId>,
    /// The version tags in each package's repository.
    pub tags: BTreeMap<(PackageName, String), CommitId>,
    /// The submodule entries of each pocket's branch of the superproject.
    pub superproject: BTreeMap<(PocketName, PackageName), CommitId>,
    /// The commits of the superproject, the oldest first.
    pub publications: Vec<Publication>,
    /// The events that were announced.
    pub announced: Vec<String>,
    /// What packages declare that make more than one binary package of their own name for `all`.
    pub declared: BTreeMap<PackageName, Declaration>,
    /// The packages of the base that everything is built in.
    pub protected: BTreeSet<PackageName>,
    /// What the gates find of everything.
    pub findings: BTreeMap<GateKind, Vec<Finding>>,
    /// On what the packages depend that are built, besides their source.
    pub irreproducible: Irreproducible,
    /// The principals who may do nothing.
    pub denied: BTreeSet<Principal>,
    /// The names of all effects, in their order.
    pub effects: Vec<String>,
}

/// On what packages depend besides their source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Irreproducible {
    /// Nothing.
    #[default]
    Never,
    /// The environment.
    ByVariation,
    /// Everything: no two builds give the same.
    Always,
}

/// A commit of a package's repository.
#[derive(Clone, Debug)]
pub struct MemoryCommit {
    /// The version in its changelog.
    pub version: Version,
    /// Its parents.
    pub parents: Vec<CommitId>,
    /// The texts in its tree, by their paths, beside `debian/changelog` and `debian/control`.
    pub files: BTreeMap<String, String>,
}

/// A job that has not ended.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) job: Job,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) started: Option<Timestamp>,
    pub(crate) stage: Option<Stage>,
    pub(crate) is_claimed: bool,
    pub(crate) cancelled: Option<Principal>,
}

/// A handle to a [`World`], whose next effects can be told to crash.
#[derive(Clone, Debug)]
pub struct Memory {
    world: Arc<Mutex<World>>,
    fuse: Arc<AtomicUsize>,
    directory: Arc<tempfile::TempDir>,
}

/// A fuse that never blows.
const NEVER: usize = usize::MAX;

impl Memory {
    /// Makes an empty world, with a temporary directory for package files.
    ///
    /// # Errors
    /// There is no room for a temporary directory.
    pub fn new() -> std::io::Result<Self> {
        let directory = Arc::new(tempfile::tempdir()?);
        Ok(Self { world: Arc::default(), fuse: Arc::new(AtomicUsize::new(NEVER)), directory })
    }

    /// Returns the world. Everything else waits until the guard is dropped.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Crashes at a half-effect from now: `2 * n` is before the n-th effect, `2 * n + 1` after it. From then on
    /// every effect fails, as for a process that is dead, until the fuse is set again.
    pub fn crash_at(&self, half_effect: usize) {
        self.fuse.store(half_effect, Ordering::SeqCst);
    }

    /// Lets every effect succeed again.
    pub fn never_crash(&self) {
        self.fuse.store(NEVER, Ordering::SeqCst);
    }

    /// Adds a commit to a package's repository, which is made if there is none.
    pub fn commit(&self, package: &PackageName, commit: &CommitId, version: &Version, parents: &[CommitId]) {
        let content =
            MemoryCommit { version: version.clone(), parents: parents.to_vec(), files: BTreeMap::new() };
        self.commit_tree(package, commit, content);
    }

    /// Adds a commit with a tree of its own to a package's repository, which is made if there is none.
    pub fn commit_tree(&self, package: &PackageName, commit: &CommitId, content: MemoryCommit) {
        let commits = &mut self.world().repositories;
        commits.entry(package.clone()).or_default().insert(commit.clone(), content);
    }

    pub(crate) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Does an effect on the world, or crashes before or after it.
    pub(crate) fn effect<T>(&self, name: &str, act: impl FnOnce(&mut World) -> T) -> Result<T, BoxError> {
        // The fuse belongs to whoever has the world: builds run side by side.
        let mut world = self.world();
        let left = self.fuse.load(Ordering::SeqCst);
        if left == 0 {
            return Err(format!("crash before {name}").into());
        }
        world.effects.push(name.to_owned());
        let value = act(&mut world);
        if left == 1 {
            self.fuse.store(0, Ordering::SeqCst);
            return Err(format!("crash after {name}").into());
        }
        if left != NEVER {
            self.fuse.store(left - 2, Ordering::SeqCst);
        }
        Ok(value)
    }
}

impl Announce for Memory {
    fn announce(&self, event: &Event) {
        let _ = self.effect("announce", |world| world.announced.push(event.kind.as_str().to_owned()));
    }
}

impl crate::pipeline::Gate for Memory {
    fn admits(&self, _pocket: &PocketName, principal: &Principal) -> Access {
        if self.world().denied.contains(principal) {
            return Access::Denied("the world says so".to_owned());
        }
        Access::Granted
    }
}

/// Returns the id of the n-th job of a world.
fn job_id(n: u32) -> JobId {
    format!("20260101{:06}_{n:06}", n / 60 * 100 + n % 60)
        .parse()
        .expect("14 digits, _ and 6 digits are a job id")
}

#[cfg(test)]
mod tests;
