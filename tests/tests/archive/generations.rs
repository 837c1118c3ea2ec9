//! What the archive served before: snapshots that real apt uses, returning to one, and what goes when.
#![allow(clippy::print_stdout, reason = "a measurement prints what it measured")]

use std::path::PathBuf;
use std::time::Duration;

use invirtibuilder_core::conformance::publisher::{Sample, stable, unstable};
use invirtibuilder_core::error::PublishError;
use invirtibuilder_core::names::JobId;
use invirtibuilder_core::publisher::archive::{Archive, Cause, Keep, Retention};
use invirtibuilder_core::publisher::{Generation, Publisher};
use invirtibuilder_core::states::CopyPlan;

use invirtibuilder_tests::world::{Apt, Server, World};

use super::{files, hello};

fn generation(number: u64) -> Generation {
    Generation::new(number)
}

fn id(number: u32) -> JobId {
    format!("20261123101500_{number:06}").parse().unwrap()
}

/// Returns the generation that the suite unstable serves, as its `InRelease` says.
fn served(world: &World) -> u64 {
    let text = String::from_utf8(world.in_release("unstable")).unwrap();
    text.lines().find_map(|it| it.strip_prefix("Generation: ")).unwrap().parse().unwrap()
}

fn snapshot_apt(world: &World, name: &str, archive: &Archive, uri: &str, number: u64) -> Apt {
    let sources = archive.snapshot_sources(&unstable().suite, generation(number), uri).unwrap();
    Apt::new(world.root.join(name), &sources)
}

fn keep(generations: usize) -> Retention {
    Retention { generations, time: Duration::ZERO, versions: 0 }
}

#[test]
fn every_publication_is_the_next_generation_and_a_repeated_one_says_which_it_was() {
    let world = World::new();
    let archive = world.archive();
    assert_eq!(served(&world), 1);
    let suite = unstable();
    assert_eq!(hello("1.0").publish(&archive, &suite).unwrap(), Some(generation(2)));
    assert_eq!(Sample::new("other", "1.0", "").publish(&archive, &suite).unwrap(), Some(generation(3)));
    assert_eq!(hello("1.0").publish(&archive, &suite).unwrap(), Some(generation(2)), "as after a crash");
    let copy = CopyPlan::for_tests(hello("1.0").plan(&stable()), unstable());
    assert_eq!(archive.copy(&copy).unwrap(), Some(generation(2)));
    assert_eq!(archive.copy(&copy).unwrap(), Some(generation(2)));
    std::fs::remove_dir_all(world.root.join("archive-state")).unwrap();
    let archive = world.archive();
    assert_eq!(hello("1.0").publish(&archive, &suite).unwrap(), Some(generation(3)), "nobody knows better");
    assert_eq!(hello("1.1").publish(&archive, &suite).unwrap(), Some(generation(4)));
    let listed = archive.generations(&suite.suite).unwrap();
    assert_eq!(listed.len(), 1);
    let change = &listed[0].changes[0];
    assert_eq!((listed[0].cause, listed[0].kept.clone()), (Cause::Job, Some(Keep::Served)));
    assert_eq!(change.old.as_ref().unwrap().as_str(), "1.0");
    assert_eq!(change.new.as_ref().unwrap().as_str(), "1.1");
}

#[test]
fn apt_installs_from_a_snapshot_what_was_served_then_by_file_and_by_http() {
    let world = World::new();
    let archive = world.archive();
    let server = Server::start(archive.directory());
    for version in ["1.0", "1.1", "1.2"] {
        hello(version).publish(&archive, &unstable()).unwrap();
    }
    for (name, uri) in [("file", &world.file_uri()), ("http", &server.uri)] {
        for (number, version) in [(2, "1.0"), (3, "1.1"), (4, "1.2")] {
            let apt = snapshot_apt(&world, &format!("{name}{number}"), &archive, uri, number);
            apt.run(&["update"]);
            let simulated = apt.run(&["--simulate", "install", "hello"]);
            assert!(simulated.contains(&format!("Inst hello ({version}")), "{simulated}");
            apt.run(&["download", "hello", "hello-doc"]);
            apt.run(&["source", "hello"]);
        }
        // With the suite and a snapshot, an older version can be asked for, also to replace a newer one.
        let apt = world.apt(&format!("{name}-both"), &archive, &unstable().suite, uri);
        let old = archive.snapshot_sources(&unstable().suite, generation(2), uri).unwrap();
        apt.add_source("old", &old);
        apt.run(&["update"]);
        apt.install_status("hello", "1.2", "amd64");
        let simulated = apt.run(&["--simulate", "--allow-downgrades", "install", "hello=1.0"]);
        assert!(simulated.contains("Inst hello [1.2] (1.0"), "{simulated}");
    }
}

