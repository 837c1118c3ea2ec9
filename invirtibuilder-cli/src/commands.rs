//! One file a command.

use clap::Subcommand;
use invirtibuilder_core::site::Exit;

use crate::context::{Context, Failure};

mod archive;
mod audit;
mod cancel;
mod check;
mod git_hook;
mod history;
mod init;
mod log;
mod may;
mod pocket;
mod repo;
mod retry;
mod room;
mod show;
mod status;
mod submit;
mod verify;
mod work;

/// What a command answers.
pub(crate) type Answer = Result<Exit, Failure>;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::Arguments),
    Check(check::Arguments),
    #[command(subcommand)]
    Repo(repo::Command),
    Submit(submit::Arguments),
    Work(work::Arguments),
    Status(status::Arguments),
    Show(show::Arguments),
    Log(log::Arguments),
    Cancel(cancel::Arguments),
    Retry(retry::Arguments),
    History(history::Arguments),
    #[command(subcommand)]
    Pocket(pocket::Command),
    May(may::Arguments),
    Verify(verify::Arguments),
    #[command(subcommand)]
    Archive(archive::Command),
    #[command(subcommand)]
    Audit(audit::Command),
    #[command(subcommand, hide = true)]
    GitHook(git_hook::Command),
    #[command(subcommand, hide = true)]
    Room(room::Command),
}

/// Runs a command and returns its exit status.
pub(crate) fn run(command: Command, context: &Context) -> Result<u8, Failure> {
    let exit = match command {
        Command::Init(arguments) => init::run(arguments, context),
        Command::Check(arguments) => check::run(&arguments, context),
        Command::Repo(command) => repo::run(command, context),
        Command::Submit(arguments) => submit::run(&arguments, context),
        Command::Work(arguments) => work::run(&arguments, context),
        Command::Status(arguments) => status::run(&arguments, context),
        Command::Show(arguments) => show::run(&arguments, context),
        Command::Log(arguments) => log::run(&arguments, context),
        Command::Cancel(arguments) => cancel::run(&arguments, context),
        Command::Retry(arguments) => retry::run(&arguments, context),
        Command::History(arguments) => history::run(&arguments, context),
        Command::Pocket(command) => pocket::run(command, context),
        Command::May(arguments) => may::run(&arguments, context),
        Command::Verify(arguments) => verify::run(&arguments, context),
        Command::Archive(command) => archive::run(command, context),
        Command::Audit(command) => audit::run(command, context),
        Command::GitHook(command) => git_hook::run(command, context),
        Command::Room(command) => return room::run(command),
    };
    Ok(exit?.code())
}
