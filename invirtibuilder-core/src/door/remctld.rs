//! Writes the configuration of remctld (`remctld(8)`): which pockets there are, and who may ask for what.
//!
//! That configuration has no quotation, so only words of harmless characters go into it; and nothing replaces what is
//! there before remctld's own parser has read it, and has turned a stranger away from every list. What a list of remctld
//! cannot say is left to our own check, which comes in any case.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::COMMANDS;
use crate::access::{Acl, Lists, Member};
use crate::config::Config;
use crate::durable::{self, DurableError, Lock};
use crate::process::{Command, Limits, ProcessError, find};
use crate::stop::Never;

/// The file that remctld's own configuration includes. It reads no file there whose name has a dot.
const FILE: &str = "conf.d/invirtibuilder";
/// What the names of our access lists begin with.
const PREFIX: &str = "invirtibuilder-";
/// The program of Debian's remctl-server that reads a configuration and runs one command.
const PARSER: &str = "/usr/sbin/remctl-shell";
/// Somebody who is in no list.
const STRANGER: &str = "nobody-at-all@INVALID";

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum RemctldError {
    /// A path or a name has characters that the configuration of remctld cannot hold.
    #[error(
        "{what} {word:?} has characters that remctld's configuration cannot hold; use letters, digits and . _ / + - @ alone"
    )]
    Word {
        /// What it is.
        what: &'static str,
        /// The path or name.
        word: String,
    },
    /// remctld would not have read it, or would have let a stranger in.
    #[error("remctld would not take its new configuration, so the old one is as it was: {0}")]
    Invalid(String),
    /// The program that tells this is missing.
    #[error("nothing can be proved without {PARSER}; install it with `apt-get install remctl-server`")]
    NoParser,
    /// The program that tells this did not run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It could not be written.
    #[error(transparent)]
    Durable(#[from] DurableError),
}

/// What is to be written, and how remctld is to call us.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The directory of remctld's configuration, such as `/etc/remctl`; absolute.
    pub directory: &'a Path,
    /// The program `invirtibuilder-remctl`.
    pub program: &'a Path,
    /// The configuration of the site; `None` for the place where the program looks by itself.
    pub site: Option<&'a Path>,
    /// The user that the program runs as; `None` for the one who runs remctld.
    pub user: Option<&'a str>,
    /// Whether remctld lets everybody through to us whom Kerberos knows, so that whoever is refused is in the audit log.
    pub open: bool,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The files that are not as they were.
    pub changed: Vec<PathBuf>,
    /// Whether remctld must read its configuration again; it reads access lists at every call.
    pub must_reload: bool,
    /// The pockets whose list remctld cannot hold, and why: there only our own check guards.
    pub unguarded: BTreeMap<String, String>,
}

/// Whom a list of remctld lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Guard {
    /// These.
    These(Vec<String>),
    /// Everybody whom Kerberos knows, for this reason.
    Everybody(String),
}

/// Writes `conf.d/invirtibuilder`, the lists `acl/invirtibuilder-*`, and `remctl.conf` if there is none.
///
/// # Errors
/// Then what was there is as it was, except for lists, which are safe one by one.
pub fn write(config: &Config, options: &Options<'_>) -> Result<Written, RemctldError> {
    let directory = options.directory;
    let guards = guards(config, options);
    durable::create_directory(directory)?;
    let _lock = Lock::wait(&directory.join(".invirtibuilder.lock"))?;
    prove(&guards, options)?;

    let mut written = Written::default();
    for (name, guard) in &guards {
        if let (Guard::Everybody(reason), Some(pocket)) = (guard, name.strip_prefix("build-"))
            && !options.open
        {
            written.unguarded.insert(pocket.to_owned(), reason.clone());
        }
        let path = list(directory, name)?;
        replace(&path, acl(guard).as_bytes(), 0o644, &mut written.changed)?;
    }
    if let Some(site) = options.site {
        replace(&backend(directory), &wrapper(options.program, site), 0o755, &mut written.changed)?;
    }
    // A list is there before a line needs it, and goes when none does.
    let before = written.changed.len();
    let lines = lines(&guards, options, directory)?;
    replace(&directory.join(FILE), lines.as_bytes(), 0o644, &mut written.changed)?;
    let main = directory.join("remctl.conf");
    if !main.exists() {
        let text = format!("include {}\n", word("the path", &directory.join("conf.d"))?);
        replace(&main, text.as_bytes(), 0o644, &mut written.changed)?;
    }
    written.must_reload = written.changed.len() > before;
    remove_others(directory, &guards)?;
    Ok(written)
}

