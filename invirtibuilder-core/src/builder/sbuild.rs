//! Builds by sbuild, as an account without privilege, inside namespaces that die with the run and have no network.
//!
//! | step | network | whose code runs |
//! |---|---|---|
//! | the base is made ([`Bases`]) | the mirror | mmdebstrap's |
//! | apt says which packages are needed, and fetches them | the mirror | this machine's apt |
//! | sbuild unpacks the base, installs them and builds | none | maintainer scripts, the package's |
//!
//! The packages are given to sbuild as the only repository that its chroot's apt has lists of. Never reads what sbuild
//! prints. Its exit status says what happened (main in sbuild 0.85 to 0.91):
//!
//! | status | sbuild's | ours |
//! |---|---|---|
//! | 0 | successful, or skipped because no package is for this architecture | success if a `.changes` is there, else [`BuildError::Attempted`] |
//! | 2 | attempted: it failed while the package was built | [`BuildError::Attempted`] |
//! | 3 | given-back: it failed before, such as while the build dependencies were installed, all of which were at hand | [`BuildError::Attempted`] |
//! | other | failed: the base could not be unpacked, sbuild was misused or killed | [`BuildError::GivenBack`] |
//!
//! That is its `unshare` mode. In its `autopkgtest` mode all that happens in a virtual machine: see `machine`. In its
//! `schroot` mode, in place of the base there is a chroot that somebody made, and
//! maintainer scripts are root of this machine: see `schroot`.
//!
//! Needs that nothing meets are known before sbuild is started; they too are the package's fault.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::error::{BoxError, BuildError};
use crate::names::{Architecture, BaseName, PackageName};
use crate::process::{self, ProcessError};
use crate::provenance::UsedBase;
use crate::publisher::local::LocalSource;
use crate::states::SourcePackage;
use crate::stop::Interrupt;

use super::account::Account;
use super::base::{Base, BaseSpec, Bases};
use super::limits::{Groups, Resource};
use super::overlay::dependencies::{self, Against, Needs, Package, Question};
use super::overlay::room::End;
use super::overlay::store::Store;
use super::overlay::vm::Machine;
use super::overlay::{
    Domain, LAYERS, Trouble, Workplace, layer, memory, owner_of, remove_leftovers, tree, walls_of,
};
use super::results::{self, Refused};
use super::scratch::{Entry, Part, Scratch};
use super::walls::Walls;
use super::{Builder, Target, architectures};

mod checks;
pub mod enclosure;
mod machine;
mod perl;
pub(in crate::builder) mod repository;
mod schroot;

pub(in crate::builder) use checks::check_base;
pub(crate) use checks::program;
use enclosure::{Enclosure, Privilege, Space};
use schroot::Chroot;

/// The account that builds run as when this process is root and nothing else is configured.
pub const ACCOUNT: &str = "invirtibuilder-build";

pub use super::limits::BuildLimits;

/// Where the build dependencies are in sbuild's chroot.
const DEPENDENCIES: &str = "/build-dependencies";

/// How sbuild makes its environments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It unpacks a base, in a user namespace.
    #[default]
    Unshare,
    /// It uses schroot's chroots, by their names; a base that has none here has sbuild's default.
    Schroot(BTreeMap<BaseName, String>),
    /// It uses a virtual machine (its `autopkgtest` mode).
    Qemu(Machine),
}

/// What an [`SbuildBuilder`] is made from.
#[derive(Clone, Debug)]
pub struct SbuildConfig {
    /// The distributions to build in.
    pub bases: BTreeMap<BaseName, BaseSpec>,
    /// The directory of the bases' tarballs: absolute, and reachable by every account.
    pub cache: PathBuf,
    /// The directory of lists and packages, as [`OverlayConfig::store`](super::overlay::OverlayConfig::store), which
    /// may be the same.
    pub store: PathBuf,
    /// The directory of what builds throw away: absolute, and reachable by every account. A build takes about
    /// 600 MB and what the package itself needs.
    pub scratch: PathBuf,
    /// The account that builds run as if this process is root; else they run as this process's own.
    pub account: String,
    /// What a build may use.
    pub limits: BuildLimits,
    /// How sbuild makes its environments.
    pub mode: Mode,
    /// The program with the hidden command `room`, which is the first process of every build: `invirtibuilder` itself.
    pub helper: PathBuf,
}

