//! Which pushes are let through (rule G5): a pure decision about names.
//!
//! Nothing here reads or writes anything.

use std::collections::BTreeMap;
use std::fmt;

use gix::ObjectId;

use super::{Repository, RepositoryError};
use crate::names::{BranchName, PocketName, TagName};
use crate::policy::PocketSpec;

/// One ref that a push wants to make, move or delete.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// The ref's full name, as the pusher wrote it.
    pub name: &'a [u8],
    /// Where it is; `None` if it does not exist.
    pub old: Option<ObjectId>,
    /// Where it is to be; `None` to delete it.
    pub new: Option<ObjectId>,
    /// The ref that it is only another name of, if it is a symbolic ref.
    pub alias_of: Option<&'a [u8]>,
}

/// Why a push is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {reason}; {remedy}")]
pub struct Refusal {
    /// The ref, with what is not printable escaped.
    pub name: String,
    /// Why.
    pub reason: String,
    /// What to do instead.
    pub remedy: String,
}

impl Repository {
    /// Decides about one ref of a push to this repository, in the words that Git gives to its hooks
    /// (githooks(5), `update`): the ref's full name, and where it is and is to be, zeros for nowhere.
    ///
    /// Returns the reason for a refusal; `None` lets it through.
    ///
    /// # Errors
    /// The repository cannot be read, or the words are not Git's.
    pub fn check_push(
        &self,
        policy: &PushPolicy,
        name: &[u8],
        old: &str,
        new: &str,
    ) -> Result<Option<Refusal>, RepositoryError> {
        let id = |text: &str| {
            let id = ObjectId::from_hex(text.as_bytes()).map_err(|e| RepositoryError::Unreadable {
                action: "understand what Git tells a hook in",
                path: self.path().to_owned(),
                source: e.into(),
            })?;
            Ok::<_, RepositoryError>((!id.is_null()).then_some(id))
        };
        let update = Update { name, old: id(old)?, new: id(new)?, alias_of: None };
        if let Err(refusal) = policy.check(&update) {
            return Ok(Some(refusal));
        }
        // Only now is the name known to be one that can be looked up.
        let alias = std::str::from_utf8(name).ok().map(|it| self.symbolic_target(it)).transpose()?.flatten();
        let update = Update { alias_of: alias.as_deref().map(str::as_bytes), ..update };
        Ok(policy.check(&update).err())
    }
}

/// The names that only a publication may give to commits.
#[derive(Clone, Debug)]
pub struct PushPolicy {
    branches: BTreeMap<BranchName, PocketName>,
    tag_prefix: String,
}

/// A reason and a remedy.
type Verdict = Result<(), (String, String)>;

impl PushPolicy {
    /// Makes the policy of a site.
    #[must_use]
    pub fn new(pockets: &BTreeMap<PocketName, PocketSpec>, tag_prefix: &str) -> Self {
        let branches = pockets.values().map(|it| (it.branch.clone(), it.name.clone())).collect();
        Self { branches, tag_prefix: tag_prefix.to_owned() }
    }

    /// Decides about one ref of a push.
    ///
    /// # Errors
    /// The reason for a refusal, and what to do instead.
    pub fn check(&self, update: &Update<'_>) -> Result<(), Refusal> {
        self.judge(update).map_err(|(reason, remedy)| Refusal {
            name: update.name.escape_ascii().to_string(),
            reason,
            remedy,
        })
    }

    fn judge(&self, update: &Update<'_>) -> Verdict {
        const RENAME: &str = "use a name like refs/heads/topic";
        if update.alias_of.is_some() {
            let target = update.alias_of.unwrap_or_default().escape_ascii();
            return refuse(format!("it is only another name of {target}"), "push to that name itself");
        }
        let Ok(name) = std::str::from_utf8(update.name) else {
            return refuse("its name is not UTF-8", RENAME);
        };
        if name.chars().any(char::is_control) {
            return refuse("its name has control characters", RENAME);
        }
        if let Some(branch) = name.strip_prefix("refs/heads/") {
            self.judge_branch(branch)?;
            return judge_word(branch);
        }
        if let Some(tag) = name.strip_prefix("refs/tags/") {
            self.judge_tag(tag)?;
            return judge_word(tag);
        }
        if name.starts_with("refs/replace/") {
            return refuse("replace refs change what a commit id means", "commit the change instead");
        }
        refuse("it is neither a branch nor a tag", "push to refs/heads/ or refs/tags/")
    }

