//! Git in memory.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::files::commit_id;
use super::{Memory, MemoryCommit, World};
use crate::error::PocketError;
use crate::job::{Publication, PublicationKind};
use crate::names::{CommitId, PackageName, TagName};
use crate::pocket::{Pocket, PocketContents, SuperprojectEntry, Untagged};
use crate::policy::{CommitState, Declaration, Head, PocketSpec, Relation, Survey};
use crate::rollback::{Move, RolledBack};
use crate::states::{BuildPlan, Published};

/// A [`Pocket`] whose Git is in a [`World`].
#[derive(Clone, Debug)]
pub struct MemoryPocket {
    memory: Memory,
    spec: PocketSpec,
}

impl MemoryPocket {
    /// Makes a pocket of a world.
    #[must_use]
    pub fn new(memory: Memory, spec: PocketSpec) -> Self {
        Self { memory, spec }
    }

    fn makes_tags(&self) -> bool {
        !self.spec.policy.allow_backtracking
    }
}

impl Pocket for MemoryPocket {
    fn spec(&self) -> &PocketSpec {
        &self.spec
    }

    fn survey(&self, package: &PackageName, commit: &CommitId) -> Result<Survey, PocketError> {
        let world = self.memory.world();
        let commits = world.repositories.get(package);
        let candidate = commits.and_then(|it| it.get(commit));
        let state = match (commits, candidate) {
            (None, _) => CommitState::NoRepository,
            (Some(_), None) => CommitState::Missing,
            (Some(_), Some(_)) => CommitState::Present,
        };
        let heads: BTreeMap<_, _> = world
            .branches
            .iter()
            .filter(|((_, of), _)| of == package)
            .map(|((pocket, _), commit)| {
                let version = commits.and_then(|it| it.get(commit)).map(|it| it.version.clone());
                (pocket.clone(), Head { commit: commit.clone(), version })
            })
            .collect();
        let relation = match (heads.get(&self.spec.name), commits) {
            _ if self.spec.policy.allow_backtracking || candidate.is_none() => Relation::Unknown,
            (None, _) => Relation::New,
            (Some(head), _) if head.commit == *commit => Relation::Same,
            (Some(head), Some(commits)) if is_ancestor(commits, &head.commit, commit) => {
                Relation::FastForward
            }
            _ => Relation::Diverged,
        };
        let tag = candidate.map(|it| TagName::of("", &it.version).as_str().to_owned());
        Ok(Survey {
            commit: state,
            changelog: candidate.map(|it| Ok((package.clone(), it.version.clone()))),
            control: candidate.map(|_| {
                let declared = world.declared.get(package).cloned();
                Ok(declared.unwrap_or_else(|| Declaration::of_one(package.clone())))
            }),
            relation,
            heads,
            tagged: tag.and_then(|tag| world.tags.get(&(package.clone(), tag)).cloned()),
        })
    }

    fn record(&self, published: &Published) -> Result<(), PocketError> {
        let plan = published.plan();
        let place = (self.spec.name.clone(), plan.package().clone());
        let found = self.memory.world().branches.get(&place).cloned();
        if found.as_ref() != plan.expected_head() && found.as_ref() != Some(plan.commit()) {
            return Err(PocketError::Moved {
                pocket: self.spec.name.clone(),
                package: plan.package().clone(),
                expected: plan.expected_head().cloned(),
                found,
            });
        }
        let commit = plan.commit().clone();
        let tag = TagName::of("", plan.version()).as_str().to_owned();
        let refs = |world: &mut World| {
            world.branches.insert(place.clone(), commit.clone());
            if self.makes_tags() {
                world.tags.insert((place.1.clone(), tag), commit.clone());
            }
        };
        self.memory.effect("branch and tag", refs).map_err(PocketError::Backend)?;
        let superproject = |world: &mut World| {
            world.superproject.insert(place.clone(), commit.clone());
            if !world.publications.iter().any(|it| it.job == plan.job().id) {
                world
                    .publications
                    .push(Publication { generation: published.generation(), ..publication(plan) });
            }
        };
        self.memory.effect("superproject", superproject).map_err(PocketError::Backend)
    }

