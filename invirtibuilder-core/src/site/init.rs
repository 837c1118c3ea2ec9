//! A new site in an empty directory.

use std::path::PathBuf;

use serde::Serialize;

use super::{Exit, SiteError, parts};
use crate::builder::sbuild::ACCOUNT;
use crate::builder::scratch::check_reachable;
use crate::config::{Config, ConfigError, Host, NewPocket, NewSite, Tagger};
use crate::control::hex;
use crate::durable::{self, DurableError};
use crate::hooks::EventKind;
use crate::names::{BaseName, NameError};
use crate::policy::BuildBackend;
use crate::signer::{GpgSigner, SignError};
use sha2::{Digest, Sha256};

/// What a new site is made from.
#[derive(Clone, Debug)]
pub struct NewSiteOptions {
    /// Its directory, an absolute path. It does not exist, or is empty.
    pub directory: PathBuf,
    /// The distribution to build in; `None` for the machine's own.
    pub base: Option<BaseName>,
    /// Its pockets.
    pub pockets: Vec<NewPocket>,
    /// The facts of the machine.
    pub host: Host,
}

/// What was made.
#[derive(Clone, Debug, Serialize)]
pub struct Made {
    /// The configuration file.
    pub config: PathBuf,
    /// The fingerprint of the key that signs the archive.
    pub key: String,
}

/// Why a new site could not be made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is something already.
    #[error("{} is not empty, and nothing is ever overwritten; choose another directory", .0.display())]
    NotEmpty(PathBuf),
    /// The machine's distribution has no codename.
    #[error(
        "this machine does not say which distribution it is; say which one to build in, such as --suite bookworm"
    )]
    NoBase,
    /// A name is malformed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The new configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file could not be written.
    #[error("cannot make the site")]
    Durable(#[from] DurableError),
    /// The key could not be made.
    #[error("cannot make the key that signs the archive")]
    Sign(#[from] SignError),
    /// A part of the site could not be made.
    #[error("cannot make the site")]
    Site(#[from] SiteError),
}

impl InitError {
    /// Returns the exit status.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::NotEmpty(_) | Self::NoBase | Self::Name(_) => Exit::Usage,
            _ => Exit::Internal,
        }
    }
}

/// Makes a site: directories, the archive's key, an empty archive, the superproject, and the configuration last.
///
/// # Errors
/// The directory is not empty, or something cannot be made. Then there is no configuration, and what was made can
/// be removed.
pub fn initialize(options: NewSiteOptions) -> Result<Made, InitError> {
    let NewSiteOptions { directory, base, pockets, host } = options;
    let is_empty = std::fs::read_dir(&directory).map_or(!directory.exists(), |mut it| it.next().is_none());
    if !is_empty {
        return Err(InitError::NotEmpty(directory));
    }
    let base = base.or_else(|| host.codename.clone()).ok_or(InitError::NoBase)?;
    durable::create_directory(&directory)?;
    let new = |key| NewSite {
        root: directory.clone(),
        pockets: pockets.clone(),
        base_suites: Vec::new(),
        base: base.clone(),
        mirror: None,
        tagger: Tagger {
            name: "Invirtibuilder".to_owned(),
            email: "invirtibuilder@localhost".to_owned(),
            key: None,
        },
        builder: BuildBackend::default(),
        key,
        builds: builds(&directory),
        builder_user: is_root().then(|| ACCOUNT.to_owned()),
    };
    let file = directory.join("invirtibuilder.yaml");
    // The paths of a site are the configuration's business; this one lacks only the key.
    let draft = Config::parse(&Config::render_new(&new(None)), &file, &host)?;
    for event in EventKind::ALL {
        durable::create_directory(&draft.paths.hooks.join(format!("{event}.d")))?;
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let key = GpgSigner::generate(
        &draft.paths.gnupg,
        &format!("Invirtibuilder archive at {name} <invirtibuilder@localhost>"),
    )?;
    let text = Config::render_new(&new(Some(key.to_string())));
    let config = Config::parse(&text, &file, &host)?;
    parts::prepare(&config)?;
    durable::write(&file, text.as_bytes())?;
    Ok(Made { config: file, key: key.to_string() })
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns a directory for what builds need and throw away, where the site's own is not reachable by the accounts that
/// builds run as: most often because the site is in somebody's private home.
fn builds(directory: &std::path::Path) -> Option<PathBuf> {
    check_reachable(directory).is_err().then(|| {
        let digest = hex(&Sha256::digest(directory.as_os_str().as_encoded_bytes()));
        PathBuf::from("/var/tmp")
            .join(format!("invirtibuilder-{}", digest.chars().take(12).collect::<String>()))
    })
}
