//! The pipeline as a specification, over the world in memory.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::*;
use crate::builder::Target;
use crate::error::{BuildError, PublishError};
use crate::job::Relations;
use crate::memory::{Lab, MemoryBuilder, MemoryPublisher};
use crate::names::{Architecture, BaseName, CommitId, PackageName, Suite, Version};
use crate::pocket::PocketContents;
use crate::policy::Held;
use crate::publisher::{Generation, Owners};
use crate::queue::Queue;
use crate::stop::Interrupt;

#[derive(Debug)]
struct Unheard;

impl Observer for Unheard {
    fn claimed(&self, _: &Job) {}
    fn entered(&self, _: &Job, _: Stage) {}
    fn ended(&self, _: &Job, _: &Outcome) {}
    fn given_back(&self, _: &Job, _: &str, _: Timestamp) {}
}

fn hello() -> PackageName {
    "hello".parse().unwrap()
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

/// Three commits of hello, each on top of the one before: 1.0, 1.1 and 1.2.
fn commits(lab: &Lab) -> [CommitId; 3] {
    let first = lab.commit(&hello(), &version("1.0"), None);
    let second = lab.commit(&hello(), &version("1.1"), Some(&first));
    let third = lab.commit(&hello(), &version("1.2"), Some(&second));
    [first, second, third]
}

fn submit(lab: &Lab, pocket: &str, commit: &CommitId) {
    lab.queue().submit(Lab::request(pocket, &hello(), commit), &Relations::default()).unwrap();
}

/// Works one job as a process of its own.
fn work_one(lab: &Lab, pipeline: &Pipeline) -> Option<Result<Turn, Halt>> {
    let claim = lab.queue().claim().unwrap()?;
    Some(pipeline.work(claim, &Stop::new().unwrap(), &Unheard))
}

/// Works until nothing can be claimed, and returns how the jobs ended.
fn work(lab: &Lab) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    while let Some(turn) = work_one(lab, &lab.pipeline()) {
        match turn.unwrap() {
            Turn::Ended(outcome) => outcomes.push(outcome),
            other => panic!("{other:?}"),
        }
    }
    outcomes
}

/// What the outside world looks like, without how it came to be so.
fn picture(lab: &Lab) -> String {
    let world = lab.memory.world();
    let outcomes: Vec<_> = world.ended.iter().map(|it| (&it.job.id, &it.outcome)).collect();
    let publications: Vec<_> = world.publications.iter().map(|it| (&it.job, &it.commit)).collect();
    format!(
        "{:#?}",
        (
            &world.archive,
            &world.branches,
            &world.tags,
            &world.superproject,
            outcomes,
            publications,
            world.jobs.len()
        )
    )
}

#[test]
fn a_submitted_commit_ends_in_the_archive_the_branch_the_tag_and_the_superproject() {
    let lab = Lab::new().unwrap();
    let [first, ..] = commits(&lab);
    submit(&lab, "prod", &first);
    assert_eq!(
        work(&lab),
        [Outcome::Published { version: version("1.0"), copied_from: None, notes: Vec::new() }]
    );
    let world = lab.memory.world();
    assert_eq!(
        world.effects.join(", "),
        "export, build, save, publish, branch and tag, superproject, announce, finish"
    );
    assert_eq!(world.tags.values().collect::<Vec<_>>(), [&first]);
}

#[test]
fn a_pocket_that_allows_backtracking_makes_no_tags_and_may_go_back() {
    let lab = Lab::new().unwrap();
    let [first, second, _] = commits(&lab);
    submit(&lab, "dev", &second);
    submit(&lab, "dev", &first);
    let published =
        |text| Outcome::Published { version: version(text), copied_from: None, notes: Vec::new() };
    assert_eq!(work(&lab), [published("1.1"), published("1.0")]);
    assert!(lab.memory.world().tags.is_empty());
}

