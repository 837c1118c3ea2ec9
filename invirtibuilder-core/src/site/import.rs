//! The packages of another archive in this site's pockets: `archive import`.
//!
//! Makes no branch and no tag: what was imported is in Git when a version of it is published from there.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Site, SiteError};
use crate::audit::{Entry, Happened};
use crate::error::PocketError;
use crate::names::{CommitId, PackageName, PocketName, Principal, Suite, Version};
use crate::pocket::Pocket;
use crate::policy::CommitState;
use crate::publisher::archive::{GitFacts, Import, Leftovers, Mapping, Placing, Report, Run, Sourceless};

/// What a person asked to import, in that person's words.
#[derive(Clone, Copy, Debug)]
pub struct ImportWords<'a> {
    /// The directory that a web server serves.
    pub tree: &'a Path,
    /// The suites of the tree and the pockets that get them, as `SUITE=POCKET`.
    pub suites: &'a [String],
    /// A keyring with the keys that may have signed the suites.
    pub keyring: Option<&'a Path>,
    /// How files come into the pool.
    pub placing: Placing,
    /// Whether anything is changed.
    pub run: Run,
    /// What becomes of versions that have no place in a pocket.
    pub leftovers: Leftovers,
    /// What becomes of binary packages without their source package.
    pub sourceless: Sourceless,
    /// Who asks.
    pub by: &'a Principal,
}

impl Site {
    /// Brings the packages of another archive into pockets, without rebuilding: all of them, or none if the report
    /// names a problem.
    ///
    /// # Errors
    /// The words are wrong, the tree cannot be read or is not signed, or the archive cannot be used.
    pub fn import(&self, words: ImportWords<'_>) -> Result<Report, SiteError> {
        let ImportWords { tree, keyring, placing, run, leftovers, sourceless, by, .. } = words;
        let mut suites = Vec::new();
        for word in words.suites {
            let Some((from, pocket)) = word.split_once('=') else {
                return Err(SiteError::Refused(format!(
                    "{word:?} names no pocket; write SUITE=POCKET, such as stable=prod"
                )));
            };
            let from: Suite = from.parse()?;
            let pocket = self.backend(&self.pocket_name(pocket)?)?.spec();
            suites.push(Mapping { from, pocket });
        }
        if run == Run::Import {
            // A log that cannot be continued is noticed before anything is changed.
            self.audit().head()?;
            self.pipeline.publisher.prepare()?;
        }
        let import = Import { tree, keyring, suites, placing, run, leftovers, sourceless };
        let facts = Facts { pockets: &self.pipeline.pockets, branches: RefCell::default() };
        let report = self.archive()?.import(&import, &facts)?;
        for it in &report.suites {
            if let Some(generation) = it.generation {
                let (pocket, principal) = (Some(it.pocket.clone()), Some(by.clone()));
                let entry = Entry { pocket, principal, ..Entry::new(Happened::Imported) };
                let entry = entry.with("tree", tree.display()).with("suite", &it.from);
                self.record(entry.with("packages", it.added.len()).with("generation", generation))?;
            }
        }
        Ok(report)
    }
}

/// What the pockets' repositories say.
#[derive(Debug)]
struct Facts<'a> {
    pockets: &'a BTreeMap<PocketName, Box<dyn Pocket>>,
    /// The packages that have a branch of a pocket, read when they are first asked for.
    branches: RefCell<BTreeMap<PocketName, BTreeSet<PackageName>>>,
}

impl GitFacts for Facts<'_> {
    fn has_branch(&self, pocket: &PocketName, package: &PackageName) -> Result<bool, PocketError> {
        if let Some(known) = self.branches.borrow().get(pocket) {
            return Ok(known.contains(package));
        }
        let Some(backend) = self.pockets.get(pocket) else { return Ok(false) };
        let branches: BTreeSet<PackageName> = backend.contents()?.branches.into_keys().collect();
        let has = branches.contains(package);
        self.branches.borrow_mut().insert(pocket.clone(), branches);
        Ok(has)
    }

    fn has_commit(
        &self,
        pocket: &PocketName,
        package: &PackageName,
        version: &Version,
        commit: &CommitId,
    ) -> Result<bool, PocketError> {
        let Some(backend) = self.pockets.get(pocket) else { return Ok(false) };
        let survey = backend.survey(package, commit)?;
        let is_it =
            |found: &(PackageName, Version)| found.0 == *package && found.1.as_str() == version.as_str();
        let is_of_version = matches!(&survey.changelog, Some(Ok(found)) if is_it(found));
        Ok(survey.commit == CommitState::Present && is_of_version)
    }
}
