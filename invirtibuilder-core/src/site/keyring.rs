//! The package that gives clients the archive's public keys: made here, and published like every other.
//!
//! Its repository has one branch, which only this module moves. Never publishes anything itself: a commit is made if the
//! keys are not those of the last one, and submitted in the name of whoever asked.

mod committing;
mod package;

use std::path::Path;

use jiff::Timestamp;

use super::{Site, SiteError, Submitted, Words, parts};
use crate::audit::{Entry, Happened};
use crate::error::StageError;
use crate::job::Request;
use crate::names::{CommitId, PackageName, PocketName, Principal, Version};
use crate::policy::{Access, PocketSpec, Rejection, Trust, Violation};
use crate::repository;
use package::Contents;

pub(super) use package::installed_path;

/// What became of the keyring's package.
#[derive(Clone, Debug)]
pub struct KeyringSubmitted {
    /// The package.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// The commit that was submitted.
    pub commit: CommitId,
    /// Whether the commit was made now, because the keys have changed.
    pub is_new: bool,
    /// What became of it in each pocket, in the order of submission.
    pub submitted: Vec<SubmittedTo>,
}

/// What became of a request in one pocket.
#[derive(Clone, Debug)]
pub struct SubmittedTo {
    /// The pocket.
    pub pocket: PocketName,
    /// What became of it.
    pub submitted: Submitted,
}

impl Site {
    /// Makes a version of the keyring's package, if the keys that the archive is signed with are not those of the last
    /// one, and submits it to pockets; to all if none is named. Its hooks call this `program` with this configuration
    /// `file`.
    ///
    /// The pockets that are trusted and go only forward come first, so that the others copy what was built for them.
    ///
    /// # Errors
    /// The principal may not publish in one of the pockets, or one refuses the version: then nothing is submitted. Or
    /// there is a repository of that name that something else made, or a key cannot sign.
    pub fn submit_keyring(
        &self,
        pockets: &[PocketName],
        by: &Principal,
        (program, file): (&Path, &Path),
    ) -> Result<KeyringSubmitted, SiteError> {
        let pockets = self.in_order(pockets)?;
        self.admit(&pockets, by)?;
        let package = &self.config.publisher.keyring_package;
        let part = |source| SiteError::Part { part: "archive", source };
        let signer = parts::signer(&self.config).map_err(part)?;
        let signer = signer.opened().map_err(|e| part(e.into()))?;
        let mut primaries: Vec<String> = Vec::new();
        for key in signer.keys() {
            let primary = key.primary.to_string();
            if !primaries.contains(&primary) {
                primaries.push(primary);
            }
        }
        let tagger = &self.config.tagger;
        let contents = Contents {
            package,
            maintainer: format!("{} <{}>", tagger.name, tagger.email),
            origin: &self.config.publisher.origin,
            keyring: signer.keyring(),
            primaries,
        };
        let hooks = repository::Hooks { program: program.to_owned(), config: file.to_owned() };
        let (repository, is_made) = committing::open(self.git.repositories(), package, &hooks)?;
        if is_made {
            self.tell_of_repository(package, by)?;
        }
        let made = committing::commit(&repository, &contents, tagger, Timestamp::now())?;
        self.submit_everywhere(&pockets, package, &made.commit, by).map(|submitted| KeyringSubmitted {
            package: package.clone(),
            version: made.version,
            commit: made.commit,
            is_new: made.is_new,
            submitted,
        })
    }

    /// Returns the pockets that were named, or all, in the order in which they are submitted to.
    fn in_order(&self, named: &[PocketName]) -> Result<Vec<PocketName>, SiteError> {
        let mut specs: Vec<&PocketSpec> = match named {
            [] => self.config.pockets.values().collect(),
            named => named.iter().map(|it| Ok(self.backend(it)?.spec())).collect::<Result<_, SiteError>>()?,
        };
        specs.sort_by_key(|it| (it.policy.trust != Trust::Full, it.policy.allow_backtracking, &it.name));
        specs.dedup_by_key(|it| &it.name);
        Ok(specs.into_iter().map(|it| it.name.clone()).collect())
    }

    /// Checks that the principal may publish in every pocket, before anything is made.
    fn admit(&self, pockets: &[PocketName], by: &Principal) -> Result<(), SiteError> {
        let mut broken = Vec::new();
        for pocket in pockets {
            if let Access::Denied(reason) = self.pipeline.gate.admits(pocket, by) {
                let (of, principal) = (Some(pocket.clone()), Some(by.clone()));
                let entry = Entry { pocket: of, principal, ..Entry::new(Happened::Denied) };
                self.record(entry.with("action", "keyring").with("reasons", &reason))?;
                let (principal, pocket) = (by.clone(), pocket.clone());
                broken.push(Violation::NotPermitted { principal, pocket, reason });
            }
        }
        Rejection::of(broken).map_or(Ok(()), |it| Err(it.into()))
    }

    /// Submits a commit to pockets. All are asked before the first request is queued.
    fn submit_everywhere(
        &self,
        pockets: &[PocketName],
        package: &PackageName,
        commit: &CommitId,
        by: &Principal,
    ) -> Result<Vec<SubmittedTo>, SiteError> {
        let submit = |pocket: &PocketName| {
            self.submit(Words {
                pocket: pocket.as_str(),
                package: package.as_str(),
                commit: commit.as_str(),
                principal: by,
            })
        };
        for pocket in pockets {
            let (package, commit) = (package.clone(), commit.clone());
            let request =
                Request { pocket: pocket.clone(), package, commit, principal: by.clone(), adds: None };
            if let Err(StageError::Rejected(_)) = self.pipeline.judge(&request) {
                // The hooks hear of a refusal from the place that every refusal comes from.
                submit(pocket)?;
            }
        }
        let submit =
            |pocket: &PocketName| Ok(SubmittedTo { pocket: pocket.clone(), submitted: submit(pocket)? });
        pockets.iter().map(submit).collect()
    }
}
