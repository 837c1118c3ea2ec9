//! Native source packages, straight from a commit's tree.
//!
//! The bytes of the source package's files are the bytes of the commit's blobs. Never evaluates an attribute, a
//! filter or a setting of the tree, and never follows a link in it.

use std::path::{Path, PathBuf};

use crate::durable;
use crate::error::{BoxError, ExportError};
use crate::exporter::Exporter;
use crate::repository::{Repositories, Repository, RepositoryError, object_id};
use crate::states::BuildPlan;

mod dpkg;
mod format;
mod tree;

pub use tree::TreeLimits;

/// Where the tree is written, below the directory of the result; removed in the end.
const WORK: &str = ".export";
/// The latest time that files get, the year 2100: what is later is a mistake, and formats differ about it.
const MAX_TIME: i64 = 4_102_444_800;

/// Makes source packages of the formats `3.0 (native)` and `1.0` without a revision (dpkg-source(1)).
#[derive(Clone, Debug)]
pub struct NativeExporter {
    repositories: Repositories,
    limits: TreeLimits,
}

impl NativeExporter {
    /// Makes an exporter for the packages of these repositories.
    #[must_use]
    pub fn new(repositories: Repositories, limits: TreeLimits) -> Self {
        Self { repositories, limits }
    }

    fn make(&self, plan: &BuildPlan, into: &Path, work: &Path) -> Result<PathBuf, Problem> {
        let gone = |what: &str| Problem::Tree(format!("{what} is gone; push it again and submit it again"));
        let repository = self.repositories.find(plan.package())?.ok_or_else(|| gone("its repository"))?;
        let id = object_id(plan.commit()).ok_or_else(|| gone("the commit"))?;
        let (tree, time) = read_commit(&repository, id)?;
        let format = format::read(&repository, tree, plan.version())?;
        let entries = tree::list(&repository, tree, &self.limits)?;
        let top = work.join(format!("{}-{}", plan.package(), plan.version().upstream()));
        durable::scratch::create_directory(work, 0o755)?;
        tree::write(&repository, &entries, &top, time)?;
        dpkg::build_source(plan, format, into, &top, time)
    }
}

fn read_commit(repository: &Repository, id: gix::ObjectId) -> Result<(gix::ObjectId, i64), Problem> {
    if repository.kind(id)? != Some(gix::objs::Kind::Commit) {
        return Err(Problem::Tree("there is no such commit; push it again and submit it again".to_owned()));
    }
    let commit = repository.commit(id)?;
    let time = commit.time.ok_or_else(|| {
        Problem::Tree("the commit has no well-formed committer line; commit it again with git".to_owned())
    })?;
    Ok((commit.tree, time.clamp(0, MAX_TIME)))
}

impl Exporter for NativeExporter {
    fn export(&self, plan: &BuildPlan, into: &Path) -> Result<PathBuf, ExportError> {
        let work = into.join(WORK);
        let made = self.make(plan, into, &work);
        let removed = durable::remove_directory(&work);
        match made {
            Err(Problem::Tree(problem)) => Err(ExportError::Malformed {
                package: plan.package().clone(),
                commit: plan.commit().clone(),
                problem,
            }),
            Err(Problem::Backend(e)) => Err(ExportError::Backend(e)),
            Ok(dsc) => removed.map(|()| dsc).map_err(|e| ExportError::Backend(e.into())),
        }
    }
}

/// Why there is no source package.
#[derive(Debug)]
enum Problem {
    /// The tree is at fault: what is wrong, and what to do.
    Tree(String),
    /// This machine is at fault.
    Backend(BoxError),
}

impl From<RepositoryError> for Problem {
    fn from(e: RepositoryError) -> Self {
        Self::Backend(e.into())
    }
}

impl From<durable::DurableError> for Problem {
    fn from(e: durable::DurableError) -> Self {
        Self::Backend(e.into())
    }
}
