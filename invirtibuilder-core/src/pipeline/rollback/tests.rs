use std::num::NonZeroUsize;

use super::*;
use crate::job::{Job, Outcome, Relations, Stage};
use crate::memory::Lab;
use crate::names::{CommitId, PackageName, Version};
use crate::pipeline::Observer;
use crate::stop::Stop;
use crate::worker::{Until, Worker};

#[derive(Debug)]
struct Unheard;

impl Observer for Unheard {
    fn claimed(&self, _: &Job) {}
    fn entered(&self, _: &Job, _: Stage) {}
    fn ended(&self, _: &Job, _: &Outcome) {}
    fn given_back(&self, _: &Job, _: &str, _: Timestamp) {}
}

fn package(text: &str) -> PackageName {
    text.parse().unwrap()
}

fn alice() -> Principal {
    "alice@EXAMPLE.ORG".parse().unwrap()
}

fn dev() -> PocketName {
    "dev".parse().unwrap()
}

/// Publishes a commit in dev.
fn publish(lab: &Lab, name: &str, version: &str) -> CommitId {
    let version: Version = version.parse().unwrap();
    let commit = lab.commit(&package(name), &version, None);
    lab.queue().submit(Lab::request("dev", &package(name), &commit), &Relations::default()).unwrap();
    let (queue, pipeline) = (lab.queue(), lab.pipeline());
    let worker = Worker { queue: &queue, pipeline: &pipeline, observer: &Unheard, jobs: NonZeroUsize::MIN };
    worker.run(Until::Empty, &Stop::new().unwrap()).unwrap();
    commit
}

/// A pocket whose first generation has hello 1 and world 1, and whose last has hello 2 and late 1 too.
fn lab() -> Lab {
    let lab = Lab::new().unwrap();
    for (name, version) in [("world", "1"), ("hello", "1"), ("hello", "2"), ("late", "1")] {
        publish(&lab, name, version);
    }
    lab
}

/// Returns what the pocket has, by the archive, the branches and the superproject.
fn picture(lab: &Lab) -> Vec<String> {
    let world = lab.memory.world();
    let served =
        world.archive.values().filter_map(|it| it.0.commit.as_ref().map(|c| format!("{} {c}", it.0.package)));
    let refs = |all: &std::collections::BTreeMap<(PocketName, PackageName), CommitId>| -> Vec<String> {
        all.iter().map(|(place, commit)| format!("{} {commit}", place.1)).collect()
    };
    let served: Vec<String> = served.collect();
    assert_eq!(
        (&refs(&world.branches), &refs(&world.superproject)),
        (&served, &served),
        "Git and APT differ"
    );
    served
}

#[test]
fn a_crash_at_any_effect_is_completed_by_the_next_and_shows_nowhere() {
    let to = Generation::new(2);
    let clean = lab();
    clean.pipeline().roll_back(&clean.queue(), &dev(), to, &alice()).unwrap();
    let (wanted, effects) = (picture(&clean), clean.memory.world().effects.clone());
    assert_eq!(wanted.len(), 2);
    let begin = effects.iter().position(|it| it == "restore").unwrap();
    let half_effects = 2 * (effects.len() - begin);
    assert_eq!(effects[begin..], ["restore", "branch", "branch", "superproject", "announce", "announce"]);
    for at in 0..half_effects {
        let lab = lab();
        lab.memory.crash_at(at);
        // The last effects are those of the hooks, which cannot fail.
        let _ = lab.pipeline().roll_back(&lab.queue(), &dev(), to, &alice());
        lab.memory.never_crash();
        match at % 3 {
            0 => drop(lab.pipeline().resume_rollbacks().unwrap()),
            // The next job of the pocket.
            1 => {
                publish(&lab, "late", "2");
                let second = lab.pipeline().roll_back(&lab.queue(), &dev(), to, &alice()).unwrap();
                assert_eq!(second.rollback().from, Generation::new(6));
            }
            _ => {
                let again = lab.pipeline().roll_back(&lab.queue(), &dev(), to, &alice());
                assert!(again.is_ok(), "{again:?}");
            }
        }
        assert_eq!(picture(&lab), wanted, "after a crash at half-effect {at}");
        assert!(lab.pipeline().locks.all_pending().unwrap().is_empty());
    }
}

#[test]
fn who_may_not_publish_may_not_roll_back() {
    let lab = lab();
    lab.memory.world().denied.insert(alice());
    let refused = lab.pipeline().roll_back(&lab.queue(), &dev(), Generation::new(1), &alice());
    assert!(matches!(refused, Err(RollbackError::NotPermitted(_))), "{refused:?}");
}

#[test]
fn a_generation_that_is_not_kept_or_is_served_or_lacks_its_commits_is_refused() {
    let lab = lab();
    let roll_back =
        |number| lab.pipeline().roll_back(&lab.queue(), &dev(), Generation::new(number), &alice());
    assert!(matches!(roll_back(9), Err(RollbackError::Stage(_))));
    assert!(matches!(roll_back(4), Err(RollbackError::Refused(_))));
    let before = picture(&lab);
    for commits in lab.memory.world().repositories.values_mut() {
        commits.retain(|_, it| it.version.as_str() != "1");
    }
    let error = roll_back(2).unwrap_err();
    assert!(error.to_string().starts_with("hello cannot come back: its repository does not have"), "{error}");
    assert_eq!(picture(&lab), before);
}
