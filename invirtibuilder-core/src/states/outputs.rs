//! What builds left, from the files on disk to the proof that they may be published.
//!
//! Gathers what the files say; [`crate::policy`] judges.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{BuildArtifacts, BuildPlan, SourcePackage};
use crate::control::Changes;
use crate::error::VerifyError;
use crate::names::{Architecture, PackageName};
use crate::policy::{self, BuiltBinary, Declaration, OutputFacts, OutputRejection, OutputViolation};
use crate::publisher::Owners;

/// What the builder left, read but not judged.
#[derive(Debug)]
pub(crate) struct Outputs {
    source: SourcePackage,
    /// The runs of the builder whose `.changes` could be read, with the architecture of each, and whether it was to
    /// make the packages for all architectures.
    builds: Vec<(Architecture, bool, Changes)>,
    problems: Vec<OutputViolation>,
}

/// A run of the builder that succeeded: what it was for, and where it says what it left.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// The architecture.
    pub(crate) architecture: Architecture,
    /// Whether it was to make the packages for all architectures.
    pub(crate) with_all: bool,
    /// The `.changes` file.
    pub(crate) changes: PathBuf,
}

/// What a build is judged by that is not in its files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances<'a> {
    /// What `debian/control` of the commit declares.
    pub(crate) declared: &'a Declaration,
    /// Who owns the names of the binary packages in the plan's suite.
    pub(crate) owners: &'a Owners,
    /// The packages of the base.
    pub(crate) protected: &'a BTreeSet<PackageName>,
}

impl Outputs {
    /// Reads the `.changes` file of each run, and every file that it names.
    ///
    /// Of files that have more than `limit` bytes together, none is read. What is wrong is remembered for the
    /// judgement.
    pub(crate) fn read(source: SourcePackage, runs: &[Run], limit: u64) -> Self {
        let (plan, mut builds, mut problems) = (source.plan(), Vec::new(), Vec::new());
        let mut bytes: u64 = 0;
        for Run { architecture, with_all, changes: path } in runs {
            let found = match Changes::inspect(path, limit.saturating_sub(bytes)) {
                Ok(found) => found,
                Err(e) => {
                    problems.push(unfit(&e));
                    continue;
                }
            };
            bytes = bytes.saturating_add(found.bytes);
            problems.extend(found.problems.iter().map(unfit));
            let build = found.changes;
            if build.package() != plan.package() || build.version().as_str() != plan.version.as_str() {
                problems.push(OutputViolation::OtherSubject {
                    file: file_name(path),
                    found: build.package().clone(),
                    found_version: build.version().clone(),
                    package: plan.package().clone(),
                    version: plan.version.clone(),
                });
            }
            builds.push((architecture.clone(), *with_all, build));
        }
        if bytes > limit {
            problems.push(OutputViolation::TooLarge { found: bytes, limit });
        }
        if runs.is_empty() {
            let problem = "no build of it has a .changes file".to_owned();
            problems.push(OutputViolation::Unfit { file: file_name(source.control().path()), problem });
        }
        Self { source, builds, problems }
    }

    /// Returns the plan.
    pub(crate) fn plan(&self) -> &BuildPlan {
        self.source.plan()
    }

    /// Returns the binary packages.
    pub(crate) fn binaries(&self) -> Vec<BuiltBinary<'_>> {
        self.builds
            .iter()
            .flat_map(|(target, with_all, build)| {
                build.binaries().iter().map(|it| it.as_built(target, *with_all))
            })
            .collect()
    }

    /// Judges everything, and proves it.
    pub(crate) fn admit(self, circumstances: Circumstances<'_>) -> Result<BuildArtifacts, OutputRejection> {
        let plan = self.plan();
        let Circumstances { declared, owners, protected } = circumstances;
        let broken = policy::check_output(&OutputFacts {
            package: plan.package(),
            version: plan.version(),
            pocket: plan.pocket(),
            declared,
            binaries: &self.binaries(),
            owners,
            protected,
        });
        self.prove(broken)
    }

    /// Judges what does not depend on anything outside of the files, and proves that.
    pub(super) fn admit_again(self) -> Result<BuildArtifacts, OutputRejection> {
        let plan = self.plan();
        let broken = policy::check_identity(plan.package(), plan.version(), &self.binaries());
        self.prove(broken)
    }

    fn prove(self, broken: Vec<OutputViolation>) -> Result<BuildArtifacts, OutputRejection> {
        let Self { source: SourcePackage { plan, control, .. }, builds, mut problems } = self;
        problems.extend(broken);
        if let Some(rejection) = OutputRejection::of(problems) {
            return Err(rejection);
        }
        Ok(BuildArtifacts { plan, source: control, builds: builds.into_iter().map(|it| it.2).collect() })
    }
}

fn unfit(error: &VerifyError) -> OutputViolation {
    OutputViolation::Unfit { file: file_name(&error.subject), problem: error.problem.clone() }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
