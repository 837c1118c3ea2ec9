//! The contract of [`Publisher`], as functions that any backend can be run through.
//!
//! The publisher that is given must serve the suites `stable` (trusted, no backtracking) and `unstable`
//! (backtracking), both with component `main` and architecture `amd64`, and both empty. Each function panics
//! where the contract is broken.

use std::path::Path;

use crate::error::{BoxError, PublishError};
use crate::job::{Job, Request};
use crate::memory::files::{Binary, commit_id, write_build, write_source};
use crate::names::{Architecture, CommitId, PackageName, Suite, Version};
use crate::policy::{Building, Held, PocketSpec, Policy};
use crate::publisher::{Generation, Publisher};
use crate::states::{BuildArtifacts, BuildPlan, CopyPlan, SourcePackage};

/// Returns the pocket that publishes in `stable` and does not allow backtracking.
#[must_use]
pub fn stable() -> PocketSpec {
    pocket("prod", "stable", Policy::default())
}

/// Returns the pocket of `stable`, for which arm64 may come later.
///
/// # Panics
/// Never: arm64 is an architecture.
#[must_use]
pub fn stable_and_arm64() -> PocketSpec {
    let mut pocket = stable();
    pocket.building.optional.push("arm64".parse().expect("arm64 is an architecture"));
    pocket
}

/// Returns the pocket that publishes in `unstable` and allows backtracking.
#[must_use]
pub fn unstable() -> PocketSpec {
    pocket("dev", "unstable", Policy { allow_backtracking: true, ..Policy::default() })
}

fn pocket(name: &str, suite: &str, policy: Policy) -> PocketSpec {
    PocketSpec {
        name: name.parse().expect("the name is a pocket name"),
        branch: name.parse().expect("the name is a branch name"),
        suite: suite.parse().expect("the suite is a suite"),
        components: vec!["main".parse().expect("main is a component")],
        architectures: vec!["amd64".parse().expect("amd64 is an architecture")],
        base: "bookworm".parse().expect("bookworm is a base name"),
        policy,
        building: Building::default(),
    }
}

/// A version of a package to publish: a binary package of its own name for `amd64`, and `<package>-doc` for all.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The source package.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// The commit that it is made from.
    pub commit: CommitId,
    /// What its binary packages contain.
    pub content: String,
}

impl Sample {
    /// Describes a version whose commit and content follow from its package, its version and `variant`.
    ///
    /// # Panics
    /// The package or the version is malformed.
    #[must_use]
    pub fn new(package: &str, version: &str, variant: &str) -> Self {
        let facts = format!("{package} {version} {variant}");
        Self {
            package: package.parse().expect("the package is well formed"),
            version: version.parse().expect("the version is well formed"),
            commit: commit_id(&facts),
            content: facts,
        }
    }

    /// Returns what a suite holds once this is published in it.
    #[must_use]
    pub fn held(&self) -> Held {
        Held {
            package: self.package.clone(),
            version: self.version.clone(),
            commit: Some(self.commit.clone()),
        }
    }

    /// Returns the plan to publish it in a pocket.
    ///
    /// # Panics
    /// Never: the names in it are well formed.
    #[must_use]
    pub fn plan(&self, pocket: &PocketSpec) -> BuildPlan {
        let request = Request {
            pocket: pocket.name.clone(),
            package: self.package.clone(),
            commit: self.commit.clone(),
            principal: "alice@EXAMPLE.ORG".parse().expect("alice is a principal"),
            adds: None,
        };
        // The same sample is the same job.
        let suffix: String = self.commit.as_str().chars().take(6).collect();
        let id = format!("20261123101500_{suffix}").parse().expect("it is a job id");
        BuildPlan::for_tests(Job::new(id, request), pocket.clone(), self.version.clone(), None)
    }

