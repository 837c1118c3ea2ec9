//! Examiners: they ask what a pocket's gates ask of packages that could be built.
//!
//! An examiner only says what it found. What that means, [`crate::policy`] decides.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::control::BinaryControl;
use crate::error::BuildError;
use crate::names::Architecture;
use crate::policy::{Finding, GateKind};
use crate::states::SourcePackage;
use crate::stop::Interrupt;

/// Asks about a source package and its binary packages, before anybody else sees them.
///
/// # Contract
/// - Writes only to `log`, and changes no file of the subject.
/// - What runs code of a package, runs it where a build would run, or behind thicker walls.
/// - A fault is something that is wrong with the packages. An environment that fails is an error: of the moment
///   ([`BuildError::GivenBack`]), or of the machine ([`BuildError::Backend`]).
/// - The same subject in the same environment gives the same findings, so that a job that was interrupted can be
///   worked again.
/// - When it returns, however it does, no process and no environment of the examination is left.
/// - Ends soon after `interrupt` says so, with [`BuildError::Interrupted`].
#[cfg_attr(feature = "mocks", mockall::automock)]
#[allow(unused_parens, reason = "the mock of a trait object with two bounds has some")]
pub trait Examiner: Debug + Send + Sync {
    /// Returns what a gate finds, in an order that does not change. Never called with [`GateKind::Rebuild`] and
    /// [`GateKind::Reproducibility`], for which the pipeline builds again.
    fn examine<'a>(
        &self,
        gate: GateKind,
        subject: &Subject,
        log: &mut (dyn Write + Send + 'a),
        interrupt: &(dyn Interrupt + 'a),
    ) -> Result<Vec<Finding>, BuildError>;
}

/// What is examined. Its plan names the pocket whose gates ask.
#[derive(Debug)]
pub struct Subject {
    /// The source package.
    pub source: SourcePackage,
    /// The binary packages, of all architectures.
    pub binaries: Vec<Examined>,
    /// The paragraphs of the binary packages that the pocket's suite will serve beside these, for each architecture.
    /// Only there for [`GateKind::Installability`].
    pub beside: BTreeMap<Architecture, Vec<String>>,
}

/// A binary package that is examined.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The directory that it lies in.
    pub directory: PathBuf,
    /// What it says, and its sums.
    pub control: BinaryControl,
}

impl Examined {
    /// Returns where it lies.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.join(self.name())
    }

    /// Returns the name of its file.
    #[must_use]
    pub fn name(&self) -> &Path {
        Path::new(self.control.artifact().name.as_str())
    }

    /// Returns whether it is for the installer only, which no machine installs (Debian Policy 5.6.7.. `udeb`).
    #[must_use]
    pub fn is_for_installer(&self) -> bool {
        self.control.package_type() == Some("udeb") || self.name().extension().is_some_and(|it| it == "udeb")
    }
}
