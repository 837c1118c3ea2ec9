//! Source packages of every kind, straight from a commit's tree.
//!
//! Debian's part of a source package has the bytes of the commit's blobs; upstream's part is a tarball that the
//! archive has, that `pristine-tar` gives back, or that is made of an upstream tag, and that is proven to hold what the
//! commit holds. Never evaluates an attribute, a filter, a hook or a setting of the tree, and never follows a link in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::durable;
use crate::error::{BoxError, ExportError};
use crate::exporter::{Exported, Exporter};
use crate::repository::{Repositories, Repository, RepositoryError, object_id};
use crate::states::BuildPlan;

mod compare;
mod confinement;
mod diff;
mod dsc;
mod format;
mod gbp;
mod listing;
mod notes;
mod origs;
mod patched;
mod pristine;
mod single_patch;
mod snapshot;
mod tarball;
mod tree;
mod upstream;

pub use confinement::Confinement;
pub(crate) use confinement::run_apart;
pub(crate) use listing::{ORIGS as LISTINGS, extract as extract_orig};
pub(crate) use origs::OrigName;
pub use origs::{NoOrigs, OrigSource, Origs};
pub use tree::TreeLimits;

use format::Format;

/// Where things are written, below the directory of the result; removed in the end.
const WORK: &str = ".export";
/// The latest time that files get, the year 2100: what is later is a mistake, and formats differ about it.
const MAX_TIME: i64 = 4_102_444_800;

/// Makes source packages of the formats `3.0 (native)`, `3.0 (quilt)` and `1.0` (dpkg-source(1)).
#[derive(Clone, Debug)]
pub struct SourceExporter {
    repositories: Repositories,
    limits: TreeLimits,
    origs: Arc<dyn Origs>,
    order: Vec<OrigSource>,
    confinement: Option<Confinement>,
    cache: Option<PathBuf>,
    hosted: Vec<String>,
}

impl SourceExporter {
    /// Makes an exporter for the packages of these repositories.
    ///
    /// It knows no archive and has no walls: upstream tarballs come from upstream tags alone.
    #[must_use]
    pub fn new(repositories: Repositories, limits: TreeLimits) -> Self {
        let order = OrigSource::ALL.to_vec();
        Self {
            repositories,
            limits,
            origs: Arc::new(NoOrigs),
            order,
            confinement: None,
            cache: None,
            hosted: Vec::new(),
        }
    }

    /// Takes upstream tarballs that are there already from an archive, before anything else.
    #[must_use]
    pub fn with_origs(self, origs: Arc<dyn Origs>) -> Self {
        Self { origs, ..self }
    }

    /// Sets where upstream tarballs are looked for, and in which order.
    #[must_use]
    pub fn with_order(self, order: Vec<OrigSource>) -> Self {
        Self { order, ..self }
    }

    /// Sets where programs are run whose input somebody else wrote: `pristine-tar`, and what applies patches.
    #[must_use]
    pub fn with_confinement(self, confinement: Confinement) -> Self {
        Self { confinement: Some(confinement), ..self }
    }

    /// Sets a directory for what was found out about upstream tarballs, by their SHA-256 sums.
    #[must_use]
    pub fn with_cache(self, cache: &Path) -> Self {
        Self { cache: Some(cache.to_owned()), ..self }
    }

    /// Sets the URLs under which people reach the hosted repositories, each with `{package}` in the place of the
    /// package's name, so that `Vcs-Git` can be compared with them.
    #[must_use]
    pub fn with_hosted(self, hosted: Vec<String>) -> Self {
        Self { hosted, ..self }
    }

    fn make(&self, plan: &BuildPlan, into: &Path, work: &Path) -> Result<Exported, Problem> {
        let gone = |what: &str| Problem::Tree(format!("{what} is gone; push it again and submit it again"));
        let repository = self.repositories.find(plan.package())?.ok_or_else(|| gone("its repository"))?;
        let id = object_id(plan.commit()).ok_or_else(|| gone("the commit"))?;
        let (tree, time) = read_commit(&repository, id)?;
        let facts = format::read(&repository, tree, time, plan)?;
        let entries = tree::list(&repository, tree, &self.limits)?;
        durable::scratch::create_directory(work, 0o755)?;
        let mut export =
            Export { exporter: self, plan, repository, entries, time, facts, into, work, notes: Vec::new() };
        export.note_origin();
        let files = match export.facts.format {
            Format::Native => export.make_native()?,
            Format::NativeOne => export.make_native_one()?,
            Format::Quilt => export.make_quilt()?,
            Format::One => export.make_one()?,
        };
        let dsc = dsc::write(&export, &files)?;
        Ok(Exported { dsc, notes: export.notes })
    }
}

