//! A configured site: the one façade that every frontend uses.
//!
//! A frontend reads what its user said, makes one call here, and shows the answer. It orchestrates nothing.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use crate::access::check as check_access;
use crate::audit::{Entry, Happened};
use crate::builder::Builder;
use crate::config::Config;
use crate::error::{QueueError, StageError};
use crate::hooks::Outbox;
use crate::job::{Ended, Job, JobState, Outcome, Publication, Request};
use crate::names::{Architecture, CommitId, JobId, PackageName, PocketName, Principal, Version};
use crate::pipeline::{Gate, Observer, Pipeline};
use crate::pocket::Pocket;
use crate::pocket::git::GitSite;
use crate::policy::{Access, Head, Held, PocketSpec, Rejection, Verdict, Violation};
use crate::publisher::archive::Archive;
use crate::queue::{Cancellation, Queue, Submission};
use crate::verify::{Difference, differences};
use crate::worker::Worker;

mod access;
mod backend;
mod check;
mod clients;
mod doors;
mod error;
mod exit;
mod import;
mod init;
mod keyring;
mod keys;
mod order;
mod origs;
mod parts;
mod provenance;
mod repair;
mod repositories;
mod rollback;
mod telling;
mod visit;
mod why;
mod witness;

use backend::Backend;

pub use access::Action;
pub use check::check;
pub use error::SiteError;
pub use exit::Exit;
pub use import::ImportWords;
pub use init::{InitError, Made, NewSiteOptions, initialize};
pub use keyring::{KeyringSubmitted, SubmittedTo};
pub use parts::push_policy;
pub use why::{Unmet, Why};

/// What a person asked for, in that person's words, before any of them is trusted.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    /// The pocket.
    pub pocket: &'a str,
    /// The package.
    pub package: &'a str,
    /// The commit.
    pub commit: &'a str,
    /// Who asks; the frontend knows that from the transport, not from the person.
    pub principal: &'a Principal,
}

/// What became of a request.
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is a job now, or was one already.
    Queued(Submission),
    /// The pocket serves the commit already; there is nothing to do.
    Current(Version),
}

/// A pocket and what it holds.
#[derive(Clone, Debug)]
pub struct PocketView {
    /// Its name, branch, suite and policy.
    pub spec: PocketSpec,
    /// The heads of its branches.
    pub branches: BTreeMap<PackageName, Head>,
    /// What its suite serves.
    pub served: Vec<Held>,
}

/// A site that is ready for use.
#[derive(Debug)]
pub struct Site {
    config: Config,
    queue: Box<dyn Queue>,
    pipeline: Pipeline,
    git: Arc<GitSite>,
    backend: Backend,
    /// What its records say of how it was asked.
    through: BTreeMap<String, String>,
    outbox: Outbox,
}

impl Site {
    /// Opens the site that a configuration describes.
    ///
    /// # Errors
    /// A part of it is missing or unreadable.
    pub fn open(config: Config) -> Result<Self, SiteError> {
        parts::open(config)
    }

    /// Puts another builder in the place of the configured one, for programs that bring their own.
    #[must_use]
    pub fn with_builder(mut self, builder: Box<dyn Builder>) -> Self {
        self.pipeline.builder = builder;
        self
    }

    /// Lets its records of what is asked for say how: the door, and what that knows of the caller.
    #[must_use]
    pub fn through(mut self, facts: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.through.extend(facts.into_iter().map(|(name, value)| (name.to_owned(), value)));
        self
    }

