//! The native archive, as real apt, gpgv, gzip and xz see it.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "these tests play the part of the outside world, and tell what they counted"
)]

mod formats;
mod generations;
mod interruption;
mod killed;
mod readers;
mod tree;
mod upgrades;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use invirtibuilder_core::conformance::publisher::{self as conformance, Sample, stable, unstable};
use invirtibuilder_core::error::PublishError;
use invirtibuilder_core::publisher::Publisher;
use invirtibuilder_core::publisher::archive::{Retention, SuiteSpec};
use invirtibuilder_core::states::CopyPlan;

use invirtibuilder_tests::world::{Apt, Server, World, expect};

fn hello(version: &str) -> Sample {
    Sample::new("hello", version, "")
}

/// Returns all files below a directory, relative to it.
fn files(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(directory).unwrap().to_owned());
            }
        }
    }
    found
}

fn run(program: &str, arguments: &[&Path]) -> String {
    expect(&Command::new(program).args(arguments).output().unwrap())
}

#[test]
fn an_architecture_is_added_in_one_switch_beside_what_is_there() {
    let world = World::new();
    let suite = SuiteSpec::of(&conformance::stable_and_arm64(), "A test", "Test");
    let archive = world.archive_of("archive", Retention::default(), vec![suite]);
    conformance::an_architecture_is_added_to_the_version_that_is_served_and_to_no_other(&archive);
    let sample = Sample::new("hello", "1.1", "");
    let directory = tempfile::tempdir().unwrap();
    let addition = sample.addition(&archive, directory.path()).unwrap();
    archive.add(&addition).unwrap();
    let index = world.path("dists/stable/main/source/Sources.gz");
    let sources = Command::new("gzip").arg("-dc").arg(index).output().unwrap().stdout;
    let sources = String::from_utf8(sources).unwrap();
    for record in ["hello_1.1_amd64.buildinfo", "hello_1.1_arm64.buildinfo"] {
        assert_eq!(sources.matches(record).count(), 1, "{sources}");
    }
    let pool = world.path("pool/main/h/hello");
    for file in ["hello_1.1_arm64.deb", "hello_1.1_amd64.deb", "hello_1.1_arm64.buildinfo"] {
        assert!(pool.join(file).exists(), "{file}");
    }
}

#[test]
fn the_archive_fulfils_the_contract_of_a_publisher() {
    let world = World::new();
    let mut count = 0;
    let mut make = || {
        count += 1;
        let suites = [conformance::stable_and_arm64(), unstable()];
        let suites = suites.map(|it| SuiteSpec::of(&it, "A test", "Test")).to_vec();
        world.archive_of(&format!("archive{count}"), Retention::default(), suites)
    };
    assert!(conformance::adds(&make()), "it can be asked for more than the others");
    conformance::all(make);
}

#[test]
fn apt_updates_from_an_archive_before_anything_is_published() {
    let world = World::new();
    let archive = world.archive();
    world.apt("apt", &archive, &stable().suite, &world.file_uri()).run(&["update"]);
}

#[test]
fn apt_installs_and_downloads_what_was_published() {
    let world = World::new();
    let archive = world.archive();
    let server = Server::start(archive.directory());
    for (name, uri) in [("aptfile", &world.file_uri()), ("apthttp", &server.uri)] {
        let apt = world.apt(name, &archive, &stable().suite, uri);
        apt.run(&["update"]);
        // Two publications within a second of time: the reader must be told of each.
        for version in ["1:1.0~rc1", "1:1.0"].map(|it| format!("{it}+{name}")) {
            hello(&version).publish(&archive, &stable()).unwrap();
            apt.run(&["update"]);
            let simulated = apt.run(&["--simulate", "install", "hello", "hello-doc"]);
            assert!(simulated.contains(&format!("Inst hello ({version}")), "{simulated}");
            assert!(simulated.contains("Inst hello-doc ("), "{simulated}");
        }
        apt.run(&["download", "hello", "hello-doc"]);
        apt.run(&["source", "hello"]);
        let work = files(&apt.work());
        assert!(work.iter().any(|it| it.starts_with(format!("hello-1.0+{name}"))), "{work:?}");
        assert!(work.iter().any(|it| it.extension().is_some_and(|it| it == "deb")), "{work:?}");
    }
}

