#![allow(clippy::disallowed_methods)]

use std::fs;
use std::io::Write;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::memory::files::{Binary, commit_id, write_build, write_source};
use crate::names::Architecture;

const TRAILER: &str = "\n  * Change.\n\n -- A B <a@example.org>  Mon, 23 Nov 2026 08:00:00 +0000\n";

fn changelog(heading: &str) -> Result<(String, String), String> {
    read_changelog(format!("{heading}\n{TRAILER}").as_bytes())
        .map(|(package, version)| (package.to_string(), version.as_str().to_owned()))
}

#[test]
fn the_topmost_entry_of_a_changelog_names_package_and_version() {
    let found = |package: &str, version: &str| Ok((package.to_owned(), version.to_owned()));
    assert_eq!(changelog("hello (1:2.10~rc1-3) unstable; urgency=medium"), found("hello", "1:2.10~rc1-3"));
    assert_eq!(changelog("hello (1.0) a b-c; urgency=low, binary-only=no"), found("hello", "1.0"));
    assert_eq!(changelog("\n\nhello (1.0) prod; urgency=HIGH (security)"), found("hello", "1.0"));
    let two = format!("hello (2.0) a; urgency=low\n{TRAILER}\nhello (1.0) a; urgency=low\n{TRAILER}");
    assert_eq!(read_changelog(two.as_bytes()).unwrap().1.as_str(), "2.0");
}

#[test]
fn hostile_and_broken_changelogs_are_refused_in_one_line() {
    let shadow = "root:$6$secret:19000:0:99999:7:::";
    let unfinished =
        format!("hello (2.0) a; urgency=low\n\n  * Change.\n\nhello (1.0) a; urgency=low\n{TRAILER}");
    let long = format!("hello (1.0) a; urgency=low\n{}{TRAILER}", "  x\n".repeat(2 << 20));
    for (bytes, text) in [
        (b"".as_slice(), "it is empty"),
        (b" \n\n\t\n", "it is empty"),
        (b"\x00\xff\xfe", "not UTF-8"),
        (b"hello (1.0) a; urgency=low\n", "no closing line"),
        (b"hello (1.0) a; urgency=low", "no closing line"),
        (unfinished.as_bytes(), "no closing line"),
        (long.as_bytes(), "longer than"),
        (shadow.as_bytes(), "its first line is"),
        (b"\x1b[2Jhello (1.0) a; urgency=low\n\n -- A <a@b>  x\n", "valid package name"),
    ] {
        let error = read_changelog(bytes).unwrap_err();
        assert!(error.contains(text) && !error.contains(|c: char| c.is_control()), "{error}");
    }
    for heading in [
        "hello 1.0 unstable; urgency=low",
        "hello (1.0 unstable; urgency=low",
        "hello (1.0); urgency=low",
        "hello (1.0) unstable",
        "hello (1.0) unstable;",
        "hello (1.0) unstable; binary-only=yes, urgency=low",
        "hello () unstable; urgency=low",
        "hello(1.0) unstable; urgency=low",
        " hello (1.0) unstable; urgency=low",
        "\u{feff}hello (1.0) unstable; urgency=low",
    ] {
        changelog(heading).expect_err(heading);
    }
}

#[test]
fn a_version_in_a_changelog_is_a_version() {
    let huge = "1".repeat(5000);
    for version in
        ["1/0", "../1", "1:", "1_0", "1^", "1@{0}", "1%3a", "-1", "1-", "", "\u{661}.0", "1 0", &huge]
    {
        let error = changelog(&format!("hello ({version}) a; urgency=low")).expect_err(version);
        assert!(error.len() < 400, "{error}");
    }
    for version in ["1..0", "1.", "1:1.0", "1.0~rc1", "1.0+b1", "1.lock"] {
        changelog(&format!("hello ({version}) a; urgency=low")).expect(version);
    }
}

