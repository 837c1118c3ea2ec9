//! Builds in virtual machines that are thrown away: what a package does, and what the maintainer scripts of its build
//! dependencies do, meets a kernel of its own and not the host's.
//!
//! | step | network | whose code runs | kept as |
//! |---|---|---|---|
//! | the base is made, unpacked and written to a disk image | the mirror | mmdebstrap's, mke2fs's | an image |
//! | apt says which packages are needed, and fetches them | the mirror | this machine's apt | lists, packages by their hash |
//! | kernel and initramfs are made of the base's packages | none | ours | two files |
//! | dependencies are installed, and the package is built | none | maintainer scripts and the package's, in the machine | nothing |
//!
//! Bases, lists and packages are those of the overlay builder. Nothing that ran in a machine is kept but results, so
//! there is no layer to poison; that is paid for with installing build dependencies every time.
//!
//! Never mounts or runs anything that a machine wrote: its log is bytes, its results are read as data (`output`).

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::LocalSource;
use super::dependencies::{self, Against, Needs, Package, Question};
use super::{Domain, OverlayBuilder, OverlayConfig, Trouble, Workplace, build, layer, owner_of, tree};
use crate::builder::account::Account;
use crate::builder::limits::Groups;
use crate::builder::scratch::{Entry, Part};
use crate::builder::walls::Walls;
use crate::builder::{Builder, Target};
use crate::durable::{self, scratch};
use crate::error::{BoxError, BuildError};
use crate::names::{Architecture, BaseName, PackageName};
use crate::provenance::UsedBase;
use crate::states::SourcePackage;
use crate::stop::Interrupt;

mod checks;
pub mod image;
mod initramfs;
pub(in crate::builder) mod kernel;
pub(in crate::builder) mod machine;
mod output;
mod steps;

use super::room::User;

/// What a [`VmBuilder`] is made from.
#[derive(Clone, Debug)]
pub struct VmConfig {
    /// What it has in common with the overlay builder, which may use the same directories.
    pub common: OverlayConfig,
    /// What machines have.
    pub machine: Machine,
}

/// What a virtual machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Bytes of memory.
    pub memory: u64,
    /// Processors; `None` for as many as this machine has.
    pub cpus: Option<u32>,
    /// Bytes of disk for what a build writes.
    pub disk: u64,
    /// Whether the processor is used directly (KVM), where that is possible.
    pub kvm: bool,
}

impl Default for Machine {
    /// 2 GiB of memory, all processors, 20 GiB of disk, and KVM.
    fn default() -> Self {
        Self { memory: 2 << 30, cpus: None, disk: 20 << 30, kvm: true }
    }
}

/// How a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::builder) enum Acceleration {
    /// On the processor itself.
    Kvm,
    /// Emulated.
    None {
        /// Why.
        reason: &'static str,
    },
}

impl fmt::Display for Acceleration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kvm => f.write_str("KVM"),
            Self::None { reason } => write!(f, "emulated, which is slow: {reason}"),
        }
    }
}

/// Builds in virtual machines. See the module.
#[derive(Debug)]
pub struct VmBuilder {
    common: OverlayBuilder,
    machine: Machine,
}

impl VmBuilder {
    /// Takes the configuration. Looks at nothing: [`VmBuilder::check`] does.
    #[must_use]
    pub fn new(config: VmConfig) -> Self {
        Self { common: OverlayBuilder::new(config.common), machine: config.machine }
    }

    /// Lets builds see what the site serves, as far as their pockets say so (`build_against`).
    #[must_use]
    pub fn with_archive(self, archive: Option<LocalSource>) -> Self {
        Self { common: self.common.with_archive(archive), ..self }
    }

