//! Builders: from a source package to binary packages.

pub mod account;
pub mod architectures;
pub mod base;
pub mod each_pocket;
pub mod host;
pub mod limits;
pub mod overlay;
mod results;
pub mod sbuild;
pub mod scratch;
pub use overlay::vm;
pub mod walls;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use crate::error::{BoxError, BuildError};
use crate::names::{Architecture, BaseName, JobId, PackageName};
use crate::policy::PocketSpec;
use crate::process::Command;
use crate::provenance::UsedBase;
use crate::states::SourcePackage;
use crate::stop::Interrupt;

/// Turns a source package into binary packages, in a clean, throw-away environment.
///
/// # Contract
/// - The environment has only build-essential and the declared build dependencies.
/// - Writes only below `into`, an empty directory, and to `log`. Leaves there the `.changes` and every file that
///   it names, `.buildinfo` included.
/// - Success is decided by exit status and by the files that are there, never by what a tool prints.
/// - When it returns, however it does, no process and no environment of the build is left.
/// - Ends soon after `interrupt` says so, with [`BuildError::Interrupted`].
#[cfg_attr(feature = "mocks", mockall::automock)]
#[allow(unused_parens, reason = "the mock of a trait object with two bounds has some")]
pub trait Builder: Debug + Send + Sync {
    /// Builds into `into` and returns the path of the `.changes` file.
    fn build<'a>(
        &self,
        source: &SourcePackage,
        target: &Target,
        into: &Path,
        log: &mut (dyn Write + Send + 'a),
        interrupt: &(dyn Interrupt + 'a),
    ) -> Result<PathBuf, BuildError>;
    /// Returns the packages that every build begins with, whatever it declares: those of the base. The output gate
    /// lets nothing replace them that a pocket does not name. Empty where the builder has no base, or has not made
    /// this one yet; after a build in it, it is known.
    fn protected(
        &self,
        base: &BaseName,
        architecture: &Architecture,
    ) -> Result<BTreeSet<PackageName>, BuildError>;
    /// Returns the base that a build would begin in now; `None` where the builder has none, or has not made it yet.
    fn base(&self, source: &SourcePackage, target: &Target) -> Option<UsedBase> {
        let _ = (source, target);
        None
    }
    /// Lets somebody look at what a build wrote that failed, in the room that it was built in: runs a program there,
    /// and returns its exit status. What it changes is thrown away. The failed build stays as it is.
    #[allow(clippy::elidable_lifetime_names, reason = "the mock needs the name")]
    fn visit<'a>(&self, look: &Look<'a>) -> Result<u8, VisitError> {
        Err(VisitError::Unsupported(format!(
            "the builder of {} keeps nothing of what it built; only backend: overlay does",
            look.pocket.name
        )))
    }
    /// Removes what builds of dead workers left behind. Called before the first build.
    fn clean_up(&self) -> Result<(), BuildError>;
}

/// What to build for, and in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The host architecture of the build (deb-src-control(5)), never `all`.
    pub architecture: Architecture,
    /// Whether this run also builds the `Architecture: all` packages.
    pub with_all: bool,
    /// The distribution to build in.
    pub base: BaseName,
    /// What about the environment is not as usual.
    pub variation: Variation,
}

impl Target {
    /// Refuses a variation, for a builder that can vary nothing.
    fn refuse_variation(&self, builder: &str) -> Result<(), BuildError> {
        if self.variation == Variation::None {
            return Ok(());
        }
        let problem = format!("{builder} cannot vary the environment of a build; the overlay builder can");
        Err(BuildError::Backend(problem.into()))
    }
}

/// What about the environment of a build is not as usual. The bits of a package that can be reproduced do not depend
/// on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variation {
    /// Nothing.
    #[default]
    None,
    /// All that a builder can vary and that Debian's reproducible builds want to make no difference: such as the
    /// user, the host's name, locale, time zone, umask, number of processors and the order of directories; but
    /// neither the path of the build nor any package. A builder that can vary nothing refuses it as
    /// [`BuildError::Backend`].
    All,
}

/// What somebody wants to look at, and with what.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// The job that failed.
    pub job: &'a JobId,
    /// The pocket that it was for.
    pub pocket: &'a PocketSpec,
    /// Which of its builds; `None` for the only one that failed.
    pub architecture: Option<&'a Architecture>,
    /// The program and its arguments; none for a shell.
    pub words: &'a [String],
    /// Who looks.
    pub caller: Caller<'a>,
    /// Ends it early.
    pub interrupt: &'a dyn Interrupt,
}

impl Debug for Look<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Look").field("job", self.job).field("words", &self.words).finish_non_exhaustive()
    }
}

/// The streams of who looks at a failed build. What runs there gets others, to and from which bytes are passed.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Standard input.
    pub input: BorrowedFd<'a>,
    /// Standard output.
    pub output: BorrowedFd<'a>,
    /// Standard error; unused with a terminal.
    pub errors: BorrowedFd<'a>,
    /// The kind of terminal (`TERM`) that `input` and `output` are; `None` if they are none.
    pub terminal: Option<&'a str>,
}

/// Why nobody can look at a failed build.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    /// The builder cannot do this, or needs to be told more.
    #[error("{0}")]
    Unsupported(String),
    /// There is nothing to look at, or not any more.
    #[error("{0}")]
    NotKept(String),
    /// Somebody interrupted it.
    #[error("the look at a failed build was interrupted")]
    Interrupted,
    /// The backend itself failed.
    #[error("cannot open the failed build")]
    Backend(#[source] BoxError),
}

impl From<BoxError> for VisitError {
    fn from(e: BoxError) -> Self {
        Self::Backend(e)
    }
}

/// Returns the architecture of this machine's packages.
pub(crate) fn host_architecture() -> Result<Architecture, BoxError> {
    let output = Command::new("dpkg").arg("--print-architecture").run()?;
    Ok(String::from_utf8_lossy(&output).trim().parse()?)
}
