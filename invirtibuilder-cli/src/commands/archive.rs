//! `archive`: what a reader of the archive needs, and what the archive served before.

use clap::Subcommand;

use super::Answer;
use crate::context::Context;

mod expire;
mod import;
mod keyring;
mod refresh;
mod rollback;
mod snapshot;
mod sources;

/// Look after the archive
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Sources(sources::Arguments),
    Snapshot(snapshot::Arguments),
    Rollback(rollback::Arguments),
    Expire(expire::Arguments),
    Keyring(keyring::Arguments),
    Refresh(refresh::Arguments),
    Import(import::Arguments),
}

pub(crate) fn run(command: Command, context: &Context) -> Answer {
    match command {
        Command::Sources(arguments) => sources::run(&arguments, context),
        Command::Snapshot(arguments) => snapshot::run(&arguments, context),
        Command::Rollback(arguments) => rollback::run(&arguments, context),
        Command::Expire(arguments) => expire::run(&arguments, context),
        Command::Keyring(arguments) => keyring::run(&arguments, context),
        Command::Refresh(arguments) => refresh::run(&arguments, context),
        Command::Import(arguments) => import::run(&arguments, context),
    }
}
