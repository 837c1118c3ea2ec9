//! sbuild's `autopkgtest` mode with `autopkgtest-virt-qemu`: a virtual machine for each build, thrown away with it.
//!
//! sbuild and autopkgtest run as the account of builds in an enclosure without network, as in the other modes. What the
//! machine boots are a kernel of the base's distribution, the base and python, which autopkgtest needs: as disks that
//! the `vm` builder has too, so there is no image to be made or refreshed by hand.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::enclosure::Bind;
use crate::builder::overlay::dependencies::{self, Against, Needs, Question};
use crate::builder::overlay::tree::Tree;
use crate::builder::overlay::vm::kernel::{self, Boot, Guest};
use crate::builder::overlay::vm::machine::{self, Kind, OVERHEAD, SANDBOX};
use crate::builder::overlay::vm::{Acceleration, Machine, image};
use crate::builder::overlay::{Domain, Trouble, Workplace, layer};
use crate::builder::scratch::{Entry, Part};
use crate::builder::walls::Walls;
use crate::durable::scratch;
use crate::error::BoxError;
use crate::names::Architecture;

/// The packages that autopkgtest and sbuild need in the machine. All but the first are in every base before Debian 13.
const NEEDED: [&str; 3] = ["python3", "mount", "passwd"];

/// How long a machine may take to start, in seconds: an emulated one on a machine with much to do needs some of them.
const START: u32 = 600;

/// Where a run sees its directory for temporary files: the sockets of its machine are there, and the path of a socket
/// has at most 107 bytes (unix(7)), which a site's may have without them. Both are for mounts, and on every machine.
const PLACES: [&str; 2] = ["/mnt", "/media"];

/// The device of the kernel's virtual machines.
const KVM: &str = "/dev/kvm";

/// What the machines of a base are made of, in use.
#[derive(Debug)]
pub(super) struct Parts {
    machine: Machine,
    kind: Kind,
    acceleration: Acceleration,
    boot: Boot,
    base: image::Image,
    python: image::Image,
}

/// Returns where a run sees this directory of its own.
pub(super) fn short(home: &Path) -> Bind {
    let is_free = |it: &&str| !home.starts_with(it);
    Bind { from: home.to_owned(), at: PLACES.into_iter().find(is_free).unwrap_or(PLACES[0]).into() }
}

/// Returns what the machines of a base are made of, and makes first what is missing.
pub(super) fn ensure(
    place: &Workplace<'_>,
    tree: &Tree,
    architecture: &Architecture,
    machine: Machine,
    log: &mut (dyn std::io::Write + Send),
) -> Result<Parts, Trouble> {
    let kind = Kind::to_build_for(architecture)?;
    let boot = kernel::ensure(place, Guest::AUTOPKGTEST, tree, architecture, log)?;
    let base = image::ensure(place, &tree.id, &tree.root(), log)?;
    let (needs, domain) = (Needs::of_packages(&NEEDED), Domain::Trusted);
    let question =
        Question { tree, architecture, needs: &needs, domain: &domain, against: Against::new(None, &[])? };
    let ours = |e: Trouble| e.ours(&format!("{} for the machine", NEEDED.join(", ")));
    let packages = dependencies::resolve(place, &question, &|_| Ok(false), log).map_err(ours)?;
    let layer = layer::ensure(place, tree, &packages, &domain, log).map_err(ours)?;
    let python = image::ensure(place, &layer.name, &layer.root(), log)?;
    let acceleration = machine::acceleration(place, machine.kvm)?;
    Ok(Parts { machine, kind, acceleration, boot, base, python })
}

impl Parts {
    /// Returns what a run sees in place of the host's.
    pub(super) fn binds(&self, home: &Path) -> Vec<Bind> {
        let mut binds = vec![short(home)];
        // autopkgtest gives up where it may not use a /dev/kvm that is there (as of its version 5.49).
        if matches!(self.acceleration, Acceleration::None { .. }) && Path::new(KVM).exists() {
            binds.push(Bind { from: "/dev/null".into(), at: KVM.into() });
        }
        binds
    }

