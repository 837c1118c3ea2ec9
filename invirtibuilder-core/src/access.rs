//! Who may publish in a pocket: principals, lists with names, files, and what programs print (rule A1).
//!
//! Never guesses: names are compared as they are, patterns count where the configuration calls them so, and what
//! cannot be read admits nobody.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::causes;
use crate::names::{PocketName, Principal};
use crate::policy::Access;
use crate::process::{Command, Limits};

/// Lists that have names of their own.
pub type Lists = BTreeMap<String, Acl>;

/// How long a program may take to print the principals.
const TIME: Duration = Duration::from_secs(10);

/// The longest list, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// How many lists may be in one another.
const MAX_DEPTH: usize = 32;

/// An access list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acl {
    /// Whoever one of these admits.
    Members(Vec<Member>),
    /// A list that has a name of its own, which need not exist: then nobody is in it.
    Named(String),
    /// Those in a file, one a line; empty lines and what follows a `#` at the start of a line or after a blank
    /// do not count. It is read each time.
    File(PathBuf),
    /// Those that a program prints in the same form. It gets the name of the pocket, or of the package, as its one
    /// further argument, and ten seconds.
    Command(Vec<String>),
}

impl Acl {
    /// Returns the list of these principals.
    #[must_use]
    pub fn of(principals: impl IntoIterator<Item = Principal>) -> Self {
        Self::Members(principals.into_iter().map(Member::Principal).collect())
    }
}

/// A member of an access list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    /// This principal.
    Principal(Principal),
    /// Everybody in another list.
    List(Acl),
    /// Every principal of this form.
    Pattern(Pattern),
}

/// A form of principals: `*` stands for any characters, also for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Takes the text of a pattern.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Returns whether a principal has this form.
    #[must_use]
    pub fn matches(&self, principal: &Principal) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = principal.as_str().strip_prefix(parts.next().unwrap_or_default()) else {
            return false;
        };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = rest.get(at + part.len()..).unwrap_or_default();
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Members(_) => f.write_str("the list"),
            Self::Named(name) => write!(f, "the list {name:?}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Command(command) => write!(f, "what {} prints", program_of(command)),
        }
    }
}

/// Returns whether a principal may publish in a pocket.
///
/// ```
/// use invirtibuilder_core::access::{Acl, Lists, check};
/// use invirtibuilder_core::policy::Access;
/// let acl = Acl::of(["alice@EXAMPLE.ORG".parse()?]);
/// let check = |who: &str| Ok::<_, invirtibuilder_core::names::NameError>(
///     check(&acl, &Lists::new(), &"prod".parse()?, &who.parse()?));
/// assert_eq!(check("alice@EXAMPLE.ORG")?, Access::Granted);
/// assert!(matches!(check("Alice@EXAMPLE.ORG")?, Access::Denied(_)));
/// # Ok::<(), invirtibuilder_core::names::NameError>(())
/// ```
#[must_use]
pub fn check(acl: &Acl, lists: &Lists, pocket: &PocketName, principal: &Principal) -> Access {
    match admit(acl, lists, pocket, principal) {
        Ok(_) => Access::Granted,
        Err(reason) => Access::Denied(reason),
    }
}

/// Finds what admits a principal to a pocket: the lists on the way to it, the outermost first, and then the principal
/// or the pattern.
///
/// # Errors
/// Why nothing does, and what to do.
pub fn admit(
    acl: &Acl,
    lists: &Lists,
    pocket: &PocketName,
    principal: &Principal,
) -> Result<Vec<String>, String> {
    let place = Place { key: &format!("build.pockets.{pocket}.acl"), argument: pocket.as_str() };
    admit_to(acl, lists, &place, principal)
}

/// Finds what admits a principal to anything that has an access list.
///
/// # Errors
/// As [`admit`].
pub fn admit_to(
    acl: &Acl,
    lists: &Lists,
    place: &Place<'_>,
    principal: &Principal,
) -> Result<Vec<String>, String> {
    let mut search = Search { lists, argument: place.argument, problems: Vec::new() };
    if let Some(mut way) = search.find(acl, principal, 0) {
        way.reverse();
        return Ok(way);
    }
    if !search.problems.is_empty() {
        return Err(search.problems.join("; "));
    }
    Err(match acl {
        Acl::Members(_) => {
            format!("it is not in the list {}; ask an administrator to add it", place.key)
        }
        Acl::Named(name) => format!("it is not in the list {name:?}; ask an administrator to add it"),
        Acl::File(path) => format!("it is not in {}; ask an administrator to add it", path.display()),
        Acl::Command(command) => {
            format!("{} does not name it; ask an administrator to let it", program_of(command))
        }
    })
}