    /// Returns the configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Checks a request against its pocket's policy and queues it.
    ///
    /// # Errors
    /// All rules that it breaks, at once; then nothing is queued, and the hooks hear of the refusal.
    pub fn submit(&self, words: Words<'_>) -> Result<Submitted, SiteError> {
        let request = match self.read_request(words) {
            Ok(request) => request,
            Err(rejection) => {
                self.tell_of_words(words, &rejection)?;
                return Err(rejection.into());
            }
        };
        let (verdict, survey) = match self.pipeline.judge(&request) {
            Ok(judged) => judged,
            Err(StageError::Rejected(rejection)) => {
                let outcome = Outcome::Rejected {
                    reasons: rejection.reasons(),
                    not_permitted: rejection.is_only_access(),
                };
                self.tell_of_refusal(&request, &rejection, outcome)?;
                return Err(rejection.into());
            }
            Err(error) => return Err(error.into()),
        };
        if let Verdict::Current(version) = &verdict
            && !self.is_pending(&request)?
            && self.missing(&request.pocket, &request.package, &request.commit)?.is_empty()
        {
            self.record(Entry::of(Happened::Submitted, &request).with("outcome", "current"))?;
            return Ok(Submitted::Current(version.clone()));
        }
        // A log that cannot be continued is noticed before there is a job.
        self.audit().head()?;
        let relations = order::relations(&self.config.pockets, &request, &verdict, &survey);
        let submission = self.queue.submit(request.clone(), &relations)?;
        match &submission {
            // Who asks again for the same has asked, too.
            Submission::AlreadyQueued(job) if self.audit().has(Happened::Submitted, &job.id)? => {
                let again = Entry { job: Some(job.id.clone()), ..Entry::of(Happened::Submitted, &request) };
                self.record(again.with("outcome", "pending"))?;
            }
            // Whoever asked first may have died before that was recorded.
            Submission::Accepted(job) | Submission::AlreadyQueued(job) => {
                self.pipeline.tell_of_submission(job, &self.through)?;
            }
        }
        Ok(Submitted::Queued(submission))
    }

    /// Parses the words of a request (rule P1), and names every word that is malformed.
    fn read_request(&self, words: Words<'_>) -> Result<Request, Rejection> {
        let mut broken = Vec::new();
        let pocket =
            words.pocket.parse::<PocketName>().ok().filter(|it| self.config.pockets.contains_key(it));
        if pocket.is_none() {
            broken.extend(self.pipeline.unknown_pocket(words.pocket).violations().iter().cloned());
        }
        let package = words.package.parse::<PackageName>().map_err(|e| broken.push(Violation::Malformed(e)));
        let commit = words.commit.parse().map_err(|e| broken.push(Violation::Malformed(e)));
        match (pocket, package, commit) {
            (Some(pocket), Ok(package), Ok(commit)) => {
                Ok(Request { pocket, package, commit, principal: words.principal.clone(), adds: None })
            }
            _ => Err(Rejection::of(broken).unwrap_or_else(|| self.pipeline.unknown_pocket(words.pocket))),
        }
    }

    /// Returns the optional architectures that a pocket does not serve yet of a commit that it serves.
    pub fn missing(
        &self,
        pocket: &PocketName,
        package: &PackageName,
        commit: &CommitId,
    ) -> Result<Vec<Architecture>, SiteError> {
        let Some(spec) = self.config.pockets.get(pocket) else { return Ok(Vec::new()) };
        Ok(self.pipeline.missing(spec, package, commit)?)
    }

    /// Returns whether a job that has not ended will move the package in the pocket.
    fn is_pending(&self, request: &Request) -> Result<bool, QueueError> {
        let same = |it: &JobState| {
            let other = &it.job().request;
            other.pocket == request.pocket && other.lane() == request.lane()
        };
        Ok(self.queue.pending()?.iter().any(same))
    }

