//! What is left after the process, the program that it drives, or both die in the middle of a publication.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use invirtibuilder_core::conformance::publisher::{Sample, stable, unstable};
use invirtibuilder_core::publisher::Publisher;
use invirtibuilder_tests::apt::Apt;

use super::world::{Tool, World, copy_of};
use super::{files, hello};

/// The variables that tell a child process its world, its program and its version.
const WORLD: &str = "INVIRTIBUILDER_TEST_WORLD";
const TOOL: &str = "INVIRTIBUILDER_TEST_TOOL";
const VERSION: &str = "INVIRTIBUILDER_TEST_VERSION";

/// Begins a process that publishes a version in `unstable` and copies it to `stable`.
fn child(wrapper: &[&str], world: &World, version: &str) -> Command {
    let exe = std::env::current_exe().unwrap();
    let mut words: Vec<&str> = wrapper.to_vec();
    let test = "interruption::publish_and_copy";
    words.extend([exe.to_str().unwrap(), "--ignored", "--nocapture", "--exact", test]);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env(WORLD, &world.root).env(TOOL, world.tool.name()).env(VERSION, version);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
#[ignore = "a part of another test, which runs it in a process of its own"]
fn publish_and_copy() {
    let (Some(root), Some(tool), Some(version)) =
        (std::env::var_os(WORLD), std::env::var_os(TOOL), std::env::var_os(VERSION))
    else {
        return;
    };
    let world = World::open(Path::new(&root), Tool::of_name(tool.to_str().unwrap()));
    let sample = hello(version.to_str().unwrap());
    let publisher = world.publisher();
    sample.publish(&publisher, &unstable()).unwrap();
    publisher.copy(&copy_of(&sample)).unwrap();
}

/// A world in which a second package must stay as it is, with an apt for each suite.
struct Scene {
    world: World,
    apts: [Apt; 2],
}

impl Scene {
    fn new(tool: Tool) -> Self {
        let world = World::new(tool);
        let publisher = world.publisher();
        for pocket in [stable(), unstable()] {
            Sample::new("apple", "1.0", "").publish(&publisher, &pocket).unwrap();
            hello("0").publish(&publisher, &pocket).unwrap();
        }
        let apts = [stable(), unstable()].map(|it| world.apt(&format!("apt-{}", it.suite), &it.suite));
        Self { world, apts }
    }

    /// Makes `unstable` have other bytes under the name of a version that is to be published.
    fn squat(&self, version: &str) {
        Sample::new("hello", version, "another").publish(&self.world.publisher(), &unstable()).unwrap();
    }

    /// Fails the test unless the same call once more ends as if nothing had happened.
    fn assert_recovers(&self, version: &str, moment: &str) {
        if self.world.tool == Tool::Aptly {
            // By hash, readers see a whole archive also before.
            for apt in &self.apts {
                assert_eq!(apt.update().code, Some(0), "apt before recovery, {moment}");
            }
        }
        let again = child(&[], &self.world, version).stderr(Stdio::piped()).output().unwrap();
        assert!(again.status.success(), "{moment}: {}", String::from_utf8_lossy(&again.stderr));
        let publisher = self.world.describe("archive", World::suites());
        let expected = [Sample::new("apple", "1.0", "").held(), hello(version).held()];
        for (pocket, apt) in [stable(), unstable()].iter().zip(&self.apts) {
            assert_eq!(publisher.contents(&pocket.suite).unwrap(), expected, "{moment}");
            assert_eq!(apt.source_version("hello").as_deref(), Some(version), "{moment}");
            assert_eq!(apt.get(&["clean"]).code, Some(0));
            for name in std::fs::read_dir(apt.downloads()).unwrap() {
                let path = name.unwrap().path();
                if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
                    .unwrap();
            }
            assert_eq!(apt.download(&["hello", "hello-doc", "apple"]).len(), 3, "{moment}");
            assert!(apt.source("hello").is_dir());
        }
        // A second look changes nothing, and nothing is left of the change.
        let before = files(publisher.directory());
        self.world.publisher();
        assert!(before == files(publisher.directory()), "{moment}");
        for suite in ["stable", "unstable"] {
            let state = self.world.root.join("archive-state").join(suite);
            let entries = std::fs::read_dir(&state).unwrap().count();
            assert_eq!(entries, 2, "in {} after {moment}: one record and one state", state.display());
        }
    }
}

/// Kills the process and its program together, at moments that are spread over a publication and a copy.
fn survives_the_death_of_all(tool: Tool) {
    const ROUNDS: u32 = 12;
    let scene = Scene::new(tool);
    let started = Instant::now();
    assert!(child(&[], &scene.world, "1").status().unwrap().success());
    let whole = started.elapsed();
    let mut killed = 0;
    for round in 0..ROUNDS {
        let version = format!("2.{round}");
        if round % 2 == 0 {
            scene.squat(&version);
        }
        // All processes of a namespace end with its first.
        let wrapper = ["unshare", "--map-root-user", "--pid", "--fork", "--kill-child=SIGKILL", "--"];
        let mut process = child(&wrapper, &scene.world, &version).spawn().unwrap();
        // Not to wait for anything: the moment of death is what varies.
        std::thread::sleep(whole * round / ROUNDS + Duration::from_millis(1));
        let _ = process.kill();
        killed += usize::from(!process.wait().unwrap().success());
        scene.assert_recovers(&version, &format!("death in round {round}"));
    }
    assert!(killed > 5, "only {killed} died before they were done");
}

#[test]
fn reprepro_and_its_publisher_may_die_at_any_moment() {
    survives_the_death_of_all(Tool::Reprepro);
}

#[test]
fn aptly_and_its_publisher_may_die_at_any_moment() {
    survives_the_death_of_all(Tool::Aptly);
}

/// Kills whichever process makes the n-th call of a system call: ours, or one of the program's.
fn survives_the_death_of_one(tool: Tool, kinds: [&str; 6]) {
    const EACH: usize = 2;
    let scene = Scene::new(tool);
    let note = scene.world.root.join("trace");
    let calls = kinds.join(",");
    scene.squat("1");
    let strace = ["strace", "-f", "-qq", "-o", note.to_str().unwrap(), "-e", &format!("trace={calls}"), "--"];
    assert!(child(&strace, &scene.world, "1").status().unwrap().success());
    // How often each process makes each call.
    let text = std::fs::read_to_string(&note).unwrap();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in text.lines() {
        let Some((process, rest)) = line.split_once(' ') else { continue };
        if let Some((call, _)) = rest.trim_start().split_once('(') {
            *counts.entry((call, process)).or_default() += 1;
        }
    }
    let is_all = std::env::var_os("INVIRTIBUILDER_TEST_KILLS").is_some_and(|it| it == "all");
    let (mut tried, mut hit) = (0, 0);
    for call in kinds {
        let most = counts.iter().filter(|it| it.0.0 == call).map(|it| *it.1).max().unwrap_or(0);
        let step = if is_all { 1 } else { most.div_ceil(EACH).max(1) };
        for n in (1..=most).step_by(step) {
            tried += 1;
            let version = format!("2.{tried}");
            if tried % 2 == 0 {
                scene.squat(&version);
            }
            let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=SIGKILL:when={n}"));
            let note = note.to_str().unwrap();
            let strace = ["strace", "-f", "-qq", "-o", note, "-e", &trace, "-e", &inject, "--"];
            hit += usize::from(!child(&strace, &scene.world, &version).status().unwrap().success());
            scene.assert_recovers(&version, &format!("{call} number {n}"));
        }
    }
    assert!(hit * 3 > tried, "only {hit} of {tried} publications were hit");
}

/// Berkeley DB has one name for each file that it makes: while it is there, nobody else makes that file.
#[test]
fn reprepro_may_die_before_it_names_a_file_of_its_database() {
    let scene = Scene::new(Tool::Reprepro);
    let state = scene.world.root.join("archive-state/unstable");
    let numbers =
        std::fs::read_dir(&state).unwrap().filter_map(|it| it.unwrap().file_name().into_string().ok());
    let number: u64 = numbers.filter_map(|it| it.parse().ok()).max().unwrap();
    let left = state.join(format!("{}/db/__db.release.caches.db", number + 1));
    // It is kept from going on there until all of them end with the first process of their namespace.
    let inject = "inject=rename,renameat,renameat2:delay_enter=600000000";
    let alone = ["unshare", "--map-root-user", "--pid", "--fork", "--kill-child=SIGKILL", "--"];
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", left.to_str().unwrap(), "-e", inject, "--"];
    let mut process = child(&[&alone[..], &strace].concat(), &scene.world, "1").spawn().unwrap();
    let started = Instant::now();
    while !left.exists() && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(left.exists(), "it was not killed there");
    // Nor is what our own process was writing.
    std::fs::write(state.join(".new-record-1"), "half").unwrap();
    scene.assert_recovers("1", "death over a name");
}

/// System calls that change names, and others that change files.
const NAMES: [&str; 6] = ["rename", "renameat2", "link", "linkat", "unlink", "unlinkat"];
const FILES: [&str; 6] = ["mkdir", "mkdirat", "pwrite64", "fsync", "fdatasync", "ftruncate"];

#[test]
fn reprepro_or_its_publisher_may_die_at_any_change_of_a_name() {
    survives_the_death_of_one(Tool::Reprepro, NAMES);
}

#[test]
fn reprepro_or_its_publisher_may_die_at_any_change_of_a_file() {
    survives_the_death_of_one(Tool::Reprepro, FILES);
}

#[test]
fn aptly_or_its_publisher_may_die_at_any_change_of_a_name() {
    survives_the_death_of_one(Tool::Aptly, NAMES);
}

#[test]
fn aptly_or_its_publisher_may_die_at_any_change_of_a_file() {
    survives_the_death_of_one(Tool::Aptly, FILES);
}
