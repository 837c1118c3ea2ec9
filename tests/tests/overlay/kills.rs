//! Builders that die at any moment, and builders without privilege.

use std::process::Command;

use super::super::*;
use invirtibuilder_core::builder::account::Account;
use invirtibuilder_core::builder::sbuild::{Mode, SbuildBuilder, SbuildConfig};
use invirtibuilder_tests::leaving::{Victim, times};

/// The seconds that a hanging build sleeps, by which it is known.
const NAPS: [&str; 2] = ["3155763004", "3155763005"];

/// Not a test of its own: the builder that the next test kills.
#[test]
#[ignore = "the test below starts it"]
fn a_builder_that_is_killed() {
    let Some(parent) = std::env::var_os("INVIRTIBUILDER_TEST_WORLD") else { return };
    let (parent, cache) = (Path::new(&parent), std::env::var_os("INVIRTIBUILDER_TEST_BASES").unwrap());
    let world = World::below(parent, cache.into());
    let config =
        OverlayConfig { scratch: parent.join("scratch"), store: parent.join("store"), ..world.config() };
    // The base of this store is that of the others: what is killed here is not its unpacking, which takes too long.
    let [first, second] = NAPS;
    let does = format!("setsid sleep {first} </dev/null >/dev/null 2>&1 & echo now it hangs; sleep {second}");
    let source = world.source_that("killed", &does);
    let into = world.path("into");
    fs::create_dir(&into).unwrap();
    let result = OverlayBuilder::new(config).build(&source, &target(), &into, &mut std::io::stdout(), &Never);
    panic!("it was not killed: {result:?}");
}

#[test]
fn a_builder_that_is_killed_at_any_moment_leaves_nothing_after_the_next_start() {
    let world = World::new();
    let (scratch, store) = (world.path("scratch"), world.path("store"));
    let config = || OverlayConfig { scratch: scratch.clone(), store: store.clone(), ..world.config() };
    let warm = world.source("warm", GOOD, DEBHELPER);
    let build = || {
        fs::create_dir(world.path("into")).unwrap();
        let mut log = Vec::new();
        let result =
            OverlayBuilder::new(config()).build(&warm, &target(), &world.path("into"), &mut log, &Never);
        result.unwrap_or_else(|e| panic!("{e:?}\n{}", String::from_utf8_lossy(&log)));
        fs::remove_dir_all(world.path("into")).unwrap();
    };
    build();
    let forget_layers = |round: u32| {
        // So that the layer is made again, and the kill may come in the middle of it.
        for entry in fs::read_dir(store.join("layers")).unwrap().map(|it| it.unwrap().path()) {
            if round.is_multiple_of(2) {
                if entry.is_dir() { fs::remove_dir_all(entry) } else { fs::remove_file(entry) }.unwrap();
            }
        }
    };
    let victim = Victim {
        test: "overlay::kills::a_builder_that_is_killed",
        directory: world.directory.path(),
        scratch: &scratch,
        environment: &[("INVIRTIBUILDER_TEST_BASES", &world.cache)],
        naps: &NAPS,
        longest: Duration::from_secs(5),
    };
    victim.kill(times(8), forget_layers, || {
        OverlayBuilder::new(config()).clean_up().unwrap();
        assert_nothing_is_left(&store.join("work"));
    });
    // And what was kept is whole.
    build();
}

/// Not a test of its own: a builder without privilege, which the next test starts.
#[test]
#[ignore = "the test below starts it"]
fn a_builder_without_privilege() {
    let Some(parent) = std::env::var_os("INVIRTIBUILDER_TEST_WORLD") else { return };
    let (parent, cache) = (Path::new(&parent), std::env::var_os("INVIRTIBUILDER_TEST_BASES").unwrap());
    assert!(!rustix::process::geteuid().is_root());
    let world = World::below(parent, cache.into());
    let store = parent.join("store");
    let config = OverlayConfig { scratch: parent.join("scratch"), store, layers: 1 << 20, ..world.config() };
    let builder = OverlayBuilder::new(config);
    let errors: Vec<_> = builder.check().into_iter().filter(|it| it.level == Level::Error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let source = world.source("plain", GOOD, DEBHELPER);
    contract::a_success_leaves_the_changes_and_every_file_that_it_names(&builder, &source, &target());
    builder.clean_up().unwrap();
    assert_nothing_is_left(&parent.join("scratch"));
    assert_nothing_is_left(&parent.join("store/work"));
    // A megabyte is too little for any of them: only the layer in use was spared, and its packages went.
    let names = |directory: &str| fs::read_dir(parent.join("store").join(directory)).unwrap().count();
    assert_eq!(names("packages"), 0);
    fs::write(parent.join("done"), "").unwrap();
}

#[test]
fn an_account_without_privilege_builds_as_root_does_and_layers_make_way() {
    let world = World::new();
    let account = Account::find(ACCOUNT).unwrap();
    let own = world.path("own");
    fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(account.user()), Some(account.group())).unwrap();
    let template = Victim {
        test: "overlay::kills::a_builder_without_privilege",
        directory: &own,
        scratch: &own.join("scratch"),
        environment: &[],
        naps: &[],
        longest: Duration::ZERO,
    };
    let template = template.command();
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={}", account.user())).arg(format!("--regid={}", account.group()));
    command.args(["--init-groups", "--"]).arg(template.get_program()).args(template.get_args());
    command
        .env("INVIRTIBUILDER_TEST_WORLD", &own)
        .env("TMPDIR", &own)
        .env("INVIRTIBUILDER_TEST_BASES", &world.cache);
    let output = command.current_dir("/").output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(own.join("done").exists(), "{text}");
}

#[test]
fn sbuild_and_overlay_make_the_same_bytes() {
    let world = World::new();
    let source = world.source_that("same", "install -D /bin/true debian/same/usr/lib/same/true; date -d @$$SOURCE_DATE_EPOCH > debian/same/usr/lib/same/date");
    let sbuild = SbuildBuilder::new(SbuildConfig {
        bases: BTreeMap::from([(BASE.parse().unwrap(), BaseSpec::default())]),
        cache: world.cache.clone(),
        store: world.store.clone(),
        scratch: world.path("scratch"),
        account: ACCOUNT.to_owned(),
        limits: BuildLimits::default(),
        mode: Mode::Unshare,
        helper: program(CLI),
    });
    let overlay = world.builder();
    let builders: [(&str, &dyn Builder); 2] = [("sbuild", &sbuild), ("overlay", &overlay)];
    let results = builders.map(|(name, builder)| {
        let into = world.path(name);
        fs::create_dir(&into).unwrap();
        let mut log = Vec::new();
        let result = builder.build(&source, &target(), &into, &mut log, &Never);
        let changes = result.unwrap_or_else(|e| panic!("{e:?}\n{}", String::from_utf8_lossy(&log)));
        let changes = Changes::read(&changes).unwrap();
        let packages = changes.files().iter().filter(|it| it.name.as_str().ends_with(".deb"));
        packages.map(|it| (it.name.to_string(), it.sha256.clone())).collect::<BTreeMap<_, _>>()
    });
    assert_eq!(results[0].len(), 2);
    assert_eq!(results[0], results[1]);
}
