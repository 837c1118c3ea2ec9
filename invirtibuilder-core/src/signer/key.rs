//! What names a signing key.

use std::fmt;
use std::str::FromStr;

use crate::names::NameError;

/// The full fingerprint of an `OpenPGP` key or subkey: 40 or 64 upper-case hexadecimal digits.
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

/// A key that should sign, by its fingerprint.
///
/// A subkey's fingerprint means exactly that subkey. A primary key's means what `GnuPG` makes of it: its newest subkey
/// that may sign, if it has one. With an exclamation mark behind it, as in gpg(1), it means the primary key itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SigningKey {
    /// The fingerprint of the key or subkey.
    pub fingerprint: Fingerprint,
    /// Whether no other key of the same certificate may sign in its place.
    pub exactly: bool,
}

impl FromStr for SigningKey {
    type Err = NameError;

    /// Reads a [`Fingerprint`], perhaps with an exclamation mark behind it.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (fingerprint, exactly) = match text.trim_end().strip_suffix('!') {
            Some(fingerprint) => (fingerprint, true),
            None => (text, false),
        };
        Ok(Self { fingerprint: fingerprint.parse()?, exactly })
    }
}

impl From<Fingerprint> for SigningKey {
    fn from(fingerprint: Fingerprint) -> Self {
        Self { fingerprint, exactly: false }
    }
}

impl fmt::Display for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.fingerprint, if self.exactly { "!" } else { "" })
    }
}
