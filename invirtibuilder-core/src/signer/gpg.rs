//! `GnuPG` as the signer: the key stays with `gpg-agent`, or on its card.
//!
//! Never uses a signature that `gpgv` has not verified.

use std::fmt;
use std::fs::File;
use std::io::{PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tempfile::NamedTempFile;

use super::{SignError, Signed, Signer, Signing};
use crate::durable;
use crate::names::NameError;
use crate::process::{Command, ProcessError};

/// The longest path of a `GnuPG` home, in bytes: the agent's socket in it must fit the 108 of unix(7).
const LONGEST_HOME: usize = 85;

/// The full fingerprint of an `OpenPGP` key: 40 or 64 upper-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Returns the fingerprint as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Fingerprint {
    type Err = NameError;

    /// Reads a fingerprint; blanks, as `gpg --fingerprint` prints them, and lower case are accepted.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let digits: String = text.chars().filter(|c| *c != ' ').map(|c| c.to_ascii_uppercase()).collect();
        if matches!(digits.len(), 40 | 64) && digits.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Ok(Self(digits));
        }
        Err(NameError {
            kind: "key fingerprint",
            found: text.chars().take(80).collect(),
            rule: "give all 40 (or 64) hexadecimal digits, as `gpg --fingerprint` prints them",
        })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Signs with one or more keys of a `GnuPG` home directory, without a passphrase or with one that its agent knows.
#[derive(Debug)]
pub struct GpgSigner {
    home: PathBuf,
    fingerprints: Vec<Fingerprint>,
    public_key: String,
    keyring: Vec<u8>,
}

impl GpgSigner {
    /// Opens keys that are there. With several, each signature is made by all, as it is while a key is changed.
    ///
    /// # Errors
    /// No key is named, or one is missing, expired, revoked, or has no secret part.
    pub fn open(home: &Path, fingerprints: &[Fingerprint]) -> Result<Self, SignError> {
        check_home(home)?;
        if fingerprints.is_empty() {
            let problem = "was given without a fingerprint; name the key that should sign".to_owned();
            return Err(SignError::Home { home: home.to_owned(), problem });
        }
        for fingerprint in fingerprints {
            check_key(home, fingerprint)?;
        }
        Ok(Self {
            home: home.to_owned(),
            fingerprints: fingerprints.to_vec(),
            public_key: String::from_utf8_lossy(&export(home, fingerprints, &["--armor"]).run()?)
                .into_owned(),
            keyring: export(home, fingerprints, &[]).run()?,
        })
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
}

impl Signer for GpgSigner {
    fn sign(&self, release: &str) -> Result<Signed, SignError> {
        self.begin()?.finish(release)
    }

    fn begin(&self) -> Result<Box<dyn Signing>, SignError> {
        begin(&self.home, &self.fingerprints, Some(self.keyring.clone()))
    }

    fn public_key(&self) -> Result<String, SignError> {
        Ok(self.public_key.clone())
    }
}

/// Starts gpg, which looks for the keys and asks its agent while the text is made. If the public keys are not given,
/// they are read meanwhile too.
pub(super) fn begin(
    home: &Path,
    fingerprints: &[Fingerprint],
    keyring: Option<Vec<u8>>,
) -> Result<Box<dyn Signing>, SignError> {
    let keyring =
        keyring.map_or_else(|| Keyring::Awaited(in_thread(export(home, fingerprints, &[]))), Keyring::Known);
    let forms = [Form::Inline, Form::Detached].map(|it| Begun::new(home, fingerprints, it));
    let [inline, detached] = forms;
    let (home, fingerprints) = (home.to_owned(), fingerprints.to_vec());
    Ok(Box::new(Waiting { home, fingerprints, keyring, inline: inline?, detached: detached? }))
}

/// The command that prints public keys.
pub(super) fn export(home: &Path, fingerprints: &[Fingerprint], options: &[&str]) -> Command {
    let names = fingerprints.iter().map(Fingerprint::as_str);
    gpg(home).args(options).arg("--export").arg("--").args(names)
}

/// What a program that runs in a thread of its own will have printed.
type Awaited = std::thread::JoinHandle<Result<Vec<u8>, ProcessError>>;

fn in_thread(command: Command) -> Awaited {
    std::thread::spawn(|| command.run())
}

fn join(awaited: Awaited) -> Result<Vec<u8>, ProcessError> {
    awaited.join().unwrap_or_else(|e| std::panic::resume_unwind(e))
}

/// Public keys.
#[derive(Debug)]
enum Keyring {
    Known(Vec<u8>),
    Awaited(Awaited),
}

/// Programs that wait for the text.
#[derive(Debug)]
struct Waiting {
    home: PathBuf,
    fingerprints: Vec<Fingerprint>,
    keyring: Keyring,
    inline: Begun,
    detached: Begun,
}

/// One gpg that waits for the text.
#[derive(Debug)]
struct Begun {
    form: Form,
    input: PipeWriter,
    output: Awaited,
}

impl Begun {
    fn new(home: &Path, fingerprints: &[Fingerprint], form: Form) -> Result<Self, SignError> {
        let keys = fingerprints.iter().flat_map(|it| ["--local-user", it.as_str()]);
        let command = gpg(home)
            .args(["--digest-algo", "SHA512", "--armor", "--output", "-"])
            .args(keys)
            .arg(form.option());
        let pipe = std::io::pipe();
        let (text, input) = pipe.map_err(|source| ProcessError::Io { program: "gpg".to_owned(), source })?;
        let output = in_thread(command.stdin(File::from(OwnedFd::from(text))));
        Ok(Self { form, input, output })
    }
}

impl Signing for Waiting {
    fn finish(self: Box<Self>, release: &str) -> Result<Signed, SignError> {
        let Self { home, fingerprints, keyring, inline, detached } = *self;
        let keyring = match keyring {
            Keyring::Known(keyring) => keyring,
            Keyring::Awaited(keyring) => join(keyring).map_err(|e| explain(&home, &fingerprints, e))?,
        };
        let work = Work { home, fingerprints, keyring, release };
        let text = work.file(release.as_bytes())?;
        // The two are independent, and starting programs is most of what they cost.
        std::thread::scope(|scope| {
            let detached = scope.spawn(|| work.run(detached, &text));
            let inline = work.run(inline, &text)?;
            let detached = detached.join().unwrap_or_else(|e| std::panic::resume_unwind(e))?;
            Ok(Signed { inline, detached })
        })
    }
}

/// What both signatures are made with.
#[derive(Debug)]
struct Work<'a> {
    home: PathBuf,
    fingerprints: Vec<Fingerprint>,
    keyring: Vec<u8>,
    release: &'a str,
}