/// What an access list guards.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The list's key in the configuration, such as `build.pockets.prod.acl`.
    pub key: &'a str,
    /// What the list's programs get as their last argument: the name of the pocket, or of the package.
    pub argument: &'a str,
}

/// A search through lists in lists.
struct Search<'a> {
    lists: &'a Lists,
    /// What programs get as their last argument.
    argument: &'a str,
    /// Why some of them could not be read.
    problems: Vec<String>,
}

impl Search<'_> {
    /// Returns the way to what admits the principal, the innermost first.
    fn find(&mut self, acl: &Acl, principal: &Principal, depth: usize) -> Option<Vec<String>> {
        if depth > MAX_DEPTH {
            self.problems.push(format!("{acl} is in more than {MAX_DEPTH} others, or in itself"));
            return None;
        }
        let Acl::Members(members) = acl else {
            let mut way = match self.read(acl) {
                Found::Principals(principals) => {
                    principals.contains(principal).then(|| vec![principal.to_string()])
                }
                Found::Another(acl) => self.find(&acl, principal, depth + 1),
            }?;
            way.push(acl.to_string());
            return Some(way);
        };
        members.iter().find_map(|member| match member {
            Member::Principal(it) => (it == principal).then(|| vec![it.to_string()]),
            Member::Pattern(it) => it.matches(principal).then(|| vec![format!("the pattern {it}")]),
            Member::List(it) => self.find(it, principal, depth + 1),
        })
    }

    /// Reads what a list that is no plain one consists of; nobody where that cannot be read.
    fn read(&mut self, acl: &Acl) -> Found {
        let principals = match acl {
            Acl::Members(_) => return Found::Another(acl.clone()),
            Acl::Named(name) => match self.lists.get(name) {
                Some(list) => return Found::Another(list.clone()),
                None => Err(format!(
                    "the list {name:?} is not defined; define it below `acls` in the configuration, or write one principal as acl: [{name:?}]"
                )),
            },
            Acl::File(path) => read_file(path)
                .and_then(|text| parse(&text))
                .map_err(|problem| format!("the access list {}: {problem}", path.display())),
            Acl::Command(command) => run(command, self.argument)
                .and_then(|output| parse(&output))
                .map_err(|problem| format!("the access list of {}: {problem}", program_of(command))),
        };
        Found::Principals(principals.unwrap_or_else(|problem| {
            self.problems.push(problem);
            Vec::new()
        }))
    }

    /// Collects everybody in a list.
    fn collect(&mut self, acl: &Acl, depth: usize, into: &mut Vec<String>) {
        if depth > MAX_DEPTH {
            self.problems.push(format!("{acl} is in more than {MAX_DEPTH} others, or in itself"));
            return;
        }
        let Acl::Members(members) = acl else {
            match self.read(acl) {
                Found::Principals(principals) => into.extend(principals.iter().map(ToString::to_string)),
                Found::Another(acl) => self.collect(&acl, depth + 1, into),
            }
            return;
        };
        for member in members {
            match member {
                Member::Principal(it) => into.push(it.to_string()),
                Member::Pattern(it) => into.push(format!("the pattern {it}")),
                Member::List(it) => self.collect(it, depth + 1, into),
            }
        }
    }
}

/// What a list that is not written out is.
enum Found {
    Principals(Vec<Principal>),
    Another(Acl),
}

/// Returns all who may publish in a pocket, each once: principals, and patterns in words.
///
/// # Errors
/// Why some of them cannot be known, and what to do; until then they may not.
pub fn members(acl: &Acl, lists: &Lists, pocket: &PocketName) -> Result<Vec<String>, String> {
    let mut search = Search { lists, argument: pocket.as_str(), problems: Vec::new() };
    let mut found = Vec::new();
    search.collect(acl, 0, &mut found);
    if !search.problems.is_empty() {
        return Err(search.problems.join("; "));
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|it| seen.insert(it.clone()));
    Ok(found)
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

fn run(command: &[String], argument: &str) -> Result<Vec<u8>, String> {
    let (program, arguments) = command.split_first().ok_or("it names no program")?;
    let limits = Limits { time: TIME, silence: TIME, output: MAX_BYTES };
    let run = Command::new(program).args(arguments).arg(argument).limits(limits).run();
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
