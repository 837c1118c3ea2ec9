//! The remctl backend of Invirtibuilder: `remctl HOST build POCKET PACKAGE COMMIT`.
//!
//! remctld runs it with the command's words as its arguments and the caller's principal in `REMOTE_USER`. It makes
//! the same calls as the command line, and trusts nothing else that the caller could have set.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use invirtibuilder_core::config::{Config, DEFAULT_FILE, Host};
use invirtibuilder_core::door::{self, DoorError, answer, escape};
use invirtibuilder_core::error::causes;
use invirtibuilder_core::site::{Exit, Site, SiteError};

mod environment;

use environment::Environment;

/// Why a call was not answered.
#[derive(Debug)]
enum Failure {
    Door(DoorError),
    NotPermitted(String),
    Host(String),
}

impl<E: Into<DoorError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Door(error.into())
    }
}

impl Failure {
    fn exit(&self) -> Exit {
        match self {
            Self::Door(error) => error.exit(),
            Self::NotPermitted(_) => Exit::NotPermitted,
            Self::Host(_) => Exit::Internal,
        }
    }

    fn lines(&self) -> Vec<String> {
        match self {
            Self::Door(error) => error.lines(),
            Self::NotPermitted(text) | Self::Host(text) => vec![text.clone()],
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    let environment = Environment::read();
    // What was asked for has happened by now, durably: a client that went away changes nothing. (The runtime of Rust
    // ignores SIGPIPE, so writing to it is an error, and no death.)
    match call(&environment, &arguments) {
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

fn call(environment: &Environment, arguments: &[std::ffi::OsString]) -> Result<String, Failure> {
    let words: Option<Vec<String>> = arguments.iter().map(|it| it.to_str().map(str::to_owned)).collect();
    if let Some(text) = words.as_deref().and_then(|it| help(it, environment)) {
        return Ok(text);
    }
    let site = site(environment)?;
    let shown = || arguments.iter().map(|it| it.to_string_lossy().into_owned()).collect::<Vec<_>>();
    let principal = match environment.principal() {
        Ok(principal) => principal,
        Err(reason) => {
            site.tell_of_stranger(&shown(), &reason)?;
            return Err(Failure::NotPermitted(reason));
        }
    };
    let Some(words) = words else {
        let reason = "an argument is not UTF-8";
        site.tell_of_refused_words(&principal, &shown(), reason).map_err(SiteError::from)?;
        return Err(DoorError::Usage(reason.to_owned()).into());
    };
    let asked: Vec<String> = environment.command.iter().cloned().chain(words).collect();
    Ok(answer(&site, &principal, &asked)?)
}

/// Answers remctld's questions for help, which come with what our configuration of it says: `--help-COMMAND` or
/// `--summary-COMMAND`, and the subcommand. `REMCTL_COMMAND` says nothing then.
///
/// Neither can be a pocket, nor another subcommand. A configuration that somebody wrote by hand may also say `help` and
/// `summary`, which are words of a request only if more follow.
fn help(words: &[String], environment: &Environment) -> Option<String> {
    let (first, rest) = words.split_first()?;
    let subcommand = rest.first().map(String::as_str);
    if let Some(name) = first.strip_prefix("--summary-") {
        return door::summary(name, subcommand);
    }
    if let Some(name) = first.strip_prefix("--help-") {
        let text = door::summary(name, subcommand)?;
        return Some(format!("{text}\nAll commands:\n{}", door::help()));
    }
    let by_hand = matches!(first.as_str(), "help" | "summary") && rest.len() <= 1;
    let is_asked = environment.command.as_deref().is_none_or(|it| it == "help" || it == "summary");
    (by_hand && is_asked).then(door::help)
}

fn site(environment: &Environment) -> Result<Site, Failure> {
    let file = PathBuf::from(environment.config.as_deref().unwrap_or(DEFAULT_FILE));
    let host = Host::detect().map_err(|e| Failure::Host(causes(&e).join(": ")))?;
    let site = Site::open(Config::load(&file, &host).map_err(SiteError::from)?)?;
    let door = ("door", "remctl".to_owned());
    let address = environment.address.clone().map(|it| ("address", it));
    Ok(site.through(std::iter::once(door).chain(address)))
}

#[cfg(test)]
mod tests;
