//! `archive`: what a reader of the archive needs.

use std::io::Write;

use clap::Subcommand;
use invirtibuilder_core::site::Exit;

use super::Answer;
use crate::context::Context;

/// Look after the archive
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the .sources file with which apt uses a pocket
    ///
    /// Put it into /etc/apt/sources.list.d/NAME.sources; the key that apt checks the archive with is in it.
    Sources {
        /// The pocket
        pocket: String,
        /// Where clients find the archive, such as `https://apt.example.org/`; default: its directory on this machine
        #[arg(long)]
        uri: Option<String>,
    },
}

pub(crate) fn run(command: Command, context: &Context) -> Answer {
    let Command::Sources { pocket, uri } = command;
    let site = context.site()?;
    let sources = site.sources(&site.pocket_name(&pocket)?, uri.as_deref())?;
    let object = serde_json::json!({ "pocket": pocket, "sources": sources });
    context.output().answer(&object, |to: &mut dyn Write| write!(to, "{sources}"))?;
    Ok(Exit::Done)
}
