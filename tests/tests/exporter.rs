//! Native source packages from real commits, by real dpkg-source.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests make their own worlds")]

mod gitworld;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use gitworld::{File, GitWorld, commit_tree, debian, git, git_with, output};
use invirtibuilder_core::conformance::exporter::{self, World, plan};
use invirtibuilder_core::error::{ExportError, causes};
use invirtibuilder_core::exporter::Exporter;
use invirtibuilder_core::exporter::source::{SourceExporter, TreeLimits};
use invirtibuilder_core::names::{CommitId, PackageName, Version};
use invirtibuilder_core::repository::Repositories;
use invirtibuilder_core::states::SourcePackage;

struct ExporterWorld {
    git: GitWorld,
    exporter: SourceExporter,
    count: std::cell::Cell<u32>,
}

impl ExporterWorld {
    fn new() -> Self {
        let git = GitWorld::new();
        let exporter = SourceExporter::new(git.repositories.clone(), TreeLimits::default());
        Self { git, exporter, count: std::cell::Cell::new(0) }
    }

    fn path(&self) -> PathBuf {
        self.git.repository(&hello())
    }

    /// Commits a valid `debian/` with other files, each with its mode.
    fn commit_files(&self, files: &[File<'_>]) -> CommitId {
        let (changelog, control) = debian(&hello(), &one());
        let mut all: Vec<File<'_>> = vec![
            ("100644", "debian/changelog", changelog.as_bytes()),
            ("100644", "debian/control", control.as_bytes()),
            ("100644", "debian/source/format", b"3.0 (native)\n"),
        ];
        all.retain(|it| files.iter().all(|other| other.1 != it.1));
        all.extend_from_slice(files);
        self.git.commit_files(&hello(), &all, None)
    }

    /// Commits a valid `debian/` beside entries that git itself would not write.
    fn commit_hostile(&self, entries: &[(&str, &[u8], &str)]) -> CommitId {
        let path = self.path();
        let good = self.commit_files(&[]);
        let debian = git(&path, &["rev-parse", &format!("{good}:debian")]);
        let mut all: Vec<(&str, &[u8], &str)> = entries.to_vec();
        all.push(("40000", b"debian", &debian));
        commit_tree(&path, &raw_tree(&path, &all), None)
    }

    fn export(&self, commit: &CommitId) -> Result<PathBuf, ExportError> {
        let exported = self.exporter.export(&plan(&hello(), &one(), commit), &World::directory(self));
        exported.map(|it| it.dsc)
    }

    /// Exports what must be refused, and returns why.
    fn refusal(&self, commit: &CommitId) -> String {
        let into = World::directory(self);
        let started = Instant::now();
        let refused = self.exporter.export(&plan(&hello(), &one(), commit), &into);
        // Two seconds is what it may take on a quiet machine.
        assert!(started.elapsed() < Duration::from_secs(20), "it took {:?}", started.elapsed());
        assert_eq!(std::fs::read_dir(&into).unwrap().count(), 0, "something was left behind");
        match refused {
            Err(ExportError::Malformed { problem, .. }) => problem,
            other => panic!("{other:?}"),
        }
    }

    /// Unpacks a source package and returns its directory.
    fn unpack(&self, dsc: &Path) -> PathBuf {
        let to = World::directory(self).join("unpacked");
        let mut command = Command::new("dpkg-source");
        command.args(["--no-check", "-x"]).arg(dsc).arg(&to);
        output(command, b"");
        to
    }
}

impl World for ExporterWorld {
    fn exporter(&self) -> &dyn Exporter {
        &self.exporter
    }

    fn commit(&self, package: &PackageName, version: &Version, files: &[(&str, &str)]) -> CommitId {
        let (changelog, control) = debian(package, version);
        let mut all: Vec<File<'_>> = vec![
            ("100644", "debian/changelog", changelog.as_bytes()),
            ("100644", "debian/control", control.as_bytes()),
        ];
        if files.iter().all(|it| it.0 != "debian/source/format") {
            all.push(("100644", "debian/source/format", b"3.0 (native)\n"));
        }
        all.extend(files.iter().map(|(path, text)| ("100644", *path, text.as_bytes())));
        self.git.commit_files(package, &all, None)
    }

    fn directory(&self) -> PathBuf {
        self.count.set(self.count.get() + 1);
        let path = self.git.directory.path().join(format!("into-{}", self.count.get()));
        std::fs::create_dir(&path).unwrap();
        path
    }
}

