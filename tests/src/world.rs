//! An archive without a site, in a temporary directory, and a real apt that uses it.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use invirtibuilder_core::conformance::publisher::{stable, stable_and_arm64, unstable};
use invirtibuilder_core::names::Suite;
use invirtibuilder_core::publisher::Publisher;
use invirtibuilder_core::publisher::archive::{Archive, ArchiveSpec, Retention, SignedBy, SuiteSpec};
use invirtibuilder_core::signer::{Fingerprint, GpgSigner};

use crate::programs::{command, program};

/// The variable that tells a child process its world.
pub const WORLD: &str = "INVIRTIBUILDER_TEST_WORLD";

/// A directory with a signing key, in which archives can be made.
#[derive(Debug)]
pub struct World {
    /// Removes the directory at the end.
    _directory: Option<tempfile::TempDir>,
    /// The directory.
    pub root: PathBuf,
    fingerprint: Fingerprint,
    retention: Retention,
    /// Whether `stable` is for arm64 too.
    has_arm64: bool,
    /// For how long the archives that it makes from now on are valid.
    pub valid_for: Option<Duration>,
}

impl World {
    /// Makes one whose archives keep what archives keep by default.
    #[must_use]
    pub fn new() -> Self {
        Self::keeping(Retention::default())
    }

    /// Makes one whose archives keep this.
    #[must_use]
    pub fn keeping(retention: Retention) -> Self {
        let directory = tempfile::Builder::new().prefix("arch").tempdir_in("/tmp").unwrap();
        // The apt of a build root reads it too, and that drops its privileges.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let root = directory.path().to_owned();
        let fingerprint =
            GpgSigner::generate(&root.join("gpg"), "The archive <archive@example.org>").unwrap();
        let Retention { generations, time, versions } = retention;
        let facts = format!("{} {generations} {} {versions}", fingerprint.as_str(), time.as_secs());
        std::fs::write(root.join("facts"), facts).unwrap();
        Self { _directory: Some(directory), root, fingerprint, retention, has_arm64: false, valid_for: None }
    }

    /// Lets the suite `stable` be for arm64 too, as an optional architecture.
    #[must_use]
    pub fn with_arm64(self) -> Self {
        let facts = std::fs::read_to_string(self.root.join("facts")).unwrap();
        std::fs::write(self.root.join("facts"), facts + " arm64").unwrap();
        Self { has_arm64: true, ..self }
    }

    /// Opens the world that another process made.
    #[must_use]
    pub fn open(root: &Path) -> Self {
        let facts = std::fs::read_to_string(root.join("facts")).unwrap();
        let words: Vec<&str> = facts.split(' ').collect();
        let retention = Retention {
            generations: words[1].parse().unwrap(),
            time: Duration::from_secs(words[2].parse().unwrap()),
            versions: words[3].parse().unwrap(),
        };
        Self {
            _directory: None,
            root: root.to_owned(),
            fingerprint: words[0].parse().unwrap(),
            retention,
            has_arm64: words.get(4) == Some(&"arm64"),
            valid_for: None,
        }
    }

    /// Opens its first archive.
    #[must_use]
    pub fn archive(&self) -> Archive {
        self.archive_in("archive", self.retention)
    }

    /// Opens its first archive, whose suites say this of themselves.
    #[must_use]
    pub fn archive_described(&self, description: &str) -> Archive {
        let suites = self.suites().map(|it| SuiteSpec { description: description.to_owned(), ..it });
        self.archive_of("archive", self.retention, suites.to_vec())
    }

    /// Opens an archive that is below a name.
    #[must_use]
    pub fn archive_in(&self, name: &str, retention: Retention) -> Archive {
        self.archive_of(name, retention, self.suites().to_vec())
    }

    fn suites(&self) -> [SuiteSpec; 2] {
        let stable = if self.has_arm64 { stable_and_arm64() } else { stable() };
        [stable, unstable()].map(|it| SuiteSpec::of(&it, "A test", "Test"))
    }

    /// Opens its first archive, which has yet to be prepared.
    #[must_use]
    pub fn open_archive(&self) -> Archive {
        self.unprepared("archive", self.retention, self.suites().to_vec())
    }

    /// Opens an archive of these suites.
    #[must_use]
    pub fn archive_of(&self, name: &str, retention: Retention, suites: Vec<SuiteSpec>) -> Archive {
        let archive = self.unprepared(name, retention, suites);
        archive.prepare().unwrap();
        archive
    }

    fn unprepared(&self, name: &str, retention: Retention, suites: Vec<SuiteSpec>) -> Archive {
        let home = self.root.join("gpg");
        let signer = GpgSigner::open(&home, std::slice::from_ref(&self.fingerprint)).unwrap();
        let spec = ArchiveSpec {
            directory: self.root.join(name),
            state: self.root.join(format!("{name}-state")),
            key_file: "archive-key.asc".parse().unwrap(),
            suites,
            retention,
            valid_for: self.valid_for,
        };
        Archive::new(spec, Box::new(signer))
    }

