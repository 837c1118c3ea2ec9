//! How an archive is measured: as whole processes, in turn with the others.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use invirtibuilder_core::error::BoxError;

use crate::packages::Package;

/// What is measured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// A directory for everything.
    pub(crate) root: PathBuf,
    /// The packages that the archives are filled with.
    pub(crate) packages: PathBuf,
    /// How many source packages there are.
    pub(crate) size: usize,
    /// How often each operation is measured.
    pub(crate) rounds: usize,
    /// The fingerprint of the key that signs.
    pub(crate) key: String,
}

impl Plan {
    /// Returns the packages that the archives are filled with.
    pub(crate) fn all(&self) -> Vec<Package> {
        let package = |number| {
            let name = Package::name(number);
            Package { directory: self.packages.join(&name), name, version: "1.0".to_owned() }
        };
        (0..self.size).map(package).collect()
    }
}

/// What is published while it is measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    pub(crate) packages: Vec<Package>,
    /// Others, for what is not measured.
    pub(crate) again: Vec<Package>,
}

/// An archive that is measured.
pub(crate) trait Peer {
    fn name(&self) -> String;
    /// Makes an archive of all packages, and returns how long it took.
    fn fill(&self, plan: &Plan) -> Result<Duration, BoxError>;
    /// Returns what publishes a package.
    fn publish(&self, plan: &Plan, package: &Package) -> Result<Vec<Command>, BoxError>;
    /// Returns what copies a package to the other suite.
    fn copy(&self, plan: &Plan, package: &Package) -> Result<Vec<Command>, BoxError>;
    /// Returns what else there is to say.
    fn more(&self, _plan: &Plan, _round: &Round) -> Result<Option<String>, BoxError> {
        Ok(None)
    }
}

/// What was measured of an archive.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) bulk: Duration,
    pub(crate) publish: Duration,
    pub(crate) copy: Duration,
    /// The processor's time of a publication.
    pub(crate) cpu: Duration,
    /// The most memory that a process of one publication had, in KiB.
    pub(crate) memory: u64,
    pub(crate) more: Option<String>,
}

/// Measures archives side by side: in each round each of them once.
pub(crate) fn measure(
    plan: &Plan,
    peers: &[Box<dyn Peer>],
    round: &Round,
) -> Result<Vec<Measured>, BoxError> {
    let bulks = peers.iter().map(|it| it.fill(plan)).collect::<Result<Vec<_>, _>>()?;
    let mut times = vec![(Vec::new(), Vec::new(), Duration::ZERO); peers.len()];
    for package in &round.packages {
        for (peer, (publish, copy, cpu)) in peers.iter().zip(&mut times) {
            let before = cpu_of_children()?;
            publish.push(timed(peer.publish(plan, package)?)?);
            *cpu += cpu_of_children()?.saturating_sub(before);
            copy.push(timed(peer.copy(plan, package)?)?);
        }
    }
    let mut measured = Vec::new();
    for ((peer, bulk), (mut publish, mut copy, cpu)) in peers.iter().zip(bulks).zip(times) {
        let mut memory = 0;
        for command in peer.publish(plan, round.again.first().ok_or("there is no package")?)? {
            memory = memory.max(peak(&command)?);
        }
        let more = peer.more(plan, round)?;
        let (publish, copy) = (median(&mut publish), median(&mut copy));
        let cpu = cpu / u32::try_from(round.packages.len().max(1))?;
        measured.push(Measured { name: peer.name(), bulk, publish, copy, cpu, memory, more });
    }
    Ok(measured)
}

/// Returns the processor's time that ended children had (`proc_pid_stat(5)`).
fn cpu_of_children() -> Result<Duration, BoxError> {
    /// Ticks are hundredths of a second on all machines that Debian runs on.
    const TICK: u64 = 10;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after = stat.rsplit_once(')').ok_or("/proc/self/stat has no name")?.1;
    let ticks = after.split_whitespace().skip(13).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * TICK))
}

fn timed(commands: Vec<Command>) -> Result<Duration, BoxError> {
    let begun = Instant::now();
    for mut command in commands {
        expect(&mut command)?;
    }
    Ok(begun.elapsed())
}

/// Runs a command under time(1), and returns the most memory that it had, in KiB.
fn peak(command: &Command) -> Result<u64, BoxError> {
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["-q", "-f", "peak %M"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            timed.env(name, value);
        }
    }
    let output = timed.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let peak = errors.lines().find_map(|it| it.strip_prefix("peak "));
    Ok(peak.ok_or_else(|| format!("{errors}"))?.trim().parse()?)
}

/// Runs a program, which must succeed, and returns what it printed.
pub(crate) fn expect(command: &mut Command) -> Result<String, BoxError> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let errors: String = errors.chars().take(2000).collect();
    Err(format!("{}: {}: {errors}", command.get_program().display(), output.status).into())
}

pub(crate) fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
