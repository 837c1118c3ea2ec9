//! How a job ends: with an outcome that everybody hears of, or given back to be tried again.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::{MAX_ATTEMPTS, Pipeline, Setback, Turn, Working, output};
use crate::audit::{Entry, Happened, Head};
use crate::error::{Disposition, PocketError, StageError, causes};
use crate::hooks::Event;
use crate::job::{Ended, Job, Outcome, Stage};
use crate::names::Version;
use crate::states::Recorded;

impl Pipeline {
    /// Adds a record to the audit log, if one is kept, and returns where it ends now.
    pub(super) fn witness(&self, entry: &Entry) -> Result<Option<Head>, StageError> {
        Ok(self.audit.as_ref().map(|it| it.append(entry)).transpose()?)
    }

    /// Announces an outcome, and ends the job with it. The hooks come first: they run at least once.
    pub(super) fn end(&self, mut working: Working<'_>, outcome: Outcome) -> Result<Turn, StageError> {
        working.enter(Stage::Announce);
        let job = working.claim.job().clone();
        let ended =
            Ended { job: job.clone(), started: None, ended: Timestamp::now(), outcome: outcome.clone() };
        let audit = self.witness(&of_end(&job, &outcome))?;
        self.announcer.announce(&Event { log: self.log_of(&job), audit, ..Event::ended(&ended) });
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
                let outcome = self.outcome_of(working.claim.job(), stage, error);
                self.end(working, outcome)
            }
            // Nothing outside has changed, so a failing disk or repository costs this job only time.
            Disposition::GiveBack | Disposition::Halt => {
                let attempts = working.claim.job().given_back.as_ref().map_or(0, |it| it.attempts) + 1;
                if attempts >= MAX_ATTEMPTS {
                    let outcome = self.outcome_of(working.claim.job(), stage, error);
                    return self.end(working, outcome);
                }
                give_back(working, attempts, &error)
            }
        }
    }

    fn outcome_of(&self, job: &Job, stage: Stage, error: StageError) -> Outcome {
        match error {
            StageError::Rejected(rejection) => {
                Outcome::Rejected { reasons: rejection.reasons(), not_permitted: rejection.is_only_access() }
            }
            StageError::Pocket(error @ PocketError::Moved { .. }) => {
                Outcome::Rejected { reasons: vec![error.to_string()], not_permitted: false }
            }
            StageError::Output(rejection) => {
                let causes = output::causes(job, &rejection);
                Outcome::Failed { stage, causes, log: self.log_of(job) }
            }
            error => Outcome::Failed { stage, causes: causes(&error), log: self.log_of(job) },
        }
    }

    /// Returns the path of a job's build log: `logs/<package>/<version>/<job>-<architecture>.log`.
    pub(super) fn log_path(&self, job: &Job, version: &Version, architecture: &str) -> PathBuf {
        let directory = self.logs.join(job.request.package.as_str()).join(version.as_str());
        directory.join(format!("{}-{architecture}.log", job.id))
    }

    /// Returns the build log of a job that began to build, the latest if there are several.
    #[must_use]
    pub fn log_of(&self, job: &Job) -> Option<PathBuf> {
        let versions = std::fs::read_dir(self.logs.join(job.request.package.as_str())).ok()?;
        let files = versions.flatten().filter_map(|it| std::fs::read_dir(it.path()).ok()).flatten().flatten();
        let own = |name: &str| name.starts_with(job.id.as_str()) && name.ends_with(".log");
        let mut found: Vec<PathBuf> =
            files.filter(|it| it.file_name().to_str().is_some_and(own)).map(|it| it.path()).collect();
        found.sort();
        found.pop()
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

/// Tells the audit log of a publication.
pub(super) fn of_publication(recorded: &Recorded) -> Entry {
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
    if let Some(from) = recorded.copied_from() {
        entry = entry.with("copied-from", from);
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
    match outcome {
        Outcome::Rejected { reasons, .. } => entry.with("reasons", reasons.join("; ")),
        Outcome::Failed { stage, causes, .. } => {
            entry.with("stage", stage.as_str()).with("causes", causes.join(": "))
        }
        Outcome::Cancelled { by } => entry.with("by", by),
        Outcome::Published { .. } | Outcome::Current { .. } => entry,
    }
}
