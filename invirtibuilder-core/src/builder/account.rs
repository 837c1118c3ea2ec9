//! The unprivileged account that builds run as, and its subordinate ids (subuid(5)).
//!
//! Never makes or changes an account: it says which command would.

use std::path::Path;

use crate::error::BoxError;
use crate::process::{self, ProcessError};

/// How many subordinate ids a build needs: Debian's ids go up to 65,534 (Debian Policy 9.2.2), and sbuild maps
/// this many.
pub const SUBORDINATES: u32 = 65_536;

/// An account that builds can run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    name: String,
    user: u32,
    group: u32,
    subordinate_users: u32,
    subordinate_groups: u32,
    is_other: bool,
}

/// Why an account cannot be used for builds.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// There is no such account.
    #[error("there is no user {name}, as whom builds would run; make it with `{}`", remedy_add(name))]
    NoUser {
        /// The account.
        name: String,
    },
    /// Builds would run as root.
    #[error("builds cannot run as {name}, who has root's user id; name an unprivileged account")]
    IsRoot {
        /// The account.
        name: String,
    },
    /// It has too few subordinate ids.
    #[error("{name} has no {SUBORDINATES} subordinate ids in {file}; add them with `{remedy}`")]
    NoSubordinates {
        /// The account.
        name: String,
        /// `/etc/subuid` or `/etc/subgid`.
        file: &'static str,
        /// The command that adds them.
        remedy: String,
    },
    /// The files of accounts cannot be read.
    #[error("cannot look up the account {name}")]
    Lookup {
        /// The account.
        name: String,
        /// What went wrong.
        #[source]
        source: BoxError,
    },
}

impl AccountError {
    /// Returns the command that mends it, if there is one.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::NoUser { name } => Some(remedy_add(name)),
            Self::NoSubordinates { remedy, .. } => Some(remedy.clone()),
            Self::IsRoot { .. } | Self::Lookup { .. } => None,
        }
    }
}

fn remedy_add(name: &str) -> String {
    format!(
        "useradd --system --add-subids-for-system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin {name}"
    )
}

impl Account {
    /// Looks up the account for builds: the one named `for_root` if this process runs as root, else the
    /// process's own.
    ///
    /// # Errors
    /// It does not exist, is root, or has too few subordinate ids.
    pub fn find(for_root: &str) -> Result<Self, AccountError> {
        let own = rustix::process::geteuid();
        let wanted = if own.is_root() { for_root.to_owned() } else { own.as_raw().to_string() };
        let lookup = |e: BoxError| AccountError::Lookup { name: wanted.clone(), source: e };
        let entry = match process::Command::new("getent").args(["passwd", "--", &wanted]).run() {
            Ok(entry) => entry,
            // "One or more supplied key could not be found" (getent(1)).
            Err(ProcessError::Failed { status, .. }) if status.code() == Some(2) => {
                return Err(AccountError::NoUser { name: wanted });
            }
            Err(e) => return Err(lookup(e.into())),
        };
        let entry = String::from_utf8_lossy(&entry).into_owned();
        let (name, user, group) = parse_passwd(&entry)
            .ok_or_else(|| lookup(format!("its entry is malformed: {}", entry.trim()).into()))?;
        if user == 0 {
            return Err(AccountError::IsRoot { name });
        }
        let start = |file: &'static str| {
            let text = std::fs::read_to_string(Path::new(file)).or_else(|e| {
                if e.kind() == std::io::ErrorKind::NotFound {
                    Ok(String::new())
                } else {
                    Err(lookup(e.into()))
                }
            })?;
            subordinates_in(&text, &name, user).ok_or_else(|| AccountError::NoSubordinates {
                name: name.clone(),
                file,
                remedy: remedy_subordinates(&text, &name),
            })
        };
        let (subordinate_users, subordinate_groups) = (start("/etc/subuid")?, start("/etc/subgid")?);
        Ok(Self { name, user, group, subordinate_users, subordinate_groups, is_other: own.is_root() })
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        let (user, group) = (4711, 4711);
        let name = "builder".to_owned();
        Self { name, user, group, subordinate_users: 1, subordinate_groups: 1, is_other: false }
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its user id.
    #[must_use]
    pub fn user(&self) -> u32 {
        self.user
    }

    /// Returns the id of its primary group.
    #[must_use]
    pub fn group(&self) -> u32 {
        self.group
    }

    /// Returns the first of its [`SUBORDINATES`] subordinate user ids.
    #[must_use]
    pub fn subordinate_users(&self) -> u32 {
        self.subordinate_users
    }

    /// Returns the first of its [`SUBORDINATES`] subordinate group ids.
    #[must_use]
    pub fn subordinate_groups(&self) -> u32 {
        self.subordinate_groups
    }

    /// Returns whether it is another account than that of this process, which is root then.
    #[must_use]
    pub fn is_other(&self) -> bool {
        self.is_other
    }
}

/// Reads name, user id and group id of a line of passwd(5).
fn parse_passwd(line: &str) -> Option<(String, u32, u32)> {
    let mut fields = line.trim_end().split(':');
    let name = fields.next().filter(|it| !it.is_empty())?;
    let user = fields.nth(1)?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    Some((name.to_owned(), user, group))
}

/// Returns the first range of subuid(5) that is large enough. The owner is a name or a number there.
fn subordinates_in(text: &str, name: &str, user: u32) -> Option<u32> {
    ranges(text)
        .find(|(owner, _, count)| {
            (*owner == name || owner.parse() == Ok(user)) && *count >= u64::from(SUBORDINATES)
        })
        .and_then(|it| u32::try_from(it.1).ok())
}

/// Returns the command that gives an account a range that nobody has.
fn remedy_subordinates(text: &str, name: &str) -> String {
    const FIRST: u64 = 100_000;
    let first = ranges(text).map(|it| it.1 + it.2).fold(FIRST, u64::max);
    let last = first + u64::from(SUBORDINATES) - 1;
    format!("usermod --add-subuids {first}-{last} --add-subgids {first}-{last} {name}")
}

/// Returns owner, first id and count of each line.
fn ranges(text: &str) -> impl Iterator<Item = (&str, u64, u64)> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        Some((fields.next()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests;