#[test]
fn a_package_in_a_changelog_is_a_package() {
    for package in ["Hello", "h", "../x", "-x", ".git", "a/b", "h\u{e9}llo", "a_b"] {
        changelog(&format!("{package} (1.0) a; urgency=low")).expect_err(package);
    }
}

#[test]
fn the_first_paragraph_of_control_names_the_source() {
    let text = "# A comment.\nSource: hello\nMaintainer: A <a@example.org>\nBuild-Depends: debhelper (>= 13),\n# another\n x,\n\nPackage: hello\nArchitecture: any\nDescription: x\n";
    assert_eq!(read_control(text.as_bytes()).unwrap().source.as_str(), "hello");
}

#[test]
fn hostile_and_broken_controls_are_refused_in_one_line() {
    for bytes in [
        b"".as_slice(),
        b"\xff",
        b"\x00\x01",
        b"Package: hello\nArchitecture: any\n",
        b"Source: hello\n",
        b"Source: Hello\n\nPackage: hello\n",
        b"Source: ../x\n\nPackage: hello\n",
        b"Source:\n\nPackage: hello\n",
        b"root:$6$secret:19000:0:99999:7:::\n\x1b[2J\n",
        &vec![b'x'; 5 << 20],
    ] {
        let error = read_control(bytes).unwrap_err();
        assert!(!error.contains(|c: char| c.is_control()) && error.len() < 400, "{error}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (read_changelog(&bytes), read_control(&bytes));
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "[A-Za-z:;=#,() \n\t.-]{0,200}") {
        let _ = (read_changelog(text.as_bytes()), read_control(text.as_bytes()));
    }
}

struct World {
    directory: tempfile::TempDir,
    changes: PathBuf,
    dsc: PathBuf,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (package, version) = ("hello".parse().unwrap(), "1:1.0-1".parse().unwrap());
        let into = directory.path();
        let binary = |name: &str, architecture: &str| Binary {
            package: name.parse().unwrap(),
            architecture: architecture.parse().unwrap(),
            content: name.to_owned(),
        };
        let dsc = write_source(into, &package, &version, &commit_id("x")).unwrap();
        let binaries = [binary("hello", "amd64"), binary("hello-doc", "all")];
        let changes = write_build(into, &package, &version, &"amd64".parse().unwrap(), &binaries).unwrap();
        Self { directory, changes, dsc }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Changes the text of a control file.
    fn edit(path: &Path, from: &str, to: &str) {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    fn problem(&self) -> String {
        Changes::read(&self.changes).map(|_| ()).unwrap_err().to_string()
    }
}

#[test]
fn a_source_package_is_read_with_all_its_files() {
    let world = World::new();
    let source = SourceControl::read(&world.dsc).unwrap();
    assert_eq!((source.package().as_str(), source.version().as_str()), ("hello", "1:1.0-1"));
    let names: Vec<&str> = source.files().iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["hello_1.0-1.dsc", "hello_1.0-1.tar.gz"]);
    let sum = Command::new("sha256sum").arg(world.path("hello_1.0-1.tar.gz")).output().unwrap();
    assert!(String::from_utf8_lossy(&sum.stdout).starts_with(&source.files()[1].sha256));
    assert_eq!(source.paragraph().get("Format"), Some("3.0 (native)"));
}

#[test]
fn a_signed_source_package_is_read_without_its_signature() {
    let world = World::new();
    let text = fs::read_to_string(&world.dsc).unwrap();
    let signed = format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{text}\n-----BEGIN PGP SIGNATURE-----\n\niQ==\n=abcd\n-----END PGP SIGNATURE-----\n"
    );
    fs::write(&world.dsc, &signed).unwrap();
    assert_eq!(SourceControl::read(&world.dsc).unwrap().version().as_str(), "1:1.0-1");
    fs::write(&world.dsc, signed.replace("-----END PGP SIGNATURE-----\n", "")).unwrap();
    assert!(SourceControl::read(&world.dsc).is_err());
}

