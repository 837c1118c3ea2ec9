//! Exporters: from a commit to a source package.

pub mod native;

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use crate::error::ExportError;
use crate::states::BuildPlan;

/// Turns a commit into a Debian source package.
///
/// # Contract
/// - Writes only below `into`, an empty directory, and leaves there the `.dsc` and the files that it names.
/// - The same commit gives the same bytes, on any machine and as any user.
/// - Nothing in the commit's tree is evaluated: no attribute, filter, hook, configuration or program.
/// - What is at fault in the tree is [`ExportError::Malformed`], with what to do.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait Exporter: Debug + Send + Sync {
    /// Writes the source package into `into` and returns the path of its `.dsc`.
    fn export(&self, plan: &BuildPlan, into: &Path) -> Result<PathBuf, ExportError>;
}
