//! Who may do what, and why.

use std::fmt;
use std::str::FromStr;

use super::Site;
use crate::access;
use crate::names::{PocketName, Principal};

/// What somebody may want to do in a pocket. One list, the pocket's `acl`, admits to all of it (rule A1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish in it.
    Build,
    /// Cancel somebody else's job; everybody may cancel their own.
    Cancel,
    /// Return it to an earlier generation.
    Rollback,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Build, Self::Cancel, Self::Rollback];

    /// Returns its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Cancel => "cancel",
            Self::Rollback => "rollback",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|it| it.as_str() == text);
        found.ok_or_else(|| format!("there is no action {text:?}; there are {known}"))
    }
}

impl Site {
    /// Answers whether a principal may do something in a pocket: what lets it, from the pocket's list inwards.
    ///
    /// # Errors
    /// Why it may not, and what to do.
    pub fn may(
        &self,
        principal: &Principal,
        action: Action,
        pocket: &PocketName,
    ) -> Result<Vec<String>, String> {
        let refuse = |reason: String| format!("{principal} may not {action} in {pocket}: {reason}");
        let acl = self.config.acls.get(pocket);
        let acl = acl.ok_or_else(|| refuse("it has no acl; add one to the configuration".to_owned()))?;
        access::admit(acl, &self.config.lists, pocket, principal).map_err(refuse)
    }
}
