//! One build in a room: from the source package to the results that it left.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::layer::Layer;
use super::memory::Space;
use super::room::{BUILD, Plan, Shown, Step, User};
use super::tree::Tree;
use super::{Domain, Trouble, Workplace};
use crate::builder::Target;
use crate::builder::base::Base;
use crate::builder::results::{self, Refused};
use crate::builder::scratch::{Entry, Part};
use crate::durable::{self, scratch};
use crate::error::BoxError;
use crate::states::SourcePackage;

/// One build in a room.
pub(super) struct Build<'a> {
    pub(super) place: &'a Workplace<'a>,
    pub(super) source: &'a SourcePackage,
    pub(super) target: &'a Target,
    pub(super) base: &'a Base,
    pub(super) tree: &'a Tree,
    pub(super) layer: &'a Layer,
}

impl Build<'_> {
    /// Builds in a room of its own, and takes the results.
    pub(super) fn run(
        &self,
        entry: &Entry,
        space: Space,
        into: &Path,
        log: &mut (dyn Write + Send),
    ) -> Result<PathBuf, Trouble> {
        let machine = |e: BoxError| Trouble::Machine(e);
        let shown = entry.part(Part::Input).join("source");
        scratch::create_directory(&shown, 0o755).map_err(|e| machine(e.into()))?;
        for file in self.source.control().files() {
            let name = file.name.as_str();
            let (from, to) = (self.source.control().directory().join(name), shown.join(name));
            let copied = scratch::copy(&from, &to).and_then(|()| durable::set_mode(&to, 0o644));
            copied.map_err(|e| machine(e.into()))?;
        }
        let output = entry.part(Part::Output);
        let plan = Plan {
            lower: vec![self.layer.root(), self.tree.root()],
            upper: (space == Space::Disk).then(|| entry.part(Part::Chroots)),
            memory: space.bytes(),
            disk: self.place.limits.disk,
            shown: vec![Shown { from: shown, at: "/build/source".into() }],
            user: User::Builder,
            steps: self.steps(),
            results: Some(output.clone()),
        };
        self.place.run_room(&plan, entry, log)?;
        results::take(&output, into, self.place.limits.results).map_err(|refused| match refused {
            Refused::Build(problem) => Trouble::Package(problem),
            Refused::Backend(e) => Trouble::Machine(e),
        })
    }

    fn steps(&self) -> Vec<Step> {
        let plan = self.source.plan();
        let tree = format!("{BUILD}/{}-{}", plan.package(), plan.version().upstream());
        let dsc = self.source.control().path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let environment: Vec<_> = [
            ("HOME", "/nonexistent".to_owned()),
            ("USER", "builder".to_owned()),
            ("LOGNAME", "builder".to_owned()),
            ("DEB_BUILD_OPTIONS", format!("parallel={cores}")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let step = |program: &str, arguments: Vec<String>, directory: &str| Step {
            program: program.to_owned(),
            arguments,
            directory: directory.into(),
            environment: environment.clone(),
        };
        // Hashes were checked when the source package was taken in; there is no key to check a signature with.
        let unpack = ["--no-check", "--extract", "--"].map(str::to_owned).into_iter();
        let unpack = unpack.chain([format!("/build/source/{dsc}"), tree.clone()]).collect();
        let kind = if self.target.with_all { "--build=binary" } else { "--build=any" };
        let build = vec![kind.to_owned(), "--no-sign".to_owned()];
        vec![step("dpkg-source", unpack, BUILD), step("dpkg-buildpackage", build, &tree)]
    }

    /// Writes what is built, and in what, to the log.
    pub(super) fn write_header(
        &self,
        domain: &Domain,
        packages: usize,
        space: Space,
        log: &mut dyn Write,
    ) -> std::io::Result<()> {
        let plan = self.source.plan();
        let (package, version, commit) = (plan.package(), plan.version(), plan.commit());
        writeln!(log, "invirtibuilder: source {package} {version} from commit {commit}")?;
        for file in self.source.control().files() {
            writeln!(log, "invirtibuilder:   {} {}", file.sha256, file.name)?;
        }
        let Base { sha256, made, .. } = self.base;
        writeln!(log, "invirtibuilder: base {} of {made}, SHA-256 {sha256}", self.target.base)?;
        writeln!(log, "invirtibuilder: {packages} packages more, in a layer for {domain}")?;
        let all = if self.target.with_all { " and all" } else { "" };
        let account = self.place.walls.account().name();
        writeln!(log, "invirtibuilder: overlay for {}{all}, as {account}, {space}", self.target.architecture)
    }
}
