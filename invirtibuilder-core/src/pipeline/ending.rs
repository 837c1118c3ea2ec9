//! How a job ends: with an outcome that everybody hears of, or given back to be tried again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::{MAX_ATTEMPTS, Pipeline, Setback, Turn, Working, gates, output};
use crate::audit::{Entry, Happened, Head};
use crate::control::Changes;
use crate::error::{Disposition, PocketError, PublishError, StageError, causes};
use crate::hooks::{Event, EventKind};
use crate::job::{Checkpoint, Decision, Ended, Job, Outcome, Stage};
use crate::names::Version;
use crate::provenance::{Made, Stored};
use crate::states::Recorded;

impl Pipeline {
    /// Adds a record to the audit log, if one is kept, and returns where it ends now.
    pub(super) fn witness(&self, entry: &Entry) -> Result<Option<Head>, StageError> {
        Ok(self.audit.as_ref().map(|it| it.append(entry)).transpose()?)
    }

    /// Records something together with the events that the hooks hear of, and announces these.
    pub(crate) fn tell(&self, entry: Entry, events: Vec<Event>) -> Result<(), StageError> {
        let entry = Entry { tell: events, ..entry };
        let audit = self.witness(&entry)?;
        for event in entry.tell {
            self.announcer.announce(&Event { audit: audit.clone(), ..event });
        }
        Ok(())
    }

    /// Vouches for a publication.
    pub(super) fn attest(
        &self,
        recorded: &Recorded,
        working: &Working<'_>,
    ) -> Result<Option<Stored>, StageError> {
        let Some(attestor) = &self.attestor else { return Ok(None) };
        let made = working.claim.checkpoint().map(|it| made(&it, working.claim.workspace()));
        Ok(Some(attestor.attest(recorded, made.unwrap_or_default())?))
    }

    /// Records that a job was submitted.
    pub(crate) fn tell_of_submission(
        &self,
        job: &Job,
        through: &BTreeMap<String, String>,
    ) -> Result<(), StageError> {
        let entry = Entry { job: Some(job.id.clone()), ..Entry::of(Happened::Submitted, &job.request) };
        let event = Event { job: Some(job.id.clone()), ..Event::of(EventKind::Submitted, &job.request) };
        self.tell(entry.with_all(through), vec![event])
    }

    /// Records that a job was taken up; also that it was submitted, if whoever did that died before it was recorded.
    pub(super) fn tell_of_start(&self, job: &Job) -> Result<(), StageError> {
        if let Some(audit) = &self.audit
            && !audit.has(Happened::Submitted, &job.id)?
        {
            self.tell_of_submission(job, &BTreeMap::new())?;
        }
        let entry = Entry { job: Some(job.id.clone()), ..Entry::of(Happened::Started, &job.request) };
        self.witness(&entry).map(drop)
    }

    /// Records and announces how a job ended that no worker had, unless that was done.
    pub(crate) fn tell_of_end(&self, ended: &Ended) -> Result<(), StageError> {
        if let Some(audit) = &self.audit
            && audit.has(Happened::Ended, &ended.job.id)?
        {
            return Ok(());
        }
        self.tell(of_end(&ended.job, &ended.outcome), vec![Event::ended(ended)])
    }

    /// Records and announces an outcome, unless that was done by a worker that died over it, and ends the job with it.
    pub(super) fn end(&self, mut working: Working<'_>, outcome: Outcome) -> Result<Turn, StageError> {
        working.enter(Stage::Announce);
        let job = working.claim.job().clone();
        let ended =
            Ended { job: job.clone(), started: None, ended: Timestamp::now(), outcome: outcome.clone() };
        let log = working.failed_log().or_else(|| self.log_of(&job));
        let event = Event { log, ..Event::ended(&ended) };
        let entry = of_end(&job, &outcome);
        let recorded = self.audit.as_ref().map(|it| it.last(Happened::Ended, &job.id)).transpose()?.flatten();
        if recorded.is_none_or(|it| it.facts != entry.facts) {
            self.tell(entry, vec![event])?;
        }
        working.claim.finish(outcome.clone())?;
        tracing::info!(job = %job.id, outcome = outcome.word(), "job ended");
        working.observer.ended(&job, &outcome);
        Ok(Turn::Ended(outcome))
    }

