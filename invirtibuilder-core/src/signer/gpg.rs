//! `GnuPG` as the signer: the keys stay with `gpg-agent`, or on their cards.
//!
//! Never uses a signature that `gpgv` has not verified, never asks anybody for a passphrase, and never starts, stops or
//! configures an agent of its own beside the one of the keys' directory: that one knows the passphrases and the cards.

mod beginning;
mod listing;
mod memory;
mod reading_back;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Fingerprint, SignError, Signed, Signer, Signing, SigningKey, armor};
use crate::durable;
use crate::process::{Command, Limits, ProcessError};
use beginning::Begun;
pub(crate) use memory::MemoryFile;

pub use listing::KeyFacts;
use listing::Listing;
pub(crate) use listing::day;

/// The longest path of a `GnuPG` home, in bytes: the agent's socket in it must fit the 108 of unix(7).
const LONGEST_HOME: usize = 85;
/// How long one signature may take. A smartcard needs seconds; one that waits for a finger is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Signs with one or more keys of a `GnuPG` home directory, without a passphrase or with one that its agent knows.
///
/// With several, each signature is made by all, as it is while a key is changed.
#[derive(Clone, Debug)]
pub struct GpgSigner {
    home: PathBuf,
    keys: Vec<KeyFacts>,
    keyring: Vec<u8>,
}

impl GpgSigner {
    /// Opens keys that are there.
    ///
    /// # Errors
    /// No key is named, or one is missing, expired, revoked, may not sign, or has no secret part.
    pub fn open<K: Clone + Into<SigningKey>>(home: &Path, keys: &[K]) -> Result<Self, SignError> {
        check_home(home)?;
        let names: Vec<SigningKey> = keys.iter().cloned().map(Into::into).collect();
        if names.is_empty() {
            let problem = "was given without a fingerprint; name the key that should sign".to_owned();
            return Err(SignError::Home { home: home.to_owned(), problem });
        }
        let (facts, keyring) = std::thread::scope(|scope| {
            let keyring = scope.spawn(|| export(home, &names));
            let facts = facts(home, &names);
            (facts, keyring.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
        });
        // A key that is missing is told better by the listing.
        Ok(Self { home: home.to_owned(), keys: facts?, keyring: keyring? })
    }

    /// Makes a key without a passphrase and without an end, in a home that only its owner can read, and returns
    /// its fingerprint. The home is made if it is missing.
    ///
    /// # Errors
    /// The path of the home is too long for the agent's socket, or `GnuPG` failed.
    pub fn generate(home: &Path, user_id: &str) -> Result<Fingerprint, SignError> {
        let unusable =
            |e: durable::DurableError| SignError::Home { home: home.to_owned(), problem: format!("{e}") };
        durable::create_directory(home).map_err(unusable)?;
        durable::set_mode(home, 0o700).map_err(unusable)?;
        check_home(home)?;
        let status = gpg(home)
            .args(["--pinentry-mode", "loopback", "--passphrase", "", "--status-fd", "1"])
            .args(["--quick-generate-key", "--", user_id, "ed25519", "sign", "never"])
            .run()?;
        let status = String::from_utf8_lossy(&status);
        let made = status.lines().find_map(|line| line.strip_prefix("[GNUPG:] KEY_CREATED P "));
        made.and_then(|it| it.trim().parse().ok()).ok_or_else(|| SignError::Home {
            home: home.to_owned(),
            problem: "got no key; look there with `gpg --list-secret-keys`".to_owned(),
        })
    }

    /// Returns what was known of the keys when they were opened, in the order in which they were named.
    #[must_use]
    pub fn keys(&self) -> &[KeyFacts] {
        &self.keys
    }

    /// Returns the public keys, as a binary keyring (RFC 9580, section 10.1): the same bytes as long as the keys are
    /// the same.
    #[must_use]
    pub fn keyring(&self) -> &[u8] {
        &self.keyring
    }

    /// Returns the command that makes one form of a signature of its standard input.
    fn command(&self, form: Form) -> Command {
        let users = self.keys.iter().flat_map(|it| ["--local-user".to_owned(), it.local_user()]);
        gpg(&self.home)
            // An error instead of a question that nobody would answer; it holds for smartcards too.
            .args(["--pinentry-mode", "error", "--status-fd", "2"])
            .args(["--digest-algo", "SHA512", "--armor", "--output", "-"])
            .args(users)
            .arg(form.option())
    }

    /// Tells why keys that could be used when they were opened cannot be used now.
    fn explain(&self, problem: Problem, text: &MemoryFile) -> SignError {
        let error = match problem {
            Problem::Sign(error) => return error,
            Problem::Unverified(problem) => {
                return SignError::Unverified { fingerprint: self.names(), problem };
            }
            Problem::Process(error) => error,
        };
        let names: Vec<SigningKey> = self.keys.iter().map(|it| it.name.clone()).collect();
        if let Err(unusable) = facts(&self.home, &names) {
            return unusable;
        }
        // Which of several is locked is known when each is asked alone.
        for key in &self.keys {
            let alone = gpg(&self.home)
                .args(["--pinentry-mode", "error", "--status-fd", "2", "--output", "-"])
                .args(["--local-user", &key.local_user(), "--detach-sign", "--"])
                .arg(text.path())
                .limits(Limits { time: PATIENCE, silence: PATIENCE, ..Limits::default() })
                .run();
            if let Err(ProcessError::Failed { stderr, .. }) = alone
                && let Some(problem) = locked(&stderr, &self.home, key)
            {
                return SignError::Key {
                    fingerprint: key.name.to_string(),
                    home: self.home.clone(),
                    problem,
                };
            }
        }
        SignError::Process(without_status(error))
    }

    fn names(&self) -> String {
        self.keys.iter().map(|it| it.name.to_string()).collect::<Vec<_>>().join(" ")
    }
}

impl Signer for GpgSigner {
    fn sign(&self, release: &str) -> Result<Signed, SignError> {
        Begun::new(self)?.finish(release)
    }

