//! Telling readers of a new `Release`, and the last step of every change; and signing one again that stays.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::switch::stage;
use super::{Archive, ArchiveError};
use crate::durable::{self, NewFile};
use crate::error::PublishError;
use crate::names::Suite;
use crate::signer::Signed;

impl Archive {
    /// Gives files their names, then links, and then makes a signed `Release` the one that readers are served.
    /// The caller holds the lock.
    pub(super) fn commit_release(
        &self,
        suite: &Suite,
        text: &str,
        signed: &Signed,
        first: Vec<NewFile>,
        links: &[(PathBuf, PathBuf)],
    ) -> Result<(), ArchiveError> {
        let directory = self.suite_directory(suite);
        durable::create_directory(&directory)?;
        for (_, name) in links {
            durable::create_directory(name.parent().unwrap_or(name))?;
        }
        let mut last = stage(&directory.join("InRelease"), &signed.inline)?;
        keep_times_apart(&directory.join("InRelease"), &mut last)?;
        let mut second = vec![
            stage(&directory.join("Release.gpg"), &signed.detached)?,
            stage(&directory.join("Release"), text.as_bytes())?,
            last,
        ];
        let _span = tracing::debug_span!("rename").entered();
        durable::sync_all(&mut second)?;

        // All space is taken and everything is signed. From here on there are only syncs and renames.
        durable::commit_all(first)?;
        durable::link_all(links.iter().map(|it| (it.0.as_path(), it.1.as_path())))?;
        Ok(durable::commit_all(second)?)
    }

    /// Signs again, with a later date, each suite whose `Valid-Until` lies within a third of the time for which it
    /// is valid, or has passed, or should not be there or should be; or all of them. Returns which.
    ///
    /// What is served stays, and so does the number of the generation.
    ///
    /// # Errors
    /// A suite cannot be read, signed or written; those before it have been signed.
    pub fn refresh(&self, is_all: bool) -> Result<Vec<Suite>, PublishError> {
        let mut refreshed = Vec::new();
        for suite in self.suites.keys() {
            let _lock = self.lock()?;
            if self.refresh_suite(suite, is_all)? {
                refreshed.push(suite.clone());
            }
        }
        Ok(refreshed)
    }

    fn refresh_suite(&self, suite: &Suite, is_forced: bool) -> Result<bool, ArchiveError> {
        let Some(release) = self.release(suite)? else { return Ok(false) };
        let now = Timestamp::now();
        let is_due = match (release.valid_until, self.valid_for) {
            (None, None) => false,
            (Some(until), Some(valid)) => {
                let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
                left < valid / 3 || left > valid
            }
            _ => true,
        };
        if !is_due && !is_forced {
            return Ok(false);
        }
        let release = release.refreshed(now).valid_for(self.valid_for);
        let text = release.to_text();
        let signed = self.signer.sign(&text)?;
        self.commit_release(suite, &text, &signed, Vec::new(), &[])?;
        Ok(true)
    }

    /// Returns when the next suite is due to be signed again; `None` if none ever is.
    ///
    /// # Errors
    /// A suite cannot be read.
    pub fn next_refresh(&self) -> Result<Option<Timestamp>, PublishError> {
        let Some(valid) = self.valid_for else { return Ok(None) };
        let mut next: Option<Timestamp> = None;
        for suite in self.suites.keys() {
            let until = self.release(suite)?.and_then(|it| it.valid_until);
            let due = until.map_or(Timestamp::MIN, |it| it.checked_sub(valid / 3).unwrap_or(Timestamp::MIN));
            next = Some(next.map_or(due, |it| it.min(due)));
        }
        Ok(next)
    }
}

/// Gives the new file a later second than the old one has: HTTP compares times by the second, and a reader that
/// asks for what is newer than what it has must be told of a second publication in the same second.
fn keep_times_apart(old: &Path, new: &mut NewFile) -> Result<(), ArchiveError> {
    let Ok(before) = old.metadata().and_then(|it| it.modified()) else { return Ok(()) };
    let seconds =
        |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    if seconds(before) >= seconds(SystemTime::now()) {
        new.set_modified(before + Duration::from_secs(1))?;
    }
    Ok(())
}