fn hello() -> PackageName {
    "hello".parse().unwrap()
}

fn one() -> Version {
    "1:1.0~rc1".parse().unwrap()
}

/// Writes a tree that may break every rule of git.
fn raw_tree(repository: &Path, entries: &[(&str, &[u8], &str)]) -> String {
    let mut bytes = Vec::new();
    for (mode, name, id) in entries {
        bytes.extend(format!("{mode} ").bytes());
        bytes.extend_from_slice(name);
        bytes.push(0);
        let id = id.as_bytes().chunks(2);
        bytes.extend(id.map(|it| u8::from_str_radix(std::str::from_utf8(it).unwrap(), 16).unwrap()));
    }
    git_with(repository, &["hash-object", "-t", "tree", "--literally", "-w", "--stdin"], &bytes)
}

fn blob(repository: &Path, bytes: &[u8]) -> String {
    git_with(repository, &["hash-object", "-w", "--stdin"], bytes)
}

#[test]
fn the_native_exporter_fulfils_the_contract() {
    exporter::check(&ExporterWorld::new());
}

#[test]
fn the_source_package_has_the_blobs_bytes_modes_and_links() {
    let world = ExporterWorld::new();
    let commit = world.commit_files(&[
        ("100755", "bin/run", b"#!/bin/sh\n"),
        ("100644", "data", b"a\r\nb\x00\xff$Id$\n"),
        ("120000", "link", b"../../../etc/passwd"),
        ("120000", "bin/other", b"run"),
        ("100644", "debian/rules", b"#!/bin/sh\ntouch /tmp/evaluated\n"),
    ]);
    let tree = world.unpack(&world.export(&commit).unwrap());
    assert_eq!(std::fs::read(tree.join("data")).unwrap(), b"a\r\nb\x00\xff$Id$\n");
    assert_eq!(std::fs::read_link(tree.join("link")).unwrap(), Path::new("../../../etc/passwd"));
    assert_eq!(std::fs::read_link(tree.join("bin/other")).unwrap(), Path::new("run"));
    let mode = |path: &str| std::fs::metadata(tree.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("bin/run"), mode("data")), (0o755, 0o644));
}

#[test]
fn the_dsc_names_the_commit_whatever_the_tree_says() {
    let world = ExporterWorld::new();
    let (_, control) = debian(&hello(), &one());
    let control =
        control.replace("Section: misc\n", &format!("Section: misc\nXS-Git-Commit: {}\n", "e".repeat(40)));
    let commit = world.commit_files(&[("100644", "debian/control", control.as_bytes())]);
    let dsc = world.export(&commit).unwrap();
    let text = std::fs::read_to_string(&dsc).unwrap();
    let named: Vec<&str> = text.lines().filter(|it| it.starts_with("Git-Commit")).collect();
    assert_eq!(named, [format!("Git-Commit: {commit}")]);
    assert!(SourcePackage::for_tests(plan(&hello(), &one(), &commit), &dsc).is_ok());
}

#[test]
fn attributes_of_the_tree_are_ignored() {
    let world = ExporterWorld::new();
    let attributes =
        b"debian export-ignore\n*.txt export-subst eol=crlf ident working-tree-encoding=UTF-16\n";
    let commit = world.commit_files(&[
        ("100644", ".gitattributes", attributes),
        ("100644", "a.txt", b"$Format:%H$ $Id$\n"),
    ]);
    let tree = world.unpack(&world.export(&commit).unwrap());
    assert_eq!(std::fs::read(tree.join("a.txt")).unwrap(), b"$Format:%H$ $Id$\n");
    assert_eq!(std::fs::read(tree.join(".gitattributes")).unwrap(), attributes);
    assert!(tree.join("debian/control").is_file());
}

