//! The sbuild builder, with the real sbuild, mmdebstrap and namespaces.
//!
//! The base is made once and kept in `INVIRTIBUILDER_TEST_CACHE`, or else below the target directory.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use invirtibuilder_core::builder::account::Account;
use invirtibuilder_core::builder::base::{BaseSpec, Bases};
use invirtibuilder_core::builder::sbuild::enclosure::{self, Enclosure, Privilege, Space};
use invirtibuilder_core::builder::sbuild::{ACCOUNT, BuildLimits, Mode, SbuildBuilder, SbuildConfig};
use invirtibuilder_core::builder::scratch::{Part, Scratch};
use invirtibuilder_core::builder::walls::Walls;
use invirtibuilder_core::builder::{Builder, Target};
use invirtibuilder_core::conformance::builder as contract;
use invirtibuilder_core::control::Changes;
use invirtibuilder_core::error::{BuildError, causes};
use invirtibuilder_core::finding::Level;
use invirtibuilder_core::names::BaseName;
use invirtibuilder_core::policy::Trust;
use invirtibuilder_core::states::SourcePackage;
use invirtibuilder_core::stop::{Never, Stop};
use invirtibuilder_tests::builds::{
    BASE, DEBHELPER, GOOD, StopAt, assert_nothing_is_left, host, plan, source, target,
};
use invirtibuilder_tests::programs::{CLI, program, runs};
use invirtibuilder_tests::sites::shared_bases;

/// A directory for one test, a builder with its own scratch, and the base that all tests share.
struct World {
    directory: tempfile::TempDir,
    cache: PathBuf,
    store: PathBuf,
    limits: BuildLimits,
    mode: Mode,
}

impl World {
    fn new() -> Self {
        Self::below(&shared_bases())
    }