    /// Ends, gives back or keeps a job that has changed nothing.
    pub(super) fn turn_down(&self, working: Working<'_>, setback: Setback) -> Result<Turn, StageError> {
        let Setback { stage, error } = setback;
        match error.disposition() {
            Disposition::Stop => match working.claim.cancelled() {
                Some(by) => self.end(working, Outcome::Cancelled { by }),
                None => Ok(Turn::Stopped),
            },
            Disposition::End => {
                let outcome = self.outcome_of(&working, stage, error);
                self.end(working, outcome)
            }
            // Nothing outside has changed, so a failing disk or repository costs this job only time.
            Disposition::GiveBack | Disposition::Halt => {
                let attempts = working.claim.job().given_back.as_ref().map_or(0, |it| it.attempts) + 1;
                if attempts >= MAX_ATTEMPTS {
                    let outcome = self.outcome_of(&working, stage, error);
                    return self.end(working, outcome);
                }
                give_back(working, attempts, &error)
            }
        }
    }

    fn outcome_of(&self, working: &Working<'_>, stage: Stage, error: StageError) -> Outcome {
        let job = working.claim.job();
        let log = || working.failed_log().or_else(|| self.log_of(job));
        match error {
            StageError::Rejected(rejection) => {
                Outcome::Rejected { reasons: rejection.reasons(), not_permitted: rejection.is_only_access() }
            }
            StageError::Publish(PublishError::NotHeld { suite, package, version })
                if job.request.adds.is_some() =>
            {
                Outcome::Superseded {
                    reason: format!("{suite} does not serve this {package} {version} any more"),
                }
            }
            StageError::Pocket(error @ PocketError::Moved { .. }) => {
                Outcome::Rejected { reasons: vec![error.to_string()], not_permitted: false }
            }
            StageError::Output(rejection) => {
                let causes = output::causes(job, &rejection);
                Outcome::Failed { stage, causes, log: log() }
            }
            StageError::Gates(rejection) => {
                let causes = self.gate_causes(job, &rejection);
                Outcome::Failed { stage, causes, log: log() }
            }
            error => Outcome::Failed { stage, causes: causes(&error), log: log() },
        }
    }

    /// Returns the path of a job's build log: `logs/<package>/<version>/<job>-<architecture>.log`.
    pub(super) fn log_path(&self, job: &Job, version: &Version, architecture: &str) -> PathBuf {
        let directory = self.logs.join(job.request.package.as_str()).join(version.as_str());
        directory.join(format!("{}-{architecture}.log", job.id))
    }

    /// Returns the build log of a job that began to build, the latest if there are several. Those of its pocket's gates
    /// are beside it.
    #[must_use]
    pub fn log_of(&self, job: &Job) -> Option<PathBuf> {
        self.logs_of(job).into_iter().rfind(|it| !gates::is_log(&it.0)).map(|it| it.1)
    }

    /// Returns all logs of a job in the order of their paths, each with what its name has behind the job's id.
    #[must_use]
    pub fn logs_of(&self, job: &Job) -> Vec<(String, PathBuf)> {
        let Ok(versions) = std::fs::read_dir(self.logs.join(job.request.package.as_str())) else {
            return Vec::new();
        };
        let files = versions.flatten().filter_map(|it| std::fs::read_dir(it.path()).ok()).flatten().flatten();
        let own = |path: PathBuf| {
            let name = path.file_name()?.to_str()?;
            let kind = name.strip_prefix(job.id.as_str())?.strip_suffix(".log")?;
            Some((kind.trim_start_matches('-').to_owned(), path.clone()))
        };
        let mut found: Vec<(String, PathBuf)> = files.filter_map(|it| own(it.path())).collect();
        found.sort_by(|a, b| a.1.cmp(&b.1));
        found
    }
}

