//! Builds on this machine as it is, for machines that are thrown away anyway, such as the container of a CI job.
//!
//! It contains nothing: a build sees the host's files, packages and network, and what it can do to the host, it does.
//! So a pocket gets this builder only if it names it. What remains is what costs nothing: an account without privilege
//! if this process is root, limits on time, silence, log and processes, and, where a PID namespace can be made, the
//! end of whatever a build has left running.
//!
//! Never installs anything: build dependencies have to be there.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::account::Account;
use super::base::Tail;
use super::limits::BuildLimits;
use super::results::{self, Refused};
use super::sbuild::program;
use super::scratch::{Entry, Part, Scratch, check_reachable};
use super::walls::Walls;
use super::{Builder, Target, host_architecture};
use crate::durable::{self, scratch};
use crate::error::{BoxError, BuildError, causes};
use crate::finding::Finding;
use crate::names::{Architecture, BaseName, PackageName};
use crate::process::{self, Command, ProcessError};
use crate::states::SourcePackage;
use crate::stop::Interrupt;

/// The programs that a build needs.
const PROGRAMS: [&str; 6] = ["dpkg-buildpackage", "dpkg-source", "fakeroot", "setpriv", "prlimit", "unshare"];

/// What a [`HostBuilder`] is made from.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// The directory of what builds throw away: absolute, and reachable by every account.
    pub scratch: PathBuf,
    /// The account that builds run as if this process is root; else they run as this process's own.
    pub account: String,
    /// What a build may use. Limits on disk and memory do not apply.
    pub limits: BuildLimits,
}

/// Builds on this machine. See the module.
#[derive(Debug)]
pub struct HostBuilder {
    scratch: Scratch,
    account: String,
    limits: BuildLimits,
}

/// How a build ended that is not a success.
enum Failure {
    Package(String),
    Interrupted,
    Machine(BoxError),
}

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(e: E) -> Self {
        Self::Machine(e.into())
    }
}

impl HostBuilder {
    /// Takes the configuration. Looks at nothing: [`HostBuilder::check`] does.
    #[must_use]
    pub fn new(config: HostConfig) -> Self {
        let HostConfig { scratch, account, limits } = config;
        Self { scratch: Scratch::new(&scratch), account, limits }
    }

    /// Checks programs, account and directory, and says what this builder is not.
    #[must_use]
    pub fn check(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = PROGRAMS.into_iter().map(program).collect();
        findings.push(match check_reachable(self.scratch.directory()) {
            Ok(()) => Finding::ok(
                "scratch directory",
                format!("builds can reach {}", self.scratch.directory().display()),
            ),
            Err(e) => Finding::error("scratch directory", e.to_string(), e.remedy()),
        });
        match Account::find(&self.account) {
            Ok(account) => {
                let text = format!("builds run as {}, with 65,536 subordinate ids", account.name());
                findings.push(Finding::ok("build account", text));
                if !can_end_all(&account) {
                    findings.push(Finding::warning(
                        "end of builds",
                        "this machine lets nobody make a PID namespace, so that what a build leaves running in a session of its own goes on",
                        "throw the machine away after its job",
                    ));
                }
            }
            Err(e) => {
                let remedy = e.remedy().unwrap_or_else(|| "name another account".to_owned());
                findings.push(Finding::error("build account", causes(&e).join(": "), remedy));
            }
        }
        findings.push(Finding::warning(
            "builder host",
            "it contains nothing: a build sees this machine's files, packages and network",
            "use it only where the machine is thrown away after its job; elsewhere write builder: overlay",
        ));
        findings
    }

    fn run(
        &self,
        source: &SourcePackage,
        target: &Target,
        into: &Path,
        log: &mut (dyn Write + Send),
        interrupt: &dyn Interrupt,
    ) -> Result<PathBuf, Failure> {
        let host = host_architecture()?;
        if target.architecture != host {
            let wanted = &target.architecture;
            let problem = format!("the builder host builds for this machine's {host} only, not for {wanted}");
            return Err(Failure::Machine(problem.into()));
        }
        let account = Account::find(&self.account)?;
        let entry = self.scratch.enter(&Walls::new(account.clone(), self.limits.processes))?;
        let place = Place { account: &account, entry: &entry, limits: self.limits, interrupt };
        let built = place.build(source, target, log);
        let taken = built.and_then(|()| {
            let taken = results::take(&entry.part(Part::Output), into, self.limits.results);
            taken.map_err(|refused| match refused {
                Refused::Build(problem) => Failure::Package(problem),
                Refused::Backend(e) => Failure::Machine(e),
            })
        });
        entry.remove()?;
        taken
    }
}

