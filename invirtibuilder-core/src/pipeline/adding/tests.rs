//! Optional architectures, over the world in memory.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::*;
use crate::builder::Builder;
use crate::job::Relations;
use crate::memory::{Lab, MemoryBuilder, MemoryPocket};
use crate::names::{BaseName, CommitId, PackageName};
use crate::pipeline::{Halt, Observer, Turn};
use crate::policy::{Building, DeclaredBinary, PackageType, PocketSpec, Policy};
use crate::queue::Queue as _;
use crate::stop::Stop;

#[derive(Debug)]
struct Unheard;

impl Observer for Unheard {
    fn claimed(&self, _: &Job) {}
    fn entered(&self, _: &Job, _: Stage) {}
    fn ended(&self, _: &Job, _: &Outcome) {}
    fn given_back(&self, _: &Job, _: &str, _: jiff::Timestamp) {}
}

fn hello() -> PackageName {
    "hello".parse().unwrap()
}

fn arm64() -> Architecture {
    "arm64".parse().unwrap()
}

/// A pocket that waits for amd64, and takes arm64 when it comes.
fn spec(name: &str, policy: Policy) -> PocketSpec {
    let building = Building { optional: vec![arm64()], ..Building::default() };
    PocketSpec { building, ..Lab::spec(name, policy) }
}

fn lab() -> Lab {
    let lab = Lab::new().unwrap();
    let binary = |package: &str, architecture: &str| DeclaredBinary {
        package: package.parse().unwrap(),
        architectures: vec![architecture.parse().unwrap()],
        package_type: PackageType::Deb,
    };
    let binaries = vec![binary("hello", "any"), binary("hello-doc", "all")];
    lab.memory.world().declared.insert(hello(), Declaration { binaries, ..Declaration::of_one(hello()) });
    lab
}

fn pipeline(lab: &Lab) -> Pipeline {
    let mut pipeline = lab.pipeline();
    let backtracking = Policy { allow_backtracking: true, ..Policy::default() };
    for spec in [spec("dev", backtracking), spec("prod", Policy::default())] {
        pipeline.pockets.insert(spec.name.clone(), Box::new(MemoryPocket::new(lab.memory.clone(), spec)));
    }
    pipeline
}

fn commits(lab: &Lab) -> [CommitId; 2] {
    let first = lab.commit(&hello(), &"1.0".parse().unwrap(), None);
    let second = lab.commit(&hello(), &"1.1".parse().unwrap(), Some(&first));
    [first, second]
}

fn submit(lab: &Lab, pocket: &str, commit: &CommitId) {
    lab.queue().submit(Lab::request(pocket, &hello(), commit), &Relations::default()).unwrap();
}

fn work_one(lab: &Lab, pipeline: &Pipeline) -> Option<Result<Turn, Halt>> {
    let claim = lab.queue().claim().unwrap()?;
    Some(pipeline.work(claim, &Stop::new().unwrap(), &Unheard))
}

/// Works until nothing can be claimed, and returns how the jobs ended.
fn work(lab: &Lab) -> Vec<&'static str> {
    let mut outcomes = Vec::new();
    while let Some(turn) = work_one(lab, &pipeline(lab)) {
        match turn.unwrap() {
            Turn::Ended(outcome) => outcomes.push(outcome.word()),
            other => panic!("{other:?}"),
        }
    }
    outcomes
}

/// The architectures that a pocket serves hello for.
fn served(lab: &Lab, pocket: &str) -> String {
    let found = pipeline(lab).publisher.architectures(&pocket.parse().unwrap(), &hello()).unwrap();
    found.iter().map(Architecture::as_str).collect::<Vec<_>>().join(" ")
}

fn picture(lab: &Lab) -> String {
    let world = lab.memory.world();
    let outcomes: Vec<_> =
        world.ended.iter().map(|it| (&it.job.id, &it.job.request.adds, &it.outcome)).collect();
    let publications: Vec<_> = world.publications.iter().map(|it| (&it.job, &it.commit, &it.added)).collect();
    format!(
        "{:#?}",
        (&world.archive, &world.branches, &world.superproject, outcomes, publications, world.jobs.len())
    )
}

#[test]
fn a_version_is_published_without_its_optional_architecture_which_is_added_later() {
    let lab = lab();
    let [first, _] = commits(&lab);
    submit(&lab, "prod", &first);
    work_one(&lab, &pipeline(&lab)).unwrap().unwrap();
    assert_eq!(served(&lab, "prod"), "all amd64");
    let missing = pipeline(&lab).missing(&spec("prod", Policy::default()), &hello(), &first).unwrap();
    assert_eq!(missing, [arm64()]);
    assert_eq!(lab.queue().pending().unwrap()[0].job().request.adds, Some(arm64()));
    assert_eq!(work(&lab), ["published"]);
    assert_eq!(served(&lab, "prod"), "all amd64 arm64");
    let world = lab.memory.world();
    let added: Vec<_> = world.publications.iter().map(|it| (it.commit.clone(), it.added.clone())).collect();
    assert_eq!(
        added,
        [(first.clone(), None), (first, Some(arm64()))],
        "each is a commit of the superproject"
    );
    assert_eq!(world.generations.values().next().unwrap().len(), 2);
}

/// A builder that fails for arm64.
#[derive(Debug)]
struct Failing(MemoryBuilder);

