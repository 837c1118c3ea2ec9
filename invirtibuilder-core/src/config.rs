//! The configuration: one YAML file, read into plain values with every default filled in.
//!
//! The only reader of configuration. Never looks whether the things that it names exist: that is `check`'s work.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::access::{Acl, Lists};
use crate::builder::sbuild::Mode;
use crate::builder::vm::Machine;
use crate::control::hex;
use crate::names::{Architecture, BaseName, Component, PackageName, PocketName, Principal, Suite};
use crate::policy::{BuildBackend, PocketSpec};
use crate::process::Limits;
use crate::publisher::archive::{Compression, Descriptions, Retention, Upgrades};
use crate::signer::SigningKey;

mod acls;
mod against;
mod architectures;
mod builder;
mod exporter;
mod host;
mod hosting;
mod keys;
mod locate;
mod pockets;
mod render;
mod section;
mod site;
mod tree;
mod units;

pub use exporter::Exporter;
pub use host::{Host, HostError};
pub use render::{NewPocket, NewSite};

/// Where the configuration is unless somebody says otherwise.
pub const DEFAULT_FILE: &str = "/etc/invirtibuilder/invirtibuilder.yaml";

/// Where everything is kept unless the configuration says otherwise.
pub const DEFAULT_ROOT: &str = "/var/lib/invirtibuilder";

/// A site's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory below which everything is kept that `paths` does not move.
    pub root: PathBuf,
    /// Where things are kept.
    pub paths: Paths,
    /// The pockets. There is at least one.
    pub pockets: BTreeMap<PocketName, PocketSpec>,
    /// Who may publish in each pocket; has the same keys as `pockets`.
    pub acls: BTreeMap<PocketName, Acl>,
    /// What the `Release` file of each pocket's suite says; has the same keys as `pockets`.
    pub releases: BTreeMap<PocketName, Release>,
    /// The named lists of principals that an access list may be.
    pub lists: Lists,
    /// The principals who may submit in the name of another.
    pub impersonate: Vec<Principal>,
    /// Who makes the tags and the commits of the superproject.
    pub tagger: Tagger,
    /// What version tags begin with, such as `debian/`; may be empty.
    pub tag_prefix: String,
    /// The distributions that pockets are built in; has every base that a pocket names.
    pub bases: BTreeMap<BaseName, Base>,
    /// How source packages are made.
    pub exporter: Exporter,
    /// How packages are built.
    pub builder: Builder,
    /// How the archive is published.
    pub publisher: Publisher,
    /// Who may do what with the repositories, besides publishing.
    pub hosting: Hosting,
    /// How long one hook may run.
    pub hook_timeout: Duration,
    /// How long a hook that fails is told the same again.
    pub hooks_retry_for: Duration,
    /// The SHA-256 sum of the text that all this was read from, in lower-case hexadecimal.
    pub digest: String,
}

/// Where a site keeps its things. All are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The directory of the packages' bare repositories.
    pub repositories: PathBuf,
    /// The superproject, a bare repository.
    pub superproject: PathBuf,
    /// The queue.
    pub queue: PathBuf,
    /// The archive, which a web server serves.
    pub archive: PathBuf,
    /// The build logs.
    pub logs: PathBuf,
    /// The directory of the hook directories.
    pub hooks: PathBuf,
    /// The audit log.
    pub audit: PathBuf,
    /// The file that says which SSH key stands for whom.
    pub ssh_keys: PathBuf,
    /// How far each hook has heard of what the audit log has.
    pub outbox: PathBuf,
    /// What can be made again: build environments.
    pub cache: PathBuf,
    /// What lives no longer than a build; it may be in memory.
    pub scratch: PathBuf,
    /// The home directory of `GnuPG`, with the archive's private key.
    pub gnupg: PathBuf,
}

/// Who may do what with the repositories through a door, besides publishing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosting {
    /// Who may fetch, and ask about jobs and publications; `None` for everybody whom a door knows.
    pub read: Option<Acl>,
    /// Who may push what the push policy allows; `None` for whoever may publish in any pocket.
    pub push: Option<Acl>,
    /// How many bytes one push may have; `None` for 2 GiB.
    pub max_push: Option<u64>,
    /// What is otherwise for the repository of a package.
    pub repositories: BTreeMap<PackageName, Rights>,
}

