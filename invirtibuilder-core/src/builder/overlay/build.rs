//! One build in a room: from the source package to the results that it left.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::layer::Layer;
use super::memory::Space;
use super::room::{BUILD, Keep, Plan, Shown, Step, Surroundings, User};
use super::tree::Tree;
use super::{Domain, Trouble, Workplace};
use crate::builder::base::Base;
use crate::builder::results::{self, Refused};
use crate::builder::scratch::{Entry, Part};
use crate::builder::{Target, Variation};
use crate::durable::{self, scratch};
use crate::error::BoxError;
use crate::names::BaseName;
use crate::states::SourcePackage;

/// Returns the environment of the steps of a build.
fn environment(variation: Variation) -> Vec<(String, String)> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (user, home, jobs) = match variation {
        Variation::None => (Surroundings::usual().name, "/nonexistent", cores),
        Variation::All => (Surroundings::other().name, "/nonexistent/second", if cores == 1 { 2 } else { 1 }),
    };
    let mut environment = vec![
        ("HOME", home.to_owned()),
        ("USER", user.clone()),
        ("LOGNAME", user),
        ("DEB_BUILD_OPTIONS", format!("parallel={jobs}")),
    ];
    if variation == Variation::All {
        // A time zone without a name, so that no package of time zones is needed.
        environment.push(("TZ", "<+14>-14".to_owned()));
        environment.push(("LC_ALL", "C".to_owned()));
        environment.push(("CAPTURED_BY_THE_BUILD", "it should not be in the package".to_owned()));
    }
    environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

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
        keep: Option<Keep>,
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
            surroundings: match self.target.variation {
                Variation::None => Surroundings::usual(),
                Variation::All => Surroundings::other(),
            },
            steps: steps(self.source, self.target),
            results: Some(output.clone()),
            keep,
        };
        self.place.run_room(&plan, entry, log)?;
        results::take(&output, into, self.place.limits.results).map_err(|refused| match refused {
            Refused::Build(problem) => Trouble::Package(problem),
            Refused::Backend(e) => Trouble::Machine(e),
        })
    }

    /// Writes what is built, and in what, to the log.
    pub(super) fn write_header(
        &self,
        domain: &Domain,
        packages: usize,
        space: Space,
        log: &mut dyn Write,
    ) -> std::io::Result<()> {
        write_header(self.source, &self.target.base, self.base, log)?;
        writeln!(log, "invirtibuilder: {packages} packages more, in a layer for {domain}")?;
        if self.target.variation == Variation::All {
            writeln!(
                log,
                "invirtibuilder: with another user, host, locale, time zone, umask and directory order"
            )?;
        }
        let all = if self.target.with_all { " and all" } else { "" };
        let account = self.place.walls.account().name();
        writeln!(log, "invirtibuilder: overlay for {}{all}, as {account}, {space}", self.target.architecture)
    }
}

/// Returns what is done to build a package, in every environment that is ours.
pub(super) fn steps(source: &SourcePackage, target: &Target) -> Vec<Step> {
    let plan = source.plan();
    let tree = format!("{BUILD}/{}-{}", plan.package(), plan.version().upstream());
    let dsc = source.control().path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let environment = environment(target.variation);
    let step = |program: &str, arguments: Vec<String>, directory: &str| Step {
        program: program.to_owned(),
        arguments,
        directory: directory.into(),
        environment: environment.clone(),
    };
    // Hashes were checked when the source package was taken in; there is no key to check a signature with.
    let unpack = ["--no-check", "--extract", "--"].map(str::to_owned).into_iter();
    let unpack = unpack.chain([format!("/build/source/{dsc}"), tree.clone()]).collect();
    let kind = if target.with_all { "--build=binary" } else { "--build=any" };
    let build = vec![kind.to_owned(), "--no-sign".to_owned()];
    let build = match target.architecture.as_str() {
        // What the kernel calls the machine is what many build systems believe (uname(2)).
        "i386" => {
            let words = ["linux32", "dpkg-buildpackage"].map(str::to_owned).into_iter();
            step("setarch", words.chain(build).collect(), &tree)
        }
        _ => step("dpkg-buildpackage", build, &tree),
    };
    vec![step("dpkg-source", unpack, BUILD), build]
}

/// Writes which source package is built in which base to the log.
pub(super) fn write_header(
    source: &SourcePackage,
    name: &BaseName,
    base: &Base,
    log: &mut dyn Write,
) -> std::io::Result<()> {
    let plan = source.plan();
    let (package, version, commit) = (plan.package(), plan.version(), plan.commit());
    writeln!(log, "invirtibuilder: source {package} {version} from commit {commit}")?;
    for file in source.control().files() {
        writeln!(log, "invirtibuilder:   {} {}", file.sha256, file.name)?;
    }
    let Base { sha256, made, .. } = base;
    writeln!(log, "invirtibuilder: base {name} of {made}, SHA-256 {sha256}")
}
