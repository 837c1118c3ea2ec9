//! The only place that knows the order of the stages.
//!
//! Before the checkpoint nothing outside the job's workspace is touched, and a job may be thrown away or begun
//! again. After it everything is idempotent and only rolls forward. There is no separate recovery: a new job and one
//! that a crash interrupted take the same path, the second from its checkpoint on. Undo is a publication of its own.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use crate::audit::AuditLog;
use crate::builder::Builder;
use crate::durable;
use crate::error::{Disposition, ExportError, PocketError, StageError, VerifyError};
use crate::examiner::Examiner;
use crate::exporter::Exporter;
use crate::hooks::Announce;
use crate::job::{Checkpoint, Decision, Job, Outcome, Request, Stage};
use crate::names::{PocketName, Principal, Snapshot, Version};
use crate::pocket::Pocket;
use crate::pocket::locks::{Hold, PocketLocks};
use crate::policy::{self, Access, Facts, Note, PocketSpec, Survey, Verdict, Versions, Violation};
use crate::provenance::Attestor;
use crate::publisher::Publisher;
use crate::queue::Claim;
use crate::states::{BuildArtifacts, BuildPlan, CopyPlan, Plan, Published, Recorded, SourcePackage};
use crate::stop::Stop;

mod adding;
mod ending;
mod fan_out;
mod gates;
mod output;
mod repair;
mod rollback;
mod slots;
mod working;

use working::Working;

pub(crate) use ending::{PROVENANCE, PROVENANCE_SUM};
pub use rollback::RollbackError;
pub use slots::Slots;

/// How often a job is tried again when its environment failed, before it is given up.
const MAX_ATTEMPTS: u32 = 8;

/// Decides whether a principal is in a pocket's access list (rule P3).
pub trait Gate: Debug + Send + Sync {
    /// Answers, and says what to do where the answer is no. A list that cannot be read admits nobody.
    fn admits(&self, pocket: &PocketName, principal: &Principal) -> Access;
}

/// Hears how a job goes on, for people to see. Called from the thread that works the job.
pub trait Observer: Debug + Send + Sync {
    /// A worker took a job.
    fn claimed(&self, job: &Job);
    /// A job entered a stage.
    fn entered(&self, job: &Job, stage: Stage);
    /// A job ended.
    fn ended(&self, job: &Job, outcome: &Outcome);
    /// A job will be tried again.
    fn given_back(&self, job: &Job, reason: &str, not_before: Timestamp);
}

/// The backends that a job passes through.
#[derive(Debug)]
pub struct Pipeline {
    /// The pockets.
    pub pockets: BTreeMap<PocketName, Box<dyn Pocket>>,
    /// What keeps publications in a pocket and its rollback apart.
    pub locks: PocketLocks,
    /// Who may publish where.
    pub gate: Box<dyn Gate>,
    /// Makes source packages.
    pub exporter: Box<dyn Exporter>,
    /// Makes binary packages.
    pub builder: Box<dyn Builder>,
    /// Asks what the pockets' gates ask; `None` for a program whose pockets have none.
    pub examiner: Option<Box<dyn Examiner>>,
    /// Serves them.
    pub publisher: Arc<dyn Publisher>,
    /// Keeps a record of what happens; `None` for a program that keeps none.
    pub audit: Option<AuditLog>,
    /// Vouches for what is published; `None` for a program that does not.
    pub attestor: Option<Attestor>,
    /// Tells others.
    pub announcer: Arc<dyn Announce>,
    /// The directory of the build logs.
    pub logs: PathBuf,
    /// How many bytes the results of one job may have together.
    pub max_results: u64,
    /// How many builds run at once.
    pub slots: Slots,
}

/// The results that a job may leave unless somebody says otherwise: 4 GiB.
pub const MAX_RESULTS: u64 = 4 << 30;