/// Returns the lists that are needed, by their names.
fn guards(config: &Config, options: &Options<'_>) -> BTreeMap<String, Guard> {
    let everybody = |reason: &str| Guard::Everybody(reason.to_owned());
    let asked = || everybody("so it was asked for");
    let of = |acl: &Acl| if options.open { asked() } else { guard(acl, &config.lists) };
    let pockets = config.acls.iter().map(|(pocket, acl)| (format!("build-{pocket}"), of(acl)));
    let read = config.hosting.read.as_ref().map_or_else(|| everybody("everybody may read"), of);
    let job = everybody("it depends on the job who may");
    pockets.chain([("read".to_owned(), read), ("job".to_owned(), job)]).collect()
}

/// Returns whom a list of remctld can let through: never fewer than our own.
fn guard(acl: &Acl, lists: &Lists) -> Guard {
    let mut names = Vec::new();
    match collect(acl, lists, 0, &mut names) {
        Ok(()) => {
            names.sort();
            names.dedup();
            Guard::These(names)
        }
        Err(reason) => Guard::Everybody(reason),
    }
}

fn collect(acl: &Acl, lists: &Lists, depth: usize, names: &mut Vec<String>) -> Result<(), String> {
    const MAX_DEPTH: usize = 32;
    if depth > MAX_DEPTH {
        return Err("its lists are in one another too deeply".to_owned());
    }
    match acl {
        Acl::Named(name) => lists.get(name).map_or(Ok(()), |acl| collect(acl, lists, depth + 1, names)),
        Acl::File(path) => Err(format!(
            "{} may change at any time, and has a form of its own",
            path.display().to_string().escape_debug()
        )),
        Acl::Command(_) => Err("a program says who is in it".to_owned()),
        Acl::Members(members) => members.iter().try_for_each(|member| match member {
            Member::List(acl) => collect(acl, lists, depth + 1, names),
            Member::Pattern(_) => Err("it has a pattern in it".to_owned()),
            Member::Principal(principal) if is_word(principal.as_str()) => {
                names.push(principal.to_string());
                Ok(())
            }
            Member::Principal(_) => Err("it has a name in it that remctld's form cannot hold".to_owned()),
        }),
    }
}

/// Returns whether a text may stand in remctld's configuration: nothing of it means anything there.
fn is_word(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._/+-@".contains(c);
    !text.is_empty() && !text.starts_with(['-', '+']) && text.chars().all(is_plain)
}

fn word(what: &'static str, path: &Path) -> Result<String, RemctldError> {
    let text = path.to_string_lossy().into_owned();
    // A path that is not absolute would begin at wherever remctld was started.
    if is_word(&text) && path.is_absolute() { Ok(text) } else { Err(RemctldError::Word { what, word: text }) }
}

fn list(directory: &Path, name: &str) -> Result<PathBuf, RemctldError> {
    let path = directory.join("acl").join(format!("{PREFIX}{name}"));
    word("the path", &path).map(PathBuf::from)
}

/// Returns the text of an access list of remctld.
fn acl(guard: &Guard) -> String {
    let mut text = "# Written by `invirtibuilder remctl-config`, which overwrites every change.\n".to_owned();
    match guard {
        Guard::These(names) => {
            for name in names {
                let _ = writeln!(text, "princ:{name}");
            }
        }
        Guard::Everybody(reason) => {
            let reason: String = reason.chars().map(|c| if c == '\\' { '/' } else { c }).collect();
            let _ = writeln!(
                text,
                "# Everybody whom Kerberos knows gets as far as Invirtibuilder, which checks its own list and records\n# whom it refuses: {reason}."
            );
            text.push_str("anyuser:auth\n");
        }
    }
    text
}

fn backend(directory: &Path) -> PathBuf {
    directory.join("invirtibuilder-backend")
}

/// Returns the script that tells our program which site it is for: remctld gives it no environment of ours.
fn wrapper(program: &Path, site: &Path) -> Vec<u8> {
    let quoted = |path: &Path| format!("'{}'", path.to_string_lossy().replace('\'', "'\\''"));
    format!(
        "#!/bin/sh\n# Written by `invirtibuilder remctl-config`, which overwrites every change.\nINVIRTIBUILDER_CONFIG={}\nexport INVIRTIBUILDER_CONFIG\nexec {} \"$@\"\n",
        quoted(site),
        quoted(program)
    )
    .into_bytes()
}

