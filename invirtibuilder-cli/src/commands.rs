//! One file a command.

use std::time::{Duration, Instant};

use clap::Subcommand;
use invirtibuilder_core::site::{Exit, Site, SiteError};
use invirtibuilder_core::stop::Stop;

use crate::context::{Context, Failure};

mod archive;
mod audit;
mod authorized_keys;
mod cancel;
mod check;
mod completions;
mod git_hook;
mod history;
mod hooks;
mod init;
mod key;
mod log;
mod may;
mod pocket;
mod provenance;
mod remctl_config;
mod repair;
mod repo;
mod retry;
mod room;
mod shell;
mod show;
mod ssh_shell;
mod status;
mod submit;
mod verify;
mod why;
mod work;

/// Waits until something may have changed in the queue, for somebody who only looks on.
fn wait_for_change(site: &Site, limit: Duration, stop: &Stop) -> Result<(), SiteError> {
    // The queue lets nobody sleep while a job is due, which is meant for those who would claim it.
    const LEAST: Duration = Duration::from_millis(100);
    let started = Instant::now();
    site.queue().wait(limit, stop)?;
    std::thread::sleep(LEAST.saturating_sub(started.elapsed()));
    Ok(())
}

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
    Shell(shell::Arguments),
    History(history::Arguments),
    Why(why::Arguments),
    #[command(subcommand)]
    Pocket(pocket::Command),
    May(may::Arguments),
    Verify(verify::Arguments),
    Repair(repair::Arguments),
    #[command(subcommand)]
    Archive(archive::Command),
    #[command(subcommand)]
    Provenance(provenance::Command),
    #[command(subcommand)]
    Audit(audit::Command),
    #[command(subcommand)]
    Key(key::Command),
    AuthorizedKeys(authorized_keys::Arguments),
    SshShell(ssh_shell::Arguments),
    RemctlConfig(remctl_config::Arguments),
    #[command(subcommand)]
    Hooks(hooks::Command),
    Completions(completions::Completions),
    Man(completions::Man),
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
        Command::Shell(arguments) => return shell::run(&arguments, context),
        Command::History(arguments) => history::run(&arguments, context),
        Command::Why(arguments) => why::run(&arguments, context),
        Command::Pocket(command) => pocket::run(command, context),
        Command::May(arguments) => may::run(&arguments, context),
        Command::Verify(arguments) => verify::run(&arguments, context),
        Command::Repair(arguments) => repair::run(&arguments, context),
        Command::Archive(command) => archive::run(command, context),
        Command::Provenance(command) => provenance::run(command, context),
        Command::Audit(command) => audit::run(command, context),
        Command::Key(command) => key::run(&command, context),
        Command::AuthorizedKeys(arguments) => authorized_keys::run(&arguments, context),
        Command::SshShell(arguments) => ssh_shell::run(&arguments, context),
        Command::RemctlConfig(arguments) => remctl_config::run(&arguments, context),
        Command::Hooks(command) => hooks::run(&command, context),
        Command::Completions(arguments) => completions::completions(&arguments, context),
        Command::Man(arguments) => completions::man(&arguments, context),
        Command::GitHook(command) => git_hook::run(command, context),
        Command::Room(command) => return room::run(command),
    };
    Ok(exit?.code())
}