impl Work<'_> {
    /// Gives gpg the text, and runs gpgv on what it makes.
    fn run(&self, begun: Begun, text: &NamedTempFile) -> Result<Vec<u8>, SignError> {
        let Begun { form, mut input, output } = begun;
        // A gpg that ended before it had read all tells why itself.
        let _ = input.write_all(self.release.as_bytes());
        drop(input);
        let signed = join(output).map_err(|e| explain(&self.home, &self.fingerprints, e))?;
        let (keyring, signature) = (self.file(&self.keyring)?, self.file(&signed)?);
        let gpgv = Command::new("gpgv").arg("--keyring").arg(keyring.path());
        let answer = match form {
            Form::Inline => gpgv.args(["--output", "-", "--"]).arg(signature.path()).run(),
            Form::Detached => gpgv.arg("--").args([signature.path(), text.path()]).run(),
        };
        let problem = match answer {
            Ok(read) if form == Form::Inline && read != self.release.as_bytes() => {
                "the signed text differs from the text that was to be signed".to_owned()
            }
            Ok(_) => return Ok(signed),
            Err(ProcessError::Failed { stderr, .. }) => stderr,
            Err(other) => return Err(other.into()),
        };
        let names: Vec<&str> = self.fingerprints.iter().map(Fingerprint::as_str).collect();
        Err(SignError::Unverified { fingerprint: names.join(" "), problem })
    }

    /// Writes a temporary file, in the home because only its owner can read that.
    fn file(&self, bytes: &[u8]) -> Result<NamedTempFile, SignError> {
        let error = |source| SignError::Temporary { path: self.home.clone(), source };
        let mut file = NamedTempFile::new_in(&self.home).map_err(error)?;
        file.write_all(bytes).and_then(|()| file.flush()).map_err(error)?;
        Ok(file)
    }
}

/// Tells why keys that could be used once cannot be used now.
fn explain(home: &Path, fingerprints: &[Fingerprint], error: ProcessError) -> SignError {
    let unusable = check_home(home).err();
    let unusable = unusable.or_else(|| fingerprints.iter().find_map(|it| check_key(home, it).err()));
    unusable.unwrap_or(SignError::Process(error))
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

fn gpg(home: &Path) -> Command {
    Command::new("gpg").arg("--homedir").arg(home).args(["--batch", "--no-tty", "--no-auto-check-trustdb"])
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

/// Checks that a secret key is there and may sign now.
fn check_key(home: &Path, fingerprint: &Fingerprint) -> Result<(), SignError> {
    let problem = |problem: &str| {
        let (fingerprint, problem) = (fingerprint.to_string(), problem.to_owned());
        Err(SignError::Key { fingerprint, home: home.to_owned(), problem })
    };
    let listing = gpg(home)
        .args(["--with-colons", "--fixed-list-mode", "--list-secret-keys", "--", fingerprint.as_str()])
        .run();
    let listing = match listing {
        Ok(listing) => listing,
        Err(ProcessError::Failed { .. }) => {
            return problem("is missing; import it there with `gpg --import`, or name another");
        }
        Err(other) => return Err(other.into()),
    };
    let listing = String::from_utf8_lossy(&listing);
    // gpg(1), doc/DETAILS: field 2 is the validity, field 12 what the key may do, capitals for all its subkeys.
    let key = listing.lines().find(|it| it.starts_with("sec")).unwrap_or_default();
    let fields: Vec<&str> = key.split(':').collect();
    match fields.get(1).copied() {
        Some("e") => problem("has expired; extend it with `gpg --quick-set-expire`, or name another"),
        Some("r") => problem("is revoked; name another"),
        Some("d" | "i") => problem("is disabled or invalid; name another"),
        _ if !fields.get(11).is_some_and(|it| it.contains('S')) => {
            problem("may not sign; name another, or add a subkey that may")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
