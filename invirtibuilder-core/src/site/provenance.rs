//! What vouches for publications, for the frontends: finding it, and whether all of it is there.

use std::collections::BTreeMap;

use super::{Site, SiteError};
use crate::audit::{Entry, Happened};
use crate::names::{CommitId, JobId, PackageName, PocketName, Version};
use crate::pipeline::{PROVENANCE, PROVENANCE_SUM};
use crate::policy::Held;
use crate::provenance::{Attestor, Stored};
use crate::publisher::archive::Removal;
use crate::verify::{Difference, Kind};

/// What is served, as the audit log tells of publications.
type Served<'a> = BTreeMap<(&'a PocketName, &'a PackageName), &'a Held>;

impl Site {
    fn attestor(&self) -> Result<&Attestor, SiteError> {
        let attestor = self.pipeline.attestor.as_ref();
        attestor.ok_or_else(|| SiteError::Refused("nothing vouches for what this site publishes".to_owned()))
    }

    /// Returns the provenances of a package, the latest last; with a pocket, only of publications there.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn provenances(
        &self,
        package: &PackageName,
        pocket: Option<&PocketName>,
    ) -> Result<Vec<Stored>, SiteError> {
        let mut found = self.attestor()?.of_package(package)?;
        found.retain(|it| pocket.is_none_or(|wanted| it.statement.asked().pocket == *wanted));
        Ok(found)
    }

    /// Returns the provenance that a job left.
    ///
    /// # Errors
    /// There is no such job, or it left none.
    pub fn provenance_of(&self, id: &JobId) -> Result<Stored, SiteError> {
        let attestor = self.attestor()?;
        let state = self.job(id)?;
        let found = attestor.of_job(&state.job().request.package, id)?;
        found.ok_or_else(|| {
            SiteError::NotFound(format!(
                "job {id} left no provenance: only publications have one; `invirtibuilder show {id}` says what it did"
            ))
        })
    }

    /// Removes the provenances that are not kept any longer, or only says which would go.
    ///
    /// # Errors
    /// One cannot be read or removed.
    pub(super) fn expire_provenances(&self, is_trial: bool) -> Result<Vec<Removal>, SiteError> {
        let Some(attestor) = &self.pipeline.attestor else { return Ok(Vec::new()) };
        Ok(attestor.expire(std::time::SystemTime::now(), is_trial)?)
    }

    /// Names what is served, but is not vouched for as the audit log tells that it was.
    pub(super) fn unvouched(&self, served: &[(PocketName, Vec<Held>)]) -> Result<Vec<Difference>, SiteError> {
        let Some(attestor) = &self.pipeline.attestor else { return Ok(Vec::new()) };
        let served: Served<'_> = served
            .iter()
            .flat_map(|(pocket, all)| all.iter().map(move |it| ((pocket, &it.package), it)))
            .collect();
        let mut told: BTreeMap<String, (PocketName, PackageName, String)> = BTreeMap::new();
        for line in self.audit().read()? {
            let entry = line?.entry;
            if entry.event == Happened::Published
                && is_served(&entry, &served)
                && let (Some(location), Some(sum)) =
                    (entry.facts.get(PROVENANCE), entry.facts.get(PROVENANCE_SUM))
                && let (Some(pocket), Some(package)) = (entry.pocket, entry.package)
            {
                told.insert(location.clone(), (pocket, package, sum.clone()));
            }
        }
        let mut found = Vec::new();
        for (location, (pocket, package, wanted)) in told {
            let is = match attestor.sum(&location)? {
                Some(sum) if sum == wanted => continue,
                Some(sum) => format!("a file with SHA-256 {sum}, not {wanted}"),
                None => "nothing".to_owned(),
            };
            found.push(Difference {
                pocket,
                package,
                kind: Kind::NoProvenance { provenance: location, found: is },
            });
        }
        Ok(found)
    }
}

fn is_served(entry: &Entry, served: &Served<'_>) -> bool {
    let (Some(pocket), Some(package)) = (&entry.pocket, &entry.package) else { return false };
    let is_it = |it: &&Held| {
        let version = entry.version.as_ref().map(Version::as_str);
        let same: (Option<&str>, Option<&CommitId>) = (version, entry.commit.as_ref());
        same == (Some(it.version.as_str()), it.commit.as_ref())
    };
    served.get(&(pocket, package)).is_some_and(is_it)
}
