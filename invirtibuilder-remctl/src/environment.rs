//! What remctld says about a call.
#![allow(clippy::disallowed_methods, reason = "this is where the backend reads its environment")]

use invirtibuilder_core::names::Principal;

/// The environment that remctld sets (remctld(8)), and the site's own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// The remctl command, `REMCTL_COMMAND`.
    pub(crate) command: Option<String>,
    /// The authenticated caller, `REMOTE_USER`.
    pub(crate) user: Option<String>,
    /// Where the caller is, `REMOTE_ADDR`.
    pub(crate) address: Option<String>,
    /// The site's configuration, `INVIRTIBUILDER_CONFIG`, which only remctld's own environment can set.
    pub(crate) config: Option<String>,
}

impl Environment {
    pub(crate) fn read() -> Self {
        Self {
            command: std::env::var("REMCTL_COMMAND").ok(),
            user: std::env::var("REMOTE_USER").ok(),
            address: std::env::var("REMOTE_ADDR").ok().filter(|it| it.parse::<std::net::IpAddr>().is_ok()),
            config: std::env::var("INVIRTIBUILDER_CONFIG").ok(),
        }
    }

    /// Returns who calls.
    ///
    /// # Errors
    /// remctld did not say, or what it said is no principal: then nobody calls.
    pub(crate) fn principal(&self) -> Result<Principal, String> {
        let user = self.user.as_deref().unwrap_or_default();
        user.parse().map_err(|_| {
            "REMOTE_USER names no principal; remctld sets it for authenticated callers".to_owned()
        })
    }
}