#[test]
fn both_signatures_verify_and_every_index_has_the_sum_that_release_names() {
    let world = World::new();
    let archive = world.archive();
    for at in 0..80 {
        Sample::new(&format!("package{at}"), "1.0", "").publish(&archive, &stable()).unwrap();
    }
    let suite = world.path("dists/stable");
    let keyring = world.root.join("keyring.gpg");
    let mut command = Command::new("gpg");
    command.args(["--batch", "--dearmor", "--output"]).args([&keyring, &world.path("archive-key.asc")]);
    expect(&command.output().unwrap());
    let option = Path::new("--keyring");
    run("gpgv", &[option, &keyring, &suite.join("InRelease")]);
    run("gpgv", &[option, &keyring, &suite.join("Release.gpg"), &suite.join("Release")]);

    let release = std::fs::read_to_string(suite.join("Release")).unwrap();
    assert!(release.contains("Acquire-By-Hash: yes\n") && !release.contains("MD5Sum"), "{release}");
    assert!(String::from_utf8(world.in_release("stable")).unwrap().contains(&release));
    let mut compressed = 0;
    for line in release.lines().filter(|it| it.starts_with(' ')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (sum, size, path) = (words[0], words[1], words[2]);
        let (by_hash, canonical) =
            (suite.join(path).parent().unwrap().join("by-hash/SHA256").join(sum), suite.join(path));
        if path.contains('.') {
            for file in [&by_hash, &canonical] {
                assert!(run("sha256sum", &[file]).starts_with(sum), "{}", file.display());
                assert_eq!(std::fs::metadata(file).unwrap().len().to_string(), size);
            }
            compressed += 1;
        } else {
            for command in ["zcat", "xzcat"] {
                let ending = if command == "zcat" { "gz" } else { "xz" };
                let file = canonical.with_extension(ending);
                let shown = format!("{command} '{}' | sha256sum", file.display());
                let output = Command::new("sh").args(["-c", &shown]).output().unwrap();
                assert!(expect(&output).starts_with(sum), "{}", file.display());
            }
        }
    }
    assert!(compressed >= 8, "{release}");
    assert_eq!(archive.contents(&stable().suite).unwrap().len(), 80);
}

#[test]
fn repeating_a_publication_or_a_copy_leaves_the_bytes_of_the_archive() {
    let world = World::new();
    let archive = world.archive();
    hello("1.0").publish(&archive, &unstable()).unwrap();
    let copy = CopyPlan::for_tests(hello("1.0").plan(&stable()), unstable());
    archive.copy(&copy).unwrap();
    let before = (world.in_release("stable"), world.in_release("unstable"), files(archive.directory()));
    hello("1.0").publish(&archive, &unstable()).unwrap();
    archive.copy(&copy).unwrap();
    world.archive().copy(&copy).unwrap();
    assert!(before == (world.in_release("stable"), world.in_release("unstable"), files(archive.directory())));
}

#[test]
fn a_copy_shares_the_files_of_its_original() {
    let world = World::new();
    let archive = world.archive();
    hello("1.0").publish(&archive, &unstable()).unwrap();
    let before = files(&world.path("pool"));
    archive.copy(&CopyPlan::for_tests(hello("1.0").plan(&stable()), unstable())).unwrap();
    assert_eq!(files(&world.path("pool")), before);
    world.apt("apt", &archive, &stable().suite, &world.file_uri()).run(&["update"]);
}

#[test]
fn a_version_that_is_published_again_with_other_bytes_does_not_change_a_file_that_readers_know() {
    let world = World::new();
    let archive = world.archive();
    hello("1.0").publish(&archive, &unstable()).unwrap();
    let old = world.apt("old", &archive, &unstable().suite, &world.file_uri());
    old.run(&["update"]);
    Sample::new("hello", "1.0", "another").publish(&archive, &unstable()).unwrap();
    // The reader still has the index of the first publication.
    old.run(&["download", "hello"]);
    let new = world.apt("new", &archive, &unstable().suite, &world.file_uri());
    new.run(&["update"]);
    new.run(&["download", "hello"]);
    let bytes = |apt: &Apt| std::fs::read(apt.work().join("hello_1.0_amd64.deb")).unwrap();
    assert_ne!(bytes(&old), bytes(&new));
}

#[test]
fn a_trusted_suite_takes_a_version_that_an_untrusted_one_took_first() {
    let world = World::new();
    let archive = world.archive();
    hello("1.0").publish(&archive, &unstable()).unwrap();
    let trusted = Sample::new("hello", "1.0", "the release");
    trusted.publish(&archive, &stable()).unwrap();
    assert_eq!(archive.held(&stable().suite, &trusted.package).unwrap(), Some(trusted.held()));
    assert_eq!(archive.held(&unstable().suite, &trusted.package).unwrap(), Some(hello("1.0").held()));
}

#[test]
fn a_refusal_names_the_suite_and_version_that_own_the_file() {
    let world = World::new();
    let archive = world.archive();
    hello("1.0").publish(&archive, &stable()).unwrap();
    let before = (world.in_release("stable"), files(archive.directory()));
    let error = Sample::new("hello", "1.0", "another").publish(&archive, &stable()).unwrap_err();
    assert!(error.to_string().contains("stable serves hello_1.0"), "{error}");
    assert!(before == (world.in_release("stable"), files(archive.directory())));
}

