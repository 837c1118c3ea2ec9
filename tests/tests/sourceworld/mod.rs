//! Source packages made by dpkg-source, and a place to take them over and to export them again.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use invirtibuilder_core::builder::sbuild::ACCOUNT;
use invirtibuilder_core::conformance::exporter::plan;
use invirtibuilder_core::control::SourceControl;
use invirtibuilder_core::error::{BoxError, ExportError};
use invirtibuilder_core::exporter::source::{Confinement, Origs, SourceExporter, TreeLimits};
use invirtibuilder_core::exporter::{Exported, Exporter};
use invirtibuilder_core::names::{CommitId, PackageName, Version};
use invirtibuilder_core::publisher::ServedFile;
use invirtibuilder_core::repository::push_policy::PushPolicy;
use invirtibuilder_core::states::BuildPlan;
use invirtibuilder_tests::sites::shared_bases;

use super::gitworld::{GitWorld, git_command, hooks, output};

/// Makes a package without any build dependency.
const RULES: &str = "#!/usr/bin/make -f
clean build build-arch build-indep binary-arch:
\ttrue
binary binary-indep:
\tmkdir -p debian/tmp/DEBIAN
\tdpkg-gencontrol -pkind -Pdebian/tmp
\tdpkg-deb --root-owner-group --build debian/tmp ..
";

/// A kind of source package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Native,
    NativeOne,
    One,
    QuiltXz,
    QuiltBz2,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Native, Self::NativeOne, Self::One, Self::QuiltXz, Self::QuiltBz2];

    pub fn has_orig(self) -> bool {
        !matches!(self, Self::Native | Self::NativeOne)
    }
}

/// Files of an archive that is none.
#[derive(Debug)]
struct Held(Vec<ServedFile>);

impl Origs for Held {
    fn held(&self, _: &BuildPlan) -> Result<Vec<ServedFile>, BoxError> {
        Ok(self.0.clone())
    }
}

pub struct SourceWorld {
    pub git: GitWorld,
    confinement: Confinement,
    count: Cell<u32>,
}

