//! What the backends of this package promise beyond the contracts of the library.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests make their own worlds")]

use std::fs;
use std::path::Path;

use invirtibuilder_core::builder::{Builder, Target, Variation};
use invirtibuilder_core::conformance::exporter;
use invirtibuilder_core::conformance::publisher::{Sample, stable};
use invirtibuilder_core::error::BuildError;
use invirtibuilder_core::memory::files::commit_id;
use invirtibuilder_core::process::Command;
use invirtibuilder_core::states::SourcePackage;
use invirtibuilder_core::stop::Never;
use invirtibuilder_examples::builder::DataBuilder;
use invirtibuilder_examples::publisher::FlatArchive;

#[test]
fn a_generation_that_a_dead_process_began_is_in_nobodys_way() {
    let directory = tempfile::tempdir().unwrap();
    let archive = FlatArchive::open(directory.path()).unwrap();
    let hello = Sample::new("hello", "1.0", "");
    fs::create_dir_all(directory.path().join("stable/1/Packages")).unwrap();
    std::os::unix::fs::symlink("1", directory.path().join("stable/.current")).unwrap();
    hello.publish(&archive, &stable()).unwrap();
    assert_eq!(fs::read_link(directory.path().join("stable/current")).unwrap(), Path::new("1"));
    assert!(directory.path().join("stable/1/Packages").is_file());
}

/// Makes the source package hello 1.0 with a `data/` directory, as an exporter would have.
fn source(directory: &Path, spoil: impl FnOnce(&Path)) -> SourcePackage {
    let tree = directory.join("hello-1.0");
    for (name, text) in [
        (
            "debian/changelog",
            "hello (1.0) unstable; urgency=medium\n\n  * First.\n\n -- A <a@example.org>  Mon, 23 Nov 2026 08:00:00 +0000\n",
        ),
        (
            "debian/control",
            "Source: hello\nMaintainer: A <a@example.org>\nSection: misc\nPriority: optional\n\nPackage: hello\nArchitecture: all\nDescription: a test\n Of data.\n",
        ),
        ("debian/source/format", "3.0 (native)\n"),
        ("data/usr/share/hello/greeting", "Hello!\n"),
    ] {
        let path = tree.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    spoil(&tree);
    Command::new("dpkg-source").current_dir(directory).args(["-b", "hello-1.0"]).run().unwrap();
    let plan = exporter::plan(&"hello".parse().unwrap(), &"1.0".parse().unwrap(), &commit_id("x"));
    SourcePackage::for_tests(plan, &directory.join("hello_1.0.dsc")).unwrap()
}

fn target() -> Target {
    Target {
        architecture: "amd64".parse().unwrap(),
        with_all: true,
        base: "none".parse().unwrap(),
        variation: Variation::None,
    }
}

#[test]
fn the_same_source_package_gives_the_same_bytes_to_install() {
    let directory = tempfile::tempdir().unwrap();
    let source = source(directory.path(), |_| ());
    let build = || {
        let into = tempfile::tempdir().unwrap();
        DataBuilder.build(&source, &target(), into.path(), &mut Vec::new(), &Never).unwrap();
        fs::read(into.path().join("hello_1.0_all.deb")).unwrap()
    };
    assert_eq!(build(), build());
}

#[test]
fn a_data_directory_that_leads_elsewhere_is_the_packages_fault_and_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let source = source(directory.path(), |tree| {
        fs::remove_dir_all(tree.join("data")).unwrap();
        std::os::unix::fs::symlink(outside.path(), tree.join("data")).unwrap();
    });
    let into = tempfile::tempdir().unwrap();
    let refused = DataBuilder.build(&source, &target(), into.path(), &mut Vec::new(), &Never);
    assert!(matches!(refused, Err(BuildError::Attempted { .. })), "{refused:?}");
    for empty in [outside.path(), into.path()] {
        assert_eq!(fs::read_dir(empty).unwrap().count(), 0, "something was left in {}", empty.display());
    }
}
