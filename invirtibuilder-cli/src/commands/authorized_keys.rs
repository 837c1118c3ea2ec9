//! `authorized-keys`: what sshd has to know of the site's keys.

use invirtibuilder_core::door::keys::{Keys, PublicKey, authorized_line};
use invirtibuilder_core::site::Exit;

use super::Answer;
use crate::context::Context;
use crate::output::escape;

/// Print the keys of the site for sshd, each with `ssh-shell` as its forced command
///
/// As `AuthorizedKeysCommand`, sshd asks for one key at each login, so a key that was removed is nobody's at once.
/// Without a key all are printed, for a file `authorized_keys`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
In sshd_config, for the account git:
  Match User git
      AuthorizedKeysCommand /usr/bin/invirtibuilder authorized-keys %t %k
      AuthorizedKeysCommandUser git")]
pub(crate) struct Arguments {
    /// The kind of the one key that is wanted, `%t` in `sshd_config`
    #[arg(requires = "key", value_name = "TYPE")]
    kind: Option<String>,
    /// That key in base64, `%k` in `sshd_config`
    #[arg(value_name = "KEY")]
    key: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, context: &Context) -> Answer {
    let config = context.config()?;
    let mut entries = Keys::new(&config.paths.ssh_keys).list()?;
    if let (Some(kind), Some(key)) = (&arguments.kind, &arguments.key) {
        let wanted = PublicKey::read(kind, key).ok();
        entries.retain(|it| Some(&it.key) == wanted.as_ref());
    }
    let program = std::env::current_exe()?;
    let file = context.config_path();
    let lines: Vec<String> = entries.iter().map(|it| authorized_line(it, &program, &file)).collect();
    context.output().answer(&lines, |to| lines.iter().try_for_each(|it| writeln!(to, "{}", escape(it))))?;
    Ok(Exit::Done)
}
