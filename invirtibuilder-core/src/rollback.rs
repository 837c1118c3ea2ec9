//! Returning a pocket to what it served before: plain data, the decision about it, and the proof that it happened.
//!
//! Nothing here reads or writes anything; [`crate::pipeline`] knows the order.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::VerifyError;
use crate::names::{CommitId, JobId, PackageName, PocketName, Principal, Suite, Version};
use crate::pocket::PocketContents;
use crate::policy::Held;
use crate::publisher::Generation;

/// What a rollback will do, or has done. It is what is saved before its first effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// Its id, which has the form of a job's.
    pub id: JobId,
    /// The pocket.
    pub pocket: PocketName,
    /// Who asked.
    pub principal: Principal,
    /// The generation that was served when it was decided.
    pub from: Generation,
    /// The generation that is returned to.
    pub to: Generation,
    /// What becomes of each package whose branch is not where that generation has it, in order of their names.
    pub moves: Vec<Move>,
}

/// What becomes of one package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The package.
    pub package: PackageName,
    /// Where its branch is; `None` if there is no branch.
    pub old: Option<Place>,
    /// Where its branch will be; `None` if the pocket will not have the package.
    pub new: Option<Place>,
}

/// A commit of a package, with its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The version; `None` if the changelog at the commit does not parse.
    pub version: Option<Version>,
    /// The commit.
    pub commit: CommitId,
}

impl Rollback {
    /// Makes the id of a rollback that is asked for now.
    #[must_use]
    #[allow(
        clippy::missing_panics_doc,
        reason = "14 digits, _ and six hexadecimal digits are always a job id"
    )]
    pub fn new_id(pocket: &PocketName, now: Timestamp) -> JobId {
        let seed = format!("{pocket} {} {}", now.as_nanosecond(), std::process::id());
        let sum = crate::control::hex(&Sha256::digest(seed));
        let suffix: String = sum.chars().take(6).collect();
        let time = now.strftime("%Y%m%d%H%M%S");
        format!("{time}_{suffix}").parse().expect("14 digits, _ and six hexadecimal digits are a job id")
    }
}

/// Decides what becomes of the packages of a pocket that returns to `target`.
///
/// # Errors
/// The archive does not know the commit of a package that would have to move: why, and what to do.
pub fn moves(git: &PocketContents, served: &[Held], target: &[Held]) -> Result<Vec<Move>, String> {
    let by_name = |held: &'_ [Held]| -> BTreeMap<PackageName, Held> {
        held.iter().map(|it| (it.package.clone(), it.clone())).collect()
    };
    let (served, target) = (by_name(served), by_name(target));
    let packages: BTreeSet<&PackageName> = git.branches.keys().chain(target.keys()).collect();
    let mut moves = Vec::new();
    for package in packages {
        let old = git.branches.get(package);
        let old = old.map(|it| Place { version: it.version.clone(), commit: it.commit.clone() });
        let new = match target.get(package) {
            None => None,
            Some(held) if held.commit.is_none() && served.get(package) == Some(held) => continue,
            Some(Held { version, commit: None, .. }) => {
                return Err(format!(
                    "{package} {version} would come back, but the archive does not know which commit it was \
                     made from; submit a commit of it first"
                ));
            }
            Some(Held { version, commit: Some(commit), .. }) => {
                Some(Place { version: Some(version.clone()), commit: commit.clone() })
            }
        };
        if old.as_ref().map(|it| &it.commit) != new.as_ref().map(|it| &it.commit) {
            moves.push(Move { package: package.clone(), old, new });
        }
    }
    Ok(moves)
}

/// The archive serves again what it served in an earlier generation.
#[derive(Debug)]
pub struct RolledBack {
    rollback: Rollback,
    generation: Generation,
}

impl RolledBack {
    /// Checks what the archive serves now.
    pub(crate) fn verify(
        rollback: Rollback,
        generation: Generation,
        suite: &Suite,
        served: &[Held],
    ) -> Result<Self, VerifyError> {
        for Move { package, new, .. } in &rollback.moves {
            let held = served.iter().find(|it| it.package == *package);
            let (found, wanted) = (held.and_then(|it| it.commit.as_ref()), new.as_ref().map(|it| &it.commit));
            if found != wanted || held.is_some() != new.is_some() {
                let shown = |commit: Option<&CommitId>| commit.map_or("nothing", CommitId::as_str).to_owned();
                let problem = format!("of {package} it serves {}, not {}", shown(found), shown(wanted));
                return Err(VerifyError::new(format!("the suite {suite}"), problem));
            }
        }
        Ok(Self { rollback, generation })
    }

    /// Makes a proof for a backend's own tests.
    #[cfg(any(test, feature = "conformance"))]
    #[must_use]
    pub fn for_tests(rollback: Rollback, generation: Generation) -> Self {
        Self { rollback, generation }
    }

    /// Returns what was done.
    #[must_use]
    pub fn rollback(&self) -> &Rollback {
        &self.rollback
    }

    /// Returns the new generation, which serves what the old one served.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Head;

    fn commit(digit: char) -> CommitId {
        digit.to_string().repeat(40).parse().unwrap()
    }

    fn held(package: &str, version: &str, digit: Option<char>) -> Held {
        let (package, version) = (package.parse().unwrap(), version.parse().unwrap());
        Held { package, version, commit: digit.map(commit) }
    }

    fn git(branches: &[(&str, char)]) -> PocketContents {
        let head = |digit| Head { commit: commit(digit), version: None };
        let branches = branches.iter().map(|(package, digit)| (package.parse().unwrap(), head(*digit)));
        PocketContents { branches: branches.collect(), ..PocketContents::default() }
    }

    #[test]
    fn packages_go_back_go_away_come_back_or_stay() {
        let git = git(&[("back", '2'), ("away", '3'), ("stays", '4')]);
        let target =
            [held("back", "1", Some('1')), held("again", "1", Some('5')), held("stays", "1", Some('4'))];
        let found = moves(&git, &[], &target).unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|it| (it.package.as_str(), it.old.is_some(), it.new.as_ref().map(|it| it.commit.clone())))
            .collect();
        assert_eq!(
            shown,
            [("again", false, Some(commit('5'))), ("away", true, None), ("back", true, Some(commit('1')))]
        );
    }

    #[test]
    fn a_package_of_an_unknown_commit_may_only_stay() {
        let old = [held("import", "1", None)];
        assert_eq!(moves(&git(&[]), &old, &old).unwrap(), []);
        let refused = moves(&git(&[("import", '1')]), &[held("import", "2", Some('1'))], &old).unwrap_err();
        assert!(refused.starts_with("import 1 would come back"), "{refused}");
    }

    #[test]
    fn the_proof_wants_every_package_where_it_should_be() {
        let place = |digit| Some(Place { version: None, commit: commit(digit) });
        let rollback = |new| Rollback {
            id: Rollback::new_id(&"dev".parse().unwrap(), Timestamp::UNIX_EPOCH),
            pocket: "dev".parse().unwrap(),
            principal: "alice".parse().unwrap(),
            from: Generation::new(2),
            to: Generation::new(1),
            moves: vec![Move { package: "hello".parse().unwrap(), old: place('1'), new }],
        };
        let suite = "unstable".parse().unwrap();
        let served = [held("hello", "1", Some('2'))];
        let verify = |new, served: &[Held]| {
            RolledBack::verify(rollback(new), Generation::new(3), &suite, served).is_ok()
        };
        assert!(verify(place('2'), &served) && verify(None, &[]));
        assert!(!verify(place('1'), &served) && !verify(None, &served) && !verify(place('2'), &[]));
    }
}
