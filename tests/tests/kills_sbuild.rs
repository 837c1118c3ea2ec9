//! sbuild and virtual machines whose worker dies at any moment. (The name puts it into the group of heavy tests.)
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use invirtibuilder_core::builder::Builder;
use invirtibuilder_core::builder::base::BaseSpec;
use invirtibuilder_core::builder::limits::BuildLimits;
use invirtibuilder_core::builder::overlay::{KeepFailed, LAYERS, OverlayConfig};
use invirtibuilder_core::builder::sbuild::{ACCOUNT, Mode, SbuildBuilder, SbuildConfig};
use invirtibuilder_core::builder::vm::{Machine, VmBuilder, VmConfig};
use invirtibuilder_core::policy::Trust;
use invirtibuilder_core::stop::Never;
use invirtibuilder_tests::builds::{BASE, DEBHELPER, GOOD, PLAIN, plan, source, target};
use invirtibuilder_tests::leaving::{Victim, times};
use invirtibuilder_tests::programs::{CLI, program};
use invirtibuilder_tests::sites::shared_bases;

/// The seconds that hanging builds sleep, by which they are known.
const NAPS: [&str; 2] = ["3155764001", "3155764002"];

fn sbuild(scratch: &Path) -> SbuildBuilder {
    let cache = shared_bases();
    SbuildBuilder::new(SbuildConfig {
        bases: BTreeMap::from([(BASE.parse().unwrap(), BaseSpec::default())]),
        store: cache.join("overlay"),
        cache,
        scratch: scratch.to_owned(),
        account: ACCOUNT.to_owned(),
        limits: BuildLimits::default(),
        mode: Mode::Unshare,
        helper: program(CLI),
    })
}

fn vm(scratch: &Path) -> VmBuilder {
    let cache = shared_bases();
    VmBuilder::new(VmConfig {
        common: OverlayConfig {
            bases: BTreeMap::from([(BASE.parse().unwrap(), BaseSpec::default())]),
            store: cache.join("overlay"),
            cache,
            scratch: scratch.to_owned(),
            account: ACCOUNT.to_owned(),
            limits: BuildLimits::default(),
            layers: LAYERS,
            keep_failed: KeepFailed::default(),
            helper: program(CLI),
        },
        machine: Machine { memory: 1 << 30, cpus: None, disk: 4 << 30, kvm: true },
    })
}

/// Builds what hangs until it is killed.
fn hang(make: impl FnOnce(&Path) -> Box<dyn Builder>, rules: &str, build_depends: &str) {
    let Some(parent) = std::env::var_os("INVIRTIBUILDER_TEST_WORLD") else { return };
    let parent = PathBuf::from(parent);
    let own = tempfile::Builder::new().prefix("victim-").tempdir_in(&parent).unwrap();
    let (own, builder) = (own.keep(), make(&parent.join("scratch")));
    let source = source(&own, plan("killed", "prod", Trust::Full), rules, build_depends);
    let into = own.join("into");
    fs::create_dir(&into).unwrap();
    let result = builder.build(&source, &target(), &into, &mut std::io::stdout(), &Never);
    panic!("it was not killed: {result:?}");
}

/// Not a test of its own: what the test below kills.
#[test]
#[ignore = "the test below starts it"]
fn a_worker_with_sbuild() {
    let [first, second] = NAPS;
    let does = format!("setsid sleep {first} </dev/null >/dev/null 2>&1 & echo now it hangs; sleep {second}");
    let rules = format!("{GOOD}override_dh_auto_build:\n\t{does}\n");
    hang(|scratch| Box::new(sbuild(scratch)), &rules, DEBHELPER);
}

/// Not a test of its own: what the test below kills.
#[test]
#[ignore = "the test below starts it"]
fn a_worker_with_a_virtual_machine() {
    hang(|scratch| Box::new(vm(scratch)), &format!("{PLAIN}\techo now it hangs; sleep 3000\n"), "ed");
}

fn leaves_nothing(test: &str, some: u32, longest: u64, make: impl Fn(&Path) -> Box<dyn Builder>) {
    let cache = shared_bases();
    let directory = tempfile::Builder::new().prefix("world-").tempdir_in(&cache).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let scratch = directory.path().join("scratch");
    let victim = Victim {
        test,
        directory: directory.path(),
        scratch: &scratch,
        environment: &[],
        naps: &NAPS,
        longest: Duration::from_secs(longest),
    };
    victim.kill(times(some), |_| (), || make(&scratch).clean_up().unwrap());
}

#[test]
fn sbuild_that_is_killed_at_any_moment_leaves_nothing_after_the_next_start() {
    leaves_nothing("a_worker_with_sbuild", 2, 20, |scratch| Box::new(sbuild(scratch)));
}

#[test]
fn a_virtual_machine_that_is_killed_at_any_moment_leaves_nothing_after_the_next_start() {
    leaves_nothing("a_worker_with_a_virtual_machine", 1, 60, |scratch| Box::new(vm(scratch)));
}