/// Builds by sbuild. See the module.
#[derive(Debug)]
pub struct SbuildBuilder {
    bases: Bases,
    store: Store,
    scratch: Scratch,
    account: String,
    limits: BuildLimits,
    mode: Mode,
    helper: PathBuf,
    archive: Option<LocalSource>,
}

impl SbuildBuilder {
    /// Takes the configuration. Looks at nothing: [`SbuildBuilder::check`] does.
    #[must_use]
    pub fn new(config: SbuildConfig) -> Self {
        let SbuildConfig { bases, cache, store, scratch, account, limits, mode, helper } = config;
        let (bases, store) = (Bases::new(&cache, bases), Store::new(&store));
        Self { bases, store, scratch: Scratch::new(&scratch), account, limits, mode, helper, archive: None }
    }

    /// Returns the chroot of a base, in the mode that has some.
    fn chroot(&self, base: &BaseName, architecture: &Architecture) -> Result<Option<Chroot>, BoxError> {
        let Mode::Schroot(names) = &self.mode else { return Ok(None) };
        let name = names.get(base).cloned();
        Chroot::find(&name.unwrap_or_else(|| schroot::default_name(base, architecture))).map(Some)
    }

    /// Lets builds see what the site serves, as far as their pockets say so (`build_against`).
    #[must_use]
    pub fn with_archive(mut self, archive: Option<LocalSource>) -> Self {
        self.archive = archive;
        self
    }

    fn walls(&self, groups: &Groups) -> Result<Walls, BoxError> {
        Ok(walls_of(Account::find(&self.account)?, &self.limits, groups))
    }

    fn run(
        &self,
        source: &SourcePackage,
        target: &Target,
        into: &Path,
        log: &mut (dyn Write + Send),
        interrupt: &dyn Interrupt,
    ) -> Result<PathBuf, Trouble> {
        let architecture = &target.architecture;
        architectures::runs(architecture)?;
        let groups = Groups::detect();
        let walls = self.walls(&groups)?;
        // What makes bases and fetches packages is ours, and not bound as builds are.
        let ours = Walls::new(walls.account().clone(), self.limits.processes);
        let place = Workplace {
            store: &self.store,
            walls: &ours,
            helper: &self.helper,
            limits: self.limits,
            groups: &groups,
            owner: owner_of(&self.scratch),
            interrupt,
        };
        let (environment, tree) = if let Some(chroot) = self.chroot(&target.base, architecture)? {
            if !walls.account().is_other() {
                return Err(Trouble::Machine(schroot::NOT_ROOT.into()));
            }
            let tree = tree::of_directory(&chroot.directory)?;
            (Environment::Chroot(chroot), tree)
        } else {
            let base = self.bases.ensure(&target.base, architecture, &self.scratch, &ours, log, interrupt)?;
            let tree = tree::ensure(&place, &base, &target.base, architecture, log)?;
            let environment = match self.mode {
                Mode::Qemu(it) => Environment::Machine(
                    base,
                    Box::new(machine::ensure(&place, &tree, architecture, it, log)?),
                ),
                Mode::Unshare | Mode::Schroot(_) => Environment::Base(base),
            };
            (environment, tree)
        };
        let domain = Domain::of(source.plan().pocket());
        let needs = Needs::of(source.control().paragraph(), target.with_all);
        let against = Against::new(self.archive.as_ref(), &source.plan().pocket().building.build_against)?;
        let question = Question { tree: &tree, architecture, needs: &needs, domain: &domain, against };
        let packages = dependencies::resolve(&place, &question, &|_| Ok(false), log)?;
        // A machine is bound by what it has, and its disk may be a larger file than a build may write.
        let walls = if let Environment::Machine(..) = environment { ours.clone() } else { walls };
        let entry = self.scratch.enter(&walls)?;
        let run = Run {
            source,
            target,
            environment: &environment,
            walls: &walls,
            entry: &entry,
            packages: &packages,
            place: &place,
        };
        let result = run.run(into, log);
        entry.remove()?;
        layer::evict(&self.store, &walls, LAYERS)?;
        result
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
        target.refuse_variation("sbuild")?;
        self.run(source, target, into, log, interrupt).map_err(|trouble| trouble.of(source))
    }

