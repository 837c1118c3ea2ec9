//! reprepro and aptly as publishers, and what real apt sees of their archives.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "these tests play the part of the outside world"
)]

#[path = "publishers/interruption.rs"]
mod interruption;
#[path = "publishers/site.rs"]
mod site;
#[path = "publishers/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use invirtibuilder_core::conformance::publisher::{self as conformance, Sample, stable, unstable};
use invirtibuilder_core::error::{PublishError, causes};
use invirtibuilder_core::publisher::Publisher;
use world::{Tool, World, copy_of};

/// Returns what all files below a directory are, by their paths.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().display().to_string();
                // aptly leaves links that lead nowhere.
                found.insert(name, std::fs::read(&path).unwrap_or_default());
            }
        }
    }
    found
}

fn hello(version: &str) -> Sample {
    Sample::new("hello", version, "")
}

fn fulfils_the_contract(tool: Tool) {
    let world = World::new(tool);
    let mut count = 0;
    conformance::all(|| {
        count += 1;
        world.publisher_in(&format!("archive{count}"), World::suites())
    });
}

#[test]
fn reprepro_fulfils_the_contract_of_a_publisher() {
    fulfils_the_contract(Tool::Reprepro);
}

#[test]
fn aptly_fulfils_the_contract_of_a_publisher() {
    fulfils_the_contract(Tool::Aptly);
}

fn apt_uses(tool: Tool) {
    let world = World::new(tool);
    let publisher = world.publisher();
    let apt = world.apt("apt", &stable().suite);
    // Also before anything is published.
    apt.update().ok();
    for version in ["1:1.0~rc1", "1:1.0"] {
        hello(version).publish(&publisher, &stable()).unwrap();
        assert_eq!(apt.source_version("hello").as_deref(), Some(version));
        let simulated = apt.get(&["--simulate", "install", "hello", "hello-doc"]).ok();
        assert!(simulated.contains(&format!("Inst hello ({version}")), "{simulated}");
    }
    assert_eq!(apt.download(&["hello", "hello-doc"]).len(), 2);
    assert!(apt.source("hello").ends_with("hello-1.0"));
}

#[test]
fn apt_installs_and_downloads_what_reprepro_published() {
    apt_uses(Tool::Reprepro);
}

#[test]
fn apt_installs_and_downloads_what_aptly_published() {
    apt_uses(Tool::Aptly);
}

fn repeating_changes_nothing(tool: Tool) {
    let world = World::new(tool);
    let publisher = world.publisher();
    hello("1.0").publish(&publisher, &unstable()).unwrap();
    publisher.copy(&copy_of(&hello("1.0"))).unwrap();
    let before = files(publisher.directory());
    hello("1.0").publish(&publisher, &unstable()).unwrap();
    publisher.copy(&copy_of(&hello("1.0"))).unwrap();
    world.publisher().copy(&copy_of(&hello("1.0"))).unwrap();
    assert!(before == files(publisher.directory()));
}

#[test]
fn repeating_a_publication_or_a_copy_leaves_the_bytes_of_an_archive_of_reprepro() {
    repeating_changes_nothing(Tool::Reprepro);
}

#[test]
fn repeating_a_publication_or_a_copy_leaves_the_bytes_of_an_archive_of_aptly() {
    repeating_changes_nothing(Tool::Aptly);
}

fn untrusted_versions_block_nobody(tool: Tool) {
    let world = World::new(tool);
    let publisher = world.publisher();
    hello("1.0").publish(&publisher, &unstable()).unwrap();
    let trusted = Sample::new("hello", "1.0", "the release");
    trusted.publish(&publisher, &stable()).unwrap();
    assert_eq!(publisher.held(&stable().suite, &trusted.package).unwrap(), Some(trusted.held()));
    assert_eq!(publisher.held(&unstable().suite, &trusted.package).unwrap(), Some(hello("1.0").held()));
    // A binary package of another source is refused, in whatever version, and so are other bytes.
    let before = files(publisher.directory());
    let refused = Sample::new("hello-doc", "2.0", "").publish(&publisher, &stable()).unwrap_err();
    assert!(matches!(refused, PublishError::Owned { .. }), "{refused:?}");
    let refused = Sample::new("hello", "1.0", "another").publish(&publisher, &stable()).unwrap_err();
    assert!(matches!(refused, PublishError::Conflict { .. }), "{refused:?}");
    assert!(before == files(publisher.directory()));
}

#[test]
fn a_version_of_an_untrusted_suite_of_reprepro_is_in_nobodys_way() {
    untrusted_versions_block_nobody(Tool::Reprepro);
}

#[test]
fn a_version_of_an_untrusted_suite_of_aptly_is_in_nobodys_way() {
    untrusted_versions_block_nobody(Tool::Aptly);
}