/// Where and as whom one build runs.
struct Place<'a> {
    account: &'a Account,
    entry: &'a Entry,
    limits: BuildLimits,
    interrupt: &'a dyn Interrupt,
}

impl Place<'_> {
    fn build(
        &self,
        source: &SourcePackage,
        target: &Target,
        log: &mut (dyn Write + Send),
    ) -> Result<(), Failure> {
        let shown = self.entry.part(Part::Input).join("source");
        scratch::create_directory(&shown, 0o755)?;
        for file in source.control().files() {
            let name = file.name.as_str();
            let to = shown.join(name);
            scratch::copy(&source.control().directory().join(name), &to)?;
            durable::set_mode(&to, 0o644)?;
        }
        self.write_header(source, target, log)?;
        let plan = source.plan();
        let output = self.entry.part(Part::Output);
        let tree = output.join(format!("{}-{}", plan.package(), plan.version().upstream()));
        let dsc = shown.join(source.control().path().file_name().unwrap_or_default());
        // Hashes were checked when the source package was taken in; there is no key to check a signature with.
        let unpack = self.command("dpkg-source", &output).args(["--no-check", "--extract", "--"]);
        self.run(unpack.arg(dsc).arg(&tree), log)?;
        let kind = if target.with_all { "binary" } else { "any" };
        let mut unmet = Vec::new();
        let mut check = self.command("dpkg-checkbuilddeps", &tree);
        if !target.with_all {
            // Without those of the packages for all architectures.
            check = check.arg("-A");
        }
        if !check.run_logged(&mut unmet, self.interrupt).map_err(failure)?.success() {
            return Err(unmet_dependencies(source, target, &unmet, log)?);
        }
        let build = self.command("dpkg-buildpackage", &tree).arg(format!("--build={kind}"));
        self.run(build.args(["--no-sign", "--root-command=fakeroot"]), log)
    }

    /// Begins a command that runs as the account, and with which everything dies that it started, if that can be had.
    fn command(&self, program: &str, directory: &Path) -> Command {
        let mut command = Command::new("setpriv");
        if self.account.is_other() {
            command = command
                .arg(format!("--reuid={}", self.account.user()))
                .arg(format!("--regid={}", self.account.group()))
                .arg("--init-groups");
        }
        command = command.args(["--pdeathsig", "KILL", "--no-new-privs", "--", "prlimit", "--core=0"]);
        command = command.arg(format!("--nproc={}", self.limits.processes)).arg("--");
        if can_end_all(self.account) {
            command = command.args(NAMESPACE).arg("--");
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let BuildLimits { time, silence, log, .. } = self.limits;
        command
            .arg(program)
            .env("HOME", "/nonexistent")
            .env("USER", self.account.name())
            .env("LOGNAME", self.account.name())
            .env("TMPDIR", self.entry.part(Part::Home))
            .env("DEB_BUILD_OPTIONS", format!("parallel={cores}"))
            .current_dir(directory)
            .limits(process::Limits { time, silence, output: log })
    }

    /// Runs a command of a build, which fails if it does.
    fn run(&self, command: Command, log: &mut (dyn Write + Send)) -> Result<(), Failure> {
        let mut tail = Tail::new(log);
        match command.run_logged(&mut tail, self.interrupt) {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(Failure::Package("it failed; the end of the log says why".to_owned())),
            Err(ProcessError::Limit { limit, .. }) => {
                writeln!(tail, "\ninvirtibuilder: it was ended: {limit}")?;
                Err(Failure::Package(format!("it was ended, because {limit}")))
            }
            Err(e) => Err(failure(e)),
        }
    }

    fn write_header(
        &self,
        source: &SourcePackage,
        target: &Target,
        log: &mut dyn Write,
    ) -> std::io::Result<()> {
        let plan = source.plan();
        let (package, version, commit) = (plan.package(), plan.version(), plan.commit());
        writeln!(log, "invirtibuilder: source {package} {version} from commit {commit}")?;
        let all = if target.with_all { " and all" } else { "" };
        let account = self.account.name();
        writeln!(log, "invirtibuilder: host for {}{all}, as {account}", target.architecture)?;
        writeln!(
            log,
            "invirtibuilder: warning: this builder contains nothing: the build sees this machine's files, packages and network"
        )
    }
}