    /// Makes its files in `into`, a directory that exists, as if they had been built for a pocket.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn build(&self, pocket: &PocketSpec, into: &Path) -> Result<BuildArtifacts, BoxError> {
        let dsc = write_source(into, &self.package, &self.version, &self.commit)?;
        let binary = |name: String, architecture: Architecture| -> Result<Binary, BoxError> {
            Ok(Binary { package: name.parse()?, architecture, content: self.content.clone() })
        };
        let amd64: Architecture = "amd64".parse()?;
        let binaries = [
            binary(self.package.to_string(), amd64.clone())?,
            binary(format!("{}-doc", self.package), Architecture::all())?,
        ];
        let changes = write_build(into, &self.package, &self.version, &amd64, &binaries)?;
        let source = SourcePackage::for_tests(self.plan(pocket), &dsc)?;
        Ok(BuildArtifacts::for_tests(source, &[changes])?)
    }

    /// Makes a package for arm64 in `into`, a directory that exists, to be added to what a publisher serves in the suite of
    /// [`stable_and_arm64`].
    ///
    /// # Errors
    /// It is not served, or the files cannot be written.
    pub fn addition(&self, publisher: &dyn Publisher, into: &Path) -> Result<BuildArtifacts, BoxError> {
        let pocket = stable_and_arm64();
        let arm64: Architecture = "arm64".parse()?;
        publisher.source(&pocket.suite, &self.package, into)?;
        let architecture = arm64.clone();
        let binary = Binary { package: self.package.clone(), architecture, content: self.content.clone() };
        write_build(into, &self.package, &self.version, &arm64, &[binary])?;
        self.addition_in(into)
    }

    /// Reads what [`Sample::addition`] has made in a directory.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn addition_in(&self, directory: &Path) -> Result<BuildArtifacts, BoxError> {
        let (pocket, arm64): (_, Architecture) = (stable_and_arm64(), "arm64".parse()?);
        let stem = format!("{}_{}", self.package, self.version.without_epoch());
        let dsc = directory.join(format!("{stem}.dsc"));
        let changes = directory.join(format!("{stem}_{arm64}.changes"));
        let mut job = self.plan(&pocket).job().clone();
        job.id = job.id.as_str().replacen("101500", "101501", 1).parse()?;
        job.request.adds = Some(arm64);
        let plan = BuildPlan::for_tests(job, pocket, self.version.clone(), Some(self.commit.clone()));
        Ok(BuildArtifacts::for_tests(SourcePackage::for_tests(plan, &dsc)?, &[changes])?)
    }

    /// Makes its files in a temporary directory and publishes them.
    ///
    /// # Errors
    /// The files cannot be written, or the publisher does not take them.
    pub fn publish(
        &self,
        publisher: &dyn Publisher,
        pocket: &PocketSpec,
    ) -> Result<Option<Generation>, PublishError> {
        let directory = tempfile::tempdir().map_err(|e| PublishError::Backend(e.into()))?;
        publisher.publish(&self.build(pocket, directory.path()).map_err(PublishError::Backend)?)
    }
}

