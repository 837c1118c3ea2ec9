//! Packages that take all that there is: each ends as a failed build, and the machine is as before.

use std::process::{Command, Stdio};

use super::super::*;

#[test]
fn a_build_that_prints_without_end_is_ended_and_the_limit_is_named() {
    let mut world = World::new();
    world.limits.log = 4 << 20;
    let (problem, log) = world.problem(&world.source_that("noisy", "yes 3155762001"));
    assert!(problem.contains("more than 4194304 bytes"), "{problem}");
    assert!(log.len() < 5 << 20, "the log has {} bytes", log.len());
    assert!(!runs("3155762001"), "a process of the build runs on");
}

#[test]
fn a_build_that_is_silent_is_ended() {
    let mut world = World::new();
    world.limits.silence = Duration::from_secs(4);
    let (problem, _) = world.problem(&world.source_that("silent", "sleep 3155762002"));
    assert!(problem.contains("printed nothing for 4 s"), "{problem}");
    assert!(!runs("3155762002"), "a process of the build runs on");
}

#[test]
fn a_fork_bomb_is_held_and_the_machine_can_go_on() {
    let mut world = World::new();
    world.limits.processes = 100;
    world.limits.time = Duration::from_secs(60);
    let bomb = "i=0; while [ $$i -lt 400 ]; do sleep 3155762003 & i=$$((i+1)); done; wait";
    let started = Instant::now();
    world.problem(&world.source_that("forking", bomb));
    assert!(started.elapsed() < Duration::from_secs(50), "the limit of time ended it, not that of processes");
    assert!(!runs("3155762003"), "a process of the build runs on");
}

#[test]
fn a_memory_bomb_is_held_and_named() {
    let mut world = World::new();
    world.limits.memory = Some(300 << 20);
    world.limits.disk = Some(200 << 20);
    let source = world.source_that("hungry", "perl -e 'my @a; while (1) { push @a, \"x\" x (1 << 20) }'");
    let (problem, log) = world.problem(&source);
    if Groups::detect().can_limit(Resource::Memory) {
        assert!(problem.contains("more than its memory of 314572800 bytes"), "{problem}\n{log}");
    }
}

#[test]
fn a_disk_bomb_in_memory_is_held_and_named() {
    let mut world = World::new();
    world.limits.disk = Some(100 << 20);
    let (problem, _) = world.problem(&world.source_that("filling", "cat /dev/zero > zeros"));
    // One file is bounded by a signal before all of them are bounded by the size of the file system.
    assert!(problem.contains("it failed") || problem.contains("filled its disk"), "{problem}");
    let many = "i=0; while head -c 10M /dev/zero > zeros$$i; do i=$$((i+1)); done; false";
    let (problem, _) = world.problem(&world.source_that("littering", many));
    assert!(problem.contains("it filled its disk of 104857600 bytes"), "{problem}");
}

#[test]
fn a_layer_that_grows_beyond_the_limit_is_not_kept() {
    let mut world = World::new();
    // More than the largest file of debhelper's dependencies, and less than all.
    world.limits.disk = Some(40 << 20);
    let large = source(world.directory.path(), plan("large", "disk", Trust::None), GOOD, DEBHELPER);
    let (problem, log) = world.problem(&large);
    let expected =
        "its build dependencies cannot be installed: it wrote more than its limit of 41943040 bytes";
    assert!(problem.contains(expected), "{problem}\n{log}");
}

#[test]
fn a_build_that_may_write_more_than_half_of_the_memory_is_on_disk() {
    let mut world = World::new();
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let free = text.lines().find_map(|it| it.strip_prefix("MemAvailable:")).unwrap();
    let kibibytes: u64 = free.trim().trim_end_matches(" kB").parse().unwrap();
    world.limits.disk = Some(kibibytes << 10);
    let source = world.source_that("boundless", "echo on disk; grep -q . /proc/self/mounts");
    let (result, log) = world.build(&source);
    result.unwrap_or_else(|e| panic!("{e:?}\n{log}"));
    assert!(log.contains(", on disk\n"), "{log}");
    world.assert_nothing_is_left();
}

/// Not a test of its own: the next test runs it where there are no control groups.
#[test]
#[ignore = "the test below starts it"]
fn bombs_without_control_groups() {
    if std::env::var_os("INVIRTIBUILDER_TEST_WORLD").is_none() {
        return;
    }
    let groups = Groups::detect();
    assert!(!groups.can_limit(Resource::Memory) && !groups.can_limit(Resource::Processes), "{groups:?}");
    let mut world = World::new();
    world.limits.memory = Some(400 << 20);
    // Of all builds of the account together, those of tests beside this one too.
    world.limits.processes = 300;
    world.limits.disk = Some(200 << 20);
    let findings = world.builder().check();
    let finding = findings.iter().find(|it| it.subject == "limit of memory").unwrap();
    assert_eq!(finding.level, Level::Warning, "{finding:?}");
    let does = "! perl -e 'my @a; while (1) { push @a, \"x\" x (1 << 20) }' && echo memory is held; \
        i=0; while [ $$i -lt 400 ]; do sleep 3155762005 & i=$$((i+1)); done; wait";
    let started = Instant::now();
    let (_, log) = world.problem(&world.source_that("bombing", does));
    assert!(log.contains("memory is held") && log.contains("ork"), "{log}");
    assert!(started.elapsed() < Duration::from_secs(120), "{log}");
    let many = "i=0; while head -c 10M /dev/zero > zeros$$i; do i=$$((i+1)); done; false";
    let (problem, log) = world.problem(&world.source_that("littering", many));
    assert!(problem.contains("it filled its disk of 209715200 bytes"), "{problem}\n{log}");
    println!("held");
}

#[test]
fn without_control_groups_the_limits_of_processes_hold_builds() {
    const SCRIPT: &str =
        "while umount /sys/fs/cgroup/* 2>/dev/null; do :; done; umount /sys/fs/cgroup; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-c", SCRIPT, "sh"]).arg(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "overlay::bombs::bombs_without_control_groups"]);
    let output = command.env("INVIRTIBUILDER_TEST_WORLD", "").stdin(Stdio::null()).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("held\n"), "{text}\n{errors}");
    assert!(!runs("3155762005"), "a process of the build runs on");
}
