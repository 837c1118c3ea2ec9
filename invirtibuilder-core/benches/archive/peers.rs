//! reprepro and aptly, as their manuals say that they are used.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use invirtibuilder_core::error::BoxError;

use crate::measure::{Peer, Plan, expect};
use crate::packages::Package;

/// How many files one command takes: less than an argument vector holds.
const AT_ONCE: usize = 8000;

/// Real reprepro.
#[derive(Debug)]
pub(crate) struct Reprepro {
    pub(crate) xz: bool,
}

impl Reprepro {
    fn root(&self, plan: &Plan) -> PathBuf {
        plan.root.join(if self.xz { "reprepro-xz" } else { "reprepro" })
    }

    fn command(&self, plan: &Plan) -> Command {
        let mut command = Command::new("reprepro");
        command.arg("-b").arg(self.root(plan)).args(["--silent", "--ignore=wrongdistribution"]);
        command.env("GNUPGHOME", plan.root.join("gpg"));
        command
    }
}

impl Peer for Reprepro {
    fn name(&self) -> String {
        format!("reprepro {}", if self.xz { "gz+xz" } else { "gz" })
    }

    fn fill(&self, plan: &Plan) -> Result<Duration, BoxError> {
        let forms = if self.xz { ".gz .xz" } else { ".gz" };
        let suite = |it: &str| {
            format!(
                "Codename: {it}\nArchitectures: amd64 source\nComponents: main\nSignWith: {}\nDebIndices: Packages Release . {forms}\nDscIndices: Sources Release {forms}\n",
                plan.key
            )
        };
        std::fs::create_dir_all(self.root(plan).join("conf"))?;
        let suites = [suite("stable"), suite("unstable")].join("\n");
        std::fs::write(self.root(plan).join("conf/distributions"), suites)?;
        let packages = plan.all();
        let debs: Vec<PathBuf> = packages.iter().flat_map(Package::debs).collect();
        let dscs: Vec<PathBuf> = packages.iter().map(Package::dsc).collect();
        let begun = Instant::now();
        for files in debs.chunks(AT_ONCE) {
            expect(self.command(plan).args(["--export=silent-never", "includedeb", "unstable"]).args(files))?;
        }
        let chunks = dscs.len().div_ceil(AT_ONCE);
        for (at, files) in dscs.chunks(AT_ONCE).enumerate() {
            let export = if at + 1 == chunks { "--export=changed" } else { "--export=silent-never" };
            expect(self.command(plan).args([export, "includedsc", "unstable"]).args(files))?;
        }
        // All in one where the last command did not see the binary packages change.
        expect(self.command(plan).args(["export", "unstable"]))?;
        Ok(begun.elapsed())
    }

    fn publish(&self, plan: &Plan, package: &Package) -> Result<Vec<Command>, BoxError> {
        let mut command = self.command(plan);
        command.args(["include", "unstable"]).arg(package.changes());
        Ok(vec![command])
    }

    fn copy(&self, plan: &Plan, package: &Package) -> Result<Vec<Command>, BoxError> {
        let mut command = self.command(plan);
        command.args(["copysrc", "stable", "unstable", &package.name]);
        Ok(vec![command])
    }
}

/// Real aptly.
#[derive(Debug)]
pub(crate) struct Aptly {
    /// Whether it lists the files of packages, and compresses with bzip2 too, as it does unless it is told not to.
    pub(crate) all: bool,
}

impl Aptly {
    fn root(&self, plan: &Plan) -> PathBuf {
        plan.root.join(if self.all { "aptly-all" } else { "aptly" })
    }

    fn command(&self, plan: &Plan) -> Command {
        let mut command = Command::new("aptly");
        command.arg(format!("-config={}", self.root(plan).join("conf").display()));
        command.env("GNUPGHOME", plan.root.join("gpg")).env("TMPDIR", self.root(plan));
        command
    }

    fn publication(&self, plan: &Plan, what: &str) -> Command {
        let mut command = self.command(plan);
        command.args(["publish", what, "-batch", "-acquire-by-hash"]);
        if !self.all {
            command.args(["-skip-contents", "-skip-bz2"]);
        }
        command.arg(format!("-gpg-key={}", plan.key));
        command
    }
}

impl Peer for Aptly {
    fn name(&self) -> String {
        if self.all { "aptly default" } else { "aptly -skip-contents -skip-bz2" }.to_owned()
    }

    fn fill(&self, plan: &Plan) -> Result<Duration, BoxError> {
        let root = self.root(plan);
        std::fs::create_dir_all(&root)?;
        let configuration =
            format!("{{\"rootDir\": \"{}\", \"architectures\": [\"amd64\", \"source\"], \"gpgProvider\": \"gpg\"}}", root.display());
        std::fs::write(root.join("conf"), configuration)?;
        for suite in ["stable", "unstable"] {
            expect(self.command(plan).args(["repo", "create", suite]))?;
        }
        let first = plan.all().into_iter().next().ok_or("there is no package")?;
        expect(self.command(plan).args(["repo", "add", "stable"]).arg(&first.directory))?;
        let begun = Instant::now();
        expect(self.command(plan).args(["repo", "add", "unstable"]).arg(&plan.packages))?;
        expect(self.publication(plan, "repo").args(["-distribution=unstable", "unstable"]))?;
        let took = begun.elapsed();
        expect(self.publication(plan, "repo").args(["-distribution=stable", "stable"]))?;
        Ok(took)
    }

    fn publish(&self, plan: &Plan, package: &Package) -> Result<Vec<Command>, BoxError> {
        let mut add = self.command(plan);
        add.args(["repo", "add", "unstable"]).arg(&package.directory);
        let mut update = self.publication(plan, "update");
        update.arg("unstable");
        Ok(vec![add, update])
    }

    fn copy(&self, plan: &Plan, package: &Package) -> Result<Vec<Command>, BoxError> {
        let mut copy = self.command(plan);
        let version = &package.version;
        copy.args(["repo", "copy", "unstable", "stable"]);
        copy.args([&package.name, &format!("{}-doc", package.name)].map(|it| format!("{it} (= {version})")));
        let mut update = self.publication(plan, "update");
        update.arg("stable");
        Ok(vec![copy, update])
    }
}

/// Returns whether a program is installed.
pub(crate) fn is_installed(program: &str) -> bool {
    Path::new("/usr/bin").join(program).is_file()
}
