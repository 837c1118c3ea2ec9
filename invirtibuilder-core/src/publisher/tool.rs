//! Publishers that leave the writing of indices to another program: reprepro or aptly.
//!
//! Never believes the program's exit status or its database: what a suite serves is read from the files that its
//! `InRelease` names, before and after each change.
//!
//! # How a change survives the death of a process
//! The program keeps each suite in numbered *states*. A change makes the next state from the present one, which no
//! reader sees; then one small file, `record`, names the next one, and is synced; then the program publishes it.
//! Whoever comes after a process that died before the record goes on from the present state, and whoever comes after
//! a later death publishes the named one again. So a program's database is never used after a process that changed
//! it was killed, and nothing has to be repaired by hand. All of it is done under one lock, which dies with its
//! owner. Each program has the lock as its standard input: where only our process was killed, the lock lives until
//! the program has ended.
//!
//! # What lies where
//! Each suite has a directory, and so a pool, of its own below the archive's: files of one suite are never in the
//! way of another's.
//!
//! | path | what |
//! |---|---|
//! | `<archive>/<suite>/dists/<suite>/`, `<archive>/<suite>/pool/` | what clients use as `URIs: …/<suite>` |
//! | `<archive>/<key file>` | the public key |
//! | `<state>/lock`, `<state>/tmp/` | the lock; the programs' temporary files |
//! | `<state>/<suite>/record` | the number of the state that is published, or is to be |
//! | `<state>/<suite>/<number>/` | the program's files of that state, and of the change that makes it |
//!
//! # Limits
//! | | the native archive | reprepro | aptly |
//! |---|---|---|---|
//! | a reader during a publication | sees all or nothing | may see a sum that does not match for an instant: no by-hash | sees all or nothing by hash; by name as with reprepro |
//! | files of the version before | stay for a day | stay until the next publication in the suite | are removed at once |
//! | another build of a version (where it is allowed) | lies beside the first | takes its place: who has the older index meets other bytes | the same |
//! | generations, snapshots, roll-back, `Valid-Until`, `Changelogs`, `Translation-en` | yes | no | no |
//! | `Codename` other than the suite's name | yes | no | no |
//! | `Description` | yes | yes | aptly's own |
//! | signing keys | several | several | one |
//! | a change of architectures, `Origin` or `Label` | one publication | one publication | the suite is gone for a moment |
//! | time of a publication | grows with what changes | grows with the suite | grows with the suite |
//!
//! reprepro is never told to use `Tracking`, whose records break when a package is copied (Debian bug 1125255).

mod aptly;
mod change;
mod reading;
mod record;
mod reprepro;
mod served;
mod upload;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::archive::{SignedBy, SuiteSpec, sources_of};
use super::{Generation, Owners, Publisher, ServedFile};
use crate::durable::{self, DurableError, Lock};
use crate::error::{PublishError, VerifyError};
use crate::names::{Architecture, FileName, PackageName, Suite};
use crate::policy::Held;
use crate::process::{Command, Limits, ProcessError};
use crate::signer::{GpgOnDemand, SignError, Signer, SigningKey};
use crate::states::{BuildArtifacts, CopyPlan};

use change::Change;
use record::Phase;
use served::ServedError;

/// The longest time that a program may take, with or without output: both print nothing while they write indices.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// Where the archive of a program is, and what it consists of.
#[derive(Clone, Debug)]
pub struct ToolSpec {
    /// What a web server serves.
    pub directory: PathBuf,
    /// What only the publisher and its program read and write; not below `directory`.
    pub state: PathBuf,
    /// The name of the public key below `directory`, such as `archive-key.asc`.
    pub key_file: FileName,
    /// The suites.
    pub suites: Vec<SuiteSpec>,
    /// The `GnuPG` home directory.
    pub gnupg: PathBuf,
    /// The keys in it that sign.
    pub keys: Vec<SigningKey>,
}

/// A publisher that drives a program.
///
/// Threads and processes may use one at the same time: changes wait for each other, and a reader waits only where it
/// met a publication.
#[derive(Debug)]
pub struct ToolPublisher {
    spec: ToolSpec,
    suites: BTreeMap<Suite, SuiteSpec>,
    tool: Box<dyn Tool>,
    signer: GpgOnDemand,
}