    fn below(directory: &Path) -> Self {
        let cache = shared_bases();
        let directory = tempfile::Builder::new().prefix("world-").tempdir_in(directory).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
        Self {
            directory,
            store: cache.join("overlay"),
            cache,
            limits: BuildLimits::default(),
            mode: Mode::Unshare,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self) -> SbuildConfig {
        SbuildConfig {
            bases: BTreeMap::from([(BASE.parse().unwrap(), BaseSpec::default())]),
            cache: self.cache.clone(),
            store: self.store.clone(),
            scratch: self.path("scratch"),
            account: ACCOUNT.to_owned(),
            limits: self.limits,
            mode: self.mode.clone(),
            helper: program(CLI),
        }
    }

    fn builder(&self) -> SbuildBuilder {
        SbuildBuilder::new(self.config())
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
    }
}

#[test]
fn a_package_for_all_and_any_is_built_as_the_contract_says() {
    let world = World::new();
    let source = world.source_that("both", "test \"$$SOURCE_DATE_EPOCH\" = 1795420800");
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
    let changes = Changes::read(&result.unwrap_or_else(|e| panic!("{e}\n{log}"))).unwrap();
    let built: Vec<_> = changes.binaries().iter().map(|it| it.package().to_string()).collect();
    assert_eq!(built, ["closed"], "without `all`, only the package for any is built");
    assert!(log.contains("invirtibuilder: base bookworm"), "{log}");
    world.assert_nothing_is_left();
}

#[test]
fn a_package_that_does_not_build_is_attempted() {
    let world = World::new();
    let (result, log) = world.build(&world.source_that("broken", "echo this is the reason; exit 7"));
    assert!(matches!(result, Err(BuildError::Attempted { .. })), "{result:?}\n{log}");
    assert!(log.contains("this is the reason"), "{log}");
    assert_eq!(fs::read_dir(world.path("into")).unwrap().count(), 0);
    world.assert_nothing_is_left();
}

#[test]
fn a_package_whose_build_dependency_does_not_exist_is_at_fault_at_once() {
    let world = World::new();
    let (result, log) = world.build(&world.source("needy", GOOD, "nobody-has-this-package"));
    let Err(BuildError::Attempted { problem, .. }) = result else { panic!("{result:?}\n{log}") };
    assert!(problem.contains("nobody-has-this-package"), "{problem}");
    assert!(!log.contains("sbuild (Debian sbuild)"), "sbuild was started for it: {log}");
    world.assert_nothing_is_left();
}

#[test]
fn an_interrupt_ends_a_build_that_hangs_with_all_that_it_started() {
    let world = World::new();
    let source = world.source_that(
        "hanging",
        "setsid sleep 3155760001 </dev/null >/dev/null 2>&1 & echo now it hangs; sleep 3155760002",
    );
    fs::create_dir(world.path("into")).unwrap();
    let stop = Stop::new().unwrap();
    let mut log = StopAt::new("\nnow it hangs", &stop);
    let result = world.builder().build(&source, &target(), &world.path("into"), &mut log, &stop);
    let text = String::from_utf8_lossy(&log.seen);
    assert!(matches!(result, Err(BuildError::Interrupted)), "{result:?}\n{text}");
    assert!(log.at.unwrap().elapsed() < Duration::from_secs(20));
    assert!(!runs("3155760001") && !runs("3155760002"), "a process of the build runs on");
    world.assert_nothing_is_left();
}

#[test]
fn a_build_that_prints_without_end_is_attempted_and_the_limit_is_named() {
    let mut world = World::new();
    world.limits.log = 4 << 20;
    let (result, log) = world.build(&world.source_that("noisy", "yes 3155760003"));
    let Err(BuildError::Attempted { problem, .. }) = result else { panic!("{result:?}\n{log}") };
    assert!(problem.contains("more than 4194304 bytes"), "{problem}");
    assert!(log.len() < 5 << 20, "the log has {} bytes", log.len());
    assert!(!runs("3155760003"), "a process of the build runs on");
    world.assert_nothing_is_left();
}

#[test]
fn a_build_that_writes_more_than_it_may_is_attempted_and_the_limit_is_named() {
    let mut world = World::new();
    world.limits.disk = Some(100 << 20);
    world.limits.memory = Some(1 << 30);
    let many = "i=0; while head -c 10M /dev/zero > zeros$$i; do i=$$((i+1)); done; false";
    let (result, log) = world.build(&world.source_that("littering", many));
    let Err(BuildError::Attempted { problem, .. }) = result else { panic!("{result:?}\n{log}") };
    assert!(problem.contains("it wrote more than its limit of 104857600 bytes"), "{problem}\n{log}");
    world.assert_nothing_is_left();
}

#[test]
fn a_run_of_sbuild_reaches_no_service_of_the_machine_and_dies_with_all_that_it_started() {
    const SCRIPT: &str = "perl -e 'use IO::Socket::INET; \
        exit 1 if IO::Socket::INET->new(PeerAddr => $ARGV[0], Timeout => 5); \
        my $own = IO::Socket::INET->new(Listen => 1, LocalAddr => \"127.0.0.1\") or exit 2; \
        IO::Socket::INET->new(PeerAddr => \"127.0.0.1:\" . $own->sockport) or exit 3;' \"$0\" \
        && ! head -c 30M /dev/zero >memory/zeros || exit 4; \
        setsid sleep 3155760007 & exit 9";
    let world = World::new();
    let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    service.set_nonblocking(true).unwrap();
    let walls = Walls::new(Account::find(ACCOUNT).unwrap(), 1000);
    let entry = Scratch::new(&world.path("scratch")).enter(&walls).unwrap();
    let memory = entry.part(Part::Home).join("memory");
    fs::create_dir(&memory).unwrap();
    let plan = Enclosure {
        program: "sh".to_owned(),
        arguments: ["-c", SCRIPT, &service.local_addr().unwrap().to_string()].map(str::to_owned).into(),
        environment: Vec::new(),
        directory: entry.part(Part::Home),
        space: Space::Memory(memory.clone(), 20 << 20),
        binds: Vec::new(),
        privilege: Privilege::Account,
    };
    let (home, file) = (entry.part(Part::Home), entry.part(Part::Input).join("plan.json"));
    let command = enclosure::command(&program(CLI), &walls, None, &plan, &home, &file).unwrap();
    let mut log = Vec::new();
    let status = command.run_logged(&mut log, &Never).unwrap();
    let log = String::from_utf8_lossy(&log);
    assert!(matches!(status.code(), Some(9 | 41)), "{status}: {log}");
    assert!(service.accept().is_err(), "somebody connected");
    assert!(!runs("3155760007"), "a process runs on");
    assert_eq!(fs::read_dir(&memory).unwrap().count(), 0, "the memory is seen outside");
}

/// A chroot for schroot, whose one file outside is removed with this value.
struct Chroot(PathBuf);

impl Chroot {
    fn new(name: &str, world: &World) -> Self {
        let mut log = Vec::new();
        let bases = Bases::new(&world.cache, world.config().bases);
        let walls = Walls::new(Account::find(ACCOUNT).unwrap(), 1000);
        let scratch = Scratch::new(&world.path("scratch"));
        let base = bases.ensure(&BASE.parse().unwrap(), &host(), &scratch, &walls, &mut log, &Never).unwrap();
        let root = world.path("chroot");
        fs::create_dir(&root).unwrap();
        let mut tar = Command::new("tar");
        assert!(tar.arg("-xf").arg(base.tarball).arg("-C").arg(&root).status().unwrap().success());
        let file = Path::new("/etc/schroot/chroot.d").join(name);
        let text = format!(
            "[{name}]\ntype=directory\ndirectory={}\nprofile=sbuild\nunion-type=overlay\ngroups=root,sbuild\nroot-groups=root,sbuild\n",
            root.display()
        );
        fs::write(&file, text).unwrap();
        Self(file)
    }
}

impl Drop for Chroot {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_chroot_of_schroot_s_is_built_in_without_network_and_no_session_is_left() {
    let mut world = World::new();
    let name = format!("invirtibuilder-test-{}", std::process::id());
    world.mode = Mode::Schroot(BTreeMap::from([(BASE.parse().unwrap(), name.clone())]));
    let missing = world.build(&world.source("early", GOOD, DEBHELPER)).0;
    let Err(e @ BuildError::Backend(_)) = missing else { panic!("{missing:?}") };
    assert!(causes(&e).join(": ").contains("sbuild-createchroot"), "{e}");
    let _chroot = Chroot::new(&name, &world);
    let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    service.set_nonblocking(true).unwrap();
    let attempt = format!(
        "perl -e 'use IO::Socket::INET; exit(IO::Socket::INET->new(PeerAddr => \"{}\", Timeout => 5) ? 1 : 0)'",
        service.local_addr().unwrap()
    );
    let (result, log) = world.build(&world.source_that("chrooted", &attempt));
    let changes = Changes::read(&result.unwrap_or_else(|e| panic!("{e:?}\n{log}"))).unwrap();
    assert_eq!(changes.binaries().len(), 2, "{log}");
    assert!(service.accept().is_err(), "somebody connected");
    let sessions = fs::read_dir("/var/lib/schroot/session").into_iter().flatten();
    assert_eq!(sessions.count(), 0, "a session is left");
    world.assert_nothing_is_left();
}

/// Not a test of its own: the worker that the next test kills.
#[test]
#[ignore = "the test below starts it"]
fn a_worker_that_is_killed() {
    let Some(parent) = std::env::var_os("INVIRTIBUILDER_TEST_WORLD") else { return };
    let world = World::below(Path::new(&parent));
    let config = SbuildConfig { scratch: Path::new(&parent).join("scratch"), ..world.config() };
    let source = world.source_that("killed", "setsid sleep 3155760004 & echo now it hangs; sleep 3155760005");
    fs::create_dir(world.path("into")).unwrap();
    let into = world.path("into");
    let result = SbuildBuilder::new(config).build(&source, &target(), &into, &mut std::io::stdout(), &Never);
    panic!("it was not killed: {result:?}");
}

#[test]
fn what_a_killed_worker_started_dies_with_it_and_what_it_left_is_cleaned_up() {
    let world = World::new();
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "a_worker_that_is_killed"])
        .env("INVIRTIBUILDER_TEST_WORLD", world.directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(worker.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|it| it == "now it hangs"), "the worker's build did not begin");
    // The shell has said so, but may not have started what it says.
    let deadline = Instant::now() + Duration::from_secs(20);
    while !(runs("3155760004") && runs("3155760005")) {
        assert!(Instant::now() < deadline, "the worker's build does not run");
        std::thread::yield_now();
    }
    world.builder().clean_up().unwrap();
    assert!(runs("3155760005"), "the build of a living worker was cleaned up");
    worker.kill().unwrap();
    worker.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while runs("3155760004") || runs("3155760005") {
        assert!(Instant::now() < deadline, "a process of the dead worker's build runs on");
        std::thread::yield_now();
    }
    world.builder().clean_up().unwrap();
    world.assert_nothing_is_left();
}

