//! Which jobs have to do with each other: those that build what others build-depend on.
//!
//! Pure: `debian/control` and the configuration are read elsewhere. That one waits for the other is the queue's work.

use std::collections::{BTreeMap, BTreeSet};

use crate::job::{Relations, Request};
use crate::names::{PackageName, PocketName};
use crate::policy::{PocketSpec, Survey, Verdict};

/// How many names of a job count. No package of Debian has as many; a hostile one must not fill the queue's directory.
const NAMES: usize = 2000;

/// Returns what a new job builds for others, and what it needs of others.
pub(super) fn relations(
    pockets: &BTreeMap<PocketName, PocketSpec>,
    request: &Request,
    verdict: &Verdict,
    survey: &Survey,
) -> Relations {
    let Some(Ok(control)) = &survey.control else { return Relations::default() };
    let against =
        |pocket: &PocketSpec| pocket.building.build_against.iter().cloned().collect::<BTreeSet<_>>();
    let seen = pockets.values().any(|it| it.building.build_against.contains(&request.pocket));
    let against = pockets.get(&request.pocket).map(against).unwrap_or_default();
    // What is copied needs nothing.
    let is_built = matches!(verdict, Verdict::Build(_)) && !against.is_empty();
    let few = |names: BTreeSet<PackageName>| names.into_iter().take(NAMES).collect();
    Relations {
        builds: if seen { few(control.builds()) } else { BTreeSet::new() },
        needs: if is_built { few(control.needs.clone()) } else { BTreeSet::new() },
        against,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Lab;
    use crate::policy::{CommitState, Declaration, Policy, Relation};

    fn of(verdict: &Verdict, build_against: &[(&str, &str)]) -> Relations {
        let mut pockets = BTreeMap::new();
        for name in ["dev", "prod"] {
            let mut spec = Lab::spec(name, Policy::default());
            let against = build_against.iter().filter(|it| it.0 == name);
            spec.building.build_against = against.map(|it| it.1.parse().unwrap()).collect();
            pockets.insert(spec.name.clone(), spec);
        }
        let mut control = Declaration::of_one("hello".parse().unwrap());
        control.needs = ["make".parse().unwrap()].into();
        let survey = Survey {
            commit: CommitState::Present,
            changelog: None,
            control: Some(Ok(control)),
            relation: Relation::New,
            heads: BTreeMap::new(),
            tagged: None,
        };
        let request = Lab::request("dev", &"hello".parse().unwrap(), &"a".repeat(40).parse().unwrap());
        relations(&pockets, &request, verdict, &survey)
    }

    #[test]
    fn only_what_is_built_needs_and_only_what_somebody_sees_is_needed() {
        let build = Verdict::Build("1.0".parse().unwrap());
        let copy = Verdict::Copy { version: "1.0".parse().unwrap(), from: "prod".parse().unwrap() };
        let counts = |verdict, against: &[_]| {
            let found = of(verdict, against);
            (found.builds.len(), found.needs.len(), found.against.len())
        };
        assert_eq!(counts(&build, &[]), (0, 0, 0));
        assert_eq!(counts(&build, &[("dev", "dev")]), (1, 1, 1));
        assert_eq!(counts(&build, &[("dev", "prod")]), (0, 1, 1));
        assert_eq!(counts(&build, &[("prod", "dev")]), (1, 0, 0));
        assert_eq!(counts(&copy, &[("dev", "dev")]), (1, 0, 1));
    }
}
