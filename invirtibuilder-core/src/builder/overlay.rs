//! Builds in rooms of our own: a kernel overlay of a base, a layer with the build dependencies, and a throw-away
//! directory, without network and without privilege.
//!
//! | step | network | whose code runs | kept as |
//! |---|---|---|---|
//! | the base is made ([`Bases`]) and unpacked | the mirror | mmdebstrap's | a tree |
//! | apt says which packages are needed, and fetches them | the mirror | this machine's apt | lists, packages by their hash |
//! | they are installed | none | maintainer scripts, in a room | a layer, for the pocket's domain of trust |
//! | the package is built | none | the package's, in a room | nothing |
//!
//! Whose fault a failure is: needs that no package meets, packages that cannot be installed, and a build that fails or
//! reaches a limit are the source package's ([`BuildError::Attempted`]); a mirror that does not answer is the
//! moment's ([`BuildError::GivenBack`]); a room that cannot be made is the machine's ([`BuildError::Backend`]).
//!
//! Never reads what a program prints to decide whether it succeeded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{BoxError, BuildError};
use crate::names::{Architecture, BaseName, PackageName, PocketName};
use crate::policy::{PocketSpec, Trust};
use crate::process::{self, Command, ProcessError};
use crate::provenance::UsedBase;
use crate::publisher::local::LocalSource;
use crate::states::SourcePackage;
use crate::stop::Interrupt;

use super::account::Account;
use super::base::{BaseError, BaseSpec, Bases, Tail};
use super::limits::{BuildLimits, Groups, Resource};
use super::scratch::{Entry, Part, Scratch};
use super::walls::Walls;
use super::{Builder, Look, Target, Variation, VisitError, architectures};

mod build;
pub(in crate::builder) mod checks;
pub(in crate::builder) mod dependencies;
mod gates;
mod kept;
pub(in crate::builder) mod layer;
pub(in crate::builder) mod memory;
pub mod room;
pub(in crate::builder) mod store;
pub(in crate::builder) mod tree;
mod visit;
pub mod vm;

use build::Build;
use dependencies::{Against, Needs, Question};
pub use kept::KeepFailed;
use kept::Keeping;
use memory::Space;
use room::{End, Plan};
use store::Store;

/// How many bytes layers and the packages in them may take by default: 20 GiB.
pub const LAYERS: u64 = 20 << 30;

/// What an [`OverlayBuilder`] is made from.
#[derive(Clone, Debug)]
pub struct OverlayConfig {
    /// The distributions to build in.
    pub bases: BTreeMap<BaseName, BaseSpec>,
    /// The directory of the bases' tarballs: absolute, and reachable by every account.
    pub cache: PathBuf,
    /// The directory of trees, lists, packages and layers: as above, on one file system that can be the upper
    /// directory of an overlay, as ext4, xfs and btrfs can.
    pub store: PathBuf,
    /// The directory of what builds throw away: absolute, and reachable by every account.
    pub scratch: PathBuf,
    /// The account that builds run as if this process is root; else they run as this process's own.
    pub account: String,
    /// What a build may use.
    pub limits: BuildLimits,
    /// How many bytes layers and the packages in them may take.
    pub layers: u64,
    /// Which failed builds are kept, for [`Builder::visit`].
    pub keep_failed: KeepFailed,
    /// The program with the hidden command `room`, which is the first process of every room: `invirtibuilder` itself.
    pub helper: PathBuf,
}

/// Builds in rooms. See the module.
#[derive(Debug)]
pub struct OverlayBuilder {
    bases: Bases,
    store: Store,
    scratch: Scratch,
    account: String,
    limits: BuildLimits,
    layers: u64,
    keep_failed: KeepFailed,
    helper: PathBuf,
    archive: Option<LocalSource>,
}

/// Whose maintainer scripts may have had their hands in a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::builder) enum Domain {
    /// Those of the base's own archive, and of what trusted pockets publish.
    Trusted,
    /// Also those of what a pocket publishes that is not trusted.
    Pocket(PocketName),
}

impl Domain {
    pub(in crate::builder) fn of(pocket: &PocketSpec) -> Self {
        match pocket.policy.trust {
            Trust::Full => Self::Trusted,
            Trust::None => Self::Pocket(pocket.name.clone()),
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trusted => f.write_str("trusted pockets"),
            Self::Pocket(name) => write!(f, "the pocket {name} alone"),
        }
    }
}

