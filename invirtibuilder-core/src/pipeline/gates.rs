//! The stage examine: what the pocket's gates ask of packages that were built, or that are to be copied.
//!
//! It stands between the output gate and the checkpoint, and touches only the workspace and the logs. Where a pocket
//! asks nothing, nothing happens here.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use super::fan_out::targets;
use super::{InStage, Pipeline, Setback, Working, empty_directory};
use crate::builder::{Target, Variation};
use crate::control::{BinaryControl, Changes, differences_of_packages};
use crate::durable::{self, scratch};
use crate::error::{BoxError, BuildError, StageError, VerifyError};
use crate::examiner::{Examined, Subject};
use crate::job::{Job, Stage};
use crate::names::{Architecture, PackageName, PocketName};
use crate::policy::{self, Copies, Finding, GateKind, GateRejection, Note, PocketSpec};
use crate::publisher::ServedFile;
use crate::states::{BuildArtifacts, BuildPlan, CopyPlan, SourcePackage};

/// How many differences between two packages are told in a finding; the log has all.
const TOLD: usize = 5;

/// What was examined before it is copied, so that nothing else is.
#[derive(Debug)]
pub(super) struct Vetted {
    from: PocketName,
    files: Vec<ServedFile>,
    notes: Vec<Note>,
}

