//! What is left after the process dies, or the disk is full, in the middle of a publication.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use invirtibuilder_core::conformance::publisher::{Sample, stable};
use invirtibuilder_core::publisher::Publisher;

use invirtibuilder_tests::world::{WORLD, World, expect};

use super::{files, hello};

fn child(test: &str, wrapper: &[&str], world: &Path) -> Command {
    let exe = std::env::current_exe().unwrap();
    let mut words: Vec<&str> = wrapper.to_vec();
    let exe = exe.to_str().unwrap();
    let name = format!("interruption::{test}");
    words.extend([exe, "--ignored", "--nocapture", "--exact", &name]);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env(WORLD, world).stdout(Stdio::piped());
    command
}

fn world_of_parent() -> Option<World> {
    std::env::var_os(WORLD).map(|it| World::open(Path::new(&it)))
}

#[test]
#[ignore = "a part of another test, which runs it in a process of its own"]
fn publish_until_killed() {
    let Some(world) = world_of_parent() else { return };
    let archive = world.archive();
    println!("\nready");
    for version in 0.. {
        for name in ["hello", "apple"] {
            Sample::new(name, &format!("2.{version}"), "").publish(&archive, &stable()).unwrap();
        }
    }
}

#[test]
fn a_publisher_that_is_killed_at_any_moment_leaves_a_whole_archive_and_can_repeat() {
    const ROUNDS: u64 = 40;
    let world = World::new();
    let archive = world.archive();
    hello("1.0").publish(&archive, &stable()).unwrap();
    let apt = world.apt("apt", &archive, &stable().suite, &world.file_uri());
    let mut progress = 0;
    for round in 0..ROUNDS {
        let before = world.in_release("stable");
        let mut publisher = child("publish_until_killed", &[], &world.root).spawn().unwrap();
        let lines = BufReader::new(publisher.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|it| it == "ready"));
        // Not to wait for anything: the moment of death is what varies.
        std::thread::sleep(Duration::from_millis(round * 37 % 400));
        publisher.kill().unwrap();
        publisher.wait().unwrap();
        progress += usize::from(world.in_release("stable") != before);
        apt.forget();
        apt.run(&["update"]);
        apt.run(&["download", "hello"]);
        // What the next worker does: the same once more.
        let archive = world.archive();
        let contents = archive.contents(&stable().suite).unwrap();
        let next = Sample::new("hello", &format!("1.{}", round + 1), "");
        next.publish(&archive, &stable()).unwrap();
        assert_eq!(archive.held(&stable().suite, &next.package).unwrap(), Some(next.held()));
        assert!(archive.contents(&stable().suite).unwrap().len() >= contents.len());
    }
    assert!(progress > 9, "no publisher lived long enough to publish anything");
}

#[test]
#[ignore = "a part of another test, which runs it in a mount namespace of its own"]
fn publish_on_a_full_disk() {
    let Some(world) = world_of_parent() else { return };
    let disk = world.root.join("archive");
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&disk);
    expect(&mount.output().unwrap());
    let archive = world.archive();
    hello("1.0").publish(&archive, &stable()).unwrap();
    let apt = world.apt("apt", &archive, &stable().suite, &world.file_uri());
    let mut refused = 0;
    let mut room = 500_000;
    while room > 8_000 {
        // Less and less is free, so that every file in turn is the one that does not fit.
        let filler = vec![0; 1_048_576 - room];
        let _ = std::fs::write(disk.join("filler"), filler);
        let before = (world.in_release("stable"), files(&disk.join("pool")));
        let version = format!("1.{room}");
        let published = Sample::new("hello", &version, &"x".repeat(40_000)).publish(&archive, &stable());
        if let Err(error) = published {
            let causes = invirtibuilder_core::error::causes(&error).join(": ");
            assert!(causes.contains("No space left"), "{causes}");
            assert!(before == (world.in_release("stable"), files(&disk.join("pool"))));
            refused += 1;
        }
        std::fs::remove_file(disk.join("filler")).unwrap();
        apt.run(&["update"]);
        apt.run(&["download", "hello"]);
        room -= room / 7;
    }
    assert!(refused > 3, "the disk was full {refused} times");
    hello("3.0").publish(&archive, &stable()).unwrap();
    apt.run(&["update"]);
}

#[test]
fn a_full_disk_leaves_the_archive_as_it_was() {
    let world = World::new();
    std::fs::create_dir(world.root.join("archive")).unwrap();
    let wrapper = ["unshare", "--map-root-user", "--mount", "--"];
    expect(&child("publish_on_a_full_disk", &wrapper, &world.root).output().unwrap());
}

#[test]
fn what_a_publisher_that_died_left_unfinished_goes_with_the_next_and_what_a_living_one_writes_does_not() {
    let world = World::new();
    hello("1.0").publish(&world.archive(), &stable()).unwrap();
    let names = ["archive/pool/main/h/hello", "archive/dists/stable/main/source/by-hash", "archive-state"];
    let left = names.map(|it| world.root.join(it).join(".new-0123456789abcdef0-hello_1.1.dsc"));
    let lock = world.root.join("archive-state/lock");
    for is_dead in [false, true] {
        for path in &left {
            std::fs::write(path, "half of a fi").unwrap();
        }
        // What strace shows of a publisher: this as its first change, and taken back as its last.
        std::fs::write(&lock, if is_dead { "\0" } else { "" }).unwrap();
        drop(world.archive());
        assert_eq!(left.each_ref().map(|it| it.exists()), [!is_dead; 3]);
        assert_eq!(std::fs::metadata(&lock).unwrap().len(), 0);
    }
}