    fn run(
        &self,
        source: &SourcePackage,
        target: &Target,
        into: &Path,
        log: &mut (dyn Write + Send),
        interrupt: &dyn Interrupt,
    ) -> Result<PathBuf, Trouble> {
        let kind = machine::Kind::to_build_for(&target.architecture)?;
        let host = target.architecture.clone();
        let pocket = source.plan().pocket();
        let (groups, common) = (Groups::detect(), &self.common);
        let limits = common.limits;
        let walls = Walls::new(Account::find(&common.account).map_err(BoxError::from)?, limits.processes);
        let (store, helper) = (&common.store, &*common.helper);
        let owner = owner_of(&common.scratch);
        let place = Workplace { store, walls: &walls, helper, limits, groups: &groups, owner, interrupt };
        let base = common.bases.ensure(&target.base, &host, &common.scratch, &walls, log, interrupt)?;
        let tree = tree::ensure(&place, &base, &target.base, &host, log)?;
        let boot = kernel::ensure(&place, kernel::Guest::BUILD, &tree, &host, log)?;
        let image = image::ensure(&place, &tree.id, &tree.root(), log)?;
        let domain = Domain::of(pocket);
        let needs = Needs::of(source.control().paragraph(), target.with_all);
        let against = Against::new(common.archive.as_ref(), &pocket.building.build_against)?;
        let question = Question { tree: &tree, architecture: &host, needs: &needs, domain: &domain, against };
        let packages = dependencies::resolve(&place, &question, &|_| Ok(false), log)?;
        let acceleration = machine::acceleration(&place, self.machine.kvm)?;
        let header = build::write_header(source, &target.base, &base, log);
        let header = header.and_then(|()| self.write_header(target, packages.len(), acceleration, log));
        header.map_err(|e| Trouble::Machine(e.into()))?;
        let entry = common.scratch.enter(&walls)?;
        let input = write_input(&place, &entry, source, target, &packages)?;
        let (kernel, initramfs) = (boot.kernel(), boot.initramfs());
        let files = machine::Files { kernel, initramfs, base: image.path(), input };
        let machine = self.machine;
        let run = machine::Run { place: &place, entry: &entry, files, kind, machine, acceleration };
        let result = run.run(into, log);
        entry.remove()?;
        layer::evict(store, &walls, common.layers)?;
        result
    }

    fn write_header(
        &self,
        target: &Target,
        packages: usize,
        acceleration: Acceleration,
        log: &mut dyn Write,
    ) -> std::io::Result<()> {
        writeln!(log, "invirtibuilder: {packages} packages more, installed in the machine without network")?;
        let all = if target.with_all { " and all" } else { "" };
        let memory = self.machine.memory >> 20;
        let architecture = &target.architecture;
        writeln!(log, "invirtibuilder: vm for {architecture}{all}, {memory} MiB of memory, {acceleration}")
    }
}

/// Writes what the machine reads: the packages to install, the source package, and what to do, as a tar archive.
fn write_input(
    place: &Workplace<'_>,
    entry: &Entry,
    source: &SourcePackage,
    target: &Target,
    packages: &[Package],
) -> Result<PathBuf, Trouble> {
    let machine = |e: durable::DurableError| Trouble::Machine(e.into());
    let directory = entry.part(Part::Input).join("machine");
    let (debs, sources) = (directory.join("packages"), directory.join("source"));
    for directory in [&directory, &debs, &sources] {
        scratch::create_directory(directory, 0o755).map_err(machine)?;
    }
    dependencies::link(place.store, packages, &debs)?;
    for file in source.control().files() {
        let name = file.name.as_str();
        scratch::copy(&source.control().directory().join(name), &sources.join(name)).map_err(machine)?;
    }
    let mut steps = vec![(User::Root, layer::install_step(packages))];
    steps.extend(build::steps(source, target).into_iter().map(|it| (User::Builder, it)));
    let script = steps::script(&steps, place.limits.processes);
    scratch::write_new(&directory.join("steps"), script.as_bytes(), 0o644).map_err(machine)?;
    let file = entry.part(Part::Input).join("input.tar");
    image::make_archive(&directory, &["packages", "source", "steps"], &file)?;
    Ok(file)
}

impl Builder for VmBuilder {
    fn build<'a>(
        &self,
        source: &SourcePackage,
        target: &Target,
        into: &Path,
        log: &mut (dyn Write + Send + 'a),
        interrupt: &(dyn Interrupt + 'a),
    ) -> Result<PathBuf, BuildError> {
        target.refuse_variation("vm")?;
        self.run(source, target, into, log, interrupt).map_err(|it| it.of(source))
    }

    fn protected(
        &self,
        base: &BaseName,
        architecture: &Architecture,
    ) -> Result<BTreeSet<PackageName>, BuildError> {
        self.common.protected(base, architecture)
    }

    fn base(&self, source: &SourcePackage, target: &Target) -> Option<UsedBase> {
        self.common.base(source, target)
    }

    fn clean_up(&self) -> Result<(), BuildError> {
        self.common.clean_up()
    }
}
