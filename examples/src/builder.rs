//! A builder of packages that hold only data: what the source package has below `data/` is what gets installed.
//!
//! For fonts, policies, certificates, documentation: what needs no compiler. Never runs anything that the source
//! package brings along, so it needs no environment to lock it into.
//!
//! The contract of [`Builder`] is met in the places that are marked with its words in quotation marks.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use invirtibuilder_core::builder::{Builder, Target};
use invirtibuilder_core::durable;
use invirtibuilder_core::error::{BoxError, BuildError};
use invirtibuilder_core::names::{Architecture, BaseName, PackageName};
use invirtibuilder_core::process::{Command, Limits, ProcessError};
use invirtibuilder_core::states::SourcePackage;
use invirtibuilder_core::stop::Interrupt;

/// Where everything happens that is not a result; below the directory of the results, and removed in the end.
const WORK: &str = ".work";
/// A tool that takes longer than this has gone astray.
const PATIENCE: Duration = Duration::from_secs(300);

/// Builds one `Architecture: all` package from the `data/` directory of a source package.
///
/// A builder has no state of its own where it can do without: it may be called by several threads at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct DataBuilder;

impl Builder for DataBuilder {
    fn build<'a>(
        &self,
        source: &SourcePackage,
        target: &Target,
        into: &Path,
        log: &mut (dyn Write + Send + 'a),
        interrupt: &(dyn Interrupt + 'a),
    ) -> Result<PathBuf, BuildError> {
        let mut build = Build { source, into, work: into.join(WORK), log, interrupt };
        let result = build.run(target);
        // "Leaves there the .changes and every file that it names", and nothing else, also after a failure.
        let removed = durable::remove_directory(&build.work);
        let changes = result.map_err(|e| e.into_build_error(source))?;
        removed.map_err(|e| BuildError::Backend(e.into()))?;
        Ok(changes)
    }

    /// There is no base that a package could replace a part of.
    fn protected(&self, _: &BaseName, _: &Architecture) -> Result<BTreeSet<PackageName>, BuildError> {
        Ok(BTreeSet::new())
    }

    /// Does nothing: a build of a dead worker leaves files only in its job's workspace, which the pipeline empties
    /// before it builds again. sbuild's chroots would be removed here.
    fn clean_up(&self) -> Result<(), BuildError> {
        Ok(())
    }
}

/// Why there is no package, in the three ways that make a difference to what happens next.
enum Problem {
    /// The package is at fault: its job ends, and the submitter reads this.
    Package(String),
    /// The worker stops, or somebody cancelled the job.
    Interrupted,
    /// The machine is at fault: the job is given back and tried again.
    Machine(BoxError),
}

impl Problem {
    fn into_build_error(self, source: &SourcePackage) -> BuildError {
        match self {
            Self::Package(problem) => BuildError::Attempted {
                package: source.plan().package().clone(),
                version: source.plan().version().clone(),
                problem,
            },
            Self::Interrupted => BuildError::Interrupted,
            Self::Machine(e) => BuildError::Backend(e),
        }
    }
}

impl From<ProcessError> for Problem {
    fn from(e: ProcessError) -> Self {
        match e {
            ProcessError::Interrupted { .. } => Self::Interrupted,
            ProcessError::Failed { .. } | ProcessError::Limit { .. } => Self::Package(e.to_string()),
            ProcessError::Missing { .. } | ProcessError::Io { .. } => Self::Machine(e.into()),
        }
    }
}

impl From<durable::DurableError> for Problem {
    fn from(e: durable::DurableError) -> Self {
        Self::Machine(e.into())
    }
}

/// One run of the builder.
struct Build<'a> {
    source: &'a SourcePackage,
    into: &'a Path,
    work: PathBuf,
    log: &'a mut (dyn Write + Send),
    interrupt: &'a dyn Interrupt,
}