/// Why there is no result.
#[derive(Debug)]
pub(in crate::builder) enum Trouble {
    /// The source package is at fault.
    Package(String),
    /// The moment is at fault.
    Moment(String),
    /// The work was interrupted.
    Interrupted,
    /// This machine is at fault.
    Machine(BoxError),
}

impl Trouble {
    /// Returns what the builder of a source package says of it.
    pub(in crate::builder) fn of(self, source: &SourcePackage) -> BuildError {
        let (package, version) = (source.plan().package().clone(), source.plan().version().clone());
        match self {
            Self::Package(problem) => BuildError::Attempted { package, version, problem },
            Self::Moment(problem) => BuildError::GivenBack { package, version, problem },
            Self::Interrupted => BuildError::Interrupted,
            Self::Machine(e) => BuildError::Backend(e),
        }
    }
}

impl Trouble {
    /// Says that it is this machine's fault, and of what, where it is nothing that the source package has asked for.
    pub(in crate::builder) fn ours(self, what: &str) -> Self {
        match self {
            Self::Package(problem) => Self::Machine(format!("{what}: {problem}").into()),
            other => other,
        }
    }
}

impl From<BoxError> for Trouble {
    fn from(e: BoxError) -> Self {
        Self::Machine(e)
    }
}

impl From<BaseError> for Trouble {
    fn from(e: BaseError) -> Self {
        match e {
            BaseError::Interrupted => Self::Interrupted,
            e @ BaseError::Unavailable { .. } => Self::Moment(e.to_string()),
            e @ BaseError::Backend { .. } => Self::Machine(e.into()),
        }
    }
}

/// What the steps of one build work with.
pub(in crate::builder) struct Workplace<'a> {
    pub(in crate::builder) store: &'a Store,
    pub(in crate::builder) walls: &'a Walls,
    pub(in crate::builder) helper: &'a Path,
    pub(in crate::builder) limits: BuildLimits,
    pub(in crate::builder) groups: &'a Groups,
    /// Tells the control groups of this builder from those of others on this machine.
    pub(in crate::builder) owner: String,
    pub(in crate::builder) interrupt: &'a dyn Interrupt,
}

impl Workplace<'_> {
    /// Runs a command of our own, which is meant to succeed.
    fn run_for_us(
        &self,
        command: Command,
        log: &mut (dyn Write + Send),
        problem: &str,
    ) -> Result<(), Trouble> {
        let mut tail = Tail::new(log);
        match command.run_logged(&mut tail, self.interrupt) {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Trouble::Machine(format!("{problem}: {status}: {}", tail.text()).into())),
            Err(ProcessError::Interrupted { .. }) => Err(Trouble::Interrupted),
            Err(e) => Err(Trouble::Machine(e.into())),
        }
    }

    /// Makes a room, and runs what is planned in it to its end, which is to be a success.
    fn run_room(&self, plan: &Plan, entry: &Entry, log: &mut (dyn Write + Send)) -> Result<(), Trouble> {
        if self.try_room(plan, entry, log)? == 0 {
            return Ok(());
        }
        let problem = "it failed; the end of the log says why";
        writeln!(log, "\ninvirtibuilder: {problem}").map_err(|e| Trouble::Machine(e.into()))?;
        Err(Trouble::Package(problem.to_owned()))
    }

    /// Makes a room, and runs what is planned in it. Returns the exit status of the step that failed, or zero.
    fn try_room(&self, plan: &Plan, entry: &Entry, log: &mut (dyn Write + Send)) -> Result<u8, Trouble> {
        let mut limits = self.limits;
        // What a room in memory writes counts as its memory.
        limits.memory = limits.memory.map(|it| it.saturating_add(plan.memory));
        let group = self.groups.make(&format!("{}-{}", self.owner, entry.name()), &limits)?;
        let file = entry.part(Part::Input).join("plan.json");
        let command = room::command(self.helper, self.walls, Some(&group), plan, &file)?;
        let limits = process::Limits { time: limits.time, silence: limits.silence, output: limits.log };
        let mut tail = Tail::new(log);
        let ended = command.limits(limits).run_logged(&mut tail, self.interrupt);
        let status = match ended {
            Ok(status) => status,
            Err(ProcessError::Interrupted { .. }) => return Err(Trouble::Interrupted),
            Err(ProcessError::Limit { limit, .. }) => {
                writeln!(tail, "\ninvirtibuilder: it was ended: {limit}")
                    .map_err(|e| Trouble::Machine(e.into()))?;
                return Err(Trouble::Package(format!("it was ended, because {limit}")));
            }
            Err(e) => return Err(Trouble::Machine(e.into())),
        };
        let end = End::of(status.code());
        if end == Some(End::Finished) {
            return Ok(0);
        }
        let is_limited = group.has_reached(Resource::Memory) || group.has_reached(Resource::Processes);
        if let Some(End::Exited(status)) = end
            && !is_limited
        {
            return Ok(status);
        }
        let bytes = |it: Option<u64>| it.map_or_else(String::new, |it| format!(" of {it} bytes"));
        let problem = if group.has_reached(Resource::Memory) {
            format!("it needed more than its memory{}", bytes(self.limits.memory))
        } else {
            match end {
                Some(End::DiskLimit) => format!("it wrote more than its limit{}", bytes(plan.disk)),
                Some(End::DiskFull) => format!("it filled its disk{}", bytes(self.limits.disk)),
                Some(_) if group.has_reached(Resource::Processes) => {
                    format!("it failed, after it had reached its {} processes", self.limits.processes)
                }
                Some(_) => "it failed; the end of the log says why".to_owned(),
                None => {
                    let problem = format!("the room ended with {status}: {}", tail.text());
                    return Err(Trouble::Machine(problem.into()));
                }
            }
        };
        writeln!(tail, "\ninvirtibuilder: {problem}").map_err(|e| Trouble::Machine(e.into()))?;
        let is_limited = plan.upper.is_none() && self.limits.disk.is_some();
        Err(if end == Some(End::DiskFull) && !is_limited {
            Trouble::Moment(problem)
        } else {
            Trouble::Package(problem)
        })
    }
}

