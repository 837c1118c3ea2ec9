//! Who may do what, and why.

use std::fmt;
use std::str::FromStr;

use super::{Site, SiteError};
use crate::access;
use crate::audit::{Entry, Happened};
use crate::names::{PackageName, PocketName, Principal};

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

    /// Answers whether a principal may push to a package's repository, where the push policy lets it (rule G5): what
    /// lets it.
    ///
    /// The repository's own list decides, else `hosting.push`, else whoever may publish in any pocket may push.
    ///
    /// # Errors
    /// Why it may not, and what to do.
    pub fn may_push(&self, principal: &Principal, package: &PackageName) -> Result<Vec<String>, String> {
        let refuse = |reason: String| format!("{principal} may not push to {package}: {reason}");
        let hosting = &self.config.hosting;
        let of_its_own = hosting.repositories.get(package).and_then(|it| it.push.as_ref());
        if let Some(acl) = of_its_own {
            let key = format!("hosting.repositories.{package}.push");
            return self.admits(acl, &key, package.as_str(), principal).map_err(refuse);
        }
        if let Some(acl) = &hosting.push {
            return self.admits(acl, "hosting.push", package.as_str(), principal).map_err(refuse);
        }
        let mut pockets = self.config.pockets.keys();
        let way = pockets.find_map(|pocket| self.may(principal, Action::Build, pocket).ok());
        let none = || {
            refuse("it may not publish in any pocket; ask an administrator to add it to `hosting.push`, or to the list of a pocket".to_owned())
        };
        way.ok_or_else(none)
    }

    /// Answers whether a principal may fetch from a package's repository: what lets it.
    ///
    /// Whoever may push may. Else the repository's own list decides, else `hosting.read`, else everybody may whom a
    /// door knows.
    ///
    /// # Errors
    /// Why it may not, and what to do.
    pub fn may_fetch(&self, principal: &Principal, package: &PackageName) -> Result<Vec<String>, String> {
        let hosting = &self.config.hosting;
        let of_its_own = hosting.repositories.get(package).and_then(|it| it.read.as_ref());
        let answer = match of_its_own {
            Some(acl) => {
                let key = format!("hosting.repositories.{package}.read");
                self.admits(acl, &key, package.as_str(), principal)
            }
            None => self.may_read(principal),
        };
        answer.or_else(|reason| {
            let refuse = |_| format!("{principal} may not fetch from {package}: {reason}");
            self.may_push(principal, package).map_err(refuse)
        })
    }

    /// Answers whether a principal may ask through a door about jobs and publications, and fetch the superproject: what
    /// lets it. Without `hosting.read` everybody may whom a door knows.
    ///
    /// # Errors
    /// Why it may not, and what to do.
    pub fn may_read(&self, principal: &Principal) -> Result<Vec<String>, String> {
        match &self.config.hosting.read {
            Some(acl) => self.admits(acl, "hosting.read", "read", principal),
            None => Ok(vec!["everybody".to_owned()]),
        }
    }

    /// Refuses, and records, somebody who may not read.
    pub(crate) fn check_reading(&self, principal: &Principal) -> Result<(), SiteError> {
        let refuse = |reason| {
            let entry = Entry { principal: Some(principal.clone()), ..Entry::new(Happened::Denied) };
            self.deny(entry.with("action", "read"), format!("{principal} may not read: {reason}"))
        };
        self.may_read(principal).map(drop).map_err(refuse)
    }

    fn admits(
        &self,
        acl: &access::Acl,
        key: &str,
        argument: &str,
        principal: &Principal,
    ) -> Result<Vec<String>, String> {
        let place = access::Place { key, argument };
        access::admit_to(acl, &self.config.lists, &place, principal)
    }
}