#[test]
fn a_base_whose_mirror_cannot_be_reached_gives_the_package_back() {
    let world = World::new();
    let spec = BaseSpec { mirror: Some("http://127.0.0.1:9/debian".to_owned()), ..BaseSpec::default() };
    let config = SbuildConfig {
        bases: BTreeMap::from([(BASE.parse().unwrap(), spec)]),
        cache: world.path("cache"),
        ..world.config()
    };
    let source = world.source("early", GOOD, DEBHELPER);
    let (mut log, into) = (Vec::new(), world.path("into"));
    fs::create_dir(&into).unwrap();
    let result = SbuildBuilder::new(config).build(&source, &target(), &into, &mut log, &Never);
    let Err(BuildError::GivenBack { problem, .. }) = result else { panic!("{result:?}") };
    assert!(problem.contains("mmdebstrap failed"), "{problem}");
    assert!(String::from_utf8_lossy(&log).contains("127.0.0.1:9"), "the log does not say where it looked");
    world.assert_nothing_is_left();
}

#[test]
fn an_old_base_is_used_when_it_cannot_be_made_anew() {
    let world = World::new();
    let spec = BaseSpec {
        mirror: Some("http://127.0.0.1:9/debian".to_owned()),
        refresh: Duration::from_secs(1),
        ..BaseSpec::default()
    };
    let (base, cache): (BaseName, _) = (BASE.parse().unwrap(), world.path("cache"));
    fs::create_dir(&cache).unwrap();
    fs::write(cache.join("old.tar"), "").unwrap();
    let record = r#"{"tarball":"old.tar","previous":null,"sha256":"00","made":"2026-01-01T00:00:00Z"}"#;
    fs::write(cache.join(format!("{BASE}-{}.json", host())), record).unwrap();
    let bases = Bases::new(&cache, BTreeMap::from([(base.clone(), spec)]));
    let walls = Walls::new(Account::find(ACCOUNT).unwrap(), 1000);
    let mut log = Vec::new();
    let scratch = Scratch::new(&world.path("scratch"));
    let found = bases.ensure(&base, &host(), &scratch, &walls, &mut log, &Never).unwrap();
    assert_eq!(found.tarball, cache.join("old.tar"));
    assert!(String::from_utf8_lossy(&log).contains("warning: the base bookworm could not be made"));
}

