//! An archive in a temporary directory, and a real apt that uses it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use invirtibuilder_core::conformance::publisher::{stable, unstable};
use invirtibuilder_core::names::Suite;
use invirtibuilder_core::publisher::Publisher;
use invirtibuilder_core::publisher::archive::{Archive, ArchiveSpec, Retention, SignedBy, SuiteSpec};
use invirtibuilder_core::signer::{Fingerprint, GpgSigner};

/// A directory with a signing key, in which archives can be made.
#[derive(Debug)]
pub(crate) struct World {
    /// Removes the directory at the end.
    _directory: Option<tempfile::TempDir>,
    pub(crate) root: PathBuf,
    fingerprint: Fingerprint,
    /// For how long the archives that it makes from now on are valid.
    pub(crate) valid_for: Option<Duration>,
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("arch").tempdir_in("/tmp").unwrap();
        let root = directory.path().to_owned();
        let fingerprint =
            GpgSigner::generate(&root.join("gpg"), "The archive <archive@example.org>").unwrap();
        std::fs::write(root.join("fingerprint"), fingerprint.as_str()).unwrap();
        Self { _directory: Some(directory), root, fingerprint, valid_for: None }
    }

    /// Opens the world that another process made.
    pub(crate) fn open(root: &Path) -> Self {
        let fingerprint = std::fs::read_to_string(root.join("fingerprint")).unwrap().parse().unwrap();
        Self { _directory: None, root: root.to_owned(), fingerprint, valid_for: None }
    }

    pub(crate) fn archive(&self) -> Archive {
        self.archive_in("archive", Retention::default())
    }

    /// Makes an archive below a name.
    pub(crate) fn archive_in(&self, name: &str, retention: Retention) -> Archive {
        let suites = [stable(), unstable()].map(|it| SuiteSpec::of(&it, "A test", "Test"));
        self.archive_of(name, retention, suites.to_vec())
    }

    /// Makes an archive of these suites.
    pub(crate) fn archive_of(&self, name: &str, retention: Retention, suites: Vec<SuiteSpec>) -> Archive {
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
        let archive = Archive::new(spec, Box::new(signer));
        archive.prepare().unwrap();
        archive
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.join("archive").join(below)
    }

    pub(crate) fn in_release(&self, suite: &str) -> Vec<u8> {
        std::fs::read(self.path(&format!("dists/{suite}/InRelease"))).unwrap()
    }

    pub(crate) fn apt(&self, name: &str, archive: &Archive, suite: &Suite, uri: &str) -> Apt {
        let sources = archive.sources(suite, uri, &SignedBy::Inline).unwrap();
        Apt::new(self.root.join(name), &sources)
    }

    pub(crate) fn file_uri(&self) -> String {
        format!("file://{}", self.root.join("archive").display())
    }
}

/// An apt with a directory tree of its own.
#[derive(Debug)]
pub(crate) struct Apt {
    root: PathBuf,
}

impl Apt {
    pub(crate) fn new(root: PathBuf, sources: &str) -> Self {
        for directory in
            ["etc/sources.list.d", "etc/parts", "state/lists/partial", "cache/archives/partial", "work"]
        {
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
    pub(crate) fn add_source(&self, name: &str, sources: &str) {
        std::fs::write(self.root.join(format!("etc/sources.list.d/{name}.sources")), sources).unwrap();
    }

    /// Makes it believe that a package is installed.
    pub(crate) fn install_status(&self, package: &str, version: &str, architecture: &str) {
        let text = format!(
            "Package: {package}\nStatus: install ok installed\nMaintainer: A <a@example.org>\n\
             Architecture: {architecture}\nVersion: {version}\nDescription: installed\n\n"
        );
        std::fs::write(self.root.join("status"), text).unwrap();
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// Runs `apt-get` in a working directory.
    pub(crate) fn try_run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("APT_CONFIG", self.root.join("apt.conf"));
        command.env("LC_ALL", "C.UTF-8").current_dir(self.work()).output().unwrap()
    }

    /// Runs `apt-get`, which must succeed, and returns what it printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        expect(&self.try_run(arguments))
    }

    /// Forgets the lists, so that the next update fetches everything.
    pub(crate) fn forget(&self) {
        std::fs::remove_dir_all(self.root.join("state/lists")).unwrap();
        std::fs::create_dir_all(self.root.join("state/lists/partial")).unwrap();
    }
}

/// Returns what a program that must have succeeded printed.
pub(crate) fn expect(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// A web server on the loopback, which ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) uri: String,
}

impl Server {
    pub(crate) fn start(directory: &Path) -> Self {
        let mut child = Command::new("python3")
            .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"])
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