#[test]
fn replace_refs_are_ignored() {
    let world = ExporterWorld::new();
    let good = world.commit_files(&[("100644", "a", b"good\n")]);
    let evil = world.commit_files(&[("100644", "a", b"evil\n")]);
    let path = world.path();
    git(&path, &["config", "core.useReplaceRefs", "true"]);
    git(&path, &["update-ref", &format!("refs/replace/{good}"), evil.as_str()]);
    let blob = |commit: &CommitId| git(&path, &["rev-parse", &format!("{commit}:a")]);
    git(
        &path,
        &["--no-replace-objects", "update-ref", &format!("refs/replace/{}", blob(&evil)), &blob(&good)],
    );
    let tree = world.unpack(&world.export(&good).unwrap());
    assert_eq!(std::fs::read(tree.join("a")).unwrap(), b"good\n");
}

#[test]
fn a_corrupt_blob_is_an_error_and_is_not_exported() {
    let world = ExporterWorld::new();
    let commit = world.commit_files(&[("100644", "a", b"good\n")]);
    let path = world.path();
    let good = git(&path, &["rev-parse", &format!("{commit}:a")]);
    let evil = blob(&path, b"evil\n");
    let object = |id: &str| path.join("objects").join(&id[..2]).join(&id[2..]);
    std::fs::remove_file(object(&good)).unwrap();
    std::fs::copy(object(&evil), object(&good)).unwrap();
    let error = world.export(&commit).unwrap_err();
    assert!(matches!(error, ExportError::Backend(_)));
    assert!(causes(&error).join(" ").contains("does not hash to its id"));
}

#[test]
fn hostile_names_are_refused() {
    let world = ExporterWorld::new();
    let path = world.path();
    let file = blob(&path, b"x");
    let inner = raw_tree(&path, &[("100644", b"config", &file)]);
    let long = vec![b'a'; 300];
    let names: [&[u8]; 12] =
        [b".git", b".GIT", b".gIt", b"git~1", b"GIT~1", b".", b"..", b"a/b", b"../x", b".git ", b"", &long];
    for name in names {
        for (mode, id) in [("100644", &file), ("40000", &inner), ("120000", &file)] {
            let problem = world.refusal(&world.commit_hostile(&[(mode, name, id)]));
            assert!(problem.len() < 300, "{problem}");
        }
    }
    let hfs = ".g\u{200c}it".as_bytes();
    world.refusal(&world.commit_hostile(&[("40000", hfs, &inner)]));
}

#[test]
fn duplicate_names_and_submodules_are_refused() {
    let world = ExporterWorld::new();
    let path = world.path();
    let (file, target) = (blob(&path, b"x"), blob(&path, b"/etc"));
    let inner = raw_tree(&path, &[("100644", b"passwd", &file)]);
    world.refusal(&world.commit_hostile(&[("100644", b"a", &file), ("100644", b"a", &target)]));
    world.refusal(&world.commit_hostile(&[("120000", b"a", &target), ("40000", b"a", &inner)]));
    let submodule = world.refusal(&world.commit_hostile(&[("160000", b"sub", &file)]));
    assert!(submodule.contains("submodule"));
    assert!(!Path::new("/etc/passwd-x").exists());
}

#[test]
fn odd_but_harmless_names_are_exported_as_they_are() {
    let world = ExporterWorld::new();
    let path = world.path();
    let file = blob(&path, b"x");
    let names: [&[u8]; 6] =
        [b"--checkpoint-action=exec=sh x", b"-rf", b"A", b"a", b"new\nline\x1b[0m", b"not\xffutf8"];
    let entries: Vec<(&str, &[u8], &str)> = names.iter().map(|it| ("104755", *it, file.as_str())).collect();
    let commit = world.commit_hostile(&entries);
    let tree = world.unpack(&world.export(&commit).unwrap());
    for name in names {
        use std::os::unix::ffi::OsStrExt;
        let found = tree.join(std::ffi::OsStr::from_bytes(name));
        let mode = std::fs::metadata(&found).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o755, "{found:?}: the set-user-id bit is dropped");
    }
}

