//! The typed states of a job. Each is a proof that a stage happened.
//!
//! A proof has private fields and one constructor that checks, so wrong order does not compile and a backend can
//! neither forge a state nor needs to: backends return plain claims, and these constructors verify them. Proofs
//! are never serialized.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::control::{Changes, SourceControl};
use crate::error::VerifyError;
use crate::job::{Artifact, Checkpoint, Decision, Job};
use crate::names::{Architecture, CommitId, PackageName, PocketName, Principal, Suite, Version};
use crate::policy::{Held, OutputRejection, PocketSpec, Survey, Verdict};
use crate::publisher::Generation;

mod outputs;

pub(crate) use outputs::{Circumstances, Outputs, Run};

/// What policy decided for a job.
#[derive(Clone, Debug)]
pub enum Plan {
    /// There is nothing to do.
    Current(Version),
    /// Another pocket serves it: copy.
    Copy(CopyPlan),
    /// Export, build and publish.
    Build(BuildPlan),
}

impl Plan {
    /// Joins what policy decided with what it decided about. `spec_of` knows the pocket to copy from: it is one
    /// of those that policy was given.
    pub(crate) fn new(
        job: &Job,
        pocket: &PocketSpec,
        survey: &Survey,
        verdict: Verdict,
        spec_of: impl Fn(&PocketName) -> Option<PocketSpec>,
    ) -> Self {
        let expected_head = survey.heads.get(&pocket.name).map(|it| it.commit.clone());
        let plan = |version| BuildPlan {
            job: job.clone(),
            pocket: Arc::new(pocket.clone()),
            version,
            expected_head,
        };
        match verdict {
            Verdict::Current(version) => Self::Current(version),
            Verdict::Build(version) => Self::Build(plan(version)),
            Verdict::Copy { version, from } => match spec_of(&from) {
                Some(from) => Self::Copy(CopyPlan { from: Arc::new(from), plan: plan(version) }),
                None => Self::Build(plan(version)),
            },
        }
    }
}

/// A job that passed its pocket's policy, and is to be published in it.
#[derive(Clone, Debug)]
pub struct BuildPlan {
    job: Job,
    pocket: Arc<PocketSpec>,
    version: Version,
    expected_head: Option<CommitId>,
}

impl BuildPlan {
    /// Takes up the decision that an earlier worker saved, under the pocket's present configuration.
    pub(crate) fn resumed(job: &Job, pocket: &PocketSpec, checkpoint: &Checkpoint) -> Self {
        Self {
            job: job.clone(),
            pocket: Arc::new(pocket.clone()),
            version: checkpoint.version.clone(),
            expected_head: checkpoint.expected_head.clone(),
        }
    }

    /// Makes the plan to add an architecture to a version that the pocket serves from the job's commit.
    pub(crate) fn adding(job: &Job, pocket: &PocketSpec, version: Version) -> Self {
        let expected_head = Some(job.request.commit.clone());
        Self { job: job.clone(), pocket: Arc::new(pocket.clone()), version, expected_head }
    }

    /// Makes a plan for a backend's own tests, without a queue or a policy.
    #[cfg(any(test, feature = "conformance"))]
    #[must_use]
    pub fn for_tests(
        job: Job,
        pocket: PocketSpec,
        version: Version,
        expected_head: Option<CommitId>,
    ) -> Self {
        Self { job, pocket: Arc::new(pocket), version, expected_head }
    }

    /// Returns the job.
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Returns the pocket to publish in.
    #[must_use]
    pub fn pocket(&self) -> &PocketSpec {
        &self.pocket
    }

    /// Returns the package.
    #[must_use]
    pub fn package(&self) -> &PackageName {
        &self.job.request.package
    }

    /// Returns the commit.
    #[must_use]
    pub fn commit(&self) -> &CommitId {
        &self.job.request.commit
    }

    /// Returns who asked.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.job.request.principal
    }

    /// Returns the version.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Returns the suite to publish in.
    #[must_use]
    pub fn suite(&self) -> &Suite {
        &self.pocket.suite
    }

    /// Returns the head of the pocket's branch when the plan was made; `None` if there was no branch.
    #[must_use]
    pub fn expected_head(&self) -> Option<&CommitId> {
        self.expected_head.as_ref()
    }
}

/// A plan to copy what another pocket serves.
#[derive(Clone, Debug)]
pub struct CopyPlan {
    plan: BuildPlan,
    from: Arc<PocketSpec>,
}

