//! `key`: which SSH key stands for whom.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use invirtibuilder_core::door::keys::{Entry, read_public_keys};
use invirtibuilder_core::names::Principal;
use invirtibuilder_core::site::Exit;

use super::Answer;
use crate::context::{Context, Failure, principal};
use crate::output::{Table, plain, remark};

/// Say which SSH key stands for whom
///
/// The key of a signature is another matter: `publisher.keys` in the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Let the keys of a file stand for a principal
    #[command(after_help = "Example:\n  invirtibuilder key add alice@EXAMPLE.ORG alice.pub")]
    Add {
        /// Whom they stand for
        principal: String,
        /// A file of public keys, as ssh-keygen makes it; - for standard input
        file: PathBuf,
    },
    /// List the keys
    List,
    /// Remove a key, or all keys of a principal
    Remove {
        /// The key's fingerprint, SHA256:…, or the principal
        which: String,
    },
}

pub(crate) fn run(command: &Command, context: &Context) -> Answer {
    let site = context.site()?;
    match command {
        Command::Add { principal: who, file } => {
            let who: Principal = who.parse()?;
            let keys = read_public_keys(&read(file)?, &file.to_string_lossy())?;
            let by = principal(&site, None)?;
            let mut fingerprints = Vec::new();
            for key in &keys {
                if !site.add_key(key, &who, &by)? {
                    remark(&format!("{} stands for {who} already", key.fingerprint()));
                }
                fingerprints.push(key.fingerprint());
            }
            context
                .output()
                .answer(&fingerprints, |to| fingerprints.iter().try_for_each(|it| writeln!(to, "{it}")))?;
        }
        Command::List => {
            let entries = site.keys().list()?;
            let mut table = Table::new(&["PRINCIPAL", "KEY", "TYPE"]);
            for it in &entries {
                table.row(vec![plain(&it.principal), plain(it.key.fingerprint()), plain(it.key.kind())]);
            }
            let objects: Vec<_> = entries.iter().map(object).collect();
            context.output().answer(&objects, |to| table.write(to))?;
        }
        Command::Remove { which } => {
            let by = principal(&site, None)?;
            let removed = site.remove_keys(which, &by)?;
            let objects: Vec<_> = removed.iter().map(object).collect();
            context.output().answer(&objects, |to| {
                removed.iter().try_for_each(|it| writeln!(to, "{} {}", it.key.fingerprint(), it.principal))
            })?;
        }
    }
    Ok(Exit::Done)
}

fn object(entry: &Entry) -> serde_json::Value {
    let Entry { key, principal } = entry;
    serde_json::json!({ "principal": principal, "fingerprint": key.fingerprint(), "type": key.kind() })
}

fn read(file: &Path) -> Result<String, Failure> {
    const LONGEST: u64 = 1 << 20;
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().take(LONGEST).read_to_string(&mut text)?;
    } else {
        let unreadable = |e| Failure::NotFound(format!("{} cannot be read: {e}", file.display()));
        let opened = std::fs::File::open(file).map_err(unreadable)?;
        opened.take(LONGEST).read_to_string(&mut text).map_err(unreadable)?;
    }
    Ok(text)
}
