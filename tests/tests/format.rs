//! What the archive writes, as real tools read it: components, symbols, the installer, descriptions, lists of files.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use std::path::{Path, PathBuf};
use std::process::Command;

use invirtibuilder_core::conformance::publisher::{Sample, stable, unstable};
use invirtibuilder_core::error::{PublishError, causes};
use invirtibuilder_core::policy::PocketSpec;
use invirtibuilder_core::publisher::Publisher;
use invirtibuilder_core::publisher::archive::{
    Archive, ArchiveSpec, Descriptions, Retention, SignedBy, SuiteSpec, Upgrades,
};
use invirtibuilder_core::signer::{Fingerprint, GpgSigner};
use invirtibuilder_core::states::CopyPlan;
use invirtibuilder_tests::apt::Apt;
use invirtibuilder_tests::debs::{Deb, upload};
use invirtibuilder_tests::programs::run;

/// An archive, its key, and what its suites are.
struct World {
    directory: tempfile::TempDir,
    fingerprint: Fingerprint,
    suites: Vec<SuiteSpec>,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("format").tempdir_in("/tmp").unwrap();
        let fingerprint =
            GpgSigner::generate(&directory.path().join("gpg"), "A test <a@example.org>").unwrap();
        let suites = [stable(), unstable()].map(|it| SuiteSpec::of(&it, "A test", "Test")).to_vec();
        Self { directory, fingerprint, suites }
    }

    fn with(mut self, change: impl Fn(&mut SuiteSpec)) -> Self {
        self.suites.iter_mut().for_each(change);
        self
    }

    /// Opens the archive as its configuration is now.
    fn archive(&self) -> Archive {
        let root = self.directory.path();
        let signer = GpgSigner::open(&root.join("gpg"), std::slice::from_ref(&self.fingerprint)).unwrap();
        let spec = ArchiveSpec {
            directory: root.join("archive"),
            state: root.join("state"),
            key_file: "archive-key.asc".parse().unwrap(),
            suites: self.suites.clone(),
            retention: Retention::default(),
            valid_for: None,
        };
        let archive = Archive::new(spec, Box::new(signer));
        archive.prepare().unwrap();
        archive
    }

    fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join("archive").join(below)
    }

    fn read(&self, below: &str) -> String {
        let path = self.path(below);
        let output = Command::new("zcat").arg(path.with_file_name(format!("{}.gz", name(&path)))).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    fn release(&self) -> String {
        std::fs::read_to_string(self.path("dists/stable/Release")).unwrap()
    }

    /// Makes an apt that uses `stable`, with what is changed in its source.
    fn apt(&self, archive: &Archive, change: &[(&str, &str)]) -> Apt {
        let uri = format!("file://{}", self.path("").display());
        let mut sources =
            archive.sources(&stable().suite, uri.trim_end_matches('/'), &SignedBy::Inline).unwrap();
        for (from, to) in change {
            assert!(sources.contains(from), "{sources}");
            sources = sources.replace(from, to);
        }
        let place = tempfile::Builder::new().prefix("apt").tempdir_in(self.directory.path()).unwrap().keep();
        let apt = Apt::of_sources(place, &sources);
        apt.update().ok();
        apt
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn publish(archive: &Archive, source: &str, section: &str, debs: &[Deb]) -> Result<(), PublishError> {
    publish_in(archive, &stable(), &Sample::new(source, "1.0", ""), section, debs)
}

fn publish_in(
    archive: &Archive,
    pocket: &PocketSpec,
    sample: &Sample,
    section: &str,
    debs: &[Deb],
) -> Result<(), PublishError> {
    let directory = tempfile::tempdir().unwrap();
    archive.publish(&upload(sample, section, pocket, directory.path(), debs)).map(drop)
}

fn packages(apt: &Apt) -> Vec<String> {
    let mut names: Vec<String> =
        run(apt.command("apt-cache").arg("pkgnames")).ok().lines().map(str::to_owned).collect();
    names.sort();
    names
}

fn components(names: &[&str]) -> impl Fn(&mut SuiteSpec) {
    let names: Vec<_> = names.iter().map(|it| it.parse().unwrap()).collect();
    move |suite| suite.components.clone_from(&names)
}

#[test]
fn a_package_goes_to_the_component_that_its_section_names() {
    let world = World::new().with(components(&["main", "contrib"]));
    let archive = world.archive();
    publish(&archive, "plain", "utils", &[Deb::new("plain", "utils"), Deb::new("plain-x", "contrib/utils")])
        .unwrap();
    publish(&archive, "other", "contrib/net", &[Deb::new("other", "contrib/net")]).unwrap();
    let main = world.apt(&archive, &[("main contrib", "main")]);
    assert_eq!(packages(&main), ["plain"]);
    let both = world.apt(&archive, &[]);
    assert_eq!(packages(&both), ["other", "plain", "plain-x"]);
    assert_eq!(both.download(&["other", "plain", "plain-x"]).len(), 3);
    assert!(both.source("other").join("debian/control").exists());
    assert!(world.path("pool/contrib/o/other/other_1.0.dsc").exists());
    let held: Vec<_> =
        archive.contents(&stable().suite).unwrap().iter().map(|it| it.package.to_string()).collect();
    assert_eq!(held, ["other", "plain"]);
    assert_eq!(
        archive.held(&stable().suite, &"other".parse().unwrap()).unwrap().unwrap().version.as_str(),
        "1.0"
    );
}

#[test]
fn a_section_of_a_component_that_the_suite_lacks_is_refused_and_says_what_to_do() {
    let world = World::new();
    let archive = world.archive();
    let before = world.release();
    let error = publish(&archive, "other", "contrib/net", &[Deb::new("other", "contrib/net")]).unwrap_err();
    let text = causes(&error).join(": ");
    assert!(
        text.contains("component contrib") && text.contains("add it to the pocket's components"),
        "{text}"
    );
    assert_eq!(world.release(), before);
}

#[test]
fn a_component_that_the_configuration_names_no_longer_keeps_what_it_has() {
    let mut world = World::new().with(components(&["main", "contrib"]));
    publish(&world.archive(), "other", "contrib/net", &[Deb::new("other", "contrib/net")]).unwrap();
    world = world.with(components(&["main"]));
    let archive = world.archive();
    assert!(world.release().contains("Components: main debug contrib\n"), "{}", world.release());
    assert_eq!(archive.contents(&stable().suite).unwrap().len(), 1);
    let apt = world.apt(&archive, &[("Components: main", "Components: contrib")]);
    assert_eq!(packages(&apt), ["other"]);
}

#[test]
fn debugging_symbols_are_in_a_component_of_their_own() {
    let world = World::new();
    let archive = world.archive();
    let symbols =
        Deb { fields: "Auto-Built-Package: debug-symbols\n".to_owned(), ..Deb::new("hello-dbgsym", "debug") };
    publish(&archive, "hello", "utils", &[Deb::new("hello", "utils"), symbols]).unwrap();
    assert_eq!(packages(&world.apt(&archive, &[])), ["hello"]);
    let with_symbols = world.apt(&archive, &[("Components: main", "Components: main debug")]);
    assert_eq!(packages(&with_symbols), ["hello", "hello-dbgsym"]);
    assert_eq!(with_symbols.download(&["hello-dbgsym"]).len(), 1);
}

#[test]
fn packages_of_the_installer_are_in_an_index_of_their_own() {
    let world = World::new();
    let archive = world.archive();
    let udeb = Deb { ending: "udeb", ..Deb::new("hello-udeb", "debian-installer") };
    publish(&archive, "hello", "utils", &[Deb::new("hello", "utils"), udeb]).unwrap();
    assert_eq!(packages(&world.apt(&archive, &[])), ["hello"]);
    let index = world.read("dists/stable/main/debian-installer/binary-amd64/Packages");
    assert!(index.contains("Package: hello-udeb\n") && index.contains(".udeb\n"), "{index}");
    // The next version has none, and so the suite has none.
    let next = Sample::new("hello", "2.0", "");
    publish_in(&archive, &stable(), &next, "utils", &[Deb::new("hello", "utils")]).unwrap();
    assert_eq!(world.read("dists/stable/main/debian-installer/binary-amd64/Packages"), "");
}

#[test]
fn the_records_of_builds_are_kept_and_not_downloaded_with_the_source() {
    let world = World::new();
    let archive = world.archive();
    publish(&archive, "hello", "utils", &[Deb::new("hello", "utils")]).unwrap();
    assert!(world.path("pool/main/h/hello/hello_1.0_amd64.buildinfo").exists());
    let sources = world.read("dists/stable/main/source/Sources");
    let line = sources.lines().skip_while(|it| *it != "Buildinfo:").nth(1).unwrap();
    assert!(line.ends_with(" hello_1.0_amd64.buildinfo"), "{sources}");
    let apt = world.apt(&archive, &[]);
    assert!(apt.source("hello").exists());
    assert!(!apt.downloads().join("hello_1.0_amd64.buildinfo").exists());
}

#[test]
fn release_says_what_the_configuration_says_and_apt_heeds_it() {
    let world = World::new().with(|suite| {
        suite.codename = Some("bookworm-x".parse().unwrap());
        suite.upgrades = Upgrades::OfInstalled;
        suite.changelogs = Some("https://example.org/@CHANGEPATH@".to_owned());
    });
    let archive = world.archive();
    publish(&archive, "hello", "utils", &[Deb::new("hello", "utils")]).unwrap();
    let release = world.release();
    for line in [
        "Origin: A test",
        "Label: Test",
        "Suite: stable",
        "Codename: bookworm-x",
        "Changelogs: https://example.org/@CHANGEPATH@",
        "NotAutomatic: yes",
        "ButAutomaticUpgrades: yes",
        "Acquire-By-Hash: yes",
        "Components: main debug",
    ] {
        assert!(release.lines().any(|it| it == line), "{line} in {release}");
    }
    let apt = world.apt(&archive, &[]);
    let policy = run(apt.command("apt-cache").args(["policy", "hello"])).ok();
    assert!(policy.contains(" 100 file:"), "{policy}");
}

#[test]
fn long_descriptions_move_to_a_translation_and_back_without_a_loss() {
    let mut world = World::new();
    let archive = world.archive();
    for source in ["hello", "other"] {
        publish(
            &archive,
            source,
            "utils",
            &[Deb::new(source, "utils"), Deb::new(&format!("{source}-doc"), "doc")],
        )
        .unwrap();
    }
    let packages = "dists/stable/main/binary-amd64/Packages";
    let plain = world.read(packages);
    assert!(plain.contains(" It is made for a test.\n"));
    let shown = |archive: &Archive, world: &World| {
        let apt = world.apt(archive, &[]);
        apt.configure("#clear Acquire::Languages;\nAcquire::Languages { \"en\"; };");
        apt.update().ok();
        run(apt.command("apt-cache").args(["show", "hello-doc"])).ok()
    };
    assert!(shown(&archive, &world).contains("It is made for a test."));

    world = world.with(|suite| suite.descriptions = Descriptions::Translation);
    let archive = world.archive();
    let translated = world.read(packages);
    assert!(!translated.contains("It is made for a test."), "{translated}");
    assert!(translated.contains("Description: the package hello-doc\nDescription-md5: "), "{translated}");
    assert!(shown(&archive, &world).contains("It is made for a test."));
    let third = Sample::new("third", "1.0", "");
    publish_in(&archive, &stable(), &third, "utils", &[Deb::new("third", "utils")]).unwrap();
    let copied = Sample::new("fourth", "1.0", "");
    publish_in(&archive, &unstable(), &copied, "utils", &[Deb::new("fourth", "utils")]).unwrap();
    archive.copy(&CopyPlan::for_tests(copied.plan(&stable()), unstable())).unwrap();
    let index = world.read("dists/stable/main/i18n/Translation-en");
    for name in ["fourth", "hello", "hello-doc", "other", "other-doc", "third"] {
        assert!(index.contains(&format!("Package: {name}\n")), "{index}");
    }

    world = world.with(|suite| suite.descriptions = Descriptions::Packages);
    world.archive();
    let back = world.read(packages);
    assert!(!back.contains("Description-md5"), "{back}");
    let mut paragraphs: Vec<&str> = back.split("\n\n").collect();
    paragraphs.retain(|it| !it.contains("Package: third\n") && !it.contains("Package: fourth\n"));
    assert_eq!(paragraphs.join("\n\n"), plain);
}

#[test]
fn the_files_of_all_packages_are_listed_and_apt_file_finds_them() {
    let world = World::new().with(|suite| suite.contents = true);
    let archive = world.archive();
    let other = Deb {
        files: vec![("usr/share/hello/file".to_owned(), Vec::new()), ("opt/a name".to_owned(), Vec::new())],
        ..Deb::new("other", "net")
    };
    publish(&archive, "hello", "utils", &[Deb::new("hello", "utils"), Deb::new("hello-doc", "doc")]).unwrap();
    publish(&archive, "other", "net", &[other]).unwrap();
    let contents = world.read("dists/stable/main/Contents-amd64");
    assert_eq!(
        contents,
        "usr/share/hello/file utils/hello\nusr/share/hello-doc/file doc/hello-doc\nopt/a name net/other\nusr/share/hello/file net/other\n"
    );
    let copied = Sample::new("copied", "1.0", "");
    publish_in(&archive, &unstable(), &copied, "utils", &[Deb::new("copied", "utils")]).unwrap();
    archive.copy(&CopyPlan::for_tests(copied.plan(&stable()), unstable())).unwrap();
    assert!(world.read("dists/stable/main/Contents-amd64").contains("usr/share/copied/file utils/copied\n"));
    // Everything private may be lost.
    std::fs::remove_dir_all(world.directory.path().join("state")).unwrap();
    let archive = world.archive();
    let next = Sample::new("other", "2.0", "");
    publish_in(&archive, &stable(), &next, "net", &[Deb::new("other", "net")]).unwrap();
    let contents = world.read("dists/stable/main/Contents-amd64");
    assert_eq!(contents.lines().count(), 4, "{contents}");
    assert!(contents.ends_with("usr/share/other/file net/other\n"), "{contents}");

    let apt = world.apt(&archive, &[]);
    apt.configure(&std::fs::read_to_string("/etc/apt/apt.conf.d/50apt-file.conf").unwrap());
    apt.update().ok();
    let find = |words: &[&str]| run(apt.command("apt-file").args(words)).ok();
    assert_eq!(find(&["search", "usr/share/hello/file"]), "hello: /usr/share/hello/file\n");
    assert_eq!(find(&["list", "copied"]), "copied: /usr/share/copied/file\n");
}

#[test]
fn lists_of_files_that_are_wanted_later_are_made_from_the_pool() {
    let mut world = World::new().with(|suite| suite.contents = false);
    publish(&world.archive(), "hello", "utils", &[Deb::new("hello", "utils")]).unwrap();
    assert!(!world.release().contains("Contents"));
    world = world.with(|suite| suite.contents = true);
    world.archive();
    assert_eq!(world.read("dists/stable/main/Contents-amd64"), "usr/share/hello/file utils/hello\n");
}
