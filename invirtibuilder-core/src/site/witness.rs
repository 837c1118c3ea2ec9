//! What a site records, and tells its hooks, besides what jobs do.

use super::{Site, SiteError, Words};
use crate::audit::{AuditError, AuditLog, Entry, Happened, Head};
use crate::hooks::{Event, EventKind};
use crate::job::{Outcome, Request};
use crate::names::{PackageName, Principal};
use crate::policy::Rejection;

impl Site {
    /// Returns the audit log.
    #[must_use]
    pub fn audit(&self) -> AuditLog {
        AuditLog::new(&self.config.paths.audit)
    }

    pub(super) fn tell_of_refusal(
        &self,
        request: &Request,
        rejection: &Rejection,
        outcome: Outcome,
    ) -> Result<(), SiteError> {
        let happened = if rejection.is_only_access() { Happened::Denied } else { Happened::Refused };
        let entry = Entry::of(happened, request).with("reasons", rejection.reasons().join("; "));
        let event = Event { outcome: Some(outcome), ..Event::of(EventKind::Refused, request) };
        Ok(self.pipeline.tell(entry.with_all(&self.through), vec![event])?)
    }

    pub(super) fn tell_of_repository(&self, package: &PackageName, by: &Principal) -> Result<(), SiteError> {
        let entry = Entry {
            package: Some(package.clone()),
            principal: Some(by.clone()),
            ..Entry::new(Happened::RepoCreated)
        };
        let event = Event::new(EventKind::RepoCreated, package.clone());
        Ok(self.pipeline.tell(entry, vec![Event { principal: Some(by.clone()), ..event }])?)
    }

    /// Records a request whose words are no names, so that it is of no package. Hooks do not hear of it.
    pub(super) fn tell_of_words(&self, words: Words<'_>, rejection: &Rejection) -> Result<(), SiteError> {
        let entry = Entry { principal: Some(words.principal.clone()), ..Entry::new(Happened::Refused) }
            .with("pocket", shown(words.pocket))
            .with("package", shown(words.package))
            .with("commit", shown(words.commit))
            .with("reasons", rejection.reasons().join("; "));
        self.record(entry)?;
        Ok(())
    }

    /// Records what somebody said at a door that is no request at all.
    ///
    /// # Errors
    /// It cannot be recorded.
    pub fn tell_of_refused_words(
        &self,
        principal: &Principal,
        words: &[String],
        reason: &str,
    ) -> Result<(), AuditError> {
        let entry = Entry { principal: Some(principal.clone()), ..Entry::new(Happened::Refused) };
        // What follows the first line of a reason is help.
        let reason = reason.lines().next().unwrap_or_default();
        self.record(entry.with("words", shown(&words.join(" "))).with("reasons", reason))?;
        Ok(())
    }

    /// Records that a door does not know who asks, so that nobody does.
    ///
    /// # Errors
    /// It cannot be recorded.
    pub fn tell_of_stranger(&self, words: &[String], reason: &str) -> Result<(), SiteError> {
        let entry = Entry::new(Happened::Denied).with("words", shown(&words.join(" ")));
        self.record(entry.with("reasons", reason))?;
        Ok(())
    }

    /// Records that somebody asked in the name of another and may not, and returns that as an error.
    #[must_use]
    pub fn deny_name(&self, own: &Principal, named: &Principal) -> SiteError {
        let entry = Entry { principal: Some(own.clone()), ..Entry::new(Happened::Denied) };
        let reason = format!(
            "{own} may not ask in the name of {named}; an administrator can add it to `impersonate` in the configuration"
        );
        self.deny(entry.with("action", "impersonate").with("named", named), reason)
    }

    /// Records a denial, and returns it as an error.
    pub(crate) fn deny(&self, entry: Entry, reason: String) -> SiteError {
        match self.record(entry.with("reasons", &reason)) {
            Ok(_) => SiteError::NotPermitted(reason),
            Err(error) => error.into(),
        }
    }

    /// Returns how the site was asked, in one line; empty if nobody said.
    pub(crate) fn came_through(&self) -> String {
        ["door", "key", "address"]
            .iter()
            .filter_map(|it| self.through.get(*it))
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Adds a record that also says how the site was asked.
    pub(super) fn record(&self, entry: Entry) -> Result<Head, AuditError> {
        self.audit().append(&entry.with_all(&self.through))
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
}

/// Returns the beginning of what somebody typed, with what is not printable escaped.
fn shown(text: &str) -> String {
    const LONGEST: usize = 200;
    text.chars().take(LONGEST).flat_map(char::escape_debug).collect()
}