    /// Returns how many bytes of memory a machine takes, with what emulates it and sbuild beside it.
    pub(super) fn memory(&self) -> u64 {
        self.machine.memory.saturating_add(OVERHEAD)
    }

    /// Says what the machine is.
    pub(super) fn describe(&self) -> String {
        format!("a virtual machine with {} MiB of memory, {}", self.machine.memory >> 20, self.acceleration)
    }

    /// Makes what this run's machine has for itself, from the directory with its build dependencies; returns what sbuild
    /// is told.
    pub(super) fn prepare(
        &self,
        entry: &Entry,
        walls: &Walls,
        build_dependencies: &Path,
    ) -> Result<Vec<String>, BoxError> {
        let home = entry.part(Part::Home);
        let (input, disks) = (entry.part(Part::Input), entry.part(Part::Chroots));
        let archive = input.join("dependencies.tar");
        image::make_archive(build_dependencies, &["."], &archive)?;
        let (work, qemu) = (disks.join("work.ext4"), input.join("qemu"));
        image::make_empty(walls, &home, &work, self.machine.disk)?;
        scratch::write_new(&qemu, self.script().as_bytes(), 0o755)?;
        let options = [
            format!("--qemu-command={}", qemu.display()),
            "--boot=none".to_owned(),
            format!("--overlay-dir={}", disks.display()),
            format!("--ram-size={}", self.machine.memory >> 20),
            format!("--cpus={}", self.machine.processors()),
            format!("--timeout-reboot={START}"),
        ];
        let images = [work, self.base.path(), self.python.path(), archive].map(|it| it.display().to_string());
        let server = ["--chroot-mode=autopkgtest", "--autopkgtest-virt-server=autopkgtest-virt-qemu"]
            .map(str::to_owned);
        // sbuild replaces what a percent sign begins.
        let options = options.into_iter().chain(images).map(|it| it.replace('%', "%%"));
        Ok(server
            .into_iter()
            .chain(options.map(|it| format!("--autopkgtest-virt-server-opt={it}")))
            .collect())
    }

    /// Returns the program that autopkgtest calls for qemu: its options are divided at each blank, so a kernel's command
    /// line cannot be one of them, and it takes a network and KVM wherever they are.
    fn script(&self) -> String {
        let mut text =
            "#!/bin/sh\nset -e\nleft=$#\nwhile [ \"$left\" -gt 0 ]; do\n    case $1 in\n".to_owned();
        text.push_str("        -net | -cpu) shift 2; left=$((left - 2)) ;;\n");
        text.push_str("        -enable-kvm) shift; left=$((left - 1)) ;;\n");
        text.push_str("        *) set -- \"$@\" \"$1\"; shift; left=$((left - 1)) ;;\n    esac\ndone\n");
        let (accelerator, processor) = self.acceleration.names();
        let path = |it: PathBuf| it.display().to_string();
        let line = format!("console={} quiet panic=-1 no_timer_check", self.kind.console);
        let fixed = ["-no-reboot", "-net", "none", "-accel", accelerator, "-cpu", processor];
        let mut arguments: Vec<String> = fixed.iter().chain(&SANDBOX).map(|it| (*it).to_owned()).collect();
        let boot = [
            ("-kernel", path(self.boot.kernel())),
            ("-initrd", path(self.boot.initramfs())),
            ("-append", line),
        ];
        arguments.extend(boot.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        let quoted: Vec<_> = arguments.iter().map(|it| quoted(it)).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "exec {} \"$@\" {}", self.kind.program, quoted.join(" "));
        text
    }
}

/// Returns a text as a word of the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
#[test]
fn a_run_sees_its_directory_at_another_place() {
    for home in ["/var/lib/site/home", "/mnt/site/home", "/media/site/home"].map(Path::new) {
        let Bind { from, at } = short(home);
        assert_eq!(from, home);
        assert!(!home.starts_with(&at), "{}", at.display());
    }
}

#[cfg(test)]
#[test]
fn a_word_of_the_shell_is_one_word_whatever_is_in_it() {
    assert_eq!(quoted("a b"), "'a b'");
    assert_eq!(quoted("it's $HOME"), "'it'\\''s $HOME'");
}