impl Build<'_> {
    fn run(&mut self, target: &Target) -> Result<PathBuf, Problem> {
        // "Ends soon after `interrupt` says so": here, and while each tool runs.
        if self.interrupt.is_interrupted() {
            return Err(Problem::Interrupted);
        }
        if !target.with_all {
            let problem = "this builder makes `Architecture: all` packages only, once for all architectures; \
                           give the pocket one architecture";
            return Err(Problem::Package(problem.to_owned()));
        }
        durable::create_directory(&self.work)?;
        let tree = self.work.join("tree");
        let dsc = self.source.control().path();
        // The tarball's signature is not what is trusted here: core has compared the files with the plan already.
        let unpack = Command::new("dpkg-source").args(["--no-check", "-x", "--"]).arg(dsc).arg(&tree);
        self.log_output(unpack)?;
        check_tree(&tree)?;
        self.pack(&tree)?;
        self.describe(&tree, target)
    }

    /// Makes the `.deb`. The same source package gives the same bytes: the changelog's time is the latest that a
    /// file may have, all belongs to root, and the compressor has one thread.
    fn pack(&mut self, tree: &Path) -> Result<(), Problem> {
        durable::create_directory(&tree.join("data/DEBIAN"))?;
        let control = self.tool("dpkg-gencontrol", tree).args(["-T/dev/null", "-Pdata"]);
        self.log_output(control.arg("-Odata/DEBIAN/control"))?;
        // Its output is read as data, and an exit status decides whether it is any.
        let time = Command::new("dpkg-parsechangelog").current_dir(tree).args(["-Fdebian", "-STimestamp"]);
        let time = String::from_utf8_lossy(&time.run_interruptible(self.interrupt)?).trim().to_owned();
        let deb = Command::new("dpkg-deb")
            .current_dir(tree)
            .env("SOURCE_DATE_EPOCH", time)
            .args(["--root-owner-group", "--threads-max=1", "-Zxz", "--build", "--", "data"])
            .arg(self.into);
        self.log_output(deb)
    }

    /// Makes the `.buildinfo` and the `.changes`, and returns the path of the latter.
    fn describe(&mut self, tree: &Path, target: &Target) -> Result<PathBuf, Problem> {
        let plan = self.source.plan();
        let stem = format!("{}_{}_{}", plan.package(), plan.version().without_epoch(), target.architecture);
        let path = self.into.join(format!("{stem}.changes"));
        for (tool, output) in
            [("dpkg-genbuildinfo", &self.into.join(format!("{stem}.buildinfo"))), ("dpkg-genchanges", &path)]
        {
            let command = self.tool(tool, tree).arg("--build=all");
            let command = command.arg(format!("-u{}", self.into.display()));
            self.log_output(command.arg(format!("-O{}", output.display())))?;
        }
        // The pipeline saves its decision to publish these files next: they must outlive the loss of power first.
        for entry in std::fs::read_dir(self.into).map_err(|e| Problem::Machine(e.into()))? {
            durable::sync_file(&entry.map_err(|e| Problem::Machine(e.into()))?.path())?;
        }
        durable::sync_directory(self.into)?;
        // "Success is decided by exit status and by the files that are there": core reads what this names, and
        // hashes it again, so there is nothing to prove here.
        Ok(path)
    }

    /// Begins a command of one of dpkg's tools that share a list of files.
    fn tool(&self, program: &str, tree: &Path) -> Command {
        let list = self.work.join("files");
        Command::new(program).current_dir(tree).arg("-Fdebian").arg(format!("-f{}", list.display()))
    }

    /// Runs a command whose words belong in the build log.
    ///
    /// `process` kills the whole process group when the command ends, however it does: "no process and no
    /// environment of the build is left".
    fn log_output(&mut self, command: Command) -> Result<(), Problem> {
        let limits = Limits { time: PATIENCE, silence: PATIENCE, ..Limits::default() };
        let status = command.limits(limits).run_logged(self.log, self.interrupt)?;
        if status.success() {
            return Ok(());
        }
        Err(Problem::Package(format!("a tool failed with {status}; the log says why")))
    }
}

/// Checks what the tools would follow. The tree is whatever somebody committed, and a link in it leads wherever it
/// wants to: "writes only below `into`" is broken by a `data` that is a link to `/etc`.
fn check_tree(tree: &Path) -> Result<(), Problem> {
    let kind = |name: &str| tree.join(name).symlink_metadata().ok();
    for name in ["debian/control", "debian/changelog"] {
        if !kind(name).is_some_and(|it| it.is_file()) {
            return Err(Problem::Package(format!("{name} is not a regular file; make it one")));
        }
    }
    if !kind("data").is_some_and(|it| it.is_dir()) {
        let problem = "there is no directory data; put there what the package shall install";
        return Err(Problem::Package(problem.to_owned()));
    }
    if kind("data/DEBIAN").is_some() {
        let problem =
            "data/DEBIAN is where the control file goes; a package of data has no scripts, remove it";
        return Err(Problem::Package(problem.to_owned()));
    }
    Ok(())
}