    /// Returns a path below what its first archive serves.
    #[must_use]
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join("archive").join(below)
    }

    /// Reads the `InRelease` of a suite.
    #[must_use]
    pub fn in_release(&self, suite: &str) -> Vec<u8> {
        std::fs::read(self.path(&format!("dists/{suite}/InRelease"))).unwrap()
    }

    /// Makes an apt that uses one suite.
    #[must_use]
    pub fn apt(&self, name: &str, archive: &Archive, suite: &Suite, uri: &str) -> Apt {
        let sources = archive.sources(suite, uri, &SignedBy::Inline).unwrap();
        Apt::new(self.root.join(name), &sources)
    }

    /// Makes an apt that uses both suites.
    #[must_use]
    pub fn apt_of_all(&self, name: &str, archive: &Archive, uri: &str) -> Apt {
        let sources = [stable().suite, unstable().suite]
            .map(|suite| archive.sources(&suite, uri, &SignedBy::Inline).unwrap());
        Apt::new(self.root.join(name), &sources.join("\n"))
    }

    /// Returns where apt finds its first archive on this machine.
    #[must_use]
    pub fn file_uri(&self) -> String {
        format!("file://{}", self.root.join("archive").display())
    }

    /// Begins a call of the program that changes an archive, on the first archive of this world.
    #[must_use]
    pub fn change(&self, words: &[&str]) -> Command {
        let mut command = command(program("archive-change"));
        command.args(words).env(WORLD, &self.root).env("TMPDIR", &self.root);
        command
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// An apt with a directory tree of its own.
#[derive(Debug)]
pub struct Apt {
    root: PathBuf,
}

impl Apt {
    /// Makes one in a directory from the text of a `.sources` file.
    #[must_use]
    pub fn new(root: PathBuf, sources: &str) -> Self {
        for directory in [
            "etc/sources.list.d",
            "etc/parts",
            "etc/preferences.d",
            "state/lists/partial",
            "cache/archives/partial",
            "work",
        ] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        std::fs::write(root.join("etc/sources.list.d/test.sources"), sources).unwrap();
        std::fs::write(root.join("status"), "").unwrap();
        let shown = root.display();
        let configuration = format!(
            "Dir \"{shown}\";\nDir::State \"{shown}/state\";\nDir::State::status \"{shown}/status\";\n\
             Dir::Cache \"{shown}/cache\";\nDir::Etc \"{shown}/etc\";\nDir::Etc::Parts \"{shown}/etc/parts\";\n\
             Dir::Log \"{shown}/log\";\nAPT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\n\
             APT::Update::Error-Mode \"any\";\nAPT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n\
             Debug::NoLocking \"true\";\n"
        );
        std::fs::write(root.join("apt.conf"), configuration).unwrap();
        Self { root }
    }

    /// Gives it one more source.
    pub fn add_source(&self, name: &str, sources: &str) {
        std::fs::write(self.root.join(format!("etc/sources.list.d/{name}.sources")), sources).unwrap();
    }

    /// Lets it install packages of another architecture too.
    pub fn add_architecture(&self, name: &str) {
        let file = self.root.join("apt.conf");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, format!("{text}APT::Architectures:: \"{name}\";\n")).unwrap();
    }

    /// Makes it believe that a package is installed, by the fields by which apt knows a version for the same.
    pub fn install_status(&self, package: &str, version: &str, architecture: &str) {
        let text = format!(
            "Package: {package}\nStatus: install ok installed\nMaintainer: A <a@example.org>\n\
             Architecture: {architecture}\nVersion: {version}\nInstalled-Size: 1\nDescription: installed\n\n"
        );
        std::fs::write(self.root.join("status"), text).unwrap();
    }

    /// Returns the directory that downloads go to.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// Begins a call of one of apt's programs in the directory that downloads go to.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = command(program);
        command.env("APT_CONFIG", self.root.join("apt.conf")).current_dir(self.work());
        command
    }

    /// Runs `apt-get`.
    #[must_use]
    pub fn try_run(&self, arguments: &[&str]) -> Output {
        self.command("apt-get").args(arguments).output().unwrap()
    }

    /// Runs `apt-get`, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        expect(&self.try_run(arguments))
    }

    /// Forgets the lists, so that the next update fetches everything.
    pub fn forget(&self) {
        std::fs::remove_dir_all(self.root.join("state/lists")).unwrap();
        std::fs::create_dir_all(self.root.join("state/lists/partial")).unwrap();
    }
}

/// Returns what a program that must have succeeded printed.
#[track_caller]
pub fn expect(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// A web server on the loopback, which ends with this value.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it serves the directory.
    pub uri: String,
}

impl Server {
    /// Serves a directory as web servers do: connections are kept, and what has not changed is not sent again.
    #[must_use]
    pub fn start(directory: &Path) -> Self {
        let mut child = command("python3")
            .args([
                "-u",
                "-m",
                "http.server",
                "0",
                "--protocol",
                "HTTP/1.1",
                "--bind",
                "127.0.0.1",
                "--directory",
            ])
            .arg(directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.split("port ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        Self { child, uri: format!("http://127.0.0.1:{port}") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
