//! Who may publish in a pocket: a list, a file, or what a program prints (rule A1).
//!
//! Never guesses: names are compared as they are, and what cannot be read denies.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::causes;
use crate::names::{PocketName, Principal};
use crate::policy::Access;
use crate::process::{Command, Limits};

/// Named lists of principals.
pub type Lists = BTreeMap<String, Vec<Principal>>;

/// How long a program may take to print the principals.
const TIME: Duration = Duration::from_secs(10);

/// The longest list, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// A pocket's access list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acl {
    /// These.
    Principals(Vec<Principal>),
    /// Those of a list that has a name of its own, which need not exist: then nobody is in it.
    Named(String),
    /// Those in a file, one a line; empty lines and what follows a `#` at the start of a line or after a blank
    /// do not count. It is read each time.
    File(PathBuf),
    /// Those that a program prints in the same form. It gets the pocket's name as its one further argument, and
    /// ten seconds.
    Command(Vec<String>),
}

/// Returns whether a principal may publish in a pocket.
///
/// ```
/// use invirtibuilder_core::access::{Acl, Lists, check};
/// use invirtibuilder_core::policy::Access;
/// let acl = Acl::Principals(vec!["alice@EXAMPLE.ORG".parse()?]);
/// let check = |who: &str| Ok::<_, invirtibuilder_core::names::NameError>(
///     check(&acl, &Lists::new(), &"prod".parse()?, &who.parse()?));
/// assert_eq!(check("alice@EXAMPLE.ORG")?, Access::Granted);
/// assert!(matches!(check("Alice@EXAMPLE.ORG")?, Access::Denied(_)));
/// # Ok::<(), invirtibuilder_core::names::NameError>(())
/// ```
#[must_use]
pub fn check(acl: &Acl, lists: &Lists, pocket: &PocketName, principal: &Principal) -> Access {
    let reason = match members(acl, lists, pocket) {
        Ok(members) if members.contains(principal) => return Access::Granted,
        Ok(_) => match acl {
            Acl::Principals(_) => {
                format!("it is not in the list build.pockets.{pocket}.acl; ask an administrator to add it")
            }
            Acl::Named(name) => format!("it is not in the list {name:?}; ask an administrator to add it"),
            Acl::File(path) => {
                format!("it is not in {}; ask an administrator to add it", path.display())
            }
            Acl::Command(command) => {
                format!("{} does not name it; ask an administrator to let it", program_of(command))
            }
        },
        Err(problem) => problem,
    };
    Access::Denied(reason)
}

/// Returns all principals who may publish in a pocket.
///
/// # Errors
/// Why they cannot be known, and what to do; then nobody may.
pub fn members(acl: &Acl, lists: &Lists, pocket: &PocketName) -> Result<Vec<Principal>, String> {
    match acl {
        Acl::Principals(principals) => Ok(principals.clone()),
        Acl::Named(name) => lists.get(name).cloned().ok_or_else(|| {
            format!(
                "the list {name:?} is not defined; define it below `acls` in the configuration, or write one principal as acl: [{name:?}]"
            )
        }),
        Acl::File(path) => read_file(path)
            .and_then(|text| parse(&text))
            .map_err(|problem| format!("the access list {}: {problem}", path.display())),
        Acl::Command(command) => run(command, pocket)
            .and_then(|output| parse(&output))
            .map_err(|problem| format!("the access list of {}: {problem}", program_of(command))),
    }
}

fn program_of(command: &[String]) -> &str {
    command.first().map_or("no program", String::as_str)
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |e: std::io::Error| {
        format!("it cannot be read: {e}; an administrator must make it readable, until then nobody may")
    };
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(
            "it is not a regular file; an administrator must mend it, until then nobody may".to_owned()
        );
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it is longer than {MAX_BYTES} bytes, until that is mended nobody may"));
    }
    Ok(bytes)
}

fn run(command: &[String], pocket: &PocketName) -> Result<Vec<u8>, String> {
    let (program, arguments) = command.split_first().ok_or("it names no program")?;
    let limits = Limits { time: TIME, silence: TIME, output: MAX_BYTES };
    let run = Command::new(program).args(arguments).arg(pocket.as_str()).limits(limits).run();
    run.map_err(|e| format!("{}; until an administrator mends that nobody may", causes(&e).join(": ")))
}

/// Reads one principal a line.
fn parse(bytes: &[u8]) -> Result<Vec<Principal>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8, until that is mended nobody may")?;
    let mut principals = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let entry = without_comment(line).trim();
        if entry.is_empty() {
            continue;
        }
        let principal: Principal =
            entry.parse().map_err(|e| format!("line {}: {e}; until that is mended nobody may", at + 1))?;
        principals.push(principal);
    }
    Ok(principals)
}

/// A principal may have a `#` inside, so only one at a word's beginning begins a comment.
fn without_comment(line: &str) -> &str {
    let begins = |at: usize| line.get(..at).is_some_and(|it| it.is_empty() || it.ends_with([' ', '\t']));
    let comment = line.match_indices('#').map(|it| it.0).find(|at| begins(*at));
    comment.and_then(|at| line.get(..at)).unwrap_or(line)
}

#[cfg(test)]
mod tests;
