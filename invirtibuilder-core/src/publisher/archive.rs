//! The archive that this library publishes itself: pool, indices, signatures, each change in one switch.
//!
//! Never lets a reader see half a change, and never believes its own notes: what a suite serves is what its
//! `InRelease` names.
//!
//! Below the archive's directory lies only what is served:
//!
//! | path | what |
//! |---|---|
//! | `pool/<component>/<prefix>/<source>/` | packages; other bytes under a name that is taken go one directory deeper, which their hash names |
//! | `dists/<suite>/InRelease` | the truth: renamed last, and everything that it names was synced before |
//! | `dists/<suite>/<component>/*/by-hash/SHA256/` | the indices, which `InRelease` names; older ones stay as long as their generation |
//! | `snapshot/<suite>/<N>/` | a generation that is kept, as an archive of its own: `InRelease`, and links to the rest |
//! | `dists/<suite>/Release`, `Release.gpg`, `…/Packages.gz`, … | the same under the names that old readers want |
//! | the key file | the public key |
//!
//! Below the private directory lie the lock, `tables/` and `texts/` (derived from the indices; may be lost) and
//! `generations/` (the records of the generations; if one is lost, its generation cannot be returned to, and its files
//! go later).

mod adding;
mod blocks;
mod client;
mod compression;
mod contents;
mod copying;
mod describing;
mod entries;
mod generations;
mod import;
mod index;
mod outside;
mod pool;
mod publishing;
mod reading;
mod release;
mod signing;
mod stanza;
mod suite;
mod switch;
mod table;
mod texts;
mod turn;
mod xz;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::durable::{self, DurableError};
use crate::error::PublishError;
use crate::names::{Architecture, FileName, JobId, PackageName, Suite};
use crate::policy::Held;
use crate::signer::{SignError, Signer};
use crate::states::{BuildArtifacts, CopyPlan};

use super::{Generation, Owners, Publisher, ServedFile};
use table::Table;
use texts::Stores;

pub use client::SignedBy;
pub(in crate::publisher) use client::sources_of;
pub use compression::{Compression, UnknownCompression};
pub use generations::{Cause, Changed, Expiry, Keep, KeptGeneration, Removal, Retention};
pub use import::{
    Added, GitFacts, Import, ImportError, Imported, LeftBehind, Leftovers, Mapping, Placing, Reason, Report,
    Run, Sourceless, Vouched,
};
pub(in crate::publisher) use index::Sum;
pub(crate) use outside::Outside;
pub(in crate::publisher) use release::{Listed, Release};
pub use suite::{Descriptions, SuiteSpec, Upgrades};

/// Where an archive is, and what it consists of.
#[derive(Clone, Debug)]
pub struct ArchiveSpec {
    /// What a web server serves.
    pub directory: PathBuf,
    /// What only the publisher reads and writes; not below `directory`.
    pub state: PathBuf,
    /// The name of the public key below `directory`, such as `archive-key.asc`.
    pub key_file: FileName,
    /// The suites.
    pub suites: Vec<SuiteSpec>,
    /// What is kept of what a suite served before.
    pub retention: Retention,
    /// For how long after it was signed apt accepts what a suite serves; `None` for ever.
    pub valid_for: Option<Duration>,
}

/// An APT archive on the file system.
///
/// Threads and processes may use one archive at the same time: changes wait for each other at a lock that dies
/// with its owner, and readers wait for nobody.
#[derive(Debug)]
pub struct Archive {
    directory: PathBuf,
    state: PathBuf,
    key_file: FileName,
    suites: BTreeMap<Suite, SuiteSpec>,
    records: generations::Records,
    valid_for: Option<Duration>,
    signer: Box<dyn Signer>,
    /// The texts of the indices.
    stores: Stores,
    /// The tables that were used last, by the sum of the index that they describe.
    tables: Mutex<BTreeMap<String, Arc<Table>>>,
}

impl Archive {
    /// Describes an archive. Nothing is read or written before it is used.
    #[must_use]
    pub fn new(spec: ArchiveSpec, signer: Box<dyn Signer>) -> Self {
        let ArchiveSpec { directory, state, key_file, suites, retention, valid_for } = spec;
        Self {
            records: generations::Records::new(state.join("generations"), retention),
            stores: Stores::new(state.join("texts")),
            valid_for,
            directory,
            state,
            key_file,
            suites: suites.into_iter().map(|it| (it.suite.clone(), it)).collect(),
            signer,
            tables: Mutex::default(),
        }
    }

