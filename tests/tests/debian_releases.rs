//! The archive as the whole of a real Debian uses it: dpkg and apt as root, in a root directory of each release.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and start programs")]

use std::fs;
use std::path::{Path, PathBuf};

use invirtibuilder_core::conformance::publisher::{Sample, stable, unstable};
use invirtibuilder_core::durable::Lock;
use invirtibuilder_core::policy::PocketSpec;
use invirtibuilder_core::publisher::archive::{Archive, SignedBy};
use invirtibuilder_core::publisher::{Generation, Publisher};
use invirtibuilder_tests::programs::{Answer, command, run, temporary};
use invirtibuilder_tests::world::{Server, World};

/// Returns where this machine's apt gets Debian from.
fn mirror() -> String {
    let format = "$(SITE) $(RELEASE) $(COMPONENT)";
    let targets =
        run(command("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"])).ok();
    let is_base = |line: &&str| {
        let mut words = line.split_whitespace();
        let (uri, suite) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        uri.contains("debian") && !suite.contains('-') && !suite.contains('/') && words.next() == Some("main")
    };
    let line = targets.lines().find(is_base).expect("apt knows a mirror of Debian");
    line.split(' ').next().unwrap().to_owned()
}

/// Returns a tarball of the smallest Debian that has apt, which is made once.
fn tarball(release: &str) -> PathBuf {
    let directory = temporary().join("roots");
    fs::create_dir_all(&directory).unwrap();
    let _lock = Lock::wait(&directory.join(format!("{release}.lock"))).unwrap();
    let (tarball, part) =
        (directory.join(format!("{release}.tar")), directory.join(format!("{release}-part.tar")));
    if !tarball.exists() {
        let mut make = command("mmdebstrap");
        make.args(["--quiet", "--variant=apt", "--mode=root", "--aptopt=Acquire::Languages \"none\""]);
        make.arg("--keyring=/usr/share/keyrings/debian-archive-keyring.gpg").arg(release).arg(&part);
        run(make.arg(mirror())).ok();
        fs::rename(part, &tarball).unwrap();
    }
    tarball
}

/// A root directory with a Debian of its own.
struct Root(tempfile::TempDir);

impl Root {
    fn new(release: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("root-").tempdir_in(temporary()).unwrap();
        run(command("tar").arg("-xf").arg(tarball(release)).arg("-C").arg(directory.path())).ok();
        let root = Self(directory);
        fs::remove_file(root.path("etc/apt/sources.list")).unwrap();
        root
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    /// Runs a program in it, with this machine's network, and processes and mounts that end with it.
    fn run(&self, words: &[&str]) -> Answer {
        let mut unshare = command("unshare");
        unshare.args(["--mount", "--pid", "--fork", "--kill-child"]);
        unshare.arg(format!("--mount-proc={}", self.path("proc").display()));
        unshare.arg("chroot").arg(self.0.path()).args(words).env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut unshare)
    }

    /// Runs its apt-get, to which every warning of an update is an error.
    #[track_caller]
    fn apt(&self, words: &[&str]) -> String {
        // The root has no pseudo-terminals.
        let options = ["--quiet", "--yes", "-o", "APT::Update::Error-Mode=any", "-o", "Dpkg::Use-Pty=0"];
        let words = [&["apt-get"], options.as_slice(), words].concat();
        let answer = self.run(&words).expect(0);
        let text = answer.stdout + &answer.stderr;
        let complains = |line: &str| line.starts_with("W:") || line.starts_with("E:");
        assert!(!text.lines().any(complains), "{words:?}: {text}");
        text
    }

    /// Makes its apt use these sources only.
    fn use_sources(&self, sources: &str) {
        fs::write(self.path("etc/apt/sources.list.d/test.sources"), sources).unwrap();
        self.apt(&["update"]);
    }

    /// Returns the version of hello that is installed, as dpkg says and as its files say.
    #[track_caller]
    fn hello(&self) -> String {
        let version = self.run(&["dpkg-query", "--show", "--showformat=${Version}", "hello"]).ok();
        let content = fs::read_to_string(self.path("usr/share/hello/content")).unwrap();
        assert!(content.starts_with(&format!("hello {version} ")), "{content}");
        version
    }
}

/// Publishes a version of hello.
fn publish(archive: &Archive, pocket: &PocketSpec, version: &str) -> Option<Generation> {
    let directory = tempfile::tempdir().unwrap();
    let artifacts = Sample::new("hello", version, "").build(pocket, directory.path()).unwrap();
    archive.publish(&artifacts).unwrap()
}

fn is_there(directory: &Path, ending: &str) -> bool {
    fs::read_dir(directory).unwrap().any(|it| it.unwrap().file_name().to_string_lossy().ends_with(ending))
}

/// Installs, fetches the source, upgrades, and goes back to a snapshot and in a pocket that goes back.
fn a_life(release: &str) {
    let world = World::new();
    let archive = world.archive();
    let server = Server::start(archive.directory());
    let sources =
        |uri: &str, pocket: &PocketSpec| archive.sources(&pocket.suite, uri, &SignedBy::Inline).unwrap();
    let first = publish(&archive, &stable(), "1.0").unwrap();
    let root = Root::new(release);
    root.use_sources(&sources(&server.uri, &stable()));
    root.apt(&["install", "hello", "hello-doc"]);
    assert_eq!(root.hello(), "1.0");
    assert!(root.path("usr/share/hello-doc/content").exists());
    // There is no dpkg-source in so small a Debian to unpack it.
    root.apt(&["-o", "APT::Sandbox::User=root", "source", "--download-only", "hello"]);
    assert!(is_there(root.0.path(), ".dsc") && is_there(root.0.path(), ".tar.gz"));
    publish(&archive, &stable(), "1.1");
    root.apt(&["update"]);
    root.apt(&["upgrade"]);
    assert_eq!(root.hello(), "1.1");

    // Back to what the suite served at first, which it never serves again.
    root.use_sources(&archive.snapshot_sources(&stable().suite, first, &server.uri).unwrap());
    root.apt(&["-o", "APT::Sandbox::User=root", "source", "--download-only", "hello=1.0"]);
    root.apt(&["--allow-downgrades", "install", "hello=1.0", "hello-doc=1.0"]);
    assert_eq!(root.hello(), "1.0");

    // A pocket that goes forth and back.
    for version in ["2.0", "2.1", "2.0"] {
        publish(&archive, &unstable(), version);
        root.use_sources(&sources(&server.uri, &unstable()));
        root.apt(&["--allow-downgrades", "install", &format!("hello={version}")]);
        assert_eq!(root.hello(), version);
    }
}

#[test]
fn apt_of_bookworm_installs_upgrades_and_goes_back_to_a_snapshot() {
    a_life("bookworm");
}

#[test]
fn apt_of_trixie_which_verifies_with_sequoia_installs_upgrades_and_goes_back_to_a_snapshot() {
    a_life("trixie");
    let listing = run(command("tar").arg("-tf").arg(tarball("trixie"))).ok();
    assert!(listing.lines().any(|it| it.ends_with("/usr/bin/sqv")), "apt verifies with something else");
}