    fn protected(
        &self,
        base: &BaseName,
        architecture: &Architecture,
    ) -> Result<BTreeSet<PackageName>, BuildError> {
        match self.chroot(base, architecture).map_err(BuildError::Backend)? {
            Some(chroot) => tree::packages_in(&chroot.directory).map_err(BuildError::Backend),
            None => self.bases.packages(base, architecture).map_err(BuildError::Backend),
        }
    }

    fn base(&self, _: &SourcePackage, target: &Target) -> Option<UsedBase> {
        // A chroot of schroot's has no sum: it may change at any time.
        let is_ours = matches!(self.chroot(&target.base, &target.architecture), Ok(None));
        self.bases.used(&target.base, &target.architecture).filter(|_| is_ours)
    }

    fn clean_up(&self) -> Result<(), BuildError> {
        let groups = Groups::detect();
        remove_leftovers(&self.scratch, &self.store, &|| self.walls(&groups), &groups)
            .map_err(BuildError::Backend)
    }
}

/// What sbuild builds in.
enum Environment {
    Base(Base),
    Machine(Base, Box<machine::Parts>),
    Chroot(Chroot),
}

/// One run of sbuild.
struct Run<'a> {
    place: &'a Workplace<'a>,
    source: &'a SourcePackage,
    target: &'a Target,
    environment: &'a Environment,
    walls: &'a Walls,
    entry: &'a Entry,
    packages: &'a [Package],
}

