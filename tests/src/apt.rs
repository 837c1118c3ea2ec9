//! The real apt, with directories and sources of its own: it shares nothing with the machine's.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::programs::{Answer, command, run};
use crate::sites::Site;

/// An apt that knows one source.
#[derive(Debug)]
pub struct Apt {
    directory: PathBuf,
}

impl Apt {
    /// Makes one that knows what a pocket serves.
    #[must_use]
    pub fn of_pocket(site: &Site, pocket: &str) -> Self {
        let apt = Self::of_sources(
            site.beside("apt").join(pocket),
            &site.cli(&["archive", "sources", pocket]).ok(),
        );
        apt.update().ok();
        apt
    }

    /// Makes one in a directory from the text of a `.sources` file.
    #[must_use]
    pub fn of_sources(directory: PathBuf, sources: &str) -> Self {
        for name in ["lists/partial", "archives/partial", "sources.list.d", "downloads"] {
            fs::create_dir_all(directory.join(name)).unwrap();
        }
        fs::write(directory.join("sources.list.d/test.sources"), sources).unwrap();
        fs::write(directory.join("status"), "").unwrap();
        let mut text = String::new();
        for (key, value) in [
            ("Dir::Etc", "."),
            ("Dir::Etc::SourceList", "/dev/null"),
            ("Dir::Etc::SourceParts", "sources.list.d"),
            ("Dir::State", "."),
            ("Dir::State::Lists", "lists"),
            ("Dir::State::Status", "status"),
            ("Dir::Cache", "."),
            ("Dir::Cache::Archives", "archives"),
        ] {
            let value = directory.join(value);
            let _ = writeln!(text, "{key} \"{}\";", value.display());
        }
        text.push_str("Dir::Etc::Parts \"/dev/null\";\nAPT::Sandbox::User \"root\";\n");
        text.push_str("APT::Update::Error-Mode \"any\";\nAcquire::Languages \"none\";\n");
        fs::write(directory.join("apt.conf"), text).unwrap();
        Self { directory }
    }

    /// Makes one that knows the source packages of Debian, from this machine's own mirror.
    ///
    /// # Panics
    /// This machine's apt knows no mirror of Debian.
    #[must_use]
    pub fn of_debian_sources(directory: PathBuf) -> Self {
        let format = "$(SITE) $(RELEASE) $(COMPONENT)";
        let targets =
            run(command("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"])).ok();
        let is_wanted = |line: &&str| {
            let mut words = line.split_whitespace();
            let (uri, suite, component) = (words.next(), words.next(), words.next());
            let is_base = suite.is_some_and(|it| !it.contains('-') && !it.contains('/'));
            uri.is_some_and(|it| it.contains("debian")) && is_base && component == Some("main")
        };
        let target = targets.lines().find(is_wanted).expect("apt knows a mirror of Debian");
        let mut words = target.split_whitespace();
        let (uri, suite) = (words.next().unwrap(), words.next().unwrap());
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let sources =
            format!("Types: deb-src\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By: {keyring}\n");
        let apt = Self::of_sources(directory, &sources);
        apt.update().ok();
        apt
    }

    /// Downloads a source package, and returns its `.dsc`.
    #[must_use]
    #[track_caller]
    pub fn dsc(&self, package: &str) -> PathBuf {
        self.get(&["source", "--quiet", "--download-only", "--only-source", package]).ok();
        let entries = fs::read_dir(self.downloads()).unwrap().map(|it| it.unwrap().path());
        let is_it = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with(&format!("{package}_")) && name.ends_with(".dsc")
        };
        entries.into_iter().find(is_it).expect("apt-get source leaves what it downloaded")
    }

    /// Adds to its configuration.
    pub fn configure(&self, text: &str) {
        let path = self.directory.join("apt.conf");
        let before = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{before}\n{text}\n")).unwrap();
    }

    /// Begins a call of one of apt's programs. What it downloads goes to [`Apt::downloads`].
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = command(program);
        command.env("APT_CONFIG", self.directory.join("apt.conf")).current_dir(self.downloads());
        command
    }

    /// Returns the directory that downloads go to.
    #[must_use]
    pub fn downloads(&self) -> PathBuf {
        self.directory.join("downloads")
    }

    /// Runs `apt-get update`, to which every warning is an error.
    #[must_use]
    pub fn update(&self) -> Answer {
        self.get(&["update", "--quiet"])
    }

    /// Runs `apt-get`.
    #[must_use]
    pub fn get(&self, arguments: &[&str]) -> Answer {
        run(self.command("apt-get").args(arguments))
    }

    /// Returns the version of a source package that apt would take now, after an update.
    #[must_use]
    #[track_caller]
    pub fn source_version(&self, package: &str) -> Option<String> {
        self.update().ok();
        let shown = run(self.command("apt-cache").args(["showsrc", "--only-source", package]));
        shown.stdout.lines().find_map(|it| it.strip_prefix("Version: ").map(str::to_owned))
    }

    /// Downloads the binary packages, whose checksums apt checks, and returns name and SHA-256 of each file.
    #[must_use]
    #[track_caller]
    pub fn download(&self, packages: &[&str]) -> Vec<(String, String)> {
        self.get(&[&["download", "--quiet"], packages].concat()).ok();
        let names = fs::read_dir(self.downloads()).unwrap().map(|it| it.unwrap().file_name());
        let mut names: Vec<_> = names.filter(|it| it.to_string_lossy().ends_with(".deb")).collect();
        names.sort();
        let sums = run(self.command("sha256sum").arg("--").args(names)).ok();
        let file = |line: &str| line.split_once("  ").map(|(sum, name)| (name.to_owned(), sum.to_owned()));
        sums.lines().filter_map(file).collect()
    }

    /// Downloads and unpacks a source package, and returns the directory of its tree.
    #[must_use]
    #[track_caller]
    pub fn source(&self, package: &str) -> PathBuf {
        self.get(&["source", "--quiet", "--only-source", package]).ok();
        let entries = fs::read_dir(self.downloads()).unwrap().map(|it| it.unwrap().path());
        let is_tree = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            path.is_dir() && name.starts_with(&format!("{package}-"))
        };
        entries.into_iter().find(is_tree).expect("apt-get source unpacks what it downloaded")
    }
}

/// Fails the test unless a tree has exactly the files of a clone.
#[track_caller]
pub fn assert_same_tree(tree: &Path, clone: &Path) {
    let differences =
        run(command("diff").args(["-r", "--no-dereference", "--exclude=.git"]).arg(tree).arg(clone));
    assert_eq!(differences.expect(0).stdout, "");
}
