//! Builders: from a source package to binary packages.

pub mod account;
pub mod base;
pub mod limits;
pub mod overlay;
mod results;
pub mod sbuild;
pub mod scratch;
pub mod walls;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{BoxError, BuildError};
use crate::names::{Architecture, BaseName, PackageName};
use crate::process::Command;
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
}

/// Returns the architecture of this machine's packages.
fn host_architecture() -> Result<Architecture, BoxError> {
    let output = Command::new("dpkg").arg("--print-architecture").run()?;
    Ok(String::from_utf8_lossy(&output).trim().parse()?)
}
