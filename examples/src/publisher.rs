//! A publisher of flat, unsigned repositories: one directory a suite, and one symbolic link that is switched.
//!
//! ```text
//! <root>/pool/<package>/<sha256>/…       the files that one .dsc or one .changes names, and itself
//! <root>/<suite>/<n>/Packages, Sources   a generation: what the suite served from one publication to the next
//! <root>/<suite>/current                 a link to the generation that is served
//! ```
//!
//! apt reads it as `deb [trusted=yes] file:<root> <suite>/current/`. Good for a build machine's own packages. Never
//! removes anything from the pool, and signs nothing: `publisher::archive` of the library does both, and costs far
//! less where a suite is large.
//!
//! The contract of [`Publisher`] is met in the places that are marked with its words in quotation marks.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use invirtibuilder_core::control::{Changes, SourceControl};
use invirtibuilder_core::durable::{self, DurableError, Lock};
use invirtibuilder_core::error::PublishError;
use invirtibuilder_core::job::Artifact;
use invirtibuilder_core::names::{PackageName, Suite};
use invirtibuilder_core::policy::Held;
use invirtibuilder_core::publisher::{Generation, Owners, Publisher};
use invirtibuilder_core::states::{BuildArtifacts, BuildPlan, CopyPlan};

mod index;

use index::Index;

/// The link that readers follow.
const CURRENT: &str = "current";

/// The directory of all suites. Suites are made when something is first published in them.
#[derive(Clone, Debug)]
pub struct FlatArchive {
    root: PathBuf,
}

impl FlatArchive {
    /// Takes a directory, and makes it if there is none.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(root: &Path) -> Result<Self, DurableError> {
        durable::create_directory(root)?;
        Ok(Self { root: root.to_owned() })
    }

    /// Returns the line of a `sources.list` that apt reads a suite by.
    #[must_use]
    pub fn sources_line(&self, suite: &Suite) -> String {
        format!("deb [trusted=yes] file:{} {suite}/{CURRENT}/", self.root.display())
    }

    /// Reads what readers are served, and nothing else: no file of this publisher's own says what it has done.
    fn served(&self, suite: &Suite) -> Result<Index, PublishError> {
        let current = self.root.join(suite.as_str()).join(CURRENT);
        // The link is followed once, so that both indices are of one generation.
        let generation = match fs::read_link(&current) {
            Ok(target) => self.root.join(suite.as_str()).join(target),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Index::default()),
            Err(e) => return Err(backend(e)),
        };
        Index::read(&generation).map_err(backend)
    }

    /// Changes what a suite serves, with everybody else waiting.
    fn change(&self, plan: &BuildPlan, fresh: Index) -> Result<Option<Generation>, PublishError> {
        let served = self.served(plan.suite())?;
        let old = served.of(plan.package());
        // "Repeating one that succeeded succeeds and changes nothing."
        if old == fresh {
            return Ok(None);
        }
        let has_version = old.held().iter().any(|it| it.version.as_str() == plan.version().as_str());
        if has_version && !plan.pocket().policy.allow_backtracking {
            // "One that is refused has changed nothing": nothing that an index names, at least.
            return Err(PublishError::Conflict {
                suite: plan.suite().clone(),
                package: plan.package().clone(),
                version: plan.version().clone(),
                problem: "it serves other files under this version".to_owned(),
            });
        }
        // "Both refuse a binary package whose name the suite serves from another source package": here, with
        // everybody else waiting, nobody can take the name in between.
        for (binary, sources) in served.owners(&fresh.names()) {
            if let Some(owner) = sources.into_iter().find(|it| it != plan.package()) {
                let (suite, package) = (plan.suite().clone(), plan.package().clone());
                return Err(PublishError::Owned { suite, package, binary, owner });
            }
        }
        // Its generations come and go, so nobody is told their numbers.
        self.switch(plan.suite(), &served.with(plan.package(), fresh)).map_err(backend).map(|()| None)
    }

    /// Makes the next generation, and the link to it.
    fn switch(&self, suite: &Suite, index: &Index) -> Result<(), DurableError> {
        let directory = self.root.join(suite.as_str());
        let current = directory.join(CURRENT);
        let number = |path: &Path| path.to_str().and_then(|it| it.parse::<u64>().ok());
        let last = fs::read_link(&current).ok().as_deref().and_then(number).unwrap_or(0);
        let next = PathBuf::from((last + 1).to_string());
        // What has the number already was begun by somebody who died before the link was switched.
        durable::remove_directory(&directory.join(&next))?;
        index.write(&directory.join(&next))?;
        // "All of the old or all of the new": rename(2) replaces the link in one step, and `durable` syncs it.
        let staged = directory.join(".current");
        durable::remove_file(&staged)?;
        durable::scratch::symlink(&next, &staged)?;
        durable::rename(&staged, &current)?;
        // A reader that followed the link a moment ago still finds the generation before this one.
        match last.checked_sub(1) {
            Some(old) if old > 0 => durable::remove_directory(&directory.join(old.to_string())),
            _ => Ok(()),
        }
    }

    /// Copies the files of a `.dsc` or `.changes`, which is the first of them, into the pool, and returns where
    /// they are, relative to the root.
    ///
    /// The directory's name is the hash of a file that has the hashes of all others: where there is one, it has
    /// these bytes, and it is never written again.
    fn store(&self, package: &PackageName, from: &Path, files: &[Artifact]) -> Result<PathBuf, PublishError> {
        let name = files.first().map(|it| it.sha256.clone()).unwrap_or_default();
        let place = Path::new("pool").join(package.as_str()).join(name);
        let target = self.root.join(&place);
        if target.is_dir() {
            return Ok(place);
        }
        let staged = target.with_extension("new");
        durable::remove_directory(&staged).map_err(backend)?;
        durable::create_directory(&staged).map_err(backend)?;
        for file in files {
            let name = file.name.as_str();
            durable::copy(&from.join(name), &staged.join(name)).map_err(backend)?;
        }
        // What was copied is what core has checked, whatever happened to the files in between.
        let first = staged.join(files.first().map(|it| it.name.as_str()).unwrap_or_default());
        let copied = if first.extension().is_some_and(|it| it == "dsc") {
            SourceControl::read(&first).map(|it| it.files().to_vec())
        } else {
            Changes::read(&first).map(|it| it.files().to_vec())
        };
        if copied.map_err(backend)? != files {
            return Err(backend(format!("{} changed while it was copied", from.display())));
        }
        durable::rename(&staged, &target).map_err(backend)?;
        Ok(place)
    }

    fn lock(&self) -> Result<Lock, PublishError> {
        Lock::wait(&self.root.join(".lock")).map_err(backend)
    }
}

