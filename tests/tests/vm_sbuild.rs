//! The builder of virtual machines, with a real one: emulated where there is no KVM, which takes a minute each. (The
//! name puts it into the group of heavy tests.)
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests write files and start programs, and tell their other process how they went"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use invirtibuilder_core::builder::Builder;
use invirtibuilder_core::builder::base::BaseSpec;
use invirtibuilder_core::builder::limits::{BuildLimits, Group, Groups, Resource};
use invirtibuilder_core::builder::overlay::{KeepFailed, LAYERS, OverlayConfig};
use invirtibuilder_core::builder::sbuild::{ACCOUNT, Mode, SbuildBuilder, SbuildConfig};
use invirtibuilder_core::builder::vm::{Machine, VmBuilder, VmConfig};
use invirtibuilder_core::control::Changes;
use invirtibuilder_core::error::BuildError;
use invirtibuilder_core::finding::Level;
use invirtibuilder_core::policy::Trust;
use invirtibuilder_core::states::SourcePackage;
use invirtibuilder_core::stop::{Never, Stop};
use invirtibuilder_tests::builds::{BASE, PLAIN, StopAt, assert_nothing_is_left, plan, source, target};
use invirtibuilder_tests::programs::{CLI, program};
use invirtibuilder_tests::sites::shared_bases;

struct World {
    directory: tempfile::TempDir,
    cache: PathBuf,
    limits: BuildLimits,
    machine: Machine,
}