/// Returns the lines of the configuration. Each names its subcommand: there is no `ALL`, by which a pocket without a
/// list of its own, or a misspelt one, could get through.
fn lines(
    guards: &BTreeMap<String, Guard>,
    options: &Options<'_>,
    lists: &Path,
) -> Result<String, RemctldError> {
    let program = match options.site {
        Some(_) => word("the path", &backend(options.directory))?,
        None => word("the program", options.program)?,
    };
    let user = match options.user {
        Some(user) if is_word(user) => format!(" user={user}"),
        Some(user) => return Err(RemctldError::Word { what: "the user", word: user.to_owned() }),
        None => String::new(),
    };
    let mut text = "# Written by `invirtibuilder remctl-config`, which overwrites every change.\n".to_owned();
    let mut line = |name: &str, subcommand: &str, guard: &str| -> Result<(), RemctldError> {
        let acl = list(lists, guard)?;
        let _ = writeln!(
            text,
            "{name} {subcommand} {program}{user} help=--help-{name} summary=--summary-{name} {}",
            acl.display()
        );
        Ok(())
    };
    for command in COMMANDS {
        match command.subcommand {
            Some(subcommand) => {
                let guard = if command.name == "buildinfo" { "read" } else { "job" };
                line(command.name, subcommand, guard)?;
            }
            None => {
                for guard in guards.keys() {
                    if let Some(pocket) = guard.strip_prefix("build-") {
                        line(command.name, pocket, guard)?;
                    }
                }
            }
        }
    }
    Ok(text)
}

/// Lets remctld's own parser read everything, in a place of its own, and checks that each list lets its members in and
/// keeps a stranger out.
fn prove(guards: &BTreeMap<String, Guard>, options: &Options<'_>) -> Result<(), RemctldError> {
    if find(PARSER).is_none() {
        return Err(RemctldError::NoParser);
    }
    let place = options.directory.join(".invirtibuilder.check");
    durable::remove_directory(&place)?;
    let proved = prove_in(&place, guards, options);
    durable::remove_directory(&place)?;
    proved
}

fn prove_in(
    place: &Path,
    guards: &BTreeMap<String, Guard>,
    options: &Options<'_>,
) -> Result<(), RemctldError> {
    durable::create_directory(&place.join("acl"))?;
    let mut probes = String::new();
    for (name, guard) in guards {
        let path = list(place, name)?;
        durable::write_with_mode(&path, acl(guard).as_bytes(), 0o644)?;
        let _ = writeln!(probes, "probe {name} /bin/true {}", path.display());
    }
    let (real, probe) = (place.join("lines"), place.join("probes"));
    durable::write(&real, lines(guards, options, place)?.as_bytes())?;
    durable::write(&probe, probes.as_bytes())?;

    let (_, said) = ask(&real, STRANGER, "no-such no-such")?;
    if !said.contains("Unknown command") {
        return Err(RemctldError::Invalid(said));
    }
    for (name, guard) in guards {
        let (is_in, said) = ask(&probe, STRANGER, &format!("probe {name}"))?;
        if is_in != matches!(guard, Guard::Everybody(_)) {
            return Err(RemctldError::Invalid(format!("the list {name} is wrong about strangers: {said}")));
        }
        if let Guard::These(names) = guard
            && let Some(member) = names.first()
            && !ask(&probe, member, &format!("probe {name}"))?.0
        {
            return Err(RemctldError::Invalid(format!("the list {name} does not know {member}")));
        }
    }
    Ok(())
}

/// Returns whether a principal could run a command, and what was said.
fn ask(file: &Path, principal: &str, command: &str) -> Result<(bool, String), RemctldError> {
    let mut said = Vec::new();
    let status = Command::new(PARSER)
        .env("SSH_CONNECTION", "127.0.0.1 1 127.0.0.1 22")
        .env("SSH_ORIGINAL_COMMAND", command)
        .args(["-S", "-q", "-f"])
        .arg(file)
        .arg(principal)
        .limits(Limits { time: std::time::Duration::from_secs(60), ..Limits::default() })
        .run_logged(&mut said, &Never)?;
    Ok((status.success(), String::from_utf8_lossy(&said).trim().to_owned()))
}

/// Writes a file that is not as it should be.
fn replace(path: &Path, bytes: &[u8], mode: u32, changed: &mut Vec<PathBuf>) -> Result<(), RemctldError> {
    if std::fs::read(path).is_ok_and(|it| it == bytes) {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        durable::create_directory(directory)?;
    }
    durable::write_with_mode(path, bytes, mode)?;
    durable::set_mode(path, mode)?;
    changed.push(path.to_owned());
    Ok(())
}

/// Removes the lists that no line needs any more.
fn remove_others(directory: &Path, guards: &BTreeMap<String, Guard>) -> Result<(), RemctldError> {
    let Ok(entries) = std::fs::read_dir(directory.join("acl")) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = name.to_str().and_then(|it| it.strip_prefix(PREFIX));
        if ours.is_some_and(|it| !guards.contains_key(it)) {
            durable::remove_file(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
