//! `archive`: what a reader of the archive needs.

use std::io::Write;
use std::path::PathBuf;

use clap::Subcommand;
use invirtibuilder_core::publisher::archive::SignedBy;
use invirtibuilder_core::site::Exit;

use super::Answer;
use crate::context::Context;

mod keyring;

/// Look after the archive
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the .sources file with which apt uses a pocket
    ///
    /// Put it into /etc/apt/sources.list.d/NAME.sources; the keys that apt checks the archive with are in it.
    Sources {
        /// The pocket
        pocket: String,
        /// Where clients find the archive, such as `https://apt.example.org/`; default: its directory on this machine
        #[arg(long)]
        uri: Option<String>,
        /// Name a keyring on the client instead of writing the keys; default: the one of the archive's keyring package
        #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = "")]
        signed_by: Option<String>,
    },
    Keyring(keyring::Arguments),
}

pub(crate) fn run(command: Command, context: &Context) -> Answer {
    match command {
        Command::Sources { pocket, uri, signed_by } => {
            sources(&pocket, uri.as_deref(), signed_by.as_deref(), context)
        }
        Command::Keyring(arguments) => keyring::run(&arguments, context),
    }
}

fn sources(pocket: &str, uri: Option<&str>, signed_by: Option<&str>, context: &Context) -> Answer {
    let site = context.site()?;
    let signed_by = match signed_by {
        None => SignedBy::Inline,
        Some("") => SignedBy::File(site.keyring_path()),
        Some(path) => SignedBy::File(PathBuf::from(path)),
    };
    let sources = site.sources(&site.pocket_name(pocket)?, uri, &signed_by)?;
    let object = serde_json::json!({ "pocket": pocket, "sources": sources });
    context.output().answer(&object, |to: &mut dyn Write| write!(to, "{sources}"))?;
    Ok(Exit::Done)
}