#[test]
fn a_version_that_another_pocket_holds_is_copied_and_not_built_again() {
    let lab = Lab::new().unwrap();
    let [first, ..] = commits(&lab);
    submit(&lab, "dev", &first);
    submit(&lab, "prod", &first);
    let outcomes = work(&lab);
    assert_eq!(
        outcomes[1],
        Outcome::Published {
            version: version("1.0"),
            copied_from: Some("dev".parse().unwrap()),
            notes: Vec::new()
        }
    );
    let world = lab.memory.world();
    assert_eq!(world.effects.iter().filter(|it| *it == "build").count(), 1);
    let bytes: Vec<_> = world.archive.values().map(|it| &it.1).collect();
    assert_eq!(bytes[0], bytes[1]);
}

#[test]
fn a_commit_that_the_pocket_serves_already_is_current_and_changes_nothing() {
    let lab = Lab::new().unwrap();
    let [first, ..] = commits(&lab);
    submit(&lab, "prod", &first);
    work(&lab);
    submit(&lab, "prod", &first);
    assert_eq!(work(&lab), [Outcome::Current { version: version("1.0") }]);
    assert_eq!(lab.memory.world().publications.len(), 1);
}

#[test]
fn a_rejection_names_every_broken_rule_at_once() {
    let lab = Lab::new().unwrap();
    let [_, second, _] = commits(&lab);
    submit(&lab, "prod", &second);
    work(&lab);
    let aside = lab.commit(&hello(), &version("0.9"), None);
    submit(&lab, "prod", &aside);
    lab.memory.world().denied.insert("alice@EXAMPLE.ORG".parse().unwrap());
    let outcomes = work(&lab);
    let Outcome::Rejected { reasons, not_permitted: false } = &outcomes[0] else { panic!("{outcomes:?}") };
    let begins = [
        "alice@EXAMPLE.ORG may not publish in prod",
        "prod already has hello 1.1",
        &format!("commit {aside} does not contain"),
    ];
    assert_eq!(reasons.len(), begins.len(), "{reasons:?}");
    for (reason, begin) in reasons.iter().zip(begins) {
        assert!(reason.starts_with(begin), "{reason}");
    }
}

#[test]
fn a_crash_before_or_after_any_effect_is_repaired_by_the_next_worker() {
    let scenario = |lab: &Lab| {
        let [first, second, third] = commits(lab);
        submit(lab, "dev", &first);
        submit(lab, "prod", &first); // a copy
        submit(lab, "prod", &second); // an upgrade
        submit(lab, "prod", &first); // a rejection
        submit(lab, "dev", &third);
        submit(lab, "dev", &second); // a copy that goes back
    };
    let calm = Lab::new().unwrap();
    scenario(&calm);
    work(&calm);
    let expected = picture(&calm);
    let effects = calm.memory.world().effects.len();
    assert_eq!(effects, 3 * 8 + 2 * 6 + 2, "three builds, two copies and a rejection");

    for half_effect in 0..2 * effects {
        let lab = Lab::new().unwrap();
        scenario(&lab);
        lab.memory.crash_at(half_effect);
        // The first life ends with the first effect that fails. What cannot be saved then is lost with it.
        while let Some(turn) = work_one(&lab, &lab.pipeline()) {
            if !matches!(turn, Ok(Turn::Ended(_))) {
                break;
            }
        }
        // The second life sees only what the first left behind.
        lab.memory.never_crash();
        work(&lab);
        assert_eq!(picture(&lab), expected, "after a crash at half-effect {half_effect}");
        let world = lab.memory.world();
        let announced = world.announced.len();
        assert!(
            (6..=7).contains(&announced),
            "each end is announced at least once, one perhaps twice: {announced}"
        );
    }
}

/// A publisher that says yes and does nothing, as `reprepro copy` of nothing does.
#[derive(Debug)]
struct Liar(MemoryPublisher);

impl Publisher for Liar {
    fn prepare(&self) -> Result<(), PublishError> {
        Ok(())
    }
    fn publish(&self, _: &BuildArtifacts) -> Result<Option<Generation>, PublishError> {
        Ok(None)
    }
    fn copy(&self, _: &CopyPlan) -> Result<Option<Generation>, PublishError> {
        Ok(None)
    }
    fn owners(&self, suite: &Suite, binaries: &BTreeSet<PackageName>) -> Result<Owners, PublishError> {
        self.0.owners(suite, binaries)
    }
    fn held(&self, suite: &Suite, package: &PackageName) -> Result<Option<Held>, PublishError> {
        self.0.held(suite, package)
    }
    fn contents(&self, suite: &Suite) -> Result<Vec<Held>, PublishError> {
        self.0.contents(suite)
    }
}