impl OverlayBuilder {
    /// Takes the configuration. Looks at nothing: [`OverlayBuilder::check`] does.
    #[must_use]
    pub fn new(config: OverlayConfig) -> Self {
        let OverlayConfig { bases, cache, store, scratch, account, limits, layers, keep_failed, helper } =
            config;
        let (bases, store) = (Bases::new(&cache, bases), Store::new(&store));
        Self {
            bases,
            store,
            scratch: Scratch::new(&scratch),
            account,
            limits,
            layers,
            keep_failed,
            helper,
            archive: None,
        }
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
        let (store, helper, limits) = (&self.store, &*self.helper, self.limits);
        let base_walls = Walls::new(walls.account().clone(), limits.processes);
        let place = Workplace {
            store,
            walls: &walls,
            helper,
            limits,
            groups: &groups,
            owner: owner_of(&self.scratch),
            interrupt,
        };
        let base =
            self.bases.ensure(&target.base, architecture, &self.scratch, &base_walls, log, interrupt)?;
        // What makes bases and fetches packages is ours, and not bound as builds are.
        let ours = Workplace { walls: &base_walls, owner: owner_of(&self.scratch), ..place };
        let tree = tree::ensure(&ours, &base, &target.base, architecture, log)?;
        let domain = Domain::of(source.plan().pocket());
        let needs = Needs::of(source.control().paragraph(), target.with_all);
        let is_installed =
            |packages: &[_]| Ok(layer::find(store, &layer::name(&tree, packages, &domain))?.is_some());
        let against = Against::new(self.archive.as_ref(), &source.plan().pocket().building.build_against)?;
        let question = Question { tree: &tree, architecture, needs: &needs, domain: &domain, against };
        let packages = dependencies::resolve(&ours, &question, &is_installed, log)?;
        let place = Workplace { walls: &walls, ..ours };
        let had = is_installed(&packages)?;
        let layer = layer::ensure(&place, &tree, &packages, &domain, log)?;
        if !had {
            layer::evict(store, &walls, self.layers)?;
        }
        let build = Build { place: &place, source, target, base: &base, tree: &tree, layer: &layer };
        let mut space = memory::space(source, &limits);
        if target.variation == Variation::All {
            // A file system in memory has other orders of directories than one on a disk.
            space = Space::Disk;
        }
        build.write_header(&domain, packages.len(), space, log).map_err(|e| Trouble::Machine(e.into()))?;
        std::thread::scope(|scope| {
            // The disk has time while the package is built.
            scope.spawn(|| {
                if let Err(error) = layer.sync(store) {
                    tracing::warn!(error, "a layer was not synced; it is made again after the next boot");
                }
            });
            self.run_in_rooms(&build, space, into, log)
        })
    }