#[test]
fn an_architecture_that_this_machine_cannot_run_is_an_error_that_says_so() {
    let world = World::new();
    let target = Target { architecture: "m68k".parse().unwrap(), ..target() };
    let source = world.source("foreign", GOOD, DEBHELPER);
    let result = world.builder().build(&source, &target, &world.path("into"), &mut Vec::new(), &Never);
    let Err(e @ BuildError::Backend(_)) = result else { panic!("{result:?}") };
    assert!(causes(&e).join(": ").contains("does not run programs for m68k"), "{e:?}");
}

#[test]
fn the_walls_hold_a_fork_bomb() {
    let _world = World::new();
    let walls = Walls::new(Account::find(ACCOUNT).unwrap(), 50);
    let script = "i=0; while [ $i -lt 200 ]; do sleep 3155760006 & i=$((i+1)); done; wait";
    let error = walls.command(Path::new("/"), "sh").args(["-c", script]).run().unwrap_err();
    assert!(error.to_string().contains("fork"), "{error}");
    assert!(!runs("3155760006"), "a process ran on");
}

#[test]
fn a_machine_on_which_builds_work_has_no_error_among_its_findings() {
    let world = World::new();
    let findings = world.builder().check();
    let errors: Vec<_> = findings.into_iter().filter(|it| it.level == Level::Error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn a_closed_scratch_directory_is_found_with_its_remedy() {
    let world = World::new();
    fs::create_dir(world.path("scratch")).unwrap();
    fs::set_permissions(world.path("scratch"), fs::Permissions::from_mode(0o700)).unwrap();
    let findings = world.builder().check();
    let finding = findings.iter().find(|it| it.subject == "scratch directory").unwrap();
    assert_eq!(finding.level, Level::Error);
    let remedy = format!("chmod o+x {}", world.path("scratch").display());
    assert_eq!(finding.remedy.as_deref(), Some(remedy.as_str()));
    let error = Scratch::new(&world.path("scratch"))
        .enter(&Walls::new(Account::find(ACCOUNT).unwrap(), 1000))
        .unwrap_err();
    assert!(error.to_string().contains(&remedy), "{error}");
}
