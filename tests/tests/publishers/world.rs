//! An archive of reprepro or aptly in a temporary directory, and a real apt that uses it.

use std::path::{Path, PathBuf};
use std::process::Command;

use invirtibuilder_core::conformance::publisher::{Sample, stable, unstable};
use invirtibuilder_core::names::Suite;
use invirtibuilder_core::policy::PocketSpec;
use invirtibuilder_core::publisher::Publisher;
use invirtibuilder_core::publisher::archive::{SignedBy, SuiteSpec};
use invirtibuilder_core::publisher::tool::{ToolPublisher, ToolSpec};
use invirtibuilder_core::signer::{GpgSigner, SigningKey};
use invirtibuilder_core::states::CopyPlan;
use invirtibuilder_tests::apt::Apt;

/// A program that publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Reprepro,
    Aptly,
}

impl Tool {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reprepro => "reprepro",
            Self::Aptly => "aptly",
        }
    }

    pub(crate) fn of_name(name: &str) -> Self {
        if name == "aptly" { Self::Aptly } else { Self::Reprepro }
    }
}

/// A directory with a signing key, in which a program can publish archives.
#[derive(Debug)]
pub(crate) struct World {
    /// Removes the directory at the end.
    directory: Option<tempfile::TempDir>,
    pub(crate) root: PathBuf,
    pub(crate) tool: Tool,
    keys: Vec<SigningKey>,
}

impl World {
    pub(crate) fn new(tool: Tool) -> Self {
        let temporary = tempfile::Builder::new().prefix("peer").tempdir_in("/tmp").unwrap();
        let root = temporary.path().to_owned();
        let key = GpgSigner::generate(&root.join("gpg"), "The archive <archive@example.org>").unwrap();
        std::fs::write(root.join("fingerprint"), key.as_str()).unwrap();
        Self { directory: Some(temporary), root, tool, keys: vec![key.into()] }
    }

    /// Opens the world that another process made.
    pub(crate) fn open(root: &Path, tool: Tool) -> Self {
        let key = std::fs::read_to_string(root.join("fingerprint")).unwrap().parse().unwrap();
        Self { directory: None, root: root.to_owned(), tool, keys: vec![key] }
    }

    /// Adds a key that signs beside the first.
    pub(crate) fn add_key(&mut self) {
        self.keys
            .push(GpgSigner::generate(&self.root.join("gpg"), "The next <next@example.org>").unwrap().into());
    }

    pub(crate) fn suites() -> Vec<SuiteSpec> {
        [stable(), unstable()].map(|it| SuiteSpec::of(&it, "A test", "Test")).to_vec()
    }

    pub(crate) fn describe(&self, name: &str, suites: Vec<SuiteSpec>) -> ToolPublisher {
        let spec = ToolSpec {
            directory: self.root.join(name),
            state: self.root.join(format!("{name}-state")),
            key_file: "archive-key.asc".parse().unwrap(),
            suites,
            gnupg: self.root.join("gpg"),
            keys: self.keys.clone(),
        };
        match self.tool {
            Tool::Reprepro => ToolPublisher::reprepro(spec),
            Tool::Aptly => ToolPublisher::aptly(spec),
        }
    }

    /// Makes an archive below a name.
    pub(crate) fn publisher_in(&self, name: &str, suites: Vec<SuiteSpec>) -> ToolPublisher {
        let publisher = self.describe(name, suites);
        publisher.prepare().unwrap();
        publisher
    }

    pub(crate) fn publisher(&self) -> ToolPublisher {
        self.publisher_in("archive", Self::suites())
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.join("archive").join(below)
    }

    pub(crate) fn in_release(&self, suite: &str) -> Vec<u8> {
        std::fs::read(self.path(&format!("{suite}/dists/{suite}/InRelease"))).unwrap()
    }

    pub(crate) fn apt(&self, name: &str, suite: &Suite) -> Apt {
        let uri = format!("file://{}", self.root.join("archive").display());
        let publisher = self.describe("archive", Self::suites());
        let sources = publisher.sources(suite, &uri, &SignedBy::Inline).unwrap();
        Apt::of_sources(self.root.join(name), &sources)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.directory.is_some() {
            let home = self.root.join("gpg");
            let _ = Command::new("gpgconf").arg("--homedir").arg(home).args(["--kill", "all"]).status();
        }
    }
}

/// Returns a plan to copy from `unstable` to `stable`.
pub(crate) fn copy_of(sample: &Sample) -> CopyPlan {
    let into: PocketSpec = stable();
    CopyPlan::for_tests(sample.plan(&into), unstable())
}
