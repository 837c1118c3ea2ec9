//! The overlay builder, with real rooms, apt and packages. (The name puts it into the group of heavy tests.)
//!
//! The base and the layers are made once and kept beside those of the other builders' tests.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests write files and start programs, and tell their other processes how they went"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use invirtibuilder_core::builder::base::BaseSpec;
use invirtibuilder_core::builder::limits::{BuildLimits, Groups, Resource};
use invirtibuilder_core::builder::overlay::{KeepFailed, LAYERS, OverlayBuilder, OverlayConfig};
use invirtibuilder_core::builder::sbuild::ACCOUNT;
use invirtibuilder_core::builder::{Builder, Target};
use invirtibuilder_core::conformance::builder as contract;
use invirtibuilder_core::control::Changes;
use invirtibuilder_core::error::BuildError;
use invirtibuilder_core::finding::Level;
use invirtibuilder_core::policy::Trust;
use invirtibuilder_core::states::SourcePackage;
use invirtibuilder_core::stop::{Never, Stop};
use invirtibuilder_tests::builds::{
    BASE, DEBHELPER, GOOD, StopAt, assert_nothing_is_left, compiled, host, plan, source, target,
};
use invirtibuilder_tests::programs::{CLI, program, runs};
use invirtibuilder_tests::sites::shared_bases;

mod overlay;

/// A directory for one test, a builder with its own scratch, and the base and layers that all tests share.
struct World {
    directory: tempfile::TempDir,
    cache: PathBuf,
    store: PathBuf,
    limits: BuildLimits,
}

impl World {
    fn new() -> Self {
        let cache = shared_bases();
        Self::below(&cache.clone(), cache)
    }

    fn below(directory: &Path, cache: PathBuf) -> Self {
        let directory = tempfile::Builder::new().prefix("world-").tempdir_in(directory).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
        Self { directory, store: cache.join("overlay"), cache, limits: BuildLimits::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self) -> OverlayConfig {
        OverlayConfig {
            bases: BTreeMap::from([(BASE.parse().unwrap(), BaseSpec::default())]),
            cache: self.cache.clone(),
            store: self.store.clone(),
            scratch: self.path("scratch"),
            account: ACCOUNT.to_owned(),
            limits: self.limits,
            layers: LAYERS,
            keep_failed: KeepFailed { time: Duration::ZERO, bytes: 0 },
            helper: program(CLI),
        }
    }

    fn builder(&self) -> OverlayBuilder {
        OverlayBuilder::new(self.config())
    }

    fn source(&self, name: &str, rules: &str, build_depends: &str) -> SourcePackage {
        source(self.directory.path(), plan(name, "prod", Trust::Full), rules, build_depends)
    }

    /// Makes a package whose `debian/rules` does this where it would be compiled.
    fn source_that(&self, name: &str, does: &str) -> SourcePackage {
        self.source(name, &format!("{GOOD}override_dh_auto_build:\n\t{does}\n"), DEBHELPER)
    }

    fn build(&self, source: &SourcePackage) -> (Result<PathBuf, BuildError>, String) {
        let into = self.path("into");
        fs::create_dir_all(&into).unwrap();
        let mut log = Vec::new();
        let result = self.builder().build(source, &target(), &into, &mut log, &Never);
        (result, String::from_utf8_lossy(&log).into_owned())
    }

    fn assert_nothing_is_left(&self) {
        assert_nothing_is_left(&self.path("scratch"));
        let here = self.directory.path().to_str().unwrap();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(here), "a mount is left:\n{mounts}");
    }

    /// Builds what must fail, and returns why, and the log.
    #[track_caller]
    fn problem(&self, source: &SourcePackage) -> (String, String) {
        let (result, log) = self.build(source);
        let Err(BuildError::Attempted { problem, .. }) = result else { panic!("{result:?}\n{log}") };
        assert_eq!(fs::read_dir(self.path("into")).unwrap().count(), 0);
        self.assert_nothing_is_left();
        (problem, log)
    }
}

#[test]
fn a_package_for_all_and_any_is_built_as_the_contract_says() {
    let world = World::new();
    let source = world.source_that("both", "test \"$$SOURCE_DATE_EPOCH\" = 1795420800");
    contract::a_success_leaves_the_changes_and_every_file_that_it_names(&world.builder(), &source, &target());
    contract::an_interrupted_build_ends_soon_and_can_be_repeated(&world.builder(), &source, &target());
    contract::cleaning_up_can_be_repeated(&world.builder());
    world.assert_nothing_is_left();
}

#[test]
fn results_reach_a_directory_that_the_account_of_builds_cannot_enter() {
    let world = World::new();
    let source = world.source("closed", GOOD, DEBHELPER);
    let closed = world.path("closed");
    fs::create_dir_all(closed.join("into")).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let target = Target { with_all: false, ..target() };
    let mut log = Vec::new();
    let result = world.builder().build(&source, &target, &closed.join("into"), &mut log, &Never);
    let log = String::from_utf8_lossy(&log);
    let changes = Changes::read(&result.unwrap_or_else(|e| panic!("{e:?}\n{log}"))).unwrap();
    let built: Vec<_> = changes.binaries().iter().map(|it| it.package().to_string()).collect();
    assert_eq!(built, ["closed"], "without `all`, only the package for any is built");
    assert!(log.contains("invirtibuilder: base bookworm"), "{log}");
    world.assert_nothing_is_left();
}

#[test]
fn a_package_that_does_not_build_is_attempted() {
    let world = World::new();
    let (_, log) = world.problem(&world.source_that("broken", "echo this is the reason; exit 7"));
    assert!(log.contains("this is the reason"), "{log}");
}