/// How a worker's turn with a job ended.
#[derive(Debug)]
pub enum Turn {
    /// The job ended.
    Ended(Outcome),
    /// The job will be tried again, because of this.
    GivenBack(String),
    /// The worker was asked to stop; the job is as it was.
    Stopped,
}

/// The worker stopped, because a job is past its checkpoint and cannot go on; the job is kept, and goes on when
/// a worker starts again.
#[derive(Debug, thiserror::Error)]
#[error("job {job} stopped half-way and is kept; mend the cause, then start the worker again")]
pub struct Halt {
    /// The job.
    pub job: crate::names::JobId,
    /// Why.
    #[source]
    pub cause: Box<StageError>,
}

/// What a job has decided to publish. Making one has no effect; using one is the point of no return.
#[derive(Debug)]
enum Ready {
    Built(BuildArtifacts),
    Adding(BuildArtifacts),
    Copy(CopyPlan),
}

impl Ready {
    /// Returns the plan, and where it is copied from.
    fn subject(&self) -> (BuildPlan, Option<PocketName>) {
        match self {
            Self::Built(artifacts) | Self::Adding(artifacts) => (artifacts.plan().clone(), None),
            Self::Copy(copy) => (copy.plan().clone(), Some(copy.from().name.clone())),
        }
    }
}

/// What a job came to before its checkpoint.
enum Prepared {
    /// It may be published, as long as the pockets that are concerned are held.
    Ready(Box<Ready>, Vec<Note>, Vec<Hold>),
    Over(Outcome),
}

/// Why a stage before the checkpoint did not succeed.
struct Setback {
    stage: Stage,
    error: StageError,
}

trait InStage<T> {
    fn in_stage(self, stage: Stage) -> Result<T, Setback>;
}

impl<T, E: Into<StageError>> InStage<T> for Result<T, E> {
    fn in_stage(self, stage: Stage) -> Result<T, Setback> {
        self.map_err(|error| Setback { stage, error: error.into() })
    }
}

impl Pipeline {
    /// Decides what a request would come to now, without any effect.
    ///
    /// # Errors
    /// The request breaks rules, or the facts cannot be had.
    pub fn judge(&self, request: &Request) -> Result<(Verdict, Survey), StageError> {
        let pocket = self.pocket(&request.pocket)?;
        let access = self.gate.admits(&request.pocket, &request.principal);
        let survey = pocket.survey(&request.package, &request.commit)?;
        let mut held = BTreeMap::new();
        let mut pockets = BTreeMap::new();
        for (name, other) in &self.pockets {
            pockets.insert(name.clone(), other.spec().clone());
            if let Some(found) = self.publisher.held(&other.spec().suite, &request.package)? {
                held.insert(name.clone(), found);
            }
        }
        let verdict = policy::validate(&Facts {
            package: &request.package,
            commit: &request.commit,
            principal: &request.principal,
            pocket: pocket.spec(),
            pockets: &pockets,
            access: &access,
            survey: &survey,
            held: &held,
            protected: &self.protected(pocket.spec())?,
        })?;
        Ok((verdict, survey))
    }

