//! `archive sources`: how apt uses a pocket.

use std::io::Write;

use invirtibuilder_core::site::Exit;

use crate::commands::Answer;
use crate::context::Context;

/// Print the .sources file with which apt uses a pocket
///
/// Put it into /etc/apt/sources.list.d/NAME.sources; the key that apt checks the archive with is in it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The pocket
    pocket: String,
    /// Where clients find the archive, such as `https://apt.example.org/`; default: its directory on this machine
    #[arg(long)]
    uri: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let Arguments { pocket, uri } = arguments;
    let site = context.site()?;
    let sources = site.sources(&site.pocket_name(pocket)?, uri.as_deref())?;
    let object = serde_json::json!({ "pocket": pocket, "sources": sources });
    context.output().answer(&object, |to: &mut dyn Write| write!(to, "{sources}"))?;
    Ok(Exit::Done)
}
