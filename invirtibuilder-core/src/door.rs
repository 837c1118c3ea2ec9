//! What people may ask for through remctl and SSH: one table of commands, from words to one call of the site each.
//!
//! Never learns from the words who asks: that is the transport's to say. Everything that somebody typed is data. Prints
//! nothing; the answer is complete, and what was asked for is durable, before a byte of it can be written.

use std::fmt::Write as _;
use std::io;

use crate::audit::AuditError;
use crate::error::causes;
use crate::job::JobState;
use crate::names::{JobId, Principal};
use crate::plain_text::PlainText;
use crate::queue::Cancellation;
use crate::site::{Exit, Site, SiteError, Submitted, Words};

pub mod git;
pub mod keys;
pub mod remctld;
pub mod words;

/// One command.
#[derive(Debug)]
pub struct Command {
    /// Its first word.
    pub name: &'static str,
    /// Its second word; `None` if that is the pocket's name, so that remctld can tell pockets apart.
    pub subcommand: Option<&'static str>,
    /// Its further words, for people.
    pub usage: &'static str,
    /// What it does, for people.
    pub summary: &'static str,
    run: fn(&Site, &Principal, &[String]) -> Result<String, DoorError>,
}

/// Every command.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "build",
        subcommand: None,
        usage: "PACKAGE COMMIT",
        summary: "publish a commit of a package in a pocket",
        run: build,
    },
    Command {
        name: "buildinfo",
        subcommand: Some("status"),
        usage: "",
        summary: "list the jobs that have not ended, as JSON",
        run: status,
    },
    Command {
        name: "buildinfo",
        subcommand: Some("show"),
        usage: "JOB",
        summary: "tell everything about a job, as JSON",
        run: show,
    },
    Command {
        name: "buildinfo",
        subcommand: Some("log"),
        usage: "JOB",
        summary: "print the build log of a job",
        run: log,
    },
    Command {
        name: "buildinfo",
        subcommand: Some("history"),
        usage: "[PACKAGE]",
        summary: "tell what was published, as JSON",
        run: history,
    },
    Command {
        name: "buildinfo",
        subcommand: Some("pockets"),
        usage: "",
        summary: "list the pockets, and whether you may publish there",
        run: pockets,
    },
    Command {
        name: "buildjob",
        subcommand: Some("cancel"),
        usage: "JOB",
        summary: "end a job without effect",
        run: cancel,
    },
    Command {
        name: "buildjob",
        subcommand: Some("retry"),
        usage: "JOB",
        summary: "ask again for what a job that has ended asked for",
        run: retry,
    },
];

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The site said so.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The words are none of a command.
    #[error("{0}")]
    Usage(String),
    /// A file could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<AuditError> for DoorError {
    fn from(error: AuditError) -> Self {
        Self::Site(error.into())
    }
}

impl DoorError {
    /// Returns the exit status.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Site(error) => Exit::of_error(error),
            Self::Usage(_) => Exit::Usage,
            Self::Io(_) => Exit::Internal,
        }
    }

    /// Returns what to tell, one cause a line.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Site(SiteError::Config(error)) => {
                error.problems().iter().map(ToString::to_string).collect()
            }
            Self::Site(SiteError::Rejected(rejection)) => rejection.reasons(),
            Self::Site(error) => causes(error),
            Self::Usage(text) => vec![text.clone()],
            Self::Io(error) => causes(error),
        }
    }
}

/// Answers a command: its words, the first of which is its name.
///
/// What is refused, for whatever reason, is a record of the audit log.
///
/// # Errors
/// Why it did not do what it was asked to.
pub fn answer(site: &Site, principal: &Principal, words: &[String]) -> Result<String, DoorError> {
    let answer = find(words).and_then(|(command, rest)| (command.run)(site, principal, rest));
    match &answer {
        Err(DoorError::Usage(reason)) => {
            site.tell_of_refused_words(principal, words, reason)?;
        }
        // A name that is none, such as a job's, is not the site's to record, but the door's.
        Err(DoorError::Site(error @ SiteError::Name(_))) => {
            site.tell_of_refused_words(principal, words, &error.to_string())?;
        }
        _ => (),
    }
    answer
}

/// Finds a command by its words, and returns it with the words that it is given.
fn find(words: &[String]) -> Result<(&'static Command, &[String]), DoorError> {
    let Some((name, rest)) = words.split_first() else {
        return Err(DoorError::Usage(format!("give a command; there are\n{}", help())));
    };
    let of_name = || COMMANDS.iter().filter(|it| it.name == name);
    if let Some(command) = of_name().find(|it| it.subcommand.is_none()) {
        return Ok((command, rest));
    }
    let subcommand = rest.first().map(String::as_str);
    match of_name().find(|it| it.subcommand == subcommand) {
        Some(command) => Ok((command, rest.get(1..).unwrap_or_default())),
        None => Err(DoorError::Usage(format!("there is no such command; there are\n{}", help()))),
    }
}

/// Returns one line a command.
#[must_use]
pub fn help() -> String {
    let mut text = String::new();
    for command in COMMANDS {
        text.push_str(&line(command, command.subcommand.unwrap_or("POCKET")));
    }
    text
}