#[test]
fn bombs_are_refused_at_once() {
    let world = ExporterWorld::new();
    let path = world.path();
    let file = blob(&path, b"x");
    let mut wide = file.clone();
    for level in 0..10 {
        let names: Vec<String> = (0..10).map(|n| format!("d{n}")).collect();
        let mode = if level == 0 { "100644" } else { "40000" };
        let entries: Vec<(&str, &[u8], &str)> =
            names.iter().map(|it| (mode, it.as_bytes(), wide.as_str())).collect();
        wide = raw_tree(&path, &entries);
    }
    let problem = world.refusal(&world.commit_hostile(&[("40000", b"bomb", &wide)]));
    assert!(problem.contains("more than 250000 files"), "{problem}");
    let mut deep = raw_tree(&path, &[("100644", b"x", &file)]);
    for _ in 0..300 {
        deep = raw_tree(&path, &[("40000", b"d", &deep)]);
    }
    let problem = world.refusal(&world.commit_hostile(&[("40000", b"d", &deep)]));
    assert!(problem.contains("directories deep"), "{problem}");
    let zeros = blob(&path, &vec![0; 300 << 20]);
    let problem = world.refusal(&world.commit_hostile(&[("100644", b"zeros", &zeros)]));
    assert!(problem.contains("bytes"), "{problem}");
}

#[test]
fn links_in_the_place_of_what_dpkg_source_reads_are_refused() {
    let world = ExporterWorld::new();
    for path in [
        "debian/changelog",
        "debian/control",
        "debian/source/format",
        "debian/source/options",
        "debian/tests/control",
        "debian/source",
        "debian/tests",
        "debian",
    ] {
        let (changelog, control) = debian(&hello(), &one());
        let mut files: Vec<File<'_>> = vec![
            ("100644", "debian/changelog", changelog.as_bytes()),
            ("100644", "debian/control", control.as_bytes()),
        ];
        files.retain(|it| !it.1.starts_with(path));
        files.push(("120000", path, b"/etc/passwd"));
        let commit = world.git.commit_files(&hello(), &files, None);
        let problem = world.refusal(&commit);
        assert!(!problem.contains("root:"), "{problem}");
    }
}

#[test]
fn options_in_the_tree_cannot_change_the_source_package() {
    let world = ExporterWorld::new();
    let harmless = b"compression = gzip\ncompression-level = 9\nextend-diff-ignore = .*\ntar-ignore = hello\n-Tdebian/control\n-I\n";
    let commit = world.commit_files(&[
        ("100644", "debian/source/options", harmless),
        ("100644", "debian/source/local-options", b"tar-ignore=x.o\n-Tsecret\n"),
        ("100644", "debian/files", b"left by a build\n"),
        ("100644", ".gitignore", b"*\n"),
        ("100644", "x.o", b"object"),
    ]);
    let dsc = world.export(&commit).unwrap();
    assert!(dsc.with_file_name("hello_1.0~rc1.tar.xz").is_file(), "the compression is ours");
    let tree = world.unpack(&dsc);
    assert!(!tree.join("debian/files").exists());
    assert!(tree.join(".gitignore").is_file() && tree.join("x.o").is_file());
    assert_eq!(std::fs::read(tree.join("debian/source/options")).unwrap(), harmless);
}

#[test]
fn formats_that_the_version_does_not_fit_say_what_to_do() {
    let world = ExporterWorld::new();
    let quilt = world.commit_files(&[("100644", "debian/source/format", b"3.0 (quilt)\n")]);
    assert!(world.refusal(&quilt).contains("has no revision"));
    let revised: Version = "1.0-1".parse().unwrap();
    let commit = World::commit(&world, &hello(), &revised, &[]);
    let refused = world.exporter.export(&plan(&hello(), &revised, &commit), &World::directory(&world));
    assert!(matches!(refused, Err(ExportError::Malformed { .. })), "{refused:?}");
}

