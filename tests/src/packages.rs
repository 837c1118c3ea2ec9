//! Source packages in Git, as a developer has them.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::programs::{command, run};
use crate::sites::Site;

/// A developer's clone of a package.
#[derive(Debug)]
pub struct Package {
    name: String,
    tree: PathBuf,
}

impl Package {
    /// Begins a package beside a site, which does not know of it yet.
    #[must_use]
    pub fn new(site: &Site, name: &str) -> Self {
        let package = Self { name: name.to_owned(), tree: site.beside("clones").join(name) };
        fs::create_dir_all(&package.tree).unwrap();
        package.git(&["init", "--quiet", "-b", "main"]);
        package
    }

    /// Takes a tree that somebody made as a clone.
    #[must_use]
    pub fn of_tree(name: &str, tree: PathBuf) -> Self {
        let package = Self { name: name.to_owned(), tree };
        package.git(&["init", "--quiet", "-b", "main"]);
        package
    }

    /// Makes a package that a site hosts, with its first commit, whose id is returned too.
    #[must_use]
    pub fn hosted(site: &Site, name: &str, version: &str) -> (Self, String) {
        let package = Self::new(site, name);
        let commit = package.commit(version);
        package.host(site);
        (package, commit)
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the clone's working tree.
    #[must_use]
    pub fn tree(&self) -> &Path {
        &self.tree
    }

    /// Runs git in the clone, and returns what it printed.
    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> String {
        let mut git = command("git");
        git.arg("-C").arg(&self.tree).args(arguments);
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "A Developer")
                .env(format!("GIT_{who}_EMAIL"), "dev@example.org");
        }
        run(&mut git).ok().trim().to_owned()
    }

    /// Commits a version that builds, and returns the commit's id.
    pub fn commit(&self, version: &str) -> String {
        self.commit_that(version, "true")
    }

    /// Commits a version whose build does this, and returns the commit's id.
    pub fn commit_that(&self, version: &str, does: &str) -> String {
        let name = &self.name;
        self.write(
            "debian/changelog",
            &format!(
                "{name} ({version}) bookworm; urgency=medium\n\n  * Made for a test.\n\n -- A Developer <dev@example.org>  Mon, 23 Nov 2026 08:00:00 +0000\n"
            ),
        );
        self.write("debian/control", &control(name));
        self.write("debian/source/format", "3.0 (native)\n");
        self.write("debian/rules", &rules(name, version, does));
        fs::set_permissions(self.tree.join("debian/rules"), fs::Permissions::from_mode(0o755)).unwrap();
        self.commit_all(version)
    }

    /// Writes one file of the clone.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Commits everything, and returns the commit's id.
    pub fn commit_all(&self, message: &str) -> String {
        self.git(&["add", "--all", "--force"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Makes a site host the package, with what the clone has now.
    pub fn host(&self, site: &Site) {
        let tree = self.tree.to_str().unwrap();
        site.cli(&["repo", "create", &self.name, "--import", tree]).ok();
    }

    /// Pushes the clone's branch.
    pub fn push(&self, site: &Site) {
        let repository = site.repository(&self.name);
        self.git(&["push", "--quiet", "--force", repository.to_str().unwrap(), "HEAD:refs/heads/main"]);
    }

    /// Commits a version and pushes it.
    pub fn publishable(&self, site: &Site, version: &str) -> String {
        let commit = self.commit(version);
        self.push(site);
        commit
    }
}

fn control(name: &str) -> String {
    format!(
        "Source: {name}\nMaintainer: A Developer <dev@example.org>\nSection: misc\nPriority: optional\nStandards-Version: 4.6.2\nRules-Requires-Root: no\n\nPackage: {name}\nArchitecture: all\nDescription: made for a test\n It holds one file.\n"
    )
}

/// Returns the `debian/rules` of a package without build dependencies, which so builds in the shortest time.
fn rules(name: &str, version: &str, does: &str) -> String {
    let mut text = String::from("#!/usr/bin/make -f\nbuild build-arch build-indep:\n");
    let _ = writeln!(text, "\t{does}");
    text.push_str("clean:\n\trm -rf debian/tmp debian/files\nbinary-arch:\nbinary binary-indep: build\n");
    for line in [
        format!("mkdir -p debian/tmp/DEBIAN debian/tmp/usr/share/{name}"),
        format!("echo {version} > debian/tmp/usr/share/{name}/version"),
        format!("dpkg-gencontrol -p{name}"),
        "dpkg-deb --root-owner-group --build debian/tmp ..".to_owned(),
    ] {
        let _ = writeln!(text, "\t{line}");
    }
    text.push_str(".PHONY: build build-arch build-indep clean binary binary-arch binary-indep\n");
    text
}
