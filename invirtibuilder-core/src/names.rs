//! The names of this field, each parsed once into a type of its own.
//!
//! Nothing here reads or writes anything: a name that parsed is well formed, which says nothing about whether
//! the thing that it names exists.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

mod snapshot;
mod version;

pub use snapshot::Snapshot;
pub use version::Version;

/// A text that is not a well-formed name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a valid {kind}: {rule}")]
pub struct NameError {
    /// What it was meant to be, such as "package name".
    pub kind: &'static str,
    /// The offending text, cut to a length that fits a line.
    pub found: String,
    /// The rule that it breaks, with its source where there is one.
    pub rule: &'static str,
}

impl NameError {
    fn new(kind: &'static str, found: &str, rule: &'static str) -> Self {
        const SHOWN: usize = 80;
        let mut text: String = found.chars().take(SHOWN).collect();
        if text.len() < found.len() {
            text.push('…');
        }
        Self { kind, found: text, rule }
    }
}

/// Declares a text newtype with one checking constructor, [`FromStr`].
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.to_owned())) } else { Err(NameError::new($kind, text, $rule)) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// The name of a source or binary package (Debian Policy 5.6.1).
    ///
    /// ```
    /// use invirtibuilder_core::names::PackageName;
    /// assert!("libstdc++6".parse::<PackageName>().is_ok());
    /// assert!("Hello".parse::<PackageName>().is_err());
    /// ```
    PackageName, "package name",
    "use 2 to 200 of a-z 0-9 + - . and start with a letter or digit (Debian Policy 5.6.1)",
    |text| (2..=200).contains(&text.len()) && starts_alphanumeric(text) && all(text, |c| lower_alphanumeric(c) || b"+-.".contains(&c))
}

name! {
    /// A Debian architecture, such as `amd64`, or `all` (Debian Policy 5.6.8).
    Architecture, "architecture",
    "use at most 64 of a-z 0-9 - and start with a letter or digit, as `dpkg-architecture -L` prints them",
    |text| text.len() <= 64 && starts_alphanumeric(text) && all(text, |c| lower_alphanumeric(c) || c == b'-')
}

name! {
    /// An APT suite: the directory below `dists/`.
    Suite, "suite",
    "use at most 100 of A-Z a-z 0-9 + - . _ and start with a letter or digit",
    |text| text.len() <= 100 && is_word(text)
}

name! {
    /// A component of an archive, such as `main` (Debian Policy 2.2).
    Component, "component",
    "use at most 100 of A-Z a-z 0-9 + - . _ and start with a letter or digit",
    |text| text.len() <= 100 && is_word(text)
}

name! {
    /// A line of development, such as `prod`: one Git branch and one APT suite.
    ///
    /// Lower case only, so that `PROD`, and remctl's own words `ALL` and `EMPTY`, can never be a pocket.
    PocketName, "pocket name",
    "use at most 64 of a-z 0-9 - . _ , start with a letter or digit, and do not end in .lock",
    |text| text.len() <= 64 && starts_alphanumeric(text) && is_ref_name(text)
        && all(text, |c| lower_alphanumeric(c) || b"-._".contains(&c))
}

name! {
    /// A Git branch without its `refs/heads/` (git-check-ref-format(1), and stricter).
    BranchName, "branch name",
    "use A-Z a-z 0-9 + - . _ and / between words, and not what Git forbids: .. , .lock at an end, 40 hex digits, HEAD",
    |text| text.len() <= 200 && is_ref_name(text) && !is_object_id(text) && text != "HEAD"
        && text.split('/').all(is_word)
}

name! {
    /// The distribution that a build environment is made of, such as `bookworm`; a key of `bases:`.
    BaseName, "base name",
    "use at most 64 of a-z 0-9 - . _ and start with a letter or digit",
    |text| text.len() <= 64 && starts_alphanumeric(text) && all(text, |c| lower_alphanumeric(c) || b"-._".contains(&c))
}

name! {
    /// The full object id of a Git commit, 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits.
    ///
    /// No abbreviation, ref or expression is one, so a commit id can never be taken for an option or a path,
    /// and always means the same commit.
    CommitId, "commit id",
    "give the full object id, 40 or 64 lower-case hexadecimal digits, as `git rev-parse HEAD` prints it",
    is_object_id
}