#[test]
fn a_tree_without_a_format_is_a_native_package_of_format_1_0() {
    let world = ExporterWorld::new();
    let (changelog, control) = debian(&hello(), &one());
    let files: [File<'_>; 2] = [
        ("100644", "debian/changelog", changelog.as_bytes()),
        ("100644", "debian/control", control.as_bytes()),
    ];
    let commit = world.git.commit_files(&hello(), &files, None);
    let export = || {
        let dsc = world.export(&commit).unwrap();
        assert!(dsc.with_file_name("hello_1.0~rc1.tar.gz").is_file());
        std::fs::read_to_string(dsc).unwrap()
    };
    let text = export();
    assert!(text.starts_with("Format: 1.0\n"));
    assert_eq!(export(), text);
}

#[test]
fn impossible_dates_do_not_stop_the_export() {
    let world = ExporterWorld::new();
    let path = world.path();
    let good = world.commit_files(&[]);
    let tree = git(&path, &["rev-parse", &format!("{good}^{{tree}}")]);
    for date in ["99999999999999", "-5", "0"] {
        let text = format!("tree {tree}\nauthor A <a@b> {date} +0000\ncommitter A <a@b> {date} +0000\n\nx\n");
        let id = git_with(
            &path,
            &["hash-object", "-t", "commit", "--literally", "-w", "--stdin"],
            text.as_bytes(),
        );
        world.export(&id.parse().unwrap()).unwrap();
    }
    let text = format!("tree {tree}\n\nx\n");
    let id =
        git_with(&path, &["hash-object", "-t", "commit", "--literally", "-w", "--stdin"], text.as_bytes());
    let refused = world.export(&id.parse().unwrap());
    assert!(refused.is_err());
}

/// Not a test by itself: exports what its environment says, for the test below.
#[test]
#[ignore = "started by another test"]
fn export_as_told() {
    let told = |name: &str| std::env::var(name).unwrap();
    let repositories = Repositories::open(Path::new(&told("TEST_REPOSITORIES"))).unwrap();
    let exporter = SourceExporter::new(repositories, TreeLimits::default());
    let commit: CommitId = told("TEST_COMMIT").parse().unwrap();
    exporter.export(&plan(&hello(), &one(), &commit), Path::new(&told("TEST_INTO"))).unwrap();
}

#[test]
fn the_bytes_do_not_depend_on_the_user_umask_locale_zone_or_place() {
    let world = ExporterWorld::new();
    let commit =
        world.commit_files(&[("100755", "ä/run", b"x"), ("120000", "b", b"c"), ("100644", "B", b"")]);
    let program = std::env::current_exe().unwrap();
    let exported = |user: &str, umask: &str, locale: &str, zone: &str| {
        let place = tempfile::tempdir().unwrap();
        let shown = place.path().display();
        let prepare = format!(
            "chmod 755 {shown}; cp -r {} {shown}/repositories; cp {} {shown}/program; mkdir {shown}/into; chown -R {user} {shown}",
            world.git.repositories.directory().display(),
            // Where it is, another user may not be able to start it.
            program.display()
        );
        let mut command = Command::new("sh");
        command.args(["-ec", &prepare]);
        output(command, b"");
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--regid", "0", "--clear-groups", "sh", "-c"]);
        command.arg(format!("umask {umask}; exec \"$@\"")).arg("sh").arg(place.path().join("program"));
        command.args(["--exact", "export_as_told", "--ignored"]);
        command.env("TEST_REPOSITORIES", place.path().join("repositories"));
        command.env("TEST_INTO", place.path().join("into")).env("TEST_COMMIT", commit.as_str());
        command.env("LC_ALL", locale).env("TZ", zone).env("HOME", "/nonexistent");
        command.env("SOURCE_DATE_EPOCH", "1").env("TAR_OPTIONS", "--mtime=@5").env("XZ_OPT", "-9");
        command.env_remove("NEXTEST").current_dir("/");
        output(command, b"");
        let read = |name: &str| std::fs::read(place.path().join("into").join(name)).unwrap();
        (read("hello_1.0~rc1.dsc"), read("hello_1.0~rc1.tar.xz"))
    };
    let me = exported("0", "022", "C", "UTC");
    assert_eq!(exported("65534", "077", "de_DE.UTF-8", "Asia/Tokyo"), me);
    assert_eq!(exported("0", "000", "tr_TR.UTF-8", "America/St_Johns"), me);
}
