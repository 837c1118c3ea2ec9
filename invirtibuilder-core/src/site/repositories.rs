//! The hosted repositories, for the frontends: making them, and what is installed in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Site, SiteError, parts};
use crate::audit::{Entry, Happened};
use crate::names::{PackageName, Principal};
use crate::repository::{self, Imported};

impl Site {
    /// Makes a package's repository, empty with the branches and tags of another, or made of a
    /// source package where `import` ends with `.dsc`. Its hooks call this
    /// `program` with this configuration `file`.
    pub fn create_repository(
        &self,
        package: &PackageName,
        import: Option<&str>,
        by: &Principal,
        (program, file): (&Path, &Path),
    ) -> Result<Option<Imported>, SiteError> {
        let calls = repository::Hooks { program: program.to_owned(), config: file.to_owned() };
        let repositories = self.git.repositories();
        let imported = match import {
            Some(from) if from.ends_with(".dsc") => {
                let confinement = parts::confinement(&self.config);
                let policy = self.git.push_policy();
                Some(repositories.import_source(package, Path::new(from), &calls, &policy, &confinement)?)
            }
            Some(from) => Some(repositories.import(package, from, &calls, &self.git.push_policy())?),
            None => repositories.create(package, &calls).map(|_| None)?,
        };
        self.tell_of_repository(package, by)?;
        Ok(imported)
    }

    /// Installs the hooks and settings of packages' repositories anew, of all if none is named, and returns what was not as
    /// it should be, by package. Its hooks call this `program` with this configuration `file`.
    ///
    /// # Errors
    /// There is no such repository, or it cannot be written.
    pub fn refresh_repositories(
        &self,
        packages: &[PackageName],
        by: &Principal,
        (program, file): (&Path, &Path),
    ) -> Result<BTreeMap<PackageName, Vec<String>>, SiteError> {
        let calls = repository::Hooks { program: program.to_owned(), config: file.to_owned() };
        let repositories = self.git.repositories();
        let all = if packages.is_empty() { repositories.list()? } else { packages.to_vec() };
        let mut refreshed = BTreeMap::new();
        for package in all {
            let changed = repositories.refresh(&package, &calls)?;
            if changed.is_empty() {
                continue;
            }
            let entry = Entry {
                package: Some(package.clone()),
                principal: Some(by.clone()),
                ..Entry::new(Happened::Repaired)
            };
            self.record(entry.with("installed", changed.join(", ")))?;
            refreshed.insert(package, changed);
        }
        Ok(refreshed)
    }

    /// Returns the packages that have a repository.
    pub fn repositories(&self) -> Result<Vec<PackageName>, SiteError> {
        Ok(self.git.repositories().list()?)
    }

    /// Returns where a package's repository is, whether or not it exists.
    #[must_use]
    pub fn repository_path(&self, package: &PackageName) -> PathBuf {
        self.git.repositories().path(package)
    }
}