impl SourceWorld {
    pub fn new() -> Self {
        // It makes the account, too, that programs run as here.
        let _ = shared_bases();
        let git = GitWorld::new();
        fs::set_permissions(git.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let confinement = Confinement::new(&git.directory.path().join("scratch"), ACCOUNT);
        Self { git, confinement, count: Cell::new(0) }
    }

    pub fn directory(&self, name: &str) -> PathBuf {
        self.count.set(self.count.get() + 1);
        let path = self.git.directory.path().join(format!("{name}-{}", self.count.get()));
        fs::create_dir(&path).unwrap();
        path
    }

    /// Makes a source package `kind`, with names, links and modes that are easily lost.
    pub fn make(&self, kind: Kind) -> PathBuf {
        let place = self.directory("made");
        let top = place.join("kind-1.0");
        let write = |path: &str, text: &str, mode: u32| {
            let path = top.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        write("readme", "one\ntwo\nthree\n", 0o644);
        write("bin/run", "#!/bin/sh\n", 0o755);
        write("Größe/ü \"x\"", "ä\r\n", 0o644);
        write("debian/upstream-has-this-too", "upstream's\n", 0o644);
        std::os::unix::fs::symlink("../readme", top.join("bin/link")).unwrap();
        std::os::unix::fs::symlink("/nowhere/at all", top.join("dangling")).unwrap();
        fs::create_dir(top.join("empty")).unwrap();
        let tar = |name: &str, how: &str, path: &str| {
            run_in(
                &place,
                "tar",
                &["--sort=name", "--mtime=@1600000000", "--owner=me:1000", how, "-cf", name, path],
            );
        };
        let extension = match kind {
            Kind::One => "gz",
            Kind::QuiltBz2 => "bz2",
            _ => "xz",
        };
        if kind.has_orig() {
            tar(&format!("kind_1.0.orig.tar.{extension}"), "-a", "kind-1.0");
        }
        if kind == Kind::QuiltXz {
            write("doc/manual", "a manual\n", 0o644);
            tar("kind_1.0.orig-doc.tar.gz", "-z", "kind-1.0/doc");
            let orig = place.join("kind_1.0.orig.tar.xz.asc");
            fs::write(orig, "-----BEGIN PGP SIGNATURE-----\n\nnone\n-----END PGP SIGNATURE-----\n").unwrap();
            fs::remove_dir_all(top.join("doc")).unwrap();
            run_in(&place, "tar", &["-xzf", "kind_1.0.orig-doc.tar.gz"]);
            let component = place.join("component/doc");
            fs::create_dir_all(&component).unwrap();
            fs::rename(top.join("doc/manual"), component.join("manual")).unwrap();
            run_in(
                &place.join("component"),
                "tar",
                &["--mtime=@5", "-czf", "../kind_1.0.orig-doc.tar.gz", "doc"],
            );
            fs::rename(component.join("manual"), top.join("doc/manual")).unwrap();
        }
        if kind != Kind::One && kind.has_orig() {
            fs::remove_dir_all(top.join("debian")).unwrap();
        }
        let version = if kind.has_orig() { "1:1.0-1~x1" } else { "1:1.0" };
        let (changelog, control) =
            super::gitworld::debian(&"kind".parse().unwrap(), &version.parse().unwrap());
        write("debian/changelog", &changelog, 0o644);
        write("debian/control", &control, 0o644);
        write("debian/rules", RULES, 0o755);
        write("debian/größe", "ü\n", 0o644);
        let format = match kind {
            Kind::Native => "3.0 (native)\n",
            Kind::NativeOne | Kind::One => "1.0\n",
            Kind::QuiltXz | Kind::QuiltBz2 => "3.0 (quilt)\n",
        };
        write("debian/source/format", format, 0o644);
        if kind == Kind::QuiltXz {
            let patch = "--- a/readme\n+++ b/readme\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n--- /dev/null\n+++ b/added\n@@ -0,0 +1 @@\n+added\n";
            write("debian/patches/two.patch", patch, 0o644);
            write("debian/patches/series", "two.patch\n", 0o644);
            fs::write(top.join("readme"), "one\n2\nthree\n").unwrap();
            write("added", "added\n", 0o644);
        }
        if kind == Kind::One {
            fs::write(top.join("readme"), "one\nchanged\nthree\n").unwrap();
        }
        let how: &[&str] = match kind {
            Kind::NativeOne => &["-sn"],
            _ => &[],
        };
        let arguments: Vec<&str> = how.iter().copied().chain(["-b", "kind-1.0"]).collect();
        run_in(&place, "dpkg-source", &arguments);
        let found = fs::read_dir(&place).unwrap().map(|it| it.unwrap().path());
        found.filter(|it| it.extension().is_some_and(|it| it == "dsc")).collect::<Vec<_>>().remove(0)
    }

    /// Takes a source package over, in the place of what was taken over before.
    pub fn import(&self, dsc: &Path) -> (PackageName, Version, CommitId) {
        let control = SourceControl::read(dsc).unwrap();
        let (package, version) = (control.package().clone(), control.version().clone());
        let path = self.git.repositories.path(&package);
        if path.exists() {
            fs::remove_dir_all(path).unwrap();
        }
        let policy = PushPolicy::new(&BTreeMap::new(), "");
        let imported =
            self.git.repositories.import_source(&package, dsc, &hooks(), &policy, &self.confinement);
        (package, version, imported.unwrap().source.unwrap().1)
    }

    /// Unpacks a source package and returns its directory.
    pub fn unpack(&self, dsc: &Path) -> PathBuf {
        let to = self.directory("unpacked").join("source");
        let mut command = Command::new("dpkg-source");
        command.args(["--no-check", "--no-copy", "-x"]).arg(dsc).arg(&to);
        output(command, b"");
        to
    }

    pub fn exporter(&self) -> SourceExporter {
        self.exporter_within(TreeLimits::default())
    }

    pub fn exporter_within(&self, limits: TreeLimits) -> SourceExporter {
        SourceExporter::new(self.git.repositories.clone(), limits)
            .with_confinement(self.confinement.clone())
            .with_cache(&self.git.directory.path().join("cache"))
    }

    pub fn export(
        &self,
        package: &PackageName,
        version: &Version,
        commit: &CommitId,
    ) -> Result<Exported, ExportError> {
        self.export_by(&self.exporter(), package, version, commit)
    }

    pub fn export_by(
        &self,
        exporter: &SourceExporter,
        package: &PackageName,
        version: &Version,
        commit: &CommitId,
    ) -> Result<Exported, ExportError> {
        exporter.export(&plan(package, version, commit), &self.directory("into"))
    }

    /// Exports what must be refused, and returns why.
    pub fn refusal(&self, package: &PackageName, version: &Version, commit: &CommitId) -> String {
        match self.export(package, version, commit) {
            Err(ExportError::Malformed { problem, .. }) => problem,
            other => panic!("{other:?}"),
        }
    }

    /// Commits all that is in a directory.
    pub fn commit_directory(&self, package: &PackageName, directory: &Path, parent: &CommitId) -> CommitId {
        let path = self.git.repository(package);
        let index = self.directory("index").join("index");
        let work = directory.to_str().unwrap();
        let command = |arguments: &[&str]| {
            let mut command = git_command(&path, &[]);
            command.args(["--git-dir", path.to_str().unwrap(), "--work-tree", work]).args(arguments);
            command.env("GIT_INDEX_FILE", &index);
            output(command, b"")
        };
        command(&["-c", "core.bare=false", "add", "-A", "-f", "."]);
        let tree = command(&["write-tree"]);
        super::gitworld::commit_tree(&path, &tree, Some(parent))
    }
}

pub fn run(program: &str, arguments: &[&str]) {
    run_in(Path::new("/"), program, arguments);
}

pub fn run_in(directory: &Path, program: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.current_dir(directory).args(arguments).env("LC_ALL", "C.UTF-8");
    output(command, b"");
}

pub fn sha256(path: &Path) -> String {
    let mut command = Command::new("sha256sum");
    command.arg("--").arg(path);
    output(command, b"").split(' ').next().unwrap().to_owned()
}

/// Returns the names of the files that a `.dsc` names.
pub fn files_of(dsc: &Path) -> Vec<String> {
    SourceControl::read(dsc).unwrap().files().iter().map(|it| it.name.to_string()).collect()
}

/// Checks that two directories hold the same, beside directories of upstream's that are empty.
pub fn assert_same_trees(a: &Path, b: &Path) {
    assert_eq!(differences_of_trees(a, b), Vec::<String>::new());
}

/// Returns what two directories have differently: names, kinds, permissions, contents, and where links lead.
///
/// What dpkg-source notes in `.pc` is not compared, nor are empty directories outside of `debian/` that the second one
/// lacks: git has none, and where they matter, they are in upstream's tarball.
pub fn differences_of_trees(a: &Path, b: &Path) -> Vec<String> {
    let list = |top: &Path| {
        let mut command = Command::new("sh");
        let script = "cd \"$1\"; find . -mindepth 1 -path ./.pc -prune -o -type d -printf '%p\\0d %m\\0' -o -type l -printf '%p\\0l %l\\0' -o -type f -printf '%p\\0f %m %s\\0'";
        command.args(["-ec", script, "sh"]).arg(top).env("LC_ALL", "C.UTF-8");
        let text = output(command, b"");
        let words: Vec<&str> = text.split('\0').collect();
        let pair = |it: &[&str]| Some((it.first()?.to_string(), it.get(1)?.to_string()));
        words.chunks(2).filter_map(pair).collect::<BTreeMap<String, String>>()
    };
    let (mut ours, mut theirs) = (list(a), list(b));
    let is_empty = |top: &Path, at: &str| fs::read_dir(top.join(at)).is_ok_and(|mut it| it.next().is_none());
    ours.retain(|at, it| {
        theirs.contains_key(at) || !it.starts_with('d') || at.starts_with("./debian/") || !is_empty(a, at)
    });
    theirs.retain(|at, it| {
        ours.contains_key(at) || !it.starts_with('d') || at.starts_with("./debian/") || !is_empty(b, at)
    });
    let mut found = Vec::new();
    for at in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        let (mine, other) = (ours.get(at), theirs.get(at));
        let is_same_file = || fs::read(a.join(at)).unwrap() == fs::read(b.join(at)).unwrap();
        if mine != other || (mine.is_some_and(|it| it.starts_with('f')) && !is_same_file()) {
            found.push(format!("{at}: {mine:?}, {other:?}"));
        }
    }
    found
}

/// Returns an archive that has these files.
pub fn held(paths: &[&Path]) -> Arc<dyn Origs> {
    let file = |it: &&Path| ServedFile { path: it.to_path_buf(), sha256: sha256(it) };
    Arc::new(Held(paths.iter().map(file).collect()))
}