#[test]
fn a_build_dependency_that_does_not_exist_is_the_package_s_fault_with_apts_explanation() {
    let world = World::new();
    let (problem, log) = world.problem(&world.source("needy", GOOD, "debhelper, nobody-has-this (>= 2)"));
    assert!(problem.contains("Depends: nobody-has-this (>= 2) but it is not installable"), "{problem}");
    assert!(log.contains("nobody-has-this"), "{log}");
}

#[test]
fn an_interrupt_ends_a_build_that_hangs_with_all_that_it_started() {
    let world = World::new();
    let source = world.source_that(
        "hanging",
        "setsid sleep 3155761001 </dev/null >/dev/null 2>&1 & echo now it hangs; sleep 3155761002",
    );
    fs::create_dir(world.path("into")).unwrap();
    let stop = Stop::new().unwrap();
    let mut log = StopAt::new("\nnow it hangs", &stop);
    let result = world.builder().build(&source, &target(), &world.path("into"), &mut log, &stop);
    let text = String::from_utf8_lossy(&log.seen);
    assert!(matches!(result, Err(BuildError::Interrupted)), "{result:?}\n{text}");
    assert!(log.at.unwrap().elapsed() < Duration::from_secs(20));
    assert!(!runs("3155761001") && !runs("3155761002"), "a process of the build runs on");
    world.assert_nothing_is_left();
}

#[test]
fn a_process_that_a_successful_build_leaves_running_ends_with_it() {
    let world = World::new();
    let source = world.source_that("staying", "setsid sleep 3155761003 </dev/null >/dev/null 2>&1 &");
    let (result, log) = world.build(&source);
    result.unwrap_or_else(|e| panic!("{e:?}\n{log}"));
    assert!(!runs("3155761003"), "a process of the build runs on");
    world.assert_nothing_is_left();
}

#[test]
fn each_pocket_that_is_not_trusted_has_layers_of_its_own() {
    let world = World::new();
    let into = world.path("into");
    for (name, pocket, trust, domain) in [
        ("one", "prod", Trust::Full, "for trusted pockets"),
        ("two", "dev", Trust::None, "for the pocket dev alone"),
        ("three", "lab", Trust::None, "for the pocket lab alone"),
    ] {
        let source = source(world.directory.path(), plan(name, pocket, trust), GOOD, DEBHELPER);
        fs::create_dir(&into).unwrap();
        let mut log = Vec::new();
        let result = world.builder().build(&source, &target(), &into, &mut log, &Never);
        let log = String::from_utf8_lossy(&log);
        result.unwrap_or_else(|e| panic!("{e:?}\n{log}"));
        assert!(log.contains(&format!("in a layer {domain}\n")), "{log}");
        fs::remove_dir_all(&into).unwrap();
    }
    let records = fs::read_dir(world.store.join("layers")).unwrap().map(|it| it.unwrap().path());
    let records = records.filter(|it| it.extension().is_some_and(|it| it == "json"));
    let texts: Vec<_> = records.map(|it| fs::read_to_string(it).unwrap()).collect();
    for domain in ["trusted pockets", "the pocket dev alone", "the pocket lab alone"] {
        assert!(texts.iter().any(|it| it.contains(domain)), "no layer for {domain}: {texts:?}");
    }
}

#[test]
fn a_machine_on_which_builds_work_has_no_error_among_its_findings() {
    let world = World::new();
    let findings = world.builder().check();
    let errors: Vec<_> = findings.into_iter().filter(|it| it.level == Level::Error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    world.assert_nothing_is_left();
}

/// Builds a package without debhelper for another architecture than this machine's.
#[track_caller]
fn builds_for(architecture: &str, pointers: u8, machine: &str) {
    let world = World::new();
    // Without the updates: some mirrors have no whole copy of them for every architecture.
    let spec = BaseSpec { suites: vec![BASE.to_owned()], ..BaseSpec::default() };
    let config = OverlayConfig { bases: BTreeMap::from([(BASE.parse().unwrap(), spec)]), ..world.config() };
    let name = format!("tiny-{architecture}");
    let source = world.source(&name, &compiled(&name, pointers, machine), "dpkg-dev");
    let target = Target { architecture: architecture.parse().unwrap(), with_all: false, ..target() };
    let (into, mut log) = (world.path("into"), Vec::new());
    fs::create_dir_all(&into).unwrap();
    let result = OverlayBuilder::new(config).build(&source, &target, &into, &mut log, &Never);
    let log = String::from_utf8_lossy(&log);
    let changes = Changes::read(&result.unwrap_or_else(|e| panic!("{e:?}\n{log}"))).unwrap();
    let built: Vec<_> = changes.binaries().iter().map(|it| it.artifact().name.to_string()).collect();
    assert_eq!(built, [format!("{name}_1.0_{architecture}.deb")]);
    world.assert_nothing_is_left();
}

#[test]
fn a_package_for_i386_is_built_on_amd64_in_a_base_of_its_own() {
    if host().as_str() == "amd64" {
        builds_for("i386", 4, "i686");
    }
}

#[test]
#[ignore = "making the base takes minutes under emulation, and needs qemu-user-static and binfmt-support"]
fn a_package_for_arm64_is_built_by_emulation() {
    builds_for("arm64", 8, "aarch64");
}

#[test]
fn an_architecture_that_this_machine_cannot_run_is_an_error_that_says_so() {
    let world = World::new();
    let source = world.source("foreign", GOOD, DEBHELPER);
    let target = Target { architecture: "m68k".parse().unwrap(), with_all: false, ..target() };
    let result = world.builder().build(&source, &target, &world.path("into"), &mut Vec::new(), &Never);
    let Err(BuildError::Backend(e)) = result else { panic!("{result:?}") };
    assert!(e.to_string().contains("does not run programs for m68k"), "{e}");
}