name! {
    /// The name of a job: `YYYYMMDDHHMMSS_XXXXXX`, the time of its submission in UTC and six letters or digits.
    ///
    /// Ids sort in the order of submission.
    JobId, "job id",
    "a job id looks like 20261123101500_k3x9ab; `invirtibuilder status` lists them",
    |text| {
        let Some((time, suffix)) = text.split_once('_') else { return false };
        time.len() == 14 && all(time, |c| c.is_ascii_digit()) && suffix.len() == 6 && all(suffix, |c| c.is_ascii_alphanumeric())
    }
}

name! {
    /// Who asks: `alice@EXAMPLE.ORG` (Kerberos), the name that an SSH key maps to, or `user@host`.
    ///
    /// It is data: it is compared, stored and shown, and never becomes part of a path or a command.
    Principal, "principal",
    "use 1 to 256 bytes without control characters and without blanks at either end",
    |text| (1..=256).contains(&text.len()) && text.trim() == text && !text.chars().any(char::is_control)
}

name! {
    /// The name of a file that a source package or a build made: one path component (deb-changes(5)).
    FileName, "file name",
    "use at most 250 of A-Z a-z 0-9 + - . : _ ~ and start with a letter or digit, without any directory",
    |text| text.len() <= 250 && text.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric())
        && all(text, |c| c.is_ascii_alphanumeric() || b"+-.:_~".contains(&c))
}

impl Architecture {
    /// Returns `all`, the architecture of packages that run anywhere.
    #[must_use]
    pub fn all() -> Self {
        Self("all".to_owned())
    }
}

/// A tag that says which commit a version was published from, without its `refs/tags/`.
///
/// A version may hold what Git forbids in a ref. The mapping is DEP-14's ("Version mangling"): `:` becomes `%`,
/// `~` becomes `_`, and a `#` goes after each dot that another dot, the end, or `lock` follows. None of the
/// three occurs in a version, so [`TagName::version`] leads back.
///
/// ```
/// use invirtibuilder_core::names::TagName;
/// let tag = TagName::of("", &"1:2.0~rc1..".parse()?);
/// assert_eq!(tag.as_str(), "1%2.0_rc1.#.#");
/// assert_eq!(tag.version("").unwrap().as_str(), "1:2.0~rc1..");
/// # Ok::<(), invirtibuilder_core::names::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TagName(String);

impl TagName {
    /// Returns the tag of a version; `prefix`, such as `debian/`, may be empty.
    #[must_use]
    pub fn of(prefix: &str, version: &Version) -> Self {
        let text = version.as_str();
        let mut tag = String::with_capacity(prefix.len() + text.len() + 4);
        tag.push_str(prefix);
        for (at, c) in text.char_indices() {
            let rest = text.get(at + 1..).unwrap_or_default();
            match c {
                ':' => tag.push('%'),
                '~' => tag.push('_'),
                '.' if rest.is_empty() || rest.starts_with('.') || rest.starts_with("lock") => {
                    tag.push_str(".#");
                }
                other => tag.push(other),
            }
        }
        Self(tag)
    }

    /// Takes a tag's name as it was found in a repository.
    #[must_use]
    pub fn found(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Returns the version that the tag stands for, or `None` if it is not the tag of a version.
    #[must_use]
    pub fn version(&self, prefix: &str) -> Option<Version> {
        let mangled = self.0.strip_prefix(prefix)?;
        let text = mangled.replace('%', ":").replace('_', "~").replace('#', "");
        let version = text.parse().ok()?;
        (Self::of(prefix, &version) == *self).then_some(version)
    }

    /// Returns the tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

fn all(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    text.bytes().all(allowed)
}

fn lower_alphanumeric(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn starts_alphanumeric(text: &str) -> bool {
    text.bytes().next().is_some_and(lower_alphanumeric)
}

fn is_word(text: &str) -> bool {
    text.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric())
        && all(text, |c| c.is_ascii_alphanumeric() || b"+-._".contains(&c))
}

#[allow(clippy::case_sensitive_file_extension_comparisons, reason = "Git forbids exactly these letters")]
fn is_ref_name(text: &str) -> bool {
    !text.contains("..") && text.split('/').all(|part| !part.ends_with(".lock") && !part.ends_with('.'))
}

fn is_object_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && all(text, |c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

#[cfg(test)]
mod tests;
