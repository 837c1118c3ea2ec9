//! The rules P1 to P8, over facts, and what of the output gate can be judged before there is any output.

use std::collections::BTreeSet;

use super::{
    Access, BinaryVersions, CommitState, Facts, Held, PocketSpec, Rejection, Relation, Trust, Versions,
    Violation,
};
use crate::names::{Architecture, CommitId, PackageName, PocketName, Snapshot, Version};

/// What policy decides about a request that breaks no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The pocket serves exactly this already (rule P7).
    Current(Version),
    /// Another pocket serves exactly this: copy it (rule P6).
    Copy {
        /// The version.
        version: Version,
        /// The pocket to copy from.
        from: PocketName,
    },
    /// Build it: the version in the changelog, or a try of it.
    Build(Version),
}

/// Decides what to do with a request, or names every rule that it breaks.
///
/// # Errors
/// All broken rules at once (rule P8). Rules that cannot be judged, because a rule before them is broken (there
/// is no version where no changelog parses), are left out.
pub fn validate(facts: &Facts<'_>) -> Result<Verdict, Rejection> {
    let mut broken = Vec::new();
    check_access(facts, &mut broken);
    check_commit(facts, &mut broken);
    let version = check_sources(facts, &mut broken);
    check_something_is_built(facts, &mut broken);
    check_base_is_kept(facts, &mut broken);
    if let Some(version) = version {
        check_try_has_room(facts, version, &mut broken);
        check_version_is_free(facts, version, &mut broken);
        check_goes_forward(facts, version, &mut broken);
    }
    match (Rejection::of(broken), version) {
        (Some(rejection), _) => Err(rejection),
        (None, Some(version)) => Ok(decide(facts, version)),
        (None, None) => Err(Violation::BadFile {
            file: "debian/changelog",
            commit: facts.commit.clone(),
            problem: "it could not be read".to_owned(),
        }
        .into()),
    }
}

/// P3: the principal is in the pocket's access list.
fn check_access(facts: &Facts<'_>, broken: &mut Vec<Violation>) {
    if let Access::Denied(reason) = facts.access {
        broken.push(Violation::NotPermitted {
            principal: facts.principal.clone(),
            pocket: facts.pocket.name.clone(),
            reason: reason.clone(),
        });
    }
}

/// P1: the commit is an existing commit of the package's repository.
fn check_commit(facts: &Facts<'_>, broken: &mut Vec<Violation>) {
    let (package, commit) = (facts.package.clone(), facts.commit.clone());
    broken.extend(match &facts.survey.commit {
        CommitState::Present => None,
        CommitState::NoRepository => Some(Violation::NoRepository { package }),
        CommitState::Missing => Some(Violation::UnknownCommit { package, commit }),
        CommitState::NotACommit(kind) => Some(Violation::NotACommit { commit, kind: kind.clone() }),
        CommitState::Unreachable => Some(Violation::Unreachable { package, commit }),
    });
}

/// P2: changelog and control parse, and name the package. Returns the version if the changelog has one.
fn check_sources<'a>(facts: &Facts<'a>, broken: &mut Vec<Violation>) -> Option<&'a Version> {
    let commit = facts.commit;
    let mut judge = |file: &'static str, found: Result<&crate::names::PackageName, &String>| match found {
        Err(problem) => {
            broken.push(Violation::BadFile { file, commit: commit.clone(), problem: problem.clone() });
        }
        Ok(found) if found != facts.package => broken.push(Violation::OtherSource {
            file,
            commit: commit.clone(),
            found: found.clone(),
            package: facts.package.clone(),
        }),
        Ok(_) => (),
    };
    if let Some(changelog) = &facts.survey.changelog {
        judge("debian/changelog", changelog.as_ref().map(|it| &it.0));
    }
    if let Some(control) = &facts.survey.control {
        judge("debian/control", control.as_ref().map(|it| &it.source));
    }
    match &facts.survey.changelog {
        Some(Ok((_, version))) => Some(version),
        _ => None,
    }
}