fn changes_of_the_configuration_are_published(tool: Tool) {
    let world = World::new(tool);
    hello("1.0").publish(&world.publisher(), &stable()).unwrap();
    let mut suites = World::suites();
    suites[0].architectures = vec!["arm64".parse().unwrap(), "amd64".parse().unwrap()];
    suites[0].components.push("contrib".parse().unwrap());
    "Another".clone_into(&mut suites[0].label);
    let publisher = world.publisher_in("archive", suites.clone());
    let release = String::from_utf8(world.in_release("stable")).unwrap();
    assert!(release.contains("Label: Another\n"), "{release}");
    let listed = |architecture: &str| {
        let path = world.path(&format!("stable/dists/stable/main/binary-{architecture}/Packages"));
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().filter_map(|it| it.strip_prefix("Package: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(listed("amd64"), ["hello", "hello-doc"]);
    assert_eq!(listed("arm64"), ["hello-doc"]);
    assert_eq!(publisher.contents(&stable().suite).unwrap(), [hello("1.0").held()]);
    let before = files(&world.path(""));
    hello("1.0").publish(&world.publisher_in("archive", suites), &stable()).unwrap();
    assert!(before == files(&world.path("")));
    // And back.
    hello("1.1").publish(&world.publisher(), &stable()).unwrap();
    assert!(!world.path("stable/dists/stable/main/binary-arm64/Packages").exists() || tool == Tool::Reprepro);
    assert_eq!(world.apt("apt", &stable().suite).source_version("hello").as_deref(), Some("1.1"));
}

#[test]
fn reprepro_is_told_what_changed_in_the_configuration() {
    changes_of_the_configuration_are_published(Tool::Reprepro);
}

#[test]
fn aptly_is_told_what_changed_in_the_configuration() {
    changes_of_the_configuration_are_published(Tool::Aptly);
}

fn several_publishers_lose_nothing(tool: Tool) {
    let world = World::new(tool);
    world.publisher();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let world = &world;
            scope.spawn(move || {
                for at in 0..3 {
                    let sample = Sample::new(&format!("package-{thread}-{at}"), "1.0", "");
                    sample.publish(&world.publisher(), &stable()).unwrap();
                }
            });
        }
    });
    assert_eq!(world.publisher().contents(&stable().suite).unwrap().len(), 9);
    world.apt("apt", &stable().suite).update().ok();
}

#[test]
fn several_publishers_that_drive_reprepro_at_once_lose_nothing() {
    several_publishers_lose_nothing(Tool::Reprepro);
}

#[test]
fn several_publishers_that_drive_aptly_at_once_lose_nothing() {
    several_publishers_lose_nothing(Tool::Aptly);
}

#[test]
fn readers_are_served_whole_archives_while_aptly_publishes_without_pause() {
    let world = World::new(Tool::Aptly);
    let publisher = world.publisher();
    hello("1").publish(&publisher, &stable()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let mut version = 1;
            while !done.load(Ordering::SeqCst) {
                version += 1;
                hello(&version.to_string()).publish(&publisher, &stable()).unwrap();
            }
            version
        });
        let updated = |at: usize| world.apt(&format!("apt{at}"), &stable().suite).update().code == Some(0);
        let bad = (0..50).filter(|at| !updated(*at)).count();
        done.store(true, Ordering::SeqCst);
        let count = publishing.join().unwrap();
        assert_eq!(bad, 0, "of 50 readers, during {count} publications");
        assert!(count > 3, "{count} publications are no competition");
    });
}

#[test]
fn reprepro_signs_with_several_keys_and_aptly_refuses_them() {
    let mut world = World::new(Tool::Reprepro);
    world.add_key();
    hello("1.0").publish(&world.publisher(), &stable()).unwrap();
    world.apt("apt", &stable().suite).update().ok();
    world.tool = Tool::Aptly;
    let refused = world.describe("other", World::suites()).prepare().unwrap_err();
    assert!(causes(&refused).join(": ").contains("aptly signs with one key only"), "{refused:?}");
}

#[test]
fn an_archive_whose_records_are_lost_is_not_replaced_by_an_empty_one() {
    for tool in [Tool::Reprepro, Tool::Aptly] {
        let world = World::new(tool);
        hello("1.0").publish(&world.publisher(), &stable()).unwrap();
        std::fs::remove_dir_all(world.root.join("archive-state")).unwrap();
        let before = world.in_release("stable");
        let refused = world.describe("archive", World::suites()).prepare().unwrap_err();
        assert!(causes(&refused).join(": ").contains("restore it from a backup"), "{refused:?}");
        assert_eq!(world.in_release("stable"), before);
        assert_eq!(world.describe("archive", World::suites()).contents(&stable().suite).unwrap().len(), 1);
    }
}
