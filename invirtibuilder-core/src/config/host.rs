//! What a configuration may leave out because the machine knows it.

use std::path::Path;

use crate::names::{Architecture, BaseName};
use crate::process::{Command, ProcessError};

/// The facts of the machine that defaults are taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The codename of its distribution: the base of pockets that name none, where `bases` defines none.
    pub codename: Option<BaseName>,
    /// Its architecture: that of pockets that name none.
    pub architecture: Option<Architecture>,
}

/// The machine's architecture is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// dpkg could not be asked.
    #[error("cannot ask dpkg for the architecture of this machine")]
    Dpkg(#[from] ProcessError),
    /// dpkg's answer is no architecture.
    #[error("dpkg does not know the architecture of this machine")]
    Answer(#[from] crate::names::NameError),
}

impl Host {
    /// Asks this machine: `/etc/os-release` (os-release(5)) and dpkg.
    ///
    /// # Errors
    /// dpkg gives no architecture. A machine whose distribution has no codename is no error.
    pub fn detect() -> Result<Self, HostError> {
        let architecture = Command::new("dpkg").arg("--print-architecture").run()?;
        Ok(Self {
            codename: codename(Path::new("/etc/os-release")),
            architecture: Some(String::from_utf8_lossy(&architecture).trim().parse()?),
        })
    }
}

fn codename(os_release: &Path) -> Option<BaseName> {
    let text = std::fs::read_to_string(os_release).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    value.trim_matches(['"', '\'']).parse().ok()
}