/// A publisher of a suite `stable` for amd64 and arm64 ([`stable_and_arm64`]), which is empty, adds an architecture to a
/// version in one switch, repeats that without effect, and refuses it when it serves another version.
///
/// # Panics
/// It does not.
pub fn an_architecture_is_added_to_the_version_that_is_served_and_to_no_other(publisher: &dyn Publisher) {
    const WORKS: &str = "the publisher works";
    let pocket = stable_and_arm64();
    let into = || tempfile::tempdir().expect("there is room for a temporary directory");
    let architectures = |package: &PackageName| {
        let found = publisher.architectures(&pocket.suite, package).expect(WORKS);
        found.iter().map(Architecture::as_str).collect::<Vec<_>>().join(" ")
    };
    let sample = Sample::new("hello", "1.0", "");
    let published = sample.publish(publisher, &pocket).expect(WORKS);
    assert_eq!(architectures(&sample.package), "all amd64");
    let directory = into();
    let addition = sample.addition(publisher, directory.path()).expect("the source package is served");
    let added = publisher.add(&addition).expect(WORKS);
    assert_eq!(architectures(&sample.package), "all amd64 arm64");
    assert_eq!(publisher.held(&pocket.suite, &sample.package).expect(WORKS), Some(sample.held()));
    assert_eq!(publisher.add(&addition).expect(WORKS), added, "a repetition changes nothing");
    if let (Some(published), Some(added)) = (published, added) {
        assert_eq!(added, published.next(), "it is one switch");
        assert_eq!(publisher.generation(&pocket.suite).expect(WORKS), Some(added));
    }
    let later = Sample::new("hello", "1.1", "");
    later.publish(publisher, &pocket).expect(WORKS);
    let refused = publisher.add(&addition).expect_err("another version is served");
    assert!(matches!(refused, PublishError::NotHeld { .. }), "{refused}");
    assert_eq!(architectures(&sample.package), "all amd64", "a refusal changes nothing");
}

/// Runs a publisher, a new one each time, through the whole contract. One that adds architectures has those of
/// [`stable_and_arm64`] in the suite `stable`.
///
/// # Panics
/// The contract is broken.
pub fn all<P: Publisher>(mut make: impl FnMut() -> P) {
    empty_suites_hold_nothing(&make());
    what_was_published_is_held(&make());
    a_later_version_replaces_the_earlier(&make());
    publishing_again_changes_nothing(&make());
    packages_lie_side_by_side(&make());
    suites_are_independent(&make());
    a_copy_has_the_version_and_the_commit_of_its_original(&make());
    copying_again_changes_nothing(&make());
    a_copy_replaces_what_was_there(&make());
    nothing_that_is_not_held_is_copied(&make());
    another_version_than_the_held_one_is_not_copied(&make());
    other_bytes_under_a_reserved_version_are_refused_and_change_nothing(&make());
    a_backtracking_suite_takes_a_version_again(&make());
    the_name_of_another_source_s_binary_is_refused_and_changes_nothing(&make());
    let publisher = make();
    if adds(&publisher) {
        an_architecture_is_added_to_the_version_that_is_served_and_to_no_other(&publisher);
    }
}

/// Returns whether a publisher can add an architecture to what it serves.
///
/// # Panics
/// It does not publish.
pub fn adds(publisher: &dyn Publisher) -> bool {
    let sample = Sample::new("hello", "1.0", "");
    published(publisher, &sample, &stable());
    let into = tempfile::tempdir().expect("there is room for a temporary directory");
    publisher.source(&stable().suite, &sample.package, into.path()).is_ok()
}

/// An empty suite, and one that does not exist, hold nothing.
///
/// # Panics
/// The contract is broken.
pub fn empty_suites_hold_nothing(publisher: &dyn Publisher) {
    let hello = Sample::new("hello", "1.0", "");
    expect_contents(publisher, &stable().suite, &[]);
    assert_eq!(publisher.held(&stable().suite, &hello.package).expect("a suite can be read"), None);
    expect_contents(publisher, &"no-such-suite".parse().expect("it is well formed"), &[]);
}

/// What was published is held, with its commit.
///
/// # Panics
/// The contract is broken.
pub fn what_was_published_is_held(publisher: &dyn Publisher) {
    let hello = Sample::new("hello", "1:1.0~rc1-1", "");
    published(publisher, &hello, &stable());
    expect_contents(publisher, &stable().suite, &[&hello]);
}

/// A suite holds one version of a package: the last.
///
/// # Panics
/// The contract is broken.
pub fn a_later_version_replaces_the_earlier(publisher: &dyn Publisher) {
    let (old, new) = (Sample::new("hello", "1.0", ""), Sample::new("hello", "1.1", ""));
    published(publisher, &old, &stable());
    published(publisher, &new, &stable());
    expect_contents(publisher, &stable().suite, &[&new]);
}