#[test]
fn a_snapshot_that_a_loss_of_power_took_is_made_again() {
    let world = World::new();
    hello("1.0").publish(&world.archive(), &unstable()).unwrap();
    hello("1.1").publish(&world.archive(), &unstable()).unwrap();
    let before = files(&world.path("snapshot"));
    std::fs::remove_dir_all(world.path("snapshot/unstable/1")).unwrap();
    std::fs::remove_file(world.path("snapshot/unstable/2/pool")).unwrap();
    std::fs::remove_file(world.path("snapshot/unstable/2/dists/unstable/InRelease")).unwrap();
    let archive = world.archive();
    let apt = snapshot_apt(&world, "apt", &archive, &world.file_uri(), 2);
    apt.run(&["update"]);
    apt.run(&["download", "hello"]);
    let after = files(&world.path("snapshot"));
    assert!(before.difference(&after).all(|it| it.starts_with("unstable/1") && !it.ends_with("InRelease")));
}

#[test]
fn a_suite_returns_to_an_earlier_generation_as_a_new_one() {
    let world = World::new();
    let archive = world.archive();
    let suite = unstable().suite;
    hello("1.0").publish(&archive, &unstable()).unwrap();
    Sample::new("apple", "1.0", "").publish(&archive, &unstable()).unwrap();
    let then = archive.contents(&suite).unwrap();
    hello("1.1").publish(&archive, &unstable()).unwrap();
    Sample::new("mango", "1.0", "").publish(&archive, &unstable()).unwrap();
    let (from, to) = (generation(5), generation(3));
    assert_eq!(archive.contents_at(&suite, to).unwrap(), then);
    let apt = world.apt("apt", &archive, &suite, &world.file_uri());
    apt.run(&["update"]);
    for _ in 0..2 {
        assert_eq!(archive.restore(&suite, &id(1), from, to).unwrap(), generation(6), "also when repeated");
        assert_eq!(archive.contents(&suite).unwrap(), then);
    }
    apt.run(&["update"]);
    let simulated = apt.run(&["--simulate", "install", "hello", "apple"]);
    assert!(simulated.contains("Inst hello (1.0"), "{simulated}");
    assert!(!apt.try_run(&["--simulate", "install", "mango"]).status.success());
    apt.run(&["download", "hello", "apple"]);
    for index in ["main/binary-amd64/Packages.gz", "main/source/Sources.xz"] {
        let canonical = std::fs::read(world.path("dists/unstable").join(index)).unwrap();
        let by_hash = files(&world.path("dists/unstable")).into_iter().filter(|it| {
            it.to_string_lossy().contains("by-hash")
                && std::fs::read(world.path("dists/unstable").join(it)).unwrap() == canonical
        });
        assert!(by_hash.count() > 0, "{index} is the one that InRelease names");
    }
    let last = &archive.generations(&suite).unwrap()[0];
    assert_eq!((last.cause, last.changes.len()), (Cause::Rollback(to), 2));
    let error = archive.restore(&suite, &id(2), from, to).unwrap_err();
    assert!(matches!(&error, PublishError::NotKept { .. }), "{error}");
    let error = archive.restore(&suite, &id(2), generation(6), generation(99)).unwrap_err();
    assert!(error.to_string().contains("it is not kept"), "{error}");
    assert_eq!(served(&world), 6);
    // Forth again, and on.
    assert_eq!(archive.restore(&suite, &id(3), generation(6), from).unwrap(), generation(7));
    hello("1.2").publish(&archive, &unstable()).unwrap();
    apt.run(&["update"]);
    apt.run(&["download", "hello", "apple", "mango"]);
}

/// Fails the test unless apt can use every generation that the archive says it has, and the suites.
fn assert_all_served(world: &World, archive: &Archive, round: &str) {
    for suite in [stable().suite, unstable().suite] {
        for it in archive.generations(&suite).unwrap() {
            let sources = archive.snapshot_sources(&suite, it.generation, &world.file_uri()).unwrap();
            let apt = Apt::new(world.root.join(format!("apt-{round}-{suite}-{}", it.generation)), &sources);
            apt.run(&["update"]);
            let held = archive.contents_at(&suite, it.generation).unwrap();
            for held in held {
                apt.run(&["download", held.package.as_str(), &format!("{}-doc", held.package)]);
                apt.run(&["source", "--download-only", held.package.as_str()]);
            }
        }
    }
}