fn give_back(working: Working<'_>, attempts: u32, error: &StageError) -> Result<Turn, StageError> {
    const FIRST: Duration = Duration::from_secs(60);
    const LONGEST: Duration = Duration::from_secs(3600);
    let delay = FIRST.saturating_mul(1 << attempts.min(16).saturating_sub(1)).min(LONGEST);
    let not_before = Timestamp::now().checked_add(delay).unwrap_or(Timestamp::MAX);
    let reason = causes(error).join(": ");
    tracing::warn!(job = %working.claim.job().id, reason, "job is given back");
    let job = working.claim.job().clone();
    working.claim.give_back(reason.clone(), not_before)?;
    working.observer.given_back(&job, &reason, not_before);
    Ok(Turn::GivenBack(reason))
}

/// Returns how something was built, as far as it is known.
fn made(checkpoint: &Checkpoint, workspace: &Path) -> Made {
    let changes: &[PathBuf] = match &checkpoint.decision {
        Decision::Publish { changes, .. } | Decision::Add { changes, .. } => changes,
        Decision::Copy { .. } => &[],
    };
    let changes = changes.iter().filter_map(|it| Changes::read(&workspace.join(it)).ok());
    let records = |it: Changes| {
        let names = it.buildinfos().map(|it| it.name.as_str().to_owned());
        names.map(|name| it.directory().join(name)).collect::<Vec<_>>()
    };
    Made { bases: checkpoint.bases.clone(), records: changes.flat_map(records).collect() }
}

/// The fact that tells where the provenance of a publication is.
pub(crate) const PROVENANCE: &str = "provenance";
/// The fact that tells its SHA-256 sum.
pub(crate) const PROVENANCE_SUM: &str = "provenance-sha256";

/// Tells the audit log of a publication.
pub(super) fn of_publication(recorded: &Recorded, attested: Option<&Stored>) -> Entry {
    let plan = recorded.plan();
    let mut entry = Entry {
        version: Some(plan.version().clone()),
        job: Some(plan.job().id.clone()),
        ..Entry::of(Happened::Published, &plan.job().request)
    };
    entry = entry.with("suite", plan.suite());
    if let Some(generation) = recorded.generation() {
        entry = entry.with("generation", generation);
    }
    if let Some(architecture) = &plan.job().request.adds {
        entry = entry.with("added", architecture);
    }
    if let Some(from) = recorded.copied_from() {
        entry = entry.with("copied-from", from);
    }
    if let Some(Stored { location, sha256, .. }) = attested {
        entry = entry.with(PROVENANCE, location).with(PROVENANCE_SUM, sha256);
    }
    match plan.expected_head() {
        Some(before) => entry.with("before", before),
        None => entry,
    }
}

/// Tells the audit log of a job's end.
fn of_end(job: &Job, outcome: &Outcome) -> Entry {
    let entry = Entry { job: Some(job.id.clone()), ..Entry::of(Happened::Ended, &job.request) };
    let entry = entry.with("outcome", outcome.word());
    let entry = match &job.request.adds {
        Some(architecture) => entry.with("adds", architecture),
        None => entry,
    };
    match outcome {
        Outcome::Rejected { reasons, .. } => entry.with("reasons", reasons.join("; ")),
        Outcome::Failed { stage, causes, .. } => {
            entry.with("stage", stage.as_str()).with("causes", causes.join(": "))
        }
        Outcome::Superseded { reason } => entry.with("reason", reason),
        Outcome::Cancelled { by } => entry.with("by", by),
        Outcome::Published { notes, .. } if !notes.is_empty() => {
            let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
            entry.with("notes", notes.join("; "))
        }
        Outcome::Published { .. } | Outcome::Current { .. } => entry,
    }
}