impl Run<'_> {
    fn run(&self, into: &Path, log: &mut (dyn Write + Send)) -> Result<PathBuf, Trouble> {
        let machine = |e: BoxError| Trouble::Machine(e);
        let limits = self.place.limits;
        for file in self.source.control().files() {
            let name = file.name.as_str();
            let copied = self.entry.part(Part::Input).join(name);
            let from = self.source.control().directory().join(name);
            let copy =
                durable::scratch::copy(&from, &copied).and_then(|()| durable::set_mode(&copied, 0o644));
            copy.map_err(|e| machine(e.into()))?;
        }
        if let Environment::Chroot(_) = self.environment {
            schroot::prepare(&self.entry.part(Part::Chroots), self.walls.account())?;
        }
        repository::make(self.place.store, self.packages, &self.dependencies())?;
        let space = self.space()?;
        self.write_header(&space, log).map_err(|e| machine(e.into()))?;
        let mut bounds = limits;
        if let Space::Memory(_, bytes) = &space {
            // What is written to memory counts as memory.
            bounds.memory = limits.memory.map(|it| it.saturating_add(*bytes));
        }
        if let Environment::Machine(_, machine) = self.environment {
            bounds.memory = Some(machine.memory());
        }
        let group =
            self.place.groups.make(&format!("{}-{}", self.place.owner, self.entry.name()), &bounds)?;
        let plan = self.plan(space.clone())?;
        let (home, file) = (self.entry.part(Part::Home), self.entry.part(Part::Input).join("plan.json"));
        let command = enclosure::command(self.place.helper, self.walls, Some(&group), &plan, &home, &file)?;
        let bounds = process::Limits { time: limits.time, silence: limits.silence, output: limits.log };
        let status = match command.limits(bounds).run_logged(log, self.place.interrupt) {
            Ok(status) => status,
            Err(ProcessError::Interrupted { .. }) => return Err(Trouble::Interrupted),
            Err(ProcessError::Limit { limit, .. }) => {
                writeln!(log, "\ninvirtibuilder: the build was ended: {limit}")
                    .map_err(|e| machine(e.into()))?;
                return Err(Trouble::Package(format!("it was ended, because {limit}")));
            }
            Err(e) => return Err(machine(e.into())),
        };
        if status.code() == Some(0) {
            let taken = results::take(&self.entry.part(Part::Output), into, limits.results);
            return taken.map_err(|refused| match refused {
                Refused::Build(problem) => Trouble::Package(problem),
                Refused::Backend(e) => Trouble::Machine(e),
            });
        }
        let reached = [Resource::Memory, Resource::Processes].into_iter().find(|it| group.has_reached(*it));
        let trouble = trouble(status.code(), reached, &space, &limits);
        if let Trouble::Package(problem) | Trouble::Moment(problem) = &trouble {
            writeln!(log, "\ninvirtibuilder: {problem}").map_err(|e| machine(e.into()))?;
        }
        Err(trouble)
    }

    /// Decides where the build writes: to memory, if there is a limit of which there is twice as much.
    fn space(&self) -> Result<Space, BoxError> {
        let at = self.entry.part(Part::Chroots);
        let Environment::Base(base) = self.environment else {
            return Ok(Space::Disk(at, self.place.limits.disk));
        };
        // What the base takes counts for us and not for the build.
        let base = std::fs::metadata(&base.tarball)?.len();
        let limit = self.place.limits.disk.map(|it| it.saturating_add(base));
        Ok(match limit {
            Some(bytes) if bytes <= memory::available_now() / 2 => Space::Memory(at, bytes),
            limit => Space::Disk(at, limit),
        })
    }

    /// Writes sbuild's configuration; returns how it is called.
    fn plan(&self, space: Space) -> Result<Enclosure, BoxError> {
        let home = self.entry.part(Part::Home);
        let settings = self.entry.part(Part::Input).join("sbuild.conf");
        let chroots = self.entry.part(Part::Chroots);
        let (environment, dependencies) = match self.environment {
            Environment::Base(base) => {
                let chroot = format!("--chroot={}", base.tarball.display());
                (vec!["--chroot-mode=unshare".to_owned(), chroot], DEPENDENCIES)
            }
            Environment::Machine(_, machine) => {
                (machine.prepare(self.entry, self.walls, &self.dependencies())?, DEPENDENCIES)
            }
            Environment::Chroot(chroot) => {
                let chroot = format!("--chroot={}", chroot.name);
                (vec!["--chroot-mode=schroot".to_owned(), chroot], schroot::DEPENDENCIES)
            }
        };
        let mut text = perl::settings(&[
            ("unshare_tmpdir_template", &chroots.join("XXXXXXXX").to_string_lossy()),
            ("log_dir", &home.to_string_lossy()),
            ("stats_dir", &home.join("stats").to_string_lossy()),
            ("run_lintian", "0"),
            ("run_piuparts", "0"),
            ("run_autopkgtest", "0"),
            ("log_colour", "0"),
            ("bd_uninstallable_explainer", "none"),
            // What was fetched meets the needs in the way that apt chose.
            ("resolve_alternatives", "1"),
            ("apt_update", "0"),
            ("apt_upgrade", "0"),
            ("apt_distupgrade", "0"),
            // Minutes; the limit of silence is ours to watch.
            ("stalled_pkg_timeout", &(self.place.limits.silence.as_secs() / 60 + 60).to_string()),
        ]);
        if let Environment::Base(_) = self.environment {
            text.push_str(&perl::bind_mounts(&[(&self.dependencies(), Path::new(DEPENDENCIES))]));
        }
        text.push_str(perl::END);
        durable::write(&settings, text.as_bytes())?;
        durable::set_mode(&settings, 0o644)?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut arguments: Vec<String> = ["--no-source", "--nolog", "--batch"].map(str::to_owned).into();
        arguments.extend(environment);
        arguments.extend([
            format!("--dist={}", self.target.base),
            format!("--arch={}", self.target.architecture),
            if self.target.with_all { "--arch-all" } else { "--no-arch-all" }.to_owned(),
            format!("--extra-repository={}", repository::source_line(dependencies)),
            "--".to_owned(),
            self.dsc().display().to_string(),
        ]);
        let mut binds = Vec::new();
        let mut temporary = home.clone();
        if let Environment::Machine(_, machine) = self.environment {
            binds = machine.binds(&home);
            temporary = machine::short(&home).at;
        }
        let variables = [
            ("SBUILD_CONFIG", settings.display().to_string()),
            ("DEB_BUILD_OPTIONS", format!("parallel={cores}")),
            ("HOME", home.display().to_string()),
            ("TMPDIR", temporary.display().to_string()),
            ("USER", self.walls.account().name().to_owned()),
            ("LOGNAME", self.walls.account().name().to_owned()),
        ];
        let mut plan = Enclosure {
            program: "sbuild".to_owned(),
            arguments,
            environment: variables.map(|(name, value)| (name.to_owned(), value)).into(),
            directory: self.entry.part(Part::Output),
            space,
            binds,
            privilege: Privilege::Account,
        };
        if let Environment::Chroot(_) = self.environment {
            schroot::furnish(&mut plan, &chroots, self.walls)?;
        }
        Ok(plan)
    }

    fn dependencies(&self) -> PathBuf {
        match self.environment {
            Environment::Base(_) | Environment::Machine(..) => {
                self.entry.part(Part::Input).join("dependencies")
            }
            Environment::Chroot(_) => schroot::dependencies(&self.entry.part(Part::Chroots)),
        }
    }

    fn dsc(&self) -> PathBuf {
        let name = self.source.control().path().file_name().unwrap_or_default();
        self.entry.part(Part::Input).join(name)
    }

    fn write_header(&self, space: &Space, log: &mut dyn Write) -> std::io::Result<()> {
        let plan = self.source.plan();
        let (package, version, commit) = (plan.package(), plan.version(), plan.commit());
        writeln!(log, "invirtibuilder: source {package} {version} from commit {commit}")?;
        for file in self.source.control().files() {
            writeln!(log, "invirtibuilder:   {} {}", file.sha256, file.name)?;
        }
        let mode = match self.environment {
            Environment::Base(Base { sha256, made, .. })
            | Environment::Machine(Base { sha256, made, .. }, _) => {
                writeln!(log, "invirtibuilder: base {} of {made}, SHA-256 {sha256}", self.target.base)?;
                if let Environment::Machine(_, machine) = self.environment {
                    writeln!(log, "invirtibuilder: {}", machine.describe())?;
                    "autopkgtest"
                } else {
                    "unshare"
                }
            }
            Environment::Chroot(Chroot { name, directory }) => {
                writeln!(log, "invirtibuilder: the chroot {name} in {}", directory.display())?;
                "schroot"
            }
        };
        writeln!(log, "invirtibuilder: {} packages more, without network", self.packages.len())?;
        let all = if self.target.with_all { " and all" } else { "" };
        let account = self.walls.account().name();
        let space = match space {
            Space::Memory(_, bytes) => format!("in {} MiB of memory", bytes >> 20),
            Space::Disk(..) => "on disk".to_owned(),
        };
        let architecture = &self.target.architecture;
        writeln!(
            log,
            "invirtibuilder: sbuild --chroot-mode={mode} for {architecture}{all}, as {account}, {space}"
        )
    }
}