    /// Works a claimed job to its end.
    ///
    /// # Errors
    /// The job is past its checkpoint and could not be completed. It is kept.
    pub fn work(&self, claim: Box<dyn Claim>, stop: &Stop, observer: &dyn Observer) -> Result<Turn, Halt> {
        let mut working =
            Working { claim, observer, stop, failed_log: Mutex::default(), bases: Mutex::default() };
        let job = working.claim.job().clone();
        observer.claimed(&job);
        let halt = |cause| Halt { job: job.id.clone(), cause: Box::new(cause) };
        self.tell_of_start(&job).map_err(halt)?;
        let (ready, notes, _holds, is_resumed) = match working.claim.checkpoint() {
            Some(checkpoint) => {
                let ready = self.resume(&working, &checkpoint).map_err(halt)?;
                let holds = match &ready {
                    Ready::Adding(artifacts) => vec![self.alone(artifacts.plan()).map_err(halt)?],
                    Ready::Built(_) | Ready::Copy(_) => {
                        self.hold(&rollback::concerned(&job, &checkpoint)).map_err(halt)?
                    }
                };
                (ready, checkpoint.notes, holds, true)
            }
            None => match self.prepare(&mut working).and_then(|it| working.go_on(it)) {
                Ok(Prepared::Ready(ready, notes, holds)) => {
                    let saved =
                        checkpoint_of(&ready, working.claim.workspace()).map_err(|e| halt(e.into()))?;
                    let bases = match &saved.decision {
                        Decision::Copy { .. } => Vec::new(),
                        Decision::Publish { .. } | Decision::Add { .. } => working.bases(),
                    };
                    let saved = Checkpoint { notes: notes.clone(), bases, ..saved };
                    working.claim.save(saved).map_err(|e| halt(e.into()))?;
                    (*ready, notes, holds, false)
                }
                Ok(Prepared::Over(outcome)) => return self.end(working, outcome).map_err(halt),
                Err(setback) => return self.turn_down(working, setback).map_err(halt),
            },
        };
        working.enter(Stage::Publish);
        let (plan, copied_from) = ready.subject();
        let published = match self.publish(ready) {
            Ok(published) => published,
            // The archive refused and so has changed nothing now, such as for a name that another package has. If
            // the worker before this one published, only Git has to hear of it; else the job ends without effect.
            Err(error @ StageError::Publish(_)) if error.disposition() == Disposition::End => {
                let served = if is_resumed { self.served(plan, copied_from).map_err(halt)? } else { None };
                let Some(published) = served else {
                    let setback = Setback { stage: Stage::Publish, error };
                    return self.turn_down(working, setback).map_err(halt);
                };
                published
            }
            Err(error) => return Err(halt(error)),
        };
        working.enter(Stage::Record);
        let recorded = self.record(published).map_err(halt)?;
        let attested = self.attest(&recorded, &working).map_err(halt)?;
        self.witness(&ending::of_publication(&recorded, attested.as_ref())).map_err(halt)?;
        if job.request.adds.is_none() {
            self.follow_up(&working).map_err(halt)?;
        }
        let outcome = Outcome::Published {
            version: recorded.plan().version().clone(),
            copied_from: recorded.copied_from().cloned(),
            notes,
        };
        self.end(working, outcome).map_err(halt)
    }

    /// Everything before the point of no return. Touches only the workspace and the log.
    fn prepare(&self, working: &mut Working<'_>) -> Result<Prepared, Setback> {
        if let Some(architecture) = working.claim.job().request.adds.clone() {
            return self.prepare_addition(working, &architecture);
        }
        working.enter(Stage::Validate);
        // What a rollback that was interrupted has begun is completed before anything is decided.
        drop(self.hold(&[&working.claim.job().request.pocket]).in_stage(Stage::Validate)?);
        let mut plan = self.plan(working.claim.job()).in_stage(Stage::Validate)?;
        if let Plan::Copy(copy) = &plan {
            let vetted = self.vet(copy, working)?;
            let (settled, holds) =
                self.settle(working.claim.job(), Some(copy.from())).in_stage(Stage::Validate)?;
            match settled {
                Plan::Copy(copy) => {
                    let notes = self.let_pass(&copy, vetted).in_stage(Stage::Validate)?;
                    return Ok(Prepared::Ready(Box::new(Ready::Copy(copy)), notes, holds));
                }
                other => plan = other,
            }
        }
        let plan = match plan {
            Plan::Current(version) => {
                self.follow_up(working).in_stage(Stage::Validate)?;
                return Ok(Prepared::Over(Outcome::Current { version }));
            }
            Plan::Copy(copy) => copy.into_plan(), // It was settled above.
            Plan::Build(plan) => plan,
        };
        working.enter(Stage::Export);
        let source = self.export(plan, working.claim.workspace()).in_stage(Stage::Export)?;
        working.enter(Stage::Build);
        let artifacts = self.build(source, working).in_stage(Stage::Build)?;
        let notes = self.examine(&artifacts, working)?;
        // A build takes minutes or hours, and the world may have moved (rule P9).
        self.confirm(working.claim.job(), artifacts, notes).in_stage(Stage::Validate)
    }

