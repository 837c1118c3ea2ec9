//! What sshd and Git say in the environment: the only place here that reads it, besides the parser of arguments.
#![allow(clippy::disallowed_methods, reason = "this is where the command line reads its environment")]

use std::net::IpAddr;

use invirtibuilder_core::door::git;

/// Returns what the client of SSH asked for; `None` if it asked for a shell. What is not UTF-8 becomes what no command
/// has in it.
pub(crate) fn ssh_command() -> Option<String> {
    std::env::var_os("SSH_ORIGINAL_COMMAND").map(|it| it.to_string_lossy().into_owned())
}

/// Returns where the client of SSH is.
pub(crate) fn ssh_address() -> Option<String> {
    let connection = std::env::var("SSH_CONNECTION").ok()?;
    let address = connection.split(' ').next()?.parse::<IpAddr>().ok()?;
    Some(address.to_string())
}

/// Returns what Git's client said of the protocol.
pub(crate) fn git_protocol() -> Option<String> {
    std::env::var("GIT_PROTOCOL").ok()
}

/// Returns who pushes, and how they came, if a door said so to the hook that this is.
pub(crate) fn pusher() -> Option<(String, String)> {
    let principal = std::env::var(git::PRINCIPAL).ok()?;
    Some((principal, std::env::var(git::DOOR).unwrap_or_default()))
}