impl ToolPublisher {
    /// Describes an archive that reprepro publishes. Nothing is read or written before it is used.
    #[must_use]
    pub fn reprepro(spec: ToolSpec) -> Self {
        Self::new(spec, Box::new(reprepro::Reprepro))
    }

    /// Describes an archive that aptly publishes. Nothing is read or written before it is used.
    #[must_use]
    pub fn aptly(spec: ToolSpec) -> Self {
        Self::new(spec, Box::new(aptly::Aptly))
    }

    fn new(spec: ToolSpec, tool: Box<dyn Tool>) -> Self {
        let suites = spec.suites.iter().map(|it| (it.suite.clone(), it.clone())).collect();
        let signer = GpgOnDemand::new(&spec.gnupg, &spec.keys);
        Self { spec, suites, tool, signer }
    }

    /// Returns the name of the program, which is also the Debian package that has it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.tool.name()
    }

    /// Returns the directory that a web server serves.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.spec.directory
    }

    /// Returns the `.sources` file that makes a client use a suite (sources.list(5), deb822 style); `uri` is where
    /// clients find the archive's directory.
    ///
    /// # Errors
    /// The suite is not configured, or the key cannot be read.
    pub fn sources(&self, suite: &Suite, uri: &str, signed_by: &SignedBy) -> Result<String, PublishError> {
        let uri = format!("{}/{suite}", uri.trim_end_matches('/'));
        let keys = || Ok(self.signer.public_key().map_err(ToolError::from)?);
        sources_of(self.suite(suite)?, &uri, signed_by, keys)
    }

    /// Makes directories, the key file, and each suite, and ends what a process that died had begun.
    fn initialize(&self) -> Result<(), ToolError> {
        let ToolSpec { directory, state, key_file, .. } = &self.spec;
        if state.starts_with(directory) {
            return Err(ToolError::Exposed { path: state.clone() });
        }
        for it in [directory, state] {
            durable::create_directory(it)?;
        }
        let lock = self.lock()?;
        let (path, key) = (directory.join(key_file.as_str()), self.signer.public_key()?.into_bytes());
        change::remove_unfinished(directory)?;
        if std::fs::read(&path).ok().as_ref() != Some(&key) {
            durable::write(&path, &key)?;
        }
        for suite in self.suites.values() {
            self.settle(&self.place(suite, &lock))?;
        }
        Ok(())
    }

    fn suite(&self, suite: &Suite) -> Result<&SuiteSpec, ToolError> {
        self.suites.get(suite).ok_or_else(|| ToolError::UnknownSuite { suite: suite.clone() })
    }

    fn lock(&self) -> Result<Lock, ToolError> {
        Ok(Lock::wait(&self.spec.state.join("lock"))?)
    }

    fn place<'a>(&'a self, suite: &'a SuiteSpec, lock: &'a Lock) -> Place<'a> {
        Place { spec: &self.spec, suite, lock }
    }
}

impl Publisher for ToolPublisher {
    fn prepare(&self) -> Result<(), PublishError> {
        Ok(self.initialize()?)
    }

    fn publish(&self, artifacts: &BuildArtifacts) -> Result<Option<Generation>, PublishError> {
        self.publish_artifacts(artifacts).map(|()| None)
    }

    fn copy(&self, plan: &CopyPlan) -> Result<Option<Generation>, PublishError> {
        self.copy_held(plan).map(|()| None)
    }

    fn held(&self, suite: &Suite, package: &PackageName) -> Result<Option<Held>, PublishError> {
        Ok(self.read(suite, |it| it.held(package))?.flatten())
    }

    fn contents(&self, suite: &Suite) -> Result<Vec<Held>, PublishError> {
        Ok(self.read(suite, served::Served::contents)?.unwrap_or_default())
    }

    fn files(&self, suite: &Suite, package: &PackageName) -> Result<Vec<ServedFile>, PublishError> {
        let files = self.read(suite, |it| it.files_of(package, |_| true))?.unwrap_or_default();
        let directory = self.spec.directory.join(suite.as_str());
        let served = |it: served::PoolFile| ServedFile { path: directory.join(&it.path), sha256: it.sha256 };
        Ok(files.into_iter().map(served).collect())
    }

    fn in_release(
        &self,
        suite: &Suite,
        generation: Option<Generation>,
    ) -> Result<Option<ServedFile>, PublishError> {
        let _ = generation;
        Ok(self.read(suite, |it| Ok(it.in_release().clone()))?)
    }

