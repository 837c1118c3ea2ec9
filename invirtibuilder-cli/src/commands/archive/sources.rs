//! `archive sources`: how apt uses a pocket.

use std::io::Write;
use std::path::PathBuf;

use invirtibuilder_core::publisher::archive::SignedBy;
use invirtibuilder_core::site::Exit;

use crate::commands::Answer;
use crate::context::Context;

/// Print the .sources file with which apt uses a pocket
///
/// Put it into /etc/apt/sources.list.d/NAME.sources; the keys that apt checks the archive with are in it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The pocket
    pocket: String,
    /// Where clients find the archive, such as `https://apt.example.org/`; default: its directory on this machine
    #[arg(long)]
    uri: Option<String>,
    /// Name a keyring on the client instead of writing the keys; default: the one of the archive's keyring package
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    signed_by: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let Arguments { pocket, uri, signed_by } = arguments;
    let site = context.site()?;
    let signed_by = match signed_by.as_deref() {
        None => SignedBy::Inline,
        Some("") => SignedBy::File(site.keyring_path()),
        Some(path) => SignedBy::File(PathBuf::from(path)),
    };
    let sources = site.sources(&site.pocket_name(pocket)?, uri.as_deref(), &signed_by)?;
    let object = serde_json::json!({ "pocket": pocket, "sources": sources });
    context.output().answer(&object, |to: &mut dyn Write| write!(to, "{sources}"))?;
    Ok(Exit::Done)
}