/// Returns the line of help for a command and its second word, such as `build` and `prod`; `None` if there is no such
/// command.
#[must_use]
pub fn summary(name: &str, subcommand: Option<&str>) -> Option<String> {
    let of_name = || COMMANDS.iter().filter(|it| it.name == name);
    let Some(word) = subcommand else {
        let lines: String = of_name().map(|it| line(it, it.subcommand.unwrap_or("POCKET"))).collect();
        return Some(lines).filter(|it| !it.is_empty());
    };
    let command = of_name().find(|it| it.subcommand.is_none_or(|it| it == word))?;
    Some(line(command, word))
}

fn line(command: &Command, word: &str) -> String {
    let words = format!("{} {word} {}", command.name, command.usage);
    format!("{:<38} {}\n", words.trim_end(), command.summary)
}

/// Replaces control characters, which the terminal of whoever asked would obey; line breaks stay.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' {
            let _ = write!(shown, "{}", c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn build(site: &Site, principal: &Principal, arguments: &[String]) -> Result<String, DoorError> {
    let [pocket, package, commit] = arguments else {
        return Err(DoorError::Usage("give a pocket, a package and a commit, and nothing else".to_owned()));
    };
    Ok(told(&site.submit(Words { pocket, package, commit, principal })?, pocket))
}

fn told(submitted: &Submitted, pocket: &str) -> String {
    match submitted {
        Submitted::Queued(submission) => format!("{}\n", submission.job().id),
        Submitted::Current(version) => {
            format!("{pocket} already has version {version} from this commit; there is nothing to do\n")
        }
    }
}

fn status(site: &Site, principal: &Principal, arguments: &[String]) -> Result<String, DoorError> {
    site.check_reading(principal)?;
    nothing(arguments)?;
    json(&site.queue().pending().map_err(SiteError::from)?)
}

fn show(site: &Site, principal: &Principal, arguments: &[String]) -> Result<String, DoorError> {
    site.check_reading(principal)?;
    json(&site.job(&job_id(arguments)?)?)
}

fn log(site: &Site, principal: &Principal, arguments: &[String]) -> Result<String, DoorError> {
    site.check_reading(principal)?;
    let state: JobState = site.job(&job_id(arguments)?)?;
    let path = site
        .log_of(state.job())
        .ok_or_else(|| SiteError::NotFound("the job has no log; it has not begun to build".to_owned()))?;
    let bytes = std::fs::read(path)?;
    // It ends on the terminal of whoever asked.
    let mut plain = PlainText::default();
    Ok(plain.push(&bytes) + &plain.finish())
}

fn history(site: &Site, principal: &Principal, arguments: &[String]) -> Result<String, DoorError> {
    const LATEST: usize = 100;
    site.check_reading(principal)?;
    let package = match arguments {
        [] => None,
        [package] => Some(package.parse().map_err(SiteError::from)?),
        _ => return Err(DoorError::Usage("give at most a package".to_owned())),
    };
    json(&site.history(None, package.as_ref(), LATEST)?)
}

fn pockets(site: &Site, principal: &Principal, arguments: &[String]) -> Result<String, DoorError> {
    nothing(arguments)?;
    let mut text = String::new();
    for pocket in site.config().pockets.keys() {
        let may = match site.may(principal, crate::site::Action::Build, pocket) {
            Ok(_) => "you may publish here".to_owned(),
            Err(reason) => reason,
        };
        let _ = writeln!(text, "{pocket}: {may}");
    }
    Ok(text)
}

fn cancel(site: &Site, principal: &Principal, arguments: &[String]) -> Result<String, DoorError> {
    let id = job_id(arguments)?;
    Ok(match site.cancel(&id, principal)? {
        Cancellation::Done => format!("{id} is cancelled\n"),
        Cancellation::Requested => {
            format!("{id} runs; it ends without effect unless it is being published\n")
        }
        Cancellation::AlreadyEnded(_) => {
            return Err(SiteError::Refused(format!("job {id} has ended already")).into());
        }
    })
}

fn retry(site: &Site, principal: &Principal, arguments: &[String]) -> Result<String, DoorError> {
    let id = job_id(arguments)?;
    let pocket = site.job(&id)?.job().request.pocket.clone();
    Ok(told(&site.retry(&id, principal)?, pocket.as_str()))
}

fn nothing(arguments: &[String]) -> Result<(), DoorError> {
    let [] = arguments else { return Err(DoorError::Usage("give no further words".to_owned())) };
    Ok(())
}

fn job_id(arguments: &[String]) -> Result<JobId, DoorError> {
    let [id] = arguments else { return Err(DoorError::Usage("give the id of a job".to_owned())) };
    Ok(id.parse().map_err(SiteError::from)?)
}

fn json<T: serde::Serialize>(answer: &T) -> Result<String, DoorError> {
    let text = serde_json::to_string_pretty(answer).map_err(io::Error::from)?;
    Ok(format!("{text}\n"))
}

#[cfg(test)]
mod tests;
