//! Which SSH key stands for whom: a file of the site, one key a line, in the form of a public key whose comment is the
//! principal (`sshd(8)`).
//!
//! Never believes a key that is not whole, or too weak. A key stands for one principal; a principal may have many keys.

use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::base64;
use crate::durable::{self, DurableError, Lock};
use crate::names::Principal;

/// What begins the file.
const HEADING: &str =
    "# Which SSH key stands for whom: TYPE KEY PRINCIPAL. `invirtibuilder key` changes it.\n";

/// The kinds of keys that are taken, and how many parts follow the kind's name in the key (RFC 4253, 5656, 8709).
const KINDS: [(&str, usize); 7] = [
    ("ssh-ed25519", 1),
    ("sk-ssh-ed25519@openssh.com", 2),
    ("ecdsa-sha2-nistp256", 2),
    ("ecdsa-sha2-nistp384", 2),
    ("ecdsa-sha2-nistp521", 2),
    ("sk-ecdsa-sha2-nistp256@openssh.com", 3),
    ("ssh-rsa", 2),
];

/// The least bits of an RSA key.
const RSA_BITS: usize = 2048;

/// Why a text is no key, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(String);

/// Why the keys could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A key is none.
    #[error("{place} is no key that can be used: {source}")]
    Malformed {
        /// The file and the line.
        place: String,
        /// What is wrong with it, and what to do.
        source: KeyError,
    },
    /// It stands for somebody else.
    #[error("the key {fingerprint} stands for {principal}; remove it first, or make another key")]
    Taken {
        /// The key.
        fingerprint: String,
        /// Whom it stands for.
        principal: Principal,
    },
    /// There is no such key.
    #[error("there is no key {0}; `invirtibuilder key list` tells all")]
    Unknown(String),
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Durable(#[from] DurableError),
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    kind: &'static str,
    text: String,
    fingerprint: String,
}

impl PublicKey {
    /// Returns its kind, such as `ssh-ed25519`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.kind
    }

    /// Returns its fingerprint, as ssh-keygen shows it: `SHA256:` and 43 letters.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.text)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    /// Reads `TYPE KEY`, and a comment that is ignored.
    fn from_str(line: &str) -> Result<Self, KeyError> {
        let mut words = line.split_ascii_whitespace();
        let (kind, text) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        Self::read(kind, text)
    }
}

impl PublicKey {
    /// Reads a key from its kind and its text in base64, as sshd gives both (`sshd_config(5)`, TOKENS).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(kind: &str, text: &str) -> Result<Self, KeyError> {
        let known = KINDS.into_iter().find(|it| it.0 == kind);
        let Some((kind, count)) = known else {
            let all = KINDS.map(|it| it.0).join(", ");
            return Err(KeyError(format!(
                "it does not begin with one of {all}; give a public key as `ssh-keygen -t ed25519` makes it, without options"
            )));
        };
        let broken = || KeyError("its second word is no whole key; copy the whole line again".to_owned());
        let bytes = base64::decode(text).ok_or_else(broken)?;
        let parts = parts(&bytes).ok_or_else(broken)?;
        let Some((name, parts)) = parts.split_first() else { return Err(broken()) };
        if *name != kind.as_bytes() || parts.len() != count || parts.iter().any(|it| it.is_empty()) {
            return Err(broken());
        }
        if kind == "ssh-rsa" {
            let bits = parts.get(1).map_or(0, |it| bits(it));
            if bits < RSA_BITS {
                return Err(KeyError(format!(
                    "it is an RSA key of {bits} bits, which is too weak; make one with `ssh-keygen -t ed25519`"
                )));
            }
        }
        let fingerprint = format!("SHA256:{}", base64::encode(&Sha256::digest(&bytes)));
        Ok(Self { kind, text: text.to_owned(), fingerprint })
    }
}

/// Returns the parts that a key consists of, each with its length before it (RFC 4251, 5).
fn parts(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        parts.push(part);
        bytes = rest;
    }
    Some(parts)
}

/// Returns how many bits a number has that is written from its greatest byte on.
fn bits(number: &[u8]) -> usize {
    let significant =
        number.iter().position(|it| *it != 0).and_then(|at| number.get(at..)).unwrap_or_default();
    let first = significant.first().map_or(0, |it| it.leading_zeros() as usize);
    significant.len() * 8 - first
}

/// A key, and whom it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: PublicKey,
    /// Whom it stands for.
    pub principal: Principal,
}

/// The keys of a site. Processes may use them at the same time.
#[derive(Clone, Debug)]
pub struct Keys {
    path: PathBuf,
}