#[test]
fn a_build_is_read_with_its_binary_packages() {
    let world = World::new();
    let changes = Changes::read(&world.changes).unwrap();
    assert_eq!(changes.files().len(), 4);
    let [hello, doc] = changes.binaries() else { panic!("{:?}", changes.binaries()) };
    assert_eq!((hello.package().as_str(), hello.architecture().as_str()), ("hello", "amd64"));
    assert_eq!((doc.source().as_str(), doc.source_version().as_str()), ("hello", "1:1.0-1"));
    assert!(hello.text().starts_with("Package: hello\n") && hello.text().ends_with("one file."));
}

#[test]
fn a_file_that_was_changed_is_refused() {
    let world = World::new();
    let path = world.path("hello_1.0-1_amd64.deb");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(world.problem().contains("with SHA-256"), "{}", world.problem());
    bytes.push(0);
    fs::write(&path, &bytes).unwrap();
    assert!(world.problem().contains("bytes, but hello_1.0-1_amd64.changes says"));
    fs::remove_file(&path).unwrap();
    assert!(world.problem().contains("it cannot be read"));
}

#[test]
fn links_pipes_and_directories_are_no_files_of_a_package() {
    let world = World::new();
    let path = world.path("hello_1.0-1_amd64.deb");
    fs::rename(&path, world.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    assert!(world.problem().contains("it is a link"), "{}", world.problem());
    fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).unwrap();
    assert!(world.problem().contains("not a regular file"), "{}", world.problem());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(world.problem().contains("not a regular file"), "{}", world.problem());
    let link = world.path("link.changes");
    std::os::unix::fs::symlink(&world.changes, &link).unwrap();
    assert!(Changes::read(&link).is_err());
}

#[test]
fn a_name_with_a_directory_is_refused() {
    for name in ["../hello_1.0-1_amd64.deb", "/etc/passwd", "a/b.deb", "..", ".hidden", "-x", "a$(id).deb"] {
        let world = World::new();
        World::edit(&world.changes, "hello_1.0-1_amd64.deb", name);
        assert!(world.problem().contains("is not a valid file name"), "{name}: {}", world.problem());
    }
}

#[test]
fn malformed_changes_are_refused() {
    for (from, to, text) in [
        ("Checksums-Sha256:", "Checksums-Sha999:", "no Checksums-Sha256 field"),
        ("Source: hello", "Source: Hello", "valid package name"),
        ("Source: hello\n", "", "no Source field"),
        ("Version: 1:1.0-1", "Version: 1:", "valid version"),
        ("hello-doc_1.0-1_all.deb", "hello_1.0-1_amd64.deb", "lists hello_1.0-1_amd64.deb twice"),
        ("hello-doc_1.0-1_all.deb", "hello-doc_1.0-1_all.deb more", "has the line"),
        ("Format: 1.8", "no field", "does not parse"),
    ] {
        let world = World::new();
        World::edit(&world.changes, from, to);
        assert!(world.problem().contains(text), "{to}: {}", world.problem());
    }
    let world = World::new();
    fs::write(&world.changes, vec![b'a'; 5 << 20]).unwrap();
    assert!(world.problem().contains("longer than"));
}

#[test]
fn all_files_that_are_not_as_listed_are_named_and_nothing_is_read_beyond_the_limit() {
    let world = World::new();
    let deb = world.path("hello_1.0-1_amd64.deb");
    fs::remove_file(&deb).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &deb).unwrap();
    fs::write(world.path("hello-doc_1.0-1_all.deb"), "short").unwrap();
    let found = Changes::inspect(&world.changes, u64::MAX).unwrap();
    let problems: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("it is a link, not a regular file"), "{problems:?}");
    assert!(problems[1].contains("it has 5 bytes, but hello_1.0-1_amd64.changes says"), "{problems:?}");
    assert_eq!(found.changes.files().len(), 2, "the .changes and the .buildinfo are as they should be");
    let limited = Changes::inspect(&world.changes, found.bytes - 1).unwrap();
    assert_eq!((limited.problems.len(), limited.changes.files().len()), (0, 1));
}

