//! `git-hook`: what the hooks of the hosted repositories call (githooks(5)).

use std::io::BufRead;
use std::path::Path;

use clap::Subcommand;
use invirtibuilder_core::repository::Repository;
use invirtibuilder_core::site::{Exit, SiteError, push_policy};

use super::Answer;
use crate::context::{Context, Failure};
use crate::output::complain;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Judge one ref of a push
    Update {
        /// The ref's full name
        name: String,
        /// Where it is
        old: String,
        /// Where it is to be
        new: String,
    },
    /// Judge all refs of a push, one `OLD NEW NAME` a line of standard input
    PreReceive,
}

pub(crate) fn run(command: Command, context: &Context) -> Answer {
    let policy = push_policy(&context.config()?);
    // Git runs hooks in the repository that is pushed to.
    let repository = Repository::open(Path::new(".")).map_err(SiteError::from)?;
    let Some(repository) = repository else {
        return Err(Failure::Usage("git runs this in a repository; here is none".to_owned()));
    };
    let mut refusals = Vec::new();
    let mut judge = |name: &[u8], old: &str, new: &str| -> Result<(), Failure> {
        let refusal = repository.check_push(&policy, name, old, new).map_err(SiteError::from)?;
        refusals.extend(refusal);
        Ok(())
    };
    match command {
        Command::Update { name, old, new } => judge(name.as_bytes(), &old, &new)?,
        Command::PreReceive => {
            for line in std::io::stdin().lock().split(b'\n') {
                let line = line?;
                let mut words = line.splitn(3, |byte| *byte == b' ');
                let (Some(old), Some(new), Some(name)) = (words.next(), words.next(), words.next()) else {
                    continue;
                };
                judge(name, &String::from_utf8_lossy(old), &String::from_utf8_lossy(new))?;
            }
        }
    }
    for refusal in &refusals {
        complain(&refusal.to_string());
    }
    Ok(if refusals.is_empty() { Exit::Done } else { Exit::Rejected })
}