    /// Makes directories, the key file, and each suite, signed, so that clients can use it before anything is
    /// published. A suite whose description has changed is published again with the new one.
    fn initialize(&self) -> Result<(), ArchiveError> {
        if self.state.starts_with(&self.directory) {
            return Err(ArchiveError::Exposed { path: self.state.clone() });
        }
        for directory in [&self.directory, &self.state, &self.state.join("tables"), &self.state.join("texts")]
        {
            durable::create_directory(directory)?;
        }
        let _lock = self.lock()?;
        let key_path = self.directory.join(self.key_file.as_str());
        let key = self.signer.public_key()?.into_bytes();
        if std::fs::read(&key_path).ok().as_ref() != Some(&key) {
            durable::write(&key_path, &key)?;
        }
        for suite in self.suites.values() {
            self.describe(suite)?;
            self.mend_generations(&suite.suite)?;
        }
        Ok(())
    }

    /// Returns the directory that a web server serves.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn suite(&self, suite: &Suite) -> Result<&SuiteSpec, ArchiveError> {
        self.suites.get(suite).ok_or_else(|| ArchiveError::UnknownSuite { suite: suite.clone() })
    }

    fn suite_directory(&self, suite: &Suite) -> PathBuf {
        self.directory.join("dists").join(suite.as_str())
    }
}

impl Publisher for Archive {
    fn prepare(&self) -> Result<(), PublishError> {
        Ok(self.initialize()?)
    }

    fn publish(&self, artifacts: &BuildArtifacts) -> Result<Option<Generation>, PublishError> {
        self.publish_artifacts(artifacts)
    }

    fn copy(&self, plan: &CopyPlan) -> Result<Option<Generation>, PublishError> {
        self.copy_held(plan)
    }

    fn add(&self, artifacts: &BuildArtifacts) -> Result<Option<Generation>, PublishError> {
        self.add_artifacts(artifacts)
    }

    fn source(&self, suite: &Suite, package: &PackageName, into: &Path) -> Result<PathBuf, PublishError> {
        self.copy_source(suite, package, into)
    }

    fn architectures(
        &self,
        suite: &Suite,
        package: &PackageName,
    ) -> Result<BTreeSet<Architecture>, PublishError> {
        Ok(self.read_architectures(suite, package)?)
    }

    fn generation(&self, suite: &Suite) -> Result<Option<Generation>, PublishError> {
        Ok(self.served_generation(suite)?)
    }

    fn in_release(
        &self,
        suite: &Suite,
        generation: Option<Generation>,
    ) -> Result<Option<ServedFile>, PublishError> {
        let Some(generation) = generation else { return Ok(None) };
        let path = self.directory().join("dists").join(suite.as_str()).join("InRelease");
        let sum = self.sum_of_in_release(suite, generation)?;
        Ok(sum.map(|sha256| ServedFile { path, sha256 }))
    }

    fn contents_at(&self, suite: &Suite, generation: Generation) -> Result<Vec<Held>, PublishError> {
        self.read_contents_at(suite, generation)
    }

    fn restore(
        &self,
        suite: &Suite,
        id: &JobId,
        from: Generation,
        to: Generation,
    ) -> Result<Generation, PublishError> {
        self.restore_generation(suite, id, from, to)
    }

    fn held(&self, suite: &Suite, package: &PackageName) -> Result<Option<Held>, PublishError> {
        Ok(self.read_held(suite, package)?)
    }

    fn contents(&self, suite: &Suite) -> Result<Vec<Held>, PublishError> {
        Ok(self.read_contents(suite)?)
    }

    fn files(&self, suite: &Suite, package: &PackageName) -> Result<Vec<ServedFile>, PublishError> {
        Ok(self.read_files(suite, package)?)
    }

    fn paragraphs(&self, suite: &Suite, architecture: &Architecture) -> Result<Vec<String>, PublishError> {
        Ok(self.read_paragraphs(suite, architecture)?)
    }

    fn owners(&self, suite: &Suite, binaries: &BTreeSet<PackageName>) -> Result<Owners, PublishError> {
        Ok(self.read_owners(suite, binaries)?)
    }
}

/// Why the archive could not be read or changed.
#[derive(Debug, thiserror::Error)]
enum ArchiveError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write a copy of {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Durable(#[from] DurableError),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error("the archive is damaged: {} {problem}; restore it from a backup", path.display())]
    Damaged { path: PathBuf, problem: String },
    #[error("{} changed after it was verified", path.display())]
    Changed { path: PathBuf },
    #[error("the suite {suite} is not configured; add its pocket to the configuration")]
    UnknownSuite { suite: Suite },
    #[error("{} lies in the directory that is served; choose a private one", path.display())]
    Exposed { path: PathBuf },
}

impl ArchiveError {
    fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }

    fn damaged(path: &Path, problem: impl Display) -> Self {
        Self::Damaged { path: path.to_owned(), problem: problem.to_string() }
    }
}

impl From<ArchiveError> for PublishError {
    fn from(error: ArchiveError) -> Self {
        Self::Backend(Box::new(error))
    }
}
