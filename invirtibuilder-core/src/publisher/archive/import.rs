//! From an archive that reprepro or aptly made to suites of ours, without rebuilding.
//!
//! Reads a tree as a client would, checks every file, copies it into our pool, and makes each suite in one switch.
//! Nothing is switched before all of it is checked and in the pool, so whatever is wrong with the tree, readers never
//! hear of it; an import that was interrupted is repeated. Never changes the tree, and never takes the place of what
//! Git knows.

mod choice;
mod files;
mod listing;
mod plan;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::entries::{self, Entries};
use super::release::Release;
use super::switch::{Replacement, Scope};
use super::{Archive, ArchiveError};
use crate::error::{BoxError, PocketError};
use crate::names::{CommitId, PackageName, PocketName, Suite, Version};
use crate::policy::PocketSpec;
use crate::process::ProcessError;
use crate::publisher::Generation;
use files::{Checked, side_by_side};
use plan::{Plan, Served};
use tree::Tree;

pub use choice::{LeftBehind, Reason};

/// What to import, and how.
#[derive(Clone, Debug)]
pub struct Import<'a> {
    /// The directory of the other archive that a web server serves: it has `dists/` and `pool/`.
    pub tree: &'a Path,
    /// A keyring, as gpgv(1) reads it, with the keys that may have signed the suites; `None` to ask for no signature.
    pub keyring: Option<&'a Path>,
    /// Which suites become which pockets'.
    pub suites: Vec<Mapping<'a>>,
    /// How files come into the pool.
    pub placing: Placing,
    /// Whether anything is changed.
    pub run: Run,
    /// What becomes of versions that have no place in a suite of ours.
    pub leftovers: Leftovers,
    /// What becomes of binary packages without their source package.
    pub sourceless: Sourceless,
}

/// A suite of the other archive, and the pocket that gets what is in it.
#[derive(Clone, Debug)]
pub struct Mapping<'a> {
    /// Its directory below `dists/`.
    pub from: Suite,
    /// The pocket.
    pub pocket: &'a PocketSpec,
}

/// How files come into the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placing {
    /// Their bytes are copied.
    #[default]
    Copy,
    /// The pool gets a second name for each file of the other archive, which takes no space: for a tree on the same
    /// file system that nobody writes to in place. reprepro and aptly do not.
    HardLink,
}

/// Whether an import changes anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Run {
    /// It does.
    #[default]
    Import,
    /// It reads and checks all that an import would, and changes nothing.
    Rehearse,
}

/// What becomes of packages that have no place in a suite of ours, such as the lesser of two versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leftovers {
    /// They are left behind, and listed.
    #[default]
    Leave,
    /// Nothing is imported if there are any.
    Refuse,
}

/// What becomes of binary packages whose source package the suite does not have. None is ever imported: what a pocket
/// serves is source packages, with what was built from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sourceless {
    /// Nothing is imported if there are any.
    #[default]
    Refuse,
    /// They are left behind, and listed.
    Leave,
}

/// What Git knows, which an import asks before it believes anything.
pub trait GitFacts {
    /// Returns whether a pocket has a branch of a package.
    ///
    /// # Errors
    /// Git does not answer.
    fn has_branch(&self, pocket: &PocketName, package: &PackageName) -> Result<bool, PocketError>;

    /// Returns whether a package's repository has a commit, and the commit has this version.
    ///
    /// # Errors
    /// Git does not answer.
    fn has_commit(
        &self,
        pocket: &PocketName,
        package: &PackageName,
        version: &Version,
        commit: &CommitId,
    ) -> Result<bool, PocketError>;
}

/// Who vouches for the suites of the other archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vouched {
    /// A key of this keyring.
    ByKeyring(PathBuf),
    /// Nobody was asked for.
    ByNobody,
}

/// What an import did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Who vouches for what was read.
    pub vouched: Vouched,
    /// The suites, in the order that they were asked for in.
    pub suites: Vec<Imported>,
}

