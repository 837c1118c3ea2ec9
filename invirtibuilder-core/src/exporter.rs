//! Exporters: from a commit to a source package.

pub mod source;

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use crate::error::ExportError;
use crate::states::BuildPlan;

/// Turns a commit into a Debian source package.
///
/// # Contract
/// - Writes only below `into`, an empty directory, and leaves there the `.dsc` and the files that it names.
/// - The same commit gives the same bytes, on any machine and as any user; an upstream tarball that the archive holds
///   already has the archive's bytes.
/// - Nothing in the commit's tree is evaluated: no attribute, filter, hook, configuration or program.
/// - What is at fault in the tree is [`ExportError::Malformed`], with what to do.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait Exporter: Debug + Send + Sync {
    /// Writes the source package into `into` and says where its `.dsc` is.
    fn export(&self, plan: &BuildPlan, into: &Path) -> Result<Exported, ExportError>;
}

/// What an exporter made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The path of the `.dsc`.
    pub dsc: PathBuf,
    /// What people should know of how it was made, a sentence each, such as where the upstream tarball comes from.
    pub notes: Vec<String>,
}

impl From<PathBuf> for Exported {
    fn from(dsc: PathBuf) -> Self {
        Self { dsc, notes: Vec::new() }
    }
}
