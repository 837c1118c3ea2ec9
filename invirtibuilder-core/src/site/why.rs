//! Why a package is, or is not, what a pocket serves: what Git, the archive, the queue and the audit log say together.

use serde::Serialize;

use super::{Site, SiteError};
use crate::audit::{Happened, Line};
use crate::job::{JobState, Publication, PublicationKind};
use crate::names::{JobId, PackageName, PocketName, Principal};
use crate::policy::Held;

/// A request that came to nothing.
#[derive(Clone, Debug, Serialize)]
pub struct Unmet {
    /// When.
    pub time: jiff::Timestamp,
    /// Who asked.
    pub principal: Option<Principal>,
    /// The job; `None` if it never was one.
    pub job: Option<JobId>,
    /// What became of it, in one word.
    pub became: String,
    /// Why.
    pub reason: String,
}

/// What is known of one package in one pocket.
#[derive(Clone, Debug, Serialize)]
pub struct Why {
    /// The pocket.
    pub pocket: PocketName,
    /// What is served; `None` if nothing is.
    pub served: Option<Held>,
    /// What was last done to it there; `None` if nothing ever was.
    pub publication: Option<Publication>,
    /// Where the provenance of what is served is, below the archive.
    pub provenance: Option<String>,
    /// The requests since then that came to nothing, the latest last.
    pub unmet: Vec<Unmet>,
    /// The jobs that have not ended.
    pub pending: Vec<JobState>,
}

impl Site {
    /// Tells why a package is, or is not, there: in one pocket, or in each.
    ///
    /// # Errors
    /// There is no such package: neither a repository, nor anything that was ever asked for it.
    pub fn why(&self, package: &PackageName, pocket: Option<&PocketName>) -> Result<Vec<Why>, SiteError> {
        let mut told = Vec::new();
        let mut lines = Vec::new();
        for line in self.audit().read()? {
            let line = line?;
            if line.entry.package.as_ref() == Some(package) {
                lines.push(line);
            }
        }
        let pending = self.queue.pending()?;
        for (name, backend) in &self.pipeline.pockets {
            if pocket.is_some_and(|it| it != name) {
                continue;
            }
            let served = self.pipeline.publisher.held(&backend.spec().suite, package)?;
            let publication = self.history(Some(name), Some(package), 1)?.into_iter().next();
            let since = publication.as_ref().map_or(jiff::Timestamp::MIN, |it| it.time);
            let here = lines.iter().filter(|it| it.entry.pocket.as_ref() == Some(name));
            let is_of = |it: &&JobState| {
                let request = &it.job().request;
                request.package == *package && request.pocket == *name
            };
            told.push(Why {
                pocket: name.clone(),
                provenance: served.as_ref().and_then(|it| provenance(here.clone(), it)),
                unmet: here.filter(|it| it.time >= since).filter_map(unmet).collect(),
                pending: pending.iter().filter(is_of).cloned().collect(),
                served,
                publication,
            });
        }
        let is_known = |it: &Why| it.served.is_some() || it.publication.is_some() || !it.pending.is_empty();
        if lines.is_empty() && !told.iter().any(is_known) && !self.repository_path(package).exists() {
            return Err(SiteError::NotFound(format!(
                "nothing is known of {package}; `invirtibuilder repo list` names the packages that there are"
            )));
        }
        Ok(told)
    }
}

impl Why {
    /// Tells it in words, a sentence a line.
    #[must_use]
    pub fn sentences(&self, package: &PackageName) -> Vec<String> {
        let mut told = vec![self.state(package)];
        if let (Some(_), Some(publication)) = (&self.served, &self.publication) {
            told.push(format!("  since {}: {}", publication.time, by(publication)));
        }
        told.extend(self.provenance.as_ref().map(|it| format!("  provenance: {it}")));
        let later = if self.publication.is_some() { "later, " } else { "" };
        for Unmet { time, principal, job, became, reason } in &self.unmet {
            let who = principal.as_ref().map_or_else(|| "somebody".to_owned(), ToString::to_string);
            let what = job.as_ref().map_or_else(|| "a request".to_owned(), |it| format!("job {it}"));
            told.push(format!("  {later}{time:.0}: {what} of {who} was {became}: {reason}"));
        }
        for state in &self.pending {
            let word = match state {
                JobState::Waiting { .. } => "waits",
                _ => "runs",
            };
            let job = state.job();
            told.push(format!(
                "  job {} of {} {word}: commit {}",
                job.id, job.request.principal, job.request.commit
            ));
        }
        told
    }

    fn state(&self, package: &PackageName) -> String {
        let pocket = &self.pocket;
        match (&self.served, &self.publication) {
            (Some(Held { version, commit: Some(commit), .. }), _) => {
                format!("{pocket} serves {package} {version} from commit {commit}")
            }
            (Some(Held { version, .. }), _) => format!(
                "{pocket} serves {package} {version}, which was imported: nothing of it was published from Git yet"
            ),
            (None, Some(last)) if last.kind == PublicationKind::Removal => {
                format!("{pocket} does not serve {package}: {} {}", last.version, by(last))
            }
            (None, Some(last)) => format!(
                "{pocket} does not serve {package}, though {} was published; `invirtibuilder verify` says more",
                last.version
            ),
            (None, None) => format!("{pocket} does not serve {package}: it was never published there"),
        }
    }
}

fn by(publication: &Publication) -> String {
    let Publication { job, principal, .. } = publication;
    match publication.kind {
        PublicationKind::Published => format!("published by job {job}, for {principal}"),
        PublicationKind::Rollback => format!("brought back by the rollback {job}, for {principal}"),
        PublicationKind::Removal => format!("was taken away by the rollback {job}, for {principal}"),
    }
}

/// Returns what a record tells of a request that came to nothing; `None` if it tells of something else.
fn unmet(line: &Line) -> Option<Unmet> {
    let entry = &line.entry;
    let fact = |name: &str| entry.facts.get(name).cloned();
    let became = match entry.event {
        Happened::Refused => "refused".to_owned(),
        Happened::Denied => "denied".to_owned(),
        Happened::Ended => fact("outcome").filter(|it| it != "published" && it != "current")?,
        _ => return None,
    };
    let reason = ["reasons", "causes", "reason", "by"].into_iter().find_map(fact).unwrap_or_default();
    let (principal, job) = (entry.principal.clone(), entry.job.clone());
    Some(Unmet { time: line.time, principal, job, became, reason })
}

/// Finds where the provenance of what is served is.
fn provenance<'a>(lines: impl Iterator<Item = &'a Line>, served: &Held) -> Option<String> {
    let is_it = |it: &&Line| {
        let entry = &it.entry;
        entry.event == Happened::Published && entry.commit == served.commit
    };
    lines.filter(is_it).last()?.entry.facts.get(crate::pipeline::PROVENANCE).cloned()
}
