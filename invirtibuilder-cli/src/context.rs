//! What every command gets: the site, who asks, and where answers go.

use std::io;
use std::path::PathBuf;

use invirtibuilder_core::config::{Config, ConfigError, Host, HostError};
use invirtibuilder_core::door::DoorError;
use invirtibuilder_core::door::keys::KeysError;
use invirtibuilder_core::door::remctld::RemctldError;
use invirtibuilder_core::durable::DurableError;
use invirtibuilder_core::error::{BoxError, causes};
use invirtibuilder_core::names::{JobId, NameError, Principal};
use invirtibuilder_core::process::Command;
use invirtibuilder_core::site::{Exit, InitError, Site, SiteError};

use crate::output::{self, Output};

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration is wrong.
    Config(ConfigError),
    /// The site said so.
    Site(SiteError),
    /// A new site could not be made.
    Init(InitError),
    /// The machine does not say what it is.
    Host(HostError),
    /// A file could not be written.
    Durable(DurableError),
    /// Standard output, or a file, could not be written or read.
    Io(io::Error),
    /// A room could not be made, or another program not begun.
    Room(BoxError),
    /// A door said so.
    Door(DoorError),
    /// The SSH keys could not be read or changed.
    Keys(KeysError),
    /// The configuration of remctld could not be written.
    Remctld(RemctldError),
    /// The words of the command are wrong.
    Usage(String),
    /// What was asked for is not there.
    NotFound(String),
}

macro_rules! failure_from {
    ($($variant:ident($error:ty)),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })*
    };
}

failure_from!(
    Config(ConfigError),
    Site(SiteError),
    Init(InitError),
    Host(HostError),
    Durable(DurableError),
    Io(io::Error),
    Room(BoxError),
    Door(DoorError),
    Keys(KeysError),
    Remctld(RemctldError)
);

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl Failure {
    /// Returns the exit status.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Site(error) => Exit::of_error(error),
            Self::Init(error) => error.exit(),
            Self::Door(error) => error.exit(),
            Self::Keys(KeysError::Malformed { .. } | KeysError::Taken { .. })
            | Self::Remctld(RemctldError::Word { .. }) => Exit::Rejected,
            Self::Config(_) | Self::Usage(_) => Exit::Usage,
            Self::NotFound(_) | Self::Keys(KeysError::Unknown(_)) => Exit::NotFound,
            Self::Keys(_)
            | Self::Remctld(_)
            | Self::Host(_)
            | Self::Durable(_)
            | Self::Io(_)
            | Self::Room(_) => Exit::Internal,
        }
    }

    /// Writes the error to standard error, one cause a line.
    pub(crate) fn show(&self) {
        let lines: Vec<String> = match self {
            Self::Config(error) => error.problems().iter().map(ToString::to_string).collect(),
            Self::Site(SiteError::Config(error)) => {
                error.problems().iter().map(ToString::to_string).collect()
            }
            Self::Site(SiteError::Rejected(rejection)) => rejection.reasons(),
            Self::Site(error) => causes(error),
            Self::Init(error) => causes(error),
            Self::Host(error) => causes(error),
            Self::Durable(error) => causes(error),
            Self::Room(error) => causes(&**error),
            Self::Door(error) => error.lines(),
            Self::Keys(error) => causes(error),
            Self::Remctld(error) => causes(error),
            // A reader that has seen enough, such as `head`, is no error.
            Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe => Vec::new(),
            Self::Io(error) => causes(error),
            Self::Usage(text) | Self::NotFound(text) => vec![text.clone()],
        };
        for line in lines {
            output::complain(&line);
        }
    }
}

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Context {
    config: PathBuf,
    is_json: bool,
}

impl Context {
    pub(crate) fn new(config: PathBuf, is_json: bool) -> Self {
        Self { config, is_json }
    }

    /// Returns the path of the configuration, absolute if that can be told.
    pub(crate) fn config_path(&self) -> PathBuf {
        std::path::absolute(&self.config).unwrap_or_else(|_| self.config.clone())
    }

    pub(crate) fn config(&self) -> Result<Config, Failure> {
        Ok(Config::load(&self.config_path(), &Host::detect()?)?)
    }

    pub(crate) fn site(&self) -> Result<Site, Failure> {
        Ok(Site::open(self.config()?)?)
    }

    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }

    pub(crate) fn output(&self) -> Output {
        Output::new(self.is_json)
    }
}

/// Returns who asks: the operating system's user at this host, or another if the configuration lets that
/// user name one.
pub(crate) fn principal(site: &Site, named: Option<&str>) -> Result<Principal, Failure> {
    let own = own_principal()?;
    let Some(named) = named else { return Ok(own) };
    let named: Principal = named.parse()?;
    if named == own || site.config().impersonate.contains(&own) {
        return Ok(named);
    }
    Err(site.deny_name(&own, &named).into())
}

/// Returns the operating system's user at this host, as a principal.
///
/// The user comes from the process's real user id and the passwd file, not from the environment, which the
/// caller could set.
pub(crate) fn own_principal() -> Result<Principal, Failure> {
    let uid = rustix::process::getuid().as_raw();
    // A directory service, which the file does not know, is asked by way of id(1).
    let asked = || Some(String::from_utf8(Command::new("id").arg("-un").run().ok()?).ok()?.trim().to_owned());
    let user = user_name(uid).or_else(asked).unwrap_or_else(|| uid.to_string());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(format!("{user}@{host}").parse()?)
}

/// Returns the name of a user that the passwd file knows.
pub(crate) fn user_name(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name_of = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    };
    passwd.lines().find_map(name_of)
}

/// Parses a job id that somebody typed.
pub(crate) fn job_id(text: &str) -> Result<JobId, Failure> {
    Ok(text.parse()?)
}