/// Who may do what with one repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Who may fetch, besides those who may push; `None` for those who may read everywhere.
    pub read: Option<Acl>,
    /// Who may push; `None` for those who may push everywhere.
    pub push: Option<Acl>,
}

/// Who makes the tags and the commits of the superproject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagger {
    /// The name.
    pub name: String,
    /// The mail address.
    pub email: String,
    /// The key that signs tags; `None` to sign none.
    pub key: Option<SigningKey>,
}

/// A distribution that pockets are built in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The URI of its mirror; `None` for what the host's own apt uses.
    pub mirror: Option<String>,
    /// The suites that a build sees; empty for the one with the base's name and its updates.
    pub suites: Vec<Suite>,
    /// The components that a build sees.
    pub components: Vec<Component>,
    /// The keyring that its Release files are checked with; `None` for the host's own.
    pub keyring: Option<PathBuf>,
    /// The age at which a build environment is made anew.
    pub refresh: Duration,
}

/// How packages are built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builder {
    /// What it is done by where a pocket does not name another.
    pub backend: BuildBackend,
    /// The user of the operating system who builds; `None` for the one who runs the worker.
    pub user: Option<String>,
    /// What one build may use.
    pub limits: Limits,
    /// How many bytes one build may write; `None` for as many as there are.
    pub disk: Option<u64>,
    /// How many bytes of memory one build may have; `None` for as many as there are.
    pub memory: Option<u64>,
    /// How many processes one build may have; `None` for the backend's default.
    pub processes: Option<u64>,
    /// How many bytes the results of one job may have together.
    pub results: u64,
    /// How many builds run at once; `None` for as many as there are processors, and one a job at least.
    pub builds: Option<NonZeroUsize>,
    /// For how long failed builds are kept; `None` for the backend's default.
    pub keep_failed: Option<Duration>,
    /// How many bytes they may take; `None` for the backend's default.
    pub keep_failed_size: Option<u64>,
    /// How many bytes the layers with build dependencies may take; `None` for the default.
    pub layers: Option<u64>,
    /// What the virtual machines of the backend `vm`, and of sbuild's mode `qemu`, have.
    pub vm: Machine,
    /// How sbuild makes its environments.
    pub mode: Mode,
}

/// Who writes the indices of the archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PublisherBackend {
    /// This library.
    #[default]
    Archive,
    /// reprepro.
    Reprepro,
    /// aptly.
    Aptly,
}

impl PublisherBackend {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Archive, Self::Reprepro, Self::Aptly];

    /// Returns its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Reprepro => "reprepro",
            Self::Aptly => "aptly",
        }
    }

    /// Returns the program that it needs; `None` if it needs none.
    #[must_use]
    pub fn program(self) -> Option<&'static str> {
        (self != Self::Archive).then(|| self.as_str())
    }
}

/// How the archive is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publisher {
    /// Who writes its indices.
    pub backend: PublisherBackend,
    /// The keys that sign it, each of them every time; empty if the configuration names none.
    pub keys: Vec<SigningKey>,
    /// The name of the package that gives clients the public keys.
    pub keyring_package: PackageName,
    /// The `Origin` of its Release files.
    pub origin: String,
    /// The `Label` of its Release files.
    pub label: String,
    /// What is kept of what a suite served before.
    pub retention: Retention,
    /// Who it is that says how its packages came to be.
    pub provenance: Provenance,
    /// For how long after it was signed apt accepts what a suite serves; `None` for ever.
    pub valid_for: Option<Duration>,
    /// Where `apt changelog` finds changelogs: a URI with `@CHANGEPATH@` in it, or `no`.
    pub changelogs: Option<String>,
    /// Whether its suites have `Contents-*`.
    pub contents: bool,
    /// Where the long descriptions of packages are.
    pub descriptions: Descriptions,
    /// The component of packages with debugging symbols; `None` to leave them beside the others.
    pub debug: Option<Component>,
    /// The compressed forms of its indices.
    pub compression: Vec<Compression>,
}

