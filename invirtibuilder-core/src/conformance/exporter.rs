//! The contract of [`Exporter`], as checks that any backend can be run through.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::ExportError;
use crate::exporter::Exporter;
use crate::job::{Job, Request};
use crate::names::{Architecture, CommitId, PackageName, Version};
use crate::policy::{Building, PocketSpec, Policy};
use crate::states::{BuildPlan, SourcePackage};

/// A place with an exporter that is to be checked, and a way to make commits for it.
pub trait World {
    /// Returns the exporter.
    fn exporter(&self) -> &dyn Exporter;
    /// Makes a commit of a package with a valid `debian/` for a version and these other files.
    fn commit(&self, package: &PackageName, version: &Version, files: &[(&str, &str)]) -> CommitId;
    /// Makes a new empty directory.
    fn directory(&self) -> PathBuf;
}

/// Runs all checks.
///
/// # Panics
/// The backend breaks the contract.
pub fn check(world: &dyn World) {
    a_commit_becomes_its_source_package_and_nothing_else(world);
    the_same_commit_gives_the_same_bytes(world);
    what_is_at_fault_in_the_tree_is_malformed(world);
}

/// Returns the plan to build a commit.
#[must_use]
#[allow(clippy::missing_panics_doc, reason = "its literal names are valid")]
pub fn plan(package: &PackageName, version: &Version, commit: &CommitId) -> BuildPlan {
    let valid = "a literal name is valid";
    let request = Request {
        pocket: "prod".parse().expect(valid),
        package: package.clone(),
        commit: commit.clone(),
        principal: "alice@EXAMPLE.ORG".parse().expect(valid),
        adds: None,
    };
    let job = Job::new("20261123101500_k3x9ab".parse().expect(valid), request);
    let architecture: Architecture = "amd64".parse().expect(valid);
    let pocket = PocketSpec {
        name: "prod".parse().expect(valid),
        branch: "prod".parse().expect(valid),
        suite: "stable".parse().expect(valid),
        components: vec!["main".parse().expect(valid)],
        architectures: vec![architecture],
        base: "bookworm".parse().expect(valid),
        policy: Policy::default(),
        building: Building::default(),
    };
    BuildPlan::for_tests(job, pocket, version.clone(), None)
}

fn names() -> (PackageName, Version) {
    ("hello".parse().expect("a package name"), "1:1.0~rc1".parse().expect("a version"))
}

fn files_of(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).expect("the directory is readable");
    entries.map(|it| it.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

fn a_commit_becomes_its_source_package_and_nothing_else(world: &dyn World) {
    let (package, version) = names();
    let commit = world.commit(&package, &version, &[("hello.txt", "hello\n")]);
    let plan = plan(&package, &version, &commit);
    let into = world.directory();
    let dsc = world.exporter().export(&plan, &into).expect("the commit is exported").dsc;
    assert_eq!(dsc.parent(), Some(into.as_path()));
    let source = SourcePackage::for_tests(plan, &dsc).expect("the source package matches the plan");
    let mut named: BTreeSet<String> = source.control().files().iter().map(|it| it.name.to_string()).collect();
    named.insert("hello_1.0~rc1.dsc".to_owned());
    assert_eq!(files_of(&into), named);
}

fn the_same_commit_gives_the_same_bytes(world: &dyn World) {
    let (package, version) = names();
    let commit = world.commit(&package, &version, &[("a/b.txt", "b\n"), ("c", "")]);
    let plan = plan(&package, &version, &commit);
    let export = || {
        let into = world.directory();
        world.exporter().export(&plan, &into).expect("the commit is exported");
        let read = |name: String| {
            let bytes = std::fs::read(into.join(&name)).expect("the file is readable");
            (name, bytes)
        };
        files_of(&into).into_iter().map(read).collect::<Vec<_>>()
    };
    assert_eq!(export(), export());
}

fn what_is_at_fault_in_the_tree_is_malformed(world: &dyn World) {
    let (package, version) = names();
    let commit = world.commit(&package, &version, &[("debian/source/format", "9.0 (none)\n")]);
    let into = world.directory();
    let refused = world.exporter().export(&plan(&package, &version, &commit), &into);
    assert!(matches!(refused, Err(ExportError::Malformed { .. })), "{refused:?}");
    assert_eq!(files_of(&into), BTreeSet::new());
}