#[test]
fn a_publisher_that_only_claims_success_stops_the_worker_before_git_moves() {
    let lab = Lab::new().unwrap();
    let [first, ..] = commits(&lab);
    submit(&lab, "prod", &first);
    let pipeline =
        Pipeline { publisher: Arc::new(Liar(MemoryPublisher(lab.memory.clone()))), ..lab.pipeline() };
    let halt = work_one(&lab, &pipeline).unwrap().unwrap_err();
    assert_eq!(halt.cause.to_string(), "the suite prod does not match the plan: it does not serve hello 1.0");
    assert!(lab.memory.world().branches.is_empty());
    assert_eq!(lab.queue().pending().unwrap().len(), 1, "the job is kept");
    assert_eq!(
        work(&lab),
        [Outcome::Published { version: version("1.0"), copied_from: None, notes: Vec::new() }]
    );
}

/// A pocket that says it recorded and did not.
#[derive(Debug)]
struct Forgetful(Box<dyn Pocket>);

impl Pocket for Forgetful {
    fn spec(&self) -> &PocketSpec {
        self.0.spec()
    }
    fn survey(&self, package: &PackageName, commit: &CommitId) -> Result<Survey, PocketError> {
        self.0.survey(package, commit)
    }
    fn record(&self, _: &Published) -> Result<(), PocketError> {
        Ok(())
    }
    fn record_rollback(&self, _: &crate::rollback::RolledBack) -> Result<(), PocketError> {
        Ok(())
    }
    fn contents(&self) -> Result<PocketContents, PocketError> {
        self.0.contents()
    }
    fn history(&self, limit: usize) -> Result<Vec<crate::job::Publication>, PocketError> {
        self.0.history(limit)
    }
}

#[test]
fn a_pocket_that_only_claims_to_have_recorded_stops_the_worker_before_the_hooks() {
    let lab = Lab::new().unwrap();
    let [first, ..] = commits(&lab);
    submit(&lab, "prod", &first);
    let mut pipeline = lab.pipeline();
    let prod: PocketName = "prod".parse().unwrap();
    let pocket = pipeline.pockets.remove(&prod).unwrap();
    pipeline.pockets.insert(prod, Box::new(Forgetful(pocket)));
    let halt = work_one(&lab, &pipeline).unwrap().unwrap_err();
    assert!(halt.cause.to_string().contains("branch prod is at nothing"), "{}", halt.cause);
    assert!(lab.memory.world().announced.is_empty());
}

type Happening = Box<dyn Fn() -> Result<(), BuildError> + Send + Sync>;

/// A builder during whose build something happens.
struct During(Happening, MemoryBuilder);

impl Debug for During {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("During").field(&self.1).finish()
    }
}

