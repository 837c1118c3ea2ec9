//! An exporter and a builder that make the smallest real packages, without any tool.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::Memory;
use super::files::{Binary, write_build, write_source_with};
use crate::builder::{Builder, Target};
use crate::error::{BuildError, ExportError};
use crate::exporter::Exporter;
use crate::names::{Architecture, BaseName, PackageName};
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
    fn export(&self, plan: &BuildPlan, into: &Path) -> Result<PathBuf, ExportError> {
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
        exported.and_then(|it| it).map_err(ExportError::Backend)
    }
}

/// A [`Builder`] that makes one package with one file.
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
        let architecture = if target.with_all { Architecture::all() } else { target.architecture.clone() };
        let content = format!("{} {}\n", plan.package(), plan.commit());
        let binary = Binary { package: plan.package().clone(), architecture, content };
        let built = self.0.effect("build", |_| {
            write_build(into, plan.package(), plan.version(), &target.architecture, &[binary])
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
