//! How a program that embeds the library tests its own code: with mocks of the traits.

use std::sync::Arc;

use invirtibuilder_core::error::{BoxError, PublishError, StageError};
use invirtibuilder_core::job::{Job, Outcome, Relations, Stage};
use invirtibuilder_core::memory::Lab;
use invirtibuilder_core::pipeline::{Observer, Pipeline, Turn};
use invirtibuilder_core::pocket::{MockPocket, Pocket};
use invirtibuilder_core::policy::{CommitState, Declaration, Held, Policy, Relation, Survey, Verdict};
use invirtibuilder_core::publisher::{MockPublisher, Owners};
use invirtibuilder_core::queue::Queue;
use invirtibuilder_core::stop::Stop;

/// Asks a pipeline with this publisher what a commit of hello 1.0 for `prod` would come to.
fn judge(publisher: MockPublisher) -> Result<Verdict, Box<StageError>> {
    let lab = Lab::new().expect("there is room for a temporary directory");
    let package = "hello".parse().expect("a package name");
    let commit = lab.commit(&package, &"1.0".parse().expect("a version"), None);
    let pipeline = Pipeline { publisher: Arc::new(publisher), ..lab.pipeline() };
    pipeline.judge(&Lab::request("prod", &package, &commit)).map(|it| it.0).map_err(Box::new)
}

#[test]
fn an_empty_archive_means_a_build() -> Result<(), BoxError> {
    let mut publisher = MockPublisher::new();
    publisher.expect_held().times(2).returning(|_, _| Ok(None));
    assert_eq!(judge(publisher)?, Verdict::Build("1.0".parse()?));
    Ok(())
}

#[test]
fn the_same_version_of_an_unknown_commit_elsewhere_is_not_copied() -> Result<(), BoxError> {
    let mut publisher = MockPublisher::new();
    publisher.expect_held().returning(|suite, package| {
        let held = |version| Held { package: package.clone(), version, commit: None };
        Ok((suite.as_str() == "dev").then(|| held("1.0".parse().expect("a version"))))
    });
    assert_eq!(judge(publisher)?, Verdict::Build("1.0".parse()?));
    Ok(())
}

#[test]
fn an_archive_that_does_not_answer_is_an_error_and_no_verdict() {
    let mut publisher = MockPublisher::new();
    publisher.expect_held().returning(|_, _| Err(PublishError::Backend("the disk is gone".into())));
    let error = judge(publisher).expect_err("nothing can be judged");
    assert!(matches!(*error, StageError::Publish(_)), "{error}");
}

/// Hears of everything, and says nothing.
#[derive(Debug)]
struct Silent;

impl Observer for Silent {
    fn claimed(&self, _: &Job) {}
    fn entered(&self, _: &Job, _: Stage) {}
    fn ended(&self, _: &Job, _: &Outcome) {}
    fn given_back(&self, _: &Job, _: &str, _: jiff::Timestamp) {}
}

#[test]
fn an_archive_that_refuses_keeps_git_from_being_told() -> Result<(), BoxError> {
    let lab = Lab::new()?;
    let package = "hello".parse()?;
    let commit = lab.commit(&package, &"1.0".parse()?, None);
    let mut pocket = MockPocket::new();
    pocket.expect_spec().return_const(Lab::spec("prod", Policy::default()));
    pocket.expect_survey().returning(|package, _| {
        Ok(Survey {
            commit: CommitState::Present,
            changelog: Some(Ok((package.clone(), "1.0".parse().expect("a version")))),
            control: Some(Ok(Declaration::of_one(package.clone()))),
            relation: Relation::New,
            heads: [].into(),
            tagged: None,
        })
    });
    pocket.expect_record().never();
    let mut publisher = MockPublisher::new();
    publisher.expect_held().returning(|_, _| Ok(None));
    publisher.expect_owners().returning(|_, _| Ok(Owners::new()));
    publisher.expect_publish().once().returning(|artifacts| {
        let plan = artifacts.plan();
        Err(PublishError::Unfit {
            suite: plan.suite().clone(),
            package: plan.package().clone(),
            version: plan.version().clone(),
            problem: "its name is reserved; rename it".to_owned(),
        })
    });
    // Queue, exporter and builder are those in memory: mocks and they can be mixed.
    let pockets = [("prod".parse()?, Box::new(pocket) as Box<dyn Pocket>)].into();
    let pipeline = Pipeline { pockets, publisher: Arc::new(publisher), ..lab.pipeline() };
    lab.queue().submit(Lab::request("prod", &package, &commit), &Relations::default())?;
    let claim = lab.queue().claim()?.ok_or("there is a job")?;
    let turn = pipeline.work(claim, &Stop::new()?, &Silent)?;
    let Turn::Ended(Outcome::Failed { stage, causes, .. }) = turn else {
        return Err(format!("the job did not fail: {turn:?}").into());
    };
    assert_eq!(stage, Stage::Publish);
    assert_eq!(causes, ["prod cannot take hello 1.0: its name is reserved; rename it"]);
    Ok(())
}
