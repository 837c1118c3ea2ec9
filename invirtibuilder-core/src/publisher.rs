//! Publishers: what the archive serves.

pub mod archive;
pub mod local;
pub mod tool;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::PublishError;
use crate::names::{Architecture, JobId, PackageName, Suite};
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

/// A file that is served, with what the index says of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServedFile {
    /// Where it is on this machine.
    pub path: PathBuf,
    /// Its SHA-256 sum, in lower-case hexadecimal.
    pub sha256: String,
}

impl ServedFile {
    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.file_name().and_then(std::ffi::OsStr::to_str).unwrap_or_default()
    }
}

/// Changes what the archive serves, and says what it does serve.
///
/// # Contract
/// - `publish` and `copy` replace what the suite had of the source package, source and all binaries in one
///   switch: a reader sees all of the old or all of the new. Every file is in the pool before an index names it.
/// - Both are idempotent: repeating one that succeeded succeeds and changes nothing.
/// - Both are durable when they return. One that is refused has changed nothing.
/// - Both refuse a binary package whose name the suite serves from another source package, of whatever version and
///   architecture ([`PublishError::Owned`]): a name has one owner, and this is the last place where that is asked.
/// - `add` is one switch as well, idempotent and durable, and keeps source, version and all else. It is refused, as
///   [`PublishError::NotHeld`], unless the suite serves the plan's version from the plan's commit with the source
///   package of the artifacts. Publishers without it refuse it, `source` and `architectures`, and changes nothing.
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
    /// Adds built packages of an architecture more to the version that the plan's suite serves, made from the same
    /// bytes: source and all other packages stay as they are.
    fn add(&self, artifacts: &BuildArtifacts) -> Result<Option<Generation>, PublishError> {
        let plan = artifacts.plan();
        Err(PublishError::Unfit {
            suite: plan.suite().clone(),
            package: plan.package().clone(),
            version: plan.version().clone(),
            problem: ADDS_NOTHING.to_owned(),
        })
    }
    /// Copies the source package that a suite serves into a directory, and returns where its `.dsc` is there.
    fn source(&self, suite: &Suite, package: &PackageName, into: &Path) -> Result<PathBuf, PublishError> {
        let _ = (suite, package, into);
        Err(PublishError::Backend(ADDS_NOTHING.into()))
    }
    /// Reads the architectures, `all` among them, of the binary packages that a suite serves of a source package.
    fn architectures(
        &self,
        suite: &Suite,
        package: &PackageName,
    ) -> Result<BTreeSet<Architecture>, PublishError> {
        let _ = (suite, package);
        Err(PublishError::Backend(ADDS_NOTHING.into()))
    }
    /// Returns the generation that a suite serves; `None` if there is no such suite, or if they are not numbered.
    fn generation(&self, suite: &Suite) -> Result<Option<Generation>, PublishError> {
        let _ = suite;
        Ok(None)
    }
    /// Returns where the `InRelease` of a suite is, with the sum of the one that first told readers of a generation, or,
    /// where generations are not numbered, of the one that is served now; `None` if nobody knows.
    fn in_release(
        &self,
        suite: &Suite,
        generation: Option<Generation>,
    ) -> Result<Option<ServedFile>, PublishError> {
        let _ = (suite, generation);
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
    /// Returns the files that a suite serves of a source package: those of the source, and the binary packages of
    /// every architecture, each once and in the order of their paths. They are where nothing changes them; something
    /// may remove them. None if the suite does not serve the package.
    fn files(&self, suite: &Suite, package: &PackageName) -> Result<Vec<ServedFile>, PublishError> {
        let problem = format!("this publisher does not tell the files of {package} in {suite}");
        Err(PublishError::Backend(problem.into()))
    }
    /// Reads the paragraphs of the binary packages that a suite serves for an architecture, `all` included, as its
    /// `Packages` has them; none if there is no such suite.
    fn paragraphs(&self, suite: &Suite, architecture: &Architecture) -> Result<Vec<String>, PublishError> {
        let problem = format!("this publisher does not tell what {suite} has for {architecture}");
        Err(PublishError::Backend(problem.into()))
    }
    /// Reads which source packages a suite serves these binary packages from, of whatever architecture and
    /// version. Those that it does not serve are left out.
    fn owners(&self, suite: &Suite, binaries: &BTreeSet<PackageName>) -> Result<Owners, PublishError>;
}

/// What a publisher says that cannot add architectures.
const ADDS_NOTHING: &str =
    "this publisher adds no architecture to what it serves; `publisher: backend: archive` does";

fn keeps_nothing(suite: &Suite, generation: Generation) -> PublishError {
    let problem = "this publisher keeps nothing of what it served before; `publisher: backend: archive` does"
        .to_owned();
    PublishError::NotKept { suite: suite.clone(), generation, problem }
}
