//! How a program that embeds the library tests its own code: with mocks of the traits.

use std::sync::Arc;

use invirtibuilder_core::error::{BoxError, PublishError, StageError};
use invirtibuilder_core::memory::Lab;
use invirtibuilder_core::pipeline::Pipeline;
use invirtibuilder_core::policy::{Held, Verdict};
use invirtibuilder_core::publisher::MockPublisher;

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
