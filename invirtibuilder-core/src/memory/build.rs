//! An exporter and a builder that make the smallest real packages, without any tool.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::files::{Binary, write_build, write_source_with};
use super::{Irreproducible, Memory};
use crate::builder::{Builder, Target};
use crate::error::{BuildError, ExportError};
use crate::examiner::{Examiner, Subject};
use crate::exporter::{Exported, Exporter};
use crate::names::{Architecture, BaseName, PackageName};
use crate::policy::{Finding, GateKind};
use crate::states::{BuildPlan, SourcePackage};
use crate::stop::Interrupt;

/// The file that names the format of a source package (dpkg-source(1)).
const FORMAT_FILE: &str = "debian/source/format";
/// The only format that is made here.
const NATIVE: &str = "3.0 (native)";

/// An [`Exporter`] of the commits in a [`World`](super::World).
#[derive(Clone, Debug)]
pub struct MemoryExporter(pub Memory);

impl Exporter for MemoryExporter {
    fn export(&self, plan: &BuildPlan, into: &Path) -> Result<Exported, ExportError> {
        let (package, commit) = (plan.package(), plan.commit());
        let found = self.0.world().repositories.get(package).and_then(|commits| commits.get(commit)).cloned();
        let malformed = |problem: String| ExportError::Malformed {
            package: package.clone(),
            commit: commit.clone(),
            problem,
        };
        let Some(found) = found else {
            return Err(malformed("there is no such commit; push it and submit it again".to_owned()));
        };
        let format = found.files.get(FORMAT_FILE).map_or(NATIVE, |it| it.trim());
        if format != NATIVE {
            return Err(malformed(format!("{FORMAT_FILE} is {format:?}; write {NATIVE:?} into it")));
        }
        let exported = self
            .0
            .effect("export", |_| write_source_with(into, package, plan.version(), commit, &found.files));
        exported.and_then(|it| it).map(Exported::from).map_err(ExportError::Backend)
    }
}

/// An [`Examiner`] that finds what a [`World`](super::World) says.
#[derive(Clone, Debug)]
pub struct MemoryExaminer(pub Memory);

impl Examiner for MemoryExaminer {
    fn examine<'a>(
        &self,
        gate: GateKind,
        subject: &Subject,
        log: &mut (dyn Write + Send + 'a),
        interrupt: &(dyn Interrupt + 'a),
    ) -> Result<Vec<Finding>, BuildError> {
        let plan = subject.source.plan();
        writeln!(log, "{gate} of {} {}", plan.package(), plan.version())
            .map_err(|e| BuildError::Backend(e.into()))?;
        if interrupt.is_interrupted() {
            return Err(BuildError::Interrupted);
        }
        let found = self.0.effect("examine", |world| world.findings.get(&gate).cloned());
        found.map(Option::unwrap_or_default).map_err(BuildError::Backend)
    }
}

/// A [`Builder`] that makes each package that is declared, with one file. Where a [`World`](super::World) says so, that
/// file depends on the environment, or on how many builds there were.
#[derive(Clone, Debug)]
pub struct MemoryBuilder(pub Memory);

impl Builder for MemoryBuilder {
    fn build<'a>(
        &self,
        source: &SourcePackage,
        target: &Target,
        into: &Path,
        log: &mut (dyn Write + Send + 'a),
        interrupt: &(dyn Interrupt + 'a),
    ) -> Result<PathBuf, BuildError> {
        let plan = source.plan();
        writeln!(log, "building {} {}", plan.package(), plan.version())
            .map_err(|e| BuildError::Backend(e.into()))?;
        if interrupt.is_interrupted() {
            return Err(BuildError::Interrupted);
        }
        let content = format!("{} {}\n", plan.package(), plan.commit());
        let is_like = self.0.world().irreproducible;
        let more = match is_like {
            Irreproducible::Never => String::new(),
            Irreproducible::ByVariation => format!("built in {:?}\n", target.variation),
            Irreproducible::Always => format!("built after {} effects\n", self.0.world().effects.len()),
        };
        let content = content + &more;
        let binary = |package: &PackageName, architecture: &Architecture| Binary {
            package: package.clone(),
            architecture: architecture.clone(),
            content: content.clone(),
        };
        let declared = self.0.world().declared.get(plan.package()).cloned();
        let all = Architecture::all();
        let made = [target.with_all.then_some(&all), Some(&target.architecture)];
        let binaries: Vec<Binary> = match declared {
            None => vec![binary(plan.package(), made.into_iter().flatten().next().unwrap_or(&all))],
            Some(declared) => {
                let of =
                    |of| declared.binaries.iter().filter(move |it| it.is_for(of)).map(move |it| (it, of));
                let made = made.into_iter().flatten().flat_map(of);
                made.map(|(it, of)| binary(&it.package, of)).collect()
            }
        };
        let built = self.0.effect("build", |_| {
            write_build(into, plan.package(), plan.version(), &target.architecture, &binaries)
        });
        built.and_then(|it| it).map_err(BuildError::Backend)
    }

    fn protected(&self, _: &BaseName, _: &Architecture) -> Result<BTreeSet<PackageName>, BuildError> {
        Ok(self.0.world().protected.clone())
    }

    fn clean_up(&self) -> Result<(), BuildError> {
        Ok(())
    }
}