impl Builder for Failing {
    fn build<'a>(
        &self,
        source: &SourcePackage,
        target: &Target,
        into: &Path,
        log: &mut (dyn Write + Send + 'a),
        interrupt: &(dyn Interrupt + 'a),
    ) -> Result<PathBuf, BuildError> {
        if target.architecture == arm64() {
            let (package, version) = (source.plan().package().clone(), source.plan().version().clone());
            return Err(BuildError::Attempted { package, version, problem: "exit status 1".to_owned() });
        }
        self.0.build(source, target, into, log, interrupt)
    }
    fn protected(&self, base: &BaseName, of: &Architecture) -> Result<BTreeSet<PackageName>, BuildError> {
        self.0.protected(base, of)
    }
    fn clean_up(&self) -> Result<(), BuildError> {
        Ok(())
    }
}

#[test]
fn an_optional_architecture_that_fails_changes_nothing_and_is_tried_again_when_the_commit_is_submitted_again()
{
    let lab = lab();
    let [first, _] = commits(&lab);
    submit(&lab, "prod", &first);
    let failing =
        || Pipeline { builder: Box::new(Failing(MemoryBuilder(lab.memory.clone()))), ..pipeline(&lab) };
    work_one(&lab, &failing()).unwrap().unwrap();
    let before = format!("{:?}", lab.memory.world().archive);
    let turn = work_one(&lab, &failing()).unwrap().unwrap();
    assert!(matches!(turn, Turn::Ended(Outcome::Failed { stage: Stage::Build, .. })), "{turn:?}");
    assert_eq!(format!("{:?}", lab.memory.world().archive), before);
    assert_eq!(lab.memory.world().announced, ["published", "failed"]);
    submit(&lab, "prod", &first);
    assert_eq!(work(&lab), ["current", "published"]);
    assert_eq!(served(&lab, "prod"), "all amd64 arm64");
}

#[test]
fn a_later_version_is_not_held_up_and_supersedes_what_was_to_be_added() {
    let lab = lab();
    let [first, second] = commits(&lab);
    submit(&lab, "prod", &first);
    work_one(&lab, &pipeline(&lab)).unwrap().unwrap();
    let adding = lab.queue().claim().unwrap().unwrap();
    assert_eq!(adding.job().request.adds, Some(arm64()));
    submit(&lab, "prod", &second);
    let publishing = lab.queue().claim().unwrap().expect("it is not behind the one that adds");
    pipeline(&lab).work(publishing, &Stop::new().unwrap(), &Unheard).unwrap();
    let turn = pipeline(&lab).work(adding, &Stop::new().unwrap(), &Unheard).unwrap();
    let Turn::Ended(Outcome::Superseded { reason }) = turn else { panic!("{turn:?}") };
    assert!(reason.contains("prod serves hello 1.1 now"), "{reason}");
    assert_eq!(work(&lab), ["published"]);
    assert_eq!(served(&lab, "prod"), "all amd64 arm64");
}

#[test]
fn a_copy_brings_the_optional_architectures_that_are_there_and_the_others_follow() {
    let lab = lab();
    let [first, _] = commits(&lab);
    submit(&lab, "dev", &first);
    work_one(&lab, &pipeline(&lab)).unwrap().unwrap();
    submit(&lab, "prod", &first);
    assert_eq!(work(&lab), ["published"; 3]);
    assert_eq!(
        (served(&lab, "dev").as_str(), served(&lab, "prod").as_str()),
        ("all amd64 arm64", "all amd64 arm64")
    );
}

#[test]
fn a_pocket_that_waits_for_more_architectures_builds_what_another_serves() {
    let lab = lab();
    let [first, _] = commits(&lab);
    submit(&lab, "dev", &first);
    work(&lab);
    submit(&lab, "prod", &first);
    let mut pipeline = pipeline(&lab);
    let demanding = PocketSpec {
        architectures: vec!["amd64".parse().unwrap(), "i386".parse().unwrap()],
        ..spec("prod", Policy::default())
    };
    let name = demanding.name.clone();
    pipeline.pockets.insert(name, Box::new(MemoryPocket::new(lab.memory.clone(), demanding)));
    let turn = work_one(&lab, &pipeline).unwrap().unwrap();
    assert!(matches!(turn, Turn::Ended(Outcome::Published { copied_from: None, .. })), "{turn:?}");
    assert_eq!(served(&lab, "prod"), "all amd64 i386");
}

#[test]
fn a_crash_at_any_effect_of_an_addition_is_repaired_by_the_next_worker() {
    let scenario = |lab: &Lab| {
        let [first, second] = commits(lab);
        submit(lab, "prod", &first);
        submit(lab, "prod", &second);
    };
    let calm = lab();
    scenario(&calm);
    work(&calm);
    let (expected, effects) = (picture(&calm), calm.memory.world().effects.len());
    assert!(calm.memory.world().effects.iter().any(|it| it == "add"));
    for half_effect in 0..2 * effects {
        let lab = lab();
        scenario(&lab);
        lab.memory.crash_at(half_effect);
        while let Some(turn) = work_one(&lab, &pipeline(&lab)) {
            if !matches!(turn, Ok(Turn::Ended(_))) {
                break;
            }
        }
        lab.memory.never_crash();
        work(&lab);
        assert_eq!(picture(&lab), expected, "after a crash at half-effect {half_effect}");
    }
}
