//! Everything that Git says about a pocket, of all packages at once.
//!
//! Reads the repositories with all processors, and never one of them twice.

use std::collections::{BTreeMap, BTreeSet};

use super::{GitSite, branch_ref, record, superproject, survey};
use crate::job::{Publication, PublicationKind};
use crate::names::PackageName;
use crate::pocket::{PocketContents, Untagged};
use crate::policy::{Head, PocketSpec};
use crate::repository::{RepositoryError, object_id};

type Result<T> = std::result::Result<T, RepositoryError>;

/// Reads what Git says that a pocket holds.
pub(super) fn contents(site: &GitSite, spec: &PocketSpec) -> Result<PocketContents> {
    let mut published: BTreeMap<PackageName, Vec<Publication>> = BTreeMap::new();
    if !spec.policy.allow_backtracking {
        let came = |it: &Publication| it.kind != PublicationKind::Removal;
        for publication in superproject::publications(site, spec, came, usize::MAX)? {
            published.entry(publication.package.clone()).or_default().push(publication);
        }
    }
    let mut packages: BTreeSet<PackageName> = site.repositories.list()?.into_iter().collect();
    packages.extend(published.keys().cloned());
    let packages: Vec<PackageName> = packages.into_iter().collect();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = packages.len().div_ceil(threads).max(1);
    let read = |it: &PackageName| read_package(site, spec, it, published.get(it).map_or(&[], Vec::as_slice));
    let read_all = |some: &[PackageName]| some.iter().map(read).collect::<Result<Vec<Found>>>();
    let parts: Vec<Result<Vec<Found>>> = std::thread::scope(|scope| {
        let running: Vec<_> = packages.chunks(share).map(|some| scope.spawn(|| read_all(some))).collect();
        running.into_iter().map(|it| it.join().expect("reading a repository does not panic")).collect()
    });
    let mut contents =
        PocketContents { superproject: superproject::entries(site, spec)?, ..PocketContents::default() };
    for part in parts {
        for found in part? {
            contents.branches.extend(found.head.map(|head| (found.package, head)));
            contents.untagged.extend(found.untagged);
        }
    }
    Ok(contents)
}

/// What one repository says.
struct Found {
    package: PackageName,
    head: Option<Head>,
    untagged: Vec<Untagged>,
}

fn read_package(
    site: &GitSite,
    spec: &PocketSpec,
    package: &PackageName,
    published: &[Publication],
) -> Result<Found> {
    let repository = site.repositories.find(package)?;
    let mut head = None;
    if let Some(repository) = &repository
        && let Some(id) = repository.reference(&branch_ref(spec))?
    {
        head = Some(survey::head(repository, id)?);
    }
    let mut untagged = Vec::new();
    for Publication { version, commit, signed_by, .. } in published {
        let (tag, name) = site.tag_ref(version);
        let fault = match (&repository, object_id(commit)) {
            (Some(repository), Some(id)) => {
                let found = repository.reference(&name)?;
                record::fault(site, repository, &tag, found, (id, signed_by.as_deref()))?
            }
            _ => Some("no repository".to_owned()),
        };
        untagged.extend(fault.map(|found| Untagged {
            package: package.clone(),
            version: version.clone(),
            tag: tag.to_string(),
            commit: commit.clone(),
            found,
        }));
    }
    Ok(Found { package: package.clone(), head, untagged })
}