/// Publishing is idempotent.
///
/// # Panics
/// The contract is broken.
pub fn publishing_again_changes_nothing(publisher: &dyn Publisher) {
    let hello = Sample::new("hello", "1.0", "");
    published(publisher, &hello, &stable());
    published(publisher, &hello, &stable());
    expect_contents(publisher, &stable().suite, &[&hello]);
}

/// A publication leaves the other packages of its suite as they are, and the contents come in order.
///
/// # Panics
/// The contract is broken.
pub fn packages_lie_side_by_side(publisher: &dyn Publisher) {
    let (hello, apple, mango) =
        (Sample::new("hello", "1.0", ""), Sample::new("apple", "2.0", ""), Sample::new("libmango", "3", ""));
    for sample in [&hello, &apple, &mango] {
        published(publisher, sample, &stable());
    }
    expect_contents(publisher, &stable().suite, &[&apple, &hello, &mango]);
    let newer = Sample::new("hello", "1.0-1", "");
    published(publisher, &newer, &stable());
    expect_contents(publisher, &stable().suite, &[&apple, &newer, &mango]);
}

/// A publication leaves the other suites as they are.
///
/// # Panics
/// The contract is broken.
pub fn suites_are_independent(publisher: &dyn Publisher) {
    let (hello, newer) = (Sample::new("hello", "1.0", ""), Sample::new("hello", "1.1", ""));
    published(publisher, &hello, &stable());
    published(publisher, &newer, &unstable());
    expect_contents(publisher, &stable().suite, &[&hello]);
    expect_contents(publisher, &unstable().suite, &[&newer]);
}

/// A copy is what its original is, and leaves it where it is.
///
/// # Panics
/// The contract is broken.
pub fn a_copy_has_the_version_and_the_commit_of_its_original(publisher: &dyn Publisher) {
    let hello = Sample::new("hello", "1.0", "");
    published(publisher, &hello, &unstable());
    copied(publisher, &hello);
    expect_contents(publisher, &stable().suite, &[&hello]);
    expect_contents(publisher, &unstable().suite, &[&hello]);
}

/// Copying is idempotent.
///
/// # Panics
/// The contract is broken.
pub fn copying_again_changes_nothing(publisher: &dyn Publisher) {
    let hello = Sample::new("hello", "1.0", "");
    published(publisher, &hello, &unstable());
    copied(publisher, &hello);
    copied(publisher, &hello);
    expect_contents(publisher, &stable().suite, &[&hello]);
}

/// A copy takes the place of the version that the suite held.
///
/// # Panics
/// The contract is broken.
pub fn a_copy_replaces_what_was_there(publisher: &dyn Publisher) {
    let (old, new) = (Sample::new("hello", "1.0", ""), Sample::new("hello", "2.0", ""));
    published(publisher, &old, &stable());
    published(publisher, &new, &unstable());
    copied(publisher, &new);
    expect_contents(publisher, &stable().suite, &[&new]);
}

/// Copying a package that the source suite does not hold is refused, and says so.
///
/// # Panics
/// The contract is broken.
pub fn nothing_that_is_not_held_is_copied(publisher: &dyn Publisher) {
    let (hello, apple) = (Sample::new("hello", "1.0", ""), Sample::new("apple", "1.0", ""));
    published(publisher, &apple, &unstable());
    expect_not_held(publisher, &hello);
    expect_contents(publisher, &stable().suite, &[]);
}

/// Copying a version that the source suite no longer holds is refused, also where its commit moved on.
///
/// # Panics
/// The contract is broken.
pub fn another_version_than_the_held_one_is_not_copied(publisher: &dyn Publisher) {
    published(publisher, &Sample::new("hello", "1.1", ""), &unstable());
    expect_not_held(publisher, &Sample::new("hello", "1.0", ""));
    expect_not_held(publisher, &Sample::new("hello", "1.1", "from another commit"));
    expect_contents(publisher, &stable().suite, &[]);
}