    fn paragraphs(&self, suite: &Suite, architecture: &Architecture) -> Result<Vec<String>, PublishError> {
        Ok(self.read(suite, |it| it.texts(architecture))?.unwrap_or_default())
    }

    fn owners(&self, suite: &Suite, binaries: &BTreeSet<PackageName>) -> Result<Owners, PublishError> {
        Ok(self.read(suite, |it| it.owners(binaries))?.unwrap_or_default())
    }
}

/// What a program does for one suite. Every function may be repeated after a process died in it, and is called by
/// one process at a time.
trait Tool: Debug + Send + Sync {
    /// Returns the name of the program.
    fn name(&self) -> &'static str;
    /// Returns all that the program is told of a suite.
    fn configuration(&self, place: &Place<'_>) -> String;
    /// Makes a first state, without packages.
    fn create(&self, place: &Place<'_>, number: u64) -> Result<(), ToolError>;
    /// Makes the state `from + 1` from another. No reader sees anything of it, except that files that no index
    /// names, or that the change has other bytes for, may come to the pool.
    fn derive(&self, place: &Place<'_>, from: u64, change: Change<'_>) -> Result<(), ToolError>;
    /// Takes back what deriving a state that was not published did to the pool.
    fn undo(&self, place: &Place<'_>, number: u64) -> Result<(), ToolError>;
    /// Makes a state what readers see, and removes what an interrupted publication left.
    fn publish(&self, place: &Place<'_>, number: u64, phase: Phase) -> Result<(), ToolError>;
    /// Forgets a state, if there is one.
    fn discard(&self, place: &Place<'_>, number: u64) -> Result<(), ToolError>;
}

/// Where a suite is, for who has the lock.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    spec: &'a ToolSpec,
    suite: &'a SuiteSpec,
    lock: &'a Lock,
}

impl Place<'_> {
    /// Returns the directory below which clients find `dists` and `pool`.
    fn served(&self) -> PathBuf {
        self.spec.directory.join(self.suite.suite.as_str())
    }

    fn dists(&self) -> PathBuf {
        self.served().join("dists").join(self.suite.suite.as_str())
    }

    fn state(&self) -> PathBuf {
        self.spec.state.join(self.suite.suite.as_str())
    }

    /// Returns the directory of a state.
    fn directory(&self, number: u64) -> PathBuf {
        self.state().join(number.to_string())
    }

    /// Returns the directory of what is needed only until the change that makes a state is published.
    fn change(&self, number: u64) -> PathBuf {
        self.directory(number).join("change")
    }

    /// Returns the directory of the files that a change brings.
    fn incoming(&self, number: u64) -> PathBuf {
        self.change(number).join("incoming")
    }

    /// Begins a command that holds the lock as long as it runs.
    fn command(&self, program: &str) -> Result<Command, ToolError> {
        let temporary = self.spec.state.join("tmp");
        durable::create_directory(&temporary)?;
        let limits = Limits { time: PATIENCE, silence: PATIENCE, ..Limits::default() };
        let command = Command::new(program).env("GNUPGHOME", &self.spec.gnupg).env("HOME", &self.spec.state);
        Ok(command.env("TMPDIR", temporary).limits(limits).stdin(self.lock.file()?))
    }
}

/// Why an archive that a program publishes could not be read or changed.
#[derive(Debug, thiserror::Error)]
enum ToolError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot copy {} to {}", from.display(), to.display())]
    Copy { from: PathBuf, to: PathBuf, source: io::Error },
    #[error(transparent)]
    Durable(#[from] DurableError),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Served(#[from] ServedError),
    #[error("{} changed after it was verified", path.display())]
    Changed { path: PathBuf },
    #[error("{program} ended well, but {suite} {problem}")]
    Unproven { program: &'static str, suite: Suite, problem: String },
    #[error("{} {problem}; restore it from a backup", path.display())]
    Damaged { path: PathBuf, problem: String },
    #[error("the suite {suite} is not configured; add its pocket to the configuration")]
    UnknownSuite { suite: Suite },
    #[error("{} lies in the directory that is served; choose a private one", path.display())]
    Exposed { path: PathBuf },
    #[error("{0}")]
    Unsupported(String),
}

impl ToolError {
    fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }
}

impl From<ToolError> for PublishError {
    fn from(error: ToolError) -> Self {
        Self::Backend(Box::new(error))
    }
}
