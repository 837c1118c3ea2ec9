//! `ssh-shell`: what an SSH key may do, and nothing else.

use std::io::{self, Write};

use invirtibuilder_core::door::git::{Service, serve};
use invirtibuilder_core::door::{answer, escape, help, words};
use invirtibuilder_core::names::Principal;
use invirtibuilder_core::site::{Exit, SiteError};

use super::Answer;
use crate::context::{Context, Failure};
use crate::environment;
use crate::output::remark;

/// Answer an SSH client: the forced command of a key
///
/// `invirtibuilder authorized-keys` writes the lines that call it. What the client asks for is in
/// `SSH_ORIGINAL_COMMAND`: the commands that remctl has too, and Git's. None of it is given to a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples, on a client:
  ssh git@build.example.org build dev hello $(git rev-parse HEAD)
  ssh git@build.example.org buildinfo status
  git clone git@build.example.org:hello.git")]
pub(crate) struct Arguments {
    /// Whom the key stands for
    #[arg(long, value_name = "NAME")]
    principal: String,
    /// The key's fingerprint, for the audit log
    #[arg(long, value_name = "SHA256:…")]
    key: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let principal: Principal = arguments.principal.parse()?;
    let Some(line) = environment::ssh_command() else {
        remark(&format!("{principal}: there is no shell here; there are these commands, and Git's:"));
        remark(&help());
        return Ok(Exit::Usage);
    };
    let facts = [
        ("door", Some("ssh".to_owned())),
        ("key", arguments.key.clone()),
        ("address", environment::ssh_address()),
    ];
    let facts = facts.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let site = context.site()?.through(facts);
    let asked = match words::split(&line) {
        Ok(words) => words,
        Err(error) => {
            let told = site.tell_of_refused_words(&principal, &[line], &error.to_string());
            told.map_err(SiteError::from)?;
            return Err(Failure::Usage(error.to_string()));
        }
    };
    let (name, rest) = asked.split_first().map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
    if let Some(service) = Service::of(name) {
        let protocol = environment::git_protocol();
        let command = serve(&site, &principal, service, rest, protocol.as_deref())?;
        // It goes on in this process's place.
        return Err(Failure::Room(command.exec().into()));
    }
    say(&if name == "help" && rest.is_empty() { help() } else { answer(&site, &principal, &asked)? });
    Ok(Exit::Done)
}

/// What was asked for has happened: a client that went away changes nothing.
fn say(text: &str) {
    let _ = io::stdout().write_all(escape_tabs(text).as_bytes());
}

/// Logs have tabs in them, which no terminal minds.
fn escape_tabs(text: &str) -> String {
    text.split('\t').map(escape).collect::<Vec<_>>().join("\t")
}
