//! `git-hook`: what the hooks of the hosted repositories call (githooks(5)).

use std::io::BufRead;
use std::path::Path;

use clap::Subcommand;
use invirtibuilder_core::audit::AuditLog;
use invirtibuilder_core::door::git::{Push, record_push};
use invirtibuilder_core::repository::Repository;
use invirtibuilder_core::site::{Exit, SiteError, push_policy};

use super::Answer;
use crate::context::{Context, Failure, own_principal};
use crate::environment;
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
    /// Judge what a push through a door does to refs, one `OLD NEW NAME` a line of standard input
    ReferenceTransaction {
        /// Where Git is with it
        state: String,
    },
}

pub(crate) fn run(command: Command, context: &Context) -> Answer {
    let config = context.config()?;
    let policy = push_policy(&config);
    // Git runs hooks in the repository that is pushed to.
    let repository = Repository::open(Path::new(".")).map_err(SiteError::from)?;
    let Some(repository) = repository else {
        return Err(Failure::Usage("git runs this in a repository; here is none".to_owned()));
    };
    let (mut refusals, mut moves) = (Vec::new(), Vec::new());
    let mut judge = |name: &[u8], old: &str, new: &str| -> Result<(), Failure> {
        let refusal = repository.check_push(&policy, name, old, new).map_err(SiteError::from)?;
        refusals.extend(refusal);
        Ok(())
    };
    match command {
        Command::Update { name, old, new } => judge(name.as_bytes(), &old, &new)?,
        Command::PreReceive => {
            for Move { name, old, new } in moves_of_input()? {
                judge(&name, &old, &new)?;
                moves.push(format!("{} {old}..{new}", name.escape_ascii()));
            }
        }
        Command::ReferenceTransaction { state } if state == "prepared" => {
            for Move { name, old, new } in moves_of_input()? {
                // HEAD, which is only another name, is listed beside what it names.
                if old != new && name.starts_with(b"refs/") {
                    judge(&name, &old, &new)?;
                }
            }
        }
        Command::ReferenceTransaction { .. } => (),
    }
    for refusal in &refusals {
        complain(&refusal.to_string());
    }
    if !moves.is_empty() {
        let push = push(moves, refusals.iter().map(ToString::to_string).collect())?;
        let log = AuditLog::new(&config.paths.audit);
        record_push(&log, &push).map_err(SiteError::from)?;
    }
    Ok(if refusals.is_empty() { Exit::Done } else { Exit::Rejected })
}

/// One ref that is to move.
struct Move {
    name: Vec<u8>,
    old: String,
    new: String,
}

fn moves_of_input() -> Result<Vec<Move>, Failure> {
    let mut moves = Vec::new();
    for line in std::io::stdin().lock().split(b'\n') {
        let line = line?;
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let (Some(old), Some(new), Some(name)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let text = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
        moves.push(Move { name: name.to_vec(), old: text(old), new: text(new) });
    }
    Ok(moves)
}

/// Tells who pushes: whom the door named, or else the user of the operating system.
fn push(moves: Vec<String>, refusals: Vec<String>) -> Result<Push, Failure> {
    let (principal, door) = match environment::pusher() {
        Some((principal, door)) => (principal.parse()?, door),
        None => (own_principal()?, String::new()),
    };
    let here = std::env::current_dir()?;
    let name = here.file_name().and_then(|it| it.to_str()).unwrap_or_default();
    let package = name.strip_suffix(".git").and_then(|it| it.parse().ok());
    Ok(Push { package, principal, door, moves, refusals })
}
