//! Publishers: what the archive serves.

pub mod archive;
pub mod tool;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};

use serde::{Deserialize, Serialize};

use crate::error::PublishError;
use crate::names::{JobId, PackageName, Suite};
use crate::policy::Held;
use crate::states::{BuildArtifacts, CopyPlan};

/// The number of a state that a suite was in: each publication makes the next one, beginning with 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(u64);

impl Generation {
    /// Takes a number.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// Returns the generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::str::FromStr for Generation {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Which source packages a suite serves binary packages from, by the names of the binary packages.
pub type Owners = BTreeMap<PackageName, BTreeSet<PackageName>>;

/// Changes what the archive serves, and says what it does serve.
///
/// # Contract
/// - `publish` and `copy` replace what the suite had of the source package, source and all binaries in one
///   switch: a reader sees all of the old or all of the new. Every file is in the pool before an index names it.
/// - Both are idempotent: repeating one that succeeded succeeds and changes nothing.
/// - Both are durable when they return. One that is refused has changed nothing.
/// - Both refuse a binary package whose name the suite serves from another source package, of whatever version and
///   architecture ([`PublishError::Owned`]): a name has one owner, and this is the last place where that is asked.
/// - The bytes of a copy are the bytes of its original.
/// - `held`, `contents` and `owners` read what readers are served, not what the publisher remembers having done.
/// - A publisher that numbers what it publishes returns the generation in which the change came, also where it is
///   repeated; others return `None`, and refuse `contents_at` and `restore` as [`PublishError::NotKept`].
/// - `restore` is one switch as well, idempotent and durable. One from a generation that is not served, and that
///   `id` has not made already, is refused and changes nothing.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait Publisher: Debug + Send + Sync {
    /// Makes what is missing, such as the suites of pockets that are new in the configuration. Run before the first
    /// publication of a process.
    fn prepare(&self) -> Result<(), PublishError>;
    /// Adds built packages to the plan's suite.
    fn publish(&self, artifacts: &BuildArtifacts) -> Result<Option<Generation>, PublishError>;
    /// Copies a version from another suite into the plan's suite.
    fn copy(&self, plan: &CopyPlan) -> Result<Option<Generation>, PublishError>;
    /// Returns the generation that a suite serves; `None` if there is no such suite, or if they are not numbered.
    fn generation(&self, suite: &Suite) -> Result<Option<Generation>, PublishError> {
        let _ = suite;
        Ok(None)
    }
    /// Reads all source packages that a suite served in a generation, in order of their names.
    fn contents_at(&self, suite: &Suite, generation: Generation) -> Result<Vec<Held>, PublishError> {
        Err(keeps_nothing(suite, generation))
    }
    /// Makes a suite that serves the generation `from` serve again what it served in the generation `to`, as a new
    /// generation, which is returned. `id` is what makes a repetition known as one.
    fn restore(
        &self,
        suite: &Suite,
        id: &JobId,
        from: Generation,
        to: Generation,
    ) -> Result<Generation, PublishError> {
        let _ = (id, from);
        Err(keeps_nothing(suite, to))
    }
    /// Reads what a suite serves of a source package; `None` if nothing.
    fn held(&self, suite: &Suite, package: &PackageName) -> Result<Option<Held>, PublishError>;
    /// Reads all source packages that a suite serves, in order of their names; empty if there is no such suite.
    fn contents(&self, suite: &Suite) -> Result<Vec<Held>, PublishError>;
    /// Reads which source packages a suite serves these binary packages from, of whatever architecture and
    /// version. Those that it does not serve are left out.
    fn owners(&self, suite: &Suite, binaries: &BTreeSet<PackageName>) -> Result<Owners, PublishError>;
}

fn keeps_nothing(suite: &Suite, generation: Generation) -> PublishError {
    let problem = "this publisher keeps nothing of what it served before; `publisher: backend: archive` does"
        .to_owned();
    PublishError::NotKept { suite: suite.clone(), generation, problem }
}
