//! Pockets in Git: a branch in each package's repository, and a branch in the superproject.
//!
//! Never believes an object that it has not hashed, and never moves what a publication did not ask for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::PocketError;
use crate::job::Publication;
use crate::names::{CommitId, PackageName, PocketName, Principal, TagName, Version};
use crate::pocket::{Pocket, PocketContents};
use crate::policy::{PocketSpec, Survey};
use crate::repair::Repair;
use crate::repository::push_policy::PushPolicy;
use crate::repository::{Repositories, RepositoryError};
use crate::rollback::RolledBack;
use crate::states::Published;

mod contents;
mod gitmodules;
mod message;
mod record;
mod repair;
mod rollback;
mod signing;
mod superproject;
mod survey;

pub use signing::TagSigning;

/// Who makes tags and the commits of the superproject.
#[derive(Clone, Debug)]
pub struct Tagger {
    name: String,
    email: String,
    signing: Option<Arc<TagSigning>>,
}

impl Tagger {
    /// Takes a name and an address.
    ///
    /// # Errors
    /// Git could not write one of them in a tag: what is wrong, and what to do.
    pub fn new(name: &str, email: &str) -> Result<Self, String> {
        for (what, text) in [("name", name), ("email", email)] {
            let is_unfit = |c: char| c.is_control() || c == '<' || c == '>';
            if text.trim().is_empty() || text.trim() != text || text.contains(is_unfit) {
                return Err(format!(
                    "the tagger's {what} is {text:?}; give one without < and >, control characters, and blanks at its ends"
                ));
            }
        }
        Ok(Self { name: name.to_owned(), email: email.to_owned(), signing: None })
    }

    /// Lets tags be signed and checked.
    #[must_use]
    pub fn with_signing(self, signing: TagSigning) -> Self {
        Self { signing: Some(Arc::new(signing)), ..self }
    }

    fn signature(&self, seconds: i64) -> gix::actor::Signature {
        gix::actor::Signature {
            name: self.name.as_str().into(),
            email: self.email.as_str().into(),
            time: gix::date::Time::new(seconds, 0),
        }
    }
}

/// The Git side of a whole site: all repositories, the superproject, all pockets.
#[derive(Debug)]
pub struct GitSite {
    repositories: Repositories,
    superproject: PathBuf,
    pockets: BTreeMap<PocketName, PocketSpec>,
    tagger: Tagger,
    tag_prefix: String,
}

impl GitSite {
    /// Takes the places and names of a site. `tag_prefix`, such as `debian/`, may be empty.
    #[must_use]
    pub fn new(
        repositories: Repositories,
        superproject: PathBuf,
        pockets: BTreeMap<PocketName, PocketSpec>,
        tagger: Tagger,
        tag_prefix: &str,
    ) -> Arc<Self> {
        Arc::new(Self { repositories, superproject, pockets, tagger, tag_prefix: tag_prefix.to_owned() })
    }

    /// Makes the superproject's repository if there is none.
    pub fn initialize(&self) -> Result<(), RepositoryError> {
        superproject::initialize(self)
    }

    /// Returns the Git side of a pocket; `None` if the site has no such pocket.
    #[must_use]
    pub fn pocket(self: &Arc<Self>, name: &PocketName) -> Option<GitPocket> {
        let spec = self.pockets.get(name)?.clone();
        Some(GitPocket { site: Arc::clone(self), spec })
    }

    /// Returns the repositories.
    #[must_use]
    pub fn repositories(&self) -> &Repositories {
        &self.repositories
    }

    /// Returns which pushes to the repositories are let through.
    #[must_use]
    pub fn push_policy(&self) -> PushPolicy {
        PushPolicy::new(&self.pockets, &self.tag_prefix)
    }

    /// Returns the full name of a version's tag.
    fn tag_ref(&self, version: &Version) -> (TagName, String) {
        let tag = TagName::of(&self.tag_prefix, version);
        let name = format!("refs/tags/{tag}");
        (tag, name)
    }
}

/// The Git side of one pocket.
#[derive(Clone, Debug)]
pub struct GitPocket {
    site: Arc<GitSite>,
    spec: PocketSpec,
}

impl Pocket for GitPocket {
    fn spec(&self) -> &PocketSpec {
        &self.spec
    }

    fn survey(&self, package: &PackageName, commit: &CommitId) -> Result<Survey, PocketError> {
        survey::survey(&self.site, &self.spec, package, commit).map_err(backend)
    }

    fn record(&self, published: &Published) -> Result<(), PocketError> {
        record::record(&self.site, &self.spec, published)
    }

    fn record_rollback(&self, rolled_back: &RolledBack) -> Result<(), PocketError> {
        rollback::record(&self.site, &self.spec, rolled_back)
    }

    fn repair(&self, repair: &Repair, by: &Principal) -> Result<(), PocketError> {
        repair::repair(&self.site, &self.spec, repair, by)
    }

    fn contents(&self) -> Result<PocketContents, PocketError> {
        contents::contents(&self.site, &self.spec).map_err(backend)
    }

    fn history(&self, limit: usize) -> Result<Vec<Publication>, PocketError> {
        let publications = superproject::publications(&self.site, &self.spec, |_| true, limit);
        publications.map_err(backend)
    }
}

fn backend(e: RepositoryError) -> PocketError {
    PocketError::Backend(Box::new(e))
}

fn branch_ref(spec: &PocketSpec) -> String {
    format!("refs/heads/{}", spec.branch)
}

#[cfg(test)]
mod tests;
