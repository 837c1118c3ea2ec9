//! What the doors of a site need besides what everybody asks it: the SSH keys.

use super::Site;
use crate::audit::{Entry, Happened};
use crate::door::keys::{Entry as KeyEntry, Keys, KeysError, PublicKey};
use crate::names::Principal;
use crate::site::SiteError;

impl Site {
    /// Returns the SSH keys.
    #[must_use]
    pub fn keys(&self) -> Keys {
        Keys::new(&self.config.paths.ssh_keys)
    }

    /// Lets a key stand for a principal, and returns whether it did not before.
    ///
    /// # Errors
    /// It stands for somebody else, or the change cannot be recorded; then it is not made.
    pub fn add_key(&self, key: &PublicKey, principal: &Principal, by: &Principal) -> Result<bool, SiteError> {
        // A log that cannot be continued is noticed before there is a key.
        self.audit().head()?;
        let is_new = self.keys().add(key, principal)?;
        if is_new {
            self.tell_of_key(Happened::KeyAdded, key, principal, by)?;
        }
        Ok(is_new)
    }

    /// Removes the key with a fingerprint, or all keys of a principal, and returns what was removed.
    ///
    /// # Errors
    /// There is none.
    pub fn remove_keys(&self, which: &str, by: &Principal) -> Result<Vec<KeyEntry>, SiteError> {
        let removed = self.keys().remove(which)?;
        for KeyEntry { key, principal } in &removed {
            self.tell_of_key(Happened::KeyRemoved, key, principal, by)?;
        }
        Ok(removed)
    }

    fn tell_of_key(
        &self,
        happened: Happened,
        key: &PublicKey,
        of: &Principal,
        by: &Principal,
    ) -> Result<(), SiteError> {
        let entry = Entry { principal: Some(by.clone()), ..Entry::new(happened) };
        self.record(entry.with("key", key.fingerprint()).with("of", of))?;
        Ok(())
    }
}

impl From<KeysError> for SiteError {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Unknown(_) => Self::NotFound(error.to_string()),
            KeysError::Malformed { .. } | KeysError::Taken { .. } => {
                Self::Refused(crate::error::causes(&error).join(": "))
            }
            other => Self::Part { part: "SSH keys", source: other.into() },
        }
    }
}