/// How publications are vouched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// A URI that names the site.
    pub builder_id: String,
    /// For how long the provenance of what is not in the archive any more is kept; `None` for ever.
    pub keep: Option<Duration>,
}

/// What the `Release` file of a pocket's suite says, besides what all of them say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// `Codename`; `None` for the suite's name.
    pub codename: Option<Suite>,
    /// `Description`; `None` for one that names the pocket.
    pub description: Option<String>,
    /// `NotAutomatic` and `ButAutomaticUpgrades`.
    pub upgrades: Upgrades,
}

/// One problem of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from one; `None` if the file could not be read.
    pub line: Option<usize>,
    /// The path of the key, such as `build.pockets.dev.apt`; empty for the whole document.
    pub key: String,
    /// What is wrong and what to do.
    pub problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.problem)
    }
}

/// Every problem of a configuration file, in the order of its lines. Displays as one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(Vec<Problem>);

impl ConfigError {
    /// Returns the problems. There is at least one.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }

    fn whole(file: &Path, line: Option<usize>, problem: String) -> Self {
        Self(vec![Problem { file: file.to_owned(), line, key: String::new(), problem }])
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl Config {
    /// Returns what builds the packages of any pocket, each once.
    #[must_use]
    pub fn build_backends(&self) -> BTreeSet<BuildBackend> {
        self.pockets.values().map(|it| it.building.backend).collect()
    }

    /// Reads a configuration file. What the file leaves out and depends on the machine is taken from `host`.
    ///
    /// # Errors
    /// The file cannot be read, or everything that is wrong with it, each with its line.
    pub fn load(file: &Path, host: &Host) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|e| {
            let remedy = match e.kind() {
                std::io::ErrorKind::NotFound => {
                    "make a site with `invirtibuilder init DIR`, or name its file with --config"
                }
                std::io::ErrorKind::PermissionDenied => "let the user who runs this read it",
                _ => "it must be a text file in UTF-8",
            };
            ConfigError::whole(file, None, format!("it cannot be read: {e}; {remedy}"))
        })?;
        Self::parse(&text, file, host)
    }

    /// Reads a configuration from its text; `file` is only named in errors.
    ///
    /// ```
    /// use invirtibuilder_core::config::{Config, Host};
    /// let text = "
    /// build:
    ///   pockets:
    ///     prod: { acl: [alice@EXAMPLE.ORG], apt: stable }
    ///   tagger: { name: Build Server, email: build@example.org }
    /// ";
    /// let host = Host { codename: Some("bookworm".parse()?), architecture: Some("amd64".parse()?) };
    /// let config = Config::parse(text, "site.yaml".as_ref(), &host).unwrap();
    /// let prod = &config.pockets[&"prod".parse()?];
    /// assert_eq!((prod.branch.as_str(), prod.suite.as_str()), ("prod", "stable"));
    /// # Ok::<(), invirtibuilder_core::names::NameError>(())
    /// ```
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line.
    pub fn parse(text: &str, file: &Path, host: &Host) -> Result<Self, ConfigError> {
        let tree: tree::Node = serde_yaml::from_str(text).map_err(|e| {
            let line = e.location().map_or(1, |it| it.line());
            ConfigError::whole(file, Some(line), format!("it is not valid YAML: {e}; mend that line first"))
        })?;
        let problems = section::Problems::new(text, file);
        let config = site::read(&tree, host, &problems);
        match (config, problems.into_found()) {
            (Some(config), found) if found.is_empty() => {
                Ok(Self { digest: hex(&Sha256::digest(text.as_bytes())), ..config })
            }
            (_, found) => Err(ConfigError(found)),
        }
    }

    /// Returns the text of a new site's configuration, with a comment on every key that it sets.
    ///
    /// It parses back to the same values.
    #[must_use]
    pub fn render_new(site: &NewSite) -> String {
        render::render(site)
    }
}

/// The architectures of a pocket that names none.
fn default_architectures(host: &Host) -> Vec<Architecture> {
    host.architecture.iter().cloned().collect()
}

#[cfg(test)]
mod tests;