impl Builder for During {
    fn build<'a>(
        &self,
        source: &SourcePackage,
        target: &Target,
        into: &Path,
        log: &mut (dyn Write + Send + 'a),
        interrupt: &(dyn Interrupt + 'a),
    ) -> Result<PathBuf, BuildError> {
        (self.0)()?;
        self.1.build(source, target, into, log, interrupt)
    }
    fn protected(&self, base: &BaseName, of: &Architecture) -> Result<BTreeSet<PackageName>, BuildError> {
        self.1.protected(base, of)
    }
    fn clean_up(&self) -> Result<(), BuildError> {
        Ok(())
    }
}

fn with_builder(
    lab: &Lab,
    happening: impl Fn() -> Result<(), BuildError> + Send + Sync + 'static,
) -> Pipeline {
    let builder = During(Box::new(happening), MemoryBuilder(lab.memory.clone()));
    Pipeline { builder: Box::new(builder), ..lab.pipeline() }
}

#[test]
fn a_branch_that_moves_during_the_build_rejects_the_job_before_anything_is_published() {
    let lab = Lab::new().unwrap();
    let [first, second, _] = commits(&lab);
    submit(&lab, "dev", &second);
    let memory = lab.memory.clone();
    let place = ("dev".parse().unwrap(), hello());
    let pipeline = with_builder(&lab, move || {
        memory.world().branches.insert(place.clone(), first.clone());
        Ok(())
    });
    let turn = work_one(&lab, &pipeline).unwrap().unwrap();
    let Turn::Ended(Outcome::Rejected { reasons, .. }) = turn else { panic!("{turn:?}") };
    assert!(reasons[0].ends_with("submit again"), "{reasons:?}");
    assert!(lab.memory.world().archive.is_empty());
}

#[test]
fn a_principal_who_loses_the_right_during_the_build_is_refused() {
    let lab = Lab::new().unwrap();
    let [first, ..] = commits(&lab);
    submit(&lab, "dev", &first);
    let memory = lab.memory.clone();
    let pipeline = with_builder(&lab, move || {
        memory.world().denied.insert("alice@EXAMPLE.ORG".parse().unwrap());
        Ok(())
    });
    let turn = work_one(&lab, &pipeline).unwrap().unwrap();
    assert!(matches!(turn, Turn::Ended(Outcome::Rejected { not_permitted: true, .. })), "{turn:?}");
}

#[test]
fn a_job_that_is_cancelled_during_its_build_ends_without_effect() {
    let lab = Lab::new().unwrap();
    let [first, ..] = commits(&lab);
    submit(&lab, "dev", &first);
    let queue = lab.queue();
    let pipeline = with_builder(&lab, move || {
        let id = queue.pending().unwrap()[0].job().id.clone();
        queue.cancel(&id, &"bob@EXAMPLE.ORG".parse().unwrap()).unwrap();
        Ok(())
    });
    let turn = work_one(&lab, &pipeline).unwrap().unwrap();
    assert!(matches!(turn, Turn::Ended(Outcome::Cancelled { .. })), "{turn:?}");
    assert!(lab.memory.world().archive.is_empty());
    assert!(lab.queue().pending().unwrap().is_empty());
}

#[test]
fn a_build_whose_environment_failed_is_tried_again_later() {
    let lab = Lab::new().unwrap();
    let [first, ..] = commits(&lab);
    submit(&lab, "dev", &first);
    let pipeline = with_builder(&lab, || {
        Err(BuildError::GivenBack {
            package: hello(),
            version: version("1.0"),
            problem: "no mirror".to_owned(),
        })
    });
    let turn = work_one(&lab, &pipeline).unwrap().unwrap();
    assert!(matches!(turn, Turn::GivenBack(_)), "{turn:?}");
    assert!(lab.queue().claim().unwrap().is_none(), "not before its time");
    let pending = lab.queue().pending().unwrap();
    let given_back = pending[0].job().given_back.clone().unwrap();
    assert_eq!(given_back.attempts, 1);
    assert!(given_back.reason.contains("no mirror"));
}

#[test]
fn a_package_that_does_not_build_fails_with_its_log() {
    let lab = Lab::new().unwrap();
    let [first, ..] = commits(&lab);
    submit(&lab, "dev", &first);
    let pipeline = with_builder(&lab, || {
        Err(BuildError::Attempted {
            package: hello(),
            version: version("1.0"),
            problem: "exit status 1".to_owned(),
        })
    });
    let turn = work_one(&lab, &pipeline).unwrap().unwrap();
    let Turn::Ended(Outcome::Failed { stage: Stage::Build, causes, log: Some(log) }) = turn else {
        panic!("{turn:?}")
    };
    assert_eq!(causes, ["hello 1.0 does not build: exit status 1"]);
    assert!(log.exists());
}

#[test]
fn every_trait_is_object_safe_and_shareable() {
    fn check<T: ?Sized + Send + Sync>() {}
    check::<dyn Queue>();
    check::<dyn Claim>();
    check::<dyn Pocket>();
    check::<dyn Exporter>();
    check::<dyn Builder>();
    check::<dyn Publisher>();
}