impl CopyPlan {
    pub(crate) fn resumed(plan: BuildPlan, from: &PocketSpec) -> Self {
        Self { plan, from: Arc::new(from.clone()) }
    }

    /// Makes a plan for a backend's own tests, without a queue or a policy.
    #[cfg(any(test, feature = "conformance"))]
    #[must_use]
    pub fn for_tests(plan: BuildPlan, from: PocketSpec) -> Self {
        Self { plan, from: Arc::new(from) }
    }

    /// Returns what is copied, and where to.
    #[must_use]
    pub fn plan(&self) -> &BuildPlan {
        &self.plan
    }

    /// Returns the pocket that it is copied from.
    #[must_use]
    pub fn from(&self) -> &PocketSpec {
        &self.from
    }

    pub(crate) fn into_plan(self) -> BuildPlan {
        self.plan
    }
}

/// A source package on disk that matches its plan.
#[derive(Debug)]
pub struct SourcePackage {
    plan: BuildPlan,
    control: SourceControl,
    notes: Vec<String>,
}

impl SourcePackage {
    /// Reads the `.dsc`, checks it against the plan, and checks the size and hashes of every file that it names.
    pub(crate) fn verify(plan: BuildPlan, dsc: &Path) -> Result<Self, VerifyError> {
        let control = SourceControl::read(dsc)?;
        if control.package() != plan.package() || control.version().as_str() != plan.version.as_str() {
            let (package, version) = (control.package(), control.version());
            let problem = format!("it is {package} {version}, not {} {}", plan.package(), plan.version);
            return Err(VerifyError::new(dsc, problem));
        }
        Ok(Self { plan, control, notes: Vec::new() })
    }

    /// Reads a source package for a backend's own tests.
    #[cfg(any(test, feature = "conformance"))]
    pub fn for_tests(plan: BuildPlan, dsc: &Path) -> Result<Self, VerifyError> {
        Self::verify(plan, dsc)
    }

    /// Returns the plan.
    #[must_use]
    pub fn plan(&self) -> &BuildPlan {
        &self.plan
    }

    /// Adds what the exporter told of how it was made.
    pub(crate) fn with_notes(self, notes: Vec<String>) -> Self {
        Self { notes, ..self }
    }

    /// Returns what the exporter told of how it was made, a sentence each; nothing after a restart.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns what the `.dsc` says, and its files.
    #[must_use]
    pub fn control(&self) -> &SourceControl {
        &self.control
    }
}

/// A source package and its binary packages on disk, for all architectures, that match their plan.
#[derive(Debug)]
pub struct BuildArtifacts {
    plan: BuildPlan,
    source: SourceControl,
    builds: Vec<Changes>,
}

impl BuildArtifacts {
    /// Reads what was admitted before a crash, and checks that every file is still what its `.changes` says.
    ///
    /// What else the output gate asks was answered before the checkpoint was saved, and is not asked again: the
    /// answers may have changed since, also because this very job had published already.
    pub(crate) fn verify(source: SourcePackage, changes: &[PathBuf]) -> Result<Self, OutputRejection> {
        // What each was for has been judged.
        let run =
            |it: &PathBuf| Run { architecture: Architecture::all(), with_all: true, changes: it.clone() };
        let runs: Vec<Run> = changes.iter().map(run).collect();
        Outputs::read(source, &runs, u64::MAX).admit_again()
    }

    /// Reads the results of a build for a backend's own tests.
    #[cfg(any(test, feature = "conformance"))]
    pub fn for_tests(source: SourcePackage, changes: &[PathBuf]) -> Result<Self, OutputRejection> {
        Self::verify(source, changes)
    }

    /// Returns the plan.
    #[must_use]
    pub fn plan(&self) -> &BuildPlan {
        &self.plan
    }

    /// Returns the source package.
    #[must_use]
    pub fn source(&self) -> &SourceControl {
        &self.source
    }

    /// Returns the runs of the builder, one for each architecture.
    #[must_use]
    pub fn builds(&self) -> &[Changes] {
        &self.builds
    }

