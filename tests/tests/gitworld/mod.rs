//! Real repositories for tests: made and filled by real git.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use invirtibuilder_core::names::{CommitId, PackageName, PocketName, Version};
use invirtibuilder_core::pocket::git::{GitPocket, GitSite, Tagger};
use invirtibuilder_core::policy::{Building, PocketSpec, Policy};
use invirtibuilder_core::repository::{Hooks, Repositories};
use tempfile::TempDir;

/// A file of a commit: its mode as git writes it, its path, its bytes.
pub type File<'a> = (&'a str, &'a str, &'a [u8]);

/// A site in a directory of its own.
pub struct GitWorld {
    pub directory: TempDir,
    pub repositories: Repositories,
    pub site: Arc<GitSite>,
    pub prod: GitPocket,
    pub dev: GitPocket,
}

impl GitWorld {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("repositories")).unwrap();
        let repositories = Repositories::open(&directory.path().join("repositories")).unwrap();
        let pockets: BTreeMap<PocketName, PocketSpec> =
            [spec("prod", false), spec("dev", true)].into_iter().map(|it| (it.name.clone(), it)).collect();
        let tagger = Tagger::new("Build Server", "builds@example.org").unwrap();
        let superproject = directory.path().join("super.git");
        let site = GitSite::new(repositories.clone(), superproject, pockets, tagger, "");
        let pocket = |name: &str| site.pocket(&name.parse().unwrap()).unwrap();
        Self { prod: pocket("prod"), dev: pocket("dev"), directory, repositories, site: Arc::clone(&site) }
    }

    pub fn superproject(&self) -> PathBuf {
        self.directory.path().join("super.git")
    }

    pub fn repository(&self, package: &PackageName) -> PathBuf {
        let path = self.repositories.path(package);
        if !path.exists() {
            self.repositories.create(package, &hooks()).unwrap();
        }
        path
    }

    /// Makes a commit of a package's version, on the branch `topic-<version>`.
    pub fn commit(&self, package: &PackageName, version: &Version, parent: Option<&CommitId>) -> CommitId {
        let (changelog, control) = debian(package, version);
        let files: [File<'_>; 3] = [
            ("100644", "debian/changelog", changelog.as_bytes()),
            ("100644", "debian/control", control.as_bytes()),
            ("100644", "debian/source/format", b"3.0 (native)\n"),
        ];
        self.commit_files(package, &files, parent)
    }

    pub fn commit_files(
        &self,
        package: &PackageName,
        files: &[File<'_>],
        parent: Option<&CommitId>,
    ) -> CommitId {
        let repository = self.repository(package);
        let tree = tree(&repository, files);
        commit_tree(&repository, &tree, parent)
    }
}

pub fn spec(name: &str, allow_backtracking: bool) -> PocketSpec {
    PocketSpec {
        name: name.parse().unwrap(),
        branch: name.parse().unwrap(),
        suite: name.parse().unwrap(),
        components: vec!["main".parse().unwrap()],
        architectures: vec!["amd64".parse().unwrap()],
        base: "bookworm".parse().unwrap(),
        policy: Policy { allow_backtracking, ..Policy::default() },
        building: Building::default(),
    }
}

pub fn hooks() -> Hooks {
    Hooks { program: PathBuf::from("/bin/false"), config: PathBuf::from("/it's a \"site\"/x.yaml") }
}

/// Returns a valid changelog and control file.
pub fn debian(package: &PackageName, version: &Version) -> (String, String) {
    let changelog = format!(
        "{package} ({version}) unstable; urgency=medium\n\n  * A test.\n\n -- Nobody <nobody@example.org>  Mon, 23 Nov 2026 08:00:00 +0000\n"
    );
    let control = format!(
        "Source: {package}\nSection: misc\nPriority: optional\nMaintainer: Nobody <nobody@example.org>\nStandards-Version: 4.6.2\n\nPackage: {package}\nArchitecture: all\nDescription: a test\n It has no content.\n"
    );
    (changelog, control)
}

/// Writes a tree by way of an index, and returns its id.
pub fn tree(repository: &Path, files: &[File<'_>]) -> String {
    let index = repository.join(format!("index-{:?}", std::thread::current().id()));
    let mut lines = String::new();
    for (mode, path, bytes) in files {
        let id = git_with(repository, &["hash-object", "-w", "--stdin"], bytes);
        writeln!(lines, "{mode} {id}\t{path}").unwrap();
    }
    let mut command = git_command(repository, &["update-index", "--add", "--index-info"]);
    command.env("GIT_INDEX_FILE", &index);
    output(command, lines.as_bytes());
    let mut command = git_command(repository, &["write-tree"]);
    command.env("GIT_INDEX_FILE", &index);
    let id = output(command, b"");
    std::fs::remove_file(index).unwrap();
    id
}

/// Commits a tree, and makes a branch for it.
pub fn commit_tree(repository: &Path, tree: &str, parent: Option<&CommitId>) -> CommitId {
    let mut arguments = vec!["commit-tree", tree, "-m", "a commit"];
    if let Some(parent) = parent {
        arguments.extend(["-p", parent.as_str()]);
    }
    let id = git(repository, &arguments);
    git(repository, &["update-ref", &format!("refs/heads/topic-{}", &id[..12]), &id]);
    id.parse().unwrap()
}

/// Runs git in a repository and returns what it printed.
pub fn git(repository: &Path, arguments: &[&str]) -> String {
    output(git_command(repository, arguments), b"")
}

pub fn git_with(repository: &Path, arguments: &[&str], input: &[u8]) -> String {
    output(git_command(repository, arguments), input)
}

pub fn git_command(repository: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository).args(["-c", "safe.directory=*"]).args(arguments);
    for (name, value) in [
        ("GIT_AUTHOR_NAME", "A"),
        ("GIT_AUTHOR_EMAIL", "a@example.org"),
        ("GIT_COMMITTER_NAME", "A"),
        ("GIT_COMMITTER_EMAIL", "a@example.org"),
        ("GIT_AUTHOR_DATE", "1700000000 +0000"),
        ("GIT_COMMITTER_DATE", "1700000000 +0000"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ] {
        command.env(name, value);
    }
    command
}

/// Runs a command that must succeed, and returns what it printed without the last line end.
pub fn output(mut command: Command, input: &[u8]) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
