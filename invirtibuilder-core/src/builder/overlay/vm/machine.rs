//! One virtual machine: its disks, the command that starts it, and what its end means.
//!
//! It has no network device. What emulates it is a process without privilege in namespaces of its own, which may
//! start no other program (qemu's `-sandbox`).

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::output::{self, ARCHIVE, Word};
use super::{Acceleration, Machine, image};
use crate::builder::account::SUBORDINATES;
use crate::builder::base::Tail;
use crate::builder::host_architecture;
use crate::builder::overlay::{Trouble, Workplace};
use crate::builder::results::{self, Refused, open_regular};
use crate::builder::scratch::{Entry, Part};
use crate::error::BoxError;
use crate::names::Architecture;
use crate::process::{self, Command, ProcessError};

/// What qemu and its devices take besides the memory of the machine.
pub(in crate::builder) const OVERHEAD: u64 = 1 << 30;

/// What is different between architectures.
#[derive(Clone, Copy, Debug)]
pub(in crate::builder) struct Kind {
    /// The program that emulates it.
    pub(in crate::builder) program: &'static str,
    machine: &'static str,
    pub(in crate::builder) console: &'static str,
}

impl Kind {
    /// Returns the kind of machine of an architecture; `None` where there is none yet.
    pub(in crate::builder) fn of(architecture: &Architecture) -> Option<Self> {
        match architecture.as_str() {
            "amd64" => Some(Self { program: "qemu-system-x86_64", machine: "q35", console: "ttyS0" }),
            "arm64" => Some(Self { program: "qemu-system-aarch64", machine: "virt", console: "ttyAMA0" }),
            _ => None,
        }
    }

    /// Returns the kind of machine that builds for an architecture on this machine.
    pub(in crate::builder) fn to_build_for(architecture: &Architecture) -> Result<Self, BoxError> {
        let host = host_architecture()?;
        Self::of(&host).filter(|_| *architecture == host).ok_or_else(|| {
            let problem =
                "virtual machines build for amd64 and arm64 only, and only on a machine of the same";
            format!("{problem}; this one is {host}; let another builder build for {architecture}").into()
        })
    }
}

impl Machine {
    /// Returns the number of its processors.
    pub(in crate::builder) fn processors(self) -> u32 {
        let all = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.cpus.unwrap_or_else(|| u32::try_from(all()).unwrap_or(1))
    }
}

impl Acceleration {
    /// Returns qemu's names of the accelerator and of the processor.
    pub(in crate::builder) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Kvm => ("kvm", "host"),
            Self::None { .. } => ("tcg,thread=multi", "max"),
        }
    }
}

/// What qemu itself may not do: gain privilege, or start a program.
pub(in crate::builder) const SANDBOX: [&str; 2] =
    ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"];

/// The files that a machine boots, and has as disks.
pub(super) struct Files {
    pub(super) kernel: PathBuf,
    pub(super) initramfs: PathBuf,
    pub(super) base: PathBuf,
    pub(super) input: PathBuf,
}

/// A machine that is about to run.
pub(super) struct Run<'a> {
    pub(super) place: &'a Workplace<'a>,
    pub(super) entry: &'a Entry,
    pub(super) files: Files,
    pub(super) kind: Kind,
    pub(super) machine: Machine,
    pub(super) acceleration: Acceleration,
}

