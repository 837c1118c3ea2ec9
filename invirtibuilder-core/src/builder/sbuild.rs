//! Builds by sbuild in its `unshare` mode, as an account without privilege, inside namespaces that die with the run.
//!
//! Never reads what sbuild prints. Its exit status says what happened (main in sbuild 0.85):
//!
//! | status | sbuild's | ours |
//! |---|---|---|
//! | 0 | successful, or skipped because no package is for this architecture | success if a `.changes` is there, else [`BuildError::Attempted`] |
//! | 2 | attempted: it failed while the package was built | [`BuildError::Attempted`] |
//! | 3 | given-back: it failed before, such as while the build dependencies were installed | [`BuildError::GivenBack`] |
//! | other | failed: the base could not be unpacked, sbuild was misused or killed | [`BuildError::GivenBack`] |
//!
//! What is not limited: disk, memory, and the network while build dependencies are installed. The build itself has
//! no network but a loopback interface of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::durable;
use crate::error::{BoxError, BuildError};
use crate::names::{Architecture, BaseName, PackageName};
use crate::process::{self, Command, ProcessError};
use crate::states::SourcePackage;
use crate::stop::Interrupt;

use super::account::Account;
use super::base::{Base, BaseError, BaseSpec, Bases};
use super::results::{self, Refused};
use super::scratch::{Entry, Part, Scratch};
use super::walls::Walls;
use super::{Builder, Target, host_architecture};

mod checks;
mod perl;

pub(in crate::builder) use checks::check_base;
pub(crate) use checks::program;

/// The account that builds run as when this process is root and nothing else is configured.
pub const ACCOUNT: &str = "invirtibuilder-build";

pub use super::limits::BuildLimits;

/// What an [`SbuildBuilder`] is made from.
#[derive(Clone, Debug)]
pub struct SbuildConfig {
    /// The distributions to build in.
    pub bases: BTreeMap<BaseName, BaseSpec>,
    /// The directory of the bases' tarballs: absolute, and reachable by every account.
    pub cache: PathBuf,
    /// The directory of what builds throw away: absolute, and reachable by every account. A build takes about
    /// 600 MB and what the package itself needs.
    pub scratch: PathBuf,
    /// The account that builds run as if this process is root; else they run as this process's own.
    pub account: String,
    /// What a build may use.
    pub limits: BuildLimits,
}

/// Builds by sbuild. See the module.
#[derive(Debug)]
pub struct SbuildBuilder {
    bases: Bases,
    scratch: Scratch,
    account: String,
    limits: BuildLimits,
}

impl SbuildBuilder {
    /// Takes the configuration. Looks at nothing: [`SbuildBuilder::check`] does.
    #[must_use]
    pub fn new(config: SbuildConfig) -> Self {
        let SbuildConfig { bases, cache, scratch, account, limits } = config;
        Self { bases: Bases::new(&cache, bases), scratch: Scratch::new(&scratch), account, limits }
    }

    fn walls(&self) -> Result<Walls, BuildError> {
        let account = Account::find(&self.account).map_err(|e| BuildError::Backend(e.into()))?;
        Ok(Walls::new(account, self.limits.processes))
    }

    fn run(
        &self,
        run: &Run<'_>,
        into: &Path,
        log: &mut (dyn Write + Send),
        interrupt: &dyn Interrupt,
    ) -> Result<PathBuf, BuildError> {
        let Run { source, entry, .. } = run;
        for file in source.control().files() {
            let name = file.name.as_str();
            let copied = entry.part(Part::Input).join(name);
            durable::copy(&source.control().directory().join(name), &copied).map_err(backend)?;
            durable::set_mode(&copied, 0o644).map_err(backend)?;
        }
        let command = run.command(self.limits).map_err(BuildError::Backend)?;
        run.write_header(log).map_err(backend)?;
        let status = match command.run_logged(log, interrupt) {
            Ok(status) => status,
            Err(ProcessError::Interrupted { .. }) => return Err(BuildError::Interrupted),
            Err(ProcessError::Limit { limit, .. }) => {
                writeln!(log, "\ninvirtibuilder: the build was ended: {limit}").map_err(backend)?;
                return Err(attempted(source, format!("it was ended, because {limit}")));
            }
            Err(e) => return Err(backend(e)),
        };
        match status.code() {
            Some(0) => results::take(&entry.part(Part::Output), into, self.limits.results).map_err(|refused| match refused {
                Refused::Build(problem) => attempted(source, problem),
                Refused::Backend(e) => BuildError::Backend(e),
            }),
            Some(2) => Err(attempted(source, "sbuild says `attempted` (exit status 2); the end of the log says why".into())),
            Some(3) => Err(given_back(
                source,
                "sbuild says `given-back` (exit status 3): the build did not begin, most often because a build dependency cannot be installed; the end of the log says why".into(),
            )),
            _ => Err(given_back(source, format!("sbuild itself failed with {status}; the end of the log says why"))),
        }
    }
}