fn failure(e: ProcessError) -> Failure {
    match e {
        ProcessError::Interrupted { .. } => Failure::Interrupted,
        e => Failure::Machine(e.into()),
    }
}

/// What makes the namespaces with whose first process all others die; the capabilities that it takes are gone before
/// the program begins.
const NAMESPACE: [&str; 7] =
    ["unshare", "--user", "--map-current-user", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Finds out whether an account may make a PID namespace.
fn can_end_all(account: &Account) -> bool {
    let mut command = Command::new("setpriv");
    if account.is_other() {
        command = command.arg(format!("--reuid={}", account.user()));
        command = command.arg(format!("--regid={}", account.group())).arg("--init-groups");
    }
    command.arg("--no-new-privs").arg("--").args(NAMESPACE).args(["--", "true"]).run().is_ok()
}

/// Tells what is not installed, and how it would be.
fn unmet_dependencies(
    source: &SourcePackage,
    target: &Target,
    said: &[u8],
    log: &mut dyn Write,
) -> std::io::Result<Failure> {
    let said = String::from_utf8_lossy(said);
    let said: Vec<_> = said.lines().map(|it| it.trim_start_matches("dpkg-checkbuilddeps: ").trim()).collect();
    let mut fields = vec!["Build-Depends", "Build-Depends-Arch"];
    if target.with_all {
        fields.push("Build-Depends-Indep");
    }
    let paragraph = source.control().paragraph();
    let declared = fields.into_iter().filter_map(|it| paragraph.get(it));
    let declared = declared.map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "));
    let declared: Vec<_> = declared.map(|it| it.trim_end_matches([',', ' ']).to_owned()).collect();
    let problem = format!(
        "this machine lacks build dependencies: {}; install them with `apt-get satisfy --no-install-recommends \"{}\"`, or let another builder build for the pocket",
        said.join("; "),
        declared.join(", ")
    );
    writeln!(log, "invirtibuilder: {problem}")?;
    Ok(Failure::Package(problem))
}

impl Builder for HostBuilder {
    fn build<'a>(
        &self,
        source: &SourcePackage,
        target: &Target,
        into: &Path,
        log: &mut (dyn Write + Send + 'a),
        interrupt: &(dyn Interrupt + 'a),
    ) -> Result<PathBuf, BuildError> {
        target.refuse_variation("host")?;
        let (package, version) = (source.plan().package().clone(), source.plan().version().clone());
        self.run(source, target, into, log, interrupt).map_err(|failure| match failure {
            Failure::Package(problem) => BuildError::Attempted { package, version, problem },
            Failure::Interrupted => BuildError::Interrupted,
            Failure::Machine(e) => BuildError::Backend(e),
        })
    }

    /// Returns the packages that every machine has: the essential ones, those that the system needs, and what builds
    /// packages.
    fn protected(&self, _: &BaseName, _: &Architecture) -> Result<BTreeSet<PackageName>, BuildError> {
        let query =
            Command::new("dpkg-query").args(["--show", "--showformat=${Package} ${Essential} ${Priority}\n"]);
        let output = query.run().map_err(|e| BuildError::Backend(e.into()))?;
        let text = String::from_utf8_lossy(&output).into_owned();
        let own = ["apt", "build-essential", "gcc", "g++", "make", "dpkg-dev", "libc6-dev"];
        let needed = text.lines().filter_map(|line| {
            let mut words = line.split(' ');
            let name = words.next()?;
            let is_needed = words.any(|it| matches!(it, "yes" | "required"));
            (is_needed || own.contains(&name)).then(|| name.parse().ok()).flatten()
        });
        Ok(needed.collect())
    }

    fn clean_up(&self) -> Result<(), BuildError> {
        if !self.scratch.directory().is_dir() {
            return Ok(());
        }
        let account = Account::find(&self.account).map_err(|e| BuildError::Backend(e.into()))?;
        let walls = Walls::new(account, self.limits.processes);
        self.scratch.remove_leftovers(&walls).map_err(BuildError::Backend)
    }
}