/// The commit declares a package for one of the architectures that the pocket waits for.
fn check_something_is_built(facts: &Facts<'_>, broken: &mut Vec<Violation>) {
    let Some(Ok(declared)) = &facts.survey.control else { return };
    let (all, architectures) = (Architecture::all(), &facts.pocket.architectures);
    // A pocket without architectures is one of a test.
    let is_built = std::iter::once(&all).chain(architectures).any(|it| declared.is_for(it));
    if is_built || architectures.is_empty() {
        return;
    }
    let names: BTreeSet<String> =
        declared.binaries.iter().flat_map(|it| &it.architectures).map(ToString::to_string).collect();
    let names: Vec<String> = names.into_iter().collect();
    let declared = if names.is_empty() {
        "no binary package".to_owned()
    } else {
        format!("packages for {} only", names.join(", "))
    };
    broken.push(Violation::NothingToBuild {
        declared,
        pocket: facts.pocket.name.clone(),
        architectures: architectures.iter().map(Architecture::as_str).collect::<Vec<_>>().join(", "),
    });
}

/// The output gate, as far as `debian/control` foretells it: nothing replaces a package of the base that the pocket
/// does not name. For a copy this is the only look: what one pocket may replace, another may not.
fn check_base_is_kept(facts: &Facts<'_>, broken: &mut Vec<Violation>) {
    let Some(Ok(declared)) = &facts.survey.control else { return };
    // What some pocket may replace is a package of a base, also while no base was made on this machine yet.
    let named = facts.pockets.values().flat_map(|it| &it.policy.may_replace);
    let protected: BTreeSet<&PackageName> = facts.protected.iter().chain(named).collect();
    let is_for_pocket = |it: &&super::DeclaredBinary| {
        it.is_for(&Architecture::all()) || facts.pocket.all_architectures().any(|of| it.is_for(of))
    };
    let made = declared.binaries.iter().filter(is_for_pocket).map(|it| &it.package);
    let made: BTreeSet<&PackageName> = made.collect();
    for package in made.intersection(&protected) {
        if !facts.pocket.policy.may_replace.contains(*package) {
            broken.push(Violation::ReplacesBase {
                package: (*package).clone(),
                base: facts.pocket.base.clone(),
                pocket: facts.pocket.name.clone(),
            });
        }
    }
}

/// A try's version is longer than the declared one.
fn check_try_has_room(facts: &Facts<'_>, version: &Version, broken: &mut Vec<Violation>) {
    if facts.pocket.policy.versions == Versions::Snapshot && !Snapshot::fits(version, &facts.pocket.name) {
        broken.push(Violation::BadFile {
            file: "debian/changelog",
            commit: facts.commit.clone(),
            problem: format!(
                "its version is too long for what snapshot_versions of {} adds to it; shorten it",
                facts.pocket.name
            ),
        });
    }
}

/// P4: one version, one commit.
fn check_version_is_free(facts: &Facts<'_>, version: &Version, broken: &mut Vec<Violation>) {
    let target = facts.pocket;
    for (name, other) in taken_by(facts, version) {
        let own_and_may = *name == target.name && target.policy.allow_backtracking;
        let less_trusted = facts
            .pockets
            .get(name)
            .is_some_and(|it| it.policy.trust == Trust::None && it.policy.trust < target.policy.trust);
        if !own_and_may && !less_trusted {
            broken.push(Violation::VersionTaken {
                pocket: name.clone(),
                package: facts.package.clone(),
                version: version.clone(),
                other: other.clone(),
            });
        }
    }
    if let Some(other) = facts.survey.tagged.as_ref().filter(|it| *it != facts.commit) {
        broken.push(Violation::VersionTagged {
            package: facts.package.clone(),
            version: version.clone(),
            other: other.clone(),
        });
    }
}

/// The pockets that have the version from another commit, by their branch or by what their suite serves.
fn taken_by<'a>(facts: &Facts<'a>, version: &Version) -> Vec<(&'a PocketName, &'a CommitId)> {
    let commit = facts.commit;
    // What a branch's changelog declares is not what was published of it where each try has a version of its own.
    let is_declared =
        |name: &PocketName| facts.pockets.get(name).is_none_or(|it| it.policy.versions == Versions::Declared);
    let branches = facts.survey.heads.iter();
    let branches =
        branches.filter(|(name, head)| is_declared(name) && head.version.as_ref() == Some(version));
    let mut taken: Vec<_> =
        branches.map(|(name, head)| (name, &head.commit)).filter(|it| it.1 != commit).collect();
    for (name, held) in facts.held.iter().filter(|(_, held)| held.version == *version) {
        if let Some(other) = held.commit.as_ref().filter(|it| *it != commit)
            && !taken.iter().any(|it| it.0 == name)
        {
            taken.push((name, other));
        }
    }
    taken
}