impl Report {
    /// Returns whether there were problems, so that nothing was imported.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.suites.iter().any(|it| !it.problems.is_empty())
    }
}

/// What became of one suite of the other archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The suite.
    pub from: Suite,
    /// The pocket that has its packages now.
    pub pocket: PocketName,
    /// The source packages that came, by name.
    pub added: Vec<Added>,
    /// How many source packages the pocket's suite had already, with the same bytes.
    pub unchanged: usize,
    /// What was left behind, and why.
    pub left_behind: Vec<LeftBehind>,
    /// Why nothing was imported; empty if nothing is wrong.
    pub problems: Vec<String>,
    /// How many bytes the files of the packages that came have.
    pub bytes: u64,
    /// The number of the state that the pocket's suite is in since; `None` if nothing was changed.
    pub generation: Option<Generation>,
}

/// A source package that came with its binary packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Added {
    /// The source package.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// How many binary packages came with it.
    pub binaries: usize,
    /// The commit that it was made from, if it names one and the repository has that; `None` for what is not in Git.
    pub commit: Option<CommitId>,
}

/// Why a tree could not be imported at all.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The tree, or the keyring, is not what it should be.
    #[error("{} cannot be imported: {problem}", path.display())]
    Tree {
        /// What was read.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// Nobody who is trusted vouches for a suite.
    #[error("{} is not signed by a key of {}", path.display(), keyring.display())]
    Signature {
        /// The file that should be signed.
        path: PathBuf,
        /// The keyring.
        keyring: PathBuf,
        /// What gpgv said.
        #[source]
        source: ProcessError,
    },
    /// Git did not answer.
    #[error(transparent)]
    Pocket(#[from] PocketError),
    /// Our archive could not be read or changed. What readers are served is whole; repeat the import.
    #[error("cannot use the archive")]
    Archive(#[source] BoxError),
}

impl ImportError {
    fn tree(path: &Path, problem: String) -> Self {
        Self::Tree { path: path.to_owned(), problem }
    }

    fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        Self::tree(path, format!("it cannot be read: {error}"))
    }
}

impl From<ArchiveError> for ImportError {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(Box::new(error))
    }
}

impl Archive {
    /// Brings packages of another archive into suites of this one: all of them, or none if there is a problem.
    ///
    /// Idempotent: what is there already with the same bytes stays as it is. Publications wait until it ends.
    ///
    /// # Errors
    /// The tree cannot be read or is not signed, or this archive cannot be used. What is wrong with single packages
    /// is in the report.
    pub fn import(&self, import: &Import<'_>, git: &dyn GitFacts) -> Result<Report, ImportError> {
        let tree = Tree::open(import.tree, import.keyring)?;
        self.check_placing(&tree, import.placing)?;
        let _lock = match import.run {
            Run::Import => Some(self.lock()?),
            Run::Rehearse => None,
        };
        let mut plans = self.plan_all(&tree, import, git)?;
        let mut checked = Vec::with_capacity(plans.len());
        for plan in &mut plans {
            checked.push(check_files(plan));
        }
        let suites: Vec<Imported> =
            plans.iter().zip(&checked).map(|(plan, checked)| plan.report(checked)).collect();
        let mut report = Report { vouched: tree.vouched(), suites };
        if report.is_refused() || import.run == Run::Rehearse {
            return Ok(report);
        }
        let mut placed = Vec::with_capacity(plans.len());
        for (plan, checked) in plans.iter().zip(&checked) {
            placed.push(self.place(plan, checked, import.placing)?);
        }
        for ((plan, entries), told) in plans.iter().zip(placed).zip(&mut report.suites) {
            if plan.new.is_empty() {
                self.confirm(&plan.suite.suite)?;
                continue;
            }
            let (scope, reason) = (Scope::Indices, plan.reason());
            // The files are in the pool, and synced, by now.
            let (files, paths, directories) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
            let replacement = Replacement { scope, entries, files, paths, directories, reason };
            told.generation = self.switch(&plan.current, replacement)?;
        }
        Ok(report)
    }

