//! The builders make the same packages, bit for bit, of real source packages of Debian: what builds leaves no trace.
//!
//! One package by default; `INVIRTIBUILDER_TEST_IDENTICAL=all` takes five, `=NAME[,NAME...]` those, and prints a table.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests write files, start programs, and print a table that somebody asked for"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Instant;

use invirtibuilder_core::builder::Builder;
use invirtibuilder_core::builder::base::BaseSpec;
use invirtibuilder_core::builder::limits::BuildLimits;
use invirtibuilder_core::builder::overlay::{KeepFailed, LAYERS, OverlayBuilder, OverlayConfig};
use invirtibuilder_core::builder::sbuild::{ACCOUNT, Mode, SbuildBuilder, SbuildConfig};
use invirtibuilder_core::builder::vm::{Machine, VmBuilder, VmConfig};
use invirtibuilder_core::control::Changes;
use invirtibuilder_core::policy::Trust;
use invirtibuilder_core::states::SourcePackage;
use invirtibuilder_core::stop::Never;
use invirtibuilder_tests::apt::Apt;
use invirtibuilder_tests::builds::{BASE, plan_of, target};
use invirtibuilder_tests::programs::{CLI, program};
use invirtibuilder_tests::sites::shared_bases;

/// Shell scripts with debhelper, C with make, C with autoconf, and packages with symbols for the debugger.
const PACKAGES: [&str; 5] = ["hostname", "ucf", "sl", "tree", "hello"];

struct World {
    directory: tempfile::TempDir,
    builders: [(&'static str, Box<dyn Builder>); 3],
}

impl World {
    fn new() -> Self {
        let cache = shared_bases();
        let directory = tempfile::Builder::new().prefix("world-").tempdir_in(&cache).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let bases = BTreeMap::from([(BASE.parse().unwrap(), BaseSpec::default())]);
        let (scratch, limits) = (directory.path().join("scratch"), BuildLimits::default());
        let account = ACCOUNT.to_owned();
        let common = OverlayConfig {
            bases: bases.clone(),
            cache: cache.clone(),
            store: cache.join("overlay"),
            scratch: scratch.clone(),
            account: account.clone(),
            limits,
            layers: LAYERS,
            keep_failed: KeepFailed::default(),
            helper: program(CLI),
        };
        let machine = Machine { memory: 1 << 30, cpus: None, disk: 4 << 30, kvm: true };
        let sbuild = SbuildBuilder::new(SbuildConfig {
            bases,
            store: cache.join("overlay"),
            cache,
            scratch,
            account,
            limits,
            helper: program(CLI),
            mode: Mode::Unshare,
        });
        let vm = VmBuilder::new(VmConfig { common: common.clone(), machine });
        let builders: [(_, Box<dyn Builder>); 3] = [
            ("overlay", Box::new(OverlayBuilder::new(common))),
            ("sbuild", Box::new(sbuild)),
            ("vm", Box::new(vm)),
        ];
        Self { directory, builders }
    }

    /// Builds with each builder, and returns what each made: the SHA-256 of each package, by its file.
    fn built(&self, package: &str) -> Vec<(&'static str, BTreeMap<String, String>)> {
        let apt = Apt::of_debian_sources(self.directory.path().join(format!("apt-{package}")));
        let source = source(package, &apt.dsc(package));
        let build = |(name, builder): &(&'static str, Box<dyn Builder>)| {
            let into = self.directory.path().join(format!("{package}-{name}"));
            fs::create_dir(&into).unwrap();
            let (mut log, started) = (Vec::new(), Instant::now());
            let result = builder.build(&source, &target(), &into, &mut log, &Never);
            let log = String::from_utf8_lossy(&log);
            let changes = result.unwrap_or_else(|e| panic!("{name}: {e:?}\n{log}"));
            let changes = Changes::read(&changes).unwrap();
            let seconds = started.elapsed().as_secs();
            let files = changes.files().iter().filter(|it| it.name.as_str().ends_with("deb"));
            let files: BTreeMap<_, _> = files.map(|it| (it.name.to_string(), it.sha256.clone())).collect();
            for (file, sum) in &files {
                println!("{package:10} {name:8} {seconds:5} s  {sum}  {file}");
            }
            (*name, files)
        };
        self.builders.iter().map(build).collect()
    }
}

fn source(package: &str, dsc: &PathBuf) -> SourcePackage {
    let text = fs::read_to_string(dsc).unwrap();
    let version = text.lines().find_map(|it| it.strip_prefix("Version: ")).unwrap();
    SourcePackage::for_tests(plan_of(package, version, "prod", Trust::Full), dsc).unwrap()
}

#[test]
fn overlay_sbuild_and_vm_make_the_same_packages_bit_for_bit() {
    let chosen = std::env::var("INVIRTIBUILDER_TEST_IDENTICAL").unwrap_or_else(|_| PACKAGES[0].to_owned());
    let packages: Vec<_> = if chosen == "all" { PACKAGES.to_vec() } else { chosen.split(',').collect() };
    let world = World::new();
    for package in packages {
        let built = world.built(package);
        let (_, expected) = &built[0];
        assert!(!expected.is_empty(), "{package} has no packages");
        for (name, files) in &built {
            assert_eq!(files, expected, "{package}: {name} and {} differ", built[0].0);
        }
    }
}
