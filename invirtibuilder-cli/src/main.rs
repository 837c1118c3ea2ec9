//! The command line of Invirtibuilder.
//!
//! Reads arguments, makes one call into the library, and shows the answer; it decides nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};
use invirtibuilder_core::config::DEFAULT_FILE;
use tracing_subscriber::prelude::*;

mod commands;
mod context;
mod environment;
mod output;
mod progress;

use commands::Command;
use context::Context;

/// From a Git commit of a Debian package to an APT repository that a team can trust.
///
/// A pocket, such as `prod`, is a Git branch and an APT suite that always say the same. Submit a commit to a
/// pocket: it is checked against the pocket's policy, built in a clean environment, published, and then the
/// branch moves.
#[derive(Debug, Parser)]
#[command(name = "invirtibuilder", version, max_term_width = 100, after_help = FIRST_STEPS, after_long_help = AFTER_HELP)]
struct Arguments {
    /// The site's configuration
    #[arg(long, global = true, value_name = "FILE", env = "INVIRTIBUILDER_CONFIG", default_value = DEFAULT_FILE)]
    config: PathBuf,
    /// Print JSON: one document, or one object a line where the output streams
    #[arg(long, global = true)]
    json: bool,
    /// Say more on standard error; twice for debugging
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

const FIRST_STEPS: &str = "\
First steps:
  invirtibuilder init /srv/packages
  export INVIRTIBUILDER_CONFIG=/srv/packages/invirtibuilder.yaml
  invirtibuilder check
  invirtibuilder repo create hello --import https://git.example.org/hello.git
  invirtibuilder submit dev hello COMMIT
  invirtibuilder work --until-empty";

const AFTER_HELP: &str = "\
First steps:
  invirtibuilder init /srv/packages
  export INVIRTIBUILDER_CONFIG=/srv/packages/invirtibuilder.yaml
  invirtibuilder check
  invirtibuilder repo create hello --import https://git.example.org/hello.git
  invirtibuilder submit dev hello COMMIT
  invirtibuilder work --until-empty

Exit status:
  0   done, or published
  1   verify found differences
  2   the words of the command are wrong
  3   the request was rejected
  4   not permitted
  5   not found
  6   the package does not build, or its job was cancelled
  70  the installation is at fault: an operator must look
  75  try again later";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_logging(arguments.verbose);
    let context = Context::new(arguments.config, arguments.json);
    match commands::run(arguments.command, &context) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.show();
            ExitCode::from(failure.exit().code())
        }
    }
}

/// Returns what the command line takes.
pub(crate) fn command() -> clap::Command {
    Arguments::command()
}

/// Sends the library's log to standard error: warnings and errors, and more if asked.
fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        _ => tracing::Level::DEBUG,
    };
    let filter = tracing_subscriber::filter::Targets::new()
        .with_target("invirtibuilder", level)
        .with_target("invirtibuilder_core", level);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(output::stderr_has_colour());
    tracing_subscriber::registry().with(layer.with_filter(filter)).init();
}
