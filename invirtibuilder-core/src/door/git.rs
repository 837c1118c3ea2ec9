//! Git through a door: `git-upload-pack` and `git-receive-pack` (`git-shell(1)`) on what the site hosts.
//!
//! Never lets a word reach Git: the path that a user gave is a package's name, or it is nothing. What may be pushed is
//! the hooks' to say; they are told who pushes.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::DoorError;
use crate::audit::{AuditError, AuditLog, Entry, Happened};
use crate::names::{PackageName, Principal};
use crate::process::Command;
use crate::site::{Site, SiteError};

/// The environment variable that tells the hooks of a repository who pushes.
pub const PRINCIPAL: &str = "INVIRTIBUILDER_PRINCIPAL";

/// The environment variable that tells them how the pusher came.
pub const DOOR: &str = "INVIRTIBUILDER_DOOR";

/// What Git's client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// To fetch.
    UploadPack,
    /// To push.
    ReceivePack,
}

impl Service {
    /// Returns what a command asks for; `None` if it is none of Git's, or one that is not offered.
    #[must_use]
    pub fn of(command: &str) -> Option<Self> {
        match command {
            "git-upload-pack" => Some(Self::UploadPack),
            "git-receive-pack" => Some(Self::ReceivePack),
            _ => None,
        }
    }

    fn subcommand(self) -> &'static str {
        match self {
            Self::UploadPack => "upload-pack",
            Self::ReceivePack => "receive-pack",
        }
    }
}

/// What a path names.
enum Place {
    Package(PackageName),
    Superproject,
}

/// Returns the command that serves Git's client from here on; whoever runs it becomes it.
///
/// `protocol` is what the client said of the protocol's version, `GIT_PROTOCOL`.
///
/// # Errors
/// There is no such repository, or the principal may not; the latter is recorded.
pub fn serve(
    site: &Site,
    principal: &Principal,
    service: Service,
    arguments: &[String],
    protocol: Option<&str>,
) -> Result<Command, DoorError> {
    let place = match arguments {
        [path] => place(site, path)?,
        _ => Err(DoorError::Usage("give a repository, and nothing else".to_owned())),
    };
    let place = match place {
        Err(DoorError::Usage(reason)) => {
            site.tell_of_refused_words(principal, arguments, &reason)?;
            return Err(DoorError::Usage(reason));
        }
        other => other?,
    };
    let path = permitted(site, principal, service, &place)?;
    let mut command = Command::new("git")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env(PRINCIPAL, principal.as_str())
        .env(DOOR, site.came_through());
    // It is `version=2` and the like (git(1), GIT_PROTOCOL).
    let is_plain = |text: &&str| {
        text.len() < 100 && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"=:.-".contains(&c))
    };
    if let Some(protocol) = protocol.filter(is_plain) {
        command = command.env("GIT_PROTOCOL", protocol);
    }
    command = command.arg(service.subcommand());
    if service == Service::UploadPack {
        command = command.args(["--strict", "--timeout=3600"]);
    }
    Ok(command.arg(path))
}

/// A push, as the hook that judges all of it sees it.
#[derive(Clone, Debug)]
pub struct Push {
    /// The package, if the repository is one's.
    pub package: Option<PackageName>,
    /// Who pushes.
    pub principal: Principal,
    /// How that one came, if by a door.
    pub door: String,
    /// The refs, each with where it is and is to be, in Git's words.
    pub moves: Vec<String>,
    /// Why it is refused; empty if it is not.
    pub refusals: Vec<String>,
}

/// Records a push. Who cannot record it must not let it through.
///
/// # Errors
/// It cannot be recorded.
pub fn record_push(log: &AuditLog, push: &Push) -> Result<(), AuditError> {
    let happened = if push.refusals.is_empty() { Happened::Pushed } else { Happened::Refused };
    let mut entry = Entry {
        package: push.package.clone(),
        principal: Some(push.principal.clone()),
        ..Entry::new(happened)
    };
    if !push.door.is_empty() {
        entry = entry.with("door", &push.door);
    }
    entry = entry.with("refs", beginning(&push.moves));
    if !push.refusals.is_empty() {
        entry = entry.with("reasons", beginning(&push.refusals));
    }
    log.append(&entry).map(drop)
}

/// Returns the first of some lines, and how many there are besides.
fn beginning(lines: &[String]) -> String {
    const MOST: usize = 50;
    let mut text = lines.iter().take(MOST).cloned().collect::<Vec<_>>().join("; ");
    if let Some(more) = lines.len().checked_sub(MOST).filter(|it| *it > 0) {
        let _ = write!(text, "; and {more} more");
    }
    text
}

type Parsed = Result<Place, DoorError>;

/// Reads a path: `hello`, `hello.git`, each with `/` or `~/` before it, as Git's URLs have them, and with the directory
/// in which the superproject says that its submodules are.
fn place(site: &Site, path: &str) -> Result<Parsed, DoorError> {
    let name = path.strip_prefix("~/").or_else(|| path.strip_prefix('/')).unwrap_or(path);
    let directory = site.config().paths.repositories.file_name().and_then(|it| it.to_str());
    let below = directory.and_then(|it| name.strip_prefix(it)).and_then(|it| it.strip_prefix('/'));
    let name = below.unwrap_or(name);
    let name = name.strip_suffix('/').unwrap_or(name);
    let name = name.strip_suffix(".git").unwrap_or(name);
    let Ok(package) = name.parse::<PackageName>() else {
        let shown: String = path.chars().take(100).collect();
        return Ok(Err(DoorError::Usage(format!(
            "{shown:?} is no repository; give a package's name, such as hello.git"
        ))));
    };
    if site.repositories()?.contains(&package) {
        return Ok(Ok(Place::Package(package)));
    }
    if name == "superproject" {
        return Ok(Ok(Place::Superproject));
    }
    let reason = format!(
        "there is no repository of {package}; an administrator makes one with `invirtibuilder repo create {package}`"
    );
    Ok(Err(SiteError::NotFound(reason).into()))
}

/// Returns where a place is, if the principal may.
fn permitted(
    site: &Site,
    principal: &Principal,
    service: Service,
    place: &Place,
) -> Result<PathBuf, DoorError> {
    let (answer, package, path) = match (place, service) {
        (Place::Package(package), Service::UploadPack) => {
            (site.may_fetch(principal, package), Some(package), site.repository_path(package))
        }
        (Place::Package(package), Service::ReceivePack) => {
            (site.may_push(principal, package), Some(package), site.repository_path(package))
        }
        (Place::Superproject, Service::UploadPack) => {
            (site.may_read(principal), None, site.config().paths.superproject.clone())
        }
        (Place::Superproject, Service::ReceivePack) => {
            let reason = "only publications write the superproject; submit a commit of a package instead";
            (Err(reason.to_owned()), None, PathBuf::new())
        }
    };
    match answer {
        Ok(_) => Ok(path),
        Err(reason) => {
            let entry = Entry {
                package: package.cloned(),
                principal: Some(principal.clone()),
                ..Entry::new(Happened::Denied)
            };
            Err(site.deny(entry.with("action", service.subcommand()), reason).into())
        }
    }
}