/// P5: a pocket that does not allow backtracking only goes forward.
fn check_goes_forward(facts: &Facts<'_>, version: &Version, broken: &mut Vec<Violation>) {
    let target = facts.pocket;
    let head = facts.survey.heads.get(&target.name);
    if target.policy.allow_backtracking || head.is_some_and(|it| it.commit == *facts.commit) {
        return;
    }
    // The greater of what the branch and the suite have: after an interrupted publication they may differ, and
    // there may be no branch yet. What the suite has from this very commit stands in nobody's way.
    let served = facts.held.get(&target.name).filter(|it| it.commit.as_ref() != Some(facts.commit));
    let recorded = head.and_then(|it| it.version.as_ref());
    if let Some(newest) = recorded.max(served.map(|it| &it.version))
        && version <= newest
    {
        broken.push(Violation::NotNewer {
            pocket: target.name.clone(),
            package: facts.package.clone(),
            version: version.clone(),
            newest: newest.clone(),
        });
    }
    let is_descendant = match facts.survey.relation {
        Relation::FastForward | Relation::Same => true,
        Relation::Diverged => false,
        // Where there is no commit, that is what is wrong; else what was not proved is not so.
        Relation::New | Relation::Unknown => facts.survey.commit != CommitState::Present,
    };
    if let Some(head) = head
        && !is_descendant
    {
        broken.push(Violation::Diverged {
            commit: facts.commit.clone(),
            head: head.commit.clone(),
            pocket: target.name.clone(),
        });
    }
}

/// P6 and P7: nothing to do, copy, or build.
fn decide(facts: &Facts<'_>, version: &Version) -> Verdict {
    let serves_this = |name: &PocketName| {
        facts.held.get(name).is_some_and(|held| {
            held.version.as_str() == version.as_str() && held.commit.as_ref() == Some(facts.commit)
        })
    };
    let target = facts.pocket;
    let head_is_here = facts.survey.heads.get(&target.name).is_some_and(|head| head.commit == *facts.commit);
    if head_is_here && serves_this(&target.name) {
        return Verdict::Current(version.clone());
    }
    // What was published under a laxer rule is built again, and then judged by the stricter one.
    let is_as_strict = |it: &PocketSpec| {
        target.policy.binary_versions == BinaryVersions::Any
            || it.policy.binary_versions == BinaryVersions::Same
    };
    // What was built for fewer architectures than the target waits for is built again. Optional ones may come later.
    let declared = facts.survey.control.as_ref().and_then(|it| it.as_ref().ok());
    let has_all = |it: &PocketSpec| {
        let is_made = |of: &&Architecture| declared.is_none_or(|it| it.is_for(of));
        target.architectures.iter().filter(is_made).all(|of| it.architectures.contains(of))
    };
    let may_give = |(name, it): &(&PocketName, &PocketSpec)| {
        **name != target.name
            && target.policy.copy_from.allows(name)
            && serves_this(name)
            && is_as_strict(it)
            && has_all(it)
    };
    if let Some((from, _)) = facts.pockets.iter().find(may_give) {
        return Verdict::Copy { version: version.clone(), from: from.clone() };
    }
    // What was released since takes the place of a try of it; nothing else does.
    let served = facts.held.get(&target.name).filter(|_| head_is_here);
    let is_try = |it: &&Held| {
        it.commit.as_ref() == Some(facts.commit) && Snapshot::is_of(&it.version, version, facts.commit)
    };
    match served.filter(|it| target.policy.versions == Versions::Snapshot && is_try(it)) {
        Some(held) => Verdict::Current(held.version.clone()),
        None => Verdict::Build(version.clone()),
    }
}