    /// Returns a worker for this site's queue.
    ///
    /// What the configuration has gained since the last time is made first: suites of new pockets, the superproject.
    ///
    /// # Errors
    /// That cannot be made.
    pub fn worker<'a>(
        &'a self,
        jobs: NonZeroUsize,
        observer: &'a dyn Observer,
    ) -> Result<Worker<'a>, SiteError> {
        self.git.initialize()?;
        self.tell_of_configuration()?;
        // Before anything else changes: a rollback goes on from the generation that it left the archive in.
        self.pipeline.resume_rollbacks()?;
        self.pipeline.publisher.prepare()?;
        Ok(Worker { queue: &*self.queue, pipeline: &self.pipeline, observer, jobs })
    }

    /// Returns the queue.
    #[must_use]
    pub fn queue(&self) -> &dyn Queue {
        &*self.queue
    }

    /// Returns where a job is.
    pub fn job(&self, id: &JobId) -> Result<JobState, SiteError> {
        Ok(self.queue.find(id)?.ok_or_else(|| QueueError::UnknownJob(id.clone()))?)
    }

    /// Returns the build log of a job, if it began to build; the latest if it has several.
    #[must_use]
    pub fn log_of(&self, job: &Job) -> Option<PathBuf> {
        self.pipeline.log_of(job)
    }

    /// Returns all logs of a job, those of its pocket's gates among them, each with what its name says of it, such as
    /// `amd64` or `lintian-amd64`.
    #[must_use]
    pub fn logs_of(&self, job: &Job) -> Vec<(String, PathBuf)> {
        self.pipeline.logs_of(job)
    }

    /// Asks that a job end without effect. Whoever may publish in its pocket may, and whoever submitted it.
    pub fn cancel(&self, id: &JobId, by: &Principal) -> Result<Cancellation, SiteError> {
        let state = self.job(id)?;
        let request = &state.job().request;
        if request.principal != *by
            && let Access::Denied(reason) = self.pipeline.gate.admits(&request.pocket, by)
        {
            let reason = format!("{by} may not cancel jobs of {}: {reason}", request.pocket);
            let entry = Entry { job: Some(id.clone()), ..Entry::of(Happened::Denied, request) };
            let entry = Entry { principal: Some(by.clone()), ..entry };
            return Err(self.deny(entry.with("action", "cancel"), reason));
        }
        // A log that cannot be continued is noticed before the job is over.
        self.audit().head()?;
        let cancelled = self.queue.cancel(id, by)?;
        // One that waited is over; a worker tells of any other. Whoever died in between can ask again.
        if !matches!(cancelled, Cancellation::Requested)
            && let JobState::Ended(ended) = self.job(id)?
            && matches!(ended.outcome, Outcome::Cancelled { .. })
        {
            self.pipeline.tell_of_end(&ended)?;
        }
        Ok(cancelled)
    }

    /// Submits the request of a job that has ended once more.
    pub fn retry(&self, id: &JobId, by: &Principal) -> Result<Submitted, SiteError> {
        let state = self.job(id)?;
        if !matches!(state, JobState::Ended(_)) {
            return Err(SiteError::Refused(format!(
                "job {id} has not ended; `invirtibuilder show {id}` says where it is"
            )));
        }
        let Request { pocket, package, commit, .. } = &state.job().request;
        self.submit(Words {
            pocket: pocket.as_str(),
            package: package.as_str(),
            commit: commit.as_str(),
            principal: by,
        })
    }

    /// Returns the records of the jobs that ended, the latest submitted first.
    pub fn ended(&self, limit: usize) -> Result<Vec<Ended>, SiteError> {
        Ok(self.queue.ended(limit)?)
    }

    /// Returns the publications, the latest first, of one pocket or all, of one package or all.
    pub fn history(
        &self,
        pocket: Option<&PocketName>,
        package: Option<&PackageName>,
        limit: usize,
    ) -> Result<Vec<Publication>, SiteError> {
        let mut publications = Vec::new();
        for (name, backend) in &self.pipeline.pockets {
            if pocket.is_none_or(|it| it == name) {
                // A limit on all of them says nothing about how many are of one package.
                let wanted = if package.is_some() { usize::MAX } else { limit };
                publications.extend(backend.history(wanted)?);
            }
        }
        publications.retain(|it| package.is_none_or(|wanted| *wanted == it.package));
        // Those of one second stay in the order that each pocket's branch has them in.
        publications.sort_by_key(|it| std::cmp::Reverse(it.time));
        publications.truncate(limit);
        Ok(publications)
    }

    /// Returns a pocket and what it holds.
    pub fn pocket(&self, name: &PocketName) -> Result<PocketView, SiteError> {
        let pocket = self.backend(name)?;
        let contents = pocket.contents()?;
        let spec = pocket.spec().clone();
        let served = self.pipeline.publisher.contents(&spec.suite)?;
        Ok(PocketView { spec, branches: contents.branches, served })
    }

    /// Parses the name of a pocket that must exist.
    pub fn pocket_name(&self, text: &str) -> Result<PocketName, SiteError> {
        let name = text.parse::<PocketName>().ok().filter(|it| self.config.pockets.contains_key(it));
        name.ok_or_else(|| SiteError::NotFound(self.pipeline.unknown_pocket(text).to_string()))
    }

    fn backend(&self, name: &PocketName) -> Result<&dyn Pocket, SiteError> {
        let pocket = self.pipeline.pockets.get(name).map(|it| &**it);
        pocket.ok_or_else(|| SiteError::NotFound(self.pipeline.unknown_pocket(name.as_str()).to_string()))
    }

    /// Returns what a pocket's suite serves.
    pub fn served(&self, name: &PocketName) -> Result<Vec<Held>, SiteError> {
        let suite = &self.backend(name)?.spec().suite;
        Ok(self.pipeline.publisher.contents(suite)?)
    }

    /// Compares what Git says with what the archive serves, for the whole site (rules G1 to G3).
    ///
    /// While a job is being published the two differ for a moment; `verify` then looks again, and names only
    /// what no running job explains.
    pub fn verify(&self) -> Result<Vec<Difference>, SiteError> {
        const LOOKS: usize = 3;
        let mut found = self.compare()?;
        for _ in 1..LOOKS {
            let explained = self.is_being_changed(&found)?;
            if found.is_empty() || !explained {
                break;
            }
            let again = self.compare()?;
            found.retain(|it| again.contains(it));
        }
        Ok(found)
    }

    fn compare(&self) -> Result<Vec<Difference>, SiteError> {
        let (mut found, mut all) = (Vec::new(), Vec::new());
        for (name, pocket) in &self.pipeline.pockets {
            let served = self.pipeline.publisher.contents(&pocket.spec().suite)?;
            found.extend(differences(name, &pocket.contents()?, &served));
            all.push((name.clone(), served));
        }
        found.extend(self.unvouched(&all)?);
        Ok(found)
    }

    fn is_being_changed(&self, found: &[Difference]) -> Result<bool, SiteError> {
        let running: Vec<JobState> = self.queue.pending()?;
        let rolled_back = self.pipeline.locks.all_pending()?;
        if found.iter().any(|it| rolled_back.contains(&it.pocket)) {
            return Ok(true);
        }
        let explains = |state: &JobState, difference: &Difference| {
            let JobState::Running { job, alive: true, .. } = state else { return false };
            job.request.pocket == difference.pocket && job.request.package == difference.package
        };
        Ok(found.iter().any(|difference| running.iter().any(|state| explains(state, difference))))
    }

    /// Returns the archive that this library publishes itself, for what only that can do.
    ///
    /// # Errors
    /// The site leaves publishing to a program, which keeps no generations.
    fn archive(&self) -> Result<&Archive, SiteError> {
        match &self.backend {
            Backend::Archive(archive) => Ok(archive),
            Backend::Tool(tool) => Err(SiteError::Refused(format!(
                "the publisher {} keeps no generations and imports nothing; only the backend archive does",
                tool.name()
            ))),
        }
    }
}

/// The access lists of a configuration.
#[derive(Clone, Debug)]
struct Lists(Config);

impl Gate for Lists {
    fn admits(&self, pocket: &PocketName, principal: &Principal) -> Access {
        match self.0.acls.get(pocket) {
            Some(acl) => check_access(acl, &self.0.lists, pocket, principal),
            None => {
                Access::Denied(format!("build.pockets.{pocket} has no acl; add one to the configuration"))
            }
        }
    }
}