/// A version that a suite serves for good is not served again with other bytes.
///
/// # Panics
/// The contract is broken.
pub fn other_bytes_under_a_reserved_version_are_refused_and_change_nothing(publisher: &dyn Publisher) {
    let (hello, other) = (Sample::new("hello", "1.0", ""), Sample::new("hello", "1.0", "another"));
    published(publisher, &hello, &stable());
    let refused = other.publish(publisher, &stable());
    assert!(matches!(refused, Err(PublishError::Conflict { .. })), "it was not refused: {refused:?}");
    expect_contents(publisher, &stable().suite, &[&hello]);
}

/// A suite whose pocket allows backtracking takes an older version, and the same version from another commit.
///
/// # Panics
/// The contract is broken.
pub fn a_backtracking_suite_takes_a_version_again(publisher: &dyn Publisher) {
    for (version, variant) in [("1.0", ""), ("1.0", "another"), ("0.9", ""), ("1.0", "")] {
        let hello = Sample::new("hello", version, variant);
        published(publisher, &hello, &unstable());
        expect_contents(publisher, &unstable().suite, &[&hello]);
    }
}

/// A binary package belongs to one source package of a suite: another may not publish it, nor bring it along by a
/// copy, in whatever version. The owner may.
///
/// # Panics
/// The contract is broken.
pub fn the_name_of_another_source_s_binary_is_refused_and_changes_nothing(publisher: &dyn Publisher) {
    // Each sample makes a package of its own name, and one of that name with `-doc` at its end.
    let (hello, thief) = (Sample::new("hello", "1.0", ""), Sample::new("hello-doc", "2.0", ""));
    published(publisher, &hello, &stable());
    let expect_owned = |refused: Result<(), PublishError>| match refused {
        Err(PublishError::Owned { binary, owner, .. }) => {
            assert_eq!((binary.as_str(), owner.as_str()), ("hello-doc", "hello"));
            expect_contents(publisher, &stable().suite, &[&hello]);
        }
        other => panic!("hello-doc is a package of hello, but: {other:?}"),
    };
    expect_owned(thief.publish(publisher, &stable()).map(drop));
    published(publisher, &thief, &unstable());
    expect_owned(publisher.copy(&CopyPlan::for_tests(thief.plan(&stable()), unstable())).map(drop));
    let newer = Sample::new("hello", "1.1", "");
    published(publisher, &newer, &stable());
    expect_contents(publisher, &stable().suite, &[&newer]);
}

fn published(publisher: &dyn Publisher, sample: &Sample, pocket: &PocketSpec) {
    let result = sample.publish(publisher, pocket);
    assert!(result.is_ok(), "{} {} was not published: {result:?}", sample.package, sample.version);
}

/// Copies from `unstable` to `stable`.
fn copied(publisher: &dyn Publisher, sample: &Sample) {
    let result = publisher.copy(&CopyPlan::for_tests(sample.plan(&stable()), unstable()));
    assert!(result.is_ok(), "{} {} was not copied: {result:?}", sample.package, sample.version);
}

fn expect_not_held(publisher: &dyn Publisher, sample: &Sample) {
    let result = publisher.copy(&CopyPlan::for_tests(sample.plan(&stable()), unstable()));
    assert!(matches!(result, Err(PublishError::NotHeld { .. })), "it is not held, but: {result:?}");
}

fn expect_contents(publisher: &dyn Publisher, suite: &Suite, samples: &[&Sample]) {
    let wanted: Vec<Held> = samples.iter().map(|it| it.held()).collect();
    assert_eq!(publisher.contents(suite).expect("a suite can be read"), wanted, "the contents of {suite}");
    for held in &wanted {
        let found = publisher.held(suite, &held.package).expect("a suite can be read");
        assert_eq!(found.as_ref(), Some(held), "what {suite} holds");
    }
}
