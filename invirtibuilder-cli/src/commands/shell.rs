//! `shell`: a look at what a failed build left.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use invirtibuilder_core::builder::Caller;
use invirtibuilder_core::stop::Stop;

use super::work::stop_on_signals;
use crate::context::{Context, Failure, job_id};

/// Open a shell in a failed build, with its tree as it was
///
/// The room is the one that the package was built in: the same base, build dependencies, user and limits, and no
/// network. What you change there is thrown away when you leave; the failed build stays as it is, for as long as
/// `builder.keep_failed` says. With a command, runs that instead of a shell; the exit status is the command's.
///
/// Only the `overlay` builder keeps failed builds.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The job's id, as `submit` and `status` print it
    job: String,
    /// Which build of the job, if it failed for several architectures
    #[arg(long, value_name = "ARCH")]
    architecture: Option<String>,
    /// The kind of terminal that this is
    #[arg(long, env = "TERM", default_value = "dumb", hide = true)]
    terminal: String,
    /// What to run, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

const AFTER_HELP: &str = "\
Examples:
  invirtibuilder shell 20261123101500_k3x9ab
  invirtibuilder shell 20261123101500_k3x9ab -- cat config.log
  invirtibuilder shell 20261123101500_k3x9ab -- tar -c . > tree.tar";

/// Returns the exit status, which is that of what was run.
pub(crate) fn run(arguments: &Arguments, context: &Context) -> Result<u8, Failure> {
    let site = context.site()?;
    let id = job_id(&arguments.job)?;
    let architecture = arguments.architecture.as_ref().map(|it| it.parse()).transpose()?;
    let stop = Stop::new()?;
    stop_on_signals(&stop)?;
    let (input, output, errors) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let is_terminal = input.is_terminal() && output.is_terminal();
    let caller = Caller {
        input: input.as_fd(),
        output: output.as_fd(),
        errors: errors.as_fd(),
        terminal: is_terminal.then_some(arguments.terminal.as_str()),
    };
    Ok(site.visit(&id, architecture.as_ref(), &arguments.command, caller, &stop)?)
}
