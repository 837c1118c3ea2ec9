//! The remctl backend of Invirtibuilder: `remctl HOST build POCKET PACKAGE COMMIT`.
//!
//! remctld runs it with the command's words as its arguments and the caller's principal in `REMOTE_USER`. It makes
//! the same calls as the command line, and trusts nothing else that the caller could have set.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use invirtibuilder_core::config::{Config, DEFAULT_FILE, Host};
use invirtibuilder_core::error::causes;
use invirtibuilder_core::job::JobState;
use invirtibuilder_core::names::{JobId, Principal};
use invirtibuilder_core::plain_text::PlainText;
use invirtibuilder_core::site::{Exit, Site, SiteError, Submitted, Words};

mod environment;

use environment::Environment;

/// One command that remctld may run.
struct Command {
    /// The remctl command and, where that is fixed, its subcommand.
    name: &'static str,
    /// Its arguments, for people.
    usage: &'static str,
    /// What it does, for people.
    summary: &'static str,
    /// Answers it.
    run: fn(&Site, &Principal, &[String]) -> Result<String, Failure>,
}

/// Every command, as `remctl HOST help` tells them.
const COMMANDS: &[Command] = &[
    Command {
        name: "build",
        usage: "POCKET PACKAGE COMMIT",
        summary: "publish a commit of a package in a pocket",
        run: build,
    },
    Command {
        name: "buildinfo status",
        usage: "",
        summary: "list the jobs that have not ended, as JSON",
        run: status,
    },
    Command {
        name: "buildinfo show",
        usage: "JOB",
        summary: "tell everything about a job, as JSON",
        run: show,
    },
    Command { name: "buildinfo log", usage: "JOB", summary: "print the build log of a job", run: log },
    Command {
        name: "buildinfo history",
        usage: "[PACKAGE]",
        summary: "tell what was published, as JSON",
        run: history,
    },
];

/// Why a command did not do what it was asked to.
enum Failure {
    Site(SiteError),
    Usage(String),
    NotPermitted(String),
    NotFound(String),
    Io(io::Error),
}

impl From<SiteError> for Failure {
    fn from(error: SiteError) -> Self {
        Self::Site(error)
    }
}

impl Failure {
    fn exit(&self) -> Exit {
        match self {
            Self::Site(error) => Exit::of_error(error),
            Self::Usage(_) => Exit::Usage,
            Self::NotPermitted(_) => Exit::NotPermitted,
            Self::NotFound(_) => Exit::NotFound,
            Self::Io(_) => Exit::Internal,
        }
    }

    fn lines(&self) -> Vec<String> {
        match self {
            Self::Site(SiteError::Rejected(rejection)) => rejection.reasons(),
            Self::Site(error) => causes(error),
            Self::Usage(text) | Self::NotPermitted(text) | Self::NotFound(text) => vec![text.clone()],
            Self::Io(error) => causes(error),
        }
    }
}

fn main() -> ExitCode {
    let arguments: Result<Vec<String>, _> =
        std::env::args_os().skip(1).map(std::ffi::OsString::into_string).collect();
    let answer = match arguments {
        Ok(arguments) => answer(&Environment::read(), &arguments),
        Err(_) => Err(Failure::Usage("an argument is not UTF-8".to_owned())),
    };
    // What was asked for has happened by now: a client that went away changes nothing.
    match answer {
        Ok(text) => {
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::from(Exit::Done.code())
        }
        Err(failure) => {
            for line in failure.lines() {
                let _ = writeln!(io::stderr(), "error: {}", escape(&line));
            }
            ExitCode::from(failure.exit().code())
        }
    }
}

fn answer(environment: &Environment, arguments: &[String]) -> Result<String, Failure> {
    // remctld asks for help with the word as the first argument, whatever `REMCTL_COMMAND` says.
    if let Some("help" | "summary") = arguments.first().map(String::as_str) {
        return Ok(help());
    }
    let principal = environment.principal().map_err(Failure::NotPermitted)?;
    let (command, rest) = find(environment.command.as_deref(), arguments)
        .ok_or_else(|| Failure::Usage(format!("there is no such command; there are\n{}", help())))?;
    let file = PathBuf::from(environment.config.as_deref().unwrap_or(DEFAULT_FILE));
    let host = Host::detect().map_err(|e| Failure::NotFound(causes(&e).join(": ")))?;
    let site = Site::open(Config::load(&file, &host).map_err(SiteError::from)?)?;
    (command.run)(&site, &principal, rest)
}

/// Finds the command that remctld was asked for, and its arguments: all words after its name.
fn find<'a>(command: Option<&str>, arguments: &'a [String]) -> Option<(&'static Command, &'a [String])> {
    let command = command?;
    let (first, rest) = arguments.split_first()?;
    let whole = format!("{command} {first}");
    COMMANDS.iter().find_map(|it| {
        if it.name == command { Some((it, arguments)) } else { (it.name == whole).then_some((it, rest)) }
    })
}

fn help() -> String {
    let lines =
        COMMANDS.iter().map(|it| format!("{:<40} {}\n", format!("{} {}", it.name, it.usage), it.summary));
    lines.collect()
}

fn build(site: &Site, principal: &Principal, arguments: &[String]) -> Result<String, Failure> {
    let [pocket, package, commit] = arguments else {
        return Err(Failure::Usage("give a pocket, a package and a commit".to_owned()));
    };
    Ok(match site.submit(Words { pocket, package, commit, principal })? {
        Submitted::Queued(submission) => format!("{}\n", submission.job().id),
        Submitted::Current(version) => format!("{pocket} already has version {version} from this commit\n"),
    })
}

fn status(site: &Site, _: &Principal, arguments: &[String]) -> Result<String, Failure> {
    let [] = arguments else { return Err(Failure::Usage("give no arguments".to_owned())) };
    json(&site.queue().pending().map_err(SiteError::from)?)
}

fn show(site: &Site, _: &Principal, arguments: &[String]) -> Result<String, Failure> {
    json(&job(site, arguments)?)
}

fn log(site: &Site, _: &Principal, arguments: &[String]) -> Result<String, Failure> {
    let state = job(site, arguments)?;
    let path = site.log_of(state.job()).ok_or_else(|| Failure::NotFound("the job has no log".to_owned()))?;
    let bytes = std::fs::read(path).map_err(Failure::Io)?;
    // It ends on the terminal of whoever called remctl.
    let mut plain = PlainText::default();
    Ok(plain.push(&bytes) + &plain.finish())
}

fn history(site: &Site, _: &Principal, arguments: &[String]) -> Result<String, Failure> {
    const LATEST: usize = 100;
    let package = match arguments {
        [] => None,
        [package] => Some(package.parse().map_err(SiteError::from)?),
        _ => return Err(Failure::Usage("give at most a package".to_owned())),
    };
    json(&site.history(None, package.as_ref(), LATEST)?)
}

fn job(site: &Site, arguments: &[String]) -> Result<JobState, Failure> {
    let [id] = arguments else { return Err(Failure::Usage("give the id of a job".to_owned())) };
    let id: JobId = id.parse().map_err(SiteError::from)?;
    Ok(site.job(&id)?)
}

fn json<T: serde::Serialize>(answer: &T) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(answer).map_err(|e| Failure::Io(e.into()))?;
    Ok(format!("{text}\n"))
}

/// Replaces control characters, which the client's terminal would obey.
fn escape(text: &str) -> String {
    let shown =
        |c: char| if c.is_control() && c != '\n' { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests;