impl World {
    fn new() -> Self {
        let cache = shared_bases();
        let directory = tempfile::Builder::new().prefix("world-").tempdir_in(&cache).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let machine = Machine { memory: 1 << 30, cpus: None, disk: 4 << 30, kvm: true };
        Self { directory, cache, limits: BuildLimits::default(), machine }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn builder(&self) -> VmBuilder {
        VmBuilder::new(VmConfig {
            common: OverlayConfig {
                bases: BTreeMap::from([(BASE.parse().unwrap(), BaseSpec::default())]),
                cache: self.cache.clone(),
                store: self.cache.join("overlay"),
                scratch: self.path("scratch"),
                account: ACCOUNT.to_owned(),
                limits: self.limits,
                layers: LAYERS,
                keep_failed: KeepFailed::default(),
                helper: program(CLI),
            },
            machine: self.machine,
        })
    }

    /// Builds what must fail, and returns why, and the log.
    #[track_caller]
    fn problem(&self, source: &SourcePackage) -> (String, String) {
        let (into, mut log) = (self.path("into"), Vec::new());
        fs::create_dir_all(&into).unwrap();
        let result = self.builder().build(source, &target(), &into, &mut log, &Never);
        let log = String::from_utf8_lossy(&log).into_owned();
        let Err(BuildError::Attempted { problem, .. }) = result else { panic!("{result:?}\n{log}") };
        assert!(!machine_runs(self.directory.path()), "the machine runs on");
        assert_nothing_is_left(&self.path("scratch"));
        (problem, log)
    }

    /// Makes a package that needs one small package more, and does this where it would be compiled.
    fn source_that(&self, name: &str, does: &[&str]) -> SourcePackage {
        let rules = format!("{PLAIN}\t{}\n", does.join("\n\t"));
        source(self.directory.path(), plan(name, "dev", Trust::None), &rules, "ed")
    }

    fn results(&self) -> PathBuf {
        let into = self.path("into");
        fs::create_dir(&into).unwrap();
        into
    }
}

#[test]
fn a_package_is_built_in_a_machine_without_network_by_nobody_in_particular() {
    let world = World::new();
    let source = world.source_that(
        "machined",
        &[
            "ed --version",
            "test `id -u` = 1000 && test `umask` = 0022 && test `hostname` = build",
            "test \"`ls /sys/class/net`\" = lo",
            "grep -q '^NoNewPrivs:.*1$$' /proc/self/status && grep -q '^CapBnd:.*0000000000000000$$' /proc/self/status",
            "grep -q 'Linux version.*cloud' /proc/version",
            "test $(CURDIR) = /build/reproducible-path/machined-1.0",
        ],
    );
    let mut log = Vec::new();
    let result = world.builder().build(&source, &target(), &world.results(), &mut log, &Never);
    let log = String::from_utf8_lossy(&log);
    let changes = Changes::read(&result.unwrap_or_else(|e| panic!("{e:?}\n{log}"))).unwrap();
    let mut built: Vec<_> = changes.binaries().iter().map(|it| it.package().to_string()).collect();
    built.sort();
    assert_eq!(built, ["machined", "machined-data"], "{log}");
    assert!(log.contains("invirtibuilder: vm for") && log.contains("Setting up ed"), "{log}");
    assert_nothing_is_left(&world.path("scratch"));
}

#[test]
fn an_interrupt_ends_a_machine_and_a_failure_in_it_is_the_package_s() {
    let world = World::new();
    let source = world.source_that("hanging", &["echo now it hangs; sleep 3000"]);
    let stop = Stop::new().unwrap();
    let mut log = StopAt::new("\nnow it hangs", &stop);
    let result = world.builder().build(&source, &target(), &world.results(), &mut log, &stop);
    let text = String::from_utf8_lossy(&log.seen);
    assert!(matches!(result, Err(BuildError::Interrupted)), "{result:?}\n{text}");
    assert!(!machine_runs(world.directory.path()), "the machine runs on");
    assert_nothing_is_left(&world.path("scratch"));
    let (source, mut log) = (world.source_that("failing", &["echo the reason; exit 3"]), Vec::new());
    let result = world.builder().build(&source, &target(), &world.path("into"), &mut log, &Never);
    let log = String::from_utf8_lossy(&log);
    let Err(BuildError::Attempted { problem, .. }) = result else { panic!("{result:?}\n{log}") };
    assert!(
        problem.contains("the end of the log says why") && log.contains("the reason"),
        "{problem}\n{log}"
    );
    assert_nothing_is_left(&world.path("scratch"));
}

#[test]
fn sbuild_builds_in_a_machine_of_its_own_without_network_and_without_an_image() {
    let world = World::new();
    // The paths of the machine's sockets would be too long in it.
    let scratch = world.path(&"scratch".repeat(12));
    let builder = SbuildBuilder::new(SbuildConfig {
        bases: BTreeMap::from([(BASE.parse().unwrap(), BaseSpec::default())]),
        cache: world.cache.clone(),
        store: world.cache.join("overlay"),
        scratch: scratch.clone(),
        account: ACCOUNT.to_owned(),
        // The machine's own disk is larger, and none of the host's.
        limits: BuildLimits { disk: Some(1 << 30), ..world.limits },
        mode: Mode::Qemu(world.machine),
        helper: program(CLI),
    });
    let errors: Vec<_> = builder.check().into_iter().filter(|it| it.level == Level::Error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let source = world.source_that(
        "sbuilt",
        &[
            "ed --version",
            "test `id -u` != 0 && test `hostname` = build",
            "test \"`ls /sys/class/net`\" = lo",
            "test -n \"$$SOURCE_DATE_EPOCH\"",
        ],
    );
    let mut log = Vec::new();
    let result = builder.build(&source, &target(), &world.results(), &mut log, &Never);
    let log = String::from_utf8_lossy(&log);
    let changes = Changes::read(&result.unwrap_or_else(|e| panic!("{e:?}\n{log}"))).unwrap();
    let mut built: Vec<_> = changes.binaries().iter().map(|it| it.package().to_string()).collect();
    built.sort();
    assert_eq!(built, ["sbuilt", "sbuilt-data"], "{log}");
    assert!(log.contains("invirtibuilder: a virtual machine with 1024 MiB"), "{log}");
    assert!(log.contains("--chroot-mode=autopkgtest") && log.contains("Setting up ed"), "{log}");
    assert!(!machine_runs(world.directory.path()), "the machine runs on");
    assert_nothing_is_left(&scratch);
}

/// Returns whether a process runs that has a directory in its arguments.
fn machine_runs(directory: &Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut lines = processes.filter_map(|it| fs::read_to_string(it.path().join("cmdline")).ok());
    lines.any(|it| it.starts_with("qemu-system") && it.contains(directory.to_str().unwrap()))
}

#[test]
fn a_machine_on_which_machines_work_has_no_error_among_its_findings() {
    let world = World::new();
    let findings = world.builder().check();
    let errors: Vec<_> = findings.iter().filter(|it| it.level == Level::Error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert!(findings.iter().any(|it| it.subject == "virtual machines"), "{findings:#?}");
}

#[test]
fn a_machine_ends_at_each_of_its_limits() {
    let mut world = World::new();
    world.machine = Machine { memory: 512 << 20, disk: 300 << 20, ..world.machine };
    world.limits.processes = 100;
    let bombs = world.source_that(
        "bombing",
        &[
            "perl -e 'my @a; while (1) { push @a, \"x\" x (1 << 20) }' || echo memory is held",
            "(i=0; while [ $$i -lt 200 ]; do sleep 600 & i=$$((i+1)); done; echo no limit) || echo processes are held",
            "cat /dev/zero > zeros",
        ],
    );
    let (problem, log) = world.problem(&bombs);
    assert!(problem.contains("it filled its disk of 314572800 bytes"), "{problem}\n{log}");
    let tells = |text: &str| log.lines().any(|it| it.trim_end() == text);
    assert!(tells("memory is held") && tells("processes are held") && !tells("no limit"), "{log}");

    let noisy = world.source_that("noisy", &["yes"]);
    world.limits.log = 1 << 20;
    let (problem, log) = world.problem(&noisy);
    assert!(problem.contains("more than 1048576 bytes") && log.len() < 2 << 20, "{problem}");
    // While it starts, it prints nothing, and these are shorter than its start.
    world.limits.silence = Duration::from_secs(2);
    let (problem, log) = world.problem(&noisy);
    assert!(problem.contains("printed nothing for 2 s"), "{problem}\n{log}");
    world.limits = BuildLimits { time: Duration::from_secs(2), ..BuildLimits::default() };
    let (problem, log) = world.problem(&noisy);
    assert!(problem.contains("2 s"), "{problem}\n{log}");
}

/// Not a test of its own: the next test runs it as root of a virtual machine.
#[test]
#[ignore = "the test below starts it"]
fn groups_of_version_2() {
    const ROOT: &str = "/sys/fs/cgroup";
    if std::env::var_os("INVIRTIBUILDER_TEST_INSIDE").is_none() {
        return;
    }
    let inside = |group: &Group, script: &str| {
        let joins: Vec<_> =
            group.directories().map(|it| format!("echo $$ >{}/cgroup.procs;", it.display())).collect();
        Command::new("sh").args(["-c", &format!("{} {script}", joins.join(" "))]).status().unwrap()
    };
    let holds = |groups: &Groups| {
        assert!(groups.can_limit(Resource::Memory) && groups.can_limit(Resource::Processes), "{groups:?}");
        let limits = BuildLimits { processes: 20, memory: Some(64 << 20), ..BuildLimits::default() };
        let group = groups.make("test-one", &limits).unwrap();
        assert_eq!(group.directories().collect::<BTreeSet<_>>().len(), 1, "one group has both");
        let status = inside(&group, "exec perl -e 'my @a; while (1) { push @a, \"x\" x (1 << 20) }'");
        assert_eq!(status.signal(), Some(9), "memory");
        assert!(group.has_reached(Resource::Memory) && !group.has_reached(Resource::Processes));
        inside(&group, "i=0; while [ $i -lt 40 ]; do sleep 600 & i=$((i+1)); done");
        assert!(group.has_reached(Resource::Processes));
        // What a dead run left is killed and removed; what lives is neither.
        let (directory, procs) = (group.directories().next().unwrap().to_owned(), |it: &Path| {
            fs::read_to_string(it.join("cgroup.procs")).unwrap().lines().count()
        });
        groups.remove_leftovers("test-", &|it| it == "one");
        assert!(procs(&directory) > 10);
        std::mem::forget(group);
        groups.remove_leftovers("test-", &|_| false);
        assert!(!directory.exists());
    };
    holds(&Groups::detect());
    // As in a service: a group that has processes hands nothing down, one above it that is the service's own does.
    let (service, worker) = (Path::new(ROOT).join("service"), Path::new(ROOT).join("service/worker"));
    fs::create_dir_all(&worker).unwrap();
    fs::write(worker.join("cgroup.procs"), "0").unwrap();
    assert!(!Groups::detect().can_limit(Resource::Memory), "{:?}", Groups::detect());
    rustix::fs::setxattr(&service, "trusted.delegate", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    holds(&Groups::detect());
    println!("version 2 holds");
}

#[test]
fn control_groups_of_version_2_hold_builds_too() {
    let world = World::new();
    let store = world.cache.join("overlay");
    // What machines boot that build by themselves, among what those of sbuild boot.
    let kernel = || {
        let found = fs::read_dir(store.join("kernels")).into_iter().flatten().filter_map(Result::ok);
        let found = found.map(|it| it.path()).filter(|it| {
            let initramfs = fs::read(it.join("initramfs")).unwrap_or_default();
            initramfs.windows(INIT.len()).any(|it| it == INIT)
        });
        found.max_by_key(|it| fs::metadata(it).unwrap().modified().unwrap())
    };
    let image = || {
        let tree = fs::read(store.join(format!("trees/{BASE}-amd64.json"))).ok()?;
        let tree: serde_json::Value = serde_json::from_slice(&tree).unwrap();
        Some(store.join("images").join(tree["tree"].as_str().unwrap())).filter(|it| it.is_dir())
    };
    if kernel().is_none() || image().is_none() {
        // They are made before the first build, which is not waited for.
        let limits = BuildLimits { time: Duration::from_secs(1), ..BuildLimits::default() };
        World { limits, ..World::new() }.problem(&world.source_that("early", &["true"]));
    }
    let (kernel, image) = (kernel().unwrap(), image().unwrap());
    // This program, with the libraries of this machine, as the first thing that the machine does.
    let input = world.path("input");
    let packages = input.join("packages");
    fs::create_dir_all(&packages).unwrap();
    fs::create_dir(input.join("source")).unwrap();
    let own = std::env::current_exe().unwrap();
    let libraries = Command::new("ldd").arg(&own).output().unwrap().stdout;
    let libraries = String::from_utf8(libraries).unwrap();
    let paths = libraries.split_whitespace().filter(|it| it.starts_with('/')).map(Path::new);
    for file in paths.chain([&*own]) {
        let name = if file == own { "probe".as_ref() } else { file.file_name().unwrap() };
        fs::copy(file, packages.join(name)).unwrap();
    }
    let steps = "steps() {
    mount -t cgroup2 cgroup2 /root/sys/fs/cgroup || fail 1
    cd /root/build/packages || fail 2
    chroot /root /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin INVIRTIBUILDER_TEST_INSIDE=1 /build/packages/ld-linux* --library-path /build/packages /build/packages/probe --ignored --exact --nocapture groups_of_version_2 || fail 3
}
";
    fs::write(input.join("steps"), steps.replace("/build/packages/ld-linux*", &loader(&packages))).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(world.directory.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // At its end qemu takes nobody to read what the machine prints.
        let input = child.stdin.take();
        let output = child.wait_with_output().unwrap();
        drop(input);
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{program}: {text}");
        text
    };
    run("tar", &["--create", "--file=input.tar", "--directory=input", "--", "packages", "source", "steps"]);
    run("mke2fs", &["-q", "-F", "-t", "ext4", "--", "work", "256m"]);
    run("truncate", &["--size=4M", "--", "output"]);
    let (kernel, initramfs) = (kernel.join("kernel"), kernel.join("initramfs"));
    let base = image.join("base.ext4");
    let drive = |name: &str, path: &Path, options: &str| {
        [
            "-drive".to_owned(),
            format!("id={name},if=none,format=raw,file={},{options}", path.display()),
            "-device".to_owned(),
            format!("virtio-blk-pci,drive={name},serial={name}"),
        ]
    };
    let mut arguments: Vec<String> = "-nodefaults -no-user-config -no-reboot -display none -net none -machine q35 -accel tcg,thread=multi -cpu max -m 512M -smp 2 -chardev stdio,id=log,mux=on,signal=off -serial chardev:log -device virtio-serial-pci -device virtserialport,chardev=log,name=log -append".split(' ').map(str::to_owned).collect();
    arguments.push("console=ttyS0 quiet panic=-1 no_timer_check".to_owned());
    arguments.extend([
        "-kernel".to_owned(),
        kernel.display().to_string(),
        "-initrd".to_owned(),
        initramfs.display().to_string(),
    ]);
    arguments.extend(drive("base", &base, "readonly=on"));
    arguments.extend(drive("input", &world.path("input.tar"), "readonly=on"));
    arguments.extend(drive("work", &world.path("work"), "cache=unsafe"));
    arguments.extend(drive("output", &world.path("output"), "cache=unsafe"));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let log = run("qemu-system-x86_64", &arguments);
    assert!(log.contains("version 2 holds"), "{log}");
}

/// What a machine does first that builds by itself.
const INIT: &[u8] = include_bytes!("../../invirtibuilder-core/src/builder/overlay/vm/init.sh");

/// Returns the dynamic loader among some libraries, as it is seen in the machine.
fn loader(packages: &Path) -> String {
    let names = fs::read_dir(packages).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    format!("/build/packages/{}", names.into_iter().find(|it| it.starts_with("ld-linux")).unwrap())
}
