//! Pockets: lines of development, each one Git branch and one APT suite.

pub mod git;
pub mod locks;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use crate::error::PocketError;
use crate::job::Publication;
use crate::names::{CommitId, PackageName, Principal, Version};
use crate::policy::{Head, PocketSpec, Survey};
use crate::repair::Repair;
use crate::rollback::RolledBack;
use crate::states::Published;

/// The Git side of one pocket, and the policy that guards it.
///
/// # Contract
/// - `survey`, `contents` and `history` only look. `survey` answers for any package name and commit id: what is
///   missing or malformed is a fact in its answer, not an error. Nothing that a repository holds (replace refs,
///   grafts, alternates, attributes) changes what a commit id means.
/// - `record` moves a branch only from where the plan expected it; with the branch, in one transaction, it makes
///   the version's tag where the pocket makes tags; then it records the publication in the superproject. It is
///   idempotent, and durable and complete when it returns.
/// - `record_rollback` moves each branch that the rollback names, back or forth, from where the rollback expected
///   it; it makes or deletes the branch where the old or the new generation does not have the package, and leaves
///   all tags. Then one commit of the superproject records all of it, which `history` tells as one publication a
///   package. It is idempotent, and durable and complete when it returns.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait Pocket: Debug + Send + Sync {
    /// Returns the pocket's name, branch, suite and policy.
    fn spec(&self) -> &PocketSpec;
    /// Reads what Git knows about a commit as a candidate for this pocket.
    fn survey(&self, package: &PackageName, commit: &CommitId) -> Result<Survey, PocketError>;
    /// Makes Git agree with the archive.
    fn record(&self, published: &Published) -> Result<(), PocketError>;
    /// Makes Git agree with a suite that serves again what it served in an earlier generation.
    fn record_rollback(&self, rolled_back: &RolledBack) -> Result<(), PocketError>;
    /// Mends one difference from the archive, in the name of somebody. It is idempotent, and durable when it returns; it
    /// moves a branch only from where the repair expects it, and keeps where it was reachable.
    fn repair(&self, repair: &Repair, by: &Principal) -> Result<(), PocketError> {
        let _ = (repair, by);
        Err(PocketError::Backend("these repositories cannot be repaired by this program".into()))
    }
    /// Reads what Git says that this pocket holds.
    fn contents(&self) -> Result<PocketContents, PocketError>;
    /// Reads the publications of this pocket from the superproject, the latest first, at most `limit`.
    fn history(&self, limit: usize) -> Result<Vec<Publication>, PocketError>;
}

/// What Git says that a pocket holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PocketContents {
    /// The head of the pocket's branch in each package's repository that has one.
    pub branches: BTreeMap<PackageName, Head>,
    /// The submodule entries on the pocket's branch of the superproject.
    pub superproject: BTreeMap<PackageName, SuperprojectEntry>,
    /// The publications whose version has no annotated tag by the tagger at its commit, though rule G3 wants one.
    pub untagged: BTreeSet<Untagged>,
}

/// A submodule of the superproject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuperprojectEntry {
    /// The commit that the gitlink names.
    pub commit: CommitId,
    /// The URL that `.gitmodules` has for it; `None` if it has none.
    pub url: Option<String>,
}

/// A published version that lacks its tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Untagged {
    /// The package.
    pub package: PackageName,
    /// The version.
    pub version: Version,
    /// The tag that should be there.
    pub tag: String,
    /// The commit that it should name.
    pub commit: CommitId,
    /// What is there instead.
    pub found: String,
}