#[test]
fn a_binary_package_of_another_source_is_refused_in_every_version_and_its_owner_named() {
    let world = World::new();
    let archive = world.archive();
    // The source package hello-doc makes a binary package hello-doc, as hello does.
    hello("1.0").publish(&archive, &stable()).unwrap();
    let before = (world.in_release("stable"), files(archive.directory()));
    for version in ["0.9", "1.0", "1.1"] {
        let refused = Sample::new("hello-doc", version, "").publish(&archive, &stable());
        assert!(matches!(refused, Err(PublishError::Owned { .. })), "{refused:?}");
    }
    assert!(before == (world.in_release("stable"), files(archive.directory())));
    Sample::new("hello-doc", "1.1", "").publish(&archive, &unstable()).unwrap();
}

#[test]
fn everything_derived_may_be_lost() {
    let world = World::new();
    let archive = world.archive();
    for name in ["apple", "hello", "mango"] {
        Sample::new(name, "1.0", "").publish(&archive, &stable()).unwrap();
    }
    std::fs::remove_dir_all(world.root.join("archive-state")).unwrap();
    let archive = world.archive();
    assert_eq!(archive.held(&stable().suite, &hello("1.0").package).unwrap(), Some(hello("1.0").held()));
    let before = world.in_release("stable");
    hello("1.0").publish(&archive, &stable()).unwrap();
    assert_eq!(world.in_release("stable"), before);
    hello("1.1").publish(&archive, &stable()).unwrap();
    assert_eq!(archive.contents(&stable().suite).unwrap().len(), 3);
    world.apt("apt", &archive, &stable().suite, &world.file_uri()).run(&["update"]);
}

#[test]
fn a_suite_that_gains_an_architecture_lists_there_what_runs_anywhere() {
    let world = World::new();
    hello("1.0").publish(&world.archive(), &stable()).unwrap();
    let mut suite = SuiteSpec::of(&stable(), "A test", "Test");
    suite.architectures.push("arm64".parse().unwrap());
    let archive = world.archive_of("archive", Retention::default(), vec![suite]);
    let listed = |architecture: &str| {
        let index = world.path(&format!("dists/stable/main/binary-{architecture}/Packages.xz"));
        let text = run("xzcat", &[&index]);
        text.lines().filter_map(|it| it.strip_prefix("Package: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(listed("amd64"), ["hello", "hello-doc"]);
    assert_eq!(listed("arm64"), ["hello-doc"]);
    assert_eq!(archive.contents(&stable().suite).unwrap(), [hello("1.0").held()]);
    world.apt("apt", &archive, &stable().suite, &world.file_uri()).run(&["update"]);
}

#[test]
fn what_no_kept_publication_names_is_removed_and_nothing_else() {
    let world = World::new();
    let retention = Retention { generations: 2, time: Duration::ZERO, versions: 0 };
    let archive = world.archive_in("archive", retention);
    hello("1.0").publish(&archive, &unstable()).unwrap();
    archive.copy(&CopyPlan::for_tests(hello("1.0").plan(&stable()), unstable())).unwrap();
    for version in ["1.1", "1.2", "1.3", "1.4", "1.5"] {
        hello(version).publish(&archive, &unstable()).unwrap();
    }
    let pool = files(&world.path("pool"));
    let has =
        |version: &str| pool.iter().any(|it| it.to_string_lossy().contains(&format!("hello_{version}_")));
    let kept = ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5"].map(has);
    // Stable still serves 1.0; the records of the last two publications name 1.3, 1.4 and 1.5.
    assert_eq!(kept, [true, false, false, true, true, true], "{pool:?}");
    let by_hash = files(&world.path("dists/unstable/main/binary-amd64/by-hash/SHA256"));
    assert_eq!(by_hash.len(), 3 * 2, "{by_hash:?}");
    for suite in [stable(), unstable()] {
        let apt = world.apt(&format!("apt-{}", suite.suite), &archive, &suite.suite, &world.file_uri());
        apt.run(&["update"]);
        apt.run(&["download", "hello", "hello-doc"]);
    }
}

#[test]
fn several_publishers_at_once_lose_nothing() {
    let world = World::new();
    drop(world.archive());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let world = &world;
            scope.spawn(move || {
                let archive = world.archive();
                for at in 0..6 {
                    let sample = Sample::new(&format!("package-{thread}-{at}"), "1.0", "");
                    sample.publish(&archive, &stable()).unwrap();
                }
            });
        }
    });
    let archive = world.archive();
    assert_eq!(archive.contents(&stable().suite).unwrap().len(), 24);
    world.apt("apt", &archive, &stable().suite, &world.file_uri()).run(&["update"]);
}