    fn judge_branch(&self, name: &str) -> Verdict {
        for (branch, pocket) in &self.branches {
            let branch = branch.as_str();
            if name == branch {
                return refuse(
                    format!("the branch of the pocket {pocket} moves only when something is published"),
                    format!("push to another branch and run `invirtibuilder submit {pocket} PACKAGE COMMIT`"),
                );
            }
            let is_beside = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
            if is_beside(name, branch) || is_beside(branch, name) {
                return refuse(
                    format!("git could not have it beside {branch}, the branch of the pocket {pocket}"),
                    "use another name",
                );
            }
            if looks_like(name, branch) {
                return refuse(
                    format!("it could be mistaken for {branch}, the branch of the pocket {pocket}"),
                    "use another name",
                );
            }
        }
        Ok(())
    }

    fn judge_tag(&self, name: &str) -> Verdict {
        for (branch, pocket) in &self.branches {
            if looks_like(name, branch.as_str()) {
                return refuse(
                    format!(
                        "git would take it for {branch}, the branch of the pocket {pocket} (gitrevisions(7))"
                    ),
                    "use another name",
                );
            }
        }
        let Some(version) = TagName::found(name).version(&self.tag_prefix) else { return Ok(()) };
        refuse(
            format!("it is the tag of the version {version}, which only its publication makes"),
            "use another name, such as one that begins with v",
        )
    }
}

fn refuse(reason: impl Into<String>, remedy: impl Into<String>) -> Verdict {
    Err((reason.into(), remedy.into()))
}

/// Refuses names that mean something else to git, or to people who type them.
fn judge_word(name: &str) -> Verdict {
    const RENAME: &str = "use another name";
    let last = name.rsplit('/').next().unwrap_or(name);
    if [40, 64].contains(&last.len()) && last.bytes().all(|c| c.is_ascii_hexdigit()) {
        return refuse("it could be mistaken for an object id", RENAME);
    }
    if name.split('/').any(|it| it.starts_with('-')) {
        return refuse("it could be mistaken for an option", RENAME);
    }
    if name.starts_with("refs/") || name == "refs" {
        return refuse("it begins with refs/ twice", "push to the name without the second refs/");
    }
    if ["heads/", "tags/", "remotes/"].iter().any(|it| name.starts_with(it)) {
        return refuse("it could be mistaken for a name that is written without its refs/", RENAME);
    }
    if let Some(c) = name.chars().find(|c| "$`;&|<>()'\"!{}".contains(*c)) {
        return refuse(format!("it has {c} in it, which a shell would obey"), RENAME);
    }
    if name.chars().any(is_invisible) {
        return refuse("it has characters in it that nobody sees, or that turn the others around", RENAME);
    }
    if name.split('/').any(|it| it.eq_ignore_ascii_case("HEAD") || it == "@") {
        return refuse("HEAD and @ mean something else to git", RENAME);
    }
    Ok(())
}

/// Returns whether a character has no form of its own, but changes how others look (UAX #9, and General Category Cf).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

/// Returns whether a name could be read as another: alike but for the case, or for letters outside of ASCII, each
/// of which may look like any letter or like nothing.
fn looks_like(name: &str, other: &str) -> bool {
    if name.is_ascii() {
        return name.eq_ignore_ascii_case(other);
    }
    let other: Vec<char> = other.chars().map(|c| c.to_ascii_lowercase()).collect();
    // reach[n]: the letters so far can stand for the first n of the other name.
    let mut reach: Vec<bool> = (0..=other.len()).map(|n| n == 0).collect();
    for letter in name.chars().map(|c| c.to_ascii_lowercase()) {
        let stands_for_next = |n: usize| {
            n > 0
                && reach.get(n - 1) == Some(&true)
                && (!letter.is_ascii() || other.get(n - 1) == Some(&letter))
        };
        let stands_for_nothing = |n: usize| !letter.is_ascii() && reach.get(n) == Some(&true);
        reach = (0..=other.len()).map(|n| stands_for_next(n) || stands_for_nothing(n)).collect();
    }
    reach.last() == Some(&true)
}

impl fmt::Display for PushPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.branches.keys().map(BranchName::as_str).collect();
        write!(f, "only publications move {} and version tags", names.join(", "))
    }
}