impl Keys {
    /// Takes the file, which need not exist.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Returns all keys, in the order in which they were added.
    ///
    /// # Errors
    /// The file cannot be read, or a line of it is no key with a principal: then no key counts.
    pub fn list(&self) -> Result<Vec<Entry>, KeysError> {
        let text = match std::fs::read_to_string(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|source| KeysError::Read { path: self.path.clone(), source })?,
        };
        let mut entries: Vec<Entry> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = || format!("{}:{}", self.path.display(), at + 1);
            let malformed = |source| KeysError::Malformed { place: place(), source };
            let entry = parse(line).map_err(malformed)?;
            if let Some(other) = entries.iter().find(|it| it.key == entry.key)
                && other.principal != entry.principal
            {
                return Err(KeysError::Malformed {
                    place: place(),
                    source: KeyError(format!("it stands for {} too; remove one of the two", other.principal)),
                });
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Lets a key stand for a principal, and returns whether it did not before.
    ///
    /// # Errors
    /// It stands for somebody else.
    pub fn add(&self, key: &PublicKey, principal: &Principal) -> Result<bool, KeysError> {
        let _lock = self.lock()?;
        let mut entries = self.list()?;
        if let Some(entry) = entries.iter().find(|it| it.key == *key) {
            if entry.principal == *principal {
                return Ok(false);
            }
            return Err(KeysError::Taken {
                fingerprint: key.fingerprint.clone(),
                principal: entry.principal.clone(),
            });
        }
        entries.push(Entry { key: key.clone(), principal: principal.clone() });
        self.write(&entries)?;
        Ok(true)
    }

    /// Removes the key with a fingerprint, or all keys of a principal, and returns what was removed.
    ///
    /// # Errors
    /// There is none.
    pub fn remove(&self, which: &str) -> Result<Vec<Entry>, KeysError> {
        let _lock = self.lock()?;
        let (removed, kept): (Vec<Entry>, Vec<Entry>) = self
            .list()?
            .into_iter()
            .partition(|it| it.key.fingerprint == which || it.principal.as_str() == which);
        if removed.is_empty() {
            return Err(KeysError::Unknown(which.escape_debug().to_string()));
        }
        self.write(&kept)?;
        Ok(removed)
    }

    fn lock(&self) -> Result<Lock, KeysError> {
        if let Some(directory) = self.path.parent() {
            durable::create_directory(directory)?;
        }
        let mut lock = self.path.clone().into_os_string();
        lock.push(".lock");
        Ok(Lock::wait(Path::new(&lock))?)
    }

    fn write(&self, entries: &[Entry]) -> Result<(), KeysError> {
        let lines = entries.iter().map(|it| format!("{} {}\n", it.key, it.principal));
        let text: String = std::iter::once(HEADING.to_owned()).chain(lines).collect();
        Ok(durable::write(&self.path, text.as_bytes())?)
    }
}

/// Reads `TYPE KEY PRINCIPAL`; a principal may have blanks in it.
fn parse(line: &str) -> Result<Entry, KeyError> {
    let mut words = line.splitn(3, [' ', '\t']);
    let (kind, text) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let key = PublicKey::read(kind, text)?;
    let principal = words.next().unwrap_or_default().trim().parse();
    Ok(Entry { key, principal: principal.map_err(|e| KeyError(format!("whom it stands for: {e}")))? })
}

/// Reads the public keys of a file, one a line.
///
/// # Errors
/// One of them is none, or there is none; `name` is the file, for people.
pub fn read_public_keys(text: &str, name: &str) -> Result<Vec<PublicKey>, KeysError> {
    let mut keys = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let malformed = |source| KeysError::Malformed { place: format!("{name}:{}", at + 1), source };
        keys.push(line.parse().map_err(malformed)?);
    }
    if keys.is_empty() {
        let source = KeyError("it is empty; give the file whose name ends in .pub".to_owned());
        return Err(KeysError::Malformed { place: name.to_owned(), source });
    }
    Ok(keys)
}

/// Returns the line of `authorized_keys` that lets a key do what this program offers, and nothing else.
#[must_use]
pub fn authorized_line(entry: &Entry, program: &Path, config: &Path) -> String {
    let mut command = String::new();
    let words = [
        &*program.to_string_lossy(),
        "--config",
        &*config.to_string_lossy(),
        "ssh-shell",
        &format!("--principal={}", entry.principal),
        &format!("--key={}", entry.key.fingerprint),
    ];
    for word in words {
        if !command.is_empty() {
            command.push(' ');
        }
        // sshd gives the command to the account's shell.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
        if word.chars().all(is_plain) {
            command.push_str(word);
        } else {
            let _ = write!(command, "'{}'", word.replace('\'', "'\\''"));
        }
    }
    format!("restrict,command=\"{}\" {}", command.replace('"', "\\\""), entry.key)
}

#[cfg(test)]
mod tests;