    /// Returns every file with the directory that it lies in.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &Artifact)> {
        let source = self.source.files().iter().map(|file| (self.source.directory(), file));
        source.chain(self.builds.iter().flat_map(|it| it.files().iter().map(|file| (it.directory(), file))))
    }

    /// Returns the decision to publish these files, relative to `workspace`.
    pub(crate) fn checkpoint(&self, workspace: &Path) -> Result<Checkpoint, VerifyError> {
        let relative = |path: &Path| {
            let inside = path.strip_prefix(workspace).map(Path::to_owned);
            inside.map_err(|_| VerifyError::new(path, format!("it is not below {}", workspace.display())))
        };
        let changes = self.builds.iter().map(|it| relative(it.path())).collect::<Result<_, _>>()?;
        Ok(Checkpoint {
            version: self.plan.version.clone(),
            expected_head: self.plan.expected_head.clone(),
            notes: Vec::new(),
            bases: Vec::new(),
            decision: match self.plan.job.request.adds {
                None => Decision::Publish { dsc: relative(self.source.path())?, changes },
                Some(_) => Decision::Add { dsc: relative(self.source.path())?, changes },
            },
        })
    }

    pub(crate) fn into_plan(self) -> BuildPlan {
        self.plan
    }
}

/// The archive serves the package.
#[derive(Debug)]
pub struct Published {
    plan: BuildPlan,
    copied_from: Option<PocketName>,
    generation: Option<Generation>,
}

impl Published {
    /// Checks what the archive serves now. An exit status of zero is no proof: `reprepro copy` of nothing
    /// exits with zero.
    pub(crate) fn verify(
        plan: BuildPlan,
        copied_from: Option<PocketName>,
        generation: Option<Generation>,
        held: Option<&Held>,
    ) -> Result<Self, VerifyError> {
        let problem = match held {
            Some(held) if held.version.as_str() == plan.version.as_str() => match &held.commit {
                Some(other) if other != plan.commit() => {
                    format!("it serves {} from commit {other}", held.version)
                }
                _ => return Ok(Self { plan, copied_from, generation }),
            },
            Some(held) => format!("it serves {} and not {}", held.version, plan.version),
            None => format!("it does not serve {} {}", plan.package(), plan.version),
        };
        Err(VerifyError::new(format!("the suite {}", plan.suite()), problem))
    }

    /// Makes a proof for a backend's own tests.
    #[cfg(any(test, feature = "conformance"))]
    #[must_use]
    pub fn for_tests(plan: BuildPlan) -> Self {
        Self { plan, copied_from: None, generation: None }
    }

    /// Returns the plan.
    #[must_use]
    pub fn plan(&self) -> &BuildPlan {
        &self.plan
    }

    /// Returns the pocket that it was copied from; `None` if it was built.
    #[must_use]
    pub fn copied_from(&self) -> Option<&PocketName> {
        self.copied_from.as_ref()
    }

    /// Returns the generation of the suite in which it came; `None` if the publisher does not number them.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        self.generation
    }
}

/// Git says the same as the archive: branch, tag and superproject.
#[derive(Debug)]
pub struct Recorded {
    plan: BuildPlan,
    copied_from: Option<PocketName>,
    generation: Option<Generation>,
}

impl Recorded {
    /// Checks what Git says now.
    pub(crate) fn verify(published: Published, survey: &Survey) -> Result<Self, VerifyError> {
        let Published { plan, copied_from, generation } = published;
        let subject = || format!("the Git repository of {}", plan.package());
        let head = survey.heads.get(&plan.pocket.name).map(|it| &it.commit);
        if head != Some(plan.commit()) {
            let found = head.map_or("nothing", CommitId::as_str);
            let problem = format!("branch {} is at {found}, not at {}", plan.pocket.branch, plan.commit());
            return Err(VerifyError::new(subject(), problem));
        }
        let tagged = survey.tagged.as_ref();
        if !plan.pocket.policy.allow_backtracking && tagged != Some(plan.commit()) {
            let found = tagged.map_or("nothing", CommitId::as_str);
            return Err(VerifyError::new(
                subject(),
                format!("the tag of {} is at {found}, not at {}", plan.version, plan.commit()),
            ));
        }
        Ok(Self { plan, copied_from, generation })
    }

    /// Returns the plan.
    #[must_use]
    pub fn plan(&self) -> &BuildPlan {
        &self.plan
    }

    /// Returns the pocket that it was copied from; `None` if it was built.
    #[must_use]
    pub fn copied_from(&self) -> Option<&PocketName> {
        self.copied_from.as_ref()
    }

    /// Returns the generation of the suite in which it came; `None` if the publisher does not number them.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        self.generation
    }
}
