//! reprepro and aptly, as their manuals say that they are used.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use invirtibuilder_core::error::BoxError;

use crate::measure::{Peer, Plan, expect};
use crate::packages::Package;

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
        // The only command that takes several source packages (reprepro(1), processincoming).
        let (incoming, temporary) = (self.root(plan).join("incoming"), self.root(plan).join("temporary"));
        let rules = format!(
            "Name: all\nIncomingDir: {}\nTempDir: {}\nAllow: unstable\n",
            incoming.display(),
            temporary.display()
        );
        std::fs::write(self.root(plan).join("conf/incoming"), rules)?;
        std::fs::create_dir_all(&incoming)?;
        std::fs::create_dir_all(&temporary)?;
        for package in plan.all() {
            for file in std::fs::read_dir(&package.directory)? {
                let file = file?;
                std::fs::hard_link(file.path(), incoming.join(file.file_name()))?;
            }
        }
        let begun = Instant::now();
        expect(self.command(plan).args(["processincoming", "all"]))?;
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
        command.args(["publish", what, "-batch"]);
        if what == "repo" {
            command.arg("-acquire-by-hash");
        }
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
        let configuration = format!(
            "{{\"rootDir\": \"{}\", \"architectures\": [\"amd64\", \"source\"], \"gpgProvider\": \"gpg\"}}",
            root.display()
        );
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