    fn record_rollback(&self, rolled_back: &RolledBack) -> Result<(), PocketError> {
        let rollback = rolled_back.rollback();
        for Move { package, old, new } in &rollback.moves {
            let place = (self.spec.name.clone(), package.clone());
            let found = self.memory.world().branches.get(&place).cloned();
            let (expected, wanted) = (old.as_ref().map(|it| &it.commit), new.as_ref().map(|it| &it.commit));
            if found.as_ref() != expected && found.as_ref() != wanted {
                return Err(PocketError::Moved {
                    pocket: self.spec.name.clone(),
                    package: package.clone(),
                    expected: expected.cloned(),
                    found,
                });
            }
            let refs = |world: &mut World| match wanted {
                Some(commit) => drop(world.branches.insert(place, commit.clone())),
                None => drop(world.branches.remove(&place)),
            };
            self.memory.effect("branch", refs).map_err(PocketError::Backend)?;
        }
        let superproject = |world: &mut World| {
            for Move { package, new, .. } in &rollback.moves {
                let place = (self.spec.name.clone(), package.clone());
                match new {
                    Some(new) => drop(world.superproject.insert(place, new.commit.clone())),
                    None => drop(world.superproject.remove(&place)),
                }
            }
            if !world.publications.iter().any(|it| it.job == rollback.id) {
                let told =
                    rollback.moves.iter().rev().filter_map(|it| rolled_back_publication(rolled_back, it));
                world.publications.extend(told);
            }
        };
        self.memory.effect("superproject", superproject).map_err(PocketError::Backend)
    }

    fn contents(&self) -> Result<PocketContents, PocketError> {
        let world = self.memory.world();
        let own = |it: &(&(crate::names::PocketName, PackageName), &CommitId)| it.0.0 == self.spec.name;
        let version = |package, commit| Some(world.repositories.get(package)?.get(commit)?.version.clone());
        let branches = world.branches.iter().filter(own).map(|((_, package), commit)| {
            (package.clone(), Head { commit: commit.clone(), version: version(package, commit) })
        });
        let superproject = world.superproject.iter().filter(own).map(|((_, package), commit)| {
            let url = Some(format!("../{package}.git"));
            (package.clone(), SuperprojectEntry { commit: commit.clone(), url })
        });
        let published =
            world.publications.iter().filter(|it| it.pocket == self.spec.name && self.makes_tags());
        let published = published.filter(|it| it.kind != PublicationKind::Removal);
        let untagged: BTreeSet<_> = published
            .filter_map(|it| {
                let tag = TagName::of("", &it.version).as_str().to_owned();
                let found = world.tags.get(&(it.package.clone(), tag.clone()));
                (found != Some(&it.commit)).then(|| Untagged {
                    package: it.package.clone(),
                    version: it.version.clone(),
                    tag,
                    commit: it.commit.clone(),
                    found: found.map_or("nothing".to_owned(), ToString::to_string),
                })
            })
            .collect();
        Ok(PocketContents { branches: branches.collect(), superproject: superproject.collect(), untagged })
    }

    fn history(&self, limit: usize) -> Result<Vec<Publication>, PocketError> {
        let world = self.memory.world();
        Ok(world
            .publications
            .iter()
            .rev()
            .filter(|it| it.pocket == self.spec.name)
            .take(limit)
            .cloned()
            .collect())
    }
}

fn rolled_back_publication(rolled_back: &RolledBack, change: &Move) -> Option<Publication> {
    let rollback = rolled_back.rollback();
    let kind = if change.new.is_some() { PublicationKind::Rollback } else { PublicationKind::Removal };
    let place = change.new.as_ref().or(change.old.as_ref())?;
    Some(Publication {
        kind,
        pocket: rollback.pocket.clone(),
        package: change.package.clone(),
        version: place.version.clone()?,
        commit: place.commit.clone(),
        principal: rollback.principal.clone(),
        job: rollback.id.clone(),
        added: None,
        signed_by: None,
        generation: Some(rolled_back.generation()),
        time: Timestamp::now(),
        recorded_in: commit_id(rollback.id.as_str()),
    })
}

fn publication(plan: &BuildPlan) -> Publication {
    Publication {
        kind: PublicationKind::Published,
        pocket: plan.pocket().name.clone(),
        package: plan.package().clone(),
        version: plan.version().clone(),
        commit: plan.commit().clone(),
        principal: plan.principal().clone(),
        job: plan.job().id.clone(),
        added: plan.job().request.adds.clone(),
        signed_by: None,
        generation: None,
        time: Timestamp::now(),
        recorded_in: commit_id(plan.job().id.as_str()),
    }
}

fn is_ancestor(commits: &BTreeMap<CommitId, MemoryCommit>, ancestor: &CommitId, of: &CommitId) -> bool {
    let mut left = vec![of];
    let mut seen = BTreeSet::new();
    while let Some(commit) = left.pop() {
        if commit == ancestor {
            return true;
        }
        if seen.insert(commit) {
            left.extend(commits.get(commit).iter().flat_map(|it| &it.parents));
        }
    }
    false
}
