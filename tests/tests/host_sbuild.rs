//! The builder that contains nothing, on this machine. (The name puts it into the group of heavy tests.)
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use invirtibuilder_core::builder::Builder;
use invirtibuilder_core::builder::host::{HostBuilder, HostConfig};
use invirtibuilder_core::builder::limits::BuildLimits;
use invirtibuilder_core::builder::sbuild::ACCOUNT;
use invirtibuilder_core::conformance::builder as contract;
use invirtibuilder_core::error::BuildError;
use invirtibuilder_core::finding::Level;
use invirtibuilder_core::policy::Trust;
use invirtibuilder_core::states::SourcePackage;
use invirtibuilder_core::stop::Never;
use invirtibuilder_tests::builds::{PLAIN, assert_nothing_is_left, plan, source, target};
use invirtibuilder_tests::programs::runs;
use invirtibuilder_tests::sites::shared_bases;

struct World {
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("world-").tempdir_in(shared_bases()).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn builder(&self) -> HostBuilder {
        HostBuilder::new(HostConfig {
            scratch: self.path("scratch"),
            account: ACCOUNT.to_owned(),
            limits: BuildLimits::default(),
        })
    }

    fn source(&self, name: &str, does: &str, needs: &str) -> SourcePackage {
        source(self.directory.path(), plan(name, "ci", Trust::Full), &format!("{PLAIN}\t{does}\n"), needs)
    }

    fn problem(&self, source: &SourcePackage) -> (String, String) {
        fs::create_dir(self.path("into")).unwrap();
        let mut log = Vec::new();
        let result = self.builder().build(source, &target(), &self.path("into"), &mut log, &Never);
        let log = String::from_utf8_lossy(&log).into_owned();
        let Err(BuildError::Attempted { problem, .. }) = result else { panic!("{result:?}\n{log}") };
        assert_nothing_is_left(&self.path("scratch"));
        (problem, log)
    }
}

#[test]
fn a_package_is_built_on_this_machine_by_an_account_without_privilege() {
    let world = World::new();
    let does = "test `id -u` != 0; setsid sleep 3155761101 </dev/null >/dev/null 2>&1 &";
    let source = world.source("hosted", does, "");
    contract::a_success_leaves_the_changes_and_every_file_that_it_names(&world.builder(), &source, &target());
    contract::an_interrupted_build_ends_soon_and_can_be_repeated(&world.builder(), &source, &target());
    contract::cleaning_up_can_be_repeated(&world.builder());
    assert!(!runs("3155761101"), "a process of the build runs on");
    assert_nothing_is_left(&world.path("scratch"));
}

#[test]
fn a_build_dependency_that_is_not_installed_is_named_with_the_command_that_installs_it() {
    let world = World::new();
    let (problem, _) = world.problem(&world.source("needy", "true", "nobody-has-this (>= 2), dpkg"));
    assert!(problem.contains("nobody-has-this (>= 2)"), "{problem}");
    let command = "`apt-get satisfy --no-install-recommends \"nobody-has-this (>= 2), dpkg\"`";
    assert!(problem.contains(command), "{problem}");
}

#[test]
fn a_build_that_fails_is_told_with_a_warning_that_nothing_contained_it() {
    let world = World::new();
    let (_, log) = world.problem(&world.source("failing", "echo the reason; exit 3", ""));
    assert!(log.contains("the reason") && log.contains("this builder contains nothing"), "{log}");
    let warned = world.builder().check().into_iter().filter(|it| it.level == Level::Warning);
    assert!(warned.into_iter().any(|it| it.text.contains("it contains nothing")));
}