    fn plan(&self, job: &Job) -> Result<Plan, StageError> {
        let (verdict, survey) = self.judge(&job.request)?;
        let spec = self.pocket(&job.request.pocket)?.spec();
        let verdict = match verdict {
            Verdict::Build(declared) => Verdict::Build(self.version_of(job, spec, declared)?),
            other => other,
        };
        let spec_of = |name: &PocketName| self.pockets.get(name).map(|it| it.spec().clone());
        Ok(Plan::new(job, spec, &survey, verdict, spec_of))
    }

    /// Returns the version that a job builds: the declared one, or that of a try, the same in every attempt.
    fn version_of(&self, job: &Job, spec: &PocketSpec, declared: Version) -> Result<Version, StageError> {
        if spec.policy.versions == Versions::Declared {
            return Ok(declared);
        }
        let Request { package, commit, .. } = &job.request;
        let served = self.publisher.held(&spec.suite, package)?.map(|it| it.version);
        let version = Snapshot::next(&declared, &spec.name, &job.id, commit, served.as_ref());
        Ok(version.map_err(|e| policy::Rejection::from(Violation::Malformed(e)))?)
    }

    fn export(&self, plan: BuildPlan, workspace: &Path) -> Result<SourcePackage, StageError> {
        let into = empty_directory(workspace, "source").map_err(|e| ExportError::Backend(e.into()))?;
        let exported = self.exporter.export(&plan, &into)?;
        for note in &exported.notes {
            tracing::info!(job = %plan.job().id, package = %plan.package(), "source: {note}");
        }
        Ok(SourcePackage::verify(plan, &exported.dsc)?.with_notes(exported.notes))
    }

    fn confirm(
        &self,
        job: &Job,
        artifacts: BuildArtifacts,
        notes: Vec<Note>,
    ) -> Result<Prepared, StageError> {
        let (now, holds) = self.settle(job, None)?;
        let head = match &now {
            Plan::Current(version) => {
                return Ok(Prepared::Over(Outcome::Current { version: version.clone() }));
            }
            Plan::Copy(copy) => {
                let notes = self.let_pass(copy, None)?;
                return Ok(Prepared::Ready(Box::new(Ready::Copy(copy.clone())), notes, holds));
            }
            Plan::Build(plan) => plan.expected_head(),
        };
        let plan = artifacts.plan();
        if head == plan.expected_head() {
            return Ok(Prepared::Ready(Box::new(Ready::Built(artifacts)), notes, holds));
        }
        Err(PocketError::Moved {
            pocket: plan.pocket().name.clone(),
            package: plan.package().clone(),
            expected: plan.expected_head().cloned(),
            found: head.cloned(),
        }
        .into())
    }

    /// Takes up the decision of an earlier worker. Its files are verified again.
    fn resume(&self, working: &Working<'_>, checkpoint: &Checkpoint) -> Result<Ready, StageError> {
        let job = working.claim.job();
        let plan = BuildPlan::resumed(job, self.pocket(&job.request.pocket)?.spec(), checkpoint);
        Ok(match &checkpoint.decision {
            Decision::Copy { from } => Ready::Copy(CopyPlan::resumed(plan, self.pocket(from)?.spec())),
            Decision::Publish { dsc, changes } | Decision::Add { dsc, changes } => {
                let workspace = working.claim.workspace();
                let source = SourcePackage::verify(plan, &workspace.join(dsc))?;
                let changes: Vec<PathBuf> = changes.iter().map(|it| workspace.join(it)).collect();
                let artifacts = BuildArtifacts::verify(source, &changes)?;
                match &checkpoint.decision {
                    Decision::Add { .. } => Ready::Adding(artifacts),
                    Decision::Publish { .. } | Decision::Copy { .. } => Ready::Built(artifacts),
                }
            }
        })
    }