#[test]
fn whatever_is_kept_can_be_used_and_nothing_else_stays() {
    let world = World::new();
    let retention = Retention { versions: 1, ..keep(1) };
    let archive = world.archive_in("archive", retention);
    Sample::new("apple", "1.0", "").publish(&archive, &unstable()).unwrap();
    hello("1.0").publish(&archive, &unstable()).unwrap();
    archive.copy(&CopyPlan::for_tests(hello("1.0").plan(&stable()), unstable())).unwrap();
    Sample::new("apple", "1.1", "").publish(&archive, &unstable()).unwrap();
    for version in ["1.1", "1.2", "1.3", "1.4", "1.5"] {
        hello(version).publish(&archive, &unstable()).unwrap();
    }
    // The third is the last one with apple 1.0, which was superseded last of apple; the eighth has hello 1.4.
    let numbers = |archive: &Archive| -> Vec<u64> {
        let all = archive.generations(&unstable().suite).unwrap();
        all.iter().map(|it| it.generation.number()).collect()
    };
    assert_eq!(numbers(&archive), [9, 8, 3]);
    assert_all_served(&world, &archive, "first");
    let has = |name: &str| files(&world.path("pool")).iter().any(|it| it.to_string_lossy().contains(name));
    let versions = ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5"].map(|it| has(&format!("hello_{it}_")));
    assert_eq!(versions, [true, false, false, false, true, true]);
    let restored = archive.restore(&unstable().suite, &id(1), generation(9), generation(3)).unwrap();
    assert_eq!(restored, generation(10));
    assert_all_served(&world, &archive, "second");
    // With fewer to keep, all but what is served goes.
    let archive = world.archive_in("archive", keep(0));
    let planned = archive.expire(true).unwrap();
    assert!(!planned.files.is_empty() && planned.bytes() > 0);
    assert_eq!(numbers(&archive).len(), numbers(&world.archive()).len(), "a trial removes nothing");
    let done = archive.expire(false).unwrap();
    assert_eq!((done.files, done.generations), (planned.files, planned.generations));
    assert_eq!(numbers(&archive), [10]);
    assert_all_served(&world, &archive, "third");
    assert!(!has("hello_1.5_") && has("hello_1.0_") && has("apple_1.0_"));
    assert!(archive.expire(true).unwrap().files.is_empty());
    let left = files(&world.path("snapshot/unstable"));
    assert!(left.iter().all(|it| it.starts_with("10")), "{left:?}");
}