#[test]
fn a_control_file_declares_its_binary_packages() {
    let text = "Source: hello\n\nPackage: hello\nArchitecture: any\n\n# more\nPackage: hello-doc\nArchitecture: all\nSection: doc\n\nPackage: hello-udeb\nXC-Package-Type: udeb\nArchitecture: linux-any\n  hurd-i386\n\nPackage: libhello1\nPackage-Type: udeb\nArchitecture: amd64 arm64\n";
    let declared = read_control(text.as_bytes()).unwrap();
    let shown: Vec<String> = declared
        .binaries
        .iter()
        .map(|it| {
            let of: Vec<String> = it.architectures.iter().map(ToString::to_string).collect();
            format!("{} {} {}", it.package, it.package_type, of.join(","))
        })
        .collect();
    let wanted = [
        "hello deb any",
        "hello-doc deb all",
        "hello-udeb udeb linux-any,hurd-i386",
        "libhello1 udeb amd64,arm64",
    ];
    assert_eq!(shown, wanted);
    for (paragraph, text) in [
        ("Package: Hello\nArchitecture: any\n", "not a valid package name"),
        ("Package: hello\n", "no Architecture"),
        ("Package: hello\nArchitecture: any !i386\n", "not a valid architecture"),
        ("Package: hello\nArchitecture: any\nPackage-Type: rpm\n", "not supported; write deb or udeb"),
    ] {
        let error = read_control(format!("Source: hello\n\n{paragraph}").as_bytes()).unwrap_err();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn a_package_of_debug_symbols_and_one_that_forces_itself_on_systems_are_known() {
    let directory = tempfile::tempdir().unwrap();
    let of = |more: &str| {
        let control = format!(
            "Package: xx\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\n{more}Description: x\n"
        );
        read_deb(&dpkg_deb(directory.path(), &control, "-Zgzip")).unwrap()
    };
    assert!(of("Auto-Built-Package: debug-symbols\nSection: contrib/debug\n").is_debug_symbols());
    assert!(!of("Auto-Built-Package: debug-symbols\nSection: libs\n").is_debug_symbols());
    assert!(!of("Section: debug\n").is_debug_symbols());
    let all = Architecture::all();
    assert!(of("Essential: yes\n").as_built(&all, true).is_essential);
    assert!(of("Protected: yes\n").as_built(&all, true).is_essential);
    assert!(!of("Essential: no\n").as_built(&all, true).is_essential);
}

/// Builds a package with the real dpkg-deb.
fn dpkg_deb(directory: &Path, control: &str, compression: &str) -> PathBuf {
    let tree = directory.join("tree");
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    fs::write(tree.join("DEBIAN/postinst"), "#!/bin/sh\n").unwrap();
    Command::new("chmod").arg("-R").arg("755").arg(tree.join("DEBIAN")).status().unwrap();
    let deb = directory.join("x_1_all.deb");
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "--uniform-compression", compression, "-b"]).arg(&tree).arg(&deb);
    let output = build.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    deb
}

fn read_deb(path: &Path) -> Result<BinaryControl, VerifyError> {
    let Artifact { name, size, sha256, .. } = hash_file(path, file_name_of(path)?)?;
    BinaryControl::read(path, &Listed { name, size, sha256 }, "the test")
}

#[test]
fn packages_of_dpkg_deb_are_read_in_every_compression() {
    const CONTROL: &str = "Package: xx\nSource: yy (1:2-3)\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nX-Unknown: kept\nDescription: x\n long\n .\n text\n";
    for compression in ["-Zgzip", "-Zxz", "-Zzstd", "-Znone"] {
        let directory = tempfile::tempdir().unwrap();
        let deb = read_deb(&dpkg_deb(directory.path(), CONTROL, compression)).unwrap();
        assert_eq!(deb.text(), CONTROL.trim_end());
        assert_eq!((deb.source().as_str(), deb.source_version().as_str()), ("yy", "1:2-3"));
    }
}

