//! A whole site in memory, for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::files::commit_id;
use super::{
    Memory, MemoryBuilder, MemoryExaminer, MemoryExporter, MemoryPocket, MemoryPublisher, MemoryQueue,
};
use crate::job::Request;
use crate::names::{CommitId, PackageName, PocketName, Version};
use crate::pipeline::{MAX_RESULTS, Pipeline, Slots};
use crate::pocket::Pocket;
use crate::pocket::locks::PocketLocks;
use crate::policy::{Building, PocketSpec, Policy};

/// A [`Memory`] with two pockets: `dev`, which allows backtracking, and `prod`, which does not.
#[derive(Clone, Debug)]
pub struct Lab {
    /// The world.
    pub memory: Memory,
}

impl Lab {
    /// Makes one without packages.
    ///
    /// # Errors
    /// There is no room for a temporary directory.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { memory: Memory::new()? })
    }

    /// Returns the specification of a pocket whose suite, branch and name are the same.
    ///
    /// # Panics
    /// The name is not a valid one.
    #[must_use]
    pub fn spec(name: &str, policy: Policy) -> PocketSpec {
        const VALID: &str = "the name of a test's pocket is valid";
        PocketSpec {
            name: name.parse().expect(VALID),
            branch: name.parse().expect(VALID),
            suite: name.parse().expect(VALID),
            components: vec!["main".parse().expect(VALID)],
            architectures: vec!["amd64".parse().expect(VALID)],
            base: "bookworm".parse().expect(VALID),
            policy,
            building: Building::default(),
        }
    }

    /// Returns the specifications of both pockets.
    #[must_use]
    pub fn specs() -> [PocketSpec; 2] {
        let backtracking = Policy { allow_backtracking: true, ..Policy::default() };
        [Self::spec("dev", backtracking), Self::spec("prod", Policy::default())]
    }

    /// Returns a pipeline over the world, as a new process would have it.
    #[must_use]
    pub fn pipeline(&self) -> Pipeline {
        let pocket = |spec: PocketSpec| {
            let pocket: Box<dyn Pocket> = Box::new(MemoryPocket::new(self.memory.clone(), spec.clone()));
            (spec.name, pocket)
        };
        let pockets: BTreeMap<PocketName, Box<dyn Pocket>> = Self::specs().into_iter().map(pocket).collect();
        Pipeline {
            pockets,
            locks: PocketLocks::new(&self.memory.directory().join("rollbacks")),
            gate: Box::new(self.memory.clone()),
            exporter: Box::new(MemoryExporter(self.memory.clone())),
            builder: Box::new(MemoryBuilder(self.memory.clone())),
            examiner: Some(Box::new(MemoryExaminer(self.memory.clone()))),
            publisher: Arc::new(MemoryPublisher(self.memory.clone())),
            audit: None,
            attestor: None,
            announcer: Arc::new(self.memory.clone()),
            logs: self.memory.directory().join("logs"),
            max_results: MAX_RESULTS,
            slots: Slots::default(),
        }
    }

    /// Returns a queue over the world.
    #[must_use]
    pub fn queue(&self) -> MemoryQueue {
        MemoryQueue(self.memory.clone())
    }

    /// Adds a commit of a version to a package, on top of an earlier one, and returns its id.
    pub fn commit(&self, package: &PackageName, version: &Version, parent: Option<&CommitId>) -> CommitId {
        let commit = commit_id(&format!("{package} {version} on {parent:?}"));
        self.memory.commit(package, &commit, version, parent.map(std::slice::from_ref).unwrap_or_default());
        commit
    }

    /// Returns a request by `alice`.
    ///
    /// # Panics
    /// The name of the pocket is not a valid one.
    #[must_use]
    pub fn request(pocket: &str, package: &PackageName, commit: &CommitId) -> Request {
        Request {
            pocket: pocket.parse().expect("the name of a test's pocket is valid"),
            package: package.clone(),
            commit: commit.clone(),
            principal: "alice@EXAMPLE.ORG".parse().expect("the name of a test's principal is valid"),
            adds: None,
        }
    }
}