#[test]
fn a_loss_of_all_records_loses_no_file_that_is_served_and_orphans_go_after_their_time() {
    let world = World::new();
    let archive = world.archive();
    for version in ["1.0", "1.1", "1.2"] {
        hello(version).publish(&archive, &unstable()).unwrap();
    }
    std::fs::remove_dir_all(world.root.join("archive-state")).unwrap();
    let left: PathBuf = world.path("pool/main/h/hello/.new-0123-hello_2.0.dsc");
    std::fs::write(&left, "half").unwrap();
    let archive = world.archive();
    let seen = archive.expire(false).unwrap();
    assert!(seen.orphans > 0 && seen.files.is_empty(), "{seen:?}");
    assert!(archive.expire(false).unwrap().files.is_empty(), "a day has not passed");
    let hour_ago = std::time::SystemTime::now() - Duration::from_secs(2 * 3600);
    std::fs::File::options().append(true).open(&left).unwrap().set_modified(hour_ago).unwrap();
    let archive = world.archive_in("archive", keep(0));
    let gone = archive.expire(false).unwrap();
    assert_eq!(gone.orphans, 0);
    let pool = files(&world.path("pool"));
    let names: Vec<_> =
        pool.iter().map(|it| it.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert!(names.iter().all(|it| it.contains("_1.2")), "{names:?}");
    assert_all_served(&world, &archive, "after");
    hello("1.0").publish(&archive, &unstable()).unwrap();
    assert_all_served(&world, &archive, "last");
}

#[test]
fn what_an_interrupted_publication_left_goes_with_the_one_that_takes_its_number() {
    let world = World::new();
    let archive = world.archive_in("archive", keep(1));
    hello("1.0").publish(&archive, &unstable()).unwrap();
    let (before, pool) = (world.in_release("unstable"), files(&world.path("pool")));
    hello("1.1").publish(&archive, &unstable()).unwrap();
    // As if it had been killed just before the last rename, and what it replaced had not gone.
    let world_files = files(&world.path("pool"));
    std::fs::write(world.path("dists/unstable/InRelease"), before).unwrap();
    assert!(world_files.iter().any(|it| it.to_string_lossy().contains("hello_1.1_")));
    assert!(pool.iter().all(|it| it.to_string_lossy().contains("1.0")));
    let archive = world.archive_in("archive", keep(1));
    Sample::new("other", "1.0", "").publish(&archive, &stable()).unwrap();
    Sample::new("mango", "1.0", "").publish(&archive, &unstable()).unwrap();
    Sample::new("mango", "1.1", "").publish(&archive, &unstable()).unwrap();
    let names = files(&world.path("pool"));
    assert!(!names.iter().any(|it| it.to_string_lossy().contains("hello_1.1")), "{names:?}");
}

#[test]
fn a_suite_that_is_not_refreshed_is_refused_by_apt_and_a_refreshed_one_is_accepted() {
    let mut world = World::new();
    world.valid_for = Some(Duration::from_secs(2));
    let archive = world.archive();
    hello("1.0").publish(&archive, &unstable()).unwrap();
    let number = served(&world);
    let apt = world.apt("apt", &archive, &unstable().suite, &world.file_uri());
    let due = archive.next_refresh().unwrap().unwrap();
    // Until apt's clock, which counts whole seconds, is past the end: what is tested is the passing of time.
    std::thread::sleep(Duration::from_secs(4));
    assert!(due < jiff::Timestamp::now());
    let refused = apt.try_run(&["update"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("is expired"), "{text}");
    let snapshot = snapshot_apt(&world, "snapshot", &archive, &world.file_uri(), number);
    snapshot.run(&["update"]);
    world.valid_for = Some(Duration::from_secs(600));
    let archive = world.archive();
    assert_eq!(archive.refresh(false).unwrap(), [stable().suite, unstable().suite]);
    apt.run(&["update"]);
    apt.run(&["download", "hello"]);
    assert_eq!(served(&world), number, "its content is the same");
    assert!(archive.refresh(false).unwrap().is_empty(), "it is not due");
    assert_eq!(archive.refresh(true).unwrap().len(), 2);
    apt.run(&["update"]);
    hello("1.1").publish(&archive, &unstable()).unwrap();
    apt.run(&["update"]);
    assert_eq!(served(&world), number + 1);
    // Without the setting the field goes.
    world.valid_for = None;
    assert_eq!(world.archive().refresh(false).unwrap().len(), 2);
    assert!(!String::from_utf8(world.in_release("unstable")).unwrap().contains("Valid-Until"));
}

#[test]
#[ignore = "a measurement: it prints how long publications take among thousands of kept generations"]
#[allow(clippy::print_stdout, reason = "it is a measurement")]
fn publications_among_thousands_of_kept_generations() {
    const COUNT: u64 = 5_000;
    let world = World::new();
    let many = Retention { generations: 10_000, ..keep(0) };
    let archive = world.archive_in("archive", many);
    let time = |archive: &Archive, what: &str, versions: std::ops::Range<u32>| {
        for version in versions {
            let started = std::time::Instant::now();
            hello(&format!("1.{version}")).publish(archive, &unstable()).unwrap();
            println!("{what}: {:?}", started.elapsed());
        }
    };
    time(&archive, "few generations", 0..5);
    // The records of thousands more, as publications would have left them.
    let records = world.root.join("archive-state/generations/unstable");
    let model = std::fs::read_to_string(records.join("6")).unwrap();
    for number in 7..=COUNT {
        let text = model.replace("Generation: 6\n", &format!("Generation: {number}\n"));
        std::fs::write(records.join(number.to_string()), text).unwrap();
    }
    let path = world.path("dists/unstable/InRelease");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("Generation: 6\n", &format!("Generation: {COUNT}\n"))).unwrap();
    let started = std::time::Instant::now();
    let archive = world.archive_in("archive", many);
    println!("the first start, which makes all their snapshots: {:?}", started.elapsed());
    let started = std::time::Instant::now();
    let archive = {
        drop(archive);
        world.archive_in("archive", many)
    };
    println!("the next start: {:?}", started.elapsed());
    time(&archive, "5,000 generations, the first with a look at all", 5..10);
    for is_trial in [true, false] {
        let started = std::time::Instant::now();
        archive.expire(is_trial).unwrap();
        println!("expire among them: {:?}", started.elapsed());
    }
    let archive = world.archive_in("archive", keep(3));
    let started = std::time::Instant::now();
    let gone = archive.expire(false).unwrap();
    println!("letting go of {}: {:?}", gone.generations[&unstable().suite].len(), started.elapsed());
}