/// Says whose fault it is that a run failed.
fn trouble(code: Option<i32>, reached: Option<Resource>, space: &Space, limits: &BuildLimits) -> Trouble {
    let bytes = |it: Option<u64>| it.map_or_else(String::new, |it| format!(" of {it} bytes"));
    match (End::of(code), space) {
        _ if reached == Some(Resource::Memory) => {
            Trouble::Package(format!("it needed more than its memory{}", bytes(limits.memory)))
        }
        (Some(End::DiskLimit), _) | (Some(End::DiskFull), Space::Memory(..)) => {
            Trouble::Package(format!("it wrote more than its limit{}", bytes(limits.disk)))
        }
        (Some(End::DiskFull), Space::Disk(..)) => Trouble::Moment("the disk of builds is full".to_owned()),
        _ if reached == Some(Resource::Processes) => {
            Trouble::Package(format!("it failed, after it had reached its {} processes", limits.processes))
        }
        _ => match code {
            Some(2) => Trouble::Package(
                "sbuild says `attempted` (exit status 2); the end of the log says why".to_owned(),
            ),
            Some(3) => Trouble::Package(
                "sbuild says `given-back` (exit status 3): the build did not begin, most often because a build dependency cannot be installed, though all were at hand; the end of the log says why".to_owned(),
            ),
            Some(code) => {
                Trouble::Moment(format!("sbuild itself failed with status {code}; the end of the log says why"))
            }
            None => Trouble::Moment("sbuild was killed".to_owned()),
        },
    }
}