impl Builder for SbuildBuilder {
    fn build<'a>(
        &self,
        source: &SourcePackage,
        target: &Target,
        into: &Path,
        log: &mut (dyn Write + Send + 'a),
        interrupt: &(dyn Interrupt + 'a),
    ) -> Result<PathBuf, BuildError> {
        let host = host_architecture().map_err(BuildError::Backend)?;
        if target.architecture != host {
            let problem = format!(
                "building for {} on this machine, which is {host}, is not supported yet; remove it from the pocket's architectures",
                target.architecture
            );
            return Err(BuildError::Backend(problem.into()));
        }
        let started = Instant::now();
        let walls = self.walls()?;
        let base = self.bases.ensure(&target.base, &host, &self.scratch, &walls, log, interrupt);
        let base = base.map_err(|e| match e {
            BaseError::Interrupted => BuildError::Interrupted,
            e @ BaseError::Unavailable { .. } => given_back(source, e.to_string()),
            e @ BaseError::Backend { .. } => BuildError::Backend(e.into()),
        })?;
        let entry = self.scratch.enter(&walls).map_err(BuildError::Backend)?;
        let run = Run { source, target, base: &base, walls: &walls, entry: &entry };
        let result = self.run(&run, into, log, interrupt);
        let removed = entry.remove();
        let seconds = started.elapsed().as_secs_f64();
        tracing::info!(package = %source.plan().package(), seconds, success = result.is_ok(), "sbuild ended");
        match (result, removed) {
            (Ok(_), Err(e)) => Err(BuildError::Backend(e)),
            (result, _) => result,
        }
    }

    fn protected(
        &self,
        base: &BaseName,
        architecture: &Architecture,
    ) -> Result<BTreeSet<PackageName>, BuildError> {
        self.bases.packages(base, architecture).map_err(BuildError::Backend)
    }

    fn clean_up(&self) -> Result<(), BuildError> {
        if !self.scratch.directory().is_dir() {
            return Ok(());
        }
        self.scratch.remove_leftovers(&self.walls()?).map_err(BuildError::Backend)
    }
}

/// One run of sbuild.
struct Run<'a> {
    source: &'a SourcePackage,
    target: &'a Target,
    base: &'a Base,
    walls: &'a Walls,
    entry: &'a Entry,
}

impl Run<'_> {
    fn command(&self, limits: BuildLimits) -> Result<Command, BoxError> {
        let (home, dsc) = (self.entry.part(Part::Home), self.dsc());
        let settings = self.entry.part(Part::Input).join("sbuild.conf");
        let chroot = self.entry.part(Part::Chroots).join("XXXXXXXX");
        let text = perl::settings(&[
            ("unshare_tmpdir_template", &chroot.to_string_lossy()),
            ("log_dir", &home.to_string_lossy()),
            ("stats_dir", &home.join("stats").to_string_lossy()),
            ("run_lintian", "0"),
            ("run_piuparts", "0"),
            ("run_autopkgtest", "0"),
            ("log_colour", "0"),
            ("bd_uninstallable_explainer", "none"),
            // Minutes; the limit of silence is ours to watch.
            ("stalled_pkg_timeout", &(limits.silence.as_secs() / 60 + 60).to_string()),
        ]);
        durable::write(&settings, text.as_bytes())?;
        durable::set_mode(&settings, 0o644)?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let command = self
            .walls
            .command(&home, "sbuild")
            .args(["--chroot-mode=unshare", "--no-source", "--nolog", "--batch"])
            .arg(format!("--chroot={}", self.base.tarball.display()))
            .arg(format!("--dist={}", self.target.base))
            .arg(format!("--arch={}", self.target.architecture))
            .arg(if self.target.with_all { "--arch-all" } else { "--no-arch-all" })
            .arg("--")
            .arg(dsc);
        let limits = process::Limits { time: limits.time, silence: limits.silence, output: limits.log };
        Ok(command
            .env("SBUILD_CONFIG", settings)
            .env("DEB_BUILD_OPTIONS", format!("parallel={cores}"))
            .current_dir(&self.entry.part(Part::Output))
            .limits(limits))
    }

    fn dsc(&self) -> PathBuf {
        let name = self.source.control().path().file_name().unwrap_or_default();
        self.entry.part(Part::Input).join(name)
    }

    fn write_header(&self, log: &mut dyn Write) -> std::io::Result<()> {
        let plan = self.source.plan();
        writeln!(
            log,
            "invirtibuilder: source {} {} from commit {}",
            plan.package(),
            plan.version(),
            plan.commit()
        )?;
        for file in self.source.control().files() {
            writeln!(log, "invirtibuilder:   {} {}", file.sha256, file.name)?;
        }
        let Base { sha256, made, .. } = self.base;
        writeln!(log, "invirtibuilder: base {} of {made}, SHA-256 {sha256}", self.target.base)?;
        let all = if self.target.with_all { " and all" } else { "" };
        writeln!(
            log,
            "invirtibuilder: sbuild --chroot-mode=unshare for {}{all}, as {}",
            self.target.architecture,
            self.walls.account().name()
        )
    }
}

fn backend(e: impl Into<BoxError>) -> BuildError {
    BuildError::Backend(e.into())
}

fn attempted(source: &SourcePackage, problem: String) -> BuildError {
    let plan = source.plan();
    BuildError::Attempted { package: plan.package().clone(), version: plan.version().clone(), problem }
}

fn given_back(source: &SourcePackage, problem: String) -> BuildError {
    let plan = source.plan();
    BuildError::GivenBack { package: plan.package().clone(), version: plan.version().clone(), problem }
}