fn ar(path: &Path, members: &[(&str, &[u8])]) {
    let mut archive = ar::Builder::new(fs::File::create(path).unwrap());
    for (name, bytes) in members {
        archive.append(&ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64), *bytes).unwrap();
    }
}

fn control_tar(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, text) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

#[test]
fn what_dpkg_would_read_otherwise_than_we_do_is_no_package() {
    let good = "Package: xx\nVersion: 1\nArchitecture: all\n";
    let evil = "Package: libc6\nVersion: 1\nArchitecture: all\n";
    let (one, other) = (control_tar(&[("./control", good)]), control_tar(&[("./control", evil)]));
    let twice = control_tar(&[("./control", good), ("control", evil)]);
    let none = control_tar(&[("./md5sums", "")]);
    let format = ("debian-binary", b"2.0\n".as_slice());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x_1_all.deb");
    let read = |members: &[(&str, &[u8])]| {
        ar(&path, members);
        read_deb(&path).map(|it| it.package().to_string()).map_err(|e| e.to_string())
    };
    assert_eq!(read(&[format, ("control.tar", &one)]).unwrap(), "xx");
    assert_eq!(read(&[format, ("_note", b"x"), ("control.tar", &one)]).unwrap(), "xx");
    for (members, text) in [
        (vec![format, ("control.tar", &twice)], "the file control twice"),
        (vec![format, ("control.tar", &none)], "no file control"),
        (vec![format, ("data.tar", &other), ("control.tar", &one)], "its second member is"),
        (vec![format, ("control.tar.lzma", &one)], "its second member is"),
        (vec![format], "no control.tar"),
        (vec![("control.tar", &one), format], "not a debian-binary"),
        (vec![("debian-binary", b"3.0\n"), ("control.tar", &one)], "not a debian-binary"),
        (vec![format, ("control.tar.gz", &one)], "not a Debian package"),
        (vec![format, ("control.tar", &one[..600])], "not a Debian package"),
    ] {
        let error = read(&members).unwrap_err();
        assert!(error.contains(text), "{text}: {error}");
    }
    let mut both = Vec::new();
    for (part, end) in [(&twice[..1024], false), (&twice[1024..], true)] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(part).unwrap();
        both.extend(encoder.finish().unwrap());
        assert!(!end || both.len() > 100);
    }
    // A second gzip member belongs to the tarball as well.
    assert!(read(&[format, ("control.tar.gz", &both)]).unwrap_err().contains("the file control twice"));
}

#[test]
fn a_control_that_unpacks_without_end_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let huge = control_tar(&[("./control", &"x".repeat(5 << 20))]);
    let path = directory.path().join("x_1_all.deb");
    ar(&path, &[("debian-binary", b"2.0\n"), ("control.tar", &huge)]);
    assert!(read_deb(&path).unwrap_err().to_string().contains("not a file of at most"));
    fs::write(&path, "no archive").unwrap();
    assert!(read_deb(&path).unwrap_err().to_string().contains("not a Debian package"));
}

#[test]
fn a_control_file_says_what_it_needs_and_provides_by_every_name() {
    let text = "Source: hello\nBuild-Depends: debhelper-compat (= 13),\n# not this one, removed\n libfoo-dev [amd64] <!nocheck> | libbar-dev:native (>= 1),\n ${odd:Depends}, ,\nBuild-Depends-Indep: doxygen\nBuild-Depends-Arch: cmake\nBuild-Conflicts: evil\n\nPackage: hello\nArchitecture: any\nProvides: hi (= 1), greeter\n";
    let declared = read_control(text.as_bytes()).unwrap();
    let names =
        |it: &std::collections::BTreeSet<PackageName>| it.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&declared.needs), ["cmake", "debhelper-compat", "doxygen", "libbar-dev", "libfoo-dev"]);
    assert_eq!(names(&declared.builds()), ["greeter", "hello", "hi"]);
}