    fn sign_detached(&self, text: &str) -> Result<Vec<u8>, SignError> {
        beginning::detached(self, text)
    }

    fn begin(&self) -> Result<Box<dyn Signing>, SignError> {
        Ok(Box::new(Begun::new(self)?))
    }

    fn public_key(&self) -> Result<String, SignError> {
        Ok(armor::public_keys(&self.keyring))
    }
}

/// How a signature goes with its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Inline,
    Detached,
}

impl Form {
    fn option(self) -> &'static str {
        match self {
            Self::Inline => "--clearsign",
            Self::Detached => "--detach-sign",
        }
    }
}

/// Why one form of a signature was not made, before anybody has asked which key is at fault.
#[derive(Debug)]
enum Problem {
    /// It was made, and is not good.
    Unverified(String),
    Process(ProcessError),
    Sign(SignError),
}

impl From<ProcessError> for Problem {
    fn from(error: ProcessError) -> Self {
        Self::Process(error)
    }
}

impl From<SignError> for Problem {
    fn from(error: SignError) -> Self {
        Self::Sign(error)
    }
}

fn gpg(home: &Path) -> Command {
    Command::new("gpg").arg("--homedir").arg(home).args(["--batch", "--no-tty", "--no-auto-check-trustdb"])
}

/// Returns the public parts of keys, without what others have certified, so that the bytes change with the keys only.
fn export(home: &Path, names: &[SigningKey]) -> Result<Vec<u8>, SignError> {
    let names = names.iter().map(|it| it.fingerprint.as_str());
    Ok(gpg(home).args(["--export-options", "export-minimal", "--export", "--"]).args(names).run()?)
}

/// Returns the public keys of a home, as a keyring.
pub(crate) fn ring(home: &Path) -> Result<Vec<u8>, SignError> {
    Ok(gpg(home).args(["--export-options", "export-minimal", "--export"]).run()?)
}

/// Asks for all secret keys, because a pattern that finds nothing hides the others.
fn facts(home: &Path, names: &[SigningKey]) -> Result<Vec<KeyFacts>, SignError> {
    let listing = gpg(home).args(["--with-colons", "--fixed-list-mode", "--list-secret-keys"]).run()?;
    let listing = Listing::parse(&String::from_utf8_lossy(&listing));
    let find = |name: &SigningKey| {
        listing.find(name).map_err(|problem| SignError::Key {
            fingerprint: name.to_string(),
            home: home.to_owned(),
            problem: problem.replace("{HOME}", &home.to_string_lossy()),
        })
    };
    names.iter().map(find).collect()
}

/// Says what to do about a key that its agent or its card does not let anybody use; `None` if it is something else.
fn locked(stderr: &str, home: &Path, key: &KeyFacts) -> Option<String> {
    let line = stderr.lines().find_map(|it| it.strip_prefix("[GNUPG:] FAILURE sign "))?;
    let code: u32 = line.split_whitespace().next()?.parse().ok()?;
    let (home, user) = (home.display(), key.local_user());
    // The codes of libgpg-error; the upper half names the program that said so.
    match code & 0xffff {
        // No passphrase, no pinentry, its error, bad PIN, cancelled, no passphrase given.
        11 | 85 | 86 | 87 | 99 | 177 => Some(format!(
            "is locked, and nobody is here to type its passphrase or PIN; unlock it with `gpg --homedir {home} \
             --local-user '{user}' --output /dev/null --sign /dev/null`, and see default-cache-ttl in gpg-agent(1) for \
             how long that lasts"
        )),
        // The card is not there, was removed, or needs a reset.
        108..=112 => Some(format!(
            "is on a smartcard that is not there; insert it and run `gpg --homedir {home} --card-status`"
        )),
        17 => Some(format!(
            "has a secret part that the agent does not find; look with `gpg --homedir {home} --list-secret-keys`"
        )),
        _ => None,
    }
}

/// Leaves to people what gpg wrote for people.
fn without_status(error: ProcessError) -> ProcessError {
    let ProcessError::Failed { program, status, stderr } = error else { return error };
    let lines = stderr.lines().filter(|it| !it.starts_with("[GNUPG:]"));
    ProcessError::Failed { program, status, stderr: lines.collect::<Vec<_>>().join("; ") }
}

fn check_home(home: &Path) -> Result<(), SignError> {
    let problem = |problem: String| Err(SignError::Home { home: home.to_owned(), problem });
    let length = home.as_os_str().as_bytes().len();
    if !home.is_absolute() {
        return problem("is not an absolute path".to_owned());
    }
    if length > LONGEST_HOME {
        return problem(format!(
            "has a path of {length} bytes; choose one of at most {LONGEST_HOME}, or gpg-agent cannot make its socket there"
        ));
    }
    if !home.is_dir() {
        return problem("is missing; `invirtibuilder init` makes one with a key".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