/// One commit on its way to a source package.
struct Export<'a> {
    exporter: &'a SourceExporter,
    plan: &'a BuildPlan,
    repository: Repository,
    /// All of the tree.
    entries: Vec<tree::Listed>,
    time: i64,
    facts: format::Facts,
    into: &'a Path,
    work: &'a Path,
    notes: Vec<String>,
}

impl Export<'_> {
    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Returns the beginning of the names of all files but the upstream tarballs.
    fn stem(&self) -> String {
        format!("{}_{}", self.plan.package(), self.plan.version().without_epoch())
    }

    /// Returns the name of the directory that a tarball has everything in.
    fn top(&self) -> String {
        format!("{}-{}", self.plan.package(), self.plan.version().upstream())
    }

    /// Files whose bytes are not those of the commit: the changelog of a snapshot.
    fn replaced(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let changelog = self.facts.new_changelog.clone();
        changelog.into_iter().map(|it| (b"debian/changelog".to_vec(), it)).collect()
    }

    fn packing<'b>(&'b self, replaced: &'b BTreeMap<Vec<u8>, Vec<u8>>) -> tarball::Packing<'b> {
        tarball::Packing { repository: &self.repository, time: self.time, replaced }
    }

    fn make_native(&mut self) -> Result<Vec<String>, Problem> {
        let name = format!("{}.tar.xz", self.stem());
        let all: Vec<&tree::Listed> = self.entries.iter().collect();
        self.packing(&self.replaced()).xz(&all, &self.top(), tarball::LEVEL, &self.into.join(&name))?;
        Ok(vec![name])
    }

    fn make_native_one(&mut self) -> Result<Vec<String>, Problem> {
        let name = format!("{}.tar.gz", self.stem());
        let all: Vec<&tree::Listed> = self.entries.iter().collect();
        self.packing(&self.replaced()).gz(&all, &self.top(), &self.into.join(&name))?;
        Ok(vec![name])
    }

    fn make_quilt(&mut self) -> Result<Vec<String>, Problem> {
        self.check_series()?;
        let origs = self.find_origs()?;
        let compare::Besides { added, patch } = self.compare(&origs)?;
        let name = format!("{}.debian.tar.xz", self.stem());
        let is_in = |it: &&tree::Listed| tree::is_in(&it.path, b"debian") || added.contains(&it.path);
        let ours: Vec<tree::Listed> = self.entries.iter().filter(is_in).cloned().collect();
        let ours = single_patch::with_made(ours, &patch);
        let ours: Vec<&tree::Listed> = ours.iter().collect();
        let replaced = self.replaced().into_iter().chain(patch).collect();
        self.packing(&replaced).xz(&ours, "", tarball::LEVEL, &self.into.join(&name))?;
        let mut files: Vec<String> = origs.into_iter().map(|it| it.name.to_string()).collect();
        files.push(name);
        Ok(files)
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

impl Exporter for SourceExporter {
    fn export(&self, plan: &BuildPlan, into: &Path) -> Result<Exported, ExportError> {
        let work = into.join(WORK);
        let made = self.make(plan, into, &work);
        let removed = durable::remove_directory(&work);
        if made.is_err()
            && let Ok(left) = std::fs::read_dir(into)
        {
            left.filter_map(Result::ok).for_each(|it| durable::discard(&it.path()));
        }
        match made {
            Err(Problem::Tree(problem)) => Err(ExportError::Malformed {
                package: plan.package().clone(),
                commit: plan.commit().clone(),
                problem,
            }),
            Err(Problem::Backend(e)) => Err(ExportError::Backend(e)),
            Ok(made) => removed.map(|()| made).map_err(|e| ExportError::Backend(e.into())),
        }
    }
}

/// Why there is no source package.
#[derive(Debug)]
pub(crate) enum Problem {
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

/// Returns text that people wrote, safe to print and short.
fn shown(text: &str) -> String {
    const SHOWN: usize = 400;
    let mut shown = String::new();
    for c in text.chars().take(SHOWN) {
        match c {
            '\n' => shown.push(' '),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// Returns a path of a tree, safe to print and short.
fn shown_path(path: &[u8]) -> String {
    const SHOWN: usize = 120;
    let text = path.get(..SHOWN).unwrap_or(path).escape_ascii();
    let more = if path.len() > SHOWN { "…" } else { "" };
    format!("{text}{more}")
}