    /// Builds in a room, and if need be in another that has more space.
    fn run_in_rooms(
        &self,
        build: &Build<'_>,
        mut space: Space,
        into: &Path,
        log: &mut (dyn Write + Send),
    ) -> Result<PathBuf, Trouble> {
        loop {
            let entry = self.scratch.enter(build.place.walls)?;
            // What a second build left is nobody's to look at: the first one is.
            let is_first = build.target.variation == Variation::None;
            let keep_failed = if is_first { self.keep_failed } else { KeepFailed::OFF };
            let keeping = Keeping::prepare(keep_failed, build.place, space)?;
            let keep = keeping.as_ref().and_then(Keeping::plan);
            let result = build.run(&entry, space, keep, into, log);
            if let (Some(keeping), Err(Trouble::Package(_))) = (keeping, &result) {
                keeping.keep(build, &entry, log)?;
            }
            entry.remove()?;
            match result {
                Err(Trouble::Moment(problem)) if space != Space::Disk => {
                    writeln!(log, "invirtibuilder: {problem} in memory; again on disk")
                        .map_err(|e| Trouble::Machine(e.into()))?;
                    space = Space::Disk;
                }
                result => return result,
            }
        }
    }
}

/// Returns the walls of builds with these limits, as far as control groups do not hold them to those.
pub(in crate::builder) fn walls_of(account: Account, limits: &BuildLimits, groups: &Groups) -> Walls {
    // Where control groups count the processes of each build, those of all builds together are many.
    const BUILDS: u64 = 16;
    let count = if groups.can_limit(Resource::Processes) { BUILDS } else { 1 };
    let processes = limits.processes.saturating_mul(count);
    let walls = Walls::new(account, processes).with_file(limits.disk);
    let each = limits.memory.filter(|_| !groups.can_limit(Resource::Memory));
    walls.with_memory(each)
}

/// Returns what tells the control groups of a builder from those of others: theirs are called
/// `invirtibuilder-<owner>-<entry>`, where the entry is one of its scratch directory.
#[must_use]
pub fn owner_of(scratch: &Scratch) -> String {
    let mut identity = store::identity([&*scratch.directory().to_string_lossy()]);
    identity.truncate(12);
    identity
}

/// Removes what builds of dead workers left: directories, and control groups.
pub(in crate::builder) fn remove_leftovers(
    scratch: &Scratch,
    store: &Store,
    walls: &dyn Fn() -> Result<Walls, BoxError>,
    groups: &Groups,
) -> Result<(), BoxError> {
    let workshop = store.workshop();
    if !scratch.directory().is_dir() && !workshop.directory().is_dir() {
        return Ok(());
    }
    let walls = walls()?;
    let places = [scratch, &workshop];
    let removed = places.map(|it| it.remove_leftovers(&walls));
    let is_alive = |entry: &str| places.iter().any(|it| it.directory().join(entry).exists());
    groups.remove_leftovers(&format!("{}-", owner_of(scratch)), &is_alive);
    removed.into_iter().collect()
}

impl Builder for OverlayBuilder {
    fn build<'a>(
        &self,
        source: &SourcePackage,
        target: &Target,
        into: &Path,
        log: &mut (dyn Write + Send + 'a),
        interrupt: &(dyn Interrupt + 'a),
    ) -> Result<PathBuf, BuildError> {
        self.run(source, target, into, log, interrupt).map_err(|trouble| trouble.of(source))
    }

    fn protected(
        &self,
        base: &BaseName,
        architecture: &Architecture,
    ) -> Result<BTreeSet<PackageName>, BuildError> {
        self.bases.packages(base, architecture).map_err(BuildError::Backend)
    }

    fn base(&self, _: &SourcePackage, target: &Target) -> Option<UsedBase> {
        self.bases.used(&target.base, &target.architecture)
    }

    fn visit(&self, look: &Look<'_>) -> Result<u8, VisitError> {
        self.look(look)
    }

    fn clean_up(&self) -> Result<(), BuildError> {
        let groups = Groups::detect();
        remove_leftovers(&self.scratch, &self.store, &|| self.walls(&groups), &groups)
            .map_err(BuildError::Backend)?;
        let walls = || self.walls(&groups);
        kept::evict(&self.store, &walls, self.keep_failed).map_err(BuildError::Backend)
    }
}
