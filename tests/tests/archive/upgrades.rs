//! Which version apt takes from a pocket that goes forward and back.

use std::path::Path;

use invirtibuilder_core::conformance::publisher::{Sample, stable, unstable};
use invirtibuilder_core::publisher::Publisher;
use invirtibuilder_core::publisher::archive::{Retention, SuiteSpec, Upgrades};
use invirtibuilder_core::states::CopyPlan;
use invirtibuilder_tests::world::{Apt, World};

use super::hello;

fn pin(world: &World, apt: &str, text: &str) {
    std::fs::write(world.root.join(apt).join("etc/preferences.d/test"), text).unwrap();
}

/// Returns what apt would do to hello after an update.
fn plan(apt: &Apt, arguments: &[&str]) -> Vec<String> {
    apt.run(&["update"]);
    let text = apt.run(&[&["--simulate"], arguments].concat());
    let lines = text.lines().filter(|it| it.starts_with("Inst hello ") || it.starts_with("Remv hello "));
    lines.map(|it| it.split(" unstable").next().unwrap().split(" Test:").next().unwrap().to_owned()).collect()
}

#[test]
fn apt_sees_each_version_of_a_pocket_that_goes_back() {
    let world = World::new();
    let archive = world.archive();
    let apt = world.apt("apt", &archive, &unstable().suite, &world.file_uri());
    hello("1.0").publish(&archive, &unstable()).unwrap();
    apt.install_status("hello", "1.0", "amd64");
    assert_eq!(plan(&apt, &["upgrade"]), [""; 0]);
    hello("1.1").publish(&archive, &unstable()).unwrap();
    assert_eq!(plan(&apt, &["upgrade"]), ["Inst hello [1.0] (1.1"]);
    apt.install_status("hello", "1.1", "amd64");

    // Back to what was published before, which nobody has to fetch again by another name.
    hello("1.0").publish(&archive, &unstable()).unwrap();
    assert_eq!(plan(&apt, &["upgrade"]), [""; 0], "apt does not go back by itself");
    let back = plan(&apt, &["--allow-downgrades", "install", "hello=1.0"]);
    assert_eq!(back, ["Inst hello [1.1] (1.0"]);
    pin(&world, "apt", "Package: *\nPin: release n=unstable\nPin-Priority: 1001\n");
    assert_eq!(plan(&apt, &["--allow-downgrades", "dist-upgrade"]), ["Inst hello [1.1] (1.0"]);
    apt.run(&["download", "hello=1.0"]);
    apt.run(&["source", "--download-only", "hello=1.0"]);

    // The version that is installed, made again with other bytes.
    apt.install_status("hello", "1.0", "amd64");
    Sample::new("hello", "1.0", "another").publish(&archive, &unstable()).unwrap();
    std::fs::remove_dir_all(apt.work()).unwrap();
    std::fs::create_dir(apt.work()).unwrap();
    plan(&apt, &["upgrade"]);
    apt.run(&["download", "hello=1.0"]);
    let content = |path: &Path| std::fs::read(path).unwrap();
    let fetched = content(&apt.work().join("hello_1.0_amd64.deb"));
    assert_ne!(fetched, content(&world.path("pool/main/h/hello/hello_1.0_amd64.deb")));
    // And forward again.
    hello("1.2").publish(&archive, &unstable()).unwrap();
    assert_eq!(plan(&apt, &["upgrade"]), ["Inst hello [1.0] (1.2"]);
}

#[test]
fn apt_takes_a_version_from_the_suite_that_is_pinned() {
    let world = World::new();
    let archive = world.archive();
    hello("1.0").publish(&archive, &unstable()).unwrap();
    archive.copy(&CopyPlan::for_tests(hello("1.0").plan(&stable()), unstable())).unwrap();
    hello("1.1").publish(&archive, &unstable()).unwrap();
    let apt = world.apt_of_all("apt", &archive, &world.file_uri());
    assert_eq!(plan(&apt, &["install", "hello"]), ["Inst hello (1.1"]);
    assert_eq!(plan(&apt, &["install", "hello/stable"]), ["Inst hello (1.0"]);
    pin(&world, "apt", "Package: *\nPin: release n=unstable\nPin-Priority: 90\n");
    assert_eq!(plan(&apt, &["install", "hello"]), ["Inst hello (1.0"]);
    assert_eq!(plan(&apt, &["install", "-t", "unstable", "hello"]), ["Inst hello (1.1"]);
}

#[test]
fn a_suite_that_is_not_automatic_upgrades_only_what_came_from_it() {
    let world = World::new();
    let suites = [stable(), unstable()].map(|it| SuiteSpec::of(&it, "A test", "Test"));
    let suites = suites.map(|it| {
        let upgrades = if it.suite == unstable().suite { Upgrades::OfInstalled } else { Upgrades::Automatic };
        SuiteSpec { upgrades, ..it }
    });
    let archive = world.archive_of("archive", Retention::default(), suites.to_vec());
    hello("1.0").publish(&archive, &stable()).unwrap();
    hello("1.1").publish(&archive, &unstable()).unwrap();
    let apt = world.apt_of_all("apt", &archive, &world.file_uri());
    assert_eq!(plan(&apt, &["install", "hello"]), ["Inst hello (1.0"]);
    apt.install_status("hello", "1.1", "amd64");
    hello("1.2").publish(&archive, &unstable()).unwrap();
    assert_eq!(plan(&apt, &["upgrade"]), ["Inst hello [1.1] (1.2"]);
}