/// Returns whether a log is one of a gate's: `kind` is what its name has behind the job's id.
pub(super) fn is_log(kind: &str) -> bool {
    let is_of = |gate: GateKind| {
        kind.strip_prefix(gate.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    GateKind::CONFIGURED.into_iter().any(is_of) || is_of(GateKind::Rebuild)
}

impl Pipeline {
    /// Asks all that the pocket asks of what was built. Returns what is to be noted.
    pub(super) fn examine(
        &self,
        artifacts: &BuildArtifacts,
        working: &mut Working<'_>,
    ) -> Result<Vec<Note>, Setback> {
        let plan = artifacts.plan();
        if plan.pocket().building.gates.asked().next().is_none() {
            return Ok(Vec::new());
        }
        working.enter(Stage::Examine);
        let subject = || -> Result<Subject, StageError> {
            let source = SourcePackage::verify(plan.clone(), artifacts.source().path())?;
            let binaries = artifacts.builds().iter().flat_map(|build| {
                let directory = build.directory();
                build.binaries().iter().map(|it| examined(directory, it.clone()))
            });
            self.subject(source, binaries.collect())
        };
        let subject = subject().in_stage(Stage::Examine)?;
        let found = self.ask(&subject, working).in_stage(Stage::Examine)?;
        policy::weigh(&plan.pocket().building.gates, found).in_stage(Stage::Examine)
    }

    /// Asks all that the pocket asks of what is to be copied into it; `None` if that is nothing.
    pub(super) fn vet(&self, copy: &CopyPlan, working: &mut Working<'_>) -> Result<Option<Vetted>, Setback> {
        if !asks(copy.plan().pocket()) {
            return Ok(None);
        }
        working.enter(Stage::Examine);
        self.vet_files(copy, working).map(Some).in_stage(Stage::Examine)
    }

    /// Returns what is to be noted of a copy that is about to be decided.
    ///
    /// # Errors
    /// Something else would be copied than was examined: the job begins again.
    pub(super) fn let_pass(&self, copy: &CopyPlan, vetted: Option<Vetted>) -> Result<Vec<Note>, StageError> {
        let plan = copy.plan();
        if !asks(plan.pocket()) {
            return Ok(Vec::new());
        }
        if let Some(vetted) = vetted
            && vetted.from == copy.from().name
            && vetted.files == self.publisher.files(&copy.from().suite, plan.package())?
        {
            return Ok(vetted.notes);
        }
        let problem =
            format!("{} serves it now, and that has not been examined yet; it will be", copy.from().name);
        let (package, version) = (plan.package().clone(), plan.version().clone());
        Err(BuildError::GivenBack { package, version, problem }.into())
    }

    /// Returns the causes of a failure at the gates: what happened, a line for each fault, and where the logs are.
    pub(super) fn gate_causes(&self, job: &Job, rejection: &GateRejection) -> Vec<String> {
        let first = format!(
            "{} was built, but the gates of {} refuse it, so nothing of it is published",
            job.request.package, job.request.pocket
        );
        let logs = self.log_of(job).and_then(|it| it.parent().map(Path::to_owned));
        let logs = logs.unwrap_or_else(|| self.logs.join(job.request.package.as_str()));
        let logs = format!("the gates' logs are {}/{}-<gate>.log", logs.display(), job.id);
        [first].into_iter().chain(rejection.reasons()).chain([logs]).collect()
    }

    fn vet_files(&self, copy: &CopyPlan, working: &Working<'_>) -> Result<Vetted, StageError> {
        let plan = copy.plan();
        let files = self.publisher.files(&copy.from().suite, plan.package())?;
        let directory = empty_directory(working.claim.workspace(), "served").map_err(backend)?;
        let (mut dsc, mut binaries) = (None, Vec::new());
        for file in &files {
            let path = directory.join(file.name());
            scratch::copy(&file.path, &path).map_err(backend)?;
            if file.name().ends_with(".dsc") {
                dsc = Some(path);
            } else if is_package(file.name()) {
                let name = file.name().parse().map_err(|e| BuildError::Backend(Box::new(e)))?;
                let size = std::fs::metadata(&path).map_err(backend)?.len();
                let control = BinaryControl::read_known(&path, &name, size, &file.sha256)?;
                let is_wanted = |it: &Architecture| {
                    *it == Architecture::all() || plan.pocket().all_architectures().any(|own| own == it)
                };
                if is_wanted(control.architecture()) {
                    binaries.push(examined(&directory, control));
                }
            }
        }
        let suite = &copy.from().suite;
        let dsc = dsc.ok_or_else(|| {
            VerifyError::new(format!("the suite {suite}"), format!("it has no .dsc of {}", plan.package()))
        })?;
        let subject = self.subject(SourcePackage::verify(plan.clone(), &dsc)?, binaries)?;
        let mut found = Vec::new();
        if plan.pocket().policy.copies == Copies::Rebuilt {
            // What is rebuilt is the commit, and not what the other pocket says that its source is.
            let source = self.export(plan.clone(), working.claim.workspace())?;
            let differing =
                self.build_again(GateKind::Rebuild, Variation::None, &source, &subject.binaries, working)?;
            found.extend(differing.into_iter().map(|it| (GateKind::Rebuild, it)));
        }
        found.extend(self.ask(&subject, working)?);
        let notes = policy::weigh(&plan.pocket().building.gates, found)?;
        Ok(Vetted { from: copy.from().name.clone(), files, notes })
    }

    fn subject(&self, source: SourcePackage, binaries: Vec<Examined>) -> Result<Subject, StageError> {
        let (plan, mut beside) = (source.plan(), BTreeMap::new());
        if plan.pocket().building.gates.asked().any(|it| it == GateKind::Installability) {
            for architecture in &plan.pocket().architectures {
                let mut paragraphs = Vec::new();
                for suite in self.suites_beside(plan) {
                    let all = self.publisher.paragraphs(&suite.suite, architecture)?;
                    // What the suite has of the package now makes way, unless this only adds to it.
                    let is_own = suite.name == plan.pocket().name && plan.job().request.adds.is_none();
                    paragraphs.extend(all.into_iter().filter(|it| !(is_own && is_of(it, plan.package()))));
                }
                beside.insert(architecture.clone(), paragraphs);
            }
        }
        Ok(Subject { source, binaries, beside })
    }

    /// Returns the pockets whose packages a machine has that installs from the plan's pocket.
    fn suites_beside(&self, plan: &BuildPlan) -> Vec<&PocketSpec> {
        let own = &plan.pocket().name;
        let others = plan.pocket().building.build_against.iter().filter(|it| *it != own);
        std::iter::once(own).chain(others).filter_map(|it| self.spec(it)).collect()
    }

    fn ask(&self, subject: &Subject, working: &Working<'_>) -> Result<Vec<(GateKind, Finding)>, StageError> {
        let plan = subject.source.plan();
        let mut all = Vec::new();
        for gate in plan.pocket().building.gates.asked() {
            let found = if gate == GateKind::Reproducibility {
                self.build_again(gate, Variation::All, &subject.source, &subject.binaries, working)?
            } else {
                let path = self.log_path(working.claim.job(), plan.version(), gate.as_str());
                let mut log = durable::create_log(&path).map_err(backend)?;
                let examiner = self.examiner.as_ref().ok_or_else(|| {
                    let problem = format!("nothing here can examine packages for the gate {gate}");
                    BuildError::Backend(problem.into())
                })?;
                let found = examiner.examine(gate, subject, &mut log, working)?;
                conclude(&mut log, &found).map_err(|e| BuildError::Backend(e.into()))?;
                found
            };
            tracing::info!(gate = gate.as_str(), findings = found.len(), "a gate has asked");
            all.extend(found.into_iter().map(|it| (gate, it)));
        }
        Ok(all)
    }

    /// Builds once more, and compares each binary package with one that is there, bit by bit.
    fn build_again(
        &self,
        gate: GateKind,
        variation: Variation,
        source: &SourcePackage,
        first: &[Examined],
        working: &Working<'_>,
    ) -> Result<Vec<Finding>, StageError> {
        let built = match self.run_all(
            source,
            &self.targets_again(source, variation, first)?,
            &format!("{gate}-"),
            working,
            working,
        ) {
            Err(BuildError::Attempted { problem, .. }) => {
                // The log of the job is that of its first build.
                *working.failed_log.lock().unwrap_or_else(PoisonError::into_inner) = None;
                return Ok(vec![Finding::Fault(format!("it does not build again: {problem}"))]);
            }
            other => other?,
        };
        let mut second = BTreeMap::new();
        for run in &built {
            let found = Changes::inspect(&run.changes, self.max_results)?;
            if let Some(problem) = found.problems.into_iter().next() {
                return Err(problem.into());
            }
            let directory = found.changes.directory().to_owned();
            for binary in found.changes.binaries() {
                let examined = examined(&directory, binary.clone());
                second.insert(examined.name().to_owned(), examined);
            }
        }
        let path = self.log_path(working.claim.job(), source.plan().version(), gate.as_str());
        let mut log = durable::create_log(&path).map_err(backend)?;
        let found = compare(first, second, &mut log).map_err(BuildError::Backend)?;
        Ok(found)
    }
}

impl Pipeline {
    /// Returns what is built again to be compared with packages that are there.
    fn targets_again(
        &self,
        source: &SourcePackage,
        variation: Variation,
        first: &[Examined],
    ) -> Result<Vec<Target>, StageError> {
        let plan = source.plan();
        let pocket = plan.pocket();
        let target = |architecture: &Architecture, with_all| Target {
            architecture: architecture.clone(),
            with_all,
            base: pocket.base.clone(),
            variation,
        };
        if let Some(added) = &plan.job().request.adds {
            return Ok(vec![target(added, false)]);
        }
        let required = targets(pocket, &self.declared(plan)?);
        let mut all: Vec<Target> = required.iter().map(|it| target(&it.architecture, it.with_all)).collect();
        // What another pocket serves of them is copied too.
        let is_there = |it: &&Architecture| first.iter().any(|one| one.control.architecture() == *it);
        all.extend(pocket.building.optional.iter().filter(is_there).map(|it| target(it, false)));
        Ok(all)
    }
}

fn asks(pocket: &PocketSpec) -> bool {
    pocket.policy.copies == Copies::Rebuilt || pocket.building.gates.asked().next().is_some()
}

fn examined(directory: &Path, control: BinaryControl) -> Examined {
    Examined { directory: directory.to_owned(), control }
}

fn backend(e: impl Into<BoxError>) -> StageError {
    BuildError::Backend(e.into()).into()
}

fn is_package(name: &str) -> bool {
    [".deb", ".udeb", ".ddeb"].iter().any(|ending| name.ends_with(ending))
}

/// Returns whether a paragraph of `Packages` is of a source package.
fn is_of(paragraph: &str, source: &PackageName) -> bool {
    let field = |name: &str| paragraph.lines().find_map(|it| it.strip_prefix(name)).map(str::trim);
    let named = field("Source:").and_then(|it| it.split_whitespace().next()).or_else(|| field("Package:"));
    named == Some(source.as_str())
}

fn conclude(log: &mut dyn Write, found: &[Finding]) -> std::io::Result<()> {
    for finding in found {
        match finding {
            Finding::Fault(text) => writeln!(log, "invirtibuilder: fault: {text}")?,
            Finding::Remark(text) => writeln!(log, "invirtibuilder: remark: {text}")?,
        }
    }
    if found.is_empty() {
        writeln!(log, "invirtibuilder: nothing was found")?;
    }
    Ok(())
}

/// Compares packages by their bits; the log says where those differ that are not the same.
fn compare(
    first: &[Examined],
    mut second: BTreeMap<PathBuf, Examined>,
    log: &mut dyn Write,
) -> Result<Vec<Finding>, BoxError> {
    let mut found = Vec::new();
    for one in first {
        let (name, sum) = (one.name().display(), &one.control.artifact().sha256);
        let Some(other) = second.remove(one.name()) else {
            found.push(Finding::Fault(format!("{name} is not made again")));
            continue;
        };
        if *sum == other.control.artifact().sha256 {
            writeln!(log, "invirtibuilder: {name} is the same: SHA-256 {sum}")?;
            continue;
        }
        writeln!(log, "invirtibuilder: {name} differs: {sum} and {}", other.control.artifact().sha256)?;
        let differences = differences_of_packages(&one.path(), &other.path());
        let differences = differences.unwrap_or_else(|e| vec![format!("a way that cannot be told: {e}")]);
        for it in &differences {
            writeln!(log, "invirtibuilder:   {it}")?;
        }
        let told: Vec<&str> = differences.iter().take(TOLD).map(String::as_str).collect();
        let more = match differences.len().saturating_sub(TOLD) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        found.push(Finding::Fault(format!("{name} differs in {}{more}", told.join(", "))));
    }
    for name in second.into_keys() {
        found.push(Finding::Fault(format!("{} is made only the second time", name.display())));
    }
    conclude(log, &found)?;
    Ok(found)
}

#[cfg(test)]
mod tests;