    /// Refuses hard links where there can be none, before anything is done.
    fn check_placing(&self, tree: &Tree, placing: Placing) -> Result<(), ImportError> {
        use std::os::unix::fs::MetadataExt;
        if placing == Placing::Copy {
            return Ok(());
        }
        let device = |path: &Path| path.metadata().map(|it| it.dev());
        let theirs = device(tree.root()).map_err(|e| ImportError::unreadable(tree.root(), &e))?;
        let ours = device(&self.directory).map_err(ArchiveError::read(&self.directory))?;
        if theirs == ours {
            return Ok(());
        }
        let problem =
            "it is not on the file system of the archive, so its files cannot be hard-linked; copy them";
        Err(ImportError::tree(tree.root(), problem.to_owned()))
    }

    /// Reads the suites and decides what would become of them.
    fn plan_all<'a>(
        &'a self,
        tree: &Tree,
        import: &Import<'_>,
        git: &dyn GitFacts,
    ) -> Result<Vec<Plan<'a>>, ImportError> {
        let mut reserved = plan::Reserved::default();
        for suite in self.suites.values().filter(|it| it.reserves_versions) {
            if let Some(release) = self.release(&suite.suite)? {
                let served = Served::of(&self.all_entries(&suite.suite, &release)?);
                reserved.add_served(&suite.suite, &served);
            }
        }
        let mut plans: Vec<Plan<'a>> = Vec::new();
        for Mapping { from, pocket } in &import.suites {
            if plans.iter().any(|it| it.suite.suite == pocket.suite) {
                let problem = format!(
                    "two of its suites should go to {}; import them one after the other",
                    pocket.name
                );
                return Err(ImportError::tree(tree.root(), problem));
            }
            let current = self.current(self.suite(&pocket.suite)?)?;
            let existing = match &current.release {
                Some(release) => self.all_entries(&pocket.suite, release)?,
                None => Entries::new(),
            };
            let choice = choice::choose(tree.read(from)?);
            let mut plan = Plan::new(from, pocket, current, existing);
            plan.take(choice, git)?;
            plan.apply(import.leftovers, import.sourceless);
            plan.check_versions(&mut reserved);
            plans.push(plan);
        }
        Ok(plans)
    }

    /// Reads all that a suite serves.
    fn all_entries(&self, suite: &Suite, release: &Release) -> Result<Entries, ArchiveError> {
        let damaged = |e| ArchiveError::damaged(&self.suite_directory(suite), e);
        let mut entries = Entries::new();
        for path in release.indices() {
            let stanzas = self.published(suite, release, &path)?.all().map_err(damaged)?;
            entries.insert(path, stanzas);
        }
        Ok(entries)
    }

    /// Brings the files of a plan into the pool, and returns all entries of the indices that change.
    fn place(&self, plan: &Plan<'_>, checked: &[Checked], placing: Placing) -> Result<Entries, ImportError> {
        let mut entries = Entries::new();
        files::place(self, checked, placing, |placed| {
            for (path, stanzas) in placed {
                let old = || plan.existing.get(&path).cloned().unwrap_or_default();
                entries.entry(path.clone()).or_insert_with(old).extend(stanzas);
            }
        })?;
        entries::sort(&mut entries);
        Ok(entries)
    }
}

/// Reads and checks the files of a plan's packages, several at a time. What is wrong becomes a problem of the plan.
fn check_files(plan: &mut Plan<'_>) -> Vec<Checked> {
    if !plan.problems.is_empty() {
        return Vec::new();
    }
    let results = side_by_side(&plan.new, |it| Checked::new(plan.suite, &it.chosen, it.commit.as_ref()));
    let mut checked = Vec::with_capacity(results.len());
    for result in results {
        match result {
            Ok(it) => checked.push(it),
            Err(problem) => plan.problems.push(problem),
        }
    }
    checked
}