    fn publish(&self, ready: Ready) -> Result<Published, StageError> {
        let (generation, plan, copied_from) = match ready {
            Ready::Built(artifacts) => (self.publisher.publish(&artifacts)?, artifacts.into_plan(), None),
            Ready::Adding(artifacts) => (self.publisher.add(&artifacts)?, artifacts.into_plan(), None),
            Ready::Copy(copy) => {
                let generation = self.publisher.copy(&copy)?;
                let from = copy.from().name.clone();
                (generation, copy.into_plan(), Some(from))
            }
        };
        let held = self.publisher.held(plan.suite(), plan.package())?;
        if !self.has_added(&plan)? {
            let subject = format!("the suite {}", plan.suite());
            return Err(VerifyError::new(
                subject,
                format!("it does not serve what was added to {}", plan.package()),
            )
            .into());
        }
        Ok(Published::verify(plan, copied_from, generation, held.as_ref())?)
    }

    /// Reads whether the archive serves exactly what a plan says.
    fn served(&self, plan: BuildPlan, from: Option<PocketName>) -> Result<Option<Published>, StageError> {
        let held = self.publisher.held(plan.suite(), plan.package())?;
        let is_this = |it: &policy::Held| it.commit.as_ref() == Some(plan.commit());
        let held = if self.has_added(&plan)? { held.filter(is_this) } else { None };
        Ok(Published::verify(plan, from, None, held.as_ref()).ok())
    }

    fn record(&self, published: Published) -> Result<Recorded, StageError> {
        let pocket = self.pocket(&published.plan().pocket().name)?;
        pocket.record(&published)?;
        let survey = pocket.survey(published.plan().package(), published.plan().commit())?;
        Ok(Recorded::verify(published, &survey)?)
    }

    fn pocket(&self, name: &PocketName) -> Result<&dyn Pocket, StageError> {
        self.pockets.get(name).map(|it| &**it).ok_or_else(|| self.unknown_pocket(name.as_str()).into())
    }

    /// Returns the refusal of a pocket that there is not, with those that there are.
    #[must_use]
    pub fn unknown_pocket(&self, found: &str) -> policy::Rejection {
        let known: Vec<&str> = self.pockets.keys().map(PocketName::as_str).collect();
        Violation::UnknownPocket { found: found.to_owned(), hint: format!("there are {}", known.join(", ")) }
            .into()
    }

    /// Returns the pocket's specification, if there is such a pocket.
    #[must_use]
    pub fn spec(&self, name: &PocketName) -> Option<&PocketSpec> {
        self.pockets.get(name).map(|it| it.spec())
    }
}

fn checkpoint_of(ready: &Ready, workspace: &Path) -> Result<Checkpoint, VerifyError> {
    match ready {
        Ready::Built(artifacts) | Ready::Adding(artifacts) => artifacts.checkpoint(workspace),
        Ready::Copy(copy) => Ok(Checkpoint {
            version: copy.plan().version().clone(),
            expected_head: copy.plan().expected_head().cloned(),
            notes: Vec::new(),
            bases: Vec::new(),
            decision: Decision::Copy { from: copy.from().name.clone() },
        }),
    }
}

/// Makes a directory in the workspace, without what an earlier try left in it.
fn empty_directory(workspace: &Path, name: &str) -> Result<PathBuf, durable::DurableError> {
    let path = workspace.join(name);
    durable::remove_directory(&path)?;
    durable::create_directory(&path)?;
    Ok(path)
}

#[cfg(test)]
mod tests;
