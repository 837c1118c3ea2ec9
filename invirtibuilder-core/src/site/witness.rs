//! What a site records, and tells its hooks, besides what jobs do.

use super::{Site, SiteError, Words};
use crate::audit::{AuditError, AuditLog, Entry, Happened};
use crate::hooks::{Announce, Event, EventKind};
use crate::job::{Job, Outcome, Request};
use crate::names::{PackageName, Principal};
use crate::policy::Rejection;

impl Site {
    /// Returns the audit log.
    #[must_use]
    pub fn audit(&self) -> AuditLog {
        AuditLog::new(&self.config.paths.audit)
    }

    pub(super) fn tell_of_submission(&self, request: &Request, job: &Job) -> Result<(), SiteError> {
        let entry = Entry { job: Some(job.id.clone()), ..Entry::of(Happened::Submitted, request) };
        let event = Event { job: Some(job.id.clone()), ..event(EventKind::Submitted, request) };
        Ok(self.tell(&entry, event)?)
    }

    pub(super) fn tell_of_refusal(
        &self,
        request: &Request,
        rejection: &Rejection,
        outcome: Outcome,
    ) -> Result<(), SiteError> {
        let happened = if rejection.is_only_access() { Happened::Denied } else { Happened::Refused };
        let entry = Entry::of(happened, request).with("reasons", rejection.reasons().join("; "));
        let event = Event { outcome: Some(outcome), ..event(EventKind::Refused, request) };
        Ok(self.tell(&entry, event)?)
    }

    pub(super) fn tell_of_repository(&self, package: &PackageName, by: &Principal) -> Result<(), SiteError> {
        let entry = Entry {
            package: Some(package.clone()),
            principal: Some(by.clone()),
            ..Entry::new(Happened::RepoCreated)
        };
        let event = Event::new(EventKind::RepoCreated, package.clone());
        Ok(self.tell(&entry, Event { principal: Some(by.clone()), ..event })?)
    }

    /// Records a request whose words are no names, so that it is of no package. Hooks do not hear of it.
    pub(super) fn tell_of_words(&self, words: Words<'_>, rejection: &Rejection) -> Result<(), SiteError> {
        const LONGEST: usize = 200;
        let shown = |text: &str| text.chars().take(LONGEST).flat_map(char::escape_debug).collect::<String>();
        let entry = Entry { principal: Some(words.principal.clone()), ..Entry::new(Happened::Refused) }
            .with("pocket", shown(words.pocket))
            .with("package", shown(words.package))
            .with("commit", shown(words.commit))
            .with("reasons", rejection.reasons().join("; "));
        self.audit().append(&entry)?;
        Ok(())
    }

    /// Records the configuration if it is another one than was recorded last.
    pub(super) fn tell_of_configuration(&self) -> Result<(), SiteError> {
        let log = self.audit();
        let mut last = None;
        for line in log.read()? {
            let entry = line?.entry;
            if entry.event == Happened::Configuration {
                last = entry.facts.get("sha256").cloned();
            }
        }
        if last.as_deref() != Some(&self.config.digest) {
            log.append(&Entry::new(Happened::Configuration).with("sha256", &self.config.digest))?;
        }
        Ok(())
    }

    /// Records first, so that whoever is told can be told where the record is.
    fn tell(&self, entry: &Entry, event: Event) -> Result<(), AuditError> {
        let audit = Some(self.audit().append(entry)?);
        self.hooks.announce(&Event { audit, ..event });
        Ok(())
    }
}

fn event(kind: EventKind, request: &Request) -> Event {
    Event {
        pocket: Some(request.pocket.clone()),
        commit: Some(request.commit.clone()),
        principal: Some(request.principal.clone()),
        ..Event::new(kind, request.package.clone())
    }
}
