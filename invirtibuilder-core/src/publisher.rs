//! Publishers: what the archive serves.

pub mod archive;

use std::fmt::Debug;

use crate::error::PublishError;
use crate::names::{PackageName, Suite};
use crate::policy::Held;
use crate::states::{BuildArtifacts, CopyPlan};

/// Changes what the archive serves, and says what it does serve.
///
/// # Contract
/// - `publish` and `copy` replace what the suite had of the source package, source and all binaries in one
///   switch: a reader sees all of the old or all of the new. Every file is in the pool before an index names it.
/// - Both are idempotent: repeating one that succeeded succeeds and changes nothing.
/// - Both are durable when they return. One that is refused has changed nothing.
/// - The bytes of a copy are the bytes of its original.
/// - `held` and `contents` read what readers are served, not what the publisher remembers having done.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait Publisher: Debug + Send + Sync {
    /// Adds built packages to the plan's suite.
    fn publish(&self, artifacts: &BuildArtifacts) -> Result<(), PublishError>;
    /// Copies a version from another suite into the plan's suite.
    fn copy(&self, plan: &CopyPlan) -> Result<(), PublishError>;
    /// Reads what a suite serves of a source package; `None` if nothing.
    fn held(&self, suite: &Suite, package: &PackageName) -> Result<Option<Held>, PublishError>;
    /// Reads all source packages that a suite serves, in order of their names; empty if there is no such suite.
    fn contents(&self, suite: &Suite) -> Result<Vec<Held>, PublishError>;
}