impl Publisher for FlatArchive {
    /// Nothing is made in advance: a suite that has no index serves nothing.
    fn prepare(&self) -> Result<(), PublishError> {
        Ok(())
    }

    fn publish(&self, artifacts: &BuildArtifacts) -> Result<Option<Generation>, PublishError> {
        let (plan, source) = (artifacts.plan(), artifacts.source());
        let _lock = self.lock()?;
        // "Every file is in the pool before an index names it."
        let place = self.store(plan.package(), source.directory(), source.files())?;
        let mut fresh = Index::default();
        fresh.add_source(source, &place);
        for build in artifacts.builds() {
            let place = self.store(plan.package(), build.directory(), build.files())?;
            for binary in build.binaries() {
                fresh.add_binary(binary, &place);
            }
        }
        self.change(plan, fresh)
    }

    /// "The bytes of a copy are the bytes of its original": they are in the pool already, and both suites name the
    /// same files.
    fn copy(&self, copy: &CopyPlan) -> Result<Option<Generation>, PublishError> {
        let plan = copy.plan();
        let is_wanted = |index: &Index| {
            index.held().iter().any(|held| {
                held.version.as_str() == plan.version().as_str()
                    && held.commit.as_ref() == Some(plan.commit())
            })
        };
        let _lock = self.lock()?;
        let original = self.served(&copy.from().suite)?.of(plan.package());
        if is_wanted(&original) {
            return self.change(plan, original);
        }
        // The other suite may have moved on after this copy was made, and before somebody heard of it.
        if is_wanted(&self.served(plan.suite())?.of(plan.package())) {
            return Ok(None);
        }
        Err(PublishError::NotHeld {
            suite: copy.from().suite.clone(),
            package: plan.package().clone(),
            version: plan.version().clone(),
        })
    }

    fn held(&self, suite: &Suite, package: &PackageName) -> Result<Option<Held>, PublishError> {
        Ok(self.served(suite)?.of(package).held().pop())
    }

    fn contents(&self, suite: &Suite) -> Result<Vec<Held>, PublishError> {
        Ok(self.served(suite)?.held())
    }

    fn owners(&self, suite: &Suite, binaries: &BTreeSet<PackageName>) -> Result<Owners, PublishError> {
        Ok(self.served(suite)?.owners(binaries))
    }
}

/// What is nobody's fault but the disk's: the worker stops, or tries again, depending on how far the job is.
fn backend(e: impl Into<invirtibuilder_core::error::BoxError>) -> PublishError {
    PublishError::Backend(e.into())
}