impl Run<'_> {
    /// Runs the machine to its end and takes the results.
    pub(super) fn run(&self, into: &Path, log: &mut (dyn Write + Send)) -> Result<PathBuf, Trouble> {
        let machine = |e: BoxError| Trouble::Machine(e);
        let (work, disk) = self.make_disks()?;
        let mut limits = self.place.limits;
        limits.memory = Some(self.machine.memory.saturating_add(OVERHEAD));
        let group =
            self.place.groups.make(&format!("{}-{}", self.place.owner, self.entry.name()), &limits)?;
        let helper = File::open(self.place.helper).map_err(|e| machine(e.into()))?;
        let command = self.place.walls.room(helper, Some(&group)).args(confined());
        let command = command.arg(self.kind.program).args(self.arguments(&work, &disk));
        let limits = process::Limits { time: limits.time, silence: limits.silence, output: limits.log };
        let mut tail = Tail::new(log);
        let ended = command.limits(limits).run_logged(&mut tail, self.place.interrupt);
        let status = match ended {
            Ok(status) => status,
            Err(ProcessError::Interrupted { .. }) => return Err(Trouble::Interrupted),
            Err(ProcessError::Limit { limit, .. }) => {
                writeln!(tail, "\ninvirtibuilder: it was ended: {limit}").map_err(|e| machine(e.into()))?;
                return Err(Trouble::Package(format!("it was ended, because {limit}")));
            }
            Err(e) => return Err(machine(e.into())),
        };
        let mut disk = open_regular(&disk)?;
        let word = output::word(&mut disk)?;
        if word == Word::Finished {
            let taken = self.entry.part(Part::Input).join("results");
            crate::durable::scratch::create_directory(&taken, 0o700).map_err(|e| machine(e.into()))?;
            let limit = self.place.limits.results;
            output::results(&mut disk, &taken, limit).map_err(|e| Trouble::Package(e.to_string()))?;
            return results::take(&taken, into, limit).map_err(|refused| match refused {
                Refused::Build(problem) => Trouble::Package(problem),
                Refused::Backend(e) => Trouble::Machine(e),
            });
        }
        let problem = self.problem(&word);
        writeln!(tail, "\ninvirtibuilder: {}", problem.as_deref().unwrap_or("the machine did not start"))
            .map_err(|e| machine(e.into()))?;
        Err(match problem {
            Some(problem) => Trouble::Package(problem),
            None => Trouble::Machine(
                format!("the virtual machine did not start ({status}): {}", tail.text()).into(),
            ),
        })
    }

    /// Returns what the last word of a machine means; `None` if it is not the package's fault.
    fn problem(&self, word: &Word) -> Option<String> {
        let text = match word {
            Word::Failed(1) => {
                "its build dependencies cannot be installed; the end of the log says why".to_owned()
            }
            Word::Failed(_) => "it failed; the end of the log says why".to_owned(),
            Word::Full => format!("it filled its disk of {} bytes", self.machine.disk),
            // After the first step nobody but the package can have ended it.
            Word::Begun => format!(
                "its virtual machine ended before the build did: its kernel failed, or its {} bytes of memory did not do",
                self.machine.memory
            ),
            Word::Unwritten => {
                format!(
                    "what it left could not be taken: it is more than {} bytes",
                    self.place.limits.results
                )
            }
            Word::Nothing | Word::Broken | Word::Finished => return None,
        };
        Some(text)
    }

    /// Makes the disk that the build writes to and the one for results. Both are files with holes.
    fn make_disks(&self) -> Result<(PathBuf, PathBuf), Trouble> {
        let work = self.entry.part(Part::Chroots).join("work.ext4");
        let output = self.entry.part(Part::Output).join("output");
        let (walls, home) = (self.place.walls, self.entry.part(Part::Home));
        image::make_empty(walls, &home, &work, self.machine.disk)?;
        // Each file has a header and is filled up to a whole block.
        let spare = ARCHIVE + (16 << 20);
        let bytes = self.place.limits.results.saturating_add(spare).next_multiple_of(1 << 20);
        let made =
            walls.command(&home, "truncate").arg(format!("--size={bytes}")).arg("--").arg(&output).run();
        made.map_err(|e| Trouble::Machine(e.into()))?;
        Ok((work, output))
    }

    fn arguments(&self, work: &Path, output: &Path) -> Vec<String> {
        let (accelerator, cpu) = self.acceleration.names();
        let fixed = ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-net", "none"];
        let mut arguments: Vec<String> = fixed.iter().chain(&SANDBOX).map(|it| (*it).to_owned()).collect();
        let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        add("-machine", self.kind.machine.to_owned());
        add("-accel", accelerator.to_owned());
        add("-cpu", cpu.to_owned());
        add("-m", format!("{}M", self.machine.memory >> 20));
        add("-smp", self.machine.processors().to_string());
        add("-kernel", self.files.kernel.display().to_string());
        add("-initrd", self.files.initramfs.display().to_string());
        // An emulated timer is late on a machine with much to do, which is no reason to give up.
        add("-append", format!("console={} quiet panic=-1 no_timer_check", self.kind.console));
        // The kernel's last words and the build's log come out at the same place.
        add("-chardev", "stdio,id=log,mux=on,signal=off".to_owned());
        add("-serial", "chardev:log".to_owned());
        add("-device", "virtio-serial-pci".to_owned());
        add("-device", "virtserialport,chardev=log,name=log".to_owned());
        for (name, path, options) in [
            ("base", &*self.files.base, "readonly=on"),
            ("input", &*self.files.input, "readonly=on"),
            // What is thrown away need not survive a loss of power.
            ("work", work, "cache=unsafe,discard=unmap"),
            ("output", output, "cache=unsafe"),
        ] {
            // A comma in a value is written twice.
            let path = path.display().to_string().replace(',', ",,");
            add("-drive", format!("id={name},if=none,format=raw,file={path},{options}"));
            add("-device", format!("virtio-blk-pci,drive={name},serial={name}"));
        }
        arguments
    }
}

/// The arguments of the helper that run a program in a room's namespaces as the account of builds, without any
/// capability; the program and its arguments follow.
fn confined() -> Vec<String> {
    let user = [format!("--reuid={SUBORDINATES}"), format!("--regid={SUBORDINATES}")];
    // The groups are those of the account; one of them may be that of /dev/kvm.
    let rest = ["--keep-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--"];
    let start = ["room", "run", "--", "setpriv"].map(str::to_owned).into_iter();
    start.chain(user).chain(rest.map(str::to_owned)).collect()
}

/// Finds out how machines can run.
pub(in crate::builder) fn acceleration(
    place: &Workplace<'_>,
    wanted: bool,
) -> Result<Acceleration, BoxError> {
    if !wanted {
        return Ok(Acceleration::None { reason: "builder.vm.kvm says so" });
    }
    if !Path::new("/dev/kvm").exists() {
        return Ok(Acceleration::None { reason: "this machine has no /dev/kvm" });
    }
    // Such a kernel is a guest itself, without the processor's help, and runs no kernel as distributions have it.
    if Path::new("/sys/module/kvm_pvm").exists() {
        return Ok(Acceleration::None { reason: "this machine's KVM runs special kernels only (kvm_pvm)" });
    }
    let helper = File::open(place.helper)?;
    let probe =
        |it: Command| it.args(confined()).args(["test", "-r", "/dev/kvm", "-a", "-w", "/dev/kvm"]).run();
    Ok(match probe(place.walls.room(helper, None)) {
        Ok(_) => Acceleration::Kvm,
        Err(_) => Acceleration::None { reason: "the account of builds may not use /dev/kvm" },
    })
}
