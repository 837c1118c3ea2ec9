//! Taking over the branches and tags of another repository.
//!
//! Never takes over a pocket's branch or a version's tag under its name: only a publication makes those. Never
//! runs a hook of the other repository, and never borrows its objects.

use std::path::Path;
use std::time::Duration;

use gix::ObjectId;

use super::push_policy::{PushPolicy, Update};
use super::{Hooks, Repositories, Repository, RepositoryError, Result};
use crate::durable;
use crate::names::{CommitId, PackageName};
use crate::process::{Command, Limits};

/// Where refs are fetched to before they get their names.
const ARRIVALS: &str = "refs/arrivals/";

/// What an import brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// How many branches have their own names.
    pub branches: usize,
    /// How many tags have their own names.
    pub tags: usize,
    /// The refs that were given another name, and why: theirs, ours, the reason.
    pub renamed: Vec<(String, String, String)>,
    /// The refs that were left out, and why.
    pub left_out: Vec<(String, String)>,
    /// The branch and the commit that a source package became; `None` if a repository was imported.
    pub source: Option<(String, CommitId)>,
}

impl Repositories {
    /// Makes a repository for a package, with all branches and tags of another one.
    ///
    /// A branch or tag that only a publication may make is imported as `imported/<name>`.
    ///
    /// # Errors
    /// There is a repository of this package already, or `from` cannot be fetched from.
    pub fn import(
        &self,
        package: &PackageName,
        from: &str,
        hooks: &Hooks,
        policy: &PushPolicy,
    ) -> Result<Imported> {
        let (_, imported) = self.create_with(package, hooks, |staged| {
            fetch(staged, from)?;
            name_arrivals(staged, policy)
        })?;
        Ok(imported)
    }
}

fn fetch(into: &Path, from: &str) -> Result<()> {
    const HOUR: Duration = Duration::from_secs(3600);
    let command = Command::new("git")
        .env("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .arg("--git-dir")
        .arg(into)
        .args(["-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "maintenance.auto=false"])
        .args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--"])
        .arg(from)
        .args([format!("+refs/heads/*:{ARRIVALS}heads/*"), format!("+refs/tags/*:{ARRIVALS}tags/*")])
        .limits(Limits { time: HOUR, silence: HOUR, ..Limits::default() });
    command.run().map(drop).map_err(|source| RepositoryError::Fetch { from: without_password(from), source })
}

/// Returns a URL without the user and password in it, for people to read.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("{scheme}://{}{path}", host.rsplit('@').next().unwrap_or(host))
}

/// Gives the fetched refs the names that the push policy lets them have, in one file.
fn name_arrivals(path: &Path, policy: &PushPolicy) -> Result<Imported> {
    let Some(repository) = Repository::open(path)? else { return Ok(Imported::default()) };
    let (mut imported, mut refs) = (Imported::default(), Vec::new());
    for (arrival, id) in repository.references(ARRIVALS)? {
        let name = format!("refs/{}", arrival.strip_prefix(ARRIVALS).unwrap_or(&arrival));
        match allowed_name(policy, &name, id) {
            Ok(None) if name.starts_with("refs/heads/") => imported.branches += 1,
            Ok(None) => imported.tags += 1,
            Ok(Some((other, reason))) => {
                imported.renamed.push((name, other.clone(), reason));
                refs.push((other, id));
                continue;
            }
            Err(reason) => {
                imported.left_out.push((name, reason));
                continue;
            }
        }
        refs.push((name, id));
    }
    refs.sort();
    let lines = refs.iter().map(|(name, id)| format!("{id} {name}\n"));
    let text: String = std::iter::once("# pack-refs with: sorted \n".to_owned()).chain(lines).collect();
    durable::write(&path.join("packed-refs"), text.as_bytes())?;
    durable::remove_directory(&path.join(ARRIVALS))?;
    if let Some(head) = head(&refs) {
        durable::write(&path.join("HEAD"), format!("ref: {head}\n").as_bytes())?;
    }
    Ok(imported)
}

/// Returns the branch that a clone is to check out: the usual one, or the only one.
fn head(refs: &[(String, ObjectId)]) -> Option<&str> {
    const USUAL: [&str; 3] = ["refs/heads/main", "refs/heads/master", "refs/heads/debian/latest"];
    let branches = || refs.iter().map(|it| it.0.as_str()).filter(|it| it.starts_with("refs/heads/"));
    let usual = USUAL.into_iter().find(|it| branches().any(|branch| branch == *it));
    usual.or_else(|| branches().next().filter(|_| branches().count() == 1))
}

/// Returns `None` if a ref may keep its name, or the name that it gets and why, or why it gets none.
pub(super) fn allowed_name(
    policy: &PushPolicy,
    name: &str,
    id: ObjectId,
) -> std::result::Result<Option<(String, String)>, String> {
    let check = |name: &str| {
        policy.check(&Update { name: name.as_bytes(), old: None, new: Some(id), alias_of: None })
    };
    let Err(refusal) = check(name) else { return Ok(None) };
    let other = ["refs/heads/", "refs/tags/"].iter().find_map(|prefix| {
        let rest = name.strip_prefix(prefix)?;
        Some(format!("{prefix}imported/{rest}"))
    });
    match other.filter(|it| check(it).is_ok()) {
        Some(other) => Ok(Some((other, refusal.reason))),
        None => Err(refusal.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        assert_eq!(without_password("https://me:secret@example.org/x@y.git"), "https://example.org/x@y.git");
        assert_eq!(without_password("/srv/a@b.git"), "/srv/a@b.git");
        assert_eq!(without_password("https://example.org"), "https://example.org");
    }
}
